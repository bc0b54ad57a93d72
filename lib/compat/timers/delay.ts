import * as host from 'node:timers';
import { nothing } from '../../base/nothing.ts';

/** Longest delay, in ms: about 285,000 years. Whatever is longer takes as long. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;
/** Node's own longest delay. */
const HOST_LONGEST_MS = 2 ** 31 - 1;

/** What becomes of a delay of more than 2^31-1 ms. */
export interface DelayRules {
  /** It takes as long as it says; else 1 ms, with the warning of the Node it runs on. */
  longDelays: boolean;
}

/** The delay that is meant, in whole ms, as Node takes it. */
export function delayMs(delay: unknown, rules: DelayRules): number {
  const ms = delay === undefined ? 1 : (delay as number) * 1;
  if (ms >= 1 && (ms <= HOST_LONGEST_MS || rules.longDelays)) return wholeMs(ms);
  if (!(ms >= 0 && ms <= HOST_LONGEST_MS)) warnOf(ms);
  return 1;
}

/** A whole number of ms, 1 at least. */
export function wholeMs(ms: number): number {
  return ms >= 1 ? Math.trunc(Math.min(ms, LONGEST_MS)) : 1;
}

/**
 * Of delays that are too long, and some versions of negative ones and NaN, Node warns: this one in
 * its own words.
 */
function warnOf(ms: number): void {
  host.clearTimeout(host.setTimeout(nothing, ms));
}
