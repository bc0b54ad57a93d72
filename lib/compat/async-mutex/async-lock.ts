/*
 * What Mutex and Semaphore of async-mutex have in common, on a semaphore of kcont.
 *
 * Two differences have to be bridged. A value is any number here: `release` of what was not taken raises it, and it may
 * be negative. So the capacity follows the value. And priorities are any numbers: 0 is the priority of
 * `wq.prihigh`, so that calls without a priority and continuations of that workqueue wait in the order of arrival.
 */

import { List, unlink, type Links } from '../../base/list.ts';
import { PRI_PRIHIGH } from '../../base/priorities.ts';
import { Awaiter, type BaseLock } from '../../locks/lock.ts';
import { Semaphore as UnitSemaphore } from '../../locks/semaphore.ts';
import type { Waiter } from '../../locks/turnstile.ts';
import { E_CANCELED } from './errors.ts';

/**
 * The result of `acquire`: the value before, and the function that gives the units back.
 *
 * @internal
 */
export type Ticket = [value: number, release: () => void];

/** A call of `acquire` that waits. */
class Request extends Awaiter {
  readonly #granted: () => void;

  constructor(
    side: BaseLock,
    priority: number,
    granted: () => void,
    rejected: (reason: unknown) => void,
  ) {
    super(side, priority, undefined, granted, rejected);
    this.#granted = granted;
  }

  /** It is told before those whom the grant unlocks. */
  override _wake(): boolean {
    this.#granted();
    this._lock._grant();
    return true;
  }
}

/** What calls of `acquire` or `waitForUnlock` want. */
interface Wish {
  readonly weight: number;
  readonly priority: number;
}

/** A call of `waitForUnlock` that waits. */
class UnlockWaiter implements Links {
  _next: Links = this;
  _prev: Links = this;
  readonly resolve: () => void;

  constructor(resolve: () => void) {
    this.resolve = resolve;
  }
}

/** Those that want the same, in order of arrival. */
interface Rank extends Wish {
  readonly waiters: List<UnlockWaiter>;
}

function goesBefore(a: Wish, b: Wish): boolean {
  return a.weight === b.weight ? a.priority > b.priority : a.weight > b.weight;
}

/**
 * Throws what async-mutex throws for a weight that is not positive.
 *
 * @internal
 */
export function checkWeight(weight: number): void {
  if (weight <= 0) throw new Error(`invalid weight ${weight}: must be positive`);
}

/**
 * What {@link Mutex} and {@link Semaphore} have in common.
 *
 * @remarks
 * It is also a lock and a semaphore of kcont: it can be the lock of a continuation, and has `enter`, `tryEnter`, `exit`,
 * `hold` and `run`. Those wait in the same queue. The priority 0 is that of `wq.prihigh`, 127; others are relative to it.
 *
 * @public
 */
export abstract class AsyncLock extends UnitSemaphore {
  readonly #cancelError: Error;
  /** The calls of `waitForUnlock` that wait: those that want most first, then by priority. */
  #ranks: Rank[] = [];

  /**
   * Creates a lock.
   *
   * @param value - the number of free units; any number
   * @param cancelError - what `cancel` rejects with. Default E_CANCELED
   */
  constructor(value: number, cancelError: Error = E_CANCELED) {
    super(0);
    this.#cancelError = cancelError;
    this._set(value, value);
  }

  /** Whether no unit is free. */
  isLocked(): boolean {
    return this.value <= 0;
  }

