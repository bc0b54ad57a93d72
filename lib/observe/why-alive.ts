import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { SCHEDULED, UNREF } from '../core/state.ts';
import { duration } from './duration.ts';
import { Earliest } from './earliest.ts';
import { Holders } from './holder.ts';
import { inLine } from './in-line.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { describe, type ListEntry, type ListWait, type Role } from './list-entry.ts';
import { observerFor } from './list.ts';
import { stillHas, walk } from './walk.ts';

/**
 * Tells what keeps the process alive, as far as a kernel does: everything that is scheduled and not
 * unreferenced.
 *
 * @remarks
 * A function that is running does not keep the process alive, as in Node: what it waits for does. On a kernel
 * with several CPUs, functions that run on other CPUs do.
 *
 * @param kernel - the kernel
 * @returns one line each: first what is runnable and what waits, then timers by deadline. Empty: the kernel
 * does not keep the process alive
 * @throws KcontError EINVAL for anything but a kernel
 *
 * @example
 * ```ts
 * for (const line of whyAlive(kernel)) console.log(line);
 * // timer closeIdle on softclock: due in 29 s, set 800 ms ago
 * ```
 *
 * @public
 */
export function whyAlive(kernel: Kernel): string[] {
  const observer = observerFor(kernel, whyAlive);
  const kept = new Earliest(Infinity);
  walk(observer.dispatcher, (kc, role) => {
    if (keepsAlive(kc, role)) kept.add(kc, role);
  });
  return linesOf(observer, kept, Holders.now());
}

/**
 * One line for each that keeps the process alive.
 *
 * @internal
 */
export function linesOf(observer: KernelObserver, kept: Earliest, holders: Holders): string[] {
  const nowMs = observer.dispatcher.kernel.now();
  return kept
    .take()
    .filter(({ kc, role }) => stillHas(kc, role))
    .map(({ kc, role }) => {
      const entry = describe(observer, kc, role, nowMs);
      return inLine(lineOf(kc, entry, nowMs, holders));
    });
}

/**
 * Whether a continuation keeps the process alive.
 *
 * @internal
 */
export function keepsAlive(kc: Kcont<unknown>, { state }: Role): boolean {
  const bits = kc._bits;
  if ((bits & UNREF) !== 0) return false;
  // Other CPUs' functions are counted until they settle.
  return state === 'running' ? kc._remote !== null : (bits & SCHEDULED) !== 0;
}

function lineOf(kc: Kcont<unknown>, entry: ListEntry, nowMs: number, holders: Holders): string {
  const { name, workqueue, state, cpu } = entry;
  const what = state === 'pending' ? 'timer' : state === 'running' ? 'run' : 'job';
  const where = cpu === null || cpu === kc._wq.kernel._cpu.index ? '' : ` of CPU ${cpu}`;
  const made = entry.createdAt === null ? '' : `, created at ${entry.createdAt}`;
  return `${what} ${name} on ${workqueue}${where}: ${stateOf(kc, entry, nowMs, holders)}${made}`;
}

/**
 * Describes the state of an entry, for a sentence about its continuation.
 *
 * @internal
 */
export function stateOf(
  kc: Kcont<unknown>,
  entry: ListEntry,
  nowMs: number,
  holders: Holders,
): string {
  const { state, waitsFor, deadlineMs, sinceMs, lateMs } = entry;
  const sinceText = sinceMs === null ? undefined : duration(nowMs - sinceMs);
  if (deadlineMs !== null) {
    const due =
      lateMs > 0 ? `was due ${duration(lateMs)} ago` : `due in ${duration(deadlineMs - nowMs)}`;
    return `${due}, set ${sinceText} ago`;
  }
  const since = sinceText === undefined ? '' : ` for ${sinceText}`;
  if (state !== 'waiting') return `${state}${since}`;
  return `waits${since} for ${waitOf(kc, waitsFor, holders)}`;
}

function waitOf(
  { _lock: lock, _wq: wq }: Kcont<unknown>,
  waitsFor: ListWait | null,
  holders: Holders,
): string {
  if (waitsFor === 'lock' && lock !== null) return holders.textOf(lock);
  if (waitsFor === 'maxActive') return `one of the ${wq.maxActive} places of its workqueue`;
  return waitsFor === 'run' ? 'its own run to settle' : 'a CPU that can run it';
}
