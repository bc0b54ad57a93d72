/*
 * What `inspect` of a kernel tells of inherited priorities.
 */

import type { Dispatcher } from './dispatcher.ts';
import { label } from './schedule.ts';
import { SCHEDULED } from './state.ts';

/**
 * A continuation that is dispatched at a higher priority than that of its workqueue, because the holder of a lock
 * awaits it.
 *
 * @public
 */
export interface InheritedPriority {
  /** Its name. */
  readonly name: string;
  /** The name of its workqueue. */
  readonly workqueue: string;
  /** The priority of its workqueue. */
  readonly priority: number;
  /** The priority that it has inherited from one that waits for the lock. */
  readonly inherited: number;
}

/**
 * The continuations of a dispatcher that are scheduled and have inherited a priority.
 *
 * @internal
 */
export function inheritedIn(dispatcher: Dispatcher): InheritedPriority[] {
  const found: InheritedPriority[] = [];
  for (const { kc, level } of dispatcher.runq.inherited) {
    if (kc === null || (kc._state & SCHEDULED) === 0) continue;
    const { name, priority } = kc._wq;
    found.push({ name: label(kc), workqueue: name, priority, inherited: level });
  }
  return found;
}
