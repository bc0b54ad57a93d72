/*
 * A running pipeline as its stages and items see it: which items are inside, and how it ends.
 */

import { WaitList } from '../locks/wait-list.ts';
import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { afterMicrotasks } from '../time/host-clock.ts';
import { reportLater } from '../core/invoke.ts';
import { KcontError } from '../base/errors.ts';
import type { Task } from '../core/one-shot.ts';
import { makeStandIn } from '../core/own-kcont.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { race } from '../base/race.ts';
import { Item, type Answer, type ItemOptions } from './item.ts';
import type { Step } from './plan.ts';
import { Stage } from './stage.ts';
import { nothing } from '../base/nothing.ts';

/**
 * Describes which item failed, and where.
 *
 * @typeParam In - what the pipeline takes
 *
 * @public
 */
export interface Failure<In> {
  /** The pipeline's name. */
  readonly pipeline: string;
  /** The name of the stage it was in or waited for; `source` if a source could not be closed. */
  readonly stage: string;
  /** The value that was given to the pipeline; undefined for a source. */
  readonly input: In;
}

/**
 * An item that had not finished when the pipeline was closed.
 *
 * @public
 */
export interface UnfinishedItem {
  /** The name of the stage it was in or waited for. */
  readonly stage: string;
  /** Whether it waited for a slot, was queued in the stage, or its function was running. */
  readonly state: 'waiting' | 'queued' | 'running';
  /** The value that was given to the pipeline. */
  readonly input: unknown;
}

/**
 * Reports how a pipeline ended.
 *
 * @public
 */
export interface PipelineReport {
  /** The items that did not finish in time. Empty if all did. */
  readonly unfinished: readonly UnfinishedItem[];
}

/**
 * The settings of a running pipeline, checked.
 *
 * @internal
 */
export interface Settings {
  readonly name: string;
  readonly kernel: Kernel;
  readonly signal: AbortSignal | undefined;
  readonly deadlineMs: number | undefined;
  readonly onError: ((error: unknown, failure: Failure<unknown>) => void) | undefined;
  readonly capturesContext: boolean;
}

/**
 * A reader of a source. It may be waiting for the source when the pipeline closes.
 *
 * @internal
 */
export interface Reader {
  /** Stops reading and finishes the items already read. Called when the pipeline or its kernel closes. */
  refuse(reason: unknown): void;
  /** Stops reading and aborts its items. Called when the pipeline is aborted. */
  _abort(reason: unknown): void;
}

/**
 * Holds the stages of a pipeline and the items inside it.
 *
 * @internal
 */
export class PipelineRunner implements Task {
  readonly name: string;
  readonly kernel: Kernel;
  readonly stages: readonly Stage[];
  readonly first: Stage;
  /** Whether any stage has a deadline. */
  readonly hasDeadlines: boolean;
  /** Whether functions see the AsyncLocalStorage stores of the caller that added the item. */
  readonly capturesContext: boolean;
  readonly deadlineMs: number | undefined;
  done = 0;
  failed = 0;
  /** Whether new items are refused. */
  closed = false;
  readonly #items = new Set<Item>();
  readonly #readers = new Set<Reader>();
  readonly #onError: Settings['onError'];
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: AbortMember = { _abort: (reason) => this.abort(reason) };
  #released = false;
  readonly #drained = new WaitList();
  #ready: (() => void)[] = [];
  #closing: Promise<PipelineReport> | undefined = undefined;

