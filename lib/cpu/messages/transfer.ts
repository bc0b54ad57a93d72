import { types } from 'node:util';
import { invalid } from '../../base/errors.ts';
import { MOVABLE, check, isObject } from '../../base/options-check.ts';

/**
 * The transfer lists of results. The list is kept apart from the result, so that a direct call of the
 * function, or a run on the caller's own CPU, gets the result as it is.
 */
const lists = new WeakMap<object, readonly object[]>();

/**
 * Marks buffers and ports in the result of a CPU function to be moved to the caller, not copied.
 *
 * @param value - the result
 * @param list - buffers and ports in the result; this CPU can no longer use them once they are moved
 * @returns the result
 * @throws KcontError EINVAL if the list is not an array of objects, or if it is not empty and the result
 * is not an object. If something in the list cannot be moved, the caller's promise is rejected with
 * EINVAL when the result is sent to another CPU
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
    throw invalid('list', 'empty for a result that is not an object', list);
  }
  return value;
}

/** Returns the transfer list of a result. */
export function movedWith(result: unknown): readonly object[] {
  return isObject(result) ? (lists.get(result) ?? []) : [];
}

/**
 * Throws a DataCloneError for an ArrayBuffer that was moved before. The clone throws it for everything
 * else that cannot be moved, but V8 clones a detached buffer as an empty one.
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
