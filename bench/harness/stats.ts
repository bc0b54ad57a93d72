// Medians and quartiles. A machine that others use as well makes some rounds slow and none fast, so
// nothing here is a mean.

/** A median, and the quartiles beside it. */
export interface Spread {
  readonly median: number;
  readonly q1: number;
  readonly q3: number;
}

/** The value below which a share of the sorted samples lies, interpolated. */
export function quantile(samples: readonly number[], share: number): number {
  if (samples.length === 0) return NaN;
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] as number;
  const high = sorted[Math.ceil(at)] as number;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export function spread(samples: readonly number[]): Spread {
  return {
    median: median(samples),
    q1: quantile(samples, 0.25),
    q3: quantile(samples, 0.75),
  };
}

/**
 * How many times a is b: the ratio of the medians, and the quartiles of the ratios round by round.
 * What slowed down a whole round drops out of that round's ratio.
 */
export function ratio(a: readonly number[], b: readonly number[]): Spread {
  const rounds = Math.min(a.length, b.length);
  const each = Array.from({ length: rounds }, (_, i) => (a[i] as number) / (b[i] as number));
  return {
    median: median(a) / median(b),
    q1: quantile(each, 0.25),
    q3: quantile(each, 0.75),
  };
}
