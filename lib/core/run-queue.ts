/*
 * The run queue: what is runnable, highest priority first, first in first out within a priority.
 *
 *   summary   0000 1000        which words have a bit
 *   words     [..] [0100..]    which priorities may have an entry
 *   levels    223  215 ... 103 one per priority in use, three lists each, taken in this order:
 *               resumed  waited aside and may go on: it was reached before all of the others; or
 *                        promoted by a lock from a lower level (see turnstile.ts)
 *               timed    timers that have expired, in the order of (deadline tick, sequence), and
 *                        the jobs that became runnable before one of them
 *               direct   jobs, scheduled with no delay, in the order of the calls
 *
 * A timer may be collected after a job was scheduled and yet have been due before it. So when a
 * timer is added, the jobs that became runnable before it was due go ahead of it, from the one list
 * to the other: each does so once at most. Jobs that stay behind are later than all timers of that
 * collection, and what a collection brings is later than all the earlier ones brought.
 *
 * Both count ticks from the wheel's base. When the base moves, so do the jobs: see `rebase`.
 *
 * Two counts of leading zeros find the highest priority. A bit may outlive the last entry of its
 * level; it goes when it is looked at.
 */

import { OrderedList, type Entry } from '../base/ordered-list.ts';
import { PRIORITIES } from '../base/priorities.ts';
import { FAR } from '../time/timing-wheel.ts';

/** What the run queue holds. `_due`: the tick at which it became runnable, from the wheel's base. */
export interface Runnable extends Entry {
  _due: number;
}

/** What is runnable at one priority. */
export class Level<R extends Runnable> {
  readonly priority: number;
  readonly resumed: OrderedList<R> = new OrderedList<R>();
  readonly timed: OrderedList<R> = new OrderedList<R>();
  readonly direct: OrderedList<R> = new OrderedList<R>();
  /** The shortest patience of those who may come here, in ms. */
  leastPatienceMs: number = Infinity;
  /** In which pass one from here was last promoted by a lock. */
  promotedIn: number = -1;

  constructor(priority: number) {
    this.priority = priority;
  }

  /** The next entry; undefined: none. */
  get first(): R | undefined {
    return this.resumed.first ?? this.timed.first ?? this.direct.first;
  }

  /** Takes the next entry out. */
  shift(): R | undefined {
    return this.resumed.shift() ?? this.timed.shift() ?? this.direct.shift();
  }

  /**
   * Adds a timer: due no earlier than all that were added before. In the same tick it goes before a
   * job, for it was scheduled earlier: its delay is a tick at least.
   */
  addTimer(timer: R): void {
    const { timed, direct } = this;
    for (let { first } = direct; first !== undefined && first._due < timer._due;) {
      timed.push(direct.shift() as R);
      ({ first } = direct);
    }
    timed.push(timer);
  }

  /**
   * Ticks count from so many later now. What was before that is before all timers to come; FAR, the
   * last, stays so.
   */
  rebase(ticks: number, most: number): void {
    for (const entry of this) {
      const due = entry._due === FAR ? FAR : Math.max(entry._due - ticks, -1);
      entry._due = Math.min(due, most);
    }
  }

  /** All entries. */
  *[Symbol.iterator](): Generator<R, void, undefined> {
    yield* this.resumed;
    yield* this.timed;
    yield* this.direct;
  }
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

  /** Adds a timer that has expired. */
  addTimer(level: Level<R>, timer: R): void {
    level.addTimer(timer);
    this.mark(level);
  }

  /** Ticks count from so many later now; none is later than `most`. */
  rebase(ticks: number, most: number): void {
    for (const level of this.#levels) level?.rebase(ticks, most);
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
