/*
 * A token bucket, without a timer that adds tokens: the generic cell rate algorithm.
 *
 * Two numbers are stored: when the bucket was last full, and how much was taken since then. What has come back since
 * then is a function of the time alone. So at most
 *
 *   burst + rate * window
 *
 * are taken in any window. What was taken and what has come back are integers, so there are no rests: `tryTake`,
 * `available` and `waitMs` always agree. Each operation is O(1).
 *
 * Source: ITU-T I.371 (1993), virtual scheduling.
 */

import { invalid, traceFrom } from '../base/errors.ts';
import { integerOf, numberOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Kernel } from '../core/kernel.ts';
import { KERNEL, RateLimiter } from './rate-limiter.ts';
import { later, waitUntil } from './rounding.ts';

/**
 * Settings of a {@link TokenBucket}.
 *
 * @public
 */
export interface TokenBucketOptions {
  /** How much can be taken in a second in the long run: more than 0, finite. */
  ratePerSecond: number;
  /** How much can be taken at once after a pause: an integer, 1 or more. Default: a second's worth, at least 1. */
  burst?: number;
  /** The kernel whose clock is used. Default: the process-wide one. */
  kernel?: Kernel;
}

const BUCKET = optionsOf<TokenBucketOptions>('TokenBucket', {
  ratePerSecond: numberOf('a finite number > 0', Number.MIN_VALUE, Number.MAX_VALUE),
  burst: integerOf('an integer from 1 to 2^53-1', 1, Number.MAX_SAFE_INTEGER),
  kernel: KERNEL,
});
/** When so much has come back, the time from which it is counted is moved. */
const MANY = 2 ** 32;
const NEEDED = numberOf('a finite number > 0', Number.MIN_VALUE, Number.MAX_VALUE);

/**
 * A rate limit that allows bursts.
 *
 * @remarks
 * In a window of any length at most `burst + ratePerSecond * seconds` are taken.
 *
 * @example
 * ```ts
 * const bucket = new TokenBucket({ ratePerSecond: 50, burst: 100 });
 * await bucket.take();
 * ```
 *
 * @public
 */
export class TokenBucket extends RateLimiter {
  readonly #ratePerSecond: number;
  /** When the bucket was last full; or a later time, if both numbers have been reduced (see `_grant`). */
  #sinceMs = 0;
  /** How much was taken since then. */
  #taken = 0;

  /**
   * Creates a full bucket.
   *
   * @param options - its rate; optionally, the burst and the kernel
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options: TokenBucketOptions) {
    const { ratePerSecond, burst, kernel } = readNeeded(options);
    const most = burst ?? Math.min(Math.max(Math.floor(ratePerSecond), 1), Number.MAX_SAFE_INTEGER);
    super(kernel, most);
    this.#ratePerSecond = ratePerSecond;
  }

  /** How much could be taken now if nobody waited. */
  get available(): number {
    return this.most - this.#missing(this.kernel.now());
  }

  /** @internal */
  _untilMs(nowMs: number, amount: number): number {
    if (amount <= this.most - this.#missing(nowMs)) return 0;
    const needed = this.#taken - this.most + amount;
    const sinceMs = this.#sinceMs;
    let dueMs = Math.max(sinceMs + (needed * 1000) / this.#ratePerSecond, nowMs);
    while (this.#refilled(dueMs) < needed) dueMs = later(dueMs);
    return waitUntil(nowMs, dueMs);
  }

  /** @internal */
  _grant(nowMs: number, amount: number): void {
    const missing = this.#missing(nowMs);
    if (missing === 0) {
      this.#sinceMs = nowMs;
      this.#taken = 0;
    } else if (this.#taken - missing >= MANY || this.#taken + amount > Number.MAX_SAFE_INTEGER) {
      // The bucket has not been full for a long time: in larger numbers, fractions of a token would be lost.
      this.#sinceMs += ((this.#taken - missing) * 1000) / this.#ratePerSecond;
      this.#taken = missing;
    }
    this.#taken += amount;
  }

  /** @internal */
  get _refillMs(): number {
    return (this.most * 1000) / this.#ratePerSecond;
  }

  /** How much is missing from a full bucket. */
  #missing(nowMs: number): number {
    return this.#taken - Math.min(this.#refilled(nowMs), this.#taken);
  }

  /** How much has come back since the bucket was last full, if it had room for it. Never less at a later time. */
  #refilled(nowMs: number): number {
    return Math.floor((Math.max(nowMs - this.#sinceMs, 0) * this.#ratePerSecond) / 1000);
  }
}

function readNeeded(options: TokenBucketOptions): TokenBucketOptions {
  const given = readOptions(options, BUCKET, TokenBucket);
  check(given.ratePerSecond);
  return given;
}

function check(ratePerSecond: unknown): void {
  if (NEEDED.fits(ratePerSecond)) return;
  throw traceFrom(TokenBucket, invalid('ratePerSecond', NEEDED.expected, ratePerSecond));
}
