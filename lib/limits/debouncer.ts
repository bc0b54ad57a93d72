/*
 * The times at which a debounced function is invoked.
 *
 *        call   call  call            waitMs after the last call: the trailing edge
 *   -------|------|----|----------------|-------->
 *          ^ leading edge               ^ expires: invoke
 *
 * The results are those of lodash, for the leading and the trailing edge and for `maxWait`, also if a call finds
 * that the limit has passed, because the loop was blocked and no timer could run. lodash reads the clock in each call,
 * and compares it with the times of the last call and of the last invocation. Here two timers replace these times:
 * `#wait`, whose deadline each call moves outward by a touch, and `#limit`, which no call moves unless it invokes the
 * function. Therefore
 *
 *   time of the last call = deadline of #wait - waitMs
 *
 * Besides the touch, a call reads the clock only if it begins a wait, or if the limit seems to have passed. In a burst
 * a touch estimates the time (time/clock-sampling.ts), so that the deadline may be late, but never early.
 *
 * One difference: `flush` of lodash leaves its timer running, which may end the wait of a later call too early.
 *
 * Source: lodash 4.17, debounce.js.
 */

import type { Kcont } from '../core/kcont.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { reset } from '../core/schedule.ts';
import { NAMED, QUEUED, SCHEDULED, UNREF } from '../core/state.ts';
import type { Workqueue } from '../core/workqueue.ts';
import { FAR } from '../time/timing-wheel.ts';

/**
 * When a function is invoked.
 *
 * @internal
 */
export interface Timing {
  readonly waitMs: number;
  /** NaN: no limit. */
  readonly maxWaitMs: number;
  readonly leading: boolean;
  readonly trailing: boolean;
}

/**
 * The owner of a debouncer, which calls the function and is notified.
 *
 * @internal
 */
export interface DebouncerHost<R> {
  /** The name of its timers. */
  readonly _name: string;
  /** Calls the function. */
  _invoke(self: unknown, args: readonly unknown[]): R;
  /** Called when a new debouncer would give the same results, so that this one can be freed. */
  _idle?(): void;
  /** Called when nothing will be invoked, because the kernel closes. */
  _withdrawn?(reason: unknown): void;
}

/** What the timers of a debouncer need. */
interface TimerSettings {
  readonly wq: Workqueue;
  readonly bits: number;
  readonly ref: boolean;
}

/**
 * One debounced function, or that of one key.
 *
 * @internal
 */
export class Debouncer<R> {
  readonly #host: DebouncerHost<R>;
  readonly #timing: Timing;
  readonly #wait: Kcont<Debouncer<R>>;
  readonly #limit: Kcont<Debouncer<R>> | null;
  #args: readonly unknown[] | undefined = undefined;
  #self: unknown = undefined;
  #result: R | undefined = undefined;
  /** The time of the last call, while `#wait` is not running; -Infinity: its wait has passed. */
  #lastCallMs = -Infinity;
  #lastInvokeMs = 0;
  /** The deadline of `#wait` in ticks, as `_due`, for which the limit was last found not to have passed. */
  #seenDue = -1;
  /** Whether `#wait` runs only to remember the time of the last call. */
  #isCooling = false;

  constructor(host: DebouncerHost<R>, timing: Timing, settings: TimerSettings) {
    const { wq, ref } = settings;
    this.#host = host;
    this.#timing = timing;
    const bits = settings.bits | NAMED | (ref ? 0 : UNREF);
    this.#wait = makeOwn<Debouncer<R>>(bits, wq, null, waited, this);
    this.#limit = Number.isNaN(timing.maxWaitMs)
      ? null
      : makeOwn<Debouncer<R>>(bits, wq, null, limited, this);
  }

  /** The name of its timers. */
  get _name(): string {
    return this.#host._name;
  }

