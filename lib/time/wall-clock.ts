/*
 * The time of day. It is not monotonic: an operator or NTP may set it, and it goes on while the machine is
 * suspended, when the monotonic clock of Linux stands still. Nothing but dates may be computed from it.
 */

/** Returns ms since 1970 by the host's clock, or by fake timers that replace `Date`. */
export function hostWallMs(): number {
  return Date.now();
}

/** The last time that a Date can be, in ms since 1970; the first one is as far before. */
export const LAST_MS = 8.64e15;

/** Whether a value is a time that a Date can be, in ms. */
export function isDateMs(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= LAST_MS;
}

/** The time in ms of a Date; NaN if it is invalid, or is not a Date. */
export function msOfDate(value: unknown): number {
  try {
    // By the method of Date itself, which throws for anything else.
    return Date.prototype.getTime.call(value as Date);
  } catch {
    return NaN;
  }
}

/** Creates a Date. */
export function dateAt(ms: number): Date {
  return new Date(ms);
}
