/*
 * A strict limit for every window: each time at which something was taken is stored for as long as the window lasts.
 *
 *   times:  . . |x x    x      x x|  ->   one more can be taken when the first of `limit` has left the window
 *                ^ now - window    ^ now
 *
 * A counter per interval would allow twice the limit around the end of an interval. Here, no window [t, t + window)
 * of any position has more than the limit. Memory: two numbers for each time at which something was taken in the last
 * window. With each time, the amount taken up to then is stored. So an amount of any size is one entry, and bisection
 * finds the entry that has to leave the window before an amount can be taken.
 */

import { traceFrom, invalid } from '../base/errors.ts';
import { POSITIVE_MS, integerOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Kernel } from '../core/kernel.ts';
import { KERNEL, RateLimiter } from './rate-limiter.ts';
import { endOf, waitUntil } from './rounding.ts';

/**
 * Settings of a {@link SlidingWindow}.
 *
 * @public
 */
export interface SlidingWindowOptions {
  /** How much can be taken in any window: an integer, 1 or more. */
  limit: number;
  /** The length of the window, in ms: more than 0, finite. */
  windowMs: number;
  /** The kernel whose clock is used. Default: the process-wide one. */
  kernel?: Kernel;
}

const KINDS = {
  limit: integerOf('an integer from 1 to 2^53-1', 1, Number.MAX_SAFE_INTEGER),
  windowMs: POSITIVE_MS,
  kernel: KERNEL,
};
const WINDOW = optionsOf<SlidingWindowOptions>('SlidingWindow', KINDS);

/** Times that have left the window are removed from the array when there are so many, and they are half of it. */
const COMPACT = 1024;

/** Stands for two arrays while nothing was taken in the window; never written to. */
const NONE: number[] = [];

/**
 * A rate limit that no window exceeds.
 *
 * @remarks
 * In any window of `windowMs` at most `limit` are taken, wherever it begins.
 *
 * @example
 * ```ts
 * const limit = new SlidingWindow({ limit: 100, windowMs: 60_000 });
 * if (!limit.tryTake()) response.setHeader('retry-after', Math.ceil(limit.waitMs() / 1000));
 * ```
 *
 * @public
 */
export class SlidingWindow extends RateLimiter {
  readonly #windowMs: number;
  /** When something was taken, in order; those before `#first` have left the window. */
  #times: number[] = NONE;
  /** How much was taken up to each time, that time included. */
  #sums: number[] = NONE;
  #first = 0;
  /** How much was taken in all, and of this, how much has left the window. */
  #taken = 0;
  #left = 0;

  /**
   * Creates a limit of which nothing was taken.
   *
   * @param options - the limit and its window; optionally, the kernel
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options: SlidingWindowOptions) {
    const { limit, windowMs, kernel } = readNeeded(options);
    super(kernel, limit);
    this.#windowMs = windowMs;
  }

  /** How much could be taken now if nobody waited. */
  get available(): number {
    return this.most - this.#count(this.kernel.now());
  }

  /** @internal */
  _untilMs(nowMs: number, amount: number): number {
    const missing = amount - (this.most - this.#count(nowMs));
    if (missing <= 0) return 0;
    // More than the limit is asked for only by `waitMs`: each full limit takes another window.
    const windows = Math.ceil(missing / this.most);
    const at = this.#indexOf(this.#left + missing - (windows - 1) * this.most);
    const time = this.#times[at] ?? nowMs;
    return waitUntil(nowMs, Math.max(endOf(time, windows * this.#windowMs), nowMs));
  }

  /** @internal */
  _grant(nowMs: number, amount: number): void {
    const times = this.#times;
    if (this.#taken + amount > Number.MAX_SAFE_INTEGER) this.#rebase();
    this.#taken += amount;
    if (times.length === 0) {
      // An array that is made with an element has no room for sixteen more, which most keys of many would not use.
      this.#times = [nowMs];
      this.#sums = [this.#taken];
    } else if (times.at(-1) === nowMs) this.#sums[times.length - 1] = this.#taken;
    else {
      times.push(nowMs);
      this.#sums.push(this.#taken);
    }
  }

  /** @internal */
  get _refillMs(): number {
    return this.#windowMs;
  }

  /** How much was taken in the window that ends now. */
  #count(nowMs: number): number {
    const times = this.#times;
    let first = this.#first;
    // The exact end: a rounded one may be early, and then a window would have more than the limit.
    while (first < times.length && endOf(times[first] as number, this.#windowMs) <= nowMs) first++;
    if (first > this.#first) this.#left = this.#sums[first - 1] as number;
    if (first === times.length) {
      if (first === 0) return 0;
      this.#times = NONE;
      this.#sums = NONE;
      this.#taken = 0;
      this.#left = 0;
      first = 0;
    } else if (first >= COMPACT && first * 2 >= times.length) {
      times.splice(0, first);
      this.#sums.splice(0, first);
      first = 0;
    }
    this.#first = first;
    return this.#taken - this.#left;
  }

  /** The first entry up to which so much was taken. */
  #indexOf(sum: number): number {
    let low = this.#first;
    let high = this.#sums.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sums[middle] as number) < sum) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Sums are exact up to 2^53-1: they begin again with what is in the window. */
  #rebase(): void {
    const left = this.#left;
    this.#sums = this.#sums.map((sum) => sum - left);
    this.#taken -= left;
    this.#left = 0;
  }
}

function readNeeded(options: SlidingWindowOptions): SlidingWindowOptions {
  const given = readOptions(options, WINDOW, SlidingWindow);
  for (const name of ['limit', 'windowMs'] as const) {
    const { expected, fits } = KINDS[name];
    if (!fits(given[name])) throw traceFrom(SlidingWindow, invalid(name, expected, given[name]));
  }
  return given;
}
