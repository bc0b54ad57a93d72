/*
 * Reading the clock as rarely as honesty allows.
 *
 * A reading costs more than all the rest of a schedule or a touch. Code that goes through many
 * handles makes such calls in a dense burst, with much less than a microsecond between them; so
 * once a burst has shown itself, only every 16th call reads:
 *
 *    calls     r r r r r r r r r r r r . . . 15 . . . r . . . 15 . . . r . . .   | end: audit
 *              |<------ dense ------>| ^ suspects: take the last reading + 0.25 ms for now
 *
 * The calls in between are suspects: nobody knows when they came, only after which reading. Each
 * reading judges the suspects since the one before. If 0.25 ms have passed at most, what they
 * took for now was not before their call, so their timers cannot be early. Else the callback has
 * blocked meanwhile, and their deadlines are moved outward: counted from this reading, the latest
 * that the call can have been. A microtask, the audit, reads once more when the callback ends; no
 * timer is collected before. So:
 *
 *   - never early, whatever the code does between two calls
 *   - in order: a call counts from no earlier time than the calls before it, so that equal delays
 *     are over in the order of the calls
 *   - off a burst every call reads, and is exact; for 0.25 ms after one, 0.25 ms later at most
 *   - within a burst a deadline may be 0.25 ms later than exact; a timer that was among the last
 *     15 calls of a burst, in a callback that blocks right after it, counts from the end of the
 *     block
 *
 * A burst has to be long enough to pay for its audit, so the few calls of one I/O callback never
 * are one. These find the code and the data cold; so what a reading needs is one number, `#fromMs`,
 * and small integers, in as few cache lines as that takes.
 *
 * Where a reading costs 42 ns: schedule and stop of one handle 79 ns reading always, 33 ns so;
 * touch 68 ns and 9 ns (npm run bench -- schedule-stop, touch).
 */

import type { Clock, Deadlines } from './clock.ts';
import { globalTimeout } from '../base/host-functions.ts';

/** Suspects between two readings, at most. */
const MOST = 15;
/** Readings that have to be dense before there are suspects. */
const STREAK = 12;
/** Calls are dense when they come less than this after each other, in ms. */
const DENSE_MS = 0.0005;
/** What a suspect may be off, in ms. */
const MARGIN_MS = 0.25;

const endOfCallback: Promise<void> = Promise.resolve();

/** While nobody has replaced it, the compiler knows that it is what it was, and compares nothing. */
const initialTimeout = globalTimeout();

/** Tells when deadlines are, for one dispatcher. */
export class Ration<T> {
  /** Told of all deadlines; null but under fake timers. */
  deadlines: Deadlines | null = null;
  /** Calls that need not read, as long as time is told by the same: see HostClock. */
  #left = 0;
  #timeout = initialTimeout;
  /** Dense readings so far; STREAK: in a burst. */
  #streak = 0;
  readonly #clock: Clock;
  /** What calls take for now at least; in a burst, what they take: the last reading and a margin. */
  #fromMs = 0;
  /** Ticks begin at whole numbers of the clock's time plus this; they count from the wheel's base. */
  offset = 0;
  /** What suspects take for now, in ticks from the base, rounded up. */
  #suspectTick = 0;
  #count = 0;
  readonly #suspects: (T | undefined)[] = Array.from({ length: MOST }, () => undefined);
  /** Moves the deadline of a suspect to its delay from now, if it is still to come. */
  readonly #restart: (suspect: T, nowMs: number) => void;
  #auditing = false;
  readonly #audit: () => void;

  constructor(clock: Clock, restart: (suspect: T, nowMs: number) => void) {
    this.#clock = clock;
    this.#restart = restart;
    this.#audit = () => this.#endOfBurst();
  }

  /** The tick at which a delay from now is over. Never early: rounds up. */
  dueIn(timer: T, delayMs: number): number {
    // Small integers all the way: rounding up before a whole delay is added is rounding up after.
    const wholeMs = delayMs | 0;
    if (
      this.#left > 0 &&
      (globalTimeout() === initialTimeout || globalTimeout() === this.#timeout)
    ) {
      this.#left--;
      this.#suspects[this.#count++] = timer;
      if (wholeMs === delayMs) return this.#suspectTick + wholeMs;
    } else this.#read();
    if (wholeMs === delayMs) return Math.ceil(this.#fromMs + this.offset) + wholeMs;
    return this.dueFrom(this.#fromMs, delayMs);
  }

  /** The tick at which a delay from a given time is over. */
  dueFrom(nowMs: number, delayMs: number): number {
    return Math.ceil(nowMs + (this.offset + delayMs));
  }

  /** The present tick; in a burst, that of the last reading. */
  tick(): number {
    let nowMs: number;
    if (this.#left > 0) {
      this.#left--;
      nowMs = this.#fromMs - MARGIN_MS;
    } else nowMs = this.#read();
    return Math.floor(nowMs + this.offset);
  }

  /** Ticks count from so many later now. */
  rebase(ticks: number, offset: number): void {
    this.offset = offset;
    this.#suspectTick -= ticks;
  }

  #read(): number {
    const nowMs = this.#clock.now;
    if (this.#streak === STREAK) {
      this.#readInBurst(nowMs);
      return nowMs;
    }
    const sinceMs = nowMs - this.#fromMs;
    if (sinceMs > 0) this.#fromMs = nowMs;
    if (sinceMs > DENSE_MS || !this.#clock._rations) this.#streak = 0;
    else if (++this.#streak === STREAK) this.#begin(nowMs);
    return nowMs;
  }

  #begin(nowMs: number): void {
    this.#goOn(nowMs);
    if (this.#auditing) return;
    this.#auditing = true;
    void endOfCallback.then(this.#audit);
  }

  /** What calls take for now only grows: it was a margin more than an earlier reading at most. */
  #goOn(nowMs: number): void {
    this.#fromMs = nowMs + MARGIN_MS;
    this.#suspectTick = this.dueFrom(this.#fromMs, 0);
    this.#timeout = globalTimeout();
    this.#left = MOST;
  }

  #readInBurst(nowMs: number): void {
    const sinceMs = this.#judge(nowMs);
    if (sinceMs <= DENSE_MS * (MOST + 1) && this.#clock._rations) this.#goOn(nowMs);
    else {
      this.#streak = 0;
      this.#fromMs = Math.max(this.#fromMs, nowMs);
    }
  }

  /** Judges the suspects there are; returns how long ago the last reading was, in ms. */
  #judge(nowMs: number): number {
    const sinceMs = nowMs - (this.#fromMs - MARGIN_MS);
    const count = this.#count;
    this.#count = 0;
    if (sinceMs > MARGIN_MS) {
      for (let i = 0; i < count; i++) this.#restart(this.#suspects[i] as T, nowMs);
    }
    return sinceMs;
  }

  #endOfBurst(): void {
    this.#auditing = false;
    if (this.#count > 0) {
      const nowMs = this.#clock.now;
      this.#judge(nowMs);
      this.#fromMs = Math.max(this.#fromMs, nowMs);
    }
    this.#left = 0;
    this.#streak = 0;
    this.#suspects.fill(undefined);
  }
}
