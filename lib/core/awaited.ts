/*
 * What is known of runs in flight and of what they await: the nodes and edges that inheritance.ts follows.
 *
 *   AwaitingRun ---awaits---> Awaited: a run, a yield, a pipeline item, or a wait for a lock
 *       \-------holds-------> lock
 *
 * Only runs that await something are here; the others have nothing to pass a priority on to.
 */

import { List, unlink, type Links } from '../base/list.ts';
import { stamp, type Entry, type Mark } from '../base/ordered-list.ts';
import type { Kcont } from './kcont.ts';
import type { LockHolder, LockWait } from '../locks/inheriting.ts';
import type { Awaiter, BaseLock } from '../locks/lock.ts';
import { NONE, type Waiter } from '../locks/turnstile.ts';

/** Counts what has been awaited. */
let count = 0;

/**
 * Something that a run awaits: a continuation of the library's own, or its wait for a lock.
 *
 * @internal
 */
export class Awaited implements Links, LockWait {
  _next: Links = this;
  _prev: Links = this;
  /** Either this or `awaiter` is not null. */
  readonly kc: Kcont<unknown> | null;
  readonly awaiter: Awaiter | null;
  /** Who awaits it; null: its function is still on the stack, or has not become asynchronous. */
  by: AwaitingRun | null = null;
  /** The priority that it has inherited; NONE: none that is higher than its own. */
  level: number = NONE;
  /** The priority of code that waits for a lock, without what it has inherited. */
  readonly #own: number;
  /** The order in which they have begun to be awaited. */
  readonly id: number = count++;
  /** What keeps its place in the run queue while it has inherited a priority; null: it has no place there, or was set aside. */
  placeholder: Kcont<Awaited> | null = null;
  /** Its place among those that wait for the limit of a workqueue and have inherited the same priority; null: it does not. */
  limitPlace: LimitPlace | null = null;
  /** Its old place among all that were set aside, if it was given another one. */
  #seq = 0;
  #era = NONE;

  constructor(kc: Kcont<unknown> | null, awaiter: Awaiter | null) {
    this.kc = kc;
    this.awaiter = awaiter;
    this.#own = awaiter === null ? NONE : awaiter._priority;
  }

  /** Its priority, without what it has inherited. */
  get own(): number {
    return this.kc === null ? this.#own : this.kc._wq.priority;
  }

  get #entry(): Waiter {
    return (this.kc ?? this.awaiter) as Waiter;
  }

  /** Gives it a new place among all that were set aside, and remembers the first one. */
  stamp(): void {
    const entry = this.#entry;
    if (this.#era === NONE) this.remember(entry);
    stamp(entry);
  }

  /** Remembers its place among all that were set aside: that which it has, or would have if it had inherited nothing. */
  remember({ _seq: seq, _era: era }: Mark): void {
    this.#seq = seq;
    this.#era = era;
  }

  /** Forgets its old place: it has not been set aside, or no longer. */
  forget(): void {
    this.#era = NONE;
  }

  /** Leaves those that wait for the limit and have inherited the same priority. */
  leaveLimit(): void {
    if (this.limitPlace === null) return;
    unlink(this.limitPlace);
    this.limitPlace = null;
  }

  /** Gives it back its place in the order. */
  restore(): void {
    if (this.#era === NONE) return;
    const entry = this.#entry;
    entry._seq = this.#seq;
    entry._era = this.#era;
    this.#era = NONE;
  }
}

/**
 * The place of a continuation among those that wait for the limit of a workqueue and have inherited the same priority. It is
 * in the list of all that wait, too.
 *
 * @internal
 */
export class LimitPlace implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq: number;
  _era: number;
  readonly awaited: Awaited;
  readonly kc: Kcont<unknown>;

  constructor(awaited: Awaited, kc: Kcont<unknown>) {
    this.awaited = awaited;
    this.kc = kc;
    this._seq = kc._seq;
    this._era = kc._era;
  }
}

/**
 * A run in flight that awaits something: of a continuation, or of a function that `run` of a lock has called.
 *
 * @internal
 */
