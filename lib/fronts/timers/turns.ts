/*
 * The turns of a timers front: when which callback is called, and what happens between two.
 *
 *    Node     ... poll | immediates | timers due by now | poll | immediates | timers ...
 *    here     ... poll | immediates | timers due before | poll | immediates | timers ...
 *                       \______ one pass of the kernel _/
 *
 * The phases follow one another as Node's do; only, what is due is decided before the poll phase,
 * as everywhere in kcont. So what Node promises of the order of timers and immediates holds: an
 * immediate of an I/O callback comes before any timer of that callback, one that is set by an
 * immediate comes in the next turn, one that is set by a timer comes after the next poll phase and
 * before the timers that become due later.
 *
 * Timers are continuations, one each. Expired, they do not call back but stand in line; so do
 * immediates. One continuation below them, the runner, works the lines off in the order of the
 * phases. It empties the queues of process.nextTick and of microtasks after each callback. For
 * that there are three ways:
 *
 *   call     `process._tickCallback`: what Node calls between two timers of its own. It is not
 *            documented, but it is the same function from Node 20 to 26, and it is the only one
 *            that empties both queues without leaving the check phase.           0.03 us
 *   yield    end the pass after one callback and go on in the next one, after a poll phase.
 *            Needs nothing of Node, and is right for the same reason that Node's own turns are:
 *            the phases keep their order, because the lines do.                   1.1  us
 *   chain    a nextTick or a microtask that goes on with the next callback. Not sound: it runs
 *            before the ticks and microtasks which those in the queues still add.
 *
 * Hence: call where the function is, yield where it is not (a Node without it, or one that warns
 * of it: --pending-deprecation) and in virtual time, where `advance` lets promises settle between
 * two passes. With `VirtualClock.tick`, which is synchronous, nothing settles in between.
 *
 * Immediates are worked off whole, each turn. Between timers the runner yields to I/O when the
 * kernel's budget is spent, and goes on with the same line: the order stays.
 *
 * What stands in line keeps the process alive if it is referenced, and nothing else does. So the
 * runner is referenced as long as one in line is.
 *
 * When the kernel closes, what stands in line is called; what does not within the grace, and
 * immediates that are unreferenced, is cleared.
 *
 * A callback that throws is an uncaught exception. The others go on in the next pass.
 */

import type { Clock } from '../../clock/clock.ts';
import { untilNextLook } from '../../dispatch.ts';
import { KcontError } from '../../errors.ts';
import type { Task } from '../../job.ts';
import { Kcont } from '../../kcont.ts';
import type { Kernel } from '../../kernel.ts';
import { Fifo } from '../../list.ts';
import { PRI_SOFTCLOCK } from '../../priorities.ts';
import { makeRunnable, makeRunnableNext, refusal } from '../../schedule.ts';
import { TASK } from '../../state.ts';
import type { Workqueue } from '../../workqueue.ts';
import type { Callback } from './callback.ts';
import type { Timeout } from './timeout.ts';
import { Together } from './together.ts';

/** Where there are no turns: after how many ms unreferenced immediates are called. */
const UNREF_MS = 1;

/** The lines of one kernel, and who works them off. */
export class Turns implements Task {
  /** Where timers expire. */
  readonly softclock: Workqueue;
  readonly clock: Clock;
  /** Starts their delays. */
  readonly together: Together<Timeout>;
  readonly #budgetMs: number;
  /** Referenced while something in line is. */
  readonly #runner: Kcont<Turns>;
  /** Timers: expired, and being worked off. */
  readonly #expired = new Fifo<Callback>();
  readonly #timers = new Fifo<Callback>();
  /** Immediates: set, and being worked off. */
  readonly #set = new Fifo<Callback>();
  readonly #immediates = new Fifo<Callback>();
  /** A turn has begun: its immediates have been taken from those set. */
  #begun = false;
  /** Of those in line, how many keep the process alive. */
  #refs = 0;

  constructor(kernel: Kernel) {
    this.softclock = kernel.wq.softclock;
    const dispatcher = this.softclock._dispatcher;
    this.clock = dispatcher.clock;
    this.together = new Together(this.clock);
    this.#budgetMs = dispatcher.budgetMs;
    // Lower than its timers: all that expire in a pass stand in line before one is called.
    this.#runner = new Kcont(kernel.acquire(PRI_SOFTCLOCK - 1), null, runTurn, this, {
      name: 'timers',
      ref: false,
    });
    this.#runner._state |= TASK;
  }

  /** A timer has expired: on a kernel that closes, too. */
  addTimer(timer: Callback): void {
    this.#expired.push(timer);
    if (!this.#runner.invoking) makeRunnable(this.#runner);
  }

  /** An immediate has been set; it keeps the process alive. */
  addImmediate(immediate: Callback): void {
    if (this.#runner.wq._dispatcher.closed) {
      throw new KcontError('ESHUTDOWN', 'immediate cannot be scheduled: the kernel is closed');
    }
    this.#set.push(immediate);
    this.ref();
  }

  /**
   * When the present tick began: from then an interval counts the next period. From the very call,
   * each period would be a tick longer than it is in Node, which counts in whole ms too.
   */
  tickMs(): number {
    const { clock } = this;
    return Math.floor(clock.now + clock._phase) - clock._phase;
  }

  /** One more in line keeps the process alive. */
  ref(): void {
    if (this.#refs++ > 0) return;
    this.#runner.ref();
    if (!this.#runner.invoking) makeRunnableNext(this.#runner);
  }

  /** One less: it was unreferenced, or has left the line. */
  unref(): void {
    if (--this.#refs > 0) return;
    this.#runner.unref();
    if (!this.#runner.running) this.#rest();
  }

  /** Runs a turn, or as much of it as the pass may. */
  run(): void {
    try {
      // What the last pass has left of its turn comes first; the next turn, in the next pass.
      if (!this.#begun) this.#immediates.takeAll(this.#set);
      this.#begun = true;
      if (!this.#workOff(this.#immediates, Infinity)) return;
      if (this.#timers.empty) this.#timers.takeAll(this.#expired);
      this.#workOff(this.#timers, this.#budgetMs);
      this.#begun = !this.#timers.empty;
    } finally {
      this.#rest();
    }
  }

  /** The kernel is closed, and nobody works the lines off any more. */
  _abort(reason: unknown): void {
    for (const line of [this.#immediates, this.#timers, this.#set, this.#expired]) {
      for (const callback of Array.from(line)) callback.abort(reason);
    }
  }

  /** Calls back whatever stands in a line; false: the pass has to end first. */
  #workOff(line: Fifo<Callback>, budgetMs: number): boolean {
    if (line.empty) return true;
    const untilMs = budgetMs === Infinity ? Infinity : this.clock.now + budgetMs;
    let called = 0;
    let left = 1;
    for (let callback = line.shift(); callback !== undefined; callback = line.shift()) {
      callback.call();
      if (!this.clock._drain()) return false;
      called++;
      if (untilMs === Infinity || --left > 0 || line.empty) continue;
      if (this.clock.now >= untilMs) return false;
      left = untilNextLook(called);
    }
    return true;
  }

  /** Sees to it that what stands in line is called. */
  #rest(): void {
    const runner = this.#runner;
    const working = !this.#timers.empty || !this.#expired.empty || !this.#immediates.empty;
    if (!working) this.#begun = false;
    if (this.#refs > 0 || working) {
      if (runner.running) makeRunnableNext(runner);
    } else if (this.#set.empty) runner.stop();
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

function runTurn(turns: Turns): void {
  turns.run();
}
