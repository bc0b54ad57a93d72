/*
 * The dispatcher: one per CPU, with its wheel and its run queue.
 *
 *    schedule(n) --> wheel --collect--> run queue <-- schedule(0)
 *                                          | dispatch: first of the highest priority
 *            +----------------+------------+--------------+
 *            | own run not    | queue at   | lock         | free: enter,
 *            | settled: aside | maxActive: | held: its    | then settle, at once or
 *            |                | aside      | turnstile    | when the promise does
 *            +-------resume, at the old place in the order-+
 *
 * A pass runs in the check phase of the event loop, after the poll phase:
 *
 *   0. rejoin    what the last pass has deferred to this one.
 *   1. collect   timers due by a time that was read *before* this poll phase. Whatever had arrived
 *                by that time has been read by now, so an idle timer that is still due speaks the
 *                truth: a loop that stalls kills no live connection.
 *   2. starved   each level in which one has waited longer than its patience is served once.
 *   3. dispatch  strictly by priority, until nothing can be entered or the budget is spent.
 *   4. plan      more to do: another pass after the next poll phase; else arm the one timer.
 *   5. microtasks asynchronous functions that settle at once make room, or free a lock, for others:
 *                these are dispatched from microtasks, as part of the same pass and its budget.
 *
 * What waits aside is not looked at again until what it waits for has happened, so a busy lock
 * costs the others nothing. It keeps its place: at its first waiting it takes a sequence number
 * that orders it among all who wait, and comes back ahead of all that was not reached yet.
 *
 * Sources: NetBSD kern_timeout.c, softint(9); Linux's softirq budget; the FreeBSD callout TRYLOCK
 * for setting aside what waits for a lock.
 */

import { Budget } from './budget.ts';
import type { Clock, Deadlines, Driven, Waker } from '../time/clock.ts';
import { Collector } from './collector.ts';
import { ADMITTED, ASIDE, STALE, remoteOf, type CpuLink } from './cpu-link.ts';
import { enter, settle, type AsyncRun, type OnError } from './invoke.ts';
import type { Task } from './one-shot.ts';
import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import { List, unlink } from '../base/list.ts';
import { stamp } from '../base/ordered-list.ts';
import { release } from '../locks/lock-check.ts';
import { NONE, type Timekeeper } from '../locks/turnstile.ts';
import { firstStarved } from './patience.ts';
import { restartTimerFrom } from './schedule.ts';
import type { ClockSampler } from '../time/clock-sampling.ts';
import { Refs } from './refs.ts';
import type { RunQueue } from './run-queue.ts';
import { OPEN, PENDING, REMOTE, RUNNING, UNREF, WAITED, type Phase, stopped } from './state.ts';
import { BLOCK, FAR, type Wheel } from '../time/timing-wheel.ts';
import type { Workqueue } from './workqueue.ts';

/** In how many microtasks an asynchronous function that awaits nothing slow has settled. */
const MICROTASK_ROUNDS = 4;

const settled: Promise<void> = Promise.resolve();

/** The argument of a continuation whose function returns AT_TOP. */
interface AtTop {
  /** What the function would do: called by the pass itself. */
  run(): void;
}

/** Whose functions are on the stack; several kernels may share a thread. */
let entered: Dispatcher | null = null;

/**
 * The kernel whose pass this is called in; null: in none.
 *
 * @internal
 */
export function kernelInPass(): Kernel | null {
  return entered === null ? null : entered.kernel;
}

/**
 * Collects the continuations of one CPU, and dispatches them in order.
 *
 * @internal
 */
