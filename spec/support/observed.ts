// The output of the apps of timers-framework.spec.ts: one line per observation.

export function say(what: string, seen: unknown): void {
  console.log(`${what}: ${String(seen)}`);
}

/**
 * Whether something happened when it was due: Node may be 1 ms early, and a busy machine late. The time
 * counts from before the call that starts the timer, because the machine may delay that call.
 */
export async function timed(
  what: string,
  expectedMs: number,
  start: () => Promise<unknown>,
): Promise<void> {
  const startMs = performance.now();
  const seen = await start();
  const lateMs = performance.now() - startMs - expectedMs;
  say(what, `${String(seen)}, ${lateMs < -2 ? 'EARLY' : lateMs > 20_000 ? 'LATE' : 'in time'}`);
}
