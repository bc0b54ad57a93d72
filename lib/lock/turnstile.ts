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
 * Patience: a continuation that has waited for longer than that of its workqueue, since somebody here was
 * first passed over, is promoted when the lock is released: it goes before all others here, and its run
 * queue enters it first. At most every other hand-over is to a promoted one, so that those of high
 * priority are not starved in their turn. Somebody is passed over by a better one in the queue, and by
 * whoever takes the lock ahead of the heir or, to read, of a writer. Awaiting code is never promoted: it
 * belongs to no clock.
 *
 * Source: the name is that of Solaris and NetBSD, turnstile(9).
 */

import { Fifo, after, unlink, type Entry } from '../list.ts';
import type { BaseLock } from './lock.ts';

/** Who can wait for a lock. */
export interface Waiter extends Entry {
  /** The lock it waits for. */
  readonly _lock: BaseLock | null;
  readonly _priority: number;
  /** Whether its sequence number is its place among those who wait. */
  readonly _hasWaited: boolean;
  /** By whose time it waits; null: for as long as it takes. */
  readonly _timekeeper: Timekeeper | null;
  /** Whether it has waited for longer than its patience, of the time from one tick to another. */
  _isStarved(since: number, now: number): boolean;
  /** The lock is free: takes it (true), or will try as the heir (false), dispatched first if promoted. */
  _wake(promoted: boolean): boolean;
}

/** Tells the time to those who wait: a dispatcher. */
export interface Timekeeper {
  /** The present tick; only grows. */
  presentTick(): number;
}

interface Rank {
  readonly priority: number;
  readonly waiters: Fifo<Waiter>;
}

/** The queue of one contended lock. Linked among all turnstiles while somebody waits. */
export class Turnstile implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  /** Woken, and not dispatched yet. */
  heir: Waiter | null = null;
  /** Highest priority first; few priorities meet at one lock. */
  readonly #ranks: Rank[] = [];
  /** Goes before all others: in the queue, or the heir. */
  #promoted: Waiter | null = null;
  /** The last hand-over was to a promoted one. */
  #hasPromoted = false;
  /** Somebody was passed over since the last release. */
  #isPassedOver = false;
  /** Since a tick of this one, somebody has been waiting who may be passed over. */
  #timekeeper: Timekeeper | null = null;
  #since = 0;

  /** The best waiter; undefined: nobody waits. */
  get best(): Waiter | undefined {
    const promoted = this.#promoted;
    if (promoted !== null && promoted !== this.heir) return promoted;
    for (const { waiters } of this.#ranks) {
      const { first } = waiters;
      if (first !== undefined) return first;
    }
    return undefined;
  }

  /** Queues a waiter by its priority and sequence number. */
  add(waiter: Waiter): void {
    if (this.heir === waiter) this.heir = null;
    let at = 0;
    while ((this.#ranks[at]?.priority ?? -1) > waiter._priority) at++;
    if (this.#ranks[at]?.priority !== waiter._priority) {
      this.#ranks.splice(at, 0, { priority: waiter._priority, waiters: new Fifo<Waiter>() });
    }
    (this.#ranks[at] as Rank).waiters.append(waiter);
    if (this._next === this) contended.append(this);
  }

  /** A waiter leaves the queue. */
  remove(waiter: Waiter): void {
    unlink(waiter);
    if (this.heir === waiter) this.heir = null;
    if (this.#promoted === waiter) this.#promoted = null;
    this.#unlinkIfEmpty();
  }

  /** Somebody has taken the lock: the heir, a newcomer (null: code that awaits), or one of the queue. */
  hasTaken(taker: Waiter | null): void {
    if (this.heir === taker) this.heir = null;
    else if (this.heir !== null || this.best !== undefined) this.#isPassedOver = true;
    if (this.#promoted !== taker) return;
    this.#promoted = null;
    this.#hasPromoted = taker !== null;
  }

  /** The lock has been released: promotes whoever has waited for longest, and too long. */
  promote(): void {
    if (this.#promoted !== null) return;
    const isTurn = !this.#hasPromoted;
    let isPassedOver = this.#isPassedOver;
    this.#hasPromoted = false;
    this.#isPassedOver = false;
    let somebodyWaits = false;
    for (const { waiters } of this.#ranks) {
      if (waiters.empty) continue;
      isPassedOver ||= somebodyWaits;
      somebodyWaits = true;
    }
    if (!somebodyWaits && this.heir === null) this.#timekeeper = null;
    if (isPassedOver) for (const { waiters } of this.#ranks) this.#judge(waiters.first, isTurn);
  }

  /** The first of its priority may be passed over: promotes it if it has been for too long. */
  #judge(first: Waiter | undefined, isTurn: boolean): void {
    const timekeeper = first?._timekeeper ?? null;
    if (first === undefined || timekeeper === null) return;
    const now = timekeeper.presentTick();
    if (this.#timekeeper === null) {
      this.#timekeeper = timekeeper;
      this.#since = now;
    }
    if (!isTurn || timekeeper !== this.#timekeeper || !first._isStarved(this.#since, now)) return;
    const promoted = this.#promoted;
    if (promoted === null || after(promoted, first)) this.#promoted = first;
  }

  /** Whether the heir goes before a newcomer of this priority. */
  goesBefore(priority: number): boolean {
    const { heir } = this;
    return heir !== null && (heir === this.#promoted || heir._priority >= priority);
  }

  /** Whether somebody in the queue goes before a newcomer of this priority. */
  queuesBefore(priority: number): boolean {
    const { best } = this;
    return best !== undefined && (best === this.#promoted || best._priority >= priority);
  }

  /** Whether the best waiter goes before this one, which is not in the queue. */
  outranks(waiter: Waiter): boolean {
    if (waiter === this.#promoted) return false;
    const { best } = this;
    if (best === undefined) return false;
    if (best === this.#promoted) return true;
    if (best._priority !== waiter._priority) return best._priority > waiter._priority;
    return !waiter._hasWaited || after(waiter, best);
  }

  /** Wakes the best waiter if the lock is open for it, and readers behind a reader. */
  wake(): void {
    for (let { best } = this; best !== undefined && best._lock?._open === true; { best } = this) {
      const { heir } = this;
      // The heir takes the lock when it is dispatched, unless a better one has come meanwhile.
      if (heir !== null && !this.outranks(heir)) break;
      unlink(best);
      if (best._wake(best === this.#promoted)) continue;
      this.heir = best;
      if (heir !== null) {
        unlink(heir);
        this.add(heir);
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

/** All turnstiles at which somebody waits, of all kernels: how a shutdown finds them. */
export const contended: Fifo<Turnstile> = new Fifo<Turnstile>();
