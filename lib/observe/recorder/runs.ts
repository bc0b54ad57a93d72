/*
 * Puts the records of one CPU together to runs: when a continuation was scheduled, what it waited for, when its
 * function was called, returned and settled. Runs whose beginning has been overwritten are left out.
 */

import type { FlightRecord } from './records.ts';

/**
 * One run of a continuation.
 *
 * @internal
 */
export interface Run {
  /** The record of its `'enter'`. */
  readonly enter: FlightRecord;
  /** When it was scheduled, and its timer expired; null: not recorded, or it is no timer. */
  readonly scheduledMs: number | null;
  readonly expiredMs: number | null;
  /** Its wait for its lock; null: it did not wait. */
  readonly wait: FlightRecord | null;
  /** When its function returned or threw. */
  returnedMs: number;
  /** When its promise settled; the same as `returnedMs` if it returned none. */
  settledMs: number;
  /** Whether it had not returned, or its promise not settled, when the recording ended. */
  onStack: boolean;
  isOpen: boolean;
  failed: boolean;
  isAsync: boolean;
  /** So many runs that returned just before it have an estimated end. */
  estimated: number;
  /** Whether it may also have been I/O after the run that took the time. */
  orIo: boolean;
}

/**
 * One that is runnable or waits when the recording ends.
 *
 * @internal
 */
export interface Waiting {
  /** The last record of it. */
  readonly record: FlightRecord;
  /** Since when it has been runnable. */
  readonly sinceMs: number;
  /** Its wait for its lock; null: it waits for its priority's turn, or for something that is not recorded. */
  readonly wait: FlightRecord | null;
}

/**
 * What the records of one CPU say.
 *
 * @internal
 */
export interface CpuRuns {
  /** In the order in which they were entered. */
  readonly runs: readonly Run[];
  readonly waiting: readonly Waiting[];
}

interface Scheduled {
  readonly schedule: FlightRecord | null;
  expire: FlightRecord | null;
  wait: FlightRecord | null;
}

/**
 * Finds the runs in the records of one CPU.
 *
 * @param endMs - when the recording ended
 *
 * @internal
 */
export function runsOf(records: readonly FlightRecord[], endMs: number): CpuRuns {
  const scheduled = new Map<number, Scheduled>();
  const inFlight = new Map<number, Run>();
  const runs: Run[] = [];
  const known = (id: number): Scheduled => {
    let found = scheduled.get(id);
    if (found === undefined)
      scheduled.set(id, (found = { schedule: null, expire: null, wait: null }));
    return found;
  };
  for (const record of records) {
    const { kind, id, atMs } = record;
    const run = inFlight.get(id);
    if (kind === 'schedule') scheduled.set(id, { schedule: record, expire: null, wait: null });
    else if (kind === 'expire') known(id).expire = record;
    else if (kind === 'wait') known(id).wait ??= record;
    else if (kind === 'stop') scheduled.delete(id);
    else if (kind === 'enter') {
      const { schedule, expire, wait } = known(id);
      scheduled.delete(id);
      const entered: Run = {
        enter: record,
        scheduledMs: schedule?.atMs ?? null,
        expiredMs: expire?.atMs ?? null,
        wait,
        returnedMs: Math.max(endMs, atMs),
        settledMs: Math.max(endMs, atMs),
        onStack: true,
        isOpen: true,
        failed: false,
        isAsync: false,
        estimated: 0,
        orIo: false,
      };
      extendLast(runs.at(-1), record);
      inFlight.set(id, entered);
      runs.push(entered);
    } else if (run !== undefined) {
      if (kind === 'fail') run.failed = true;
      else end(run, record);
      if (kind === 'settle') inFlight.delete(id);
    } else if (kind === 'fail') {
      // The function has settled before its error was told.
      const last = runs.at(-1);
      if (last?.enter.id === id) last.failed = true;
    }
  }
  return { runs, waiting: waitingOf(scheduled) };
}

function end(run: Run, { kind, atMs, estimated }: FlightRecord): void {
  if (run.onStack) {
    run.returnedMs = atMs;
    run.onStack = false;
    run.estimated = estimated;
  }
  run.isAsync ||= kind === 'suspend';
  if (kind !== 'settle') return;
  run.settledMs = atMs;
  run.isOpen = false;
}

/** The shortest time that is looked into, in ms. */
const GAP_MS = 1;

/** If the end of the last run of a pass was estimated, what is left until the next one is its, or that of I/O. */
function extendLast(last: Run | undefined, { estimated, atMs }: FlightRecord): void {
  if (last === undefined || estimated === 0 || atMs - last.returnedMs < GAP_MS) return;
  if (!last.isAsync) last.settledMs = atMs;
  last.returnedMs = atMs;
  last.estimated = estimated - 1;
  last.orIo = true;
}

function waitingOf(scheduled: ReadonlyMap<number, Scheduled>): Waiting[] {
  const waiting: Waiting[] = [];
  for (const { schedule, expire, wait } of scheduled.values()) {
    const record = wait ?? expire ?? schedule;
    const since = expire ?? (schedule?.delayMs === 0 ? schedule : wait);
    if (record !== null && since !== null) waiting.push({ record, sinceMs: since.atMs, wait });
  }
  return waiting;
}
