/*
 * The turnstile of a lock: the queue of its waiters, which are continuations and awaiting code.
 *
 *   priority 215   entry 4 <-> entry 9
 *   priority 127   entry 2 <-> entry 5 <-> entry 6        highest priority first, then first come
 *
 * A lock gets its turnstile when it is contended for the first time.
 *
 * When the lock becomes free, the best waiter is woken. Awaiting code is given the lock immediately.
 * A continuation is not: it goes back to its run queue as the *heir* and takes the lock when it is
 * dispatched. So a higher priority that arrives in between goes first, and a lock is never reserved
 * for a continuation that is queued behind a busy level. An heir that finds the lock taken returns to
 * its old place. Code that asks for a free lock queues up behind an heir of its own or a higher
 * priority, so that it cannot starve the heir by asking repeatedly.
 *
 * Invariant: while the lock is free and has waiters, there is an heir in a run queue. It is restored in
 * `wake`, which is called when the lock is released and when the heir goes away.
 *
 * Patience: waiters of equal priority, patience and kernel form a *rank*, with a queue of its own, so
 * that a waiter with unlimited patience never hides one whose patience is exhausted. Awaiting code has
 * unlimited patience, because it has no clock. A rank is *passed over* in two cases: at a release, a
 * waiter of higher priority is queued; or somebody of higher priority takes the lock ahead of the heir
 * or, as a reader, ahead of a waiting writer. The tick of the first time is noted. A continuation
 * that has since waited for longer than its patience is promoted at the next release: it gets the
 * priority of those that passed it over, and goes before them, here and in the run queue. At most
 * one continuation of each priority is promoted in a pass, as in the run queue. The release by a promoted
 * waiter promotes nobody, so that high priorities are not starved in turn.
 *
 * Inheritance: a waiter whose run is waited for by a higher priority is moved to the rank of that priority while
 * that lasts (see `reorder`, and core/inheritance.ts, which decides about it).
 *
 * Source: the name is that of Solaris and NetBSD, turnstile(9).
 */

import { unlink, type Links } from '../base/list.ts';
import { OrderedList, after, listOf, type Entry } from '../base/ordered-list.ts';
import { inheriting } from './inheriting.ts';
import type { BaseLock } from './lock.ts';

/** A waiter of a lock. */
export interface Waiter extends Entry {
  /** The lock it waits for. */
  readonly _lock: BaseLock | null;
  readonly _priority: number;
  /** Whether it has waited before, so that its sequence number is its place in the queue. */
  readonly _hasWaited: boolean;
  /** The clock of its patience; null: it has none, and waits without limit. */
  readonly _timekeeper: Timekeeper | null;
  readonly _patienceMs: number;
  /**
   * Called when the lock is free. True: it has taken the lock, or no longer wants it. False: it
   * becomes the heir, and tries to take the lock when it is dispatched at this priority.
   */
  _wake(priority: number): boolean;
}

/** Tells the time to waiters; implemented by the dispatcher. */
export interface Timekeeper {
  /** Returns the current tick, which never decreases. */
  presentTick(): number;
  /** Whether a waiter has waited for longer than its patience between two ticks, and may be promoted. */
  mayPromote(waiter: Waiter, since: number, now: number): boolean;
}

/** No tick. */
export const NONE = -1;
/** Not a priority: that has to be found. */
export const NOT_KNOWN = -2;
/** When another so many ranks have been added, the unused ones are removed. */
const MANY = 64;

/** The waiters of one priority, patience and kernel. */
interface Rank {
  readonly priority: number;
  readonly patienceMs: number;
  timekeeper: Timekeeper | null;
  readonly waiters: OrderedList<Waiter>;
  /**
   * The tick at which a waiter of this rank was first passed over; NONE: not since the rank was
   * empty.
   */
  since: number;
}

/** The queue of one contended lock. While it has waiters, it is in the list of all turnstiles. */
export class Turnstile implements Links {
  _next: Links = this;
  _prev: Links = this;
  /** The continuation that has been woken and not dispatched yet. */
  heir: Waiter | null = null;
  /**
   * The highest priority in the queue when it was last passed on to the holders of the lock (see core/inheritance.ts);
   * NOT_KNOWN: the queue may have changed since.
   */
  passedOn: number = NOT_KNOWN;
  /** Sorted by priority, highest first. A lock has few ranks, so a linear search is cheap. */
  #ranks: Rank[] = [];
  /** Whether there has been a rank whose waiters may run out of patience. */
  #hasPatience = false;
  /** The promoted waiter, which is queued here or is the heir. */
  #promoted: Waiter | null = null;
  /** The promoted waiter goes before all waiters of this priority and lower ones. */
  #promotedTo = NONE;
  /** Whether the last taker of the lock was promoted. */
  #tookPromoted = false;
  /** The highest priority at which somebody has passed over waiters since the last release. */
  #passedBy = NONE;

