/*
 * Inheritance of priorities: what the holder of a lock awaits is dispatched at the priority of those who wait for
 * the lock, so that they do not wait for all that lies between the two priorities.
 *
 *   H, prihigh --waits--> lock 1 --held by--> B --awaits--> lock 2 --held by--> C --awaits--> run R, prilow
 *
 *                R is dispatched at prihigh; B goes before the lower waiters of lock 2
 *
 * Locks have no owner. What is known costs nothing more to know: a run holds the lock of its continuation, and
 * what is called in the synchronous part of its function is called by it. Each run, yield, pipeline item and wait for a
 * lock that begins there is noted in `begun`; if the function turns out to be asynchronous, they are what it
 * awaits. After an await, a call belongs to a run only if `ownership` is set, as debug mode does.
 *
 * A run that awaits something is an `AwaitingRun`, and is found by the lock that it holds. Priorities are computed
 * when the waiters of such a lock change, and when such a run begins or ceases to await something or to hold a
 * lock, in three steps (see `update`): which runs can be reached from there; what each of them inherits, from the
 * waiters of its lock and from the run that awaits it; and then each entry that it awaits is moved, if its priority
 * has changed. The second step counts no priority that comes from the reached runs themselves before it is
 * computed anew. So a circle of waits, a deadlock, ends like any other, and keeps no priority that nobody has
 * brought in. A new waiter only raises priorities, so that only runs are visited whose priority it raises.
 *
 *   in the run queue        to the tail of the new level; if it was set aside before, to the tail of those that were
 *   waits for `maxActive`   before those of lower priorities, which have inherited nothing. The limit itself is kept
 *   waits for its lock      to the tail of those who wait at the new priority
 *   its timer runs,         nothing; it is moved when it becomes runnable
 *   or it waits for a slot
 *
 * On the way back each gets its old place. Among those that were set aside that is its sequence number. An entry that
 * has not been reached leaves a placeholder in the list from which it is moved, because jobs have no numbers:
 *
 *   prihigh   a   b   R
 *   prilow    c  [R]  d         [R] is passed over. If R loses the priority before, it returns there
 *
 * If the placeholder is reached while R waits for its lock or its limit, R would have been set aside then: its place
 * among those that were is remembered.
 *
 * Not: what has a lock between threads, or is sent to another one.
 *
 * Source: L. Sha, R. Rajkumar and J. Lehoczky, "Priority inheritance protocols" (1990); Solaris and FreeBSD
 * turnstile(9), for following a chain of holders.
 */

import { replace, unlink } from '../base/list.ts';
import { nothing } from '../base/nothing.ts';
import { listOf, stamp } from '../base/ordered-list.ts';
import { levelOf } from '../base/priorities.ts';
import {
  awaiting,
  holdersOf,
  NO_RUNS,
  ownership,
  runs,
  type Awaited,
  type AwaitingRun,
  type RunOwner,
} from './awaited.ts';
import { joinLimit } from './inherited-limit.ts';
import type { Kcont } from './kcont.ts';
import type { Level } from './run-queue.ts';
import { taskOf } from './schedule.ts';
import { MOVES, PENDING, PLACEHOLDER, QUEUED, REMOTE, RUNNING, WAITED } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { inheriting } from '../locks/inheriting.ts';
import type { Awaiter, BaseLock } from '../locks/lock.ts';
import { NONE, NOT_KNOWN, type Turnstile, type Waiter } from '../locks/turnstile.ts';

type MakesPlaceholder = new (
  wq: Workqueue,
  lock: null,
  func: () => void,
  arg: Awaited,
) => Kcont<Awaited>;

let isUpdating = false;

/** Counts updates. */
let round = 0;

/** Instead of a round: all runs that await something, or none. */
const ALL = -1;
const NOBODY = -2;

/** How many waiters are looked at before all is computed anew. */
const FEW = 8;

/** The runs that the present update has reached. */
const reached: AwaitingRun[] = [];

/** What `timersExpired` looks at. */
const unmoved: Awaited[] = [];

