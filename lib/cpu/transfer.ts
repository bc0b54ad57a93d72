/** A result whose parts are moved to the caller. */
class Moved {
  readonly value: unknown;
  readonly transfer: readonly object[];

  constructor(value: unknown, list: readonly object[]) {
    this.value = value;
    this.transfer = list;
  }
}

/**
 * Returned by a CPU function: the result, and what of it is moved to the caller, not copied.
 *
 * @param value - the result
 * @param list - buffers and ports within it, which this CPU loses
 * @returns what the function has to return
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
  return new Moved(value, list) as T;
}

/** A function's result, and what of it is to be moved. */
export function unwrap(result: unknown): { value: unknown; transfer: readonly object[] } {
  return result instanceof Moved ? result : { value: result, transfer: [] };
}
