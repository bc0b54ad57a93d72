/*
 * The queues of the timers drop-in API: the order in which callbacks are called, and what runs between
 * two of them.
 *
 *    Node     ... timers | poll | immediates             | timers | poll | immediates ...
 *    here     ... poll | early | timers | immediates | poll | early | timers | immediates ...
 *                       \__ one pass of the kernel _/
 *
 * As everywhere in kcont, timers are called after the poll phase that follows their deadline. The
 * guarantees of Node about timers and immediates hold: an immediate set by an I/O callback runs before
 * any timer of that callback; an immediate set by an immediate runs in the next turn, after the timers
 * that have become due meanwhile; an immediate set by a timer ("early") runs after the next poll phase
 * and before the timers that become due later.
 *
 * Each timer is a continuation. When it expires, its callback is not called but appended to a queue,
 * as are the callbacks of immediates. One continuation of lower priority, the runner, processes the
 * queues in the order of the phases, called directly by the pass, so that few frames of kcont take up
 * space in stack traces. After each callback it has to empty the queues of process.nextTick and of
 * microtasks. There are three ways to do this:
 *
 *   call     `process._tickCallback`, which Node calls between two of its own timers. It is not
 *            documented, but it is the same function from Node 20 to 26, and the only one that
 *            empties both queues without leaving the check phase.                 0.03 us
 *   yield    end the pass after one callback and continue in the next one, after a poll phase.
 *            Needs no internals of Node, and is correct because the queues keep the order of the
 *            phases.                                                               1.1  us
 *   chain    continue with the next callback from a nextTick or a microtask. Not correct: the
 *            callback would run before the ticks and microtasks that the already queued ones add.
 *
 * So `call` is used if the function exists. `yield` is used if it does not or if Node warns of it
 * (--pending-deprecation), if async_hooks would be notified twice of the end of our callback
 * (`isWatched`), and in virtual time, where `advance` lets promises settle between two passes. With
 * `VirtualClock.tick`, which is synchronous, nothing settles between two callbacks.
 *
 * All immediates of a turn are called in that turn. Between timers the runner yields to I/O when the
 * kernel's budget is used up, and later continues with the same queue, so the order is kept.
 *
 * Only referenced callbacks in the queues keep the process alive, so the runner is referenced while
 * there is one.
 *
 * When the kernel closes, queued callbacks are called; those left at the end of the grace period are
 * cleared. Unreferenced immediates are cleared when the last run has settled.
 *
 * An error thrown by a callback is not caught here, so that the host reports it as an uncaught
 * exception with the line that threw. The other callbacks run in the next pass.
 */

import { untilNextLook } from '../../core/budget.ts';
import type { Clock } from '../../time/clock.ts';
import { afterMicrotasks, isWatched, runNextTicks } from '../../time/host-clock.ts';
import type { Dispatcher } from '../../core/dispatcher.ts';
import { AT_TOP, awaits } from '../../core/invoke.ts';
import { KcontError } from '../../base/errors.ts';
import type { Task } from '../../core/one-shot.ts';
import type { Kcont } from '../../core/kcont.ts';
import { makeOwn } from '../../core/own-kcont.ts';
import type { Kernel } from '../../core/kernel.ts';
import { List, moveAll } from '../../base/list.ts';
import { PRI_SOFTCLOCK } from '../../base/priorities.ts';
import { makeRunnable, makeRunnableNext, refusal } from '../../core/schedule.ts';
import { GRACE, LIMIT, TASK } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import type { Callback } from './callback.ts';
import type { Timeout } from './timeout.ts';
import { TickGroup } from './tick-group.ts';

/** Delay of unreferenced immediates, in ms, if the clock has no event loop turns to wait for. */
const UNREF_MS = 1;

/** The queues of one kernel, and the continuation that processes them. */
export class PhaseQueues implements Task {
  /** The workqueue on which timers expire. */
  readonly softclock: Workqueue;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  /**
   * Makes timers that one callback sets with the same delay expire in the same pass (see
   * tick-group.ts).
   */
  readonly tickGroup: TickGroup<Timeout>;
  readonly #budgetMs: number;
  /** Processes the queues. Referenced while a callback in a queue is. */
  readonly #runner: Kcont<PhaseQueues>;
  /** Timers: expired ones, and those of the current turn. */
  readonly #expired = new List<Callback>();
  readonly #timers = new List<Callback>();
  /** Immediates set by timers: new ones, and those of the current turn. */
  readonly #setByTimers = new List<Callback>();
  readonly #early = new List<Callback>();
  /** Other immediates: new ones, and those of the current turn. */
  readonly #set = new List<Callback>();
  readonly #immediates = new List<Callback>();
  /** When the current callback was called, if it is that of an interval; else NaN. */
  startMs: number = NaN;
  /** Whether a turn has begun: its immediates have been moved to the queues of the turn. */
  #begun = false;
  /** The queue being processed. If both are false, it is that of early immediates, or there is none. */
  #inTimers = false;
  #inImmediates = false;
  /** Number of queued callbacks that keep the process alive. */
  #refs = 0;

  constructor(kernel: Kernel) {
    this.softclock = kernel.wq.softclock;
    const dispatcher = this.softclock._dispatcher;
    this.dispatcher = dispatcher;
    this.clock = dispatcher.clock;
    this.tickGroup = new TickGroup(this.clock);
    this.#budgetMs = dispatcher.budgetMs;
    // Lower than that of timers, so that all timers that expire in a pass are queued before one is
    // called.
    const wq = kernel.acquire(PRI_SOFTCLOCK - 1);
    const options = { name: 'timers', ref: false };
    this.#runner = makeOwn<PhaseQueues>(TASK | LIMIT, wq, null, runTurn, this, options);
  }