  constructor(settings: Settings, steps: readonly Step[]) {
    const { name, kernel, signal, deadlineMs, onError, capturesContext } = settings;
    this.name = name;
    this.kernel = kernel;
    this.capturesContext = capturesContext;
    this.deadlineMs = deadlineMs;
    this.#onError = onError;
    this.#signal = signal;
    this.stages = makeStages(kernel, name, steps);
    this.first = this.stages[0] as Stage;
    this.first.onSlotFree = () => callAll(this.#ready);
    this.hasDeadlines = steps.some((step) => step.deadlineMs !== undefined);
    if (signal === undefined) return;
    if (signal.aborted) this.abort(signal.reason);
    else join(signal, this.#onAbort);
  }

  get size(): number {
    return this.#items.size;
  }

  get full(): boolean {
    return this.first.full;
  }

  /**
   * Accepts an item. If it throws, nothing has changed. `onAdmit`: it comes from a source, which is read no
   * faster than slots become free, so it is not refused because of load.
   */
  accept(value: unknown, options: ItemOptions, answer: Answer, onAdmit?: () => void): Item {
    if (this.closed) throw this.#refusal();
    options.signal?.throwIfAborted();
    const backlog = onAdmit === undefined ? this.first.backlog : null;
    const arrival = backlog?.admit() ?? null;
    const item = new Item(this, this.first, value, options, answer, onAdmit);
    if (arrival !== null) backlog?.add((item.arrival = arrival));
    this.#items.add(item);
    item.arrive(this.first);
    return item;
  }

  /** Counts and forgets an item that has left. */
  gone(item: Item, failed: boolean): void {
    if (failed) this.failed++;
    else this.done++;
    this.#items.delete(item);
    if (this.#items.size > 0) return;
    this.#drained.serveAll();
    if (this.closed) this.#release();
  }

  /** Resolves when the first stage has a free slot, or the pipeline is closed. */
  ready(): Promise<void> {
    if (!this.full || this.closed) return Promise.resolve();
    return new Promise((resolve) => this.#ready.push(resolve));
  }

  /** Resolves when no item is inside. */
  drain(signal?: AbortSignal): Promise<void> {
    if (this.#items.size === 0) return Promise.resolve();
    return this.#drained.wait(signal);
  }

  /**
   * Registers the reader of a source. It is notified when the pipeline or its kernel closes, even
   * while the source is silent.
   */
  addReader(reader: Reader): void {
    if (this.closed || this.kernel.closed) {
      reader.refuse(this.#refusal());
      return;
    }
    if (this.#readers.size === 0) this.#tasks.add(this);
    this.#readers.add(reader);
  }

  removeReader(reader: Reader): void {
    this.#readers.delete(reader);
    if (this.#readers.size === 0) this.#tasks.delete(this);
  }

  /** The set of objects that a shutdown of the kernel notifies. */
  get #tasks(): Set<Task> {
    return this.kernel.wq.softclock._dispatcher.tasks;
  }

  /** Stops the readers, because the kernel closes. Items are notified through their continuations. */
  _abort(reason: unknown): void {
    for (const reader of this.#readers) reader.refuse(reason);
  }

  /** Aborts all items, and refuses new ones. */
  abort(reason: unknown): void {
    this.#refuse();
    this.#expel(reason);
    for (const reader of this.#readers) reader._abort(reason);
  }

  #expel(reason: unknown): void {
    // From the last to the first, so that no item is admitted only to be aborted.
    for (const item of [...this.#items].toReversed()) item._abort(reason);
  }

  close(graceMs: number): Promise<PipelineReport> {
    return (this.#closing ??= this.#close(graceMs));
  }

  async #close(graceMs: number): Promise<PipelineReport> {
    this.#refuse();
    for (const reader of this.#readers) reader.refuse(this.#refusal());
    const over = new AbortController();
    const drained = this.drain();
    if (this.#items.size > 0 && graceMs < Infinity) {
      const { signal } = over;
      const grace = this.kernel.wq.softclock
        .run(nothing, { delayMs: graceMs, signal, name: `${this.name}/close` })
        .catch(nothing);
      await race([drained, grace]);
      over.abort();
      // Promise reactions of functions that settled in the last tick have to run first.
      if (this.#items.size > 0) await new Promise<void>(afterMicrotasks);
    } else await drained;
    const unfinished = Array.from(this.#items, ({ stage, state, input }) => ({
      stage,
      state,
      input,
    }));
    this.#expel(this.#refusal());
    await this.drain();
    return { unfinished };
  }

  /** Reports the error of an item that has no callback. */
  unclaimed(error: unknown, item: Item): void {
    this.#report(error, failureOf(item), item.kc);
  }

  /**
   * Reports that a source could not be closed. The iterator cannot report it: its consumer may have
   * left, or receives another error.
   */
  unclosed(error: unknown): void {
    const kc = makeStandIn(this.kernel.wq.softclock, `${this.name}/source`);
    this.#report(error, { pipeline: this.name, stage: 'source', input: undefined }, kc);
  }

  /**
   * Gives an error to the pipeline's `onError`. Without one, or if it throws, the error is reported as
   * that of a continuation.
   */
  #report(error: unknown, failure: Failure<unknown>, kc: Kcont<unknown>): void {
    let unhandled = error;
    if (this.#onError !== undefined) {
      try {
        this.#onError(error, failure);
        return;
      } catch (thrown) {
        unhandled = thrown;
      }
    }
    reportLater(kc, unhandled);
  }

  #refuse(): void {
    this.closed = true;
    if (this.#signal !== undefined) leave(this.#signal, this.#onAbort);
    callAll(this.#ready);
    if (this.#items.size === 0) this.#release();
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const stage of this.stages) stage.release();
  }

  #refusal(): KcontError {
    return new KcontError('ESHUTDOWN', `pipeline ${this.name} is closed`);
  }
}

function makeStages(kernel: Kernel, pipeline: string, steps: readonly Step[]): Stage[] {
  const stages: Stage[] = [];
  try {
    for (const [index, step] of steps.entries()) {
      stages.push(new Stage(kernel, pipeline, index, step));
    }
  } catch (error) {
    for (const stage of stages) stage.release();
    throw error;
  }
  for (const [index, stage] of stages.entries()) stage.next = stages[index + 1];
  return stages;
}

/**
 * Describes where an item failed.
 *
 * @internal
 */
export function failureOf({ pipeline, stage, input }: Item): Failure<unknown> {
  return { pipeline, stage, input };
}

function callAll(waiting: (() => void)[]): void {
  if (waiting.length === 0) return;
  for (const resolve of waiting.splice(0)) resolve();
}
