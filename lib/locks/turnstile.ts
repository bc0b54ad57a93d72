/*
 * The turnstile of a lock: who waits for it, continuations and awaiting code in one queue.
 *
 *   priority 215   entry 4 <-> entry 9
 *   priority 127   entry 2 <-> entry 5 <-> entry 6        highest priority first, then first come
 *
 * A lock has none until it is contended for the first time.
 *
 * When the lock becomes free, the best waiter is woken. Awaiting code is given the lock at once.
 * A continuation is not: it goes back to its run queue as the *heir* and takes the lock when it is
 * dispatched, so that one of a higher priority that comes in between goes first, and so that a lock
 * is never kept for somebody who is queued behind a busy level. The heir that finds the lock taken
 * comes back to its old place. Code that asks for a free lock which has an heir of its own priority
 * or a higher one queues up behind it: it cannot starve it by asking again and again.
 *
 * Invariant: while the lock is free and somebody waits, there is an heir in a run queue. It is
 * restored in `wake`, called when the lock is released and when the heir goes away.
 *
 * Patience: a continuation that has waited for longer than that of its workqueue, since one like it was
 * first passed over, is promoted when the lock is released: it goes before all who have passed it over, here
 * and in the run queue, at their priority; once in a pass for each level, as in the run queue. After a
 * promoted one somebody else takes the lock, so that those of high priority are not starved in their
 * turn. Passed over is who is of lower priority than the best in the queue, and than whoever takes the
 * lock ahead of the heir or, to read, of a writer. Those of
 * each priority, patience and kernel stand in a line of their own, so that nobody hides them who waits
 * for as long as it takes. Awaiting code does: it belongs to no clock.
 *
 * Source: the name is that of Solaris and NetBSD, turnstile(9).
 */

import { Fifo, after, unlink, type Entry } from '../base/list.ts';
import type { BaseLock } from './lock.ts';

/** Who can wait for a lock. */
export interface Waiter extends Entry {
  /** The lock it waits for. */
  readonly _lock: BaseLock | null;
  readonly _priority: number;
  /** Whether its sequence number is its place among those who wait. */
  readonly _hasWaited: boolean;
  /** By whose time it waits; null: by none, for as long as it takes. */
  readonly _timekeeper: Timekeeper | null;
  readonly _patienceMs: number;
  /** Whether it has waited for longer than its patience, of the time from one tick to another. */
  _isStarved(since: number, now: number): boolean;
  /** The lock is free: takes it (true), or will try as the heir, dispatched at a priority (false). */
  _wake(priority: number): boolean;
}

/** Tells the time to those who wait: a dispatcher. */
export interface Timekeeper {
  /** The present tick; only grows. */
  presentTick(): number;
}

/** No tick. */
export const NONE = -1;

/** Those who have the same priority, and the same patience by the same time. */
interface Rank {
  readonly priority: number;
  readonly patienceMs: number;
  timekeeper: Timekeeper | null;
  readonly waiters: Fifo<Waiter>;
  /** Since which tick others have gone before; NONE: nobody has. */
  since: number;
}

