/*
 * Patience: how long higher priorities may keep a continuation waiting. It counts from when the
 * continuation became runnable, but not from before there was a backlog, or before a waiter of its lock
 * was passed over.
 *
 * Once per pass, the dispatcher serves the first continuation of each level that has run out of patience
 * (see dispatcher.ts); a lock promotes it (see locks/turnstile.ts).
 */

import { unlink } from '../base/list.ts';
import type { Waiter } from '../locks/turnstile.ts';
import { TICKS_PER_MS } from '../time/timing-wheel.ts';
import type { Budget } from './budget.ts';
import { dispatch, goOnAtTop } from './dispatch.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Kcont } from './kcont.ts';
import type { Level } from './run-queue.ts';

/**
 * Whether a lock may promote a continuation: it has waited for longer than its patience between two
 * absolute ticks, and no other one of its level has been promoted in this pass.
 */
export function mayBePromoted(waiter: Waiter, since: number, now: number): boolean {
  const kc = waiter as Kcont<unknown>;
  const { _dispatcher: dispatcher, _level: level, patienceMs } = kc._wq;
  return waited(kc, since, now) > patienceMs && level.root.promotedIn !== dispatcher.passes;
}

/**
 * Dispatches one starved entry of each level below the highest. Several of them may go on in the pass itself: each
 * does so before the next is dispatched.
 */
export function serveStarved(dispatcher: Dispatcher, budget: Budget): void {
  const { runq, backlogTick } = dispatcher;
  const highest = runq.highest();
  if (highest === undefined) return;
  budget.begin();
  const now = dispatcher.presentTick();
  let level = runq.highest(highest.priority);
  for (; level !== undefined; level = runq.highest(level.priority)) {
    // Only time since the backlog began counts as waiting.
    const starved = firstStarved(level, backlogTick, now);
    if (starved === undefined) continue;
    unlink(starved);
    dispatch(dispatcher, starved);
    goOnAtTop(dispatcher);
  }
}

/**
 * The first starved entry of a level: not always the head, whose workqueue may have more patience. Its lanes keep their
 * turns.
 */
function firstStarved(
  level: Level<Kcont<unknown>>,
  since: number,
  now: number,
): Kcont<unknown> | undefined {
  if (level.group === null) return firstIn(level, since, now);
  const promoted = level.resumed.first;
  if (promoted !== undefined && waited(promoted, since, now) > promoted._wq.patienceMs) {
    return promoted;
  }
  if ((now - since) / TICKS_PER_MS <= level.leastPatienceMs) return undefined;
  const { next, lanes } = level.group;
  if (next === undefined) return undefined;
  // With many lanes, as one for each key, nearly always in that whose turn it is.
  const starved = firstIn(next.level, since, now);
  if (starved !== undefined) return starved;
  const lane = lanes.firstOf(({ level: its }) => firstIn(its, since, now) !== undefined);
  return lane && firstIn(lane.level, since, now);
}

function firstIn(
  level: Level<Kcont<unknown>>,
  since: number,
  now: number,
): Kcont<unknown> | undefined {
  for (const kc of level) {
    const ms = waited(kc, since, now);
    if (ms > kc._wq.patienceMs) return kc;
    // The entries behind it have waited for a shorter time.
    if (ms <= level.leastPatienceMs) return undefined;
  }
  return undefined;
}

/** For how many ms a continuation has waited, between two absolute ticks. */
function waited({ _due, _wq }: Kcont<unknown>, since: number, now: number): number {
  const due = _due + _wq._dispatcher.wheel.base;
  // A job may have been scheduled later than its tick. A job that was set aside while the base moved
  // can have a tick in the future.
  return (now - (due > now ? since : Math.max(due, since))) / TICKS_PER_MS;
}
