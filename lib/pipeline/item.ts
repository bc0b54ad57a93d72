/*
 * An item in a pipeline: one continuation that is reused at each stage.
 *
 *            +----------------------- the next stage -------------------------+
 *            v                                                                |
 *   ──▶ ARRIVING ──▶ WAITING ────▶ ADMITTED ──▶ RUNNING ──▶ SETTLING ─────────+──▶ GONE
 *       key, lock    stage full    scheduled    entered     result known, the run
 *                                                           of the continuation ends
 *
 * The item moves to the next stage when the run has settled: the lock and the active slot are free by
 * then, and the continuation is idle, so its workqueue, lock and function can be changed.
 *
 * An item can be aborted at any time. If it is waiting or scheduled, it is withdrawn and its function
 * is never called. If its function is running, the promise that represents the continuation's run is
 * resolved, which frees the lock and the slot; the result of the function's own promise is ignored.
 */

import { AsyncResource } from 'node:async_hooks';
import { join, leave } from '../base/abort-listeners.ts';
import { thenOf, whenDone, type Then, reportLater } from '../core/invoke.ts';
import { asynchronous } from '../base/errors.ts';
import type { Awaited } from '../core/awaited.ts';
import { beginAwait, endAwait, goesOn } from '../core/begin-await.ts';
import { hasInherited } from '../core/inheritance.ts';
import type { Task } from '../core/one-shot.ts';
import { defineInspect } from '../base/inspect.ts';
import type { Kcont } from '../core/kcont.ts';
import { repoint, makeOwn } from '../core/own-kcont.ts';
import { unlink, type Links } from '../base/list.ts';
import type { BaseLock } from '../locks/lock.ts';
import { scheduleOrThrow } from '../core/schedule.ts';
import type { Arrival } from '../core/shedder.ts';
import { TASK } from '../core/state.ts';
import { ItemDeadline } from './item-deadline.ts';
import type { PipelineRunner } from './runner.ts';
import type { Key, Keys } from './keys.ts';
import type { StageContext } from './plan.ts';
import type { Stage } from './stage.ts';
import { nothing } from '../base/nothing.ts';

const ARRIVING = 0;
const WAITING = 1;
const ADMITTED = 2;
const RUNNING = 3;
const SETTLING = 4;
const GONE = 5;

/**
 * Receives the result of an item, or the reason for which it failed.
 *
 * @internal
 */
export type Answer = (failed: boolean, value: unknown, item: Item) => void;

/**
 * The options of an item, checked.
 *
 * @internal
 */
export interface ItemOptions {
  readonly urgent: boolean;
  readonly deadlineMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The names of the phases in reports. */
const STATES = ['waiting', 'waiting', 'queued', 'running', 'running', 'running'] as const;

/**
 * An item: its current value and its position in the pipeline.
 *
 * @internal
 */
export class Item implements Task, Links, StageContext {
  _next: Links = this;
  _prev: Links = this;
  readonly runner: PipelineRunner;
  input: unknown;
  value: unknown;
  /** Whether it goes before ordinary items. False while an ordinary item of its key is ahead of it. */
  urgent: boolean;
  /** The key of the item, shared with the other items of that key. */
  group: Key | null = null;
  /** The stage in which it holds a slot. Until the next stage admits it, this is the one it finished. */
  holder: Stage | null = null;
  /** Whether its run there is not over. */
  #isUnfinished = false;
  /** Whether its slot there is one for urgent items. */
  #heldAsUrgent = false;
  readonly kc: Kcont<Item>;
  /** What is known of the run that awaits it. */
  _awaited: Awaited | null = null;
  readonly #wantsUrgent: boolean;
  #answer: Answer;
  #onAdmit: (() => void) | undefined;
  #phase = ARRIVING;
  #failed = false;
  #at: Stage;
  #lock: BaseLock | null = null;
  #keys: Keys | undefined = undefined;
  #deadline: ItemDeadline | undefined = undefined;
  #asyncContext: AsyncResource | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #signal: AbortSignal | undefined = undefined;
  /** Its place among the items that wait to be entered, if the first stage refuses items because of load. */
  arrival: Arrival | null = null;
  /** Whether it leaves or has left while its asynchronous function goes on. */
  isAbandoned = false;
  /** Called when the function that was abandoned has settled. */
  onSettled: () => void = nothing;
  /** Ends the continuation's run, if the function is asynchronous. */
  #release: (() => void) | undefined = undefined;

