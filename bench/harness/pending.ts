// Populations: many timers that are armed and far from due.

import { Kcont, Kernel, type Workqueue } from '../../lib/index.ts';
import { expectSame } from './timed.ts';

/** Nothing that is only pending in a bench is ever due. */
export const FAR_MS: number = 10 * 60_000;

let fired = 0;

/** Must never run. */
export const neverDue = (): void => void fired++;

export function expectNoneFired(): void {
  expectSame('functions of pending timers entered', fired, 0);
}

/** A workqueue of a kernel of its own. */
export function ownQueue(): Workqueue {
  return new Kernel().wq.softclock;
}

export function pendingKconts(wq: Workqueue, count: number, delayMs: number): Kcont<null>[] {
  return Array.from({ length: count }, () => {
    const kc = new Kcont<null>(wq, null, neverDue, null);
    kc.schedule(delayMs);
    return kc;
  });
}

export function pendingTimeouts(count: number, delayMs: number): NodeJS.Timeout[] {
  return Array.from({ length: count }, () => setTimeout(neverDue, delayMs));
}
