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
 *   1. collect   timers due by a time that was read *before* this poll phase. Whatever had arrived
 *                by that time has been read by now, so an idle timer that is still due speaks the
 *                truth: a loop that stalls kills no live connection.
 *   2. starved   each level whose head has waited longer than its patience is served once.
 *   3. dispatch  strictly by priority, until nothing can be entered or the budget is spent.
 *   4. plan      more to do: another pass after the next poll phase; else arm the one timer.
 *
 * What waits aside is not looked at again until what it waits for has happened, so a busy lock
 * costs the others nothing. It keeps its place: at its first waiting it takes a sequence number
 * that orders it among all who wait, and comes back ahead of all that was not reached yet.
 *
 * A function is called from one line. It may do anything to any continuation, itself included, and
 * it may throw: before the call the entry is off its list and its state is set; after it, nothing
 * that was read before is trusted.
 *
 * Sources: NetBSD kern_timeout.c, softint(9); Linux's softirq budget; the FreeBSD callout TRYLOCK
 * for setting aside what waits for a lock.
 */

import type { Clock, Driven, Waker } from './clock/clock.ts';
import { KcontError, asynchronous } from './errors.ts';
import type { Kcont } from './kcont.ts';
import { Fifo, stamp, unlink, type Entry } from './list.ts';
import { RunQueue } from './runq.ts';
import { EXPIRED, INVOKING, PENDING, QUEUED, RUNNING, SCHEDULED, UNREF, WAITED } from './state.ts';
import { FAR, Wheel } from './wheel.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * Handles errors of continuations.
 *
 * @public
 */
export type OnError = (error: unknown, kc: Kcont<unknown>) => void;

/** Dispatches between two looks at the clock. */
const CLOCK_EVERY = 16;

/**
 * An asynchronous run that has not settled.
 *
 * @internal
 */
export class Flight implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  readonly kc: Kcont<unknown>;

  constructor(kc: Kcont<unknown>) {
    this.kc = kc;
  }
}

/**
 * Collects, orders and enters the continuations of one CPU.
 *
 * @internal
 */
export class Dispatcher implements Driven {
  readonly clock: Clock;
  readonly wheel: Wheel<Kcont<unknown>>;
  readonly runq: RunQueue<Kcont<unknown>> = new RunQueue<Kcont<unknown>>();
  readonly flights: Fifo<Flight> = new Fifo<Flight>();
  readonly onError: OnError | undefined;
  /** Scheduled continuations that keep the process alive. */
  refs = 0;
  /** The host timer will fire by this tick, counted from the wheel's base. */
  armedTicks: number = FAR;
  /** Refuses to schedule. */
  closed = false;
  /** The continuation whose function is on the stack. */
  current: Kcont<unknown> | undefined = undefined;

  readonly #waker: Waker;
  readonly #budgetMs: number;
  readonly #expired: (kc: Kcont<unknown>) => void;
  /** Timers due by this absolute tick may be collected: it was read before the last poll phase. */
  #collectable = 0;
  #passing = false;
  /** The present tick, as far as jobs need it; true: read since the last pass. */
  #jobTick = 0;
  #jobTickRead = false;

  constructor(clock: Clock, budgetMs: number, onError: OnError | undefined) {
    this.clock = clock;
    this.#budgetMs = budgetMs;
    this.onError = onError;
    this.wheel = new Wheel(Math.floor(clock.now + clock._phase));
    this.#expired = (kc) => this.#expire(kc);
    this.#waker = clock._drive(this);
  }

  /** The tick at which a delay from now is over, from the wheel's base. Never early: rounds up. */
  dueIn(delayMs: number): number {
    const { clock } = this;
    return Math.ceil(clock.now + (clock._phase - this.wheel.base + delayMs));
  }

  /** The present tick, from the wheel's base. */
  ticks(): number {
    return this.#tick() - this.wheel.base;
  }

