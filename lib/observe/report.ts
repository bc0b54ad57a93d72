import { integerOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Kcont } from '../core/kcont.ts';
import { kernel as processKernel, type Kernel } from '../core/kernel.ts';
import type { BaseLock } from '../locks/lock.ts';
import { workqueueCounters } from './counters.ts';
import { duration } from './duration.ts';
import { lockAndHolder } from './holder.ts';
import { inLine } from './in-line.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { describe, type ListEntry, type ListState } from './list-entry.ts';
import { observerFor } from './list.ts';
import { visitCode, walk } from './walk.ts';
import { stateOf, whyAlive } from './why-alive.ts';

/**
 * Optional settings of {@link report}.
 *
 * @public
 */
export interface ReportOptions {
  /** How many lines of each kind, 1 or more. Default 20. */
  limit?: number;
}

const LINES = integerOf('an integer >= 1 or Infinity', 1, Infinity);
const OPTIONS = optionsOf<ReportOptions>('report', { limit: LINES });

/** Lines of each kind, by default. */
const LIMIT = 20;

/** The states in the order of a report. */
const STATES: readonly ListState[] = ['running', 'runnable', 'waiting', 'pending'];

/**
 * Describes in words what a kernel has in hand on this thread, and what keeps the process alive.
 *
 * @param kernel - the kernel
 * @param options - optional settings: the number of lines
 * @returns lines of text, which end with a newline
 * @throws KcontError EINVAL for an invalid argument
 *
 * @public
 */
export function report(kernel: Kernel, options?: ReportOptions): string {
  const { limit = LIMIT } = readOptions(options, OPTIONS, report);
  const observer = observerFor(kernel, report);
  const nowMs = kernel.now();
  const found: { readonly kc: Kcont<unknown>; readonly entry: ListEntry }[] = [];
  walk(observer.dispatcher, (kc, role) => {
    found.push({ kc, entry: describe(observer, kc, role, nowMs) });
  });
  found.sort((a, b) => (a.entry.deadlineMs ?? 0) - (b.entry.deadlineMs ?? 0));
  const lines: string[] = [];
  for (const state of STATES) {
    const some = found
      .filter(({ entry }) => entry.state === state)
      .map(({ kc, entry }) => `${entry.name} on ${entry.workqueue}: ${stateOf(kc, entry, nowMs)}`);
    section(lines, state, some, limit);
  }
  if (kernel === processKernel) section(lines, 'awaiting code', awaitingCode(), limit);
  section(lines, 'workqueues that have entered functions', queuesOf(observer), limit);
  section(lines, 'keeps the process alive', whyAlive(kernel), limit);
  return `${lines.join('\n')}\n`;
}

function queuesOf(observer: KernelObserver): string[] {
  return workqueueCounters(observer)
    .filter(({ entered }) => entered > 0)
    .map(({ name, entered, queued, running, failed, longestWaitMs }) => {
      const now = `${queued} queued, ${running} running, ${entered} entered, ${failed} failed`;
      return `${name}: ${now}, longest wait ${duration(longestWaitMs)}`;
    });
}

/** Code that awaits a lock belongs to no kernel, and is reported with the process-wide one. */
function awaitingCode(): string[] {
  const lines: string[] = [];
  visitCode(({ _lock: lock }) => lines.push(`code waits for ${lockAndHolder(lock as BaseLock)}`));
  return lines;
}

function section(lines: string[], title: string, all: readonly string[], limit: number): void {
  lines.push(`${title}: ${all.length}`);
  for (const line of all.slice(0, limit)) lines.push(`  ${inLine(line)}`);
  if (all.length > limit) lines.push(`  and ${all.length - limit} more`);
}
