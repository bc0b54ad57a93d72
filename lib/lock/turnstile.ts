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
  /** The lock is free: takes it (true), or will try as the heir (false). */
  _wake(): boolean;
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

  /** The best waiter; undefined: nobody waits. */
  get best(): Waiter | undefined {
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
    this.#unlinkIfEmpty();
  }

  /** Whether someone who waits, or the heir, goes before a newcomer of this priority. */
  goesBefore(priority: number): boolean {
    return this.heir !== null && this.heir._priority >= priority;
  }

  /** Whether the best waiter goes before this one, which is not in the queue. */
  outranks(waiter: Waiter): boolean {
    const { best } = this;
    if (best === undefined) return false;
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
      if (best._wake()) continue;
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
