/*
 * Ordered shutdown of a kernel.
 *
 *   refuse    no continuation can be scheduled any more
 *   withdraw  PENDING timers are stopped, because their runs have not begun. Timers that limit work in
 *             flight, or that it may wait for, keep running, and more of them can be armed
 *   finish    what is queued and running is finished by priority, until the grace is over
 *   abort     the signals of one-shot runs are aborted; what is still queued, and the timers that were
 *             exempted above, are stopped
 *   report    what did not finish is listed by name, and not waited for any longer
 *
 * When the grace ends, `close` waits for one more pass. So a run that settles in that tick counts as
 * finished, even if its promise reports it later, or the next continuation has yet to take its lock.
 *
 * Until the report the kernel is in its grace: `schedule` returns false, because its caller may be a
 * function in flight, which should not fail. When nothing is left, or with the report, the kernel is
 * closed.
 *
 * A Task, which waits for a result, is told when its run is withdrawn, aborted or abandoned.
 */

import { afterMicrotasks } from '../time/host-clock.ts';
import type { Dispatcher } from './dispatcher.ts';
import { KcontError } from '../base/errors.ts';
import { CANCELLED, Kcont } from './kcont.ts';
import { visitQueued } from './queued.ts';
import { race } from '../base/race.ts';
import { label, makeRunnable, makeRunnableNext, startTimer, taskOf } from './schedule.ts';
import { CLOSED, GRACE, LIMIT } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { never, nothing } from '../base/nothing.ts';

/**
 * A continuation that did not finish before its kernel was closed.
 *
 * @public
 */
export interface Unfinished {
  /**
   * Its name; or that of a CPU, such as `CPU 1`, if its thread had to be terminated while it ran
   * something that other CPUs did not know of.
   */
  readonly name: string;
  /** Its workqueue's name; empty for a CPU. */
  readonly wq: string;
  /** Whether its function was running, or had not been entered. */
  readonly state: 'running' | 'queued';
}

/**
 * The result of {@link Kernel.close}.
 *
 * @public
 */
export interface CloseReport {
  /** Names of the continuations whose timers were stopped. */
  readonly withdrawn: readonly string[];
  /** The continuations that did not finish in time. Empty: everything finished. */
  readonly unfinished: readonly Unfinished[];
}

/**
 * Connects the shutdown of one thread of a kernel with that of the others.
 *
 * @internal
 */
export interface CloseGuide {
  /** Waits until all threads have finished; `drained` waits for this one. */
  readonly finished?: (drained: () => Promise<void>) => Promise<void>;
  /** Fulfilled if the grace ends early. */
  readonly over?: Promise<void>;
  /** Creates the error for tasks that get no result. */
  readonly reason?: () => KcontError;
}

/**
 * Closes the part of a kernel on this thread.
 *
 * @internal
 */
export type LocalClose = (guide?: CloseGuide) => Promise<CloseReport>;

/**
 * Resolves when nothing is queued or running on any workqueue.
 *
 * @internal
 */
export async function drained(queues: Iterable<Workqueue>, signal?: AbortSignal): Promise<void> {
  for (;;) {
    const loaded = Array.from(queues).filter((queue) => queue._load > 0);
    if (loaded.length === 0) return;
    await Promise.all(loaded.map((queue) => queue._drain(signal)));
  }
}

/** How long aborted runs may take to settle, in ms. */
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
      // A closing kernel refuses `schedule`, so the alarm is scheduled directly.
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
  // After the phase has changed: tasks that are told here can schedule nothing.
  const withdrawn: string[] = [];
  stopTimers(timers, reason, withdrawn);
  for (const task of dispatcher.tasks) task._abort(reason());
  const done = finished(local).then(() => (dispatcher.phase = CLOSED));
  await race([done, after(graceMs), over]);

  const unfinished: Unfinished[] = [];
  for (const kc of queued(dispatcher)) {
    const entry: Unfinished = { name: label(kc), wq: kc._wq.name, state: 'queued' };
    // A continuation that several CPUs may run is reported by the one that withdraws it.
    if (kc !== alarm && withdraw(kc, reason)) unfinished.push(entry);
  }
  for (const { kc } of dispatcher.asyncRuns) taskOf(kc)?._abort(reason());
  stopLimits(dispatcher, reason, withdrawn);
  alarm.stop();
  await race([local(), after(ABORT_MS)]);
  alarm.destroy();
  dispatcher.phase = CLOSED;
  stopLimits(dispatcher, reason, withdrawn);
  for (const { kc } of dispatcher.asyncRuns) {
    unfinished.push({ name: label(kc), wq: kc._wq.name, state: 'running' });
    taskOf(kc)?._abandon?.(reason());
  }
  dispatcher.rest();
  return { withdrawn, unfinished };
}

/** All QUEUED continuations of this dispatcher. */
function queued(dispatcher: Dispatcher): Set<Kcont<unknown>> {
  const found = new Set<Kcont<unknown>>();
  visitQueued(dispatcher, (kc) => found.add(kc));
  return found;
}

/** Stops the timers that were left to the functions in flight. */
function stopLimits(dispatcher: Dispatcher, reason: () => KcontError, stopped: string[]): void {
  const limits = Array.from(dispatcher.wheel).filter((kc) => (kc._state & LIMIT) !== 0);
  stopTimers(limits, reason, stopped);
}

/** Stops the timers that are PENDING, and adds their names. */
function stopTimers(
  timers: readonly Kcont<unknown>[],
  reason: () => KcontError,
  stopped: string[],
): void {
  for (const kc of timers) {
    const name = label(kc);
    // A task that was told before may have stopped this timer.
    if (withdraw(kc, reason)) stopped.push(name);
  }
}

/** Withdraws a continuation and tells its task. False: it was not scheduled. */
function withdraw(kc: Kcont<unknown>, reason: () => KcontError): boolean {
  if ((kc.cancel() & CANCELLED) === 0) return false;
  taskOf(kc)?._abort(reason());
  return true;
}

function closed(): KcontError {
  return new KcontError('ESHUTDOWN', 'the kernel is closed');
}
