/*
 * The run queue: what is runnable, highest priority first, first in first out within a priority.
 *
 *   summary   0000 1000        which words have a bit
 *   words     [..] [0100..]    which priorities may have an entry
 *   levels    223  215 ... 103 one per priority in use:
 *               resumed  waited aside and may go on: it was reached before all of the others
 *               timed    timers that have expired, in the order of (deadline tick, sequence)
 *               direct   jobs, scheduled with no delay, in the order of the calls
 *
 * A timer may be collected after a job was scheduled and yet have been due before it, so the two
 * lists are merged as they are taken: whichever head became runnable first. Each list is in order
 * by itself: what one collection brings is later than all the earlier ones brought.
 *
 * Two counts of leading zeros find the highest priority. A bit may outlive the last entry of its
 * level; it goes when it is looked at.
 */

import { Fifo, type Entry } from './list.ts';
import { PRIORITIES } from './priorities.ts';

/** What the run queue holds. `_due`: the tick at which it became runnable. */
export interface Runnable extends Entry {
  _due: number;
}

/** What is runnable at one priority. */
export class Level<R extends Runnable> {
  readonly priority: number;
  readonly resumed: Fifo<R> = new Fifo<R>();
  readonly timed: Fifo<R> = new Fifo<R>();
  readonly direct: Fifo<R> = new Fifo<R>();

  constructor(priority: number) {
    this.priority = priority;
  }

  /** The next entry; undefined: none. */
  get first(): R | undefined {
    return this.#list().first;
  }

  /** Takes the next entry out. */
  shift(): R | undefined {
    if (!this.resumed.empty) return this.resumed.shift();
    if (this.timed.empty) return this.direct.shift();
    return this.#list().shift();
  }

  /** All entries. */
  *[Symbol.iterator](): Generator<R, void, undefined> {
    yield* this.resumed;
    yield* this.timed;
    yield* this.direct;
  }

  #list(): Fifo<R> {
    if (!this.resumed.empty) return this.resumed;
    const timed = this.timed.first;
    if (timed === undefined) return this.direct;
    const direct = this.direct.first;
    return direct === undefined || wasDueBefore(timed, direct) ? this.timed : this.direct;
  }
}

/**
 * Whether a timer was due before, or when, a job was scheduled: in the same tick the timer was
 * scheduled earlier, for its delay is a tick at least. Ticks wrap with the wheel's blocks, so they
 * are compared modulo 2^30: right for whatever waited less than six days.
 */
function wasDueBefore(timer: Runnable, job: Runnable): boolean {
  return ((timer._due - job._due) << 2) >> 2 <= 0;
}

/** Levels by priority, and a bitmap of those that may hold something. */
export class RunQueue<R extends Runnable> {
  readonly #levels: (Level<R> | undefined)[] = Array.from({ length: PRIORITIES }, () => undefined);
  readonly #words = new Int32Array(PRIORITIES / 32);
  #summary = 0;

  /** The level of a priority, made when first asked for. */
  level(priority: number): Level<R> {
    return (this.#levels[priority] ??= new Level<R>(priority));
  }

  /** Adds a job: later than all there are. */
  addJob(level: Level<R>, job: R): void {
    const { direct } = level;
    if (direct.empty) this.mark(level);
    direct.push(job);
  }

  /** Says that a level has got an entry. */
  mark(level: Level<R>): void {
    const word = level.priority >> 5;
    this.#words[word]! |= 1 << (level.priority & 31);
    this.#summary |= 1 << word;
  }

  /** Takes out the first entry of the highest priority. */
  shift(): R | undefined {
    while (this.#summary !== 0) {
      const word = 31 - Math.clz32(this.#summary);
      const bits = this.#words[word] as number;
      const bit = 31 - Math.clz32(bits);
      const entry = (this.#levels[(word << 5) | bit] as Level<R>).shift();
      if (entry !== undefined) return entry;
      this.#clear(word, bit);
    }
    return undefined;
  }

  get empty(): boolean {
    return this.highest() === undefined;
  }

  /** The highest level below a priority that holds something. */
  highest(below: number = PRIORITIES): Level<R> | undefined {
    const belowWord = below >> 5;
    let summary = this.#summary & ((2 << belowWord) - 1);
    while (summary !== 0) {
      const word = 31 - Math.clz32(summary);
      let bits = this.#words[word] as number;
      if (word === belowWord) bits &= (1 << (below & 31)) - 1;
      while (bits !== 0) {
        const bit = 31 - Math.clz32(bits);
        const level = this.#levels[(word << 5) | bit] as Level<R>;
        if (level.first !== undefined) return level;
        bits &= ~(1 << bit);
        this.#clear(word, bit);
      }
      summary &= ~(1 << word);
    }
    return undefined;
  }

  /** Invariant: a word has a bit in the summary exactly if it has one itself. */
  #clear(word: number, bit: number): void {
    const bits = (this.#words[word] as number) & ~(1 << bit);
    this.#words[word] = bits;
    if (bits === 0) this.#summary &= ~(1 << word);
  }
}
