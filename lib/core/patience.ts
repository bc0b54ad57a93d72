/*
 * Patience: for how long a continuation may be kept waiting by those of higher priority. It counts
 * from the time at which it became runnable, but not from before there was a backlog, or from before
 * somebody was passed over at its lock.
 *
 * The run queue serves the first one of each level that has waited for too long once in a pass (see
 * dispatch.ts); a lock promotes it (see lock/turnstile.ts).
 */

import type { Kcont } from './kcont.ts';
import type { Level } from './run-queue.ts';

/**
 * Whether a lock may promote one, which has waited for longer than its patience, of the time from one
 * absolute tick to another: once in a pass for each level.
 */
export function mayBePromoted(kc: Kcont<unknown>, since: number, now: number): boolean {
  const { _dispatcher: dispatcher, _level: level, patienceMs } = kc._wq;
  return waited(kc, since, now) > patienceMs && level.promotedIn !== dispatcher.passes;
}

/** The first of a level that is starved: not always the head, whose workqueue may be more patient. */
export function firstStarved(
  level: Level<Kcont<unknown>>,
  since: number,
  now: number,
): Kcont<unknown> | undefined {
  for (const kc of level) {
    const ticks = waited(kc, since, now);
    if (ticks > kc._wq.patienceMs) return kc;
    // Those behind have waited for less.
    if (ticks <= level.leastPatienceMs) return undefined;
  }
  return undefined;
}

function waited({ _due, _wq }: Kcont<unknown>, since: number, now: number): number {
  const due = _due + _wq._dispatcher.wheel.base;
  // A job may have been scheduled later than its tick says. One that waited aside when the base
  // moved seems to come from the future.
  return now - (due > now ? since : Math.max(due, since));
}
