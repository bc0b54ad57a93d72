import { integerOf, numberOf, type Kind } from '../base/options-check.ts';

/**
 * Describes an option that is a count or Infinity.
 *
 * @internal
 */
export function countFrom(least: number): Kind {
  return integerOf(`an integer >= ${least} or Infinity`, least, Infinity);
}

/**
 * Describes an option that is a deadline, in ms.
 *
 * @internal
 */
export const DEADLINE: Kind = numberOf(
  'a number of ms > 0, to 2^53-1',
  Number.MIN_VALUE,
  Number.MAX_SAFE_INTEGER,
);
