/*
 * Clock sampling: reads the clock as rarely as it can without a timer being early.
 *
 * A reading costs more than all the rest of a schedule or a touch. Code that goes through many
 * handles makes such calls in a dense burst, with much less than a microsecond between them. Once a
 * burst has been recognized, only every 16th call reads the clock:
 *
 *    calls     r r r r r r r r r r r r . . . 15 . . . r . . . 15 . . . r . . .   | end: reconcile
 *              |<------ dense ------>| ^ estimated: the last reading + 1/32 ms counts as now
 *
 * The time of the calls in between is estimated: it is only known after which reading they came. Each
 * reading reconciles the estimates since the one before. If at most 1/32 ms have passed, the estimate
 * was not before the call, so no timer can be early. Otherwise the callback has blocked meanwhile, and
 * the deadlines are moved outward: they count from this reading, the latest time that the call can
 * have been. When the callback ends, a microtask reads the clock once more and reconciles; no timer is
 * collected before that. Therefore:
 *
 *   - no timer is early, whatever the code does between two calls
 *   - order: a call counts from no earlier time than the calls before it, so equal delays end in the
 *     order of the calls
 *   - outside a burst every call reads the clock, and is exact; up to 1/32 ms after a burst, its
 *     deadline may be 1/32 ms late
 *   - in a burst a deadline may be 1/32 ms later than exact; a timer of the last 15 calls of a burst,
 *     in a callback that blocks right after it, counts from the end of that block
 *
 * A burst has to be long enough to pay for the reading at its end, so the few calls of one I/O callback
 * never are one. They find code and data cold, so a reading needs one number, `#fromMs`, and small
 * integers, in as few cache lines as possible.
 *
 * Where a reading costs 42 ns: schedule and stop of one handle take 79 ns if every call reads, 33 ns
 * like this; touch takes 68 ns and 9 ns (npm run bench -- schedule-stop, touch).
 */

import type { Clock, Deadlines } from './clock.ts';
import { globalTimeout } from '../base/host-functions.ts';
import { TICKS_PER_MS } from './timing-wheel.ts';

/** Estimated calls between two readings, at most. */
const MOST = 15;
/** Dense readings before calls are estimated. */
const STREAK = 12;
/** Calls are dense when they come less than this after each other, in ms. */
const DENSE_MS = 0.0005;
/** By how much an estimate may be late, in ms: four times as long as 16 dense calls take. */
export const MARGIN_MS: number = 1 / 32;

const endOfCallback: Promise<void> = Promise.resolve();

/** While `setTimeout` is not replaced, the compiler treats it as a constant and compares nothing. */
const initialTimeout = globalTimeout();

/** Computes the deadlines of one dispatcher. */
export class ClockSampler<T> {
  /** Notified of all deadlines; null, except under fake timers. */
  deadlines: Deadlines | null = null;
  /** Calls that need not read the clock, unless its source changes: see HostClock. */
  #left = 0;
  #timeout = initialTimeout;
  /** How many dense readings there were; STREAK: in a burst. */
  #streak = 0;
  readonly #clock: Clock;
  /** The earliest time from which calls count; in a burst, the last reading plus a margin. */
  #fromMs = 0;
  /** Added to the clock's time in ticks, gives ticks from the wheel's base. */
  offset = 0;
  /** The time from which estimated calls count, in ticks from the base, rounded up. */
  #estimateTick = 0;
  #count = 0;
  readonly #estimated: (T | undefined)[] = Array.from({ length: MOST }, () => undefined);
  /** Moves the deadline of an estimated timer to its delay from now, if it has not expired. */
  readonly #restart: (timer: T, nowMs: number) => void;
  #reconciling = false;
  readonly #reconcile: () => void;

  constructor(clock: Clock, restart: (timer: T, nowMs: number) => void) {
    this.#clock = clock;
    this.#restart = restart;
    this.#reconcile = () => this.#endOfBurst();
  }

