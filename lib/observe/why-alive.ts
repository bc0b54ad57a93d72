import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { SCHEDULED, UNREF } from '../core/state.ts';
import { duration } from './duration.ts';
import { lockAndHolder } from './holder.ts';
import { inLine } from './in-line.ts';
import { describe, type ListEntry, type ListWait, type Role } from './list-entry.ts';
import { observerFor } from './list.ts';
import { walk } from './walk.ts';

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
  const nowMs = kernel.now();
  const kept: { readonly entry: ListEntry; readonly line: string }[] = [];
  walk(observer.dispatcher, (kc, role) => {
    if (!keepsAlive(kc, role)) return;
    const entry = describe(observer, kc, role, nowMs);
    kept.push({ entry, line: inLine(lineOf(kc, entry, nowMs)) });
  });
  kept.sort((a, b) => (a.entry.deadlineMs ?? 0) - (b.entry.deadlineMs ?? 0));
  return kept.map(({ line }) => line);
}

function keepsAlive(kc: Kcont<unknown>, { state }: Role): boolean {
  const bits = kc._bits;
  if ((bits & UNREF) !== 0) return false;
  // Other CPUs' functions are counted until they settle.
  return state === 'running' ? kc._remote !== null : (bits & SCHEDULED) !== 0;
}

function lineOf(kc: Kcont<unknown>, entry: ListEntry, nowMs: number): string {
  const { name, workqueue, state, cpu } = entry;
  const what = state === 'pending' ? 'timer' : state === 'running' ? 'run' : 'job';
  const where = cpu === null || cpu === kc._wq.kernel._cpu.index ? '' : ` of CPU ${cpu}`;
  const made = entry.createdAt === null ? '' : `, created at ${entry.createdAt}`;
  return `${what} ${name} on ${workqueue}${where}: ${stateOf(kc, entry, nowMs)}${made}`;
}

/**
 * Describes the state of an entry, for a sentence about its continuation.
 *
 * @internal
 */
export function stateOf(kc: Kcont<unknown>, entry: ListEntry, nowMs: number): string {
  const { state, waitsFor, deadlineMs, sinceMs, lateMs } = entry;
  const sinceText = sinceMs === null ? undefined : duration(nowMs - sinceMs);
  if (deadlineMs !== null) {
    const due =
      lateMs > 0 ? `was due ${duration(lateMs)} ago` : `due in ${duration(deadlineMs - nowMs)}`;
    return `${due}, set ${sinceText} ago`;
  }
  const since = sinceText === undefined ? '' : ` for ${sinceText}`;
  if (state !== 'waiting') return `${state}${since}`;
  return `waits${since} for ${waitOf(kc, waitsFor)}`;
}

function waitOf({ _lock: lock, _wq: wq }: Kcont<unknown>, waitsFor: ListWait | null): string {
  if (waitsFor === 'lock' && lock !== null) return lockAndHolder(lock);
  if (waitsFor === 'maxActive') return `one of the ${wq.maxActive} places of its workqueue`;
  return waitsFor === 'run' ? 'its own run to settle' : 'a CPU that can run it';
}