/** What they await, or have begun to await just now. */
const reachedAwaits: Awaited[] = [];

/**
 * The turnstiles with waiters that have been moved. They are woken when all have been, so that nobody is granted a lock for a
 * priority that it is about to lose.
 */
const touched: Turnstile[] = [];

/** The runs that have to be looked at again, because waiters changed during an update. */
let again: AwaitingRun[] = [];

/**
 * Called when the waiters of a lock have changed.
 *
 * @param isMore - whether there are more of them: then no priority can become lower
 *
 * @internal
 */
export function changed(lock: BaseLock, isMore: boolean): void {
  const turnstile = lock._turnstile as Turnstile;
  const { passedOn } = turnstile;
  turnstile.passedOn = NOT_KNOWN;
  if (awaiting.count === 0) return;
  leftOut = NOBODY;
  const highest = highestWaiter(lock);
  turnstile.passedOn = highest;
  // As with most waiters of a lock that has many holders, none of which is looked at.
  if (highest === passedOn && (isMore || isOwn(lock, highest))) return;
  const found = holdersOf(lock);
  if (found.length === 0) return;
  if (!isMore) {
    if (!found.every(isRight)) update(found);
  } else if (found.some(isTooLow)) update(found, true);
}

/**
 * Called when a run has begun to await something.
 *
 * @internal
 */
export function changedRun(run: AwaitingRun): void {
  if (isTooLow(run)) update([run], true);
}

/**
 * Called when a run awaits one thing more. All that it has awaited before has what it inherits, unless that rises.
 *
 * @internal
 */
export function awaitsMore(run: AwaitingRun, awaited: Awaited): void {
  const { inherited } = run;
  if (isTooLow(run)) update([run], true);
  else if (inherited !== NONE) {
    reachedAwaits.push(awaited);
    update(reachedBy(awaited), true, inherited);
  }
}

/** Whether it is certain that a priority of the waiters of a lock is that of one who has not inherited it. */
function isOwn(lock: BaseLock, priority: number): boolean {
  leftOut = ALL;
  return highestWaiter(lock) === priority;
}

function isTooLow(run: AwaitingRun): boolean {
  return run.inherited < sourceOf(run, NOBODY);
}

/** Whether a run has what it inherits, without any doubt: it comes from those who have inherited nothing themselves. */
function isRight(run: AwaitingRun): boolean {
  return (
    run.inherited === sourceOf(run, NOBODY) &&
    (inheriting.count === 0 || run.inherited === sourceOf(run, ALL))
  );
}

/**
 * Called when a lock has been entered or released on behalf of an owner, if owners are known.
 *
 * @internal
 */
export function holdsChanged(owner: RunOwner): void {
  const run = runs.get(owner.kc ?? owner);
  if (run !== undefined) update([run]);
}

/**
 * The runs that something awaited waits for.
 *
 * @internal
 */
export function reachedBy({ kc, awaiter }: Awaited): readonly AwaitingRun[] {
  if (kc === null) return holdersOf((awaiter as Awaiter)._lock);
  if ((kc._state & RUNNING) !== 0) {
    const run = runs.get(kc);
    return run === undefined ? NO_RUNS : [run];
  }
  return turnstileOf(kc) === null ? NO_RUNS : holdersOf(kc._lock as BaseLock);
}

/** Where a continuation waits for its lock; null: it does not. */
function turnstileOf(kc: Kcont<unknown>): Turnstile | null {
  if ((kc._state & WAITED) === 0) return null;
  const turnstile = kc._lock?._turnstile ?? null;
  return turnstile !== null && turnstile.has(kc) ? turnstile : null;
}

/**
 * Sets the priority that something has inherited; NONE: none.
 *
 * @internal
 */
export function setLevel(awaited: Awaited, level: number): void {
  if (awaited.level === NONE) inheriting.count++;
  if (level === NONE) inheriting.count--;
  awaited.level = level;
  const { kc } = awaited;
  if (kc === null) return;
  const { inherited } = kc._wq._dispatcher.runq;
  if (level === NONE) inherited.delete(awaited);
  else inherited.add(awaited);
  awaited.leaveLimit();
}

