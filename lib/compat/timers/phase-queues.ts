/*
 * The queues of a timers drop-in API: when which callback is called, and what happens between two.
 *
 *    Node     ... timers | poll | immediates             | timers | poll | immediates ...
 *    here     ... poll | early | timers | immediates | poll | early | timers | immediates ...
 *                       \__ one pass of the kernel _/
 *
 * Here timers are called behind the poll phase before which they were due, as everywhere in kcont.
 * So what Node promises of the order of timers and immediates holds: an immediate of an I/O callback
 * comes before any timer of that callback; one that is set by an immediate comes in the next turn,
 * behind the timers that have become due meanwhile; one that is set by a timer, an early one, comes
 * after the next poll phase and before the timers that become due later.
 *
 * Timers are continuations, one each. Expired, they do not call back but wait in a queue; so do
 * immediates. One continuation below them, the runner, works the queues off in the order of the
 * phases, at the top of the pass, so that traces have room for the frames of the program. It empties
 * the queues of process.nextTick and of microtasks after each callback. For that there are three ways:
 *
 *   call     `process._tickCallback`: what Node calls between two timers of its own. It is not
 *            documented, but it is the same function from Node 20 to 26, and it is the only one
 *            that empties both queues without leaving the check phase.           0.03 us
 *   yield    end the pass after one callback and go on in the next one, after a poll phase.
 *            Needs nothing of Node, and is right for the same reason that Node's own phases are:
 *            the phases keep their order, because the queues do.                   1.1  us
 *   chain    a nextTick or a microtask that goes on with the next callback. Not sound: it runs
 *            before the ticks and microtasks which those in the queues still add.
 *
 * Hence: call where the function is; yield where it is not (a Node without it, or one that warns
 * of it: --pending-deprecation), where async_hooks would be told twice that our own callback is over
 * (`isWatched`), and in virtual time, where `advance` lets promises settle between two passes. With
 * `VirtualClock.tick`, which is synchronous, nothing settles in between.
 *
 * Immediates are worked off whole, each turn. Between timers the runner yields to I/O when the
 * kernel's budget is spent, and goes on with the same queue: the order stays.
 *
 * What waits in a queue keeps the process alive if it is referenced, and nothing else does. So the
 * runner is referenced as long as one in a queue is.
 *
 * When the kernel closes, what waits in a queue is called; what does not within the grace is cleared.
 * So are unreferenced immediates when the last run has settled.
 *
 * A callback that throws is an uncaught exception, which is not caught on its way: the host reports
 * it with the line that threw. The others go on in the next pass.
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
import { moveAll } from '../../base/list.ts';
import { OrderedList } from '../../base/ordered-list.ts';
import { PRI_SOFTCLOCK } from '../../base/priorities.ts';
import { makeRunnable, makeRunnableNext, refusal } from '../../core/schedule.ts';
import { GRACE, LIMIT, TASK } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import type { Callback } from './callback.ts';
import type { Timeout } from './timeout.ts';
import { TickGroup } from './tick-group.ts';

/** Where the clock has no turns: after how many ms unreferenced immediates are called. */
const UNREF_MS = 1;

/** The queues of one kernel, and who works them off. */
export class PhaseQueues implements Task {
  /** Where timers expire. */
  readonly softclock: Workqueue;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  /** Starts their delays. */
  readonly tickGroup: TickGroup<Timeout>;
  readonly #budgetMs: number;
  /** Referenced while something in a queue is. */
  readonly #runner: Kcont<PhaseQueues>;
  /** Timers: expired, and being worked off. */
  readonly #expired = new OrderedList<Callback>();
  readonly #timers = new OrderedList<Callback>();
  /** Immediates that timers have set, and those being worked off. */
  readonly #setByTimers = new OrderedList<Callback>();
  readonly #early = new OrderedList<Callback>();
  /** Immediates: set, and being worked off. */
  readonly #set = new OrderedList<Callback>();
  readonly #immediates = new OrderedList<Callback>();
  /** When the function of the interval that is being called was entered; NaN: it is none. */
  startMs: number = NaN;
  /** A turn has begun: its immediates have been taken from those set. */
  #begun = false;
  /** Which of its queues is being worked off; neither: the early immediates, or none. */
  #inTimers = false;
  #inImmediates = false;
  /** Of those in a queue, how many keep the process alive. */
  #refs = 0;

