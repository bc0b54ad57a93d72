/*
 * Reports in words. Everything is counted, and only what is shown is described: a report of 100,000 continuations
 * takes some tens of ms, most of which is access to memory.
 */

import { integerOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Kcont } from '../core/kcont.ts';
import { kernel as processKernel, type Kernel } from '../core/kernel.ts';
import type { BaseLock } from '../locks/lock.ts';
import type { Waiter } from '../locks/turnstile.ts';
import { workqueueCounters } from './counters.ts';
import { duration } from './duration.ts';
import { Earliest } from './earliest.ts';
import { Holders } from './holder.ts';
import { inLine } from './in-line.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { PENDING_ROLE, describe, type ListState, type Role } from './list-entry.ts';
import { observerFor } from './list.ts';
import { PendingWalk, Slices, stillHas, visitCode, walk, walkActiveInSteps } from './walk.ts';
import { keepsAlive, linesOf, stateOf } from './why-alive.ts';

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
  const made = new Report(observer, limit);
  walk(observer.dispatcher, (kc, role) => made.add(kc, role));
  if (kernel === processKernel) visitCode((waiter) => made.addCode(waiter));
  return made.text(Holders.now());
}

/**
 * The same, made in slices of about 2 ms, between which the event loop goes on.
 *
 * @internal
 */
export async function reportInSlices(observer: KernelObserver): Promise<string> {
  const { dispatcher } = observer;
  const made = new Report(observer, LIMIT);
  const slice = new Slices();
  const timers = new PendingWalk(dispatcher);
  const steps = walkActiveInSteps(
    observer,
    (kc, role) => made.add(kc, role),
    (waiter) => {
      if (dispatcher.kernel === processKernel) made.addCode(waiter);
    },
  );
  for (const _ of steps) if (slice.isOver) await slice.next();
  for (let kc = timers.next(); kc !== undefined; kc = timers.next()) {
    if (kc !== null) made.add(kc, PENDING_ROLE);
    if (slice.isOverSoon) await slice.next();
  }
  const holders = new Holders();
  for (const _ of holders.collect()) if (slice.isOver) await slice.next();
  return made.text(holders);
}

/** What a report has of each kind: how many there are, and the first of them. No text is made of the others. */
class Report {
  readonly #observer: KernelObserver;
  readonly #limit: number;
  readonly #states: ReadonlyMap<ListState, Earliest>;
  readonly #alive: Earliest;
  /** The first of those pieces of code that await a lock. */
  readonly #code: Waiter[] = [];
  #codeCount = 0;

  constructor(observer: KernelObserver, limit: number) {
    this.#observer = observer;
    this.#limit = limit;
    this.#states = new Map(STATES.map((state) => [state, new Earliest(limit)]));
    this.#alive = new Earliest(limit);
  }

  add(kc: Kcont<unknown>, role: Role): void {
    this.#states.get(role.state)?.add(kc, role);
    if (keepsAlive(kc, role)) this.#alive.add(kc, role);
  }

  addCode(waiter: Waiter): void {
    if (this.#codeCount++ < this.#limit) this.#code.push(waiter);
  }

  text(holders: Holders): string {
    const { dispatcher } = this.#observer;
    const { kernel } = dispatcher;
    const nowMs = kernel.now();
    const lines: string[] = [];
    for (const [state, found] of this.#states) {
      const still = found.take().filter(({ kc, role }) => stillHas(kc, role));
      const some = still.map(({ kc, role }) => {
        const entry = describe(this.#observer, kc, role, nowMs);
        return `${entry.name} on ${entry.workqueue}: ${stateOf(kc, entry, nowMs, holders)}`;
      });
      section(lines, state, some, found.count);
    }
    if (kernel === processKernel) {
      const code = this.#code.map(({ _lock: lock }) => holders.textOf(lock as BaseLock));
      const waits = code.map((text) => `code waits for ${text}`);
      section(lines, 'awaiting code', waits, this.#codeCount);
    }
    const queues = queuesOf(this.#observer);
    const shown = queues.slice(0, this.#limit);
    section(lines, 'workqueues that have entered functions', shown, queues.length);
    const alive = linesOf(this.#observer, this.#alive, holders);
    section(lines, 'keeps the process alive', alive, this.#alive.count);
    return `${lines.join('\n')}\n`;
  }
}

function queuesOf(observer: KernelObserver): string[] {
  return workqueueCounters(observer)
    .filter(({ entered }) => entered > 0)
    .map(({ name, shares, entered, queued, running, failed, longestWaitMs }) => {
      const turns = shares === null ? '' : `, ${shares} ${shares === 1 ? 'share' : 'shares'}`;
      const now = `${queued} queued, ${running} running, ${entered} entered, ${failed} failed`;
      return `${name}${turns}: ${now}, longest wait ${duration(longestWaitMs)}`;
    });
}

function section(lines: string[], title: string, some: readonly string[], count: number): void {
  lines.push(`${title}: ${count}`);
  for (const line of some) lines.push(`  ${inLine(line)}`);
  if (count > some.length) lines.push(`  and ${count - some.length} more`);
}
