/** Does nothing: for callbacks that nobody waits for, and places where there is no callback yet. */
export function nothing(): void {}
