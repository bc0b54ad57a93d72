/*
 * Times whose rounding never makes a limit let through more, and never makes a wait too short to move the clock.
 *
 * A time is a double. Near 10^6 ms its neighbours are 10^-10 ms apart, so a wait of 10^-13 ms ends when it begins. A
 * limit computes the first time at which its own test succeeds, and waits for as long as it takes to reach that time.
 */

/** A little later than a time of 0 or more: by one or two of the steps in which it can be stored. */
export function later(ms: number): number {
  return ms + Math.max(ms, 1) * Number.EPSILON;
}

/** The least wait that reaches a time: `nowMs` plus the result is not before `dueMs`, also when it is rounded. */
export function waitUntil(nowMs: number, dueMs: number): number {
  let ms = dueMs - nowMs;
  while (nowMs + ms < dueMs) ms = later(ms);
  return ms;
}

/** The first time that is not before the exact sum of a time and a length, which its rounded sum may be. */
export function endOf(fromMs: number, lengthMs: number): number {
  const sum = fromMs + lengthMs;
  // Knuth's TwoSum: what was lost by rounding.
  const part = sum - fromMs;
  const lost = fromMs - (sum - part) + (lengthMs - part);
  return lost > 0 ? later(sum) : sum;
}