/**
 * Computes anew what runs inherit, and all that inherit from them.
 *
 * @param isMore - whether no priority can become lower: then only what rises is followed
 * @param least - a priority that the runs inherit, too
 *
 * @internal
 */
export function update(
  changedRuns: readonly AwaitingRun[],
  isMore: boolean = false,
  least: number = NONE,
): void {
  if (isUpdating) {
    for (const run of changedRuns) again.push(run);
    return;
  }
  isUpdating = true;
  let some = changedRuns;
  if (isMore) {
    raiseAll(changedRuns, least);
    some = again;
  }
  for (; some.length > 0; some = again) {
    round++;
    some.forEach(reach);
    for (const run of reached) {
      former = run.inherited;
      run.inherited = NONE;
      run.awaits.forEach(follow);
    }
    for (const run of reached) raise(run, sourceOf(run, round));
    placeReached();
  }
  isUpdating = false;
}

function raiseAll(changedRuns: readonly AwaitingRun[], least: number): void {
  round++;
  for (const run of changedRuns) raise(run, Math.max(least, sourceOf(run, NOBODY)));
  placeReached();
}

/** Moves what the reached runs await. */
function placeReached(): void {
  const isMixed = reached.length + reachedAwaits.length > 1;
  for (const { awaits } of reached) awaits.forEach((awaited) => void reachedAwaits.push(awaited));
  if (isMixed) reachedAwaits.sort(inOrder);
  // Waking readers may change waiters.
  again = [];
  for (const awaited of reachedAwaits) {
    if (awaited.by !== null) place(awaited, awaited.by.inherited);
  }
  reached.length = 0;
  reachedAwaits.length = 0;
  wakeTouched();
}

/**
 * Wakes those that may be next for their locks because of what has been moved.
 *
 * @internal
 */
export function wakeTouched(): void {
  for (const turnstile of touched.splice(0)) turnstile.wake();
}

function reach(run: AwaitingRun): void {
  if (run.round === round) return;
  run.round = round;
  reached.push(run);
}

/** The priority that the run had inherited whose awaits are followed. */
let former = NONE;

/** Reaches those that may have inherited from a run. A wait for a lock has passed on its own priority, if that was higher. */
function follow(awaited: Awaited): void {
  const { kc, own } = awaited;
  if (former > own || (kc !== null && (kc._state & RUNNING) !== 0))
    reachedBy(awaited).forEach(reach);
}

/** Several that move at once are in the order in which they have begun to be awaited. */
function inOrder(a: Awaited, b: Awaited): number {
  return a.id - b.id;
}

/** The round whose runs `countedPriority` leaves out. */
let leftOut = NOBODY;

function isLeftOut(run: AwaitingRun): boolean {
  return leftOut === ALL || run.round === leftOut;
}

/** The priority of a waiter, without what it has inherited from one of those left out. */
function countedPriority(waiter: Waiter): number {
  const awaited = awaitedOf(waiter);
  if (awaited === null || awaited.by === null) return waiter._priority;
  return isLeftOut(awaited.by) ? awaited.own : waiter._priority;
}

/** If all are left out, a result that is too low says only that it is not known. */
function highestWaiter(lock: BaseLock): number {
  const most = leftOut === ALL ? FEW : Infinity;
  return levelOf(lock._turnstile?.highest(countedPriority, most) ?? NONE);
}

/** The priority that a run inherits from others than those of a round. */
function sourceOf({ owner, held }: AwaitingRun, others: number): number {
  leftOut = others;
  let highest = held === null ? NONE : highestWaiter(held);
  if (ownership.of !== null) {
    for (const entered of ownership.of.locks(owner)) {
      highest = Math.max(highest, highestWaiter(entered));
    }
  }
  const by = (owner.kc && taskOf(owner.kc))?._awaited?.by ?? null;
  return by === null || isLeftOut(by) ? highest : Math.max(highest, by.inherited);
}