export class Dispatcher implements Driven, Timekeeper {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly collector: Collector;
  readonly wheel: Wheel<Kcont<unknown>>;
  readonly runq: RunQueue<Kcont<unknown>>;
  readonly sampler: ClockSampler<Kcont<unknown>>;
  readonly asyncRuns: List<AsyncRun> = new List<AsyncRun>();
  /** Runs that have completed, to be used again. */
  readonly freeRuns: AsyncRun[] = [];
  /** Jobs for the next pass, not for what is left of this one. */
  readonly deferred: List<Kcont<unknown>> = new List<Kcont<unknown>>();
  readonly onError: OnError | undefined;
  /** The host timer will fire by this tick, counted from the wheel's base. */
  armedTicks: number = FAR;
  /** The other CPUs; null: there are none. */
  cpuLink: CpuLink | null = null;
  /** Asynchronous functions have been entered in this pass. */
  needsMicrotasks = false;
  /** Those who wait for a result, and have no continuation yet: a shutdown tells them too. */
  readonly tasks: Set<Task> = new Set<Task>();
  /** The workqueues of the kernel. */
  readonly queues: Set<Workqueue> = new Set<Workqueue>();
  /** How far a shutdown has come. */
  phase: Phase = OPEN;
  /** The continuation whose function is on the stack, if any is. */
  current: Kcont<unknown> | undefined = undefined;

  /** The continuation that goes on at the top of the pass, before any other is entered. */
  atTop: Kcont<unknown> | null = null;

  /** Counts the passes. */
  passes = 0;

  /** After how many ms a pass yields to I/O. */
  readonly budgetMs: number;

  readonly #waker: Waker;
  /** Scheduled continuations that keep the process alive. */
  readonly #refs: Refs;
  readonly #budget: Budget;
  #passing = false;
  /** In whose pass this one was begun: a function has advanced a virtual clock. */
  #outer: Dispatcher | null = null;
  /** The host timer may be armed. */
  #armed = false;
  /** Microtasks left in which to look for what promises have resumed. */
  #microtasks = 0;
  readonly #look: () => void;
  /** Since which absolute tick each pass has left a backlog; Infinity: the last one has left none. */
  #backlogTick = Infinity;

  constructor(kernel: Kernel, clock: Clock, budgetMs: number, onError: OnError | undefined) {
    this.kernel = kernel;
    this.clock = clock;
    this.budgetMs = budgetMs;
    this.onError = onError;
    this.collector = new Collector(clock, restartTimerFrom);
    this.wheel = this.collector.wheel;
    this.runq = this.collector.runq;
    this.sampler = this.collector.sampler;
    this.#budget = new Budget(clock, budgetMs);
    this.#look = () => this.#lookAgain();
    this.#waker = clock._drive(this);
    this.#refs = new Refs(this.#waker);
  }

  /** Refuses to schedule: from the call of `close` on. */
  get closed(): boolean {
    return this.phase !== OPEN;
  }

  /** One more continuation is scheduled. */
  ref(): void {
    if (this.#refs.count++ > 0 || this.#passing || !this.#refs.isNews) return;
    this.#refs.tell();
    this.request();
  }

  /** One less. */
  unref(): void {
    if (--this.#refs.count === 0 && !this.#passing) this.#refs.tellLater();
  }

  /** Asks for a pass. */
  request(): void {
    if (!this.#passing) this.#waker.request();
  }

  /** Nothing is scheduled any more: leaves nothing armed. */
  rest(): void {
    this.#disarm();
    this.#waker.takeBack();
  }

  #disarm(): void {
    this.armedTicks = FAR;
    this.#armed = false;
    this.#waker.arm(Infinity);
  }

  /** Makes a continuation that waited aside runnable again: at its old place, or promoted. */
  resume(kc: Kcont<unknown>, priority: number = kc._wq.priority): void {
    let level = kc._wq._level;
    if (priority !== kc._wq.priority) {
      level.promotedIn = this.passes;
      level = this.runq.level(priority);
    }
    this.collector.returned(kc);
    level.resumed.append(kc);
    this.runq.mark(level);
    this.request();
  }

  /** Withdraws what is scheduled: PENDING or QUEUED. */
  withdraw(kc: Kcont<unknown>): void {
    const state = kc._state;
    kc._state = stopped(state);
    if ((state & PENDING) !== 0) {
      this.wheel.remove(kc);
    } else {
      unlink(kc);
      kc._lock?._leave(kc);
      kc._wq._unload();
      kc._wq._wake();
    }
    if ((state & UNREF) === 0) this.unref();
  }

  #begin(): void {
    this.passes = (this.passes + 1) | 0;
    this.#passing = true;
    this.#outer = entered;
    entered = this;
  }

  #end(): void {
    this.#passing = false;
    this.current = undefined;
    entered = this.#outer;
    this.#outer = null;
  }

