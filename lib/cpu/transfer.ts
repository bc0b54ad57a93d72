import { invalid } from '../errors.ts';

/**
 * What is to be moved with a result. Kept beside it: whoever calls the function himself, or on the
 * CPU he is on, gets the result as it is.
 */
const lists = new WeakMap<object, readonly object[]>();

/**
 * Returned by a CPU function: the result, and what of it is moved to the caller, not copied.
 *
 * @param value - the result
 * @param list - buffers and ports within it, which this CPU loses
 * @returns the result
 * @throws KcontError EINVAL if the list is no array of objects, or is not empty where the result is no
 * object: nothing is within it. What cannot be moved is told to the caller, with EINVAL, when the result is
 * sent to another CPU
 *
 * @example
 * ```ts
 * export function resize(image: ArrayBuffer): ArrayBuffer {
 *   const small = shrink(image);
 *   return transfer(small, [small]);
 * }
 * ```
 *
 * @public
 */
export function transfer<T>(value: T, list: readonly object[]): T {
  if (!isList(list)) throw invalid('list', 'an array of what is to be moved', list);
  if (typeof value === 'object' && value !== null) lists.set(value, list);
  else if (list.length > 0) {
    throw invalid('list', 'empty for a result that is no object', list);
  }
  return value;
}

function isList(list: unknown): boolean {
  try {
    return Array.isArray(list) && list.every((it) => typeof it === 'object' && it !== null);
  } catch {
    // A proxy that was revoked.
    return false;
  }
}

/** What of a result is to be moved. */
export function movedWith(result: unknown): readonly object[] {
  return typeof result === 'object' && result !== null ? (lists.get(result) ?? []) : [];
}