  constructor(
    runner: PipelineRunner,
    first: Stage,
    value: unknown,
    options: ItemOptions,
    answer: Answer,
    onAdmit?: () => void,
  ) {
    this.runner = runner;
    this.input = value;
    this.value = value;
    this.urgent = options.urgent;
    this.#wantsUrgent = options.urgent;
    this.#answer = answer;
    this.#onAdmit = onAdmit;
    this.#at = first;
    this.kc = makeOwn<Item>(TASK, first.queueFor(this), null, first.enter, this);
    // What is read from a source is awaited by nobody.
    if (onAdmit === undefined) this._awaited = beginAwait(this.kc);
    if (runner.capturesContext)
      this.#asyncContext = new AsyncResource('KCONT', { requireManualDestroy: true });
    const { signal, deadlineMs } = options;
    if (deadlineMs !== undefined || runner.hasDeadlines) {
      this.#deadline = new ItemDeadline(runner.kernel, this, deadlineMs);
    }
    if (signal === undefined) return;
    this.#signal = signal;
    join(signal, this);
  }

  get state(): 'waiting' | 'queued' | 'running' {
    return STATES[this.#phase] as 'waiting' | 'queued' | 'running';
  }

  /** Whether its function has been called and has not settled yet. */
  get isInFlight(): boolean {
    return this.#phase === RUNNING;
  }

  get pipeline(): string {
    return this.runner.name;
  }

  get stage(): string {
    return this.#at.name;
  }

  get key(): unknown {
    return this.group?.value;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#failed) this.#controller.abort(this.value);
    }
    return this.#controller.signal;
  }

  /** Arrives at a stage: computes the key and the lock, then enters the stage or waits for a slot. */
  arrive(stage: Stage): void {
    this.#phase = ARRIVING;
    this.#at = stage;
    try {
      if (stage.keys !== undefined) this.#keyBy(stage.keys);
      this.#lock = stage.lockFor(this);
    } catch (error) {
      this.#fail(error);
    }
    // The user's functions for the key and the lock may have aborted it.
    if (this.#failed) this.#leave();
    else if (stage.isFullFor(this)) {
      this.#phase = WAITING;
      stage.admission.add(this);
      if (this.#onAdmit !== undefined) stage.whenHeld(() => this.#toldSource());
    } else this.admit(stage);
  }

  #keyBy(keys: Keys): void {
    const urgent = this.#wantsUrgent;
    const key = keys.enter(this.value, urgent);
    this.#unkey();
    this.group = key;
    this.#keys = keys;
    this.urgent = key?.urgent ?? urgent;
  }

  #unkey(): void {
    if (this.group !== null) this.#keys?.leave(this.group);
    this.group = null;
  }

