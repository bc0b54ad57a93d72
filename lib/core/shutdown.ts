/*
 * Ordered shutdown of a kernel.
 *
 *   refuse    no continuation can be scheduled any more
 *   withdraw  timers that are PENDING are stopped: what is not due now has not begun. Those that
 *             limit what has begun, or that it may wait for, run on, and others like them can be armed
 *   finish    what is queued and what runs, by priority, until nothing is left or the grace is over
 *   abort     one-shot runs get their signal aborted; what is queued, and those timers, are stopped
 *   report    by name, what did not finish. Nobody waits for it any longer
 *
 * What settles in the very tick in which the grace is over has finished in time, also if only promises
 * have not told yet, or the lock that it gives back is to be taken: one more pass is waited for.
 *
 * Until the report the kernel is in its grace: who schedules is told false, for it may be a function
 * in flight, which is to end in peace. When nothing is left, or with the report, it is closed.
 *
 * Whoever waits for a result, a Task, is told when it is withdrawn, aborted, or given up.
 */

import { afterMicrotasks } from '../time/host-clock.ts';
import type { Dispatcher } from './dispatcher.ts';
import { KcontError } from '../base/errors.ts';
import { CANCELLED, Kcont } from './kcont.ts';
import { contended } from '../locks/turnstile.ts';
import { race } from '../base/race.ts';
import { label, makeRunnable, makeRunnableNext, startTimer, taskOf } from './schedule.ts';
import { CLOSED, GRACE, LIMIT, QUEUED } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { nothing } from '../base/nothing.ts';

/**
 * A continuation in a report.
 *
 * @public
 */
export interface Unfinished {
  /**
   * Its name. Of a CPU, as `CPU 1`, if its thread had to be ended and ran something that no other CPU
   * knew of.
   */
  readonly name: string;
  /** Its workqueue's name; empty for a CPU. */
  readonly wq: string;
  /** Whether its function was running, or was still to be entered. */
  readonly state: 'running' | 'queued';
}

/**
 * How a shutdown ended.
 *
 * @public
 */
export interface CloseReport {
  /** Names of the continuations whose timers were stopped. */
  readonly withdrawn: readonly string[];
  /** What did not finish in time. Empty: all is well. */
  readonly unfinished: readonly Unfinished[];
}

/**
 * How the shutdown of one thread of a kernel is part of that of several.
 *
 * @internal
 */
export interface CloseGuide {
  /** Fulfilled when all that has begun has finished; `drained` is fulfilled when it has here. */
  readonly finished?: (drained: () => Promise<void>) => Promise<void>;
  /** Fulfilled when the grace is over before its time. */
  readonly over?: Promise<void>;
  /** What those are told who wait for a result. */
  readonly reason?: () => KcontError;
}

/**
 * Closes this thread's part.
 *
 * @internal
 */
export type LocalClose = (guide?: CloseGuide) => Promise<CloseReport>;

/**
 * Resolves when nothing is queued or running on any workqueue.
 *
 * @internal
 */
export async function drained(queues: Iterable<Workqueue>): Promise<void> {
  for (;;) {
    const loaded = Array.from(queues).filter((queue) => queue._load > 0);
    if (loaded.length === 0) return;
    await Promise.all(loaded.map((queue) => queue._drain()));
  }
}

/** How long what was aborted may take to settle, in ms. */
const ABORT_MS = 100;

/**
 * Closes a kernel.
 *
 * @internal
 */
