// All benches, by name. Each is loaded where it is run, and nowhere else.

import type { Bench } from './harness/bench.ts';

const SUITE: Record<string, () => Promise<{ readonly bench: Bench }>> = {
  'schedule-stop': () => import('./schedule-stop.ts'),
  create: () => import('./create.ts'),
  touch: () => import('./touch.ts'),
  expire: () => import('./expire.ts'),
  'run-soon': () => import('./run-soon.ts'),
  lateness: () => import('./lateness.ts'),
  timers: () => import('./timers.ts'),
  lock: () => import('./lock.ts'),
  shares: () => import('./shares.ts'),
  sync: () => import('./sync.ts'),
  'cpu-lock': () => import('./cpu-lock.ts'),
  async: () => import('./async.ts'),
  run: () => import('./run.ts'),
  debounce: () => import('./debounce.ts'),
  'rate-limit': () => import('./rate-limit.ts'),
  periodic: () => import('./periodic.ts'),
  retry: () => import('./retry.ts'),
  recorder: () => import('./recorder.ts'),
  heap: () => import('./heap.ts'),
  idle: () => import('./idle.ts'),
  growth: () => import('./growth.ts'),
  'cpu-invoke': () => import('./cpu-invoke.ts'),
  'cpu-round-trip': () => import('./cpu-round-trip.ts'),
  'cpu-stop': () => import('./cpu-stop.ts'),
  'cpu-timer': () => import('./cpu-timer.ts'),
  'cpu-images': () => import('./cpu-images.ts'),
  durable: () => import('./durable.ts'),
  'durable-growth': () => import('./durable-growth.ts'),
  'start-up': () => import('./start-up.ts'),
  'echo-server': () => import('./echo-server.ts'),
  'overload-server': () => import('./overload-server.ts'),
  'shed-server': () => import('./shed-server.ts'),
};

/** In the order of the report. */
export const names: readonly string[] = Object.keys(SUITE);

export async function findBench(name: string): Promise<Bench> {
  const load = SUITE[name];
  if (load === undefined) {
    throw new Error(`no bench is called ${name}; there are: ${names.join(', ')}`);
  }
  const { bench } = await load();
  return bench;
}
