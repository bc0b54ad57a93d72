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
 *   0. rejoin    Jobs that were scheduled for the next pass become runnable.
 *   1. collect   Timers expire that were due at a time that was read *before* this poll phase. All
 *                I/O that had arrived by that time has been handled by now, so if an idle timer is
 *                still due then, no data has arrived in time. A stalled loop does not close live
 *                connections.
 *   2. starved   Of each priority below the highest that has runnable continuations, one that has waited
 *                for longer than its patience is dispatched (see patience.ts).
 *   3. dispatch  Strictly by priority, until nothing can be entered or the budget is spent.
 *   4. plan      If there is more to do, another pass follows the next poll phase; otherwise the one
 *                timer is armed.
 *   5. microtasks When an asynchronous function settles immediately, its lock or its place within
 *                maxActive becomes free. Continuations that waited for it are dispatched from
 *                microtasks, within the budget of the same pass.
 *
 * A continuation that was set aside is not considered again until its wait is over, so a busy lock does
 * not slow down others. When it is first set aside it gets a new sequence number, and keeps that until it
 * is entered or withdrawn; so those set aside stay in the order in which they were first reached. When it
 * is resumed, it goes before all continuations of its priority that have not been reached yet.
 *
 * Sources: NetBSD kern_timeout.c, softint(9); Linux's softirq budget; FreeBSD's callout with TRYLOCK,
 * for setting aside continuations whose lock is held.
 */

import { Budget } from './budget.ts';
import type { Clock, Deadlines, Driven, Waker } from '../time/clock.ts';
import { Collector } from './collector.ts';
import type { CpuLink } from './cpu-link.ts';
import { dispatchAll, goOnAtTop, settleAtTop } from './dispatch.ts';
import { levelFor } from './inheritance.ts';
import type { AsyncRun, AtTop, OnError } from './invoke.ts';
import { inPass } from './in-pass.ts';
import type { Task } from './one-shot.ts';
import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import { observing, type Observer } from './observer.ts';
import { isHostsTime } from '../base/host-functions.ts';
import { unlink } from '../base/list.ts';
import { OrderedList } from '../base/ordered-list.ts';
import type { Timekeeper } from '../locks/turnstile.ts';
import { mayBePromoted, serveStarved } from './patience.ts';
import { restartTimerFrom } from './schedule.ts';
import type { ClockSampler } from '../time/clock-sampling.ts';
import { Refs } from './refs.ts';
import type { RunQueue } from './run-queue.ts';
import { ShareMeter } from './share-meter.ts';
import { OPEN, PENDING, UNREF, type Phase, stopped } from './state.ts';
import { BLOCK, FAR, type Wheel } from '../time/timing-wheel.ts';
import type { Workqueue } from './workqueue.ts';
import { WorkqueueIndex } from './workqueue-index.ts';

/** The number of microtasks within which an async function that awaits no I/O usually settles. */
const MICROTASK_ROUNDS = 4;