export async function close(
  dispatcher: Dispatcher,
  graceMs: number,
  guide: CloseGuide = {},
): Promise<CloseReport> {
  const { finished = (local) => local(), over = never, reason = closed } = guide;
  const { queues, kernel } = dispatcher;
  const timers = Array.from(dispatcher.wheel).filter((kc) => (kc._state & LIMIT) === 0);
  let ring: () => void = nothing;
  const alarm = new Kcont(kernel.wq.softclock, null, () => ring(), null, { name: 'kernel.close' });
  const after = (delayMs: number): Promise<void> =>
    new Promise((resolve) => {
      const end = (): void => afterMicrotasks(resolve);
      ring = end;
      // A kernel that closes schedules nothing else.
      if (delayMs === 0) {
        makeRunnable(alarm);
        return;
      }
      ring = () => {
        ring = end;
        makeRunnableNext(alarm);
      };
      startTimer(alarm, delayMs);
    });
  const local = (): Promise<void> => drained(queues);
  dispatcher.phase = GRACE;
  // Who is told of it finds the kernel closed.
  const withdrawn = stopTimers(timers, reason);
  for (const task of dispatcher.tasks) task._abort(reason());
  const done = finished(local).then(() => (dispatcher.phase = CLOSED));
  await race([done, after(graceMs), over]);

  const unfinished: Unfinished[] = [];
  for (const kc of queued(dispatcher)) {
    const entry: Unfinished = { name: label(kc), wq: kc._wq.name, state: 'queued' };
    // What several CPUs may run is in the report of the one that withdraws it.
    if (kc !== alarm && withdraw(kc, reason)) unfinished.push(entry);
  }
  for (const { kc } of dispatcher.asyncRuns) taskOf(kc)?._abort(reason());
  withdrawn.push(...stopLimits(dispatcher, reason));
  alarm.stop();
  await race([local(), after(ABORT_MS)]);
  alarm.destroy();
  dispatcher.phase = CLOSED;
  withdrawn.push(...stopLimits(dispatcher, reason));
  for (const { kc } of dispatcher.asyncRuns) {
    unfinished.push({ name: label(kc), wq: kc._wq.name, state: 'running' });
    taskOf(kc)?._abandon?.(reason());
  }
  dispatcher.rest();
  return { withdrawn, unfinished };
}

/** All that is QUEUED: in the run queue, at a lock, for want of room, behind its own run. */
function queued(dispatcher: Dispatcher): Set<Kcont<unknown>> {
  const found = new Set<Kcont<unknown>>();
  const add = (kc: unknown): void => {
    if (kc instanceof Kcont && kc._wq._dispatcher === dispatcher) found.add(kc);
  };
  const { queues, deferred, asyncRuns } = dispatcher;
  // Workqueues of one priority share a level.
  for (const level of new Set(Array.from(queues, (queue) => queue._level))) {
    for (const kc of level) add(kc);
  }
  for (const kc of deferred) add(kc);
  for (const { _waiting: waiting } of queues) for (const kc of waiting) add(kc);
  for (const turnstile of contended) for (const waiter of turnstile) add(waiter);
  for (const { kc } of asyncRuns) if ((kc._state & QUEUED) !== 0) add(kc);
  return found;
}

/** Stops what the functions in flight have been left. */
function stopLimits(dispatcher: Dispatcher, reason: () => KcontError): string[] {
  const limits = Array.from(dispatcher.wheel).filter((kc) => (kc._state & LIMIT) !== 0);
  return stopTimers(limits, reason);
}

/** Stops those that are PENDING, and returns their names. */
function stopTimers(timers: readonly Kcont<unknown>[], reason: () => KcontError): string[] {
  const stopped: string[] = [];
  for (const kc of timers) {
    const name = label(kc);
    // Whoever was told of the one before may have stopped it.
    if (withdraw(kc, reason)) stopped.push(name);
  }
  return stopped;
}

/** False: it was not scheduled any more. */
function withdraw(kc: Kcont<unknown>, reason: () => KcontError): boolean {
  if ((kc.cancel() & CANCELLED) === 0) return false;
  taskOf(kc)?._abort(reason());
  return true;
}

function closed(): KcontError {
  return new KcontError('ESHUTDOWN', 'the kernel is closed');
}

/** Not fulfilled. */
const never: Promise<void> = new Promise(nothing);