  /**
   * The tick at which a job becomes runnable. Read from the clock where it decides something: the
   * order among timers that may be due, and the first job of a turn.
   */
  jobTick(): number {
    if (this.#jobTickRead && this.wheel.count === 0) return this.#jobTick;
    this.#jobTickRead = true;
    return (this.#jobTick = this.ticks() & (FAR >> 1));
  }

  /** One more continuation is scheduled. */
  ref(): void {
    if (this.refs++ === 0) this.request();
  }

  /** One less. */
  unref(): void {
    if (--this.refs === 0) this.request();
  }

  /** Asks for a pass. */
  request(): void {
    if (!this.#passing) this.#waker.request();
  }

  /** Makes a continuation that waited aside runnable again, at its old place. */
  resume(kc: Kcont<unknown>): void {
    const level = kc._wq._level;
    level.resumed.append(kc);
    this.runq.mark(level);
    this.request();
  }

  /** Withdraws what is scheduled: PENDING or QUEUED. */
  withdraw(kc: Kcont<unknown>): void {
    const state = kc._state;
    if ((state & PENDING) !== 0) {
      this.wheel.remove(kc);
      kc._state = state & ~PENDING;
    } else {
      unlink(kc);
      kc._state = state & ~(QUEUED | INVOKING | WAITED);
      kc._lock?._leave(kc);
      kc._wq._unload();
      kc._wq._wake();
    }
    if ((state & UNREF) === 0) this.unref();
  }

  pass(): void {
    this.#passing = true;
    const begin = this.clock.now;
    try {
      if (this.#collectable > this.wheel.tick) this.wheel.advance(this.#collectable, this.#expired);
      this.#serveStarved();
      this.#dispatchFor(begin + this.#budgetMs);
    } finally {
      this.#passing = false;
      this.#plan();
    }
  }

  timerFired(): void {
    this.#collectable = this.#tick();
    this.armedTicks = FAR;
    this.request();
  }

  nextDueMs(): number {
    return this.wheel.nextTick();
  }

  get runnable(): boolean {
    return !this.runq.empty;
  }

  runNow(): void {
    this.#passing = true;
    try {
      this.wheel.advance(this.#tick(), this.#expired);
      for (let kc = this.runq.shift(); kc !== undefined; kc = this.runq.shift()) this.#dispatch(kc);
    } finally {
      this.#passing = false;
      this.#jobTickRead = false;
    }
  }

  #tick(): number {
    return Math.floor(this.clock.now + this.clock._phase);
  }

  #expire(kc: Kcont<unknown>): void {
    kc._state = (kc._state & ~PENDING) | EXPIRED | INVOKING | QUEUED;
    const wq = kc._wq;
    wq._load++;
    wq._level.timed.append(kc);
    this.runq.mark(wq._level);
  }

  #serveStarved(): void {
    const highest = this.runq.highest();
    if (highest === undefined) return;
    let level = this.runq.highest(highest.priority);
    for (; level !== undefined; level = this.runq.highest(level.priority)) {
      const head = level.first as Kcont<unknown>;
      const waited = ((this.ticks() - head._due) << 2) >> 2;
      if (waited > head._wq.patienceMs) this.#dispatch(level.shift() as Kcont<unknown>);
    }
  }

  #dispatchFor(untilMs: number): void {
    // The first few are looked at one by one: they may be slow.
    let stride = 1;
    let left = stride;
    for (let kc = this.runq.shift(); kc !== undefined; kc = this.runq.shift()) {
      this.#dispatch(kc);
      if (--left > 0) continue;
      if (this.clock.now >= untilMs) break;
      if (stride < CLOCK_EVERY) stride *= 2;
      left = stride;
    }
  }

  #plan(): void {
    this.#jobTickRead = false;
    const next = this.wheel.nextTick();
    const backlog = !this.runq.empty;
    if (backlog || next !== Infinity) {
      const tick = this.#tick();
      if (backlog || next <= tick) {
        this.#collectable = tick;
        this.#waker.request();
        return;
      }
    }
    this.armedTicks = Math.min(next - this.wheel.base, FAR);
    // What only waits for a lock keeps the process alive too.
    const atMs = next === Infinity && this.refs > 0 ? Number.MAX_SAFE_INTEGER : next;
    this.#waker.arm(atMs - this.clock._phase, this.refs > 0);
  }

