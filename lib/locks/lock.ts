import { join, leave } from '../base/abort-listeners.ts';
import { KcontError, checkFunction, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { stamp, type Entry } from '../base/ordered-list.ts';
import { SIGNAL, optionsOf, readOptions } from '../base/options-check.ts';
import { PRI_PRIHIGH, PRIORITY } from '../base/priorities.ts';
import { nameLock, nameOf, readName, titled, type LockOptions } from './lock-names.ts';
import { inheriting, takeHolder, type LockHolder, type LockWait } from './inheriting.ts';
import { NONE, Turnstile, type Waiter } from './turnstile.ts';

/**
 * Optional settings of {@link Lock.enter}.
 *
 * @public
 */
export interface EnterOptions {
  /** If aborted while waiting, `enter` leaves the queue and rejects with the signal's reason. */
  signal?: AbortSignal;
  /**
   * The priority at which the caller waits, 0 … 223. Default 127, that of `wq.prihigh`.
   *
   * Continuations wait at the priority of their workqueue, whose `patienceMs` limits for how long higher
   * priorities can pass them. For code that calls `enter` there is no such limit: it waits until no higher
   * priority is waiting.
   */
  priority?: number;
}

const ENTER = optionsOf<EnterOptions>('enter', { signal: SIGNAL, priority: PRIORITY });

/**
 * A lock that continuations and awaiting code can hold.
 *
 * @remarks
 * Continuations and code that awaits {@link Lock.enter} wait in one queue, by priority and then in order
 * of arrival. A continuation that has been passed over for longer than the patience of its workqueue
 * goes first, at most every other time. Locks have no owner and are not recursive: a function that
 * enters the same exclusive lock twice waits forever; in debug mode it is rejected with EDEADLK. Entering a read side
 * again waits only behind a waiting writer.
 *
 * While somebody waits, what the holder awaits through kcont is dispatched at the priority of the highest waiter, if that is
 * higher than its own. It is known of a continuation, and of a function that `run` of a lock has called, what it awaits
 * before its first `await`; in debug mode also after it.
 *
 * @public
 */
export interface Lock {
  /** Whether it is held. */
  readonly held: boolean;
  /**
   * Takes the lock if it is free, even ahead of a waiter that has been woken and not dispatched yet.
   *
   * @returns true: the caller now holds it; false: it is held by other code
   */
  tryEnter(): boolean;
  /**
   * Waits for the lock and takes it.
   *
   * @returns a promise, fulfilled when the caller holds the lock; rejected with the signal's reason if
   * the signal is aborted first, and then the caller does not hold it
   */
  enter(options?: EnterOptions): Promise<void>;
  /**
   * Releases the lock and wakes the next waiter.
   *
   * @throws KcontError EPERM if it is not held
   */
  exit(): void;
}

const entered: Promise<void> = Promise.resolve();

/**
 * The base class of all locks of kcont.
 *
 * @remarks
 * Applications use {@link Mutex}, {@link SpinLock}, {@link RWLock} or {@link RMLock}, and do not extend
 * this class.
 *
 * @public
 */
export abstract class BaseLock implements Lock {
  static readonly #line: (lock: BaseLock) => string = /* @__PURE__ */ defineInspect<BaseLock>(
    this,
    (lock, name) =>
      `${titled(name, lock)} { ${lock.held ? 'held' : 'free'}, ${waitersOf(lock)} waiting }`,
    (lock) => ({ name: lock.name, held: lock.held, waiting: waitersOf(lock) }),
  );

  /**
   * Creates a free lock.
   *
   * @param options - optional settings: a name
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions) {
    if (options !== undefined) nameLock(this, readName(options, new.target));
  }

  /** Its name; empty if it was given none. */
  get name(): string {
    return nameOf(this);
  }

  // By default the lock is exclusive; subclasses override this.

  #held = false;
  #turnstile: Turnstile | null = null;

  /** Whether it is held. */
  get held(): boolean {
    return this.#held;
  }

  /**
   * Whether it may be held by synchronous code only.
   * @internal
   */
  readonly _spin: boolean = false;

  /**
   * What holders of any of its sides have in common: the lock itself, if it has no sides. Null: priorities are not
   * inherited through it, because it is between threads.
   * @internal
   */
  get _whole(): object | null {
    return this;
  }

  /**
   * The lock itself. While a key is in use, the same for all locks of that key.
   * @internal
   */
  get _identity(): BaseLock {
    return this;
  }

  /**
   * The queue of waiters; null: the lock has never been contended.
   * @internal
   */
  get _turnstile(): Turnstile | null {
    return this.#turnstile;
  }

  /** @internal */
  set _turnstile(turnstile: Turnstile) {
    this.#turnstile = turnstile;
  }

  /**
   * Whether its current holders allow it to be taken.
   * @internal
   */
  get _open(): boolean {
    return !this.#held;
  }

  /**
   * Adds a holder to an open lock.
   * @internal
   */
  _hold(): void {
    this.#held = true;
  }

  /**
   * Removes a holder.
   * @internal
   */
  _drop(): void {
    this.#held = false;
  }

  /**
   * Gives the open lock to code that will call `exit`.
   * @internal
   */
  _grant(): void {
    this._hold();
  }

  /** Gives the open lock to code that did not wait, possibly ahead of waiters. */
  #grantAhead(priority: number): void {
    this._grant();
    const turnstile = this._turnstile;
    if (turnstile !== null) turnstile.hasTaken(null, priority);
  }

  /**
   * Takes the lock if it is free.
   *
   * @returns true: the caller now holds it; false: it is held by other code
   */
  tryEnter(): boolean {
    if (!this._open) return false;
    this.#grantAhead(PRI_PRIHIGH);
    return true;
  }

  /**
   * Waits for the lock and takes it.
   *
   * @param options - optional settings: a signal that ends the wait, and the priority to wait at
   * @returns a promise, fulfilled when the caller holds the lock; rejected with the signal's reason when
   * aborted, and with KcontError EINVAL for an invalid option
   */
  enter(options?: EnterOptions): Promise<void> {
    return this._enter(options, BaseLock.prototype.enter);
  }

  /** @internal */
  _enter(options: EnterOptions | undefined, caller: Caller): Promise<void> {
    try {
      const { signal, priority } = readOptions(options, ENTER, caller);
      return this._await(signal, priority);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Implements `enter`, with options that have been checked. `byCaller`: it is the caller who waits.
   * @internal
   */
  _await(
    signal: AbortSignal | undefined,
    priority: number = PRI_PRIHIGH,
    byCaller: boolean = true,
  ): Promise<void> {
    // oxlint-disable-next-line prefer-promise-reject-errors -- the reason is the caller's
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this._tryFor(priority)) return entered;
    return new Promise((resolve, reject) => {
      const awaiter = new Awaiter(this, priority, signal, resolve, reject);
      this._wait(awaiter);
      // Before `begin`: a reader that inherits a priority may be granted the lock at once.
      if (signal !== undefined) join(signal, awaiter);
      if (byCaller) inheriting.begin(awaiter);
    });
  }

  /**
   * Releases the lock and wakes the next waiter.
   *
   * @throws KcontError EPERM if it is not held
   */
  exit(): void {
    if (this._release()) return;
    const what = `exit of a ${this.constructor.name} that is not held`;
    throw traceFrom(BaseLock.prototype.exit, new KcontError('EPERM', what));
  }

  /**
   * Releases the lock; false: it is not held.
   * @internal
   */
  _release(): boolean {
    if (!this.held) return false;
    this._drop();
    const turnstile = this._turnstile;
    if (turnstile !== null) {
      turnstile.promote();
      turnstile.wake();
    }
    return true;
  }

  /**
   * Takes the lock for code that may have to queue although the lock is open.
   * @internal
   */
  _tryFor(priority: number): boolean {
    if (!this._open) return false;
    const turnstile = this._turnstile;
    if (turnstile !== null && this._mustQueue(turnstile, priority)) return false;
    this.#grantAhead(priority);
    return true;
  }

  /**
   * Takes the lock for a continuation that is being dispatched.
   * @internal
   */
  _takeFor(waiter: Waiter): boolean {
    if (!this._open) return false;
    const turnstile = this._turnstile;
    if (turnstile !== null) {
      if (turnstile.mustLeaveToHeir(waiter)) return false;
      turnstile.hasTaken(waiter, waiter._priority);
    }
    this._hold();
    return true;
  }

  /**
   * Queues a waiter. `since`: as for `Turnstile.add`.
   * @internal
   */
  _wait(waiter: Waiter, since: number = NONE): void {
    (this._turnstile ??= new Turnstile()).add(waiter, since);
  }

  /**
   * Called when a runnable or waiting continuation, or code that waits in `enter`, no longer wants the lock.
   * @internal
   */
  _leave(waiter: Waiter): void {
    const turnstile = this._turnstile;
    if (turnstile === null) return;
    turnstile.remove(waiter);
    turnstile.wake();
    if (inheriting.changed !== null) inheriting.changed(this, false);
  }

  /**
   * Whether a newcomer has to queue although the lock is open.
   * @internal
   */
  _mustQueue(turnstile: Turnstile, priority: number): boolean {
    return turnstile.heirGoesBefore(priority);
  }

  /** @internal */
  toString(): string {
    return BaseLock.#line(this);
  }
}

