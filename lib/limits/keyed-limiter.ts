import { checkFunction, invalid, isA, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { Kcont } from '../core/kcont.ts';
import { RateLimiter } from './rate-limiter.ts';

/**
 * A rate limit for each key, such as a user or an address.
 *
 * @remarks
 * A key's limiter is created when it is first used, and freed some time after it is full again: within twice the time
 * that takes. Keys are compared as in a Map.
 *
 * @example
 * ```ts
 * const perUser = new KeyedLimiter(() => new TokenBucket({ ratePerSecond: 5, burst: 20 }));
 * if (!perUser.tryTake(request.user)) return tooManyRequests(perUser.waitMs(request.user));
 * ```
 *
 * @public
 */
export class KeyedLimiter<K = unknown> {
  static readonly #line: (keyed: KeyedLimiter) => string =
    /* @__PURE__ */ defineInspect<KeyedLimiter>(
      this,
      ({ size }) => `KeyedLimiter { ${size} keys }`,
      ({ size }) => ({ size }),
    );
  readonly #create: (key: K) => RateLimiter;
  readonly #limiters = new Map<K, RateLimiter>();
  #sweep: Kcont<KeyedLimiter<K>> | undefined = undefined;

  /**
   * Creates a limit for each key.
   *
   * @param create - returns a new limiter for a key; all of one kernel
   * @throws KcontError EINVAL if it is not a function
   */
  constructor(create: (key: K) => RateLimiter) {
    checkFunction(create, 'create', KeyedLimiter);
    this.#create = create;
  }

  /** Number of keys whose limiters are kept. */
  get size(): number {
    return this.#limiters.size;
  }

  /**
   * Takes an amount of a key's limit if that is possible now.
   *
   * @param key - the key
   * @param amount - an integer, 1 or more. Default 1
   * @returns as {@link RateLimiter.tryTake}
   * @throws as {@link RateLimiter.tryTake}; KcontError EINVAL if a limiter cannot be created
   */
  tryTake(key: K, amount?: number): boolean {
    return this.limiterOf(key).tryTake(amount);
  }

  /**
   * Takes an amount of a key's limit, and waits until that is possible.
   *
   * @param key - the key
   * @param amount - an integer, 1 or more. Default 1
   * @param options - optional settings: a signal that ends the wait
   * @returns as {@link RateLimiter.take}
   */
  async take(key: K, amount?: number, options?: { signal?: AbortSignal }): Promise<void> {
    return this.limiterOf(key).take(amount, options);
  }

  /**
   * Tells how long it takes until an amount of a key's limit can be taken.
   *
   * @param key - the key
   * @param amount - an integer, 1 or more. Default 1
   * @returns as {@link RateLimiter.waitMs}
   */
  waitMs(key: K, amount?: number): number {
    return this.limiterOf(key).waitMs(amount);
  }

  /**
   * Returns the limiter of a key. It is valid until it is freed: do not keep it.
   *
   * @param key - the key
   * @throws KcontError EINVAL if it cannot be created
   */
  limiterOf(key: K): RateLimiter {
    const found = this.#limiters.get(key);
    if (found !== undefined) return found;
    const made: unknown = this.#create(key);
    if (!isA(made, RateLimiter as unknown as { prototype: RateLimiter })) {
      const error = invalid('the result of create', 'a TokenBucket or SlidingWindow', made);
      throw traceFrom(KeyedLimiter.prototype.limiterOf, error);
    }
    this.#limiters.set(key, made);
    this.#startSweep(made);
    return made;
  }

  /**
   * Frees the limiters that are full.
   * @internal
   */
  _sweep(): void {
    let last: RateLimiter | undefined;
    for (const [key, limiter] of this.#limiters) {
      if (limiter.waiting === 0 && limiter.available === limiter.most) this.#limiters.delete(key);
      else last = limiter;
    }
    if (last !== undefined) this.#startSweep(last);
  }

  #startSweep(limiter: RateLimiter): void {
    this.#sweep ??= new Kcont<KeyedLimiter<K>>(limiter.kernel.wq.softclock, null, sweep, this, {
      name: 'KeyedLimiter',
      ref: false,
    });
    if (this.#sweep.pending) return;
    this.#sweep.ack();
    // The errno is ignored: on a closed kernel nothing is freed.
    this.#sweep._schedule(limiter._refillMs, null);
  }

  /** @internal */
  toString(): string {
    return KeyedLimiter.#line(this as KeyedLimiter);
  }
}

function sweep<K>(keyed: KeyedLimiter<K>): void {
  keyed._sweep();
}
