/*
 * A mutex for each key, which is there only while somebody has or wants it.
 *
 *   keys:  'ann' --> state { held, turnstile }        in use
 *          'bob'                                      nobody has it: no entry
 *
 * The lock of a key that a program keeps, such as that of a continuation, is a view: it looks for the state of its key,
 * and makes one when the lock is taken or waited for. So two views of one key exclude each other, whether the key was
 * dropped in between or not.
 *
 * Invariant: a state is in the map if and only if it is held or somebody waits for it, a continuation that has been woken
 * included. It is restored when the lock is released and when a waiter leaves. A state that has been dropped is
 * not used again.
 */

import { show } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { runLocked, type BaseLock, type EnterOptions } from './lock.ts';
import { nameLock, nameOf, readName, titled, type LockOptions } from './lock-names.ts';
import { Mutex } from './mutex.ts';
import type { Turnstile, Waiter } from './turnstile.ts';

/** What is known of a key that is in use. */
class KeyState {
  held = false;
  turnstile: Turnstile | null = null;
  isDropped = false;
  /** The lock by which it came into use. */
  readonly lock: Mutex;

  constructor(lock: Mutex) {
    this.lock = lock;
  }
}

/** The lock of a key. */
class KeyLock<K> extends Mutex {
  readonly #keys: Map<K, KeyState>;
  readonly #key: K;
  #state: KeyState | undefined = undefined;

  constructor(keys: Map<K, KeyState>, key: K) {
    super();
    this.#keys = keys;
    this.#key = key;
  }

  /** The state of the key, if it is in use. */
  #find(): KeyState | undefined {
    const state = this.#state;
    if (state !== undefined && !state.isDropped) return state;
    return (this.#state = this.#keys.get(this.#key));
  }

  #need(): KeyState {
    const found = this.#find();
    if (found !== undefined) return found;
    const made = new KeyState(this);
    this.#keys.set(this.#key, made);
    return (this.#state = made);
  }

  #dropIfUnused(): void {
    const state = this.#find();
    if (state === undefined || state.held) return;
    const { turnstile } = state;
    if (turnstile !== null && (turnstile.heir !== null || turnstile.best !== undefined)) return;
    state.isDropped = true;
    this.#keys.delete(this.#key);
  }

  override get held(): boolean {
    return this.#find()?.held === true;
  }

  override get _identity(): BaseLock {
    return this.#find()?.lock ?? this;
  }

  override get _whole(): object {
    return this.#find() ?? this;
  }

  override get _turnstile(): Turnstile | null {
    return this.#find()?.turnstile ?? null;
  }

  override set _turnstile(turnstile: Turnstile) {
    this.#need().turnstile = turnstile;
  }

  override get _open(): boolean {
    return !this.held;
  }

  override _hold(): void {
    this.#need().held = true;
  }

  override _drop(): void {
    this.#need().held = false;
  }

  override _release(): boolean {
    const wasHeld = super._release();
    this.#dropIfUnused();
    return wasHeld;
  }

  override _leave(waiter: Waiter): void {
    super._leave(waiter);
    this.#dropIfUnused();
  }
}

/**
 * A lock for each key, such as a user or a file.
 *
 * @remarks
 * Keys are compared as in a Map. The lock of a key is dropped as soon as nobody has it or waits for it, so keys need not be
 * removed. Locks of different keys are independent of each other.
 *
 * @example
 * ```ts
 * const accounts = new KeyedLocks<string>();
 * await accounts.run(account.id, () => withdraw(account, 50));
 * const interest = new Kcont(wq.prilow, accounts.of(account.id), addInterest, account);
 * ```
 *
 * @public
 */
export class KeyedLocks<K = unknown> {
  static readonly #line: (keyed: KeyedLocks) => string = /* @__PURE__ */ defineInspect<KeyedLocks>(
    this,
    (it, name) => `${titled(name, it)} { ${it.size} in use }`,
    ({ name, size }) => ({ name, size }),
  );
  readonly #keys = new Map<K, KeyState>();

  /**
   * Creates locks that are all free.
   *
   * @param options - optional settings: a name. The lock of a key is then called `name[key]`
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions) {
    nameLock(this, readName(options, new.target));
  }

  /** Its name; empty if it was given none. */
  get name(): string {
    return nameOf(this);
  }

  /** The number of keys whose lock is held or waited for. */
  get size(): number {
    return this.#keys.size;
  }

  /** The keys whose lock is held or waited for, in the order in which they came into use. */
  keys(): IterableIterator<K> {
    return this.#keys.keys();
  }

  /** Whether the lock of a key is held or waited for. */
  has(key: K): boolean {
    return this.#keys.has(key);
  }

  /**
   * Returns the lock of a key, for a continuation or to enter it. It may be kept: it excludes every other lock
   * that this method returns for the key, at any time. To call this method does not bring the key into use.
   *
   * @param key - the key
   */
  of(key: K): Mutex {
    const found = this.#keys.get(key);
    if (found !== undefined) return found.lock;
    const made = new KeyLock(this.#keys, key);
    const { name } = this;
    if (name !== '') nameLock(made, `${name}[${labelOf(key)}]`);
    return made;
  }

  /**
   * Runs a function with the lock of a key held.
   *
   * @param key - the key
   * @param func - called when the lock is held; the lock is released when the function has settled, including when it
   * throws or rejects
   * @param options - as for {@link Mutex.run}
   * @returns as {@link Mutex.run}
   */
  run<T>(key: K, func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T> {
    return runLocked(this.of(key), func, options, KeyedLocks.prototype.run);
  }

  /** @internal */
  toString(): string {
    return KeyedLocks.#line(this);
  }
}

function labelOf(key: unknown): string {
  return typeof key === 'string' ? key : show(key);
}
