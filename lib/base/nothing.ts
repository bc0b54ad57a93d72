/** Does nothing: for ignored results, and for callbacks that are not set yet. */
export function nothing(): void {}

/** A promise that never settles. */
export const never: Promise<never> = new Promise(nothing);

/** Keeps the rejection of a promise that nobody awaits from being unhandled. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(nothing);
  return promise;
}
