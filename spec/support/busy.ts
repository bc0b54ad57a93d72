/** Keeps the thread busy: a stall. */
export function burn(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
