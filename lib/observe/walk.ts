/*
 * Finds everything that a kernel has in hand on this thread: running, queued, pending, and what other CPUs
 * have of the continuations that this CPU knows.
 */

import type { Dispatcher } from '../core/dispatcher.ts';
import { Kcont } from '../core/kcont.ts';
import {
  ASIDE_QUEUE,
  LIMIT_QUEUE,
  LOCK_QUEUE,
  RUN_QUEUE,
  visitQueued,
  visitWaiters,
  type Place,
} from '../core/queued.ts';
import { PENDING, QUEUED, RUNNING, SCHEDULED } from '../core/state.ts';
import type { Waiter } from '../locks/turnstile.ts';
import {
  PENDING_ROLE,
  RUNNABLE,
  RUNNING_ROLE,
  WAITS_FOR_CPU,
  WAITS_FOR_LIMIT,
  WAITS_FOR_LOCK,
  WAITS_FOR_RUN,
  type Role,
} from './list-entry.ts';

const ROLES: Readonly<Record<Place, Role>> = {
  [RUN_QUEUE]: RUNNABLE,
  [LIMIT_QUEUE]: WAITS_FOR_LIMIT,
  [LOCK_QUEUE]: WAITS_FOR_LOCK,
  [ASIDE_QUEUE]: WAITS_FOR_RUN,
};

/**
 * The runs in flight on this CPU, the one on the stack last.
 *
 * @internal
 */
export function* running(dispatcher: Dispatcher): Generator<Kcont<unknown>, void, undefined> {
  for (const { kc } of dispatcher.asyncRuns) yield kc;
  const { current } = dispatcher;
  // After it has settled, it is still the current one until the next is entered.
  if (current !== undefined && (current._state & RUNNING) !== 0) yield current;
}

/**
 * Calls a function for each continuation in hand, running ones first, PENDING ones last.
 *
 * @internal
 */
export function walk(
  dispatcher: Dispatcher,
  visit: (kc: Kcont<unknown>, role: Role) => void,
): void {
  walkActive(dispatcher, visit);
  for (const kc of dispatcher.wheel.all()) visit(kc, PENDING_ROLE);
}

/**
 * The same, without the timers in the wheel of this CPU.
 *
 * @internal
 */
export function walkActive(
  dispatcher: Dispatcher,
  visit: (kc: Kcont<unknown>, role: Role) => void,
): void {
  for (const kc of running(dispatcher)) visit(kc, RUNNING_ROLE);
  visitQueued(dispatcher, (kc, place) => {
    // In the run queue or not, it cannot be entered before its run has settled.
    visit(kc, (kc._state & RUNNING) === 0 ? ROLES[place] : WAITS_FOR_RUN);
  });
  const { cpuLink } = dispatcher;
  if (cpuLink !== null) for (const kc of cpuLink.known()) visitShared(kc, visit);
}

/** A continuation whose state is shared between CPUs: what is not in a list of this one. */
function visitShared(kc: Kcont<unknown>, visit: (kc: Kcont<unknown>, role: Role) => void): void {
  const bits = kc._bits;
  const here = kc._state;
  if ((bits & RUNNING) !== 0 && (here & RUNNING) === 0) visit(kc, RUNNING_ROLE);
  if ((here & SCHEDULED) !== 0 && kc._next !== kc) return;
  if ((bits & QUEUED) !== 0) {
    if ((bits & RUNNING) !== 0) visit(kc, WAITS_FOR_RUN);
    else visit(kc, kc._remote?.index === undefined ? WAITS_FOR_CPU : RUNNABLE);
  } else if ((bits & PENDING) !== 0) visit(kc, PENDING_ROLE);
}

/**
 * Whether a continuation still has the role in which it was found.
 *
 * @internal
 */
export function stillHas(kc: Kcont<unknown>, { state }: Role): boolean {
  const bit = state === 'pending' ? PENDING : state === 'running' ? RUNNING : QUEUED;
  return (kc._bits & bit) !== 0;
}

/**
 * Calls a function for each piece of code that awaits a lock of this thread.
 *
 * @internal
 */
export function visitCode(visit: (waiter: Waiter) => void): void {
  visitWaiters((waiter) => {
    if (!(waiter instanceof Kcont)) visit(waiter);
  });
}
