/** Blocks the thread, to simulate a stall. */
export function burn(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