function awaitedOf(waiter: Waiter): Awaited | null {
  // Awaiting code has no clock.
  if (waiter._timekeeper === null) return (waiter as Awaiter)._awaited as Awaited | null;
  return taskOf(waiter as Kcont<unknown>)?._awaited ?? null;
}

/**
 * The priority at which a continuation is dispatched: that of its workqueue, or a higher one that it has inherited.
 *
 * @internal
 */
export function priorityOf(kc: Kcont<unknown>): number {
  const level = inheriting.count === 0 ? NONE : (taskOf(kc)?._awaited?.level ?? NONE);
  return level === NONE ? kc._wq.priority : level;
}

/**
 * The own priority of a waiter, or of a continuation, and the one that it has inherited.
 *
 * @internal
 */
export function prioritiesOf(waiter: Waiter): { priority: number; inherited: number | null } {
  const awaited = awaitedOf(waiter);
  if (awaited === null || awaited.level === NONE) {
    return { priority: waiter._priority, inherited: null };
  }
  return { priority: awaited.own, inherited: awaited.level };
}

/**
 * Whether a continuation is dispatched at a priority that it has inherited.
 *
 * @internal
 */
export function hasInherited(kc: Kcont<unknown>): boolean {
  return priorityOf(kc) !== kc._wq.priority;
}

/**
 * The level at which a continuation is resumed that has inherited a priority, or that its lock has promoted.
 *
 * @internal
 */
export function levelFor(kc: Kcont<unknown>, priority: number): Level<Kcont<unknown>> {
  const { _dispatcher: dispatcher, _level: own } = kc._wq;
  if (priority !== priorityOf(kc)) own.root.promotedIn = dispatcher.passes;
  return dispatcher.runq.level(Math.max(levelOf(priority), kc._wq.priority));
}

/**
 * Called when a placeholder is reached: those before it have been entered or set aside.
 *
 * @returns the continuation, if it has to be dispatched now; null: nothing has to be done
 *
 * @internal
 */
export function reachedPlaceholder(placeholder: Kcont<unknown>): Kcont<unknown> | null {
  const awaited = placeholder._arg as Awaited;
  const kc = awaited.kc as Kcont<unknown>;
  if ((kc._state & WAITED) !== 0) {
    stamp(placeholder);
    awaited.remember(placeholder);
  }
  dropPlaceholder(awaited);
  if ((kc._state & QUEUED) === 0 || (kc._state & WAITED) !== 0) return null;
  // It starves although it has inherited a priority: a higher one is busy.
  unlink(kc);
  return kc;
}

/**
 * Called after timers have expired, of which some are those of continuations that have inherited a priority meanwhile.
 *
 * @internal
 */
export function timersExpired(continuations: Kcont<unknown>[]): void {
  for (const kc of continuations.splice(0)) {
    kc._state &= ~MOVES;
    const awaited = taskOf(kc)?._awaited as Awaited;
    // It may have lost the priority meanwhile.
    if (awaited.level !== NONE) unmoved.push(awaited);
  }
  if (unmoved.length > 1) unmoved.sort(inOrder);
  for (const awaited of unmoved) move(awaited, awaited.kc as Kcont<unknown>);
  unmoved.length = 0;
}

/** Lets a run inherit a priority, and all that can be reached from it. */
function raise(from: AwaitingRun, level: number): void {
  if (level <= from.inherited) return;
  const left = [from];
  for (let run = left.pop(); run !== undefined; run = left.pop()) {
    if (level <= run.inherited) continue;
    run.inherited = level;
    reach(run);
    for (const awaited of run.awaits) for (const next of reachedBy(awaited)) left.push(next);
  }
}

/**
 * Moves something awaited to a priority that its run has inherited, or back to its own. When all have been moved,
 * `wakeTouched` has to be called.
 *
 * @internal
 */