  /**
   * Returns the tick at which a number of ticks from now has elapsed. Rounds up, so it is never early. The
   * current time is rounded before the delay is added: the result is that of rounding the sum, and only small
   * integers are needed.
   */
  dueInTicks(timer: T, ticks: number): number {
    if (
      this.#left > 0 &&
      (globalTimeout() === initialTimeout || globalTimeout() === this.#timeout)
    ) {
      this.#left--;
      this.#estimated[this.#count++] = timer;
      return this.#estimateTick + ticks;
    }
    this.#read();
    return Math.ceil(this.#fromMs * TICKS_PER_MS + this.offset) + ticks;
  }

  /** Like `dueInTicks`, for a delay in ms that need not be a whole number of ticks. */
  dueIn(timer: T, delayMs: number): number {
    this.dueInTicks(timer, 0);
    return this.dueFrom(this.#fromMs, delayMs);
  }

  /** Returns the tick at which a delay from a given time has elapsed. */
  dueFrom(nowMs: number, delayMs: number): number {
    return Math.ceil(nowMs * TICKS_PER_MS + (this.offset + delayMs * TICKS_PER_MS));
  }

  /** Returns the current tick; in a burst, that of the last reading. */
  tick(): number {
    let nowMs: number;
    if (this.#left > 0) {
      this.#left--;
      nowMs = this.#fromMs - MARGIN_MS;
    } else nowMs = this.#read();
    return Math.floor(nowMs * TICKS_PER_MS + this.offset);
  }

  /** Called when the wheel's base has moved by this number of ticks. */
  rebase(ticks: number, offset: number): void {
    this.offset = offset;
    this.#estimateTick -= ticks;
  }

  #read(): number {
    const nowMs = this.#clock.now;
    if (this.#streak === STREAK) {
      this.#readInBurst(nowMs);
      return nowMs;
    }
    const sinceMs = nowMs - this.#fromMs;
    if (sinceMs > 0) this.#fromMs = nowMs;
    if (sinceMs > DENSE_MS || !this.#clock._samples) this.#streak = 0;
    else if (++this.#streak === STREAK) this.#begin(nowMs);
    return nowMs;
  }

  #begin(nowMs: number): void {
    this.#goOn(nowMs);
    if (this.#reconciling) return;
    this.#reconciling = true;
    void endOfCallback.then(this.#reconcile);
  }

  /**
   * Begins the next estimated calls, which count from this reading plus the margin. That is never before the
   * time from which earlier calls counted: an earlier reading plus the same margin, at most.
   */
  #goOn(nowMs: number): void {
    this.#fromMs = nowMs + MARGIN_MS;
    this.#estimateTick = this.dueFrom(this.#fromMs, 0);
    this.#timeout = globalTimeout();
    this.#left = MOST;
  }

  #readInBurst(nowMs: number): void {
    const sinceMs = this.#reconcileEstimates(nowMs);
    if (sinceMs <= DENSE_MS * (MOST + 1) && this.#clock._samples) this.#goOn(nowMs);
    else {
      this.#streak = 0;
      this.#fromMs = Math.max(this.#fromMs, nowMs);
    }
  }

  /** Reconciles the estimates with a reading; returns how long ago the last reading was, in ms. */
  #reconcileEstimates(nowMs: number): number {
    const sinceMs = nowMs - (this.#fromMs - MARGIN_MS);
    const count = this.#count;
    this.#count = 0;
    if (sinceMs > MARGIN_MS) {
      for (let i = 0; i < count; i++) this.#restart(this.#estimated[i] as T, nowMs);
    }
    return sinceMs;
  }

  #endOfBurst(): void {
    this.#reconciling = false;
    if (this.#count > 0) {
      const nowMs = this.#clock.now;
      this.#reconcileEstimates(nowMs);
      this.#fromMs = Math.max(this.#fromMs, nowMs);
    }
    this.#left = 0;
    this.#streak = 0;
    this.#estimated.fill(undefined);
  }
}
