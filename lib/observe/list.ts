/*
 * Lists of what a kernel has in hand.
 *
 * `list` makes all entries at once. An entry takes 1 to 3 us, so a list of 100,000 would block the event loop
 * for a tenth of a second or more: `entries` finds all continuations at once, and then describes them in slices,
 * between which the loop goes on.
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
import { commonMs, nextTurn } from '../time/host-clock.ts';
import { observerOf, type KernelObserver } from './kernel-observer.ts';
import { PENDING_ROLE, describe, describeCode, type ListEntry, type Role } from './list-entry.ts';
import type { ListState, ListWait } from './list-entry.ts';
import { stillHas, visitCode, walkActive } from './walk.ts';

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

/** What was found: the timers of this CPU, of which there can be many, are not looked at yet. */
interface Found {
  readonly active: { readonly kc: Kcont<unknown>; readonly role: Role }[];
  readonly code: Described[];
  readonly timers: readonly Kcont<unknown>[];
}

function find({ dispatcher }: KernelObserver, filter: ListFilter): Found {
  const { state, waitsFor, workqueue } = filter;
  const found: Found = {
    active: [],
    code: [],
    timers:
      (state ?? 'pending') === 'pending' && waitsFor === undefined ? dispatcher.wheel.all() : [],
  };
  walkActive(dispatcher, (kc, role) => {
    if (state !== undefined && state !== role.state) return;
    if (waitsFor !== undefined && waitsFor !== role.waitsFor) return;
    if (workqueue === undefined || workqueue === kc._wq.name) found.active.push({ kc, role });
  });
  const { index } = dispatcher.kernel._cpu;
  if (dispatcher.kernel === processKernel && wantsCode(filter)) {
    visitCode((waiter) => {
      const lock = waiter._lock as BaseLock;
      found.code.push({ entry: describeCode(lock, waiter, index), lock });
    });
  }
  return found;
}

/** Whether code that awaits a lock can be in a list. */
function wantsCode({ state = 'waiting', waitsFor = 'lock', workqueue }: ListFilter): boolean {
  return state === 'waiting' && waitsFor === 'lock' && workqueue === undefined;
}

function sizeOf({ active, code, timers }: Found): number {
  return active.length + code.length + timers.length;
}

/** The entry of one that was found; undefined if it has changed its state since, or does not match. */
function entryAt(
  observer: KernelObserver,
  { active, code, timers }: Found,
  at: number,
  filter: ListFilter,
  nowMs: number,
): Described | undefined {
  const one = active[at];
  let kc = one?.kc;
  const { role = PENDING_ROLE } = one ?? {};
  if (kc === undefined) {
    const described = code[at - active.length];
    if (described !== undefined) return fits(described.entry, filter) ? described : undefined;
    kc = timers[at - active.length - code.length] as Kcont<unknown>;
    const { workqueue } = filter;
    if (workqueue !== undefined && workqueue !== kc._wq.name) return undefined;
  }
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
  const found = find(observer, options);
  for (let at = 0; at < sizeOf(found); at++) {
    const described = entryAt(observer, found, at, options, nowMs);
    if (described !== undefined) all.push(described.entry);
  }
  all.sort(byDeadline);
  return all.length > limit ? all.slice(0, limit) : all;
}

/** Timers by deadline; all others stay where they are, before them. */
function byDeadline(a: ListEntry, b: ListEntry): number {
  return (a.deadlineMs ?? -Infinity) - (b.deadlineMs ?? -Infinity) || 0;
}

/** How long a slice may take before the event loop goes on, in ms. */
const SLICE_MS = 2;
/** After how many entries the clock is read. */
const LOOK = 64;

/**
 * Lists the same as {@link list}, in slices of about 2 ms, between which the event loop goes on.
 *
 * @remarks
 * What is found is what the kernel had in hand when the first entry was asked for; what has changed its state by
 * the time its entry is made is left out. Timers are in no particular order.
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
  const { kernel } = observer.dispatcher;
  let { limit = Infinity } = options;
  let nowMs = kernel.now();
  let untilMs = commonMs() + SLICE_MS;
  const found = find(observer, options);
  for (let at = 0; at < sizeOf(found); at++) {
    if (at % LOOK === 0 && commonMs() >= untilMs) {
      await nextTurn();
      untilMs = commonMs() + SLICE_MS;
      nowMs = kernel.now();
    }
    const described = entryAt(observer, found, at, options, nowMs);
    if (described === undefined) continue;
    yield pick(described.entry, described.lock);
    if (--limit === 0) return;
  }
}