  /** The best waiter; undefined: there are no waiters. */
  get best(): Waiter | undefined {
    let best: Waiter | undefined;
    for (const { priority, waiters } of this.#ranks) {
      if (best !== undefined && priority < best._priority) break;
      const { first } = waiters;
      if (first !== undefined && (best === undefined || after(best, first))) best = first;
    }
    const promoted = this.#promoted;
    if (promoted === null || promoted === this.heir || best === undefined) return best;
    return best._priority > this.#promotedTo ? best : promoted;
  }

  /** The priority at which a waiter queues here, or is dispatched as the heir. */
  priorityOf(waiter: Waiter): number {
    const { _priority: priority } = waiter;
    return waiter === this.#promoted ? Math.max(this.#promotedTo, priority) : priority;
  }

  /**
   * Queues a waiter by its priority and sequence number.
   *
   * @param since - the tick since which higher priorities have been dispatched before it; NONE: not yet
   */
  add(waiter: Waiter, since: number): void {
    if (this.heir === waiter) this.heir = null;
    const rank = this.#rankOf(waiter);
    rank.waiters.reinsert(waiter);
    if (since !== NONE && (rank.since === NONE || since < rank.since)) rank.since = since;
    if (this._next === this) contended.push(this);
    if (inheriting.changed !== null) inheriting.changed(waiter._lock as BaseLock, true);
  }

  /** Whether a waiter is in the queue; if it is the heir, it is not. */
  has(waiter: Waiter): boolean {
    const list = listOf(waiter);
    return list !== undefined && this.#ranks.some(({ waiters }) => waiters === list);
  }

  /**
   * Moves a waiter that is in the queue, because its priority or its sequence number has changed. Then `wake` has to be
   * called: a reader that has been behind a writer may go before it now.
   */
  reorder(waiter: Waiter): void {
    unlink(waiter);
    this.#rankOf(waiter).waiters.insert(waiter);
    this.passedOn = NOT_KNOWN;
  }

  /**
   * The highest priority in the queue; NONE: it is empty.
   *
   * @param priorityOf - returns the priority that counts for a waiter: its own or a lower one than that at which it queues
   * @param most - how many waiters to look at; if there are more, the result may be too low
   */
  highest(priorityOf: (waiter: Waiter) => number, most: number = Infinity): number {
    let highest = NONE;
    let left = most;
    for (const { priority, waiters } of this.#ranks) {
      if (priority <= highest) break;
      const { first } = waiters;
      if (first === undefined) continue;
      highest = Math.max(highest, priorityOf(first));
      // Most ranks have none that has inherited its priority.
      if (highest === priority) break;
      for (const waiter of waiters) {
        highest = Math.max(highest, priorityOf(waiter));
        if (highest === priority || --left <= 0) break;
      }
    }
    return highest;
  }

