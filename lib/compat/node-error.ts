/*
 * Errors in Node's format: the code is shown in the stack, not in the name.
 */

import { show } from '../base/errors.ts';

/** Longest delay, in ms. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;

/** Checks a delay like AbortSignal.timeout, but with a larger range. */
export function checkDelay(ms: number): void {
  if (typeof ms !== 'number') {
    throw coded(new TypeError(`ms must be a number, got ${show(ms)}`), 'ERR_INVALID_ARG_TYPE');
  }
  if (!(ms >= 0 && ms <= LONGEST_MS)) {
    throw coded(
      new RangeError(`ms must be a number of ms from 0 to 2^53-1, got ${ms}`),
      'ERR_OUT_OF_RANGE',
    );
  }
}

/** Gives an error a code, and includes it in the stack. */
function coded<E extends Error>(error: E, code: string): E & { code: string } {
  const { name } = error;
  error.name = `${name} [${code}]`;
  void error.stack; // formatted now, with that name
  Reflect.deleteProperty(error, 'name');
  return Object.assign(error, { code });
}