/** The queue of one contended lock. Linked among all turnstiles while somebody waits. */
export class Turnstile implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  /** Woken, and not dispatched yet. */
  heir: Waiter | null = null;
  /** Highest priority first; few meet at one lock. */
  readonly #ranks: Rank[] = [];
  /** Has waited for too long: in the queue, or the heir. */
  #promoted: Waiter | null = null;
  /** Before whom it goes: all of this priority, and of lower ones. */
  #promotedTo = NONE;
  /** The last one who has taken the lock was promoted. */
  #tookPromoted = false;
  /** The highest priority at which somebody has passed over all who wait, since the last release. */
  #passedBy = NONE;

  /** The best waiter; undefined: nobody waits. */
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

  /** The priority at which one stands here. */
  #priorityOf(waiter: Waiter): number {
    return waiter === this.#promoted ? this.#promotedTo : waiter._priority;
  }

  /**
   * Queues a waiter by its priority and sequence number.
   *
   * @param since - since which tick those of higher priority have been dispatched before it; NONE: not yet
   */
  add(waiter: Waiter, since: number): void {
    if (this.heir === waiter) this.heir = null;
    const rank = this.#rankOf(waiter);
    rank.waiters.append(waiter);
    if (since !== NONE && (rank.since === NONE || since < rank.since)) rank.since = since;
    if (this._next === this) contended.append(this);
  }

  #rankOf({ _priority: priority, _patienceMs: patienceMs, _timekeeper: timekeeper }: Waiter): Rank {
    let at = 0;
    let spare: Rank | undefined;
    for (const rank of this.#ranks) {
      if (rank.priority < priority) break;
      at++;
      if (rank.priority !== priority || rank.patienceMs !== patienceMs) continue;
      if (rank.timekeeper === timekeeper) return rank;
      // That of another kernel, which nobody needs any more.
      if (rank.since === NONE && rank.waiters.empty && this.heir === null) spare = rank;
    }
    if (spare !== undefined) {
      spare.timekeeper = timekeeper;
      return spare;
    }
    const rank = { priority, patienceMs, timekeeper, waiters: new Fifo<Waiter>(), since: NONE };
    this.#ranks.splice(at, 0, rank);
    return rank;
  }

  /** A waiter leaves the queue. */
  remove(waiter: Waiter): void {
    unlink(waiter);
    if (this.heir === waiter) this.heir = null;
    if (this.#promoted === waiter) this.#promoted = null;
    this.#unlinkIfEmpty();
  }

  /** Whether the lock is kept for the heir: a promoted one of another kernel, whose pass is to come. */
  isKeptFrom(waiter: Waiter): boolean {
    const { heir } = this;
    if (heir === null || heir !== this.#promoted || heir === waiter) return false;
    return waiter._priority <= this.#promotedTo;
  }

  /** Somebody has taken the lock: the heir, another continuation, or code of some priority (null). */
  hasTaken(taker: Waiter | null, priority: number): void {
    if (taker !== null && this.heir === taker) this.heir = null;
    else if (this.heir !== null || this.best !== undefined) {
      this.#passedBy = Math.max(this.#passedBy, priority);
    }
    this.#tookPromoted = taker !== null && this.#promoted === taker;
    if (this.#tookPromoted) this.#promoted = null;
  }

  /** The lock has been released: promotes whoever has waited for longest, and too long. */
  promote(): void {
    if (this.#promoted !== null) return;
    const { heir } = this;
    const ofHeir = heir === null ? undefined : this.#rankOf(heir);
    let highest = this.#passedBy;
    this.#passedBy = NONE;
    let promoted: Waiter | null = null;
    for (const rank of this.#ranks) {
      const first = rank === ofHeir ? heir : rank.waiters.first;
      if (first === undefined || first === null) {
        if (heir === null) rank.since = NONE;
        continue;
      }
      if (highest <= rank.priority) highest = Math.max(highest, rank.priority);
      else if (isOverdue(rank, first) && (promoted === null || after(promoted, first))) {
        promoted = first;
      }
    }
    if (this.#tookPromoted || promoted === null) return;
    this.#promoted = promoted;
    this.#promotedTo = highest;
    if (promoted !== heir) return;
    // From its run queue to that of those it goes before.
    unlink(heir);
    heir._wake(highest);
  }

  /** Whether the heir goes before a newcomer of this priority. */
  goesBefore(priority: number): boolean {
    const { heir } = this;
    return heir !== null && this.#priorityOf(heir) >= priority;
  }

  /** Whether somebody in the queue goes before a newcomer of this priority. */
  queuesBefore(priority: number): boolean {
    const { best } = this;
    return best !== undefined && this.#priorityOf(best) >= priority;
  }

  /** Whether the best waiter goes before this one, which is not in the queue. */
  outranks(waiter: Waiter): boolean {
    const { best } = this;
    if (best === undefined) return false;
    const bestPriority = this.#priorityOf(best);
    const priority = this.#priorityOf(waiter);
    if (bestPriority !== priority) return bestPriority > priority;
    const promoted = this.#promoted;
    if (promoted === best || promoted === waiter) return promoted === best;
    return !waiter._hasWaited || after(waiter, best);
  }

  /** Wakes the best waiter if the lock is open for it, and readers behind a reader. */
  wake(): void {
    for (let { best } = this; best !== undefined && best._lock?._open === true; { best } = this) {
      const { heir } = this;
      // The heir takes the lock when it is dispatched, unless a better one has come meanwhile.
      if (heir !== null && !this.outranks(heir)) break;
      unlink(best);
      if (best._wake(this.#priorityOf(best))) {
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
  }

  /** All waiters. */
  *[Symbol.iterator](): Generator<Waiter, void, undefined> {
    for (const { waiters } of this.#ranks) yield* waiters;
  }

  #unlinkIfEmpty(): void {
    if (this._next !== this && this.best === undefined) unlink(this);
  }
}

/** Whether the first of a rank, which is passed over, has been for too long. */
function isOverdue(rank: Rank, first: Waiter): boolean {
  const { timekeeper, patienceMs, since } = rank;
  if (timekeeper === null || patienceMs === Infinity) return false;
  const now = timekeeper.presentTick();
  if (since === NONE) rank.since = now;
  return since !== NONE && first._isStarved(since, now);
}

/** All turnstiles at which somebody waits, of all kernels: how a shutdown finds them. */
export const contended: Fifo<Turnstile> = new Fifo<Turnstile>();
