/*
 * Rounding of times: it never makes a limit let through too much, and never makes a wait so short that it ends at the
 * time at which it begins.
 *
 * A time is a double. Near 10^6 ms its neighbours are 10^-10 ms apart, so a wait of 10^-13 ms ends when it begins. A
 * limit computes the first time at which its own test succeeds, and waits for as long as it takes to reach that time.
 */

/** Returns a slightly later time: the next number or the one after it; for a time below 1, 2^-52 more. */
export function later(ms: number): number {
  return ms + Math.max(ms, 1) * Number.EPSILON;
}

/** Returns a wait that reaches a time: the rounded sum of `nowMs` and the result is not before `dueMs`. */
export function waitUntil(nowMs: number, dueMs: number): number {
  let ms = dueMs - nowMs;
  while (nowMs + ms < dueMs) ms = later(ms);
  return ms;
}

/** Returns the sum of a time and a length, rounded up: a sum that is rounded to the nearest number may be too early. */
export function endOf(fromMs: number, lengthMs: number): number {
  const sum = fromMs + lengthMs;
  // Knuth's TwoSum: what was lost by rounding.
  const part = sum - fromMs;
  const lost = fromMs - (sum - part) + (lengthMs - part);
  return lost > 0 ? later(sum) : sum;
}
