import { checkFunction, invalid, isA, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { RateLimiter } from './rate-limiter.ts';

/** The longest time between two sweeps, as a power of 2. */
const LONGEST = 52;

/** How many keys are looked at before others may run: a look takes 0.1 to 1 us. */
const PART = 256;

/**
 * Keys whose limiters take a similar time to become full. They are looked through in parts, at the lowest priority:
 * there may be a million of them.
 */
class Group<K> {
  readonly #limiters: Map<K, RateLimiter>;
  readonly #keys = new Set<K>();
  readonly #sweepMs: number;
  readonly #kc: Kcont<Group<K>>;
  /** Where the sweep goes on. */
  #sweep: Iterator<K> | null = null;
  /** How many keys are left to it: those that are added meanwhile wait for the next one. */
  #left = 0;

  constructor(limiters: Map<K, RateLimiter>, kernel: Kernel, sweepMs: number) {
    this.#limiters = limiters;
    this.#sweepMs = sweepMs;
    const options = { name: 'KeyedLimiter', ref: false };
    this.#kc = new Kcont<Group<K>>(kernel.wq.prilow, null, sweep, this, options);
  }

  add(key: K): void {
    this.#keys.add(key);
    if (!this.#kc.busy) this.#schedule(this.#sweepMs);
  }

  /** Frees the limiters that are full, in the next part of the keys. */
  _sweep(): void {
    if (this.#sweep === null) {
      this.#sweep = this.#keys.values();
      this.#left = this.#keys.size;
    }
    const most = Math.min(PART, this.#left);
    for (let i = 0; i < most; i++) {
      const key = this.#sweep.next().value as K;
      if (!isUnused(this.#limiters.get(key) as RateLimiter)) continue;
      this.#limiters.delete(key);
      this.#keys.delete(key);
    }
    this.#left -= most;
    if (this.#left > 0) this.#schedule(0);
    else {
      this.#sweep = null;
      if (this.#keys.size > 0) this.#schedule(this.#sweepMs);
    }
  }

  #schedule(delayMs: number): void {
    this.#kc.ack();
    // The errno is ignored: on a closed kernel nothing is freed.
    this.#kc._schedule(delayMs, null);
  }
}

/**
 * A rate limit for each key, such as a user or an address.
 *
 * @remarks
 * A key's limiter is created when something is first taken from it. It is freed after it has become full again,
 * with a delay of at most the time that an empty limiter takes to become full, or 1 ms if that is longer. The limits of
 * keys may differ. Keys are compared as in a Map.
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
  /** The groups, by the time between two of their sweeps. */
  readonly #groups = new Map<number, Group<K>>();

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
    return this.#with(key, (limiter) => limiter.tryTake(amount));
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
    return this.#with(key, (limiter) => limiter.take(amount, options));
  }

  /**
   * Tells how long it takes until an amount of a key's limit can be taken.
   *
   * @param key - the key
   * @param amount - an integer, 1 or more. Default 1
   * @returns as {@link RateLimiter.waitMs}
   */
  waitMs(key: K, amount?: number): number {
    return this.#with(key, (limiter) => limiter.waitMs(amount));
  }

  /**
   * Returns the limiter of a key, and creates it if there is none. It is freed as all others are, so do not store it.
   *
   * @param key - the key
   * @throws KcontError EINVAL if it cannot be created
   */
  limiterOf(key: K): RateLimiter {
    return this.#limiters.get(key) ?? this.#keep(key, this.#make(key));
  }

  /** Calls a function with the limiter of a key, and keeps a new one if something was taken or somebody waits. */
  #with<R>(key: K, use: (limiter: RateLimiter) => R): R {
    const found = this.#limiters.get(key);
    if (found !== undefined) return use(found);
    const made = this.#make(key);
    const result = use(made);
    if (!isUnused(made)) this.#keep(key, made);
    return result;
  }

  #make(key: K): RateLimiter {
    const made: unknown = this.#create(key);
    if (isA(made, RateLimiter as unknown as { prototype: RateLimiter })) return made;
    const error = invalid('the result of create', 'a TokenBucket or SlidingWindow', made);
    throw traceFrom(KeyedLimiter.prototype.limiterOf, error);
  }

  #keep(key: K, limiter: RateLimiter): RateLimiter {
    this.#limiters.set(key, limiter);
    const sweepMs = sweepMsOf(limiter);
    let group = this.#groups.get(sweepMs);
    if (group === undefined) {
      group = new Group(this.#limiters, limiter.kernel, sweepMs);
      this.#groups.set(sweepMs, group);
    }
    group.add(key);
    return limiter;
  }

  /** @internal */
  toString(): string {
    return KeyedLimiter.#line(this as KeyedLimiter);
  }
}

function sweep<K>(group: Group<K>): void {
  group._sweep();
}

function isUnused(limiter: RateLimiter): boolean {
  return limiter.waiting === 0 && limiter.available === limiter.most;
}

/**
 * The time between two sweeps of a limiter, in ms: at most as long as it takes to become full, but 1 or more. A power of
 * 2, so that there are few groups.
 */
function sweepMsOf(limiter: RateLimiter): number {
  return 2 ** Math.min(Math.max(Math.floor(Math.log2(limiter._refillMs)), 0), LONGEST);
}
