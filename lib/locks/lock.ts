import { join, leave } from '../base/abort-listeners.ts';
import {
  KcontError,
  checkFunction,
  refuseOptions,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { stamp, type Entry } from '../base/list.ts';
import { SIGNAL, optionsOf, readOptions } from '../base/options-check.ts';
import { PRI_PRIHIGH, PRIORITY } from '../base/priorities.ts';
import { NONE, Turnstile, type Waiter } from './turnstile.ts';

/**
 * How to wait for a lock.
 *
 * @public
 */
export interface EnterOptions {
  /** Aborted while waiting: leaves the queue at once and rejects with the signal's reason. */
  signal?: AbortSignal;
  /**
   * The priority at which the caller waits: 0 … 223, by default that of `wq.prihigh`, 127.
   * Continuations wait at the priority of their workqueue, and for as long as its patience if higher ones
   * keep coming; the caller waits until none is left.
   */
  priority?: number;
}

const ENTER = optionsOf<EnterOptions>('enter', { signal: SIGNAL, priority: PRIORITY });

/**
 * What continuations and awaiting code exclude each other with.
 *
 * @remarks
 * Continuations and code that awaits {@link Lock.enter} wait in one queue: the highest priority
 * first, first come first served within it; continuations that have been passed over for longer than the
 * patience of their workqueue go before, at most every other time. Locks have no owner and are not recursive: entering one
 * twice from the same function waits for ever.
 *
 * @public
 */
export interface Lock {
  /** Whether somebody holds it. */
  readonly held: boolean;
  /**
   * Takes the lock if it is free, also ahead of those who wait for it and have yet to be dispatched.
   *
   * @returns true: it is held now; false: somebody else holds it
   */
  tryEnter(): boolean;
  /**
   * Waits for the lock and takes it.
   *
   * @returns a promise, fulfilled when the lock is held; rejected with the signal's reason if
   * that is aborted first, then the lock is not held
   */
  enter(options?: EnterOptions): Promise<void>;
  /**
   * Releases the lock, and wakes the next one who waits.
   *
   * @throws KcontError EPERM if it is not held
   */
  exit(): void;
}

const entered: Promise<void> = Promise.resolve();

/**
 * What all locks of kcont have in common.
 *
 * @remarks
 * Made by the library alone: take {@link Mutex}, {@link SpinLock}, {@link RWLock} or {@link RMLock}.
 *
 * @public
 */
export abstract class BaseLock implements Lock {
  static readonly #line: (lock: BaseLock) => string = /* @__PURE__ */ defineInspect<BaseLock>(
    this,
    (lock, name) => `${name} { ${lock.held ? 'held' : 'free'}, ${waitersOf(lock)} waiting }`,
    (lock) => ({ held: lock.held, waiting: waitersOf(lock) }),
  );

  /**
   * Makes a lock that nobody holds.
   *
   * @throws KcontError EINVAL for options: there are none
   */
  constructor();
  constructor(given?: unknown) {
    refuseOptions(given, new.target.name, new.target);
  }

  // An exclusive lock, unless a class says otherwise.

  #held = false;
  #turnstile: Turnstile | null = null;

  /** Whether somebody holds it. */
  get held(): boolean {
    return this.#held;
  }

  /**
   * Whether it may be held for synchronous sections only.
   * @internal
   */
  readonly _spin: boolean = false;

  /**
   * Who waits; null: nobody has ever waited.
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
   * Whether it could be taken, as far as its present holders go.
   * @internal
   */
  get _open(): boolean {
    return !this.#held;
  }

  /**
   * Notes one more holder of an open lock.
   * @internal
   */
  _hold(): void {
    this.#held = true;
  }

  /**
   * Notes one holder less.
   * @internal
   */
  _drop(): void {
    this.#held = false;
  }

  /**
   * Gives the open lock to code that will exit it itself.
   * @internal
   */
  _grant(): void {
    this._hold();
  }

  /** The same, for code that does not wait: perhaps ahead of some who do. */
  #grantAhead(priority: number): void {
    this._grant();
    const turnstile = this._turnstile;
    if (turnstile !== null) turnstile.hasTaken(null, priority);
  }

  /** Takes the lock if it is free: true. False: somebody else holds it. */
  tryEnter(): boolean {
    if (!this._open) return false;
    this.#grantAhead(PRI_PRIHIGH);
    return true;
  }

  /**
   * Waits for the lock and takes it.
   *
   * @param options - a signal to give up, and the priority to wait at
   * @returns fulfilled when the lock is held, rejected with the signal's reason when aborted, with
   * KcontError EINVAL for a priority that is none
   */
  enter(options?: EnterOptions): Promise<void> {
    return this._enter(options, BaseLock.prototype.enter);
  }

  /** @internal */
  _enter(options: EnterOptions | undefined, caller: Caller): Promise<void> {
    let signal: AbortSignal | undefined;
    let priority: number | undefined;
    if (options !== undefined) {
      try {
        ({ signal, priority } = readOptions(options, ENTER, caller));
      } catch (error) {
        return Promise.reject(error);
      }
    }
    priority ??= PRI_PRIHIGH;
    // oxlint-disable-next-line prefer-promise-reject-errors -- the reason is the caller's
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this._tryFor(priority)) return entered;
    return new Promise((resolve, reject) => {
      const awaiter = new Awaiter(this, priority, signal, resolve, reject);
      if (signal !== undefined) join(signal, awaiter);
      this._wait(awaiter);
    });
  }

  /**
   * Releases the lock, and wakes the next one who waits.
   *
   * @throws KcontError EPERM if it is not held
   */
  exit(): void {
    if (this._release()) return;
    const what = `exit of a ${this.constructor.name} not held`;
    throw traceFrom(BaseLock.prototype.exit, new KcontError('EPERM', what));
  }

  /**
   * Releases the lock: true. False: it is not held.
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
   * Takes the lock for code that may have to queue though it is open.
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
      if (turnstile.isKeptFrom(waiter)) return false;
      turnstile.hasTaken(waiter, waiter._priority);
    }
    this._hold();
    return true;
  }

  /**
   * Queues up. `since`: as for `Turnstile.add`.
   * @internal
   */
  _wait(waiter: Waiter, since: number = NONE): void {
    (this._turnstile ??= new Turnstile()).add(waiter, since);
  }

  /**
   * A continuation that was runnable, or waits, does not want the lock any more.
   * @internal
   */
  _leave(waiter: Waiter): void {
    const turnstile = this._turnstile;
    if (turnstile === null) return;
    turnstile.remove(waiter);
    turnstile.wake();
  }

  /**
   * Whether a newcomer has to queue though the lock is open.
   * @internal
   */
  _mustQueue(turnstile: Turnstile, priority: number): boolean {
    return turnstile.goesBefore(priority);
  }

  /** @internal */
  toString(): string {
    return BaseLock.#line(this);
  }
}

/** Code that awaits a lock. */
class Awaiter implements Waiter {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  readonly _lock: BaseLock;
  readonly _priority: number;
  readonly _hasWaited = true;
  readonly _timekeeper = null;
  readonly _patienceMs = Infinity;
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

  _isStarved(): boolean {
    return false;
  }

  _wake(): boolean {
    const signal = this.#signal;
    // Aborted by now: it is about to be told, and does not take what the next one may have.
    if (signal?.aborted === true) return true;
    this._lock._grant();
    if (signal !== undefined) leave(signal, this);
    this.#resolve();
    return true;
  }

  _abort(reason: unknown): void {
    this.#reject(reason);
    // A writer that gives up may have held up readers.
    this._lock._leave(this);
  }
}

/**
 * Waits for a lock: for what releases it when it is disposed, once, however often that is.
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
  try {
    return await func();
  } finally {
    lock.exit();
  }
}

/**
 * How many wait for a lock.
 *
 * @internal
 */
export function waitersOf({ _turnstile: turnstile }: BaseLock): number {
  return turnstile === null ? 0 : [...turnstile].length;
}
