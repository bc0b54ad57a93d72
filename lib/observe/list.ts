/*
 * Lists of what a kernel has in hand.
 *
 * `list` makes all entries at once. An entry takes 1 to 3 us, so a list of 100,000 would block the event loop
 * for a tenth of a second or more: `entries` walks over the timers and describes everything in slices, between
 * which the loop goes on.
 */

import type { Caller } from '../base/errors.ts';
import {
  NAME,
  PATIENCE,
  check,
  integerOf,
  kindOf,
  oneOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import type { Kcont } from '../core/kcont.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';
import type { BaseLock } from '../locks/lock.ts';
import type { Waiter } from '../locks/turnstile.ts';
import { observerOf, type KernelObserver } from './kernel-observer.ts';
import { PENDING_ROLE, describe, describeCode, type ListEntry, type Role } from './list-entry.ts';
import type { ListState, ListWait } from './list-entry.ts';
import { PendingWalk, Slices, stillHas, visitCode, walkActive, walkActiveInSteps } from './walk.ts';

/**
 * Which entries a {@link list} contains: those that match all of these.
 *
 * @public
 */
export interface ListFilter {
  /** Those in this state. */
  state?: ListState;
  /** Those that wait for this. */
  waitsFor?: ListWait;
  /** Those of the workqueue with this name. */
  workqueue?: string;
  /** Those with this name. */
  name?: string;
  /** Those that have been due for at least so many ms, 0 or more. */
  lateMs?: number;
  /** At most so many, 1 or more. Default Infinity. */
  limit?: number;
}

const FILTER = optionsOf<ListFilter>('list', {
  state: oneOf(
    "'pending', 'runnable', 'waiting' or 'running'",
    'pending',
    'runnable',
    'waiting',
    'running',
  ),
  waitsFor: oneOf("'lock', 'maxActive', 'run' or 'cpu'", 'lock', 'maxActive', 'run', 'cpu'),
  workqueue: NAME,
  name: NAME,
  lateMs: PATIENCE,
  limit: integerOf('an integer >= 1 or Infinity', 1, Infinity),
});

/** @internal */
export const KERNEL: Kind = kindOf('a Kernel', (value) => value instanceof Kernel);

/**
 * Checks that an argument is a kernel, and returns its observer.
 *
 * @internal
 */
export function observerFor(kernel: Kernel, caller: Caller): KernelObserver {
  check('kernel', KERNEL, kernel, caller);
  return observerOf(kernel);
}

/** An entry, and the lock that it is about. */
interface Described {
  readonly entry: ListEntry;
  readonly lock: BaseLock | null;
}

/** What is in hand, except the timers of this CPU, of which there can be the most. No object for each of them. */
interface Active {
  readonly kcs: readonly Kcont<unknown>[];
  readonly roles: readonly Role[];
  /** Code that awaits locks. */
  readonly code: readonly Waiter[];
}

/** Collects what is in hand. */
class ActiveList implements Active {
  readonly kcs: Kcont<unknown>[] = [];
  readonly roles: Role[] = [];
  readonly code: Waiter[] = [];
  readonly #filter: ListFilter;
  readonly wantsCode: boolean;

  constructor(kernel: Kernel, filter: ListFilter) {
    this.#filter = filter;
    this.wantsCode = kernel === processKernel && wantsCode(filter);
  }

  add(kc: Kcont<unknown>, role: Role): void {
    const { state, waitsFor, workqueue } = this.#filter;
    if (state !== undefined && state !== role.state) return;
    if (waitsFor !== undefined && waitsFor !== role.waitsFor) return;
    if (workqueue !== undefined && workqueue !== kc._wq.name) return;
    this.kcs.push(kc);
    this.roles.push(role);
  }

  addCode(waiter: Waiter): void {
    if (this.wantsCode) this.code.push(waiter);
  }

  get length(): number {
    return this.kcs.length + this.code.length;
  }
}

/** Whether code that awaits a lock can be in a list. */
function wantsCode({ state = 'waiting', waitsFor = 'lock', workqueue }: ListFilter): boolean {
  return state === 'waiting' && waitsFor === 'lock' && workqueue === undefined;
}

/** Whether timers can be in a list. */
function wantsTimers({ state = 'pending', waitsFor }: ListFilter): boolean {
  return state === 'pending' && waitsFor === undefined;
}

/** The entry of one that was found; undefined if it has changed its state since, or does not match. */
function entryAt(
  observer: KernelObserver,
  { kcs, roles, code }: Active,
  at: number,
  filter: ListFilter,
  nowMs: number,
): Described | undefined {
  const kc = kcs[at];
  if (kc !== undefined) return entryOf(observer, kc, roles[at] as Role, filter, nowMs);
  const waiter = code[at - kcs.length] as Waiter;
  // It has the lock, or does not want it any more.
  if (waiter._next === waiter) return undefined;
  const lock = waiter._lock as BaseLock;
  const entry = describeCode(lock, waiter, observer.dispatcher.kernel._cpu.index);
  return fits(entry, filter) ? { entry, lock } : undefined;
}

function entryOf(
  observer: KernelObserver,
  kc: Kcont<unknown>,
  role: Role,
  filter: ListFilter,
  nowMs: number,
): Described | undefined {
  if (filter.workqueue !== undefined && filter.workqueue !== kc._wq.name) return undefined;
  if (!stillHas(kc, role)) return undefined;
  const entry = describe(observer, kc, role, nowMs);
  return fits(entry, filter) ? { entry, lock: kc._lock } : undefined;
}

function fits(entry: ListEntry, { name, lateMs = 0 }: ListFilter): boolean {
  return (name === undefined || name === entry.name) && entry.lateMs >= lateMs;
}

/**
 * Lists everything that a kernel has in hand on this thread: what is pending, runnable, waiting or running.
 *
 * @remarks
 * Running functions come first, in the order in which they were entered; then what is runnable, by priority and
 * in the order in which it will be entered; then what waits; then timers, in the order of their deadlines. Code
 * that awaits a lock belongs to no kernel, and is in the list of the process-wide one.
 *
 * A kernel is observed from when `kcont/observe` was imported if it is the process-wide kernel or was created
 * later, and otherwise from the first call with it. What began before has no `sinceMs`.
 *
 * Of continuations on other CPUs, those are listed that this thread has created or knows.
 *
 * @param kernel - the kernel
 * @param filter - which entries; by default all
 * @returns the entries
 * @throws KcontError EINVAL for an invalid argument
 *
 * @example
 * ```ts
 * for (const entry of list(kernel, { state: 'running' })) console.log(entry.name, entry.sinceMs);
 * ```
 *
 * @public
 */
export function list(kernel: Kernel, filter?: ListFilter): ListEntry[] {
  const observer = observerFor(kernel, list);
  const options = readOptions(filter, FILTER, list);
  const { limit = Infinity } = options;
  const nowMs = kernel.now();
  const all: ListEntry[] = [];
  const add = (described: Described | undefined): void => {
    if (described !== undefined) all.push(described.entry);
  };
  const active = new ActiveList(kernel, options);
  walkActive(observer.dispatcher, (kc, role) => active.add(kc, role));
  if (active.wantsCode) visitCode((waiter) => active.addCode(waiter));
  for (let at = 0; at < active.length; at++) add(entryAt(observer, active, at, options, nowMs));
  const timers = wantsTimers(options) ? observer.dispatcher.wheel.all() : [];
  for (const kc of timers) add(entryOf(observer, kc, PENDING_ROLE, options, nowMs));
  all.sort(byDeadline);
  return all.length > limit ? all.slice(0, limit) : all;
}

/** Timers by deadline; all others stay where they are, before them. */
function byDeadline(a: ListEntry, b: ListEntry): number {
  return (a.deadlineMs ?? -Infinity) - (b.deadlineMs ?? -Infinity) || 0;
}

/**
 * Lists the same as {@link list}, in slices of about 2 ms, between which the event loop goes on.
 *
 * @remarks
 * What runs, is runnable or waits is what did so when the first entry was asked for; what has changed its state by the
 * time its entry is made is left out. Of the timers, each that is pending from the first entry to the last is listed
 * once, even if it is moved meanwhile; one that is scheduled or ends meanwhile at most once. They are in no particular
 * order.
 *
 * @param kernel - the kernel
 * @param filter - which entries; by default all
 * @returns an iterator of entries
 * @throws KcontError EINVAL for an invalid argument
 *
 * @public
 */
export function entries(
  kernel: Kernel,
  filter?: ListFilter,
): AsyncGenerator<ListEntry, void, undefined> {
  const observer = observerFor(kernel, entries);
  return slices(observer, readOptions(filter, FILTER, entries), (entry) => entry);
}

/**
 * What `pick` returns for each entry, in slices; the lock is that which the entry has or waits for.
 *
 * @internal
 */
export async function* slices<T>(
  observer: KernelObserver,
  options: ListFilter,
  pick: (entry: ListEntry, lock: BaseLock | null) => T,
): AsyncGenerator<T, void, undefined> {
  const { dispatcher } = observer;
  const { kernel } = dispatcher;
  let { limit = Infinity } = options;
  let nowMs = kernel.now();
  const slice = new Slices();
  const timers = wantsTimers(options) ? new PendingWalk(dispatcher) : undefined;
  try {
    const active = new ActiveList(kernel, options);
    const steps = walkActiveInSteps(
      observer,
      (kc, role) => active.add(kc, role),
      (waiter) => active.addCode(waiter),
    );
    for (const _ of steps) if (slice.isOver) await slice.next();
    for (let at = 0; ; at++) {
      if (slice.isOverSoon) {
        await slice.next();
        nowMs = kernel.now();
      }
      let described: Described | undefined;
      if (at < active.length) described = entryAt(observer, active, at, options, nowMs);
      else {
        const kc = timers?.next();
        if (kc === undefined) return;
        if (kc !== null) described = entryOf(observer, kc, PENDING_ROLE, options, nowMs);
      }
      if (described === undefined) continue;
      yield pick(described.entry, described.lock);
      if (--limit === 0) return;
    }
  } finally {
    timers?.end();
  }
}