  pass(): void {
    this.#begin();
    this.#budget.reset();
    this.#rejoin();
    try {
      this.cpuLink?.wake();
      const { collectable } = this.collector;
      if (collectable > this.wheel.tick) this.collector.collect(collectable);
      if (this.#backlogTick < Infinity) this.#serveStarved();
      this.#dispatchWithinBudget();
      for (;;) {
        const kc = this.atTop;
        if (kc !== null) {
          this.atTop = null;
          // From here: few frames of ours are between the host and what it calls.
          try {
            (kc._arg as AtTop).run();
          } finally {
            settle(this, kc);
          }
        } else if (!this.#takesMore()) break;
        this.#dispatchWithinBudget();
      }
    } finally {
      this.#end();
      this.#plan();
    }
    if (this.needsMicrotasks) this.#lookAfterMicrotasks(MICROTASK_ROUNDS);
  }

  /** Whether other CPUs have sent something meanwhile, and there is budget for it. */
  #takesMore(): boolean {
    const { cpuLink } = this;
    if (cpuLink === null || !this.runq.empty) return false;
    return !this.#budget.isSpent() && cpuLink.take();
  }

  /** Looks again after so many microtasks, in which promises settle, for what they have resumed. */
  #lookAfterMicrotasks(microtasks: number): void {
    this.needsMicrotasks = false;
    this.#microtasks = microtasks;
    void settled.then(this.#look);
  }

  #lookAgain(): void {
    if (this.runq.empty) {
      if (this.#microtasks > 1) this.#lookAfterMicrotasks(this.#microtasks - 1);
      return;
    }
    if (this.#budget.isSpent()) return;
    this.#begin();
    try {
      do this.#dispatchWithinBudget();
      while (this.#goOnAtTop());
    } catch (error) {
      this.clock._raise(error);
    } finally {
      this.#end();
      this.#plan();
    }
    this.#lookAfterMicrotasks(MICROTASK_ROUNDS);
  }

  /** What is due by now may be collected in the next pass: there is a poll phase before it. */
  readTime(): void {
    this.collector.collectable = this.collector.tick();
  }

  timerFired(): void {
    this.readTime();
    this.armedTicks = FAR;
    this.request();
  }

  nextDueMs(): number {
    return this.wheel.nextTick();
  }

  presentTick(): number {
    return this.sampler.tick() + this.wheel.base;
  }

  get served(): boolean {
    return this.cpuLink !== null;
  }

  dueTick(kc: object): number {
    return this.wheel.dueTick(kc as Kcont<unknown>);
  }

  tellDeadlines(deadlines: Deadlines | null): boolean {
    const { wheel } = this;
    wheel.deadlines = deadlines;
    this.sampler.deadlines = deadlines;
    this.armedTicks = FAR;
    if (deadlines !== null) return this.collector.tellDeadlines(deadlines);
    return this.runnable || this.#refs.count > 0 || wheel.count > 0;
  }

  ring(): void {
    this.readTime();
    const passing = this.#passing;
    const outer = this.#outer;
    const { current } = this;
    this.pass();
    if (!passing) return;
    // One of its functions has moved the time of the fakes on.
    this.#passing = true;
    this.#outer = outer;
    this.current = current;
  }

  get runnable(): boolean {
    return !this.runq.empty || !this.deferred.empty;
  }

  runNow(): void {
    this.#begin();
    this.#rejoin();
    try {
      this.collector.collect(this.collector.tick());
      for (let kc = this.runq.shift(); kc !== undefined; kc = this.runq.shift()) {
        this.#dispatch(kc);
        this.#goOnAtTop();
      }
    } finally {
      this.#end();
    }
  }

  /** What a pass does itself. Returns whether there was something. */
  #goOnAtTop(): boolean {
    const kc = this.atTop;
    if (kc === null) return false;
    this.atTop = null;
    try {
      (kc._arg as AtTop).run();
    } finally {
      settle(this, kc);
    }
    return true;
  }

  #rejoin(): void {
    for (let kc = this.deferred.shift(); kc !== undefined; kc = this.deferred.shift()) {
      this.runq.addJob(kc._wq._level, kc);
    }
  }

  #serveStarved(): void {
    const highest = this.runq.highest();
    if (highest === undefined) return;
    this.#budget.begin();
    const now = this.presentTick();
    let level = this.runq.highest(highest.priority);
    for (; level !== undefined; level = this.runq.highest(level.priority)) {
      // What was due before there was a backlog was not kept waiting.
      const starved = firstStarved(level, this.#backlogTick, now);
      if (starved === undefined) continue;
      unlink(starved);
      this.#dispatch(starved);
    }
  }

  #dispatchWithinBudget(): void {
    if (this.runq.empty) return;
    const budget = this.#budget;
    budget.begin();
    for (let kc = this.runq.shift(); kc !== undefined; kc = this.runq.shift()) {
      const { ran } = budget;
      budget.take();
      this.#dispatch(kc);
      if (this.atTop !== null) return;
      if (ran === budget.ran) budget.giveBack();
      // What was alone needs no reading of the clock.
      if (budget.isDoubtful && !this.runq.empty && budget.isSpent()) return;
    }
  }