  /** Enters a continuation that was taken from the run queue, or sets it aside. */
  #dispatch(kc: Kcont<unknown>): void {
    const wq = kc._wq;
    const lock = kc._lock;
    if ((kc._state & RUNNING) !== 0) {
      // Its settle resumes it.
      this.#setAside(kc);
      lock?._leave(kc);
    } else if (wq._room.active >= wq.maxActive) {
      this.#setAside(kc);
      lock?._leave(kc);
      wq._waiting.append(kc);
    } else if (lock !== null && !lock._takeFor(kc)) {
      this.#setAside(kc);
      lock._wait(kc);
      wq._wake();
    } else this.#enter(kc);
  }

  #setAside(kc: Kcont<unknown>): void {
    if ((kc._state & WAITED) !== 0) return;
    kc._state |= WAITED;
    stamp(kc);
  }

  /** Calls the function, with the lock held. */
  #enter(kc: Kcont<unknown>): void {
    const state = kc._state;
    kc._state = (state & ~(QUEUED | WAITED)) | RUNNING | EXPIRED;
    if ((state & UNREF) === 0) this.unref();
    kc._wq._entered++;
    const func = kc._func;
    const carry = kc._details?.carry;
    let result: void | PromiseLike<void>;
    this.current = kc;
    try {
      result = carry === undefined ? func(kc._arg, kc) : carry(func, kc._arg, kc);
    } catch (error) {
      this.current = undefined;
      this.#settle(kc);
      this.#fail(kc, error);
      return;
    }
    this.current = undefined;
    if (isThenable(result)) this.#follow(kc, result);
    else this.#settle(kc);
  }

  /** Follows an asynchronous run to its end. */
  #follow(kc: Kcont<unknown>, promise: PromiseLike<void>): void {
    const wq = kc._wq;
    const flight = new Flight(kc);
    this.flights.append(flight);
    wq._active++;
    wq._room.active++;
    Promise.resolve(promise).then(
      () => this.#land(flight),
      (error: unknown) => {
        this.#land(flight);
        this.#failLater(kc, error);
      },
    );
    const what = misuse(kc, wq);
    if (what !== undefined) this.#fail(kc, what);
  }

  #land(flight: Flight): void {
    unlink(flight);
    const wq = flight.kc._wq;
    wq._active--;
    wq._room.active--;
    this.#settle(flight.kc);
  }

  /** The function has returned, thrown, or its promise has settled. */
  #settle(kc: Kcont<unknown>): void {
    const state = kc._state;
    const again = (state & QUEUED) !== 0;
    kc._state = state & ~(RUNNING | (again ? 0 : INVOKING));
    const wq = kc._wq;
    wq._unload();
    const lock = kc._lock;
    const released = lock === null || lock.held;
    if (lock !== null && released) lock._release();
    // Set aside while it ran, or still in the run queue where it was not reached.
    if (again && kc._next === kc) this.resume(kc);
    wq._wake();
    const details = kc._details;
    if (details !== null) {
      if ((state & SCHEDULED) === 0) details.carry = undefined;
      this.#callSettled(kc, details.settled);
    }
    if (!released) {
      this.#failLater(kc, notHeld(kc));
    }
  }

  #callSettled(kc: Kcont<unknown>, settled: (() => void)[]): void {
    if (settled.length === 0) return;
    for (const callback of settled.splice(0)) {
      try {
        callback();
      } catch (error) {
        this.#failLater(kc, error);
      }
    }
  }

  /** Hands an error to whoever wants it; thrown if nobody does. */
  #fail(kc: Kcont<unknown>, error: unknown): void {
    kc._wq._failed++;
    const onError = kc._wq.onError ?? this.onError;
    if (onError === undefined) throw error;
    onError(error, kc);
  }

  /** The same, where throwing would hit somebody else. */
  #failLater(kc: Kcont<unknown>, error: unknown): void {
    try {
      this.#fail(kc, error);
    } catch (unhandled) {
      this.clock._raise(unhandled);
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<void> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

/** Calls that only a synchronous function may make. */
function misuse(kc: Kcont<unknown>, wq: Workqueue): KcontError | undefined {
  if (wq.fast) {
    return asynchronous(kc.name, wq.name);
  }
  if (kc._lock?._spin === true) {
    return new KcontError(
      'EPERM',
      `${kc.name || 'a continuation'} holds its SpinLock across an await; take a Mutex`,
    );
  }
  return undefined;
}

function notHeld(kc: Kcont<unknown>): KcontError {
  return new KcontError(
    'EPERM',
    `the lock of ${kc.name || 'a continuation'} must be held when its function settles`,
  );
}