  constructor(kernel: Kernel) {
    this.softclock = kernel.wq.softclock;
    const dispatcher = this.softclock._dispatcher;
    this.dispatcher = dispatcher;
    this.clock = dispatcher.clock;
    this.tickGroup = new TickGroup(this.clock);
    this.#budgetMs = dispatcher.budgetMs;
    // Lower than its timers: all that expire in a pass wait in a queue before one is called.
    const wq = kernel.acquire(PRI_SOFTCLOCK - 1);
    const options = { name: 'timers', ref: false };
    this.#runner = makeOwn<PhaseQueues>(TASK | LIMIT, wq, null, runTurn, this, options);
  }

  /** A timer has expired: on a kernel that closes, too. */
  addTimer(timer: Callback): void {
    this.tickGroup.end();
    this.#expired.push(timer);
    if (!this.#runner.invoking) makeRunnable(this.#runner);
  }

  /**
   * An immediate has been set; it keeps the process alive. False: the kernel is in its grace, in which
   * only those are called that a run in flight waits for.
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
   * When the present tick began: from then an interval counts the next period. From the very call,
   * each period would be a tick longer than it is in Node, which counts in whole ms too.
   */
  tickMs(): number {
    const { clock } = this;
    return Math.floor(clock.now + clock._phase) - clock._phase;
  }

  /** One more in a queue keeps the process alive. */
  ref(): void {
    if (this.#refs++ > 0) return;
    this.#runner.ref();
    if (!this.#runner.invoking) makeRunnableNext(this.#runner);
  }

  /** One less: it was unreferenced, or has left the queue. */
  unref(): void {
    if (--this.#refs > 0) return;
    this.#runner.unref();
    if (!this.#runner.running) this.#rest();
  }

  /** Runs a turn, or as much of it as the pass may. In one function, for the sake of traces. */
  run(): void {
    const { clock } = this;
    const yields = clock._turns && isWatched();
    const drain = clock._turns && !yields ? runNextTicks : undefined;
    this.#beginTurn();
    let queue = this.#inImmediates ? this.#immediates : this.#early;
    let untilMs = Infinity;
    // Of timers.
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
          // What has become due by then comes before the next immediates.
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

  /** What the last pass has left of its turn comes first; the next turn, in the next pass. */
  #beginTurn(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#inImmediates = false;
    moveAll(this.#setByTimers, this.#early);
    moveAll(this.#set, this.#immediates);
  }

  #nextQueue(queue: Fifo<Callback>): Fifo<Callback> {
    this.#inTimers = queue === this.#early;
    this.#inImmediates = !this.#inTimers;
    if (this.#inImmediates) return this.#immediates;
    if (this.#timers.empty) moveAll(this.#expired, this.#timers);
    return this.#timers;
  }

  /** The kernel is closed, and nobody works the queues off any more. */
  _abort(reason: unknown): void {
    const begun = [this.#early, this.#timers, this.#immediates];
    for (const queue of [...begun, this.#setByTimers, this.#set, this.#expired]) {
      for (const callback of Array.from(queue)) callback.abort(reason);
    }
  }

  /** Sees to it that what waits in a queue is called. */
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

  /** Unreferenced immediates are called in the next turn, if there is one. */
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

/** At the top, unless the kernel takes errors: its dispatcher does that where functions are entered. */
function runTurn(queues: PhaseQueues, kc: Kcont<PhaseQueues>): void {
  if (kc.wq._dispatcher.onError === undefined) return AT_TOP as unknown as void;
  queues.run();
}
