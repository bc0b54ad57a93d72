/*
 * The order of those that wait for `maxActive`, if some of them have inherited a priority (see inheritance.ts).
 *
 *   _waiting   a   b   c   d   e        all, in the order in which they have begun to wait
 *   _raised    127: d   111: b          those that have inherited a priority; d is next, then b, a, c, e
 */

import { LimitPlace, type Awaited } from './awaited.ts';
import type { Kcont } from './kcont.ts';
import { unlink } from '../base/list.ts';
import { after, OrderedList } from '../base/ordered-list.ts';
import { taskOf } from './schedule.ts';
import { QUEUED } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { NONE } from '../locks/turnstile.ts';

/**
 * Called when a continuation has begun to wait for the limit of its workqueue, if `inherited` is not empty.
 *
 * @internal
 */
export function reachedLimit(kc: Kcont<unknown>): void {
  const awaited = taskOf(kc)?._awaited ?? null;
  if (awaited !== null && awaited.level !== NONE) joinLimit(awaited, kc);
}

/**
 * Lets a continuation that waits for the limit go before those of lower priorities.
 *
 * @internal
 */
export function joinLimit(awaited: Awaited, kc: Kcont<unknown>): void {
  const raised = (kc._wq._raised ??= new Map<number, OrderedList<LimitPlace>>());
  let places = raised.get(awaited.level);
  if (places === undefined) raised.set(awaited.level, (places = new OrderedList<LimitPlace>()));
  awaited.limitPlace = new LimitPlace(awaited, kc);
  places.insert(awaited.limitPlace);
}

/**
 * Removes and returns the next of those that wait for the limit of a workqueue: the first of the highest priority, inherited
 * or not.
 *
 * @internal
 */
export function takeWaiting(wq: Workqueue): Kcont<unknown> | undefined {
  const { _sharing: sharing } = wq;
  const { inherited } = wq._dispatcher.runq;
  const highest = inherited.size === 0 ? null : highestRaised(sharing ?? [wq]);
  if (sharing === null && highest === null) return wq._waiting.shift();
  const next = sharing?.find((queue) => !queue._waiting.empty);
  if (highest === null) return next?._waiting.shift();
  const { awaited, kc } = highest;
  // The first of a queue of this priority has inherited none, for that would be higher.
  if (next !== undefined && next.priority >= awaited.level) {
    const first = next._waiting.first as Kcont<unknown>;
    if (next.priority > awaited.level || after(kc, first)) return next._waiting.shift();
  }
  awaited.leaveLimit();
  unlink(kc);
  return kc;
}

/** The first of those that have inherited the highest priority, and wait for the limit of some workqueues. */
function highestRaised(queues: readonly Workqueue[]): LimitPlace | null {
  let highest: LimitPlace | null = null;
  for (const { _raised: raised } of queues) {
    if (raised === null) continue;
    for (const places of raised.values()) {
      let { first } = places;
      // It is just being withdrawn.
      while (first !== undefined && (first.kc._state & QUEUED) === 0) {
        first.awaited.leaveLimit();
        ({ first } = places);
      }
      if (first !== undefined && (highest === null || goesBefore(first, highest))) highest = first;
    }
  }
  return highest;
}

function goesBefore(a: LimitPlace, b: LimitPlace): boolean {
  const [one, other] = [a.awaited.level, b.awaited.level];
  return one === other ? after(b, a) : one > other;
}