  /** Whether the wait of a call is in progress, so that an invocation may follow. */
  get pending(): boolean {
    return (this.#wait._state & SCHEDULED) !== 0 && !this.#isCooling;
  }

  /** Whether `#wait` runs, even if only to remember the time of the last call. */
  get busy(): boolean {
    return (this.#wait._state & SCHEDULED) !== 0;
  }

  call(self: unknown, args: readonly unknown[]): R | undefined {
    this.#args = args;
    this.#self = self;
    if ((this.#wait._state & SCHEDULED) === 0 || this.#isCooling) return this.#start();
    const hasWaited = !this.#wait.touch();
    // The wait is over, but its end has not been handled yet: this call still comes before the trailing edge.
    if (hasWaited && !this.#arm()) return this.#result;
    return this.#limit === null ? this.#result : this.#checkLimit(hasWaited);
  }

  /** Invokes the function for the calls that wait, and ends the wait. */
  flush(): R | undefined {
    if (!this.pending) return this.#result;
    return this.#cutShort();
  }

  /** Forgets the calls that wait. */
  cancel(): void {
    this.#stop();
    this.#lastCallMs = -Infinity;
    this.#lastInvokeMs = 0;
    this.#forget();
    this.#host._idle?.();
  }

  /** Stops it permanently: later calls have no effect. */
  destroy(): void {
    this.#stop();
    this.#forget();
    this.#wait.destroy();
    this.#limit?.destroy();
  }

  /** Called for each of its timers that a shutdown withdraws, as of a Task. */
  _abort(reason: unknown): void {
    this.#stop();
    this.#forget();
    this.#host._withdrawn?.(reason);
  }

  /** A wait has passed since the last call. */
  _waited(): R | undefined {
    this.#wait.ack();
    this.#lastCallMs = -Infinity;
    this.#limit?.stop();
    if (this.#isCooling) this.#isCooling = false;
    try {
      return this.#trailingEdge();
    } finally {
      if (!this.pending) this.#host._idle?.();
    }
  }

  /** The limit has passed since the last invocation. */
  _limited(): R | undefined {
    this.#limit?.ack();
    return this.#cutShort();
  }

  #cutShort(): R | undefined {
    const { waitMs } = this.#timing;
    const endMs = (this.#wait._state & QUEUED) === 0 ? this.#wait.deadline : -Infinity;
    this.#stop();
    this.#lastCallMs = endMs - waitMs;
    try {
      return this.#trailingEdge();
    } finally {
      this.#cool(endMs);
    }
  }

  /** Remembers the time of the last call until its wait has passed, then calls `_idle`. */
  #cool(endMs: number): void {
    if (this.#host._idle === undefined || this.pending) return;
    const leftMs = endMs - this.#wait.wq.kernel.now();
    this.#isCooling = leftMs > 0 && reset(this.#wait, leftMs, null) === 0;
    if (!this.#isCooling) this.#host._idle();
  }

  /** A call that finds no timer. */
  #start(): R | undefined {
    const { waitMs, maxWaitMs, leading } = this.#timing;
    const nowMs = this.#wait.wq.kernel.now();
    const isFirst = nowMs - this.#lastCallMs >= waitMs || nowMs - this.#lastInvokeMs >= maxWaitMs;
    this.#isCooling = false;
    if (!this.#arm()) return this.#result;
    if (isFirst) this.#lastInvokeMs = nowMs;
    this.#armLimit(Math.max(waitMs, this.#lastInvokeMs + maxWaitMs - nowMs));
    return isFirst && leading ? this.#invoke(nowMs) : this.#result;
  }

  /** If the loop was blocked and no timer could run, the call that finds the limit passed invokes the function. */
  #checkLimit(hasWaited: boolean): R | undefined {
    // Calls of one tick have the same deadline, so the first one answers for all. Computing the time takes 30 ns.
    const due = this.#wait._due;
    if (!hasWaited && due === this.#seenDue && due !== FAR) return this.#result;
    this.#seenDue = due;
    const { waitMs, maxWaitMs } = this.#timing;
    const limitMs = this.#lastInvokeMs + maxWaitMs;
    if (!hasWaited && this.#wait.deadline - waitMs < limitMs) return this.#result;
    const nowMs = this.#wait.wq.kernel.now();
    if (!hasWaited && nowMs < limitMs) return this.#result;
    this.#armLimit(maxWaitMs);
    return this.#invoke(nowMs);
  }

  /** Starts the wait. False: the kernel is closing, and nothing will be invoked. */
  #arm(): boolean {
    if (reset(this.#wait, this.#timing.waitMs, null) === 0) return true;
    this._abort(undefined);
    return false;
  }

  #armLimit(delayMs: number): void {
    if (this.#limit !== null) reset(this.#limit, delayMs, null);
  }

  #trailingEdge(): R | undefined {
    if (this.#timing.trailing && this.#args !== undefined) {
      return this.#invoke(this.#limit === null ? 0 : this.#wait.wq.kernel.now());
    }
    this.#forget();
    return this.#result;
  }

  #invoke(nowMs: number): R {
    const args = this.#args as readonly unknown[];
    const self = this.#self;
    this.#forget();
    this.#lastInvokeMs = nowMs;
    const result = this.#host._invoke(self, args);
    this.#result = result;
    return result;
  }

  #forget(): void {
    this.#args = undefined;
    this.#self = undefined;
  }

  #stop(): void {
    this.#isCooling = false;
    this.#wait.stop();
    this.#limit?.stop();
  }
}

function waited<R>(it: Debouncer<R>): R | undefined {
  return it._waited();
}

function limited<R>(it: Debouncer<R>): R | undefined {
  return it._limited();
}
