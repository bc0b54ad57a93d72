/*
 * Who holds a lock. A lock has no owner, and taking one costs nothing more for that: the holder is found from
 * what runs, because a run holds the lock of its continuation until it settles. Code that has entered a lock by itself
 * is known in debug mode only (see debug/owners.ts).
 */

import { check, kindOf, type Kind } from '../base/options-check.ts';
import type { Caller } from '../base/errors.ts';
import { Kcont } from '../core/kcont.ts';
import { prioritiesOf } from '../core/inheritance.ts';
import { label } from '../core/schedule.ts';
import type { BaseLock, Lock } from '../locks/lock.ts';
import { isLock } from '../locks/lock-check.ts';
import type { Waiter } from '../locks/turnstile.ts';
import { RUNNING } from '../core/state.ts';
import { allObservers, type KernelObserver } from './kernel-observer.ts';
import { blockersOf, holdingsOf, type Holding, type Owner } from './debug/owners.ts';
import { atSite, type Site } from './debug/sites.ts';
import { codeName, lockLabel } from './list-entry.ts';
import { numberOf } from './numbers.ts';
import { running, walkRunsInSteps } from './walk.ts';

/** The name of a holder that is not known. */
const UNKNOWN = 'an unknown holder';

/**
 * Who holds a lock.
 *
 * @public
 */
export interface LockHolder {
  /**
   * The name of the continuation. For code that has entered the lock by itself, `an unknown holder`; in debug mode, the
   * name of the continuation in whose function it is, or `code at` and the place where it entered the lock.
   */
  readonly name: string;
  /** The {@link ListEntry.id} of the continuation; null for code. */
  readonly id: number | null;
  /** The name of its workqueue; null for code. */
  readonly workqueue: string | null;
  /**
   * When its run began, or when the code entered the lock, in ms on the clock of `now()` of its kernel; null if it is
   * not known.
   */
  readonly sinceMs: number | null;
}

/**
 * Who waits for a lock.
 *
 * @public
 */
export interface LockWaiter {
  /** The name of the continuation; `(code)` for code that awaits the lock. */
  readonly name: string;
  /** The {@link ListEntry.id} of the continuation, or a number that tells the code apart. */
  readonly id: number;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /** The priority that it has inherited, at which it waits; null: none. */
  readonly inherited: number | null;
}

/**
 * What is known of a lock. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface LockState {
  /** Its name, or its class and a number. */
  readonly name: string;
  /** Whether it is held. */
  readonly held: boolean;
  /** Its holders: more than one only of the read side of a lock. Empty if it is not held. */
  readonly holders: readonly LockHolder[];
  /**
   * Who waits for it, or for the other side of the same lock, highest priority first. A continuation that has
   * been woken and not been entered yet is not among them: it is runnable.
   */
  readonly waiters: readonly LockWaiter[];
}

const A_LOCK: Kind = kindOf('a lock of kcont', isLock);

/**
 * Checks that an argument is a lock.
 *
 * @internal
 */
export function lockFrom(lock: Lock, caller: Caller): BaseLock {
  check('lock', A_LOCK, lock, caller);
  return lock as BaseLock;
}

/**
 * Tells who holds a lock and who waits for it, on this thread.
 *
 * @remarks
 * A holder that is a continuation is found in the kernels that are observed: see {@link list}.
 *
 * @param lock - a lock, or one side of a lock
 * @returns the state of the lock
 * @throws KcontError EINVAL for anything but a lock of kcont
 *
 * @public
 */
export function lockState(lock: Lock): LockState {
  const it = lockFrom(lock, lockState);
  const turnstile = it._turnstile;
  return {
    name: lockLabel(it),
    held: it.held,
    holders: holdersOf(it),
    waiters: turnstile === null ? [] : Array.from(turnstile, describeWaiter),
  };
}

/**
 * Describes one that waits for a lock.
 *
 * @internal
 */
export function describeWaiter(waiter: Waiter): LockWaiter {
  const name = waiter instanceof Kcont ? label(waiter as Kcont<unknown>) : codeName(waiter);
  return { name, id: numberOf(waiter), ...prioritiesOf(waiter) };
}

/**
 * The holders of a lock.
 *
 * @internal
 */
export function holdersOf(lock: BaseLock): LockHolder[] {
  if (!lock.held) return [];
  const runs: Run[] = [];
  for (const observer of allObservers()) {
    for (const kc of running(observer.dispatcher)) if (isOf(kc, lock)) runs.push({ observer, kc });
  }
  return describeHolders(holdingsOf(lock), runs);
}

/** A run in flight. */
interface Run {
  readonly observer: KernelObserver;
  readonly kc: Kcont<unknown>;
}

