/*
 * Where the QUEUED continuations of a dispatcher are. There is no list of all of them: each is where it
 * waits, and a wait that is over costs no search.
 */

import type { Dispatcher } from './dispatcher.ts';
import { Kcont } from './kcont.ts';
import { PLACEHOLDER, QUEUED, RUNNING } from './state.ts';
import { contended, type Turnstile, type Waiter } from '../locks/turnstile.ts';

/** The continuation is in the run queue. @internal */
export const RUN_QUEUE = 0;
/** It waits for another function of its workqueue to settle, because of `maxActive`. @internal */
export const LIMIT_QUEUE = 1;
/** It waits for its lock. @internal */
export const LOCK_QUEUE = 2;
/** It is in no list: it waits for its own run to settle, or for another CPU. @internal */
export const ASIDE_QUEUE = 3;

/** @internal */
export type Place = typeof RUN_QUEUE | typeof LIMIT_QUEUE | typeof LOCK_QUEUE | typeof ASIDE_QUEUE;

/**
 * Calls a function for each QUEUED continuation of a dispatcher, once, with the place where it waits. Those in
 * the run queue come first, by priority and then in their order.
 *
 * @internal
 */
export function visitQueued(
  dispatcher: Dispatcher,
  visit: (kc: Kcont<unknown>, place: Place) => void,
): void {
  const { queues, asyncRuns } = dispatcher;
  visitRunnable(dispatcher, (kc) => visit(kc, RUN_QUEUE));
  for (const { _waiting: waiting } of queues) waiting.forEach((kc) => visit(kc, LIMIT_QUEUE));
  visitWaiters((waiter) => {
    if (waiter instanceof Kcont && waiter._wq._dispatcher === dispatcher) {
      visit(waiter as Kcont<unknown>, LOCK_QUEUE);
    }
  });
  asyncRuns.forEach(({ kc }) => {
    if (isSetAside(kc)) visit(kc, ASIDE_QUEUE);
  });
}

/**
 * Whether a continuation that is running has been scheduled again, and is in no list.
 *
 * @internal
 */
export function isSetAside(kc: Kcont<unknown>): boolean {
  return (kc._state & (QUEUED | RUNNING)) === (QUEUED | RUNNING) && kc._next === kc;
}

/**
 * Calls a function for each continuation in the run queue, by priority and then in their order.
 *
 * @internal
 */
export function visitRunnable(
  { runq, deferred }: Dispatcher,
  visit: (kc: Kcont<unknown>) => void,
): void {
  // Not by workqueue: a lock may have promoted one to a priority that no workqueue has.
  let level = runq.highest();
  for (; level !== undefined; level = runq.highest(level.priority)) {
    level.forEach((kc) => {
      if ((kc._state & PLACEHOLDER) === 0) visit(kc);
    });
  }
  deferred.forEach(visit);
}

/**
 * Calls a function for each waiter of a lock: continuations of all kernels, and awaiting code.
 *
 * @internal
 */
export function visitWaiters(visit: (waiter: Waiter, turnstile: Turnstile) => void): void {
  for (const turnstile of contended) turnstile.forEach((waiter) => visit(waiter, turnstile));
}
