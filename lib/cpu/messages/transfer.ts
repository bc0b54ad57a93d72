import { types } from 'node:util';
import { invalid } from '../../base/errors.ts';
import { MOVABLE, check, isObject } from '../../base/options-check.ts';

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
  check('list', MOVABLE, list, transfer);
  if (isObject(value)) lists.set(value, list);
  else if (list.length > 0) {
    throw invalid('list', 'empty for a result that is no object', list);
  }
  return value;
}

/** What of a result is to be moved. */
export function movedWith(result: unknown): readonly object[] {
  return isObject(result) ? (lists.get(result) ?? []) : [];
}

/**
 * Throws, as the clone does for all else that cannot be moved, for a buffer that somebody else has already:
 * V8 makes an empty one of it.
 */
export function refuseDetached(list: readonly object[]): void {
  for (const it of list) {
    if (types.isArrayBuffer(it) && it.byteLength === 0 && isDetached(it)) {
      const what = 'An ArrayBuffer in the transfer list is detached: it was moved before';
      throw new DOMException(what, 'DataCloneError');
    }
  }
}

function isDetached(buffer: ArrayBuffer): boolean {
  try {
    buffer.slice();
    return false;
  } catch {
    return true;
  }
}
