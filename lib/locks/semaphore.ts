/*
 * A counting semaphore whose waiters may want different amounts.
 *
 *   capacity 5, value 2                 a holder of 2, a holder of 1; two units are free
 *   waiters: 3, 1, 1                    the first needs one more unit; the others do not pass it
 *
 * The semaphore itself is a lock that takes one unit. Each other weight is a lock of its own with the same
 * units and the same turnstile, as the two sides of an RWLock are. So units are granted in the order of every
 * other lock: by priority, then first come, first served, to code and to continuations.
 *
 * Source: E. W. Dijkstra, "Cooperating sequential processes" (EWD 123), 1965, section 4. Weights: the "bounded
 * semaphore" of golang.org/x/sync/semaphore has the same order.
 */

import { KcontError, checkFunction, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { PRIORITY, PRI_PRIHIGH } from '../base/priorities.ts';
import { SIGNAL, check, integerOf, optionsOf, readOptions } from '../base/options-check.ts';
import { inheriting, takeHolder, type LockHolder } from './inheriting.ts';
import { waitersOf, type BaseLock, type EnterOptions } from './lock.ts';
import { titled, type LockOptions } from './lock-names.ts';
import { ShareableLock } from './shareable-lock.ts';
import type { Turnstile, Waiter } from './turnstile.ts';

/**
 * Optional settings of {@link Semaphore.enter}, `hold` and `run`.
 *
 * @public
 */
export interface SemaphoreEnterOptions extends EnterOptions {
  /** How many units to take: an integer, 1 … 2^53−1. Default 1. */
  weight?: number;
}

const MOST = Number.MAX_SAFE_INTEGER;
const WEIGHT = integerOf('an integer from 1 to 2^53-1', 1, MOST);
const CAPACITY = integerOf('an integer from 0 to 2^53-1', 0, MOST);
const CHANGE = integerOf('an integer from -(2^53-1) to 2^53-1', -MOST, MOST);

const ENTER = optionsOf<SemaphoreEnterOptions>('enter', {
  signal: SIGNAL,
  priority: PRIORITY,
  weight: WEIGHT,
});

/** What one weight of a semaphore is, for continuations and for waiters. */
class WeightedSide extends ShareableLock {
  readonly weight: number;
  readonly #semaphore: Semaphore;

  constructor(semaphore: Semaphore, weight: number) {
    super();
    this.#semaphore = semaphore;
    this.weight = weight;
  }

  override get name(): string {
    const { name } = this.#semaphore;
    return name && `${name}.${this.weight}`;
  }

  override get held(): boolean {
    const { capacity, value } = this.#semaphore;
    return capacity - value >= this.weight;
  }

  override get _whole(): object {
    return this.#semaphore;
  }

  override get _turnstile(): Turnstile | null {
    return this.#semaphore._turnstile;
  }

  override set _turnstile(turnstile: Turnstile) {
    this.#semaphore._turnstile = turnstile;
  }

  override get _open(): boolean {
    return this.#semaphore.value >= this.weight;
  }

  override _hold(): void {
    this.#semaphore._add(-this.weight);
  }

  override _drop(): void {
    this.#semaphore._add(this.weight);
  }

  override _leave(waiter: Waiter): void {
    this.#semaphore._leave(waiter);
  }

  override tryEnter(): boolean {
    return this.#semaphore._tryTake(this);
  }
}

/**
 * A counting semaphore: a number of units that are taken and given back.
 *
 * @remarks
 * It is a lock that takes one unit, so up to {@link Semaphore.capacity} continuations with it run at a
 * time, on any workqueues. {@link Semaphore.ofWeight} is a lock that takes more.
 *
 * Units are granted by priority, and then in the order of arrival. Nobody passes a waiter of the same or a
 * higher priority, also if it wants more units than are free: a heavy waiter is not starved by light ones.
 * Units have no owner.
 *
 * @example
 * ```ts
 * const memory = new Semaphore(256);                                  // MB
 * const resized = await memory.run(() => resize(image), { weight: 64 });
 * ```
 *
 * @public
 */
export class Semaphore extends ShareableLock {
  static readonly #line: (semaphore: Semaphore) => string =
    /* @__PURE__ */ defineInspect<Semaphore>(
      this,
      (it, name) =>
        `${titled(name, it)} { ${it.value} of ${it.capacity} free, ${it.waiting} waiting }`,
      ({ name, value, capacity, waiting }) => ({ name, value, capacity, waiting }),
    );
  #value: number;
  #capacity: number;
  /** The side of the weight that was wanted last: most programs use few. */
  #side: WeightedSide | null = null;

  /**
   * Creates a semaphore whose units are all free.
   *
   * @param capacity - the number of units: an integer, 0 … 2^53−1
   * @param options - optional settings: a name
   * @throws KcontError EINVAL for an invalid argument
   */
  constructor(capacity: number, options?: LockOptions) {
    super(options);
    check('capacity', CAPACITY, capacity, new.target);
    this.#capacity = capacity;
    this.#value = capacity;
  }

  /** The number of units that are free. Negative if more are held than {@link Semaphore.capacity} is now. */
  get value(): number {
    return this.#value;
  }

  /** The number of units, those that are held included. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The number of continuations and of calls of `enter`, `hold` and `run` that wait. */
  get waiting(): number {
    return waitersOf(this);
  }

  /** Whether any unit is held. */
  override get held(): boolean {
    return this.#value < this.#capacity;
  }

  /**
   * Changes the number of units. Those that are held stay held: if fewer are left, nobody enters until enough have been
   * given back. If there are more, waiters enter at once, in their order.
   *
   * @param capacity - the new number of units: an integer, 0 … 2^53−1
   * @throws KcontError EINVAL for anything else
   */
  setCapacity(capacity: number): void {
    check('capacity', CAPACITY, capacity, Semaphore.prototype.setCapacity);
    this._set(this.#value + capacity - this.#capacity, capacity);
  }

  /**
   * Adds units, or removes some: {@link Semaphore.setCapacity} of the present capacity plus a number.
   *
   * @param by - the number of units to add, an integer; negative: to remove
   * @throws KcontError EINVAL if it is not an integer, or the capacity would not be from 0 to 2^53−1
   */
  adjust(by: number): void {
    const caller = Semaphore.prototype.adjust;
    check('by', CHANGE, by, caller);
    const capacity = this.#capacity + by;
    check('the adjusted capacity', CAPACITY, capacity, caller);
    this._set(this.#value + by, capacity);
  }

  /**
   * Returns a lock that takes a number of units, for continuations.
   *
   * @param weight - the number of units: an integer, 1 … 2^53−1
   * @throws KcontError EINVAL for anything else
   *
   * @example
   * ```ts
   * const render = new Kcont(wq.prilow, memory.ofWeight(64), renderPage, page);
   * ```
   */
  ofWeight(weight: number): BaseLock {
    return this.#checked(weight, Semaphore.prototype.ofWeight);
  }

  /**
   * Takes units if that is possible now.
   *
   * @param weight - how many: an integer, 1 … 2^53−1. Default 1
   * @returns true: they are taken, perhaps ahead of a continuation that has been woken and not dispatched yet; false:
   * nothing changed, because too few are free, or somebody waits for more than is free
   * @throws KcontError EINVAL for an invalid weight
   */
  override tryEnter(weight: number = 1): boolean {
    return this._tryTake(this.#checked(weight, Semaphore.prototype.tryEnter));
  }

  /**
   * Waits for units and takes them.
   *
   * @param options - optional settings: the weight, a signal that ends the wait, and the priority to wait at
   * @returns a promise, fulfilled when the units are taken. If the weight exceeds the capacity, it waits until the
   * capacity has been raised. Rejected with the signal's reason when aborted first: then nothing is taken; and with
   * KcontError EINVAL for an invalid option
   */
  override enter(options?: SemaphoreEnterOptions): Promise<void> {
    return this._enter(options, Semaphore.prototype.enter);
  }

  /** @internal */
  override _enter(options: SemaphoreEnterOptions | undefined, caller: Caller): Promise<void> {
    try {
      const { weight = 1, signal, priority } = readOptions(options, ENTER, caller);
      return this._of(weight)._await(signal, priority);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Gives units back. Waiters that can enter now do so, in their order.
   *
   * @param weight - how many: an integer, 1 … 2^53−1. Default 1
   * @throws KcontError EPERM if fewer are held, EINVAL for an invalid weight
   */
  override exit(weight: number = 1): void {
    if (this.#checked(weight, Semaphore.prototype.exit)._release()) return;
    const held = this.#capacity - this.#value;
    const what = `exit of ${weight} units of a ${this.constructor.name} of which ${held} are held`;
    throw traceFrom(Semaphore.prototype.exit, new KcontError('EPERM', what));
  }

  /**
   * Waits for units, for use with `using`.
   *
   * @param options - as for `enter`
   * @returns a promise of a disposable that gives the units back; disposing it again has no effect. Rejected as `enter`
   *
   * @example
   * ```ts
   * using held = await memory.hold({ weight: 64 });
   * ```
   */
  async hold(options?: SemaphoreEnterOptions): Promise<Disposable> {
    const { weight = 1, signal, priority } = readOptions(options, ENTER, Semaphore.prototype.hold);
    const side = this._of(weight);
    await side._await(signal, priority);
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (isHeld) side._release();
        isHeld = false;
      },
    };
  }

  /**
   * Runs a function while units are taken.
   *
   * @param func - called when the units are taken; they are given back when it has settled, including when it throws or
   * rejects
   * @param options - as for `enter`
   * @returns a promise of what the function returns; rejected with what it throws, and as `enter`
   */
  async run<T>(func: () => T | PromiseLike<T>, options?: SemaphoreEnterOptions): Promise<T> {
    const caller = Semaphore.prototype.run;
    checkFunction(func, 'func', caller);
    const { weight = 1, signal, priority } = readOptions(options, ENTER, caller);
    const side = this._of(weight);
    await side._await(signal, priority);
    let holder: LockHolder | null = null;
    try {
      inheriting.lock = side;
      const result = func();
      holder = takeHolder();
      return await result;
    } finally {
      // The function has thrown.
      if (inheriting.lock !== null) holder = takeHolder();
      if (holder !== null) inheriting.settled(holder);
      side._release();
    }
  }

  /**
   * The lock that takes a number of units.
   * @internal
   */
  _of(weight: number): BaseLock {
    if (weight === 1) return this;
    const last = this.#side;
    return last !== null && last.weight === weight
      ? last
      : (this.#side = new WeightedSide(this, weight));
  }

  #checked(weight: number, caller: Caller): BaseLock {
    if (weight !== 1) check('weight', WEIGHT, weight, caller);
    return this._of(weight);
  }

  /** @internal */
  override get _open(): boolean {
    return this.#value >= 1;
  }

  /** @internal */
  override _hold(): void {
    this._add(-1);
  }

  /** @internal */
  override _drop(): void {
    this._add(1);
  }

  /**
   * Takes the units of one of its sides, unless somebody waits for more than is free.
   * @internal
   */
  _tryTake(side: BaseLock): boolean {
    if (!side._open) return false;
    const turnstile = this._turnstile;
    if (turnstile !== null) {
      // Without an heir, the first waiter wants more than is free.
      if (turnstile.heir === null && turnstile.best !== undefined) return false;
      turnstile.hasTaken(null, PRI_PRIHIGH);
    }
    side._hold();
    return true;
  }

  /**
   * Adds free units; a negative number: units that have been taken.
   * @internal
   */
  _add(units: number): void {
    this.#value += units;
    this._changed();
  }

  /**
   * Sets the number of free units, and the capacity; then waiters enter.
   * @internal
   */
  _set(value: number, capacity: number): void {
    this.#capacity = capacity;
    this.#value = value;
    this._changed();
    this._turnstile?.wake();
  }

  /**
   * Called when the number of free units has changed, before waiters enter.
   * @internal
   */
  _changed(): void {}

  /** @internal */
  override toString(): string {
    return Semaphore.#line(this);
  }
}
