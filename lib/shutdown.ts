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
 * Until the report the kernel is in its grace: who schedules is told false, for it may be a function
 * in flight, which is to end in peace. When nothing is left, or with the report, it is closed.
 *
 * Whoever waits for a result, a Task, is told when it is withdrawn, aborted, or given up.
 */

import type { Dispatcher } from './dispatch.ts';
import { KcontError } from './errors.ts';
import { Kcont } from './kcont.ts';
import { contended } from './lock/turnstile.ts';
import { nameOf, taskOf } from './schedule.ts';
import { CLOSED, GRACE, LIMIT, QUEUED } from './state.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * A continuation in a report.
 *
 * @public
 */
export interface Unfinished {
  /** Its name. */
  readonly name: string;
  /** Its workqueue's name. */
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
 * Resolves when nothing is queued or running on any workqueue.
 *
 * @internal
 */
export async function drained(queues: Iterable<Workqueue>): Promise<void> {
  for (;;) {
    const loaded = Array.from(queues).filter((queue) => queue._load > 0);
    if (loaded.length === 0) return;
    await Promise.all(loaded.map((queue) => queue.drain()));
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
  queues: Iterable<Workqueue>,
  clockQueue: Workqueue,
  graceMs: number,
): Promise<CloseReport> {
  const timers = Array.from(dispatcher.wheel).filter((kc) => (kc._state & LIMIT) === 0);
  const done = new AbortController();
  const alarm = (delayMs: number): Promise<void> =>
    clockQueue.run(nothing, { delayMs, signal: done.signal, name: 'kernel.close' }).catch(nothing);
  const grace = alarm(graceMs);
  const patience = alarm(graceMs + ABORT_MS);
  dispatcher.phase = GRACE;
  // Who is told of it finds the kernel closed.
  const withdrawn = stopTimers(timers);
  for (const task of dispatcher.tasks) task._abort(closed());
  await Promise.race([drained(queues).then(() => (dispatcher.phase = CLOSED)), grace]);

  const unfinished: Unfinished[] = [];
  for (const kc of queued(dispatcher, queues)) {
    unfinished.push({ name: nameOf(kc), wq: kc._wq.name, state: 'queued' });
    withdraw(kc);
  }
  for (const { kc } of dispatcher.flights) taskOf(kc)?._abort(closed());
  withdrawn.push(...stopLimits(dispatcher));
  await Promise.race([drained(queues), patience]);
  done.abort();
  dispatcher.phase = CLOSED;
  withdrawn.push(...stopLimits(dispatcher));
  for (const { kc } of dispatcher.flights) {
    unfinished.push({ name: nameOf(kc), wq: kc._wq.name, state: 'running' });
    taskOf(kc)?._abandon?.(closed());
  }
  dispatcher.rest();
  return { withdrawn, unfinished };
}

/** All that is QUEUED: in the run queue, at a lock, for want of room, behind its own run. */
function queued(dispatcher: Dispatcher, queues: Iterable<Workqueue>): Set<Kcont<unknown>> {
  const found = new Set<Kcont<unknown>>();
  for (const level of new Set(Array.from(queues, (queue) => queue._level))) {
    for (const kc of level) found.add(kc);
  }
  for (const kc of dispatcher.deferred) found.add(kc);
  for (const queue of queues) for (const kc of queue._waiting) found.add(kc);
  for (const turnstile of contended) {
    for (const waiter of turnstile) {
      if (waiter instanceof Kcont && waiter._wq._dispatcher === dispatcher) found.add(waiter);
    }
  }
  for (const { kc } of dispatcher.flights) if ((kc._state & QUEUED) !== 0) found.add(kc);
  return found;
}

/** Stops what the functions in flight have been left. */
function stopLimits(dispatcher: Dispatcher): string[] {
  return stopTimers(Array.from(dispatcher.wheel).filter((kc) => (kc._state & LIMIT) !== 0));
}

/** Stops those that are PENDING, and returns their names. */
function stopTimers(timers: readonly Kcont<unknown>[]): string[] {
  const stopped: string[] = [];
  for (const kc of timers) {
    // Whoever was told of the one before may have stopped it.
    if (!kc.pending) continue;
    stopped.push(nameOf(kc));
    withdraw(kc);
  }
  return stopped;
}

function withdraw(kc: Kcont<unknown>): void {
  kc.stop();
  taskOf(kc)?._abort(closed());
}

function closed(): KcontError {
  return new KcontError('ESHUTDOWN', 'the kernel is closed');
}

function nothing(): void {}
