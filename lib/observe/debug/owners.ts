/*
 * Who holds what, and who waits for what.
 *
 *   owner --- holds ---> lock              an owner: one run of a continuation, or one call of Mutex.run
 *     \------ waits ---> lock, or the end of a run
 *
 * A lock knows nothing of its owner. In debug mode, each run of a continuation has an Owner, which is the store of
 * an AsyncLocalStorage while the function is on the stack: so it is known after an await too, and in all that the
 * function starts. Code outside of a run and of `Mutex.run` has no owner: only the place of its call is known.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { ownership, type RunOwner } from '../../core/awaited.ts';
import { holdsChanged } from '../../core/inheritance.ts';
import type { Dispatcher } from '../../core/dispatcher.ts';
import type { Kcont } from '../../core/kcont.ts';
import { label } from '../../core/schedule.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { Mutex } from '../../locks/mutex.ts';
import { Semaphore } from '../../locks/semaphore.ts';
import { SpinLock } from '../../locks/spin-lock.ts';
import { hostClock } from '../../time/host-clock.ts';
import { numberOf } from '../numbers.ts';
import { isDirect, siteText, type Site } from './sites.ts';

/**
 * One run of a continuation, or one call of `Mutex.run` by code outside of a run.
 *
 * @internal
 */
export class Owner {
  /** The kernel of the run; null: of none. */
  readonly dispatcher: Dispatcher | null;
  /** The continuation, as long as it runs. */
  kc: Kcont<unknown> | null;
  /** The call of `Mutex.run`. */
  readonly site: Site | undefined;
  readonly held: Set<Holding> = new Set<Holding>();
  readonly waits: Set<Wait> = new Set<Wait>();
  #name = '';
  #workqueue: string | null = null;
  #id = 0;

  constructor(kc: Kcont<unknown> | null, site?: Site) {
    this.kc = kc;
    this.site = site;
    this.dispatcher = kc === null ? null : kc._wq._dispatcher;
  }

  /** Its run has settled. What it has started may go on, but keeps nothing of the continuation alive. */
  settled(): void {
    const { kc } = this;
    if (kc === null) return;
    this.#name = label(kc);
    this.#workqueue = kc._wq.name;
    this.#id = numberOf(kc);
    this.kc = null;
  }

  /** The name of the continuation; empty: it is code. */
  get name(): string {
    return this.kc === null ? this.#name : label(this.kc);
  }

  get workqueue(): string | null {
    return this.kc === null ? this.#workqueue : this.kc._wq.name;
  }

  get id(): number {
    if (this.kc !== null) return numberOf(this.kc);
    return this.#id === 0 ? numberOf(this) : this.#id;
  }
}

/**
 * A lock that is held.
 *
 * @internal
 */
export class Holding {
  readonly lock: BaseLock;
  /** On whose behalf it was entered; null: code without an owner. */
  readonly by: Owner | null;
  /** The call that has entered it; undefined: it was taken for the run, as the lock of the continuation. */
  readonly site: Site | undefined;
  readonly sinceMs: number;

  constructor(lock: BaseLock, by: Owner | null, site: Site | undefined) {
    this.lock = lock;
    this.by = by;
    this.site = site;
    this.sinceMs = nowOf(by);
    by?.held.add(this);
  }

  /**
   * Who has to release it; null: code without an owner. A drop-in API may enter a lock for one function, on behalf
   * of another.
   */
  get owner(): Owner | null {
    return this.site === undefined || isDirect(this.site) ? this.by : null;
  }
}

/**
 * Code that waits for a lock, or for the end of a run of a continuation.
 *
 * @internal
 */
export class Wait {
  readonly lock: BaseLock | null;
  readonly kc: Kcont<unknown> | null;
  /** On whose behalf it waits. */
  readonly by: Owner | null;
  readonly site: Site;
  readonly sinceMs: number;

  constructor(lock: BaseLock | null, kc: Kcont<unknown> | null, site: Site) {
    this.lock = lock;
    this.kc = kc;
    this.by = currentOwner();
    this.site = site;
    this.sinceMs = nowOf(this.by);
    this.by?.waits.add(this);
  }

  /** Who waits, and does not go on meanwhile; null: code without an owner. */
  get owner(): Owner | null {
    return this.by !== null && isDirect(this.site) ? this.by : null;
  }
}

/**
 * The name of an owner, with the workqueue.
 *
 * @internal
 */
export function ownerTitle(owner: Owner | null, site?: Site): string {
  const name = owner?.name ?? '';
  if (name !== '') return `${name} on ${owner?.workqueue ?? ''}`;
  const text = siteText(site ?? owner?.site);
  return text === null ? 'code' : `code at ${text}`;
}

const storage = new AsyncLocalStorage<Owner | undefined>();

/**
 * The owner on whose behalf the present code runs; null: not known.
 *
 * @internal
 */
export function currentOwner(): Owner | null {
  return storage.getStore() ?? null;
}

/**
 * Makes the code that follows in this async context run on behalf of an owner. Returns who it was before.
 *
 * @internal
 */
export function becomeOwner(owner: Owner | null): Owner | null {
  const before = currentOwner();
  storage.enterWith(owner ?? undefined);
  return before;
}

/**
 * Calls a function on behalf of an owner.
 *
 * @internal
 */
export function runAs<T>(owner: Owner, func: () => T): T {
  return storage.run(owner, func);
}

