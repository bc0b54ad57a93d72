/*
 * Reading the clock as rarely as honesty allows.
 *
 * A reading costs more than all the rest of a schedule or a touch. Code that goes through many
 * handles makes such calls in a dense burst, with less than a microsecond between them; so once
 * a burst has shown itself, only every 16th call reads:
 *
 *    calls     r r r r r r . r . . . r . . . . . . . r . . . . .   | end of the callback: audit
 *              |<- dense ->|   ^ suspects: take the last reading + 0.25 ms for now
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
 *     are over in the order of the calls; a reading that lies before what suspects took for now
 *     gives way to that
 *   - off a burst every call reads, and is exact
 *   - within a burst a deadline may be 0.25 ms later than exact; a timer that was among the last
 *     15 calls of a burst, in a callback that blocks right after it, counts from the end of the
 *     block
 *
 * Where a reading costs 42 ns: schedule and stop of one handle 79 ns reading always, 33 ns so;
 * touch 68 ns and 9 ns (npm run bench -- schedule-stop, touch).
 */

import type { Clock } from './clock/clock.ts';

/** Suspects between two readings, at most. */
const MOST = 15;
/** Readings that have to be dense before there are suspects. */
const STREAK = 5;
/** Calls are dense when they come less than this after each other, in ms. */
const DENSE_MS = 0.002;
/** What a suspect may be off, in ms. */
const MARGIN_MS = 0.25;

const endOfCallback: Promise<void> = Promise.resolve();

/** Tells when deadlines are, for one dispatcher. */
export class Ration<T> {
  /** Ticks begin at whole numbers of the clock's time plus this; they count from the wheel's base. */
  offset = 0;
  readonly #clock: Clock;
  /** Moves the deadline of a suspect to its delay from now, if it is still to come. */
  readonly #restart: (suspect: T, nowMs: number) => void;
  readonly #suspects: (T | undefined)[] = Array.from({ length: MOST }, () => undefined);
  #count = 0;
  /** Calls that need not read. */
  #left = 0;
  #streak = 0;
  #lastMs = 0;
  /** What suspects take for now, and what the last of them took. */
  #suspectMs = 0;
  #takenMs = 0;
  /** What a call that reads takes for now. */
  #fromMs = 0;
  /** What readers and suspects take for now, in ticks from the base, rounded up. */
  #nowTick = 0;
  #suspectTick = 0;
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
    if (this.#left > 0) {
      this.#left--;
      this.#suspects[this.#count++] = timer;
      if (wholeMs === delayMs) return this.#suspectTick + wholeMs;
      return this.dueFrom(this.#suspectMs, delayMs);
    }
    this.#read();
    return wholeMs === delayMs ? this.#nowTick + wholeMs : this.dueFrom(this.#fromMs, delayMs);
  }

  /** The tick at which a delay from a given time is over. */
  dueFrom(nowMs: number, delayMs: number): number {
    return Math.ceil(nowMs + (this.offset + delayMs));
  }

  /** The present tick; in a burst, that of the last reading. */
  tick(): number {
    if (this.#left > 0) this.#left--;
    else this.#read();
    return Math.floor(this.#lastMs + this.offset);
  }

  #read(): void {
    const nowMs = this.#clock.now;
    const sinceMs = nowMs - this.#lastMs;
    if (this.#count > 0) this.#judge(nowMs, sinceMs);
    this.#lastMs = nowMs;
    this.#fromMs = Math.max(nowMs, this.#takenMs);
    this.#nowTick = this.dueFrom(this.#fromMs, 0);
    const calls = this.#streak < STREAK ? 1 : MOST + 1;
    if (sinceMs > DENSE_MS * calls || !this.#clock._rations) {
      this.#streak = 0;
      return;
    }
    if (++this.#streak < STREAK) return;
    this.#left = MOST;
    this.#suspectMs = nowMs + MARGIN_MS;
    this.#suspectTick = this.dueFrom(this.#suspectMs, 0);
    if (this.#auditing) return;
    this.#auditing = true;
    void endOfCallback.then(this.#audit);
  }

  #judge(nowMs: number, sinceMs: number): void {
    const count = this.#count;
    this.#count = 0;
    this.#takenMs = this.#suspectMs;
    if (sinceMs <= MARGIN_MS) return;
    for (let i = 0; i < count; i++) this.#restart(this.#suspects[i] as T, nowMs);
  }

  #endOfBurst(): void {
    this.#auditing = false;
    this.#left = 0;
    this.#streak = 0;
    if (this.#count > 0) {
      const nowMs = this.#clock.now;
      this.#judge(nowMs, nowMs - this.#lastMs);
    }
    this.#suspects.fill(undefined);
  }
}
