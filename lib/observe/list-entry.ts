import { functionName } from '../base/errors.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import { prioritiesOf } from '../core/inheritance.ts';
import type { Kcont } from '../core/kcont.ts';
import { label, lastDelay, taskOf } from '../core/schedule.ts';
import { EXPIRED, PENDING, REMOTE } from '../core/state.ts';
import type { BaseLock } from '../locks/lock.ts';
import { nameOf } from '../locks/lock-names.ts';
import type { Waiter } from '../locks/turnstile.ts';
import { FAR } from '../time/timing-wheel.ts';
import { creationOf } from './debug/creations.ts';
import { waitOf } from './debug/lock-hooks.ts';
import { siteText } from './debug/sites.ts';
import { numberOf } from './numbers.ts';
import type { KernelObserver } from './kernel-observer.ts';

/**
 * The state of an entry of {@link list}.
 *
 * - `'pending'`: its timer is running
 * - `'runnable'`: it will be entered as soon as its priority's turn comes
 * - `'waiting'`: it is due, and waits for something: see {@link ListEntry.waitsFor}
 * - `'running'`: its function has been entered and has not settled
 *
 * @public
 */
export type ListState = 'pending' | 'runnable' | 'waiting' | 'running';

/**
 * What an entry in the state `'waiting'` waits for.
 *
 * - `'lock'`: its lock
 * - `'maxActive'`: another function of its workqueue has to settle first
 * - `'run'`: its own run has to settle first
 * - `'cpu'`: a CPU that can run it
 *
 * @public
 */
export type ListWait = 'lock' | 'maxActive' | 'run' | 'cpu';

/**
 * One continuation, or one piece of code that awaits a lock, in a {@link list}. A plain object that
 * `JSON.stringify` can write.
 *
 * @public
 */
export interface ListEntry {
  /** Tells continuations apart, and stays the same for the lifetime of one; 1 or more. */
  readonly id: number;
  /** A continuation; or code that awaits `enter`, `hold` or `run` of a lock. */
  readonly kind: 'continuation' | 'code';
  /** Its name; `(anonymous)` if it has none, and `(code)` for code. */
  readonly name: string;
  /** The name of its function; empty if it has none. */
  readonly function: string;
  /** Its state. One that is running and scheduled again has an entry for each. */
  readonly state: ListState;
  /** What it waits for; null unless the state is `'waiting'`. */
  readonly waitsFor: ListWait | null;
  /** The name of its workqueue; null for code. */
  readonly workqueue: string | null;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /**
   * The priority that it has inherited, because the holder of a lock awaits it and a higher priority waits for that
   * lock; null: none.
   */
  readonly inherited: number | null;
  /**
   * When this state began, in ms on the clock of `kernel.now()`, to the millisecond. For `'pending'`, the last
   * `schedule` or `touch`; for `'runnable'` and `'waiting'`, when it became runnable, or began to wait for its
   * lock. Null if it is not known: see the remarks of {@link list}.
   */
  readonly sinceMs: number | null;
  /** When it is due, in ms on the clock of `kernel.now()`; null unless the state is `'pending'`. */
  readonly deadlineMs: number | null;
  /** For how many ms it has been due and not entered, 0 or more; 0 while running. */
  readonly lateMs: number;
  /** Its lock: the name, or the class and a number. Null: it has no lock. */
  readonly lock: string | null;
  /** The index of the CPU on which it is; null if none has been chosen. */
  readonly cpu: number | null;
  /** The number of its scope, which is the same for all of one scope; null: it has none. */
  readonly scope: number | null;
  /** Whether it keeps the process alive while it is scheduled. */
  readonly ref: boolean;
  /** Where it was created, or where the code waits: file, line and column. Null without debug mode. */
  readonly createdAt: string | null;
}

/**
 * What decides the state of an entry.
 *
 * @internal
 */
export interface Role {
  readonly state: ListState;
  readonly waitsFor: ListWait | null;
}

