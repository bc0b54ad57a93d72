/*
 * The run queue: the runnable continuations, highest priority first, first in first out within one.
 *
 *   summary   0000 1000        which words have a bit
 *   words     [..] [0100..]    which priorities may have an entry
 *   levels    223  215 ... 103 one per priority in use, three lists each, taken in this order:
 *               resumed  entries that were set aside and may go on: they were reached before all of
 *                        the others; or that a lock promoted from a lower level (see turnstile.ts)
 *               timed    timers that have expired, in the order of (deadline tick, sequence), and
 *                        the jobs that became runnable before one of them
 *               direct   jobs, scheduled without a delay, in the order of the calls
 *
 * A timer may be collected after a job was scheduled although it was due before. So when a timer is
 * added, the jobs that became runnable before it was due are moved ahead of it, from `direct` to
 * `timed`; each moves at most once. The jobs that stay are later than all timers of that collection, and
 * the timers of a collection are later than those of earlier collections.
 *
 * Ticks of jobs and timers count from the wheel's base, and are adjusted when it moves: see `rebase`.
 *
 * Two counts of leading zeros find the highest priority. A bit may stay set after the last entry of its
 * level has left; it is cleared when it is found. In between, the highest level is remembered: taking an
 * entry costs one look at that level, and in most cases at one of its lists.
 *
 * Invariant: no level above `#top` has an entry. It is restored in `mark`, which is called for each level
 * that gets an entry and may have had none.
 */

import { takeFirst } from '../base/list.ts';
import { OrderedList, stamp, type Entry } from '../base/ordered-list.ts';
import { PRIORITIES } from '../base/priorities.ts';
import { FAR } from '../time/timing-wheel.ts';
import type { Awaited } from './awaited.ts';
import type { Lane, ShareGroup } from './share-group.ts';

/** An entry. `_due`: the tick at which it became runnable, relative to the wheel's base. */
export interface Runnable extends Entry {
  _due: number;
}

/** The runnable entries of one priority, or of one of its lanes (see share-group.ts). */
export class Level<R extends Runnable> {
  readonly priority: number;
  /** The level that the run queue knows: itself, or for a lane that of its priority. */
  readonly root: Level<R>;
  /** The lane whose entries it holds; null: it is a root. */
  readonly lane: Lane<R> | null;
  /** The lanes between which a root chooses; null: its entries are in its own lists. */
  group: ShareGroup<R> | null = null;
  readonly resumed: OrderedList<R> = new OrderedList<R>();
  readonly timed: OrderedList<R> = new OrderedList<R>();
  /** Jobs are added in their order. A user that inserts into it takes by `first`, not by `shift`. */
  readonly direct: OrderedList<R> = new OrderedList<R>();
  /** Timers that an expiry batch has put aside. Empty between two batches. */
  readonly aside: OrderedList<R> = new OrderedList<R>();
  /** Whether `resumed` or `timed` may have entries. Always, if it has lanes. */
  #hasOthers = false;
  /** The shortest patience of the workqueues of this priority, in ms. */
  leastPatienceMs: number = Infinity;
  /** The pass in which a lock last promoted an entry of this level. */
  promotedIn: number = -1;

  constructor(priority: number, root?: Level<R>, lane: Lane<R> | null = null) {
    this.priority = priority;
    this.root = root ?? this;
    this.lane = lane;
  }

  /** From now on its entries are in lanes. */
  beginSharing(group: ShareGroup<R>): void {
    this.group = group;
    this.#hasOthers = true;
  }

  /** From now on its entries are in its own lists again. No lane has any. */
  endSharing(): void {
    this.group = null;
  }

  /** The next entry, if any. */
  get first(): R | undefined {
    if (this.group !== null) return this.group.first;
    return this.resumed.first ?? this.timed.first ?? this.direct.first;
  }

  /** Removes and returns the next entry, whose `_prev` is left as it was. */
  shift(): R | undefined {
    if (this.#hasOthers) {
      if (this.group !== null) return this.group.shift();
      const entry = this.resumed.shift() ?? this.timed.shift();
      if (entry !== undefined) return entry;
      this.#hasOthers = false;
    }
    return takeFirst(this.direct);
  }

  /** Adds an entry that was set aside, or that a lock promoted. */
  addResumed(entry: R): void {
    this.resumed.insert(entry);
    this.#hasOthers = true;
  }