/**
 * Code that awaits a lock.
 *
 * @internal
 */
export class Awaiter implements Waiter {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  readonly _lock: BaseLock;
  /** Its own, or that which it has inherited: see `_awaited`. */
  _priority: number;
  readonly _hasWaited: boolean = true;
  readonly _timekeeper: null = null;
  readonly _patienceMs: number = Infinity;
  /** What is known of the run on whose behalf it waits. */
  _awaited: LockWait | null = null;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: () => void;
  readonly #reject: (reason: unknown) => void;

  constructor(
    lock: BaseLock,
    priority: number,
    signal: AbortSignal | undefined,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    this._lock = lock;
    this._priority = priority;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    stamp(this);
  }

  _wake(): boolean {
    const signal = this.#signal;
    // It has been aborted and will be removed: leave the lock to the next waiter.
    if (signal?.aborted === true) return true;
    this._lock._grant();
    if (this._awaited !== null) inheriting.end(this._awaited);
    if (signal !== undefined) leave(signal, this);
    this.#resolve();
    return true;
  }

  _abort(reason: unknown): void {
    this.#reject(reason);
    if (this._awaited !== null) inheriting.end(this._awaited);
    // If it was a writer, readers may have been waiting behind it.
    this._lock._leave(this);
  }
}

/**
 * Waits for a lock, and returns a disposable that releases it once, however often it is disposed.
 *
 * @internal
 */
export async function holdLock(
  lock: BaseLock,
  options: EnterOptions | undefined,
  caller: Caller,
): Promise<Disposable> {
  await lock._enter(options, caller);
  let holding = true;
  return {
    [Symbol.dispose]: () => {
      if (holding) lock.exit();
      holding = false;
    },
  };
}

/**
 * Runs a function with a lock held.
 *
 * @internal
 */
export async function runLocked<T>(
  lock: BaseLock,
  func: () => T | PromiseLike<T>,
  options: EnterOptions | undefined,
  caller: Caller,
): Promise<T> {
  checkFunction(func, 'func', caller);
  await lock._enter(options, caller);
  let holder: LockHolder | null = null;
  try {
    inheriting.lock = lock;
    const result = func();
    holder = takeHolder();
    return await result;
  } finally {
    // The function has thrown.
    if (inheriting.lock !== null) holder = takeHolder();
    if (holder !== null) inheriting.settled(holder);
    lock.exit();
  }
}

/**
 * Returns the number of waiters of a lock.
 *
 * @internal
 */
export function waitersOf({ _turnstile: turnstile }: BaseLock): number {
  return [...(turnstile ?? [])].length;
}
