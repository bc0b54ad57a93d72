/*
 * How it becomes known who awaits what (see inheritance.ts).
 *
 *   function on the stack --calls run, yield, enter ...--> begun --it has returned a promise--> its AwaitingRun
 *   `run` of a lock ----> its function is on the stack -----------------------------------^
 *   debug mode ---------> after an await, too --------------------------------------------^
 */

import { List, moveAll, unlink } from '../base/list.ts';
import {
  add,
  Awaited,
  ownership,
  remove,
  runs,
  type AwaitingRun,
  type RunOwner,
} from './awaited.ts';
import { inPass } from './in-pass.ts';
import {
  awaitsMore,
  changed,
  changedRun,
  dropPlaceholder,
  place,
  reachedBy,
  setLevel,
  update,
  wakeTouched,
} from './inheritance.ts';
import type { Kcont } from './kcont.ts';
import { RUNNING } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { inheriting } from '../locks/inheriting.ts';
import type { Awaiter, BaseLock } from '../locks/lock.ts';
import { NONE } from '../locks/turnstile.ts';

/**
 * What the function on the stack has begun to await. It may also be that of an earlier function, which was not
 * asynchronous: `begunBy` and `begunEntry` tell.
 *
 * @internal
 */
export const begun: List<Awaited> = new List<Awaited>();

let begunBy: Kcont<unknown> | null = null;

/** How many functions of its workqueue had settled when it was entered: tells its runs apart. */
let begunEntry = 0;

function settledOf(wq: Workqueue): number {
  return wq._done - wq._withdrawn;
}

/**
 * Notes that a continuation, which is scheduled, is awaited by the run that calls this.
 *
 * @returns what `endAwait` needs; null: the caller is not known
 *
 * @internal
 */
export function beginAwait(kc: Kcont<unknown>): Awaited | null {
  const current = inPass.dispatcher?.current;
  if (current === undefined && inheriting.lock === null && ownership.of === null) return null;
  return note(current, kc, null);
}

inheriting.begin = (awaiter) => void note(inPass.dispatcher?.current, null, awaiter);

inheriting.end = (wait) => endAwait(wait as Awaited);

inheriting.settled = (holder) => ends(holder as AwaitingRun);

function note(
  current: Kcont<unknown> | undefined,
  kc: Kcont<unknown> | null,
  awaiter: Awaiter | null,
): Awaited | null {
  if (current !== undefined && (current._state & RUNNING) !== 0) {
    if (current._wq.fast) return null;
    const entry = settledOf(current._wq);
    if (begunBy !== current || begunEntry !== entry) {
      while (begun.shift() !== undefined);
      begunBy = current;
      begunEntry = entry;
    }
    const awaited = make(kc, awaiter);
    begun.push(awaited);
    return awaited;
  }
  const run = callRun() ?? ownedRun();
  if (run === null) return null;
  const awaited = make(kc, awaiter);
  awaited.by = run;
  run.awaits.push(awaited);
  awaitsMore(run, awaited);
  return awaited;
}

function make(kc: Kcont<unknown> | null, awaiter: Awaiter | null): Awaited {
  const awaited = new Awaited(kc, awaiter);
  // Before anything is moved: a reader that inherits a priority may be granted its lock at once.
  if (awaiter !== null) awaiter._awaited = awaited;
  return awaited;
}

/** The run of the function on the stack that `run` of a lock has called, if any. */
function callRun(): AwaitingRun | null {
  const { lock } = inheriting;
  if (lock === null) return null;
  return ((inheriting.holder as AwaitingRun | null) ??= begin({ kc: null }, lock));
}

/** The run on whose behalf the present code runs, if that is known. */
function ownedRun(): AwaitingRun | null {
  const owner = ownership.of?.current() ?? null;
  if (owner === null) return null;
  const key = owner.kc ?? owner;
  const known = runs.get(key);
  if (known !== undefined) return known;
  const run = begin(owner, owner.kc?._lock ?? null);
  runs.set(key, run);
  return run;
}

function begin(owner: RunOwner, lock: BaseLock | null): AwaitingRun {
  inheriting.changed = changed;
  return add(owner, lock);
}

/**
 * Called when something is no longer awaited: it has settled, or was withdrawn.
 *
 * @internal
 */
export function endAwait(awaited: Awaited): void {
  unlink(awaited);
  setLevel(awaited, NONE);
  dropPlaceholder(awaited);
  const { by } = awaited;
  awaited.by = null;
  if (by === null) {
    if (begun.empty) begunBy = null;
    return;
  }
  if (by.inherited !== NONE) update(reachedBy(awaited));
  // That of a call of `run` is kept until its function has settled.
  if (by.awaits.empty && runs.has(by.owner.kc ?? by.owner)) remove(by);
}

/**
 * Called when the function of a continuation has returned a promise, if `begun` is not empty.
 *
 * @internal
 */
export function runGoesOn(kc: Kcont<unknown>): void {
  if (begunBy !== kc || begunEntry !== settledOf(kc._wq)) return;
  begunBy = null;
  const run = begin({ kc }, kc._lock);
  runs.set(kc, run);
  moveAll(begun, run.awaits);
  for (const awaited of run.awaits) awaited.by = run;
  changedRun(run);
}

/**
 * Called when a run is about to settle, and its lock to be released.
 *
 * @internal
 */
export function runEnds(kc: Kcont<unknown>): void {
  const run = runs.get(kc);
  if (run !== undefined) ends(run);
}

function ends(run: AwaitingRun): void {
  remove(run);
  const reached: AwaitingRun[] = [];
  for (let awaited = run.awaits.shift(); awaited !== undefined; awaited = run.awaits.shift()) {
    awaited.by = null;
    place(awaited, NONE);
    for (const next of reachedBy(awaited)) reached.push(next);
  }
  if (run.inherited !== NONE) update(reached);
  wakeTouched();
}

/**
 * Called when a continuation that is awaited has been scheduled again, perhaps on another workqueue.
 *
 * @internal
 */
export function goesOn(awaited: Awaited): void {
  setLevel(awaited, NONE);
  awaited.forget();
  dropPlaceholder(awaited);
  if (awaited.by === null) return;
  place(awaited, awaited.by.inherited);
  wakeTouched();
}