const settled: Promise<void> = Promise.resolve();

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
  readonly asyncRuns: OrderedList<AsyncRun> = new OrderedList<AsyncRun>();
  /** Completed runs, to be reused. */
  readonly freeRuns: AsyncRun[] = [];
  /** Jobs that wait for the next pass (see makeRunnableNext). */
  readonly deferred: OrderedList<Kcont<unknown>> = new OrderedList<Kcont<unknown>>();
  readonly onError: OnError | undefined;
  /** The tick at which the host timer fires, relative to the wheel's base. */
  armedTicks: number = FAR;
  /** Whether asynchronous functions have been entered in this pass. */
  needsMicrotasks = false;
  /** Tasks that have no continuation yet. A shutdown notifies them too. */
  readonly tasks: Set<Task> = new Set<Task>();
  /** The workqueues of the kernel. */
  readonly queues: Set<Workqueue> = new Set<Workqueue>();
  /** Those of them that `acquire` returns. */
  readonly acquirable: WorkqueueIndex = new WorkqueueIndex();
  /**
   * If true, `isPlain`, and a pass is running or has been requested. Then, if no fakes are installed,
   * scheduling a job takes nothing but adding it to the run queue.
   */
  takesJobs = false;
  /** Whether the kernel is open, on this CPU alone, and observed by nobody: then most calls take short ways. */
  isPlain = true;
  /** The continuation whose function is on the stack, if any is. */
  current: Kcont<unknown> | undefined = undefined;

  /**
   * A continuation that is never used, kept for its hidden class: if no object of it survives a full garbage
   * collection, V8 discards the code compiled for it, and the next thousands of operations cost ten times as much.
   */
  kept: Kcont<unknown> | undefined = undefined;

  /** The continuation whose function has just returned AT_TOP: the pass calls its argument's `run` next. */
  atTop: Kcont<unknown> | null = null;

  /**
   * Whether a function that gave way has been resumed in this pass (see give-way.ts). It goes on in a microtask,
   * before others are entered.
   */
  resumes = false;

  /** Counts passes, and each round of dispatching from microtasks. */
  passes = 0;
  readonly mayPromote: Timekeeper['mayPromote'] = mayBePromoted;

  /** After how many ms a pass yields to I/O. */
  readonly budgetMs: number;

  /** Measures the functions of workqueues with shares. */
  readonly meter: ShareMeter;

  readonly #waker: Waker;
  /** Scheduled continuations that keep the process alive. */
  readonly refs: Refs;
  readonly #budget: Budget;
  /** The budget in virtual time, in which there is no I/O to yield to. */
  readonly #endless: Budget;
  #passing = false;
  /** Whether the host, not fakes, has been asked for a pass that has not begun. */
  #isRequested = false;
  #phase: Phase = OPEN;
  #cpuLink: CpuLink | null = null;
  #observer: Observer | null = null;
  /**
   * The dispatcher whose pass was running when this pass began, because one of its functions
   * advanced a virtual clock; null: none.
   */
  #outer: Dispatcher | null = null;
  /** False if the host timer is certainly not armed. */
  #armed = false;
  /** The number of microtasks left in which to look for runnable continuations. */
  #microtasks = 0;
  readonly #look: () => void;
  /**
   * When the present backlog began: the tick at the end of the first of the passes in a row that left
   * runnable continuations. Infinity: the last pass left none.
   */
  backlogTick: number = Infinity;

  constructor(kernel: Kernel, clock: Clock, budgetMs: number, onError: OnError | undefined) {
    this.kernel = kernel;
    this.clock = clock;
    this.budgetMs = budgetMs;
    this.onError = onError;
    this.collector = new Collector(clock, restartTimerFrom);
    this.wheel = this.collector.wheel;
    this.runq = this.collector.runq;
    this.sampler = this.collector.sampler;
    this.meter = new ShareMeter(clock);
    this.#budget = new Budget(clock, budgetMs);
    this.#endless = new Budget(clock, Infinity);
    this.#look = () => this.#lookAgain();
    this.#waker = clock._drive(this);
    this.refs = new Refs(this.#waker);
    this.observer = observing.make?.(this) ?? null;
  }

  /** The connection to the other CPUs; null: there are none. */
  get cpuLink(): CpuLink | null {
    return this.#cpuLink;
  }

  set cpuLink(link: CpuLink | null) {
    this.#cpuLink = link;
    this.#chooseWays();
  }

  /** Who is told what happens; null: nobody. */
  get observer(): Observer | null {
    return this.#observer;
  }

  set observer(observer: Observer | null) {
    this.#observer = observer;
    this.collector.observer = observer;
    this.#chooseWays();
  }

  /** The shutdown phase. */
  get phase(): Phase {
    return this.#phase;
  }

  set phase(phase: Phase) {
    this.#phase = phase;
    this.#chooseWays();
  }

  #chooseWays(): void {
    this.collector.batches = this.#cpuLink === null && this.#observer === null;
    this.isPlain = this.collector.batches && this.#phase === OPEN;
    this.takesJobs = false;
  }

  /** Whether `close` has been called; `schedule` is refused then. */
  get closed(): boolean {
    return this.phase !== OPEN;
  }

  /** Counts a scheduled continuation that keeps the process alive. */
  ref(): void {
    if (this.refs.count++ === 0) this.#firstRef();
  }

  #firstRef(): void {
    if (this.#passing || !this.refs.isNews) return;
    this.refs.tell();
    this.request();
  }

  /** Undoes `ref`. */
  unref(): void {
    if (--this.refs.count === 0 && !this.#passing) this.refs.tellLater();
  }

  /**
   * Requests a pass. While fakes are installed, every request is passed on, so that the clock can check
   * whether they still are.
   */
  request(): void {
    if (this.#passing || (this.#isRequested && isHostsTime())) return;
    this.#waker.request();
    this.#isRequested = isHostsTime();
    this.takesJobs = this.#isRequested && this.isPlain;
  }

  /** Disarms the timer and cancels a requested pass, because nothing is scheduled any more. */
  rest(): void {
    this.#disarm();
    this.#waker.takeBack();
    this.#isRequested = false;
    this.takesJobs = false;
  }

  #disarm(): void {
    this.armedTicks = FAR;
    this.#armed = false;
    this.#waker.arm(Infinity);
  }

  /**
   * Puts a continuation that was set aside back into the run queue, at its old place, promoted, or at the priority
   * that it has inherited.
   */
  resume(kc: Kcont<unknown>, priority: number = kc._priority): void {
    const { priority: own, _level: level } = kc._wq;
    this.collector.returned(kc);
    this.runq.addResumed(priority === own ? level : levelFor(kc, priority), kc);
    this.request();
  }

  /** Withdraws a continuation that is PENDING or QUEUED. */
  withdraw(kc: Kcont<unknown>): void {
    const state = kc._state;
    kc._state = stopped(state);
    if ((state & PENDING) !== 0) {
      this.wheel.remove(kc);
    } else {
      unlink(kc);
      kc._lock?._leave(kc);
      kc._wq._unload();
    }
    if ((state & UNREF) === 0) this.unref();
    if (this.observer !== null) this.observer.stopped(kc);
  }

  #begin(): void {
    this.meter.end();
    this.passes = (this.passes + 1) | 0;
    this.#passing = true;
    this.#isRequested = false;
    this.takesJobs = this.isPlain;
    this.resumes = false;
    this.#outer = inPass.dispatcher;
    inPass.dispatcher = this;
  }

  #end(): void {
    this.#passing = false;
    this.takesJobs = false;
    this.current = undefined;
    inPass.dispatcher = this.#outer;
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
      if (this.backlogTick < Infinity) serveStarved(this, this.#budget);
      if (!this.resumes) dispatchAll(this, this.#budget);
      for (;;) {
        const kc = this.atTop;
        if (kc !== null) {
          this.atTop = null;
          // Called from here so that few frames of kcont are between the host and the function.
          try {
            (kc._arg as AtTop).run();
          } finally {
            settleAtTop(this, kc);
          }
        } else if (!this.#takesMore()) break;
        if (this.resumes) break;
        dispatchAll(this, this.#budget);
      }
    } finally {
      this.#end();
      this.#plan();
    }
    if (this.needsMicrotasks) this.#lookAfterMicrotasks(MICROTASK_ROUNDS);
  }

  /**
   * If nothing is runnable and budget is left, takes the messages that other CPUs have sent.
   * Returns whether there were any.
   */
  #takesMore(): boolean {
    const { cpuLink } = this;
    if (cpuLink === null || !this.runq.empty) return false;
    return !this.#budget.isSpent() && cpuLink.take();
  }

  /** Looks for runnable continuations in each of the next microtasks, in which promises settle. */
  #lookAfterMicrotasks(microtasks: number): void {
    this.needsMicrotasks = false;
    this.#microtasks = microtasks;
    // A function that is resumed may have given way in a function that it awaits.
    void (this.resumes ? settled.then().then() : settled).then(this.#look);
  }

  #lookAgain(): void {
    this.meter.end();
    if (this.runq.empty) {
      if (this.#microtasks > 1) this.#lookAfterMicrotasks(this.#microtasks - 1);
      return;
    }
    if (this.#budget.isSpent()) return;
    this.#begin();
    try {
      do dispatchAll(this, this.#budget);
      while (goOnAtTop(this));
    } catch (error) {
      this.clock._raise(error);
    } finally {
      this.#end();
      this.#plan();
    }
    this.#lookAfterMicrotasks(MICROTASK_ROUNDS);
  }

  /**
   * Allows the next pass to collect the timers that are due now; a poll phase comes before that
   * pass.
   */
  readTime(): void {
    this.collector.collectable = this.collector.tick();
  }

  timerFired(): void {
    this.readTime();
    this.armedTicks = FAR;
    this.request();
  }

  nextDueMs(): number {
    return this.collector.msOf(this.wheel.nextTick());
  }

  presentTick(): number {
    return this.sampler.tick() + this.wheel.base;
  }

  get served(): boolean {
    return this.cpuLink !== null;
  }

  dueMs(kc: object): number {
    return this.collector.msOf(this.wheel.dueTick(kc as Kcont<unknown>));
  }

  tellDeadlines(deadlines: Deadlines | null): boolean {
    const { wheel } = this;
    wheel.tellDeadlines(deadlines);
    this.sampler.deadlines = deadlines;
    this.armedTicks = FAR;
    if (deadlines !== null) return this.collector.tellDeadlines(deadlines);
    return this.runnable || this.refs.count > 0 || wheel.count > 0;
  }

  ring(): void {
    this.readTime();
    const passing = this.#passing;
    const outer = this.#outer;
    const { current } = this;
    this.pass();
    if (!passing) return;
    // A function of an outer pass has moved the fakes' time: restore the state of that pass.
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
      do dispatchAll(this, this.#endless);
      while (goOnAtTop(this));
    } finally {
      this.#end();
    }
  }

  #rejoin(): void {
    for (let kc = this.deferred.shift(); kc !== undefined; kc = this.deferred.shift()) {
      this.runq.addJob(kc._wq._level, kc);
    }
  }

  #plan(): void {
    this.refs.tell();
    if (this.runnable || this.cpuLink?.sleep() === true) {
      const tick = this.collector.tick();
      this.collector.collectable = tick;
      this.backlogTick = Math.min(this.backlogTick, tick);
      this.#waker.request();
      return;
    }
    this.backlogTick = Infinity;
    // Under fakes each deadline has its own alarm, so no timer is armed.
    if (this.wheel.deadlines !== null) return;
    if (this.refs.count === 0 && this.wheel.count === 0) {
      if (this.#armed) this.#disarm();
      return;
    }
    const next = this.wheel.nextTick();
    const ticks = next - this.wheel.base;
    // If the timer is already armed for that tick, the clock need not be read.
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
    // A continuation that only waits for a lock keeps the process alive too.
    const at = next === Infinity && this.refs.count > 0 ? Number.MAX_SAFE_INTEGER : next;
    this.#waker.arm(this.collector.msOf(at));
  }
}
