/*
 * A pipeline that runs, as its stages and items see it: who is inside, and how it ends.
 */

import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { afterMicrotasks } from '../time/host-clock.ts';
import { reportLater } from '../core/invoke.ts';
import { KcontError } from '../base/errors.ts';
import type { Task } from '../core/one-shot.ts';
import { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { race } from '../base/race.ts';
import { Item, type Answer, type ItemOptions } from './item.ts';
import type { Step } from './plan.ts';
import { Stage } from './stage.ts';
import { nothing } from '../base/nothing.ts';

/**
 * Which item failed, and where.
 *
 * @typeParam In - what the pipeline takes
 *
 * @public
 */
export interface Failure<In> {
  /** The pipeline's name. */
  readonly pipeline: string;
  /** The name of the stage that it was at, or waited for; `source`: a source could not be closed. */
  readonly stage: string;
  /** What was given to the pipeline; undefined for a source. */
  readonly input: In;
}

/**
 * An item that a pipeline was closed over.
 *
 * @public
 */
export interface UnfinishedItem {
  /** The name of the stage that it was at, or waited for. */
  readonly stage: string;
  /** Whether it waited for a place, was in the stage, or its function was running. */
  readonly state: 'waiting' | 'queued' | 'running';
  /** What was given to the pipeline. */
  readonly input: unknown;
}

/**
 * How a pipeline ended.
 *
 * @public
 */
export interface PipelineReport {
  /** What did not finish in time. Empty: all is well. */
  readonly unfinished: readonly UnfinishedItem[];
}

/**
 * What a pipeline is started with, checked.
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
 * Who reads a source for the pipeline, and may have to wait for it.
 *
 * @internal
 */
export interface Reader {
  /** The pipeline, or its kernel, takes no more: reads no further, and finishes what was taken. */
  refuse(reason: unknown): void;
  /** The pipeline is aborted. */
  _abort(reason: unknown): void;
}

/**
 * The stages of a pipeline and the items inside.
 *
 * @internal
 */
export class PipelineRunner implements Task {
  readonly name: string;
  readonly kernel: Kernel;
  readonly stages: readonly Stage[];
  readonly first: Stage;
  /** Whether some stage has a deadline. */
  readonly hasDeadlines: boolean;
  /** Whether functions see the AsyncLocalStorage stores of whoever gave the item. */
  readonly capturesContext: boolean;
  readonly deadlineMs: number | undefined;
  done = 0;
  failed = 0;
  /** Refuses items. */
  closed = false;
  readonly #items = new Set<Item>();
  readonly #readers = new Set<Reader>();
  readonly #onError: Settings['onError'];
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: AbortMember = { _abort: (reason) => this.abort(reason) };
  #released = false;
  #drained: (() => void)[] = [];
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

  /** Takes an item. Throws if it does not; then nothing has changed. */
  accept(value: unknown, options: ItemOptions, answer: Answer, onAdmit?: () => void): Item {
    if (this.closed) throw this.#refusal();
    options.signal?.throwIfAborted();
    const item = new Item(this, this.first, value, options, answer, onAdmit);
    this.#items.add(item);
    item.arrive(this.first);
    return item;
  }

  /** An item has left. */
  gone(item: Item, failed: boolean): void {
    if (failed) this.failed++;
    else this.done++;
    this.#items.delete(item);
    if (this.#items.size > 0) return;
    callAll(this.#drained);
    if (this.closed) this.#release();
  }

  /** Resolves when there is a place at the first stage, or the pipeline is closed. */
  ready(): Promise<void> {
    if (!this.full || this.closed) return Promise.resolve();
    return new Promise((resolve) => this.#ready.push(resolve));
  }

  /** Resolves when no item is inside. */
  drain(): Promise<void> {
    if (this.#items.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** A source is read: the reader hears of the end of the pipeline and of its kernel, also in silence. */
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

  /** Those who wait for something of the kernel: a shutdown tells them. */
  get #tasks(): Set<Task> {
    return this.kernel.wq.softclock._dispatcher.tasks;
  }

  /** The kernel is being closed. The items inside hear of that by their continuations. */
  _abort(reason: unknown): void {
    for (const reader of this.#readers) reader.refuse(reason);
  }

  /** Makes all items leave, and refuses others. */
  abort(reason: unknown): void {
    this.#refuse();
    this.#expel(reason);
    for (const reader of this.#readers) reader._abort(reason);
  }

  #expel(reason: unknown): void {
    // From the end, so that nobody is let in just to leave.
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
      // What has ended in the last tick is told by promises.
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

  /** The error of an item that nobody waits for. */
  unclaimed(error: unknown, item: Item): void {
    this.#report(error, failureOf(item), item.kc);
  }

  /** A source could not be closed. Whoever reads it may have left, or has another error to hear of. */
  unclosed(error: unknown): void {
    const options = { name: `${this.name}/source` };
    const kc = new Kcont<null>(this.kernel.wq.softclock, null, nothing, null, options);
    kc.destroy();
    this.#report(error, { pipeline: this.name, stage: 'source', input: undefined }, kc);
  }

  /** To the pipeline; without an `onError` there, and what that throws, as a continuation's. */
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
 * Where an item failed.
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
