/** Does nothing: for ignored results, and for callbacks that are not set yet. */
export function nothing(): void {}