/** The runs in flight of kernels in debug mode. */
const runs = new WeakMap<Kcont<unknown>, Owner>();
const holdings = new Map<BaseLock, Holding[]>();
/** The locks in `holdings` that share their waiters with another side. */
const sides = new Set<BaseLock>();
/** The waits of code. */
const waiting = new Set<Wait>();

/**
 * Notes a run that begins, with the lock that was taken for it.
 *
 * @internal
 */
export function beginRun(kc: Kcont<unknown>): Owner {
  const owner = new Owner(kc);
  runs.set(kc, owner);
  if (kc._lock !== null) hold(kc._lock, owner, undefined);
  return owner;
}

/**
 * Notes a run that has settled, and its lock, which the library releases then.
 *
 * @internal
 */
export function endRun(kc: Kcont<unknown>): void {
  const owner = runs.get(kc);
  if (owner === undefined) return;
  runs.delete(kc);
  // The function may have exited its lock and entered it again.
  if (kc._lock !== null) dropFor(kc._lock, owner);
  owner.settled();
}

/**
 * The owner of the run in flight of a continuation.
 *
 * @internal
 */
export function ownerOf(kc: Kcont<unknown>): Owner | undefined {
  return runs.get(kc);
}

/** The time for an owner, in ms as of `now()` of its kernel. */
function nowOf(owner: Owner | null): number {
  return owner?.dispatcher?.clock.now ?? hostClock.now;
}

/**
 * Notes that a lock is held.
 *
 * @internal
 */
export function hold(it: BaseLock, by: Owner | null, site: Site | undefined): void {
  const lock = it._identity;
  const holding = new Holding(lock, by, site);
  const known = holdings.get(lock);
  if (known === undefined) {
    holdings.set(lock, [holding]);
    if (hasSides(lock)) sides.add(lock);
  } else known.push(holding);
  if (by !== null) holdsChanged(by);
}

/**
 * Notes that a lock is not held any more.
 *
 * @internal
 */
export function drop(holding: Holding): void {
  const { lock, by } = holding;
  by?.held.delete(holding);
  const known = holdings.get(lock);
  const at = known?.indexOf(holding) ?? -1;
  if (known === undefined || at === -1) return;
  known.splice(at, 1);
  if (known.length === 0) {
    holdings.delete(lock);
    sides.delete(lock);
  }
  if (by !== null) holdsChanged(by);
}

/**
 * Notes that a lock has been released by an owner, or by code without one.
 *
 * @internal
 */
export function dropFor(lock: BaseLock, owner: Owner | null): void {
  const holding = holdingOf(lock, owner);
  if (holding !== undefined) drop(holding);
}

/**
 * What is released if an owner, or code without one, releases a lock. Of several readers, it cannot be told which
 * of those without an owner it is.
 *
 * @internal
 */
export function holdingOf(lock: BaseLock, owner: Owner | null): Holding | undefined {
  const known = holdingsOf(lock);
  return known.find((one) => one.by === owner) ?? known.find((one) => one.by === null) ?? known[0];
}

/**
 * Those that are known to hold a lock.
 *
 * @internal
 */
export function holdingsOf(lock: BaseLock): readonly Holding[] {
  return holdings.get(lock._identity) ?? [];
}

/**
 * Those that have to release a lock before a waiter can go on: of a lock with two sides, the holders of both. A
 * reader that waits though only readers hold the lock is behind a writer, which waits for all of them.
 *
 * @internal
 */
export function blockersOf(lock: BaseLock): readonly Holding[] {
  if (!hasSides(lock)) return holdingsOf(lock);
  const turnstile = lock._turnstile;
  const found: Holding[] = [...holdingsOf(lock)];
  for (const side of sides) {
    if (side !== lock && turnstile !== null && side._turnstile === turnstile) {
      for (const holding of holdingsOf(side)) found.push(holding);
    }
  }
  return found;
}

/**
 * Whether an owner that is about to wait for a lock would wait for itself. The units of a semaphore may be given back by
 * others.
 *
 * @internal
 */
export function wouldWaitForItself(lock: BaseLock, owner: Owner | null): owner is Owner {
  if (owner === null || lock._whole instanceof Semaphore) return false;
  return blockersOf(lock).some((one) => one.owner === owner);
}

/**
 * Tells the core on whose behalf code runs and who holds locks, so that priorities are inherited after an await, too, and a
 * run that halts itself is refused.
 *
 * @internal
 */
export function setOwnership(): void {
  ownership.of = {
    current: currentOwner,
    holders: (lock) => blockersOf(lock).flatMap(({ owner }) => owner ?? []),
    locks: locksOf,
  };
}

function locksOf(owner: RunOwner): BaseLock[] {
  const it = owner.kc === null ? owner : ownerOf(owner.kc);
  if (!(it instanceof Owner)) return [];
  return Array.from(it.held).flatMap((one) => (one.owner === it ? one.lock : []));
}

function hasSides(lock: BaseLock): boolean {
  return !(lock instanceof Mutex || lock instanceof SpinLock);
}

/**
 * Notes that code waits: for a lock, or for the run of a continuation to settle.
 *
 * @internal
 */
export function wait(lock: BaseLock | null, kc: Kcont<unknown> | null, site: Site): Wait {
  const it = new Wait(lock, kc, site);
  waiting.add(it);
  return it;
}

/**
 * Notes that a wait is over.
 *
 * @internal
 */
export function endWait(it: Wait): void {
  it.by?.waits.delete(it);
  waiting.delete(it);
}

/**
 * All waits of code.
 *
 * @internal
 */
export function waitsOfCode(): Iterable<Wait> {
  return waiting;
}