/** @internal */
export const PENDING_ROLE: Role = { state: 'pending', waitsFor: null };
/** @internal */
export const RUNNABLE: Role = { state: 'runnable', waitsFor: null };
/** @internal */
export const RUNNING_ROLE: Role = { state: 'running', waitsFor: null };
/** @internal */
export const WAITS_FOR_LOCK: Role = { state: 'waiting', waitsFor: 'lock' };
/** @internal */
export const WAITS_FOR_LIMIT: Role = { state: 'waiting', waitsFor: 'maxActive' };
/** @internal */
export const WAITS_FOR_RUN: Role = { state: 'waiting', waitsFor: 'run' };
/** @internal */
export const WAITS_FOR_CPU: Role = { state: 'waiting', waitsFor: 'cpu' };

/**
 * The name of a lock in reports: its own, or its class and a number.
 *
 * @internal
 */
export function lockLabel(lock: BaseLock): string {
  return nameOf(lock) || `${lock.constructor.name} #${numberOf(lock)}`;
}

/**
 * The name of the function of a continuation. That of a one-shot run is the name of the run.
 *
 * @internal
 */
export function functionOf(kc: Kcont<unknown>): string {
  return taskOf(kc) === undefined ? functionName(kc._func) : kc.name;
}

/**
 * Describes a continuation.
 *
 * @internal
 */
export function describe(
  observer: KernelObserver,
  kc: Kcont<unknown>,
  { state, waitsFor }: Role,
  nowMs: number,
): ListEntry {
  const pending = state === 'pending';
  const deadlineMs = pending ? kc.deadline : null;
  const sinceMs = sinceOf(observer, kc, state, nowMs);
  const due = pending ? kc.deadline : state === 'running' ? null : sinceMs;
  const scope = kc._details?.scope;
  const remote = kc._remote;
  return {
    id: numberOf(kc),
    kind: 'continuation',
    name: label(kc),
    function: functionOf(kc),
    state,
    waitsFor,
    workqueue: kc._wq.name,
    ...prioritiesOf(kc),
    sinceMs,
    deadlineMs,
    lateMs: due === null ? 0 : Math.max(0, nowMs - due),
    lock: kc._lock === null ? null : lockLabel(kc._lock),
    cpu: remote === null ? kc._wq.kernel._cpu.index : (remote.index ?? null),
    scope: scope === undefined ? null : numberOf(scope),
    ref: kc.hasRef(),
    createdAt: siteText(creationOf(kc)),
  };
}

/**
 * Describes code that awaits a lock.
 *
 * @internal
 */
export function describeCode(lock: BaseLock, waiter: Waiter, cpu: number): ListEntry {
  return {
    id: numberOf(waiter),
    kind: 'code',
    name: codeName(waiter),
    function: '',
    state: 'waiting',
    waitsFor: 'lock',
    workqueue: null,
    ...prioritiesOf(waiter),
    sinceMs: null,
    deadlineMs: null,
    lateMs: 0,
    lock: lockLabel(lock),
    cpu,
    scope: null,
    ref: false,
    createdAt: siteText(waitOf(waiter)?.site),
  };
}

/**
 * The name of code that awaits a lock: in debug mode, that of the continuation in whose function it is.
 *
 * @internal
 */
export function codeName(waiter: object): string {
  return `${waitOf(waiter)?.owner?.name ?? ''} (code)`.trimStart();
}

function sinceOf(
  observer: KernelObserver,
  kc: Kcont<unknown>,
  state: ListState,
  nowMs: number,
): number | null {
  if (state === 'running') return observer.runningSince(kc);
  if (state === 'pending') return Math.min(nowMs, Math.max(0, kc.deadline - lastDelay(kc)));
  const atMs = runnableSince(observer.dispatcher, kc);
  // A job that was scheduled before the kernel was observed has the tick of an earlier event.
  const isTimer = (kc._state & (EXPIRED | PENDING)) === EXPIRED;
  if (atMs === null || (!isTimer && atMs < observer.sinceMs)) return null;
  return Math.min(nowMs, atMs);
}

/** When a continuation in a list of this CPU became runnable; null: not in one, or not known. */
function runnableSince({ wheel, collector }: Dispatcher, kc: Kcont<unknown>): number | null {
  if ((kc._state & REMOTE) !== 0 || kc._due === FAR) return null;
  return collector.msOf(wheel.base + kc._due);
}
