// The thread stands still, outside the event loop.

const never = new Int32Array(new SharedArrayBuffer(4));
/** The end is spent awake, so that what follows does not pay for waking up. */
const AWAKE_MS = 5;

export function stall(ms: number): void {
  const until = performance.now() + ms;
  const asleepMs = ms - AWAKE_MS;
  if (asleepMs > 0) Atomics.wait(never, 0, 0, asleepMs);
  while (performance.now() < until);
}
