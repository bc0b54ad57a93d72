import * as host from 'node:timers';
import { nothing } from '../../base/nothing.ts';

/** Longest delay, in ms: about 285,000 years. Longer delays are cut to it. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;
/** Node's own longest delay. */
const HOST_LONGEST_MS = 2 ** 31 - 1;

/** How delays of more than 2^31-1 ms are treated. */
export interface DelayRules {
  /** True: they are kept. False: they become 1 ms, with the warning of the running version of Node. */
  longDelays: boolean;
}

/** Converts a delay to whole ms by Node's rules. */
export function delayMs(delay: unknown, rules: DelayRules): number {
  const ms = delay === undefined ? 1 : (delay as number) * 1;
  if (ms >= 1 && (ms <= HOST_LONGEST_MS || rules.longDelays)) return wholeMs(ms);
  if (!(ms >= 0 && ms <= HOST_LONGEST_MS)) warnOf(ms);
  return 1;
}

/** Truncates to whole ms, at least 1. */
export function wholeMs(ms: number): number {
  return ms >= 1 ? Math.trunc(Math.min(ms, LONGEST_MS)) : 1;
}

/**
 * Emits the warning of the running version of Node for a delay. All versions warn of delays that are
 * too long, some also of negative ones and NaN.
 */
function warnOf(ms: number): void {
  host.clearTimeout(host.setTimeout(nothing, ms));
}
