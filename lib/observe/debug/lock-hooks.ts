/*
 * How debug mode learns what code does with locks, and which code waits for runs.
 *
 * A hook in the locks would cost each program a comparison for each time that a lock is taken. Instead, methods of
 * the classes are replaced when the first kernel is in debug mode, and a program without one runs the same code as
 * before. Continuations are not seen here: the observer of their kernel is told when they run (see debug-tap.ts).
 *
 *   enter, tryEnter --> _grant             the lock was free: the present owner has it
 *        \-----------> _wait --> _wake     an Awaiter is queued, and granted the lock later: its owner has it
 *                           \--> _leave    its signal was aborted
 *   exit                                   the lock is released
 *
 * Locks between CPUs have methods of their own for this, and are not followed.
 */

import { KcontError, traceFrom } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import { Awaiter, BaseLock } from '../../locks/lock.ts';
import { nameOf } from '../../locks/lock-names.ts';
import { Mutex } from '../../locks/mutex.ts';
import type { Waiter } from '../../locks/turnstile.ts';
import {
  Owner,
  currentOwner,
  drop,
  endWait,
  hold,
  holdingOf,
  ownerTitle,
  runAs,
  setOwnership,
  wait,
  wouldWaitForItself,
  type Holding,
  type Wait,
} from './owners.ts';
import { captureSite, type Site } from './sites.ts';

/**
 * Told what has been found.
 *
 * @internal
 */
export interface LockHooks {
  /** Whether a kernel is in debug mode. Once none is, nothing more is noted. */
  isOn(): boolean;
  /** Code waits, or an owner that waits for something has been granted a lock. */
  waits(owner: Owner | null): void;
  /** Code has released a lock that another holds. */
  exited(holding: Holding, by: Owner | null, site: Site): void;
}

/** The waits for locks, by Awaiter. */
const waits = new WeakMap<object, Wait>();
/** The waits for the runs of continuations. */
const halts = new Map<Kcont<unknown>, Wait[]>();
/** The Awaiter that is being granted the lock. */
let waking: Awaiter | null = null;
let areSet = false;

/**
 * What code waits for, if it awaits a lock.
 *
 * @internal
 */
export function waitOf(waiter: object): Wait | undefined {
  return waits.get(waiter);
}

/**
 * Replaces the methods, once.
 *
 * @internal
 */
export function setLockHooks(hooks: LockHooks): void {
  if (areSet) return;
  areSet = true;
  hookGrants(hooks);
  hookExit(hooks);
  hookRun(hooks);
  hookHalts(hooks);
  setOwnership();
}

function hookGrants(hooks: LockHooks): void {
  const { _grant: grant, _wait: queue, _leave: leave } = BaseLock.prototype;
  const { _wake: wake } = Awaiter.prototype;

  BaseLock.prototype._grant = function hookedGrant(this: BaseLock): void {
    grant.call(this);
    const it = waking === null ? undefined : waits.get(waking);
    if (it === undefined) {
      if (hooks.isOn()) hold(this, currentOwner(), captureSite(hookedGrant));
      return;
    }
    endWait(it);
    hold(this, it.by, it.site);
    if (it.by !== null && it.by.waits.size > 0) hooks.waits(it.by);
  };

  Awaiter.prototype._wake = function hookedWake(this: Awaiter): boolean {
    const outer = waking;
    waking = this;
    try {
      return wake.call(this);
    } finally {
      waking = outer;
    }
  };

  BaseLock.prototype._wait = function hookedWait(
    this: BaseLock,
    waiter: Waiter,
    since?: number,
  ): void {
    queue.call(this, waiter, since);
    if (!(waiter instanceof Awaiter) || !hooks.isOn()) return;
    const it = wait(this, null, captureSite(hookedWait));
    waits.set(waiter, it);
    hooks.waits(it.by);
    const { owner } = it;
    if (!wouldWaitForItself(this, owner)) return;
    this._leave(waiter);
    const what = `${ownerTitle(owner)} cannot enter lock ${nameOf(this) || this.constructor.name}: it holds it itself`;
    throw traceFrom(hookedWait, new KcontError('EDEADLK', what));
  };

  BaseLock.prototype._leave = function hookedLeave(this: BaseLock, waiter: Waiter): void {
    leave.call(this, waiter);
    const it = waits.get(waiter);
    if (it !== undefined) endWait(it);
  };
}

function hookExit(hooks: LockHooks): void {
  const { exit } = BaseLock.prototype;
  BaseLock.prototype.exit = function hookedExit(this: BaseLock): void {
    const by = currentOwner();
    const holding = holdingOf(this, by);
    // Before the next waiter is granted the lock, which then holds it.
    if (holding !== undefined) drop(holding);
    exit.call(this);
    if (holding === undefined || holding.by === by) return;
    hooks.exited(holding, by, captureSite(hookedExit));
  };
}

/** What `Mutex.run` runs has an owner, also outside of a run of a continuation. */
function hookRun(hooks: LockHooks): void {
  const { run } = Mutex.prototype;
  Mutex.prototype.run = function hookedRun<T>(
    this: Mutex,
    ...args: Parameters<typeof run<T>>
  ): Promise<T> {
    if (currentOwner() !== null || !hooks.isOn()) return run.apply(this, args) as Promise<T>;
    const owner = new Owner(null, captureSite(hookedRun));
    return runAs(owner, () => run.apply(this, args) as Promise<T>);
  };
}

function hookHalts(hooks: LockHooks): void {
  const { _beginHalt: begin, _endHalt: end } = Kcont.prototype;
  Kcont.prototype._beginHalt = function hookedHalt(this: Kcont<unknown>): Promise<void> {
    const settled = begin.call(this);
    if (!hooks.isOn()) return settled;
    const it = wait(null, this, captureSite(hookedHalt));
    const known = halts.get(this);
    if (known === undefined) halts.set(this, [it]);
    else known.push(it);
    hooks.waits(it.by);
    return settled;
  };
  Kcont.prototype._endHalt = function (this: Kcont<unknown>): void {
    end.call(this);
    const known = halts.get(this) ?? [];
    const by = currentOwner();
    const at = Math.max(
      known.findIndex((one) => one.by === by),
      0,
    );
    for (const it of known.splice(at, 1)) endWait(it);
    if (known.length === 0) halts.delete(this);
  };
}