export class AwaitingRun implements LockHolder {
  readonly owner: RunOwner;
  /** The lock that was taken for it. */
  readonly lock: BaseLock | null;
  /** Its `_whole` at that time: the lock of a key has another one when the key has been out of use. */
  readonly whole: object | null;
  readonly awaits: List<Awaited> = new List<Awaited>();
  /** The highest priority of those who wait for what it holds, or for it; NONE: nobody does. */
  inherited: number = NONE;
  /** The last update that has reached it. */
  round = 0;
  /** Its index among the holders of the lock. */
  at = 0;

  constructor(owner: RunOwner, lock: BaseLock | null) {
    this.owner = owner;
    this.lock = lock;
    this.whole = lock === null ? null : lock._whole;
  }

  /** The lock that was taken for it, unless its function has replaced that since, or priorities are not inherited through it. */
  get held(): BaseLock | null {
    const { owner, lock } = this;
    if (this.whole === null) return null;
    return owner.kc === null || owner.kc._lock === lock ? lock : null;
  }
}

/**
 * On whose behalf code runs.
 *
 * @internal
 */
export interface RunOwner {
  /** The continuation whose run it is; null: it is code. */
  readonly kc: Kcont<unknown> | null;
}

/**
 * What is known of the owners of locks after an await.
 *
 * @internal
 */
export interface Ownership {
  /** On whose behalf the present code runs, also after an await; null: not known. */
  current(): RunOwner | null;
  /** Those that are known to hold a lock. */
  holders(lock: BaseLock): Iterable<RunOwner>;
  /** The locks that are known to be held by one. */
  locks(owner: RunOwner): Iterable<BaseLock>;
}

/**
 * Set by debug mode. Null: owners are not known.
 *
 * @internal
 */
export const ownership: { of: Ownership | null } = { of: null };

/**
 * The runs in flight that await something: by continuation; those of code by owner.
 *
 * @internal
 */
export const runs: WeakMap<object, AwaitingRun> = new WeakMap<object, AwaitingRun>();

/**
 * How many runs await something, or have been dropped with their kernel while they did.
 *
 * @internal
 */
export const awaiting: { count: number } = { count: 0 };

/** The same, and the calls of `run` of a lock, by the `_whole` of the lock that was taken for each. */
const holders = new WeakMap<object, AwaitingRun[]>();

/**
 * Adds a run that is about to await something.
 *
 * @internal
 */
export function add(owner: RunOwner, lock: BaseLock | null): AwaitingRun {
  awaiting.count++;
  const run = new AwaitingRun(owner, lock);
  const { whole } = run;
  if (whole === null) return run;
  const known = holders.get(whole);
  if (known === undefined) holders.set(whole, [run]);
  else run.at = known.push(run) - 1;
  return run;
}

/**
 * Removes a run.
 *
 * @internal
 */
export function remove(run: AwaitingRun): void {
  awaiting.count--;
  runs.delete(run.owner.kc ?? run.owner);
  const { whole } = run;
  if (whole === null) return;
  const known = holders.get(whole) as AwaitingRun[];
  const last = known.pop() as AwaitingRun;
  if (known.length === 0) holders.delete(whole);
  else if (last !== run) {
    known[run.at] = last;
    last.at = run.at;
  }
}

/** @internal */
export const NO_RUNS: readonly AwaitingRun[] = [];

function isHeld({ held }: AwaitingRun): boolean {
  return held !== null;
}

/**
 * Those who hold a lock and await something.
 *
 * @internal
 */
export function holdersOf(lock: BaseLock): readonly AwaitingRun[] {
  const whole = lock._whole;
  if (whole === null) return NO_RUNS;
  const known = holders.get(whole) ?? NO_RUNS;
  const found = known.every(isHeld) ? known : known.filter(isHeld);
  if (ownership.of === null) return found;
  const all = Array.from(found);
  for (const owner of ownership.of.holders(lock)) {
    const run = runs.get(owner.kc ?? owner);
    if (run !== undefined) all.push(run);
  }
  return all;
}
