/*
 * Halting: stopping a continuation and waiting until it is not running. Meanwhile it cannot be scheduled.
 */

import { KcontError, traceFrom, type Caller } from '../base/errors.ts';
import { ownership } from './awaited.ts';
import type { Lock } from '../locks/lock.ts';
import { whenSettled } from './invoke.ts';
import type { Kcont } from './kcont.ts';
import { checkInterlock } from './refusal.ts';
import { label } from './schedule.ts';
import { HALTING } from './state.ts';

/** Implements `Kcont.halt`. Stack traces begin at the caller of `caller`. */
export async function halt<A>(
  kc: Kcont<A>,
  interlock: Lock | undefined,
  caller: Caller,
): Promise<boolean> {
  try {
    if (interlock !== undefined) checkInterlock(kc, interlock);
    mayHalt(kc);
  } catch (error) {
    throw traceFrom(caller, error);
  }
  kc.stop();
  if (!kc.running) return false;
  const settled = kc._beginHalt();
  try {
    interlock?.exit();
    await settled;
    await interlock?.enter();
  } finally {
    kc._endHalt();
  }
  return true;
}

/** Throws if the caller is the function of the continuation, which would wait for itself. */
export function mayHalt<A>(kc: Kcont<A>): void {
  const isOwn = kc._wq._dispatcher.current === kc && kc.running;
  // In debug mode the caller is known after an await, too.
  if (!isOwn && ownership.of?.current()?.kc !== kc) return;
  throw new KcontError('EDEADLK', `${label(kc)} cannot wait for itself to settle`);
}

/** Stops it and refuses `schedule` until the halt ends. Resolves when it is not running. */
export function beginHalt<A>(kc: Kcont<A>): Promise<void> {
  kc.stop();
  kc._needExtras().halts++;
  kc._state |= HALTING;
  kc._remote?.setHalting(true);
  if (!kc.running) return Promise.resolve();
  return new Promise((resolve) => whenSettled(kc, resolve));
}

/** Ends a halt that has begun. */
export function endHalt<A>(kc: Kcont<A>): void {
  if (--kc._needExtras().halts > 0) return;
  kc._state &= ~HALTING;
  kc._remote?.setHalting(false);
}