  /**
   * Rejects all calls of `acquire` and `runExclusive` that wait, in their order, with the error that was given to the
   * constructor, or with E_CANCELED. Continuations and calls of `enter`, `hold` and `run` go on waiting.
   */
  cancel(): void {
    const turnstile = this._turnstile;
    if (turnstile === null) return;
    const requests = [...turnstile].filter((waiter) => waiter instanceof Request);
    // Nothing is granted to any of them while others are rejected.
    for (const request of requests) turnstile.remove(request);
    for (const request of requests) request._abort(this.#cancelError);
    this._changed();
  }

  /**
   * Takes units, or waits for them.
   *
   * @param granted - called when they have been taken
   * @returns a function that ends the wait, with a reason; null: it has been called already
   * @internal
   */
  _request(
    weight: number,
    priority: number,
    granted: (ticket: Ticket) => void,
    rejected: (reason: unknown) => void,
  ): ((reason: unknown) => void) | null {
    const side = this._of(weight);
    const level = PRI_PRIHIGH + priority;
    const value = this.value;
    if (side._tryFor(level)) {
      granted([value, this.#releaser(weight)]);
      return null;
    }
    const grant = (): void => granted([this.value, this.#releaser(weight)]);
    const request = new Request(side, level, grant, rejected);
    side._wait(request);
    return (reason) => request._abort(reason);
  }

  /**
   * Waits until units could be taken.
   *
   * @returns a function that ends the wait; null: they could be taken now, and `resolve` has been called
   * @internal
   */
  _untilUnlocked(weight: number, priority: number, resolve: () => void): (() => void) | null {
    const wish = { weight, priority: PRI_PRIHIGH + priority };
    if (this.#couldLock(wish)) {
      resolve();
      return null;
    }
    const waiter = new UnlockWaiter(resolve);
    const rank = this.#rankOf(wish);
    rank.waiters.push(waiter);
    return () => {
      unlink(waiter);
      if (rank.waiters.empty) this.#remove(rank);
    };
  }

  /** Where the ranks begin that do not go before a wish. */
  #placeOf(wish: Wish): number {
    let [from, to] = [0, this.#ranks.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (goesBefore(this.#ranks[middle] as Rank, wish)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  #rankOf(wish: Wish): Rank {
    const at = this.#placeOf(wish);
    const found = this.#ranks[at];
    if (found?.weight === wish.weight && found.priority === wish.priority) return found;
    const rank: Rank = { ...wish, waiters: new List<UnlockWaiter>() };
    this.#ranks.splice(at, 0, rank);
    return rank;
  }

  #remove(rank: Rank): void {
    const at = this.#placeOf(rank);
    if (this.#ranks[at] === rank) this.#ranks.splice(at, 1);
  }

  /**
   * Adds free units, also such that were not taken.
   * @internal
   */
  _give(weight: number): void {
    const taken = this.capacity - this.value;
    const capacity = this.capacity + Math.max(weight - taken, 0);
    this._turnstile?.promote();
    this._set(this.value + weight, capacity);
  }

  /** @internal */
  override _release(): boolean {
    this._give(1);
    return true;
  }

  /**
   * Whether any call of `waitForUnlock` waits.
   * @internal
   */
  get _isAwaited(): boolean {
    return this.#ranks.length > 0;
  }

  /**
   * Ends calls of `waitForUnlock` that need not wait any longer.
   * @internal
   */
  override _changed(): void {
    if (this.#ranks.length === 0) return;
    const unlocked: Rank[] = [];
    const locked: Rank[] = [];
    for (const rank of this.#ranks) (this.#couldLock(rank) ? unlocked : locked).push(rank);
    this.#ranks = locked;
    for (const { waiters } of unlocked) {
      for (let waiter = waiters.shift(); waiter !== undefined; waiter = waiters.shift()) {
        waiter.resolve();
      }
    }
  }

  /** @internal */
  override _leave(waiter: Waiter): void {
    super._leave(waiter);
    // A request whose time has passed tells later: see `Patience`.
    if (!(waiter instanceof Request)) this._changed();
  }

  #releaser(weight: number): () => void {
    let isCalled = false;
    return () => {
      if (isCalled) return;
      isCalled = true;
      this._give(weight);
    };
  }

  /** Whether `acquire` of that weight and priority would not wait. */
  #couldLock({ weight, priority }: Wish): boolean {
    if (this.value < weight) return false;
    const turnstile = this._turnstile;
    return turnstile === null || !this._mustQueue(turnstile, priority);
  }
}