export function place(awaited: Awaited, from: number): void {
  const { kc, awaiter, own } = awaited;
  const lock = kc === null ? (awaiter as Awaiter)._lock : kc._lock;
  // The waiters of a lock between threads stay where they are.
  if (lock !== null && lock._whole === null) return;
  const level = from > own ? from : NONE;
  if (level === awaited.level) return;
  setLevel(awaited, level);
  if (kc === null) {
    const code = awaiter as Awaiter;
    const turnstile = code._lock._turnstile as Turnstile;
    const isQueued = turnstile.has(code);
    code._priority = level === NONE ? own : level;
    // Otherwise it is just being granted the lock.
    if (isQueued) reorder(awaited, turnstile, code);
  } else move(awaited, kc);
}

function reorder(awaited: Awaited, turnstile: Turnstile, waiter: Waiter): void {
  if (awaited.level === NONE) awaited.restore();
  else awaited.stamp();
  turnstile.reorder(waiter);
  touched.push(turnstile);
}

/** Moves a continuation that is runnable, or waits for its lock or its limit. */
function move(awaited: Awaited, kc: Kcont<unknown>): void {
  const state = kc._state;
  if ((state & (PENDING | REMOTE)) === PENDING) kc._state |= MOVES;
  // Otherwise its timer runs, it waits for a slot of its pipeline, has been entered, or may run on another CPU.
  if ((state & (QUEUED | RUNNING | REMOTE)) !== QUEUED) return;
  const { level } = awaited;
  const wq = kc._wq;
  if (level !== NONE) {
    const to = wq._dispatcher.runq.level(level);
    to.leastPatienceMs = Math.min(to.leastPatienceMs, wq.patienceMs);
    if ((kc._state & WAITED) === 0) {
      leavePlaceholder(awaited, kc);
      unlink(kc);
      wq._dispatcher.runq.addInherited(to, kc);
    } else {
      awaited.stamp();
      moveAside(awaited, kc);
    }
  } else if (awaited.placeholder === null) {
    awaited.restore();
    moveAside(awaited, kc);
  } else {
    returnTo(awaited.placeholder, kc);
    awaited.forget();
    dropPlaceholder(awaited);
  }
  // Another one may be the next for the limit.
  wq._wake();
}

/** Moves a continuation that was set aside, whose priority and place have changed. */
function moveAside(awaited: Awaited, kc: Kcont<unknown>): void {
  const wq = kc._wq;
  const turnstile = kc._lock?._turnstile ?? null;
  const isHeir = turnstile?.heir === kc;
  if (turnstile !== null && (isHeir || turnstile.has(kc))) {
    if (isHeir) {
      unlink(kc);
      wq._dispatcher.resume(kc, turnstile.priorityOf(kc));
    } else turnstile.reorder(kc);
    // Another waiter may go before it now.
    touched.push(turnstile);
    return;
  }
  const isLimited = awaited.level === NONE || listOf(kc) === wq._waiting;
  unlink(kc);
  if (!isLimited) wq._dispatcher.resume(kc);
  else {
    wq._await(kc);
    if (awaited.level !== NONE) joinLimit(awaited, kc);
  }
}

/** Leaves a placeholder where a continuation is, which is about to be moved. */
function leavePlaceholder(awaited: Awaited, kc: Kcont<unknown>): void {
  if (awaited.placeholder !== null) return;
  // Importing the class would be a circle.
  const Class = kc.constructor as MakesPlaceholder;
  const placeholder = new Class(kc._wq, null, nothing, awaited);
  placeholder._state |= PLACEHOLDER;
  placeholder._due = kc._due;
  awaited.placeholder = placeholder;
  replace(kc, placeholder);
}

/** Puts a continuation back at its place in the run queue, wherever it is now. */
function returnTo(placeholder: Kcont<Awaited>, kc: Kcont<unknown>): void {
  kc._lock?._leave(kc);
  unlink(kc);
  kc._state &= ~WAITED;
  kc._due = placeholder._due;
  replace(placeholder, kc);
}

/**
 * Removes the placeholder, if there is one.
 *
 * @internal
 */
export function dropPlaceholder(awaited: Awaited): void {
  const { placeholder } = awaited;
  if (placeholder === null) return;
  awaited.placeholder = null;
  unlink(placeholder);
  placeholder.destroy();
}
