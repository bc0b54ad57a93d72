/** Does nothing: for ignored results, and for callbacks that are not set yet. */
export function nothing(): void {}

/** A promise that never settles. */
export const never: Promise<never> = new Promise(nothing);
