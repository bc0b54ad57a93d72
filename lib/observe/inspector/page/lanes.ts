import type { Run } from './run-history.ts';

/** The runs of one workqueue on one CPU: a row of the timeline. */
export interface Lane {
  readonly cpu: number;
  readonly priority: number;
  readonly workqueue: string;
  readonly runs: Run[];
}

/** Divides runs into lanes: by CPU, the highest priority first. */
export function lanesOf(runs: readonly Run[]): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const run of runs) {
    const { cpu, priority, workqueue } = run;
    const key = `${cpu} ${priority} ${workqueue}`;
    let lane = lanes.get(key);
    if (lane === undefined) lanes.set(key, (lane = { cpu, priority, workqueue, runs: [] }));
    lane.runs.push(run);
  }
  return [...lanes.values()].sort((a, b) => a.cpu - b.cpu || b.priority - a.priority);
}

/** When a run ended; if it has not, the present. */
export function endOf({ settledMs }: Run, nowMs: number): number {
  return Number.isNaN(settledMs) ? nowMs : settledMs;
}

/** When the function of a run returned; if it has not, the present. */
export function returnOf({ returnedMs }: Run, nowMs: number): number {
  return Number.isNaN(returnedMs) ? nowMs : returnedMs;
}

/**
 * Finds the run at a time: the longest of those whose function was on the stack within a distance of it, otherwise one
 * that was in flight.
 */
export function runAt(lane: Lane, atMs: number, nearMs: number, nowMs: number): Run | undefined {
  let best: Run | undefined;
  let bestMs = -1;
  let open: Run | undefined;
  for (const run of lane.runs) {
    if (run.enteredMs > atMs + nearMs) break;
    const returnedMs = returnOf(run, nowMs);
    if (returnedMs >= atMs - nearMs) {
      const ms = returnedMs - run.enteredMs;
      if (ms > bestMs) [best, bestMs] = [run, ms];
    } else if (endOf(run, nowMs) >= atMs) open = run;
  }
  return best ?? open;
}

/** The runs that need attention: those that took longest, or were entered latest. */
export function worst(runs: readonly Run[], most: number, nowMs: number): Run[] {
  const found: { readonly run: Run; readonly ms: number }[] = [];
  let least = 0;
  for (const run of runs) {
    const ms = Math.max(returnOf(run, nowMs) - run.enteredMs, run.waitedMs);
    if (found.length === most && ms <= least) continue;
    const place = found.findIndex((other) => other.ms < ms);
    found.splice(place === -1 ? found.length : place, 0, { run, ms });
    if (found.length > most) found.pop();
    least = found.at(-1)?.ms ?? 0;
  }
  return found.map(({ run }) => run);
}