  /** Queues a timer that has expired, even while the kernel closes. */
  addTimer(timer: Callback): void {
    this.tickGroup.end();
    this.#expired.push(timer);
    if (!this.#runner.invoking) makeRunnable(this.#runner);
  }

  /**
   * Queues an immediate, which keeps the process alive. Returns false in the grace period of the
   * kernel, in which only immediates are called that a run in flight may wait for.
   */
  addImmediate(immediate: Callback, isAwaited: boolean): boolean {
    const { dispatcher } = this;
    if (dispatcher.closed && !(isAwaited && dispatcher.phase === GRACE && awaits(dispatcher))) {
      if (dispatcher.phase === GRACE && !isAwaited) return false;
      throw new KcontError('ESHUTDOWN', 'immediate cannot be scheduled: the kernel is closed');
    }
    (this.#inTimers ? this.#setByTimers : this.#set).push(immediate);
    this.ref();
    return true;
  }

  /**
   * Returns when the current ms began. An interval counts its next period from there, as in Node, which
   * counts in whole ms. Counted from the call, each period would be longer by the time that a call is late.
   */
  wholeMs(): number {
    const { clock } = this;
    return Math.floor(clock.now + clock._phase) - clock._phase;
  }

  /** Counts a queued callback that keeps the process alive. */
  ref(): void {
    if (this.#refs++ > 0) return;
    this.#runner.ref();
    if (!this.#runner.invoking) makeRunnableNext(this.#runner);
  }

  /** Uncounts a callback that was unreferenced or has left its queue. */
  unref(): void {
    if (--this.#refs > 0) return;
    this.#runner.unref();
    if (!this.#runner.running) this.#rest();
  }

  /**
   * Runs a turn, or the part of it that fits into the pass. This is one function to keep stack traces
   * short.
   */
  run(): void {
    const { clock } = this;
    const yields = clock._turns && isWatched();
    const drain = clock._turns && !yields ? runNextTicks : undefined;
    this.#beginTurn();
    let queue = this.#inImmediates ? this.#immediates : this.#early;
    let untilMs = Infinity;
    // Timers called, and timers to call before the clock is read again.
    let ran = 0;
    let left = 1;
    try {
      for (;;) {
        const callback = queue.shift();
        if (callback === undefined) {
          if (queue === this.#immediates) break;
          queue = this.#nextQueue(queue);
          if (this.#inTimers && !queue.empty) untilMs = clock.now + this.#budgetMs;
          continue;
        }
        const { called } = callback;
        const func = called._begin();
        const args = called._args;
        try {
          if (args === undefined) callback.runInAsyncScope(func, called);
          else callback.runInAsyncScope(func, called, ...args);
        } finally {
          called._end();
        }
        if (drain !== undefined) drain();
        else if (yields) {
          // Timers that have become due by then are called before the next immediates.
          afterMicrotasks(() => this.dispatcher.readTime());
          return;
        } else if (!clock._drain()) return;
        if (!this.#inTimers) continue;
        ran++;
        if (--left > 0 || queue.empty) continue;
        if (clock.now >= untilMs) return;
        left = untilNextLook(ran);
      }
      this.#begun = false;
    } finally {
      this.#inTimers = false;
      this.#rest();
    }
  }

  /** Begins a turn, or continues the one that the last pass left unfinished. */
  #beginTurn(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#inImmediates = false;
    moveAll(this.#setByTimers, this.#early);
    moveAll(this.#set, this.#immediates);
  }

  #nextQueue(queue: List<Callback>): List<Callback> {
    this.#inTimers = queue === this.#early;
    this.#inImmediates = !this.#inTimers;
    if (this.#inImmediates) return this.#immediates;
    if (this.#timers.empty) moveAll(this.#expired, this.#timers);
    return this.#timers;
  }

  /** Cancels all queued callbacks, because the kernel is closed and the runner does not run any more. */
  _abort(reason: unknown): void {
    const begun = [this.#early, this.#timers, this.#immediates];
    for (const queue of [...begun, this.#setByTimers, this.#set, this.#expired]) {
      for (const callback of Array.from(queue)) callback.abort(reason);
    }
  }

  /** Schedules the runner if callbacks are queued. */
  #rest(): void {
    const runner = this.#runner;
    const working =
      !this.#timers.empty || !this.#expired.empty || !this.#early.empty || !this.#immediates.empty;
    if (!working) this.#begun = false;
    if (this.#refs > 0 || working) {
      if (runner.running) makeRunnableNext(runner);
    } else if (this.#set.empty && this.#setByTimers.empty) runner.stop();
    else this.#awaitTurn();
  }

  /** Waits for the next turn, in which unreferenced immediates are called, if there is one. */
  #awaitTurn(): void {
    const runner = this.#runner;
    if (this.clock._turns && !runner.wq._dispatcher.closed) {
      if (runner.running) makeRunnableNext(runner);
      return;
    }
    runner.stop();
    runner.ack();
    const errno = runner._schedule(UNREF_MS, null);
    if (errno !== 0) this._abort(refusal(runner, errno, UNREF_MS, null));
  }
}

/**
 * Runs at the top of the pass, unless the kernel has an `onError`: errors are then caught where the
 * dispatcher enters functions.
 */
function runTurn(queues: PhaseQueues, kc: Kcont<PhaseQueues>): void {
  if (kc.wq._dispatcher.onError === undefined) return AT_TOP as unknown as void;
  queues.run();
}