/**
 * Those because of whom a lock cannot be entered: its holders, and those of the other sides of it. If it can be entered,
 * its holders.
 *
 * @internal
 */
export function blockingOf(lock: BaseLock): LockHolder[] {
  if (lock._open) return holdersOf(lock);
  const runs: Run[] = [];
  for (const observer of allObservers()) {
    for (const kc of running(observer.dispatcher))
      if (kc._lock !== null && keyOf(kc._lock) === keyOf(lock)) runs.push({ observer, kc });
  }
  return describeHolders(blockersOf(lock), runs);
}

/** The same for the sides of one lock that has been waited for: they have one queue. */
function keyOf(lock: BaseLock): object {
  return lock._turnstile ?? lock._identity;
}

/** Whether the lock of a continuation is this one, or another of the same key. */
function isOf({ _lock: its }: Kcont<unknown>, lock: BaseLock): boolean {
  return its !== null && its._identity === lock._identity;
}

function describeHolders(holdings: readonly Holding[], runs: readonly Run[]): LockHolder[] {
  // The lock of a run is found with the beginning of the run.
  const holders = holdings
    .filter(({ site }) => site !== undefined)
    .map(({ owner, site, sinceMs }) => holderByCode(owner, site, sinceMs));
  for (const { observer, kc } of runs) {
    holders.push({
      name: label(kc),
      id: numberOf(kc),
      workqueue: kc._wq.name,
      sinceMs: observer.runningSince(kc),
    });
  }
  if (holders.length > 0) return holders;
  return [{ name: UNKNOWN, id: null, workqueue: null, sinceMs: null }];
}

/**
 * The holders of many locks: the runs in flight are gone through once, and not for each lock.
 *
 * @internal
 */
export class Holders {
  /** By the key of their locks. */
  readonly #runs = new Map<object, Run[]>();
  readonly #texts = new Map<BaseLock, string>();
  #isPartial = false;

  /**
   * Looks at the runs in flight, in steps between which they may change.
   *
   * @param most - after about so many it ends; locks of others then have an unknown holder
   */
  *collect(most: number = Infinity): Generator<void, void, undefined> {
    let left = most;
    for (const observer of allObservers()) {
      const steps = walkRunsInSteps(observer, (kc, { state }) => {
        if (state === 'running' && kc._lock !== null) this.#add(kc._lock, { observer, kc });
        left--;
      });
      for (const _ of steps) {
        this.#isPartial = left <= 0;
        if (this.#isPartial) return;
        yield;
      }
    }
  }

  /** Looks at all runs in flight, for reports that are made at once. */
  static now(): Holders {
    const holders = new Holders();
    for (const _ of holders.collect());
    return holders;
  }

  #add(lock: BaseLock, run: Run): void {
    const key = keyOf(lock);
    const runs = this.#runs.get(key);
    if (runs === undefined) this.#runs.set(key, [run]);
    else runs.push(run);
  }

  /** The same as {@link blockingOf}. */
  of(lock: BaseLock): LockHolder[] {
    const isOpen = lock._open;
    if (isOpen && !lock.held) return [];
    const runs = (this.#runs.get(keyOf(lock)) ?? []).filter(
      ({ kc }) => (kc._state & RUNNING) !== 0 && (isOf(kc, lock) || !isOpen),
    );
    // It may have got another holder meanwhile.
    if (runs.length === 0 && !this.#isPartial) return blockingOf(lock);
    return describeHolders(isOpen ? holdingsOf(lock) : blockersOf(lock), runs);
  }

  /** The same as {@link lockAndHolder}; for one lock always the same text. */
  textOf(lock: BaseLock): string {
    let text = this.#texts.get(lock);
    if (text === undefined) this.#texts.set(lock, (text = lockAnd(lock, this.of(lock))));
    return text;
  }
}

function holderByCode(owner: Owner | null, site: Site | undefined, sinceMs: number): LockHolder {
  const name = owner?.name || `code${atSite(site)}`;
  return { name, id: owner?.id ?? null, workqueue: owner?.workqueue ?? null, sinceMs };
}

/**
 * Describes a lock and its holders, for a sentence about one that waits for it.
 *
 * @internal
 */
export function lockAndHolder(lock: BaseLock): string {
  return lockAnd(lock, blockingOf(lock));
}

function lockAnd(lock: BaseLock, holders: readonly LockHolder[]): string {
  const names = holders.map(({ name }) => name);
  const by = names.length === 0 ? 'which is free' : `held by ${names.join(', ')}`;
  return `lock ${lockLabel(lock)}, ${by}`;
}
