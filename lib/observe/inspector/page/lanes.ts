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
  return [...lanes.values()].toSorted((a, b) => a.cpu - b.cpu || b.priority - a.priority);
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

/** The worst run of a name, and how many there were. */
export interface Worst {
  readonly run: Run;
  readonly count: number;
}

/** The run of each name and workqueue that took longest or was entered latest; the worst first. */
export function worst(runs: readonly Run[], most: number, nowMs: number): Worst[] {
  const groups = new Map<string, { run: Run; ms: number; count: number }>();
  for (const run of runs) {
    const ms = Math.max(returnOf(run, nowMs) - run.enteredMs, run.waitedMs);
    const key = `${run.workqueue}\0${run.name}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { run, ms, count: 1 });
    else {
      group.count++;
      if (ms > group.ms) {
        group.ms = ms;
        group.run = run;
      }
    }
  }
  return [...groups.values()].toSorted((a, b) => b.ms - a.ms).slice(0, most);
}