  /**
   * Adds a timer, which is due no earlier than all timers that were added before. It goes before a job of
   * the same tick: it was scheduled earlier, for its delay is at least one tick.
   */
  addTimer(timer: R): void {
    this.addTimers(timer, timer);
  }

  /** Adds timers of the same tick that are linked to each other in their order. */
  addTimers(first: R, last: R): void {
    const { timed, direct } = this;
    for (let { first: job } = direct; job !== undefined && job._due < first._due;) {
      timed.push(direct.shift() as R);
      ({ first: job } = direct);
    }
    timed.append(first, last);
    this.#hasOthers = true;
  }

  /**
   * Adjusts the entries when the base moves by `ticks`. Those from before the base stay before all future
   * timers; FAR, the last, stays last.
   */
  rebase(ticks: number, most: number): void {
    this.forEach((entry) => {
      const due = entry._due === FAR ? FAR : Math.max(entry._due - ticks, -1);
      entry._due = Math.min(due, most);
    });
  }

  /** Calls a function for each entry, in their order. Those of lanes come lane by lane, in the order of their turns. */
  forEach(visit: (entry: R) => void): void {
    this.resumed.forEach(visit);
    this.timed.forEach(visit);
    this.direct.forEach(visit);
    if (this.group !== null) for (const level of this.group.levels()) level.forEach(visit);
  }

  /** The entries of its own lists, in their order. */
  *[Symbol.iterator](): Generator<R, void, undefined> {
    yield* this.resumed;
    yield* this.timed;
    yield* this.direct;
  }
}

/** Levels by priority, and a bitmap of those that may have entries. */
export class RunQueue<R extends Runnable> {
  readonly #levels: (Level<R> | undefined)[] = Array.from({ length: PRIORITIES }, () => undefined);
  readonly #words = new Int32Array(PRIORITIES / 32);
  #summary = 0;
  /**
   * The continuations that have inherited a priority, in the run queue or not (see inheritance.ts).
   * @internal
   */
  readonly inherited: Set<Awaited> = new Set<Awaited>();
  /**
   * Those whose timers have just expired.
   * @internal
   */
  readonly moving: R[] = [];
  /** The highest level that may have entries; null: none has. */
  #top: Level<R> | null = null;

  /** Returns the level of a priority, which is created at the first request. */
  level(priority: number): Level<R> {
    return (this.#levels[priority] ??= new Level<R>(priority));
  }

  /** Adds a job, which is later than all others. */
  addJob(level: Level<R>, job: R): void {
    const { direct } = level;
    if (direct.empty) this.mark(level);
    direct.push(job);
  }

  /** Adds an entry that has inherited this priority, after all others; before the lanes, if there are any. */
  addInherited(level: Level<R>, entry: R): void {
    if (level.group === null) this.addJob(level, entry);
    else {
      stamp(entry);
      this.addResumed(level, entry);
    }
  }

  /** Adds an entry that was set aside, or that a lock promoted to this level. */
  addResumed(level: Level<R>, entry: R): void {
    level.addResumed(entry);
    this.mark(level);
  }

  /** Marks a level that has got an entry. */
  mark(level: Level<R>): void {
    if (level.lane !== null) level.lane.join();
    const top = this.#top;
    if (top === null || top.priority < level.priority) this.#top = level.root;
    const word = level.priority >> 5;
    this.#words[word]! |= 1 << (level.priority & 31);
    this.#summary |= 1 << word;
  }

  /** Adds a timer that has expired. */
  addTimer(level: Level<R>, timer: R): void {
    level.addTimer(timer);
    this.mark(level);
  }

  /** Adjusts all entries when the base moves by `ticks`; no entry is later than `most`. */
  rebase(ticks: number, most: number): void {
    for (const level of this.#levels) level?.rebase(ticks, most);
  }

  /** Removes and returns the first entry of the highest priority, whose `_prev` is left as it was. */
  shift(): R | undefined {
    for (let level = this.#top; level !== null; level = this.#lower()) {
      const entry = level.shift();
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /** Called if the highest level has no entries: returns the next one, which may have some. */
  #lower(): Level<R> | null {
    const level = this.highest();
    return (this.#top = level ?? null);
  }

  get empty(): boolean {
    return this.highest() === undefined;
  }

  /** Returns the highest level below a priority that has entries. */
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

  /** Invariant: a word has a bit in the summary if and only if it is not 0. */
  #clear(word: number, bit: number): void {
    const bits = (this.#words[word] as number) & ~(1 << bit);
    this.#words[word] = bits;
    if (bits === 0) this.#summary &= ~(1 << word);
  }
}
