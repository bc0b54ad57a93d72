import * as host from 'node:timers';

/** Longest delay, in ms: about 285,000 years. Whatever is longer takes as long. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;

/**
 * The delay that is meant, in whole ms, as Node takes it; but one of more than 2^31-1 ms is what
 * it says.
 *
 * @internal
 */
export function delayMs(delay: unknown): number {
  const ms = delay === undefined ? 1 : (delay as number) * 1;
  if (ms >= 1) return ms > LONGEST_MS ? LONGEST_MS : Math.trunc(ms);
  if (!(ms >= 0)) warnOf(ms);
  return 1;
}

/** Of negative delays and NaN some versions of Node warn, once: this one in its own words. */
function warnOf(ms: number): void {
  host.clearTimeout(host.setTimeout(nothing, ms));
}

function nothing(): void {}
