/*
 * A histogram of non-negative integers, with the names of those of node:perf_hooks. Node's own takes
 * about 60 ns to record a value, because each is a call into C++; this one is an increment of an array.
 *
 *   value     0 … 63    64, 65, … 127    128, 130, … 254    256, 260, …
 *   bucket    one each  64 of 1          64 of 2            64 of 4
 *
 * A value above 127 is in a bucket whose width is at most 1/64 of it, so percentiles are up to 1.6 % high. The
 * least, the greatest, the mean and the deviation are exact.
 *
 * Source: HdrHistogram (Tene, 2012).
 */

import { invalid } from '../base/errors.ts';

/**
 * A histogram, with the names of those of `node:perf_hooks`.
 *
 * @public
 */
export interface LatencyHistogram {
  /** Number of values. */
  readonly count: number;
  /** The least value; 2^63 without values. */
  readonly min: number;
  /** The greatest value; 0 without values. */
  readonly max: number;
  /** The mean of the values; NaN without values. */
  readonly mean: number;
  /** Their standard deviation; NaN without values. */
  readonly stddev: number;
  /** What {@link LatencyHistogram.percentile} returns for 0, 50, 75, 87.5 and so on, and for 100. */
  readonly percentiles: Map<number, number>;
  /**
   * Returns a value that this percentage of the values does not exceed, up to 1.6 % too great.
   *
   * @param percentile - more than 0, at most 100
   * @returns 0 without values
   * @throws KcontError EINVAL for any other percentage
   */
  percentile(percentile: number): number;
  /** Forgets all values. */
  reset(): void;
}

/** Sub-buckets of each power of two. */
const BITS = 6;
const SUB = 1 << BITS;
/** Values are below 2^31; greater ones are counted in the last bucket. */
const GREATEST = 2 ** 31 - 1;
const BUCKETS = (32 - BITS) * SUB;
/** `min` of a histogram of Node without values. */
const NO_LEAST = 2 ** 63;

function bucketOf(value: number): number {
  if (value < SUB) return value;
  const shift = 31 - BITS - Math.clz32(value);
  return shift * SUB + (value >>> shift);
}

/** The greatest value of a bucket. */
function endOf(bucket: number): number {
  if (bucket < SUB) return bucket;
  const shift = (bucket >>> BITS) - 1;
  return ((bucket & (SUB - 1)) + SUB + 1) * 2 ** shift - 1;
}

/**
 * A histogram that is cheap to record.
 *
 * @internal
 */
export class LogHistogram implements LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #least = NO_LEAST;
  #greatest = 0;
  #sum = 0;
  #squares = 0;

  /** Counts a value; it is rounded, and negative ones count as 0. */
  record(given: number): void {
    const value = given < GREATEST ? (given + 0.5) | 0 : GREATEST;
    const whole = value < 0 ? 0 : value;
    this.#counts[bucketOf(whole)]!++;
    this.#count++;
    this.#sum += whole;
    this.#squares += whole * whole;
    if (whole < this.#least) this.#least = whole;
    if (whole > this.#greatest) this.#greatest = whole;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#least = NO_LEAST;
    this.#greatest = 0;
    this.#sum = 0;
    this.#squares = 0;
  }

  get count(): number {
    return this.#count;
  }

  get min(): number {
    return this.#least;
  }

  get max(): number {
    return this.#greatest;
  }

  get mean(): number {
    return this.#sum / this.#count;
  }

  get stddev(): number {
    return Math.sqrt(Math.max(0, this.#squares / this.#count - this.mean ** 2));
  }

  percentile(percentile: number): number {
    if (!(percentile > 0 && percentile <= 100)) {
      throw invalid('percentile', 'a number > 0 and <= 100', percentile);
    }
    if (this.#count === 0) return 0;
    const wanted = Math.max(1, Math.ceil((percentile / 100) * this.#count));
    let seen = 0;
    let bucket = -1;
    while (seen < wanted) seen += this.#counts[++bucket] as number;
    return Math.min(endOf(bucket), this.#greatest);
  }

  /** As Node's: 0, then each percentage that halves what remains, then 100. */
  get percentiles(): Map<number, number> {
    const found = new Map<number, number>();
    if (this.#count === 0) return found.set(100, 0);
    found.set(0, this.#least);
    for (let rest = 50; 100 / rest <= this.#count; rest /= 2) {
      found.set(100 - rest, this.percentile(100 - rest));
    }
    return found.set(100, this.#greatest);
  }
}