  /** Takes a slot in a stage, and gives back the one in the previous stage. */
  admit(stage: Stage): void {
    const before = this.holder;
    const wasUrgent = this.#heldAsUrgent;
    this.holder = stage;
    this.#heldAsUrgent = this.urgent;
    stage.took(this, this.#lock);
    this.#isUnfinished = true;
    this.#phase = ADMITTED;
    repoint(this.kc, stage.queueFor(this), this.#lock, stage.enter);
    try {
      scheduleOrThrow(this.kc);
      if (this._awaited !== null) goesOn(this._awaited);
      this.#deadline?.enter(stage);
    } catch (error) {
      this.#fail(error);
    }
    this.#toldSource();
    if (before !== null) {
      before.passed++;
      before.left(wasUrgent);
    }
    if (this.#failed) this.#leave();
  }

  /** Lets the source be read on. */
  #toldSource(): void {
    this.#onAdmit?.();
    this.#onAdmit = undefined;
  }

  /** Called when its run in the stage that holds it is over, or will not begin. */
  #ran(): void {
    if (!this.#isUnfinished) return;
    this.#isUnfinished = false;
    this.holder?.ran(this, this.#lock);
  }

  /** Calls the stage's function. Called by the continuation. */
  enter(): void | Promise<void> {
    const stage = this.#at;
    this.#phase = RUNNING;
    if (this.arrival !== null) {
      if (hasInherited(this.kc)) unlink(this.arrival);
      else stage.backlog?.entered(this.arrival);
    }
    stage.running++;
    const { func } = stage;
    const asyncContext = this.#asyncContext;
    let result: unknown;
    let then: Then | undefined;
    try {
      result =
        asyncContext === undefined
          ? func(this.value, this)
          : asyncContext.runInAsyncScope(func, undefined, this.value, this);
      then = thenOf(result);
    } catch (error) {
      this.#fail(error);
    }
    if (then === undefined) {
      if (!this.#failed) this.value = result;
    } else if (stage.fast || this.#failed) {
      // The item fails here, so the result of the promise is ignored.
      this.#abandon(result, then);
      this.#fail(asynchronous(stage.enter.name, stage.queueName));
    } else return this.#follow(result, then);
    this.#finish();
    return undefined;
  }

  #abandon(result: unknown, then: Then): void {
    this.isAbandoned = true;
    const settled = (): void => this.#hasSettled();
    whenDone(result, then, settled, settled);
  }

  /** The function that was abandoned has settled, perhaps before the item leaves. */
  #hasSettled(): void {
    this.isAbandoned = false;
    this.onSettled();
  }

  #follow(result: unknown, then: Then): Promise<void> {
    return new Promise((resolve) => {
      this.#release = resolve;
      whenDone(
        result,
        then,
        (value) => {
          if (this.#failed) return this.#hasSettled();
          this.value = value;
          this.#finish();
        },
        (error: unknown) => {
          if (this.#failed) return this.#hasSettled();
          this.#fail(error);
          this.#finish();
        },
      );
    });
  }

  #finish(): void {
    this.#phase = SETTLING;
    this.kc.drainAsync(hop);
    if (this.#at.next === undefined) this.#deadline?.end();
    else this.#deadline?.leave();
    this.#release?.();
    this.#release = undefined;
  }

  /** Moves to the next stage, or leaves. Called when the run has settled. */
  hop(): void {
    const stage = this.#at;
    stage.running--;
    this.#ran();
    if (this.#failed || stage.next === undefined) this.#leave();
    else {
      this.arrive(stage.next);
      // If it waits for the next stage, another one may run here meanwhile.
      if (this.holder === stage) stage.pull();
    }
  }

  /** Makes the item leave the pipeline, in whatever phase it is. */
  _abort(reason: unknown): void {
    if (this.#failed || this.#phase === GONE) return;
    this.#fail(reason);
    if (this.#phase === WAITING) {
      this.#at.admission.remove(this);
      this.#leave();
    } else if (this.#phase === ADMITTED) {
      this.kc.stop();
      this.#leave();
    } else if (this.#phase === RUNNING) {
      this.kc.stop();
      if (this.#release === undefined) return;
      this.isAbandoned = true;
      this.#finish();
    }
  }

  /** Marks the item as failed. Only the first reason is kept. */
  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.value = error;
    this.#controller?.abort(error);
  }

  #leave(): void {
    const { holder } = this;
    this.#phase = GONE;
    this.kc.destroy();
    if (this._awaited !== null) endAwait(this._awaited);
    if (this.arrival !== null) unlink(this.arrival);
    this.#deadline?.end();
    if (this.#signal !== undefined) leave(this.#signal, this);
    this.#ran();
    this.#unkey();
    if (this.#failed) this.#at.failed++;
    else this.#at.passed++;
    this.#toldSource();
    holder?.left(this.#heldAsUrgent);
    this.runner.gone(this, this.#failed);
    try {
      this.#answer(this.#failed, this.value, this);
    } catch (error) {
      reportLater(this.kc, error);
    }
    // A function that was abandoned and never settles keeps a reference to the item.
    this.input = undefined;
    this.#answer = nothing;
    this.#asyncContext = undefined;
  }
}

function hop(item: Item): void {
  item.hop();
}

defineInspect<Item>(
  Item,
  ({ stage, pipeline, urgent }) =>
    `StageContext { ${stage} of ${pipeline}${urgent ? ', urgent' : ''} }`,
  ({ stage, pipeline, urgent }) => ({ stage, pipeline, urgent }),
);