  #plan(): void {
    this.#refs.tell();
    if (this.runnable || this.cpuLink?.sleep() === true) {
      const tick = this.collector.tick();
      this.collector.collectable = tick;
      this.#backlogTick = Math.min(this.#backlogTick, tick);
      this.#waker.request();
      return;
    }
    this.#backlogTick = Infinity;
    // Nothing is armed but what waits for each deadline.
    if (this.wheel.deadlines !== null) return;
    if (this.#refs.count === 0 && this.wheel.count === 0) {
      if (this.#armed) this.#disarm();
      return;
    }
    const next = this.wheel.nextTick();
    const ticks = next - this.wheel.base;
    // What is armed for just that time needs no reading of the clock.
    if (next !== Infinity && ticks !== this.armedTicks) {
      const tick = this.collector.tick();
      if (next <= tick) {
        this.collector.collectable = tick;
        this.#waker.request();
        return;
      }
      if (tick - this.wheel.base >= BLOCK) this.collector.catchUp(tick - this.wheel.base);
    }
    this.armedTicks = Math.min(next - this.wheel.base, FAR);
    this.#armed = true;
    // What only waits for a lock keeps the process alive too.
    const atMs = next === Infinity && this.#refs.count > 0 ? Number.MAX_SAFE_INTEGER : next;
    this.#waker.arm(atMs - this.clock._phase);
  }

  /** Enters a continuation that was taken from the run queue, or sets it aside. */
  #dispatch(kc: Kcont<unknown>): void {
    const wq = kc._wq;
    const remote = (kc._state & REMOTE) === 0 ? null : remoteOf(kc);
    const admission = remote === null ? ADMITTED : remote.admit();
    const lock = kc._lock;
    if ((kc._state & RUNNING) !== 0 || admission === ASIDE) {
      // Its settle resumes it, or the other CPU that has a part of it.
      this.#setAside(kc);
      lock?._leave(kc);
    } else if (admission === STALE) this.withdraw(kc);
    else if (wq._available === 0) {
      this.#setAside(kc);
      lock?._leave(kc);
      wq._waiting.append(kc);
    } else if (lock !== null && !lock._takeFor(kc)) {
      const since = this.#backlogTick < Infinity ? this.#backlogTick : NONE;
      // The tick of a job may be that of long ago; it was scheduled since the last pass.
      if (since === NONE && (kc._state & WAITED) === 0) kc._due = this.sampler.tick();
      this.#setAside(kc);
      lock._wait(kc, since);
      wq._wake();
    } else if (remote === null || remote.enter()) {
      this.#budget.ran++;
      enter(this, kc);
    } else {
      release(lock);
      this.withdraw(kc);
    }
  }

  #setAside(kc: Kcont<unknown>): void {
    if ((kc._state & WAITED) !== 0) return;
    kc._state |= WAITED;
    stamp(kc);
  }
}
