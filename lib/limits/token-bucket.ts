/*
 * A token bucket, without tokens that have to be counted: the generic cell rate algorithm.
 *
 * One number is stored, the time at which the bucket will be full again. To take an amount moves it by amount *
 * period; that is possible while it is at most burst * period ahead of now. So at most
 *
 *   burst + rate * window
 *
 * are taken in any window. Each operation is O(1).
 *
 * Source: ITU-T I.371 (1993), virtual scheduling.
 */

import { invalid, traceFrom } from '../base/errors.ts';
import { integerOf, numberOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Kernel } from '../core/kernel.ts';
import { KERNEL, RateLimiter } from './rate-limiter.ts';

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
  burst: integerOf('an integer >= 1', 1, Number.MAX_SAFE_INTEGER),
  kernel: KERNEL,
});
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
  readonly #periodMs: number;
  readonly #depthMs: number;
  /** When the bucket will be full. */
  #fullMs = -Infinity;

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
    this.#periodMs = 1000 / ratePerSecond;
    this.#depthMs = most * this.#periodMs;
  }

  /** How much could be taken now if nobody waited. */
  get available(): number {
    const aheadMs = Math.max(this.#fullMs - this.kernel.now(), 0);
    return Math.max(this.most - Math.ceil(aheadMs / this.#periodMs), 0);
  }

  /** @internal */
  _untilMs(nowMs: number, amount: number): number {
    // In this order a full bucket is exactly full, and rounding can only make the wait longer.
    const aheadMs = Math.max(this.#fullMs - nowMs, 0);
    return Math.max(aheadMs + (amount * this.#periodMs - this.#depthMs), 0);
  }

  /** @internal */
  _grant(nowMs: number, amount: number): void {
    this.#fullMs = Math.max(this.#fullMs, nowMs) + amount * this.#periodMs;
  }

  /** @internal */
  get _refillMs(): number {
    return this.#depthMs;
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
