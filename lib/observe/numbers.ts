/*
 * Numbers that tell objects apart in reports: continuations, scopes and locks have no id of their own. A
 * number is given when a report first needs it, and is kept beside the object.
 */

const numbers = new WeakMap<object, number>();
let last = 0;

/**
 * Returns the number of an object, which it keeps for its lifetime; 1 or more.
 *
 * @internal
 */
export function numberOf(it: object): number {
  const known = numbers.get(it);
  if (known !== undefined) return known;
  numbers.set(it, ++last);
  return last;
}
