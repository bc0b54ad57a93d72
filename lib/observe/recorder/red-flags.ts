/*
 * What a person should look at first in a recording. Equal findings are counted, and the worst is shown.
 */

import { duration } from '../duration.ts';
import type { FlightRecord } from './records.ts';
import type { CpuRuns, Run } from './runs.ts';

/** How long a function may occupy the event loop, in ms. */
const FUNCTION_MS = 50;
/** How late one may be entered that did not wait for a lock, in ms. */
const LATE_MS = 10;
/**
 * A pass is over its budget if it took this many times the budget. It looks at the clock after the budget is
 * spent, and lets an eighth more functions run, so that each full pass takes a little longer.
 */
const OVER = 1.5;

/**
 * Something in a recording that should not be.
 *
 * - `'function'`: a function occupied the event loop for over 50 ms
 * - `'late'`: a continuation was entered over 10 ms after it was due, without having waited for a lock
 * - `'pass'`: a pass of the dispatcher took over 1.5 times its budget
 * - `'level'`: a priority waited over the patience of its workqueue
 *
 * @internal
 */
export interface RedFlag {
  readonly kind: 'function' | 'late' | 'pass' | 'level';
  /** A sentence. */
  readonly message: string;
  /** How often it was found. */
  readonly count: number;
  /** The longest time, in ms. */
  readonly worstMs: number;
  /** When that was, in ms from the beginning of the recording. */
  readonly atMs: number;
  /** The index of the CPU. */
  readonly cpu: number;
}

interface Finding {
  kind: RedFlag['kind'];
  key: string;
  ms: number;
  atMs: number;
  cpu: number;
  /** The message, without how often. */
  tell: () => string;
}

/**
 * Finds what stands out in the runs of all CPUs, the longest first.
 *
 * @param endMs - when the recording ended
 *
 * @internal
 */
export function redFlags(cpus: readonly CpuRuns[], budgetMs: number, endMs: number): RedFlag[] {
  const worst = new Map<string, Finding & { count: number }>();
  const add = (finding: Finding): void => {
    const key = `${finding.kind} ${finding.cpu} ${finding.key}`;
    const known = worst.get(key);
    if (known === undefined) worst.set(key, { ...finding, count: 1 });
    else {
      known.count++;
      if (finding.ms > known.ms) Object.assign(known, finding);
    }
  };
  for (const cpu of cpus) {
    for (const [index, run] of cpu.runs.entries()) lookAt(run, index, cpu.runs, add);
    lookAtPasses(cpu.runs, budgetMs, add);
    lookAtWaiting(cpu, endMs, add);
  }
  return [...worst.values()]
    .toSorted((a, b) => b.ms - a.ms)
    .map(({ kind, count, ms, atMs, cpu, tell }) => {
      const times = count === 1 ? '' : `; ${count} times, this was the worst`;
      return { kind, message: `${tell()}${times}`, count, worstMs: ms, atMs, cpu };
    });
}

type Add = (finding: Finding) => void;

function lookAt(run: Run, index: number, runs: readonly Run[], add: Add): void {
  const { enter, returnedMs, onStack, estimated, orIo } = run;
  const { cpu, name, workqueue, waitedMs, aside, patienceMs, priority } = enter;
  const key = `${workqueue} ${name}`;
  const at = { key, cpu, atMs: enter.atMs };
  const ms = returnedMs - enter.atMs;
  if (ms > FUNCTION_MS) {
    add({
      ...at,
      kind: 'function',
      ms,
      tell: () => {
        const what = onStack ? 'had not returned after' : 'occupied the event loop for';
        const others = runs.slice(Math.max(0, index - estimated), index).map((it) => it.enter.name);
        const or = orElse(others, orIo);
        return `${name} on ${workqueue} ${what} ${duration(ms)}${or}`;
      },
    });
  }
  if (waitedMs === null || aside) return;
  if (waitedMs > LATE_MS) {
    const tell = (): string => `${name} on ${workqueue} was entered ${duration(waitedMs)} late`;
    add({ ...at, kind: 'late', ms: waitedMs, tell });
  }
  if (patienceMs !== null && waitedMs > patienceMs) {
    add({
      ...at,
      kind: 'level',
      key: `${priority}`,
      ms: waitedMs,
      tell: () =>
        `priority ${priority} waited ${duration(waitedMs)} for ${name} on ${workqueue}, over its patience of ${duration(patienceMs)}`,
    });
  }
}

/** What else may have taken the time of a function. */
function orElse(others: readonly string[], orIo: boolean): string {
  const before = others.length === 0 ? '' : `, or one of those before it did: ${others.join(', ')}`;
  return `${before}${orIo ? ', or I/O after it did' : ''}`;
}

function lookAtPasses(runs: readonly Run[], budgetMs: number, add: Add): void {
  for (let at = 0; at < runs.length;) {
    const { enter } = runs[at] as Run;
    let slowest = runs[at] as Run;
    let next = at + 1;
    for (; next < runs.length && runs[next]?.enter.pass === enter.pass; next++) {
      const run = runs[next] as Run;
      if (lengthOf(run) > lengthOf(slowest)) slowest = run;
    }
    const ms = (runs[next - 1] as Run).returnedMs - enter.atMs;
    const count = next - at;
    at = next;
    if (ms <= budgetMs * OVER) continue;
    const { name, workqueue } = slowest.enter;
    add({
      kind: 'pass',
      key: '',
      ms,
      cpu: enter.cpu,
      atMs: enter.atMs,
      tell: () => {
        const functions = count === 1 ? '1 function' : `${count} functions`;
        return `a pass of ${functions} took ${duration(ms)}, over its budget of ${duration(budgetMs)}; the longest was ${name} on ${workqueue}, ${duration(lengthOf(slowest))}`;
      },
    });
  }
}

function lengthOf({ enter, returnedMs }: Run): number {
  return returnedMs - enter.atMs;
}

/** What was runnable for too long, and had not been entered when the recording ended. */
function lookAtWaiting({ waiting }: CpuRuns, endMs: number, add: Add): void {
  for (const { record, sinceMs, wait } of waiting) {
    const { patienceMs, priority, cpu } = record;
    const ms = endMs - sinceMs;
    if (wait !== null || patienceMs === null || ms <= patienceMs) continue;
    const tell = (): string => tellWaiting(record, ms, patienceMs);
    add({ kind: 'level', key: `${priority} end`, ms, cpu, atMs: sinceMs, tell });
  }
}

function tellWaiting(
  { name, workqueue, priority }: FlightRecord,
  ms: number,
  patienceMs: number,
): string {
  return `priority ${priority} had waited ${duration(ms)} at the end, for ${name} on ${workqueue}, over its patience of ${duration(patienceMs)}`;
}