  #rankOf({ _priority: priority, _patienceMs: patienceMs, _timekeeper: timekeeper }: Waiter): Rank {
    let at = 0;
    let spare: Rank | undefined;
    for (const rank of this.#ranks) {
      if (rank.priority < priority) break;
      at++;
      if (rank.priority !== priority || rank.patienceMs !== patienceMs) continue;
      if (rank.timekeeper === timekeeper) return rank;
      // An unused rank of another kernel can be reused.
      if (!isUsed(rank) && this.heir === null) spare = rank;
    }
    if (spare !== undefined) {
      spare.timekeeper = timekeeper;
      return spare;
    }
    const rank = {
      priority,
      patienceMs,
      timekeeper,
      waiters: new OrderedList<Waiter>(),
      since: NONE,
    };
    const ranks = this.#ranks;
    if (timekeeper !== null && patienceMs !== Infinity) this.#hasPatience = true;
    ranks.splice(at, 0, rank);
    // With kcont/async-mutex, code waits at any number of priorities.
    if (ranks.length % MANY === 0) {
      this.#ranks = ranks.filter((it) => isUsed(it) || it === rank);
    }
    return rank;
  }

  /** Removes a waiter from the queue. */
  remove(waiter: Waiter): void {
    unlink(waiter);
    if (this.heir === waiter) this.heir = null;
    if (this.#promoted === waiter) this.#promoted = null;
    this.#unlinkIfEmpty();
  }

  /**
   * Whether this waiter must leave the lock to a promoted heir. This happens only if the heir
   * belongs to another kernel, whose pass is still to come.
   */
  mustLeaveToHeir(waiter: Waiter): boolean {
    const { heir } = this;
    if (heir === null || heir !== this.#promoted || heir === waiter) return false;
    return waiter._priority <= this.#promotedTo;
  }

  /** Called when the lock was taken: by the heir, another continuation, or awaiting code (null). */
  hasTaken(taker: Waiter | null, priority: number): void {
    if (taker !== null && this.heir === taker) this.heir = null;
    else if (this.heir !== null || this.best !== undefined) {
      this.#passedBy = Math.max(this.#passedBy, priority);
    }
    this.#tookPromoted = taker !== null && this.#promoted === taker;
    if (this.#tookPromoted) this.#promoted = null;
  }

  /** Called when the lock is released: promotes the oldest waiter that has run out of patience. */
  promote(): void {
    if (this.#promoted !== null) return;
    const { heir } = this;
    if (this.#ranks.length === 1 && this.#passedBy === NONE) {
      // As at most releases: nobody is passed over.
      const only = this.#ranks[0] as Rank;
      if (heir === null && only.waiters.empty) only.since = NONE;
      return;
    }
    if (!this.#hasPatience) {
      this.#passedBy = NONE;
      return;
    }
    const ofHeir = heir && this.#rankOf(heir);
    let highest = this.#passedBy;
    this.#passedBy = NONE;
    let promoted: Waiter | null = null;
    for (const rank of this.#ranks) {
      const first = (rank === ofHeir ? heir : rank.waiters.first) ?? null;
      if (first === null) {
        if (heir === null) rank.since = NONE;
        continue;
      }
      if (highest <= rank.priority) highest = rank.priority;
      else if (checkOverdue(rank, first) && (promoted === null || after(promoted, first))) {
        promoted = first;
      }
    }
    if (this.#tookPromoted || promoted === null) return;
    this.#promoted = promoted;
    this.#promotedTo = highest;
    if (promoted !== heir) return;
    // Move it from its own level of the run queue to that of the waiters it goes before.
    unlink(heir);
    heir._wake(highest);
  }

  /** Whether the heir goes before a newcomer of this priority. */
  heirGoesBefore(priority: number): boolean {
    const { heir } = this;
    return heir !== null && this.priorityOf(heir) >= priority;
  }

  /** Whether a waiter in the queue goes before a newcomer of this priority. */
  bestGoesBefore(priority: number): boolean {
    const { best } = this;
    return best !== undefined && this.priorityOf(best) >= priority;
  }

  /** Whether the best waiter goes before this one, which is not in the queue. */
  bestOutranks(waiter: Waiter): boolean {
    const { best } = this;
    if (best === undefined) return false;
    const bestPriority = this.priorityOf(best);
    const priority = this.priorityOf(waiter);
    if (bestPriority !== priority) return bestPriority > priority;
    const promoted = this.#promoted;
    if (promoted === best || promoted === waiter) return promoted === best;
    return !waiter._hasWaited || after(waiter, best);
  }

  /**
   * Wakes the best waiter if it can take the lock. If it is a reader, also wakes the readers that
   * follow it.
   */
  wake(): void {
    let woken: Waiter | null = null;
    for (let { best } = this; best !== undefined && best._lock?._open === true; { best } = this) {
      const { heir } = this;
      // The heir takes the lock when it is dispatched, unless a better waiter has arrived meanwhile.
      if (heir !== null && !this.bestOutranks(heir)) break;
      unlink(best);
      woken = best;
      if (best._wake(this.priorityOf(best))) {
        this.#tookPromoted = false;
        continue;
      }
      this.heir = best;
      if (heir !== null) {
        unlink(heir);
        this.add(heir, NONE);
      }
      break;
    }
    this.#unlinkIfEmpty();
    if (this.#ranks.length > MANY) this.#dropUsed();
    if (woken !== null && inheriting.changed !== null)
      inheriting.changed(woken._lock as BaseLock, false);
  }

  /** The queues of waiters, by priority; there can be several of one priority. */
  get queues(): OrderedList<Waiter>[] {
    return this.#ranks.map(({ waiters }) => waiters);
  }

  /** Calls a function for each waiter, which must not change the queue. */
  forEach(visit: (waiter: Waiter) => void): void {
    for (const { waiters } of this.#ranks) waiters.forEach(visit);
  }

  /** All waiters. */
  *[Symbol.iterator](): Generator<Waiter, void, undefined> {
    for (const { waiters } of this.#ranks) yield* waiters;
  }

  /** Drops the first ranks when many have been served, so that `best` need not pass over all of them. */
  #dropUsed(): void {
    const ranks = this.#ranks;
    const used = ranks.findIndex(isUsed);
    if (used >= MANY) ranks.splice(0, used);
  }

  #unlinkIfEmpty(): void {
    if (this._next !== this && this.best === undefined) unlink(this);
  }
}

/** Whether a rank has waiters, or remembers that some were passed over. */
function isUsed({ waiters, since }: Rank): boolean {
  return !waiters.empty || since !== NONE;
}

/**
 * Whether the first waiter of a rank has been passed over for longer than its patience. Notes the
 * time if it is the first time.
 */
function checkOverdue(rank: Rank, first: Waiter): boolean {
  const { timekeeper, patienceMs, since } = rank;
  if (timekeeper === null || patienceMs === Infinity) return false;
  const now = timekeeper.presentTick();
  if (since === NONE) rank.since = now;
  return since !== NONE && timekeeper.mayPromote(first, since, now);
}

/** All turnstiles with waiters, of all kernels; a shutdown searches this list. */
export const contended: OrderedList<Turnstile> = new OrderedList<Turnstile>();
