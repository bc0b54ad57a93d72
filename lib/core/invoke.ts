/*
 * Entering a continuation's function, and settling it.
 *
 *   enter ---> returned or threw --------------------------------> settle
 *        \---> returned a promise: an AsyncRun --- it settles: complete ---^
 *
 * A function may do anything to any continuation, including its own, and may throw: before the call the
 * handle has left its list and its state is set; after it, values that were read before may be stale.
 *
 * An error that no handler takes is not caught: if it were caught and thrown again, Node would report
 * the line that throws it again instead of the user's.
 */

import { remoteOf } from './cpu-link.ts';
import type { Dispatcher } from './dispatcher.ts';
import { KcontError, asynchronous, markError } from '../base/errors.ts';
import { awaiting } from './awaited.ts';
import { begun, runEnds, runGoesOn } from './begin-await.ts';
import type { Kcont } from './kcont.ts';
import { unlink, type Links } from '../base/list.ts';
import { release } from '../locks/lock-check.ts';
import { taskOf } from './schedule.ts';
import {
  DEAD,
  QUEUED,
  QUIET,
  REMOTE,
  RUNNING,
  SCHEDULED,
  STOPPING,
  UNREF,
  entered,
  settled,
} from './state.ts';

/**
 * A handler for the errors of continuations.
 *
 * @public
 */
export type OnError = (error: unknown, kc: Kcont<unknown>) => void;

/** Stands for the continuation of a free run. */
const nobody = null as unknown as Kcont<unknown>;
/** The maximum number of free runs that are kept. */
const SPARE = 1024;

/**
 * Returned by a function that lets the pass do its work: after the function has returned, the pass
 * calls `run()` of the function's argument, with few frames of kcont on the stack.
 *
 * @internal
 */
export const AT_TOP: object = {};

/**
 * The argument of a continuation whose function returns AT_TOP.
 *
 * @internal
 */
export interface AtTop {
  /** The work of the function, called by the pass itself. */
  run(): void;
}

/**
 * An asynchronous run. These objects are reused, so a new one is created only if all others are in use.
 *
 * @internal
 */
export class AsyncRun implements Links {
  _next: Links = this;
  _prev: Links = this;
  kc: Kcont<unknown> = nobody;
  readonly fulfilled: (value: unknown) => void;
  readonly rejected: (error: unknown) => void;

  constructor(dispatcher: Dispatcher) {
    this.fulfilled = (value) => taskOf(complete(dispatcher, this))?._fulfilled?.(value);
    this.rejected = (error) => {
      countFailure(this.kc, error);
      const kc = complete(dispatcher, this);
      if ((kc._state & QUIET) === 0) reportAtLater(dispatcher, kc, error);
      taskOf(kc)?._rejected?.(error);
    };
  }
}

/**
 * Calls the function of a continuation that is QUEUED, not in a list, and whose lock is held.
 *
 * @internal
 */
export function enter(dispatcher: Dispatcher, kc: Kcont<unknown>): void {
  const state = kc._state;
  kc._state = entered(state);
  if ((state & UNREF) === 0) dispatcher.unref();
  let func = kc._func;
  const arg = kc._arg;
  dispatcher.current = kc;
  if (dispatcher.observer !== null) func = dispatcher.observer.entered(kc, state, func);
  const asyncContext = kc._extras?.asyncContext;
  let result: unknown;
  let then: Then | undefined;
  let returned = false;
  if (kc._wq._handler === undefined && (state & REMOTE) === 0) {
    try {
      result =
        asyncContext === undefined
          ? func(arg, kc)
          : asyncContext.runInAsyncScope(func, undefined, arg, kc);
      if (result !== undefined) then = thenOf(result);
      returned = true;
    } finally {
      if (!returned) abandon(dispatcher, kc);
    }
  } else {
    try {
      result =
        asyncContext === undefined
          ? func(arg, kc)
          : asyncContext.runInAsyncScope(func, undefined, arg, kc);
      if (result !== undefined) then = thenOf(result);
    } catch (error) {
      countFailure(kc, error);
      settle(dispatcher, kc);
      reportAt(dispatcher, kc, error);
      return;
    }
  }
  if (then !== undefined) follow(dispatcher, kc, result, then);
  else if (result === AT_TOP) dispatcher.atTop = kc;
  else settle(dispatcher, kc);
}

/** The bits of a continuation that has more to do when it settles. */
const NOT_SETTLED_AT_ONCE: number = QUEUED | DEAD | REMOTE | STOPPING;

/**
 * The same as `enter`, for a continuation of this CPU without a lock that keeps the process alive, and whose
 * errors have no handler. It does no more than most of them need, so that the compiler puts it into the loop
 * of the pass. The caller counts the reference to the process.
 *
 * @returns whether the pass has to go on with `atTop`
 *
 * @internal
 */
export function enterPlain(dispatcher: Dispatcher, kc: Kcont<unknown>, state: number): boolean {
  kc._state = entered(state);
  dispatcher.current = kc;
  const func = kc._func;
  let result: unknown;
  let returned = false;
  try {
    result = func(kc._arg, kc);
    returned = true;
  } finally {
    if (!returned) abandon(dispatcher, kc);
  }
  if (result !== undefined) return hasReturned(dispatcher, kc, result);
  const after = kc._state;
  if ((after & NOT_SETTLED_AT_ONCE) === 0 && kc._extras === null) {
    kc._state = settled(after);
    kc._wq._settled();
  } else settle(dispatcher, kc);
  return false;
}
/** The rest of `enterPlain` for a function that has returned something. */
function hasReturned(dispatcher: Dispatcher, kc: Kcont<unknown>, result: unknown): boolean {
  let then: Then | undefined;
  let isRead = false;
  try {
    then = thenOf(result);
    isRead = true;
  } finally {
    if (!isRead) abandon(dispatcher, kc);
  }
  if (then !== undefined) follow(dispatcher, kc, result, then);
  else if (result === AT_TOP) dispatcher.atTop = kc;
  else settle(dispatcher, kc);
  return result === AT_TOP;
}

/** Called when a function has thrown and no handler takes its error. */
function abandon(dispatcher: Dispatcher, kc: Kcont<unknown>): void {
  // Its error has no handler: the host gets it as an uncaught exception.
  countFailure(kc, undefined);
  settle(dispatcher, kc);
  // The report names the continuation, unless it belongs to a drop-in API.
  if (taskOf(kc) === undefined) dispatcher.clock._escaping(kc);
}

/** Starts to track an asynchronous run. */
function follow(dispatcher: Dispatcher, kc: Kcont<unknown>, promise: unknown, then: Then): void {
  const wq = kc._wq;
  const run = dispatcher.freeRuns.pop() ?? new AsyncRun(dispatcher);
  run.kc = kc;
  dispatcher.current = undefined;
  dispatcher.asyncRuns.push(run);
  dispatcher.needsMicrotasks = true;
  wq._addActive(1);
  if (!begun.empty) runGoesOn(kc);
  if (dispatcher.observer !== null) dispatcher.observer.suspended(kc);
  whenDone(promise, then, run.fulfilled, run.rejected);
  const what = misuse(kc);
  if (what === undefined) return;
  const task = taskOf(kc);
  if (task?._misused === undefined) fail(dispatcher, kc, what);
  else task._misused(what);
}

/** Ends an asynchronous run, and returns its continuation. */
function complete(dispatcher: Dispatcher, run: AsyncRun): Kcont<unknown> {
  const { kc } = run;
  unlink(run);
  run.kc = nobody;
  if (dispatcher.freeRuns.length < SPARE) dispatcher.freeRuns.push(run);
  kc._wq._addActive(-1);
  if (awaiting.count > 0) runEnds(kc);
  settle(dispatcher, kc);
  return kc;
}

/**
 * Called when the function has returned or thrown, or its promise has settled.
 *
 * @internal
 */
export function settle(dispatcher: Dispatcher, kc: Kcont<unknown>): void {
  const state = kc._state;
  const again = (state & QUEUED) !== 0;
  kc._state = settled(state) & ~STOPPING;
  const lock = kc._lock;
  const released = release(lock);
  if ((state & (REMOTE | DEAD)) !== 0) {
    if ((state & REMOTE) !== 0) remoteOf(kc).settle();
    if ((state & DEAD) !== 0) kc._wq._dereference();
  }
  // If it was set aside during its run, resume it; otherwise it is still in the run queue.
  if (again && kc._next === kc) dispatcher.resume(kc);
  kc._wq._settled();
  const extras = kc._extras;
  if (extras !== null && (state & SCHEDULED) === 0) extras.asyncContext = undefined;
  if (dispatcher.observer !== null) dispatcher.observer.settled(kc);
  if (extras !== null && extras.settled.length > 0) callSettled(dispatcher, kc);
  if (!released) failLater(dispatcher, kc, notHeld(kc));
}

/**
 * Registers a callback for when the run in flight has settled.
 *
 * @internal
 */
export function whenSettled<A>(kc: Kcont<A>, callback: () => void): void {
  const extras = kc._needExtras();
  extras.settled.push(callback);
  extras.remote?.awaitSettle();
}

/**
 * Calls the callbacks that wait for a run to settle.
 *
 * @internal
 */
export function callSettled(dispatcher: Dispatcher, kc: Kcont<unknown>): void {
  for (const callback of kc._needExtras().settled.splice(0)) {
    try {
      callback();
    } catch (error) {
      failLater(dispatcher, kc, error);
    }
  }
}

/**
 * Counts a failure of the function of a continuation, before it settles.
 *
 * @internal
 */
export function countFailure(kc: Kcont<unknown>, error: unknown): void {
  const wq = kc._wq;
  wq._failed++;
  wq._dispatcher.observer?.failed(kc, error);
}

/** Counts a failure, and passes its error to its handler; throws it if there is none. */
function fail(dispatcher: Dispatcher, kc: Kcont<unknown>, error: unknown): void {
  countFailure(kc, error);
  reportAt(dispatcher, kc, error);
}

/** Passes an error to its handler, on the CPU that has it; throws it if there is none. */
function reportAt(dispatcher: Dispatcher, kc: Kcont<unknown>, error: unknown): void {
  if ((kc._state & REMOTE) === 0 || !remoteOf(kc).fail(error)) report(dispatcher, kc, error);
}

function report(dispatcher: Dispatcher, kc: Kcont<unknown>, error: unknown): void {
  const onError = kc._wq.onError ?? dispatcher.onError;
  if (onError !== undefined) onError(error, kc);
  else throw taskOf(kc) === undefined ? markError(error, kc, dispatcher.clock._turns) : error;
}

/** Like `fail`, but raises the error later: an exception thrown here would reach unrelated code. */
function failLater(dispatcher: Dispatcher, kc: Kcont<unknown>, error: unknown): void {
  countFailure(kc, error);
  reportAtLater(dispatcher, kc, error);
}

function reportAtLater(dispatcher: Dispatcher, kc: Kcont<unknown>, error: unknown): void {
  try {
    reportAt(dispatcher, kc, error);
  } catch (unhandled) {
    dispatcher.clock._raise(unhandled);
  }
}

/**
 * Like `failLater`, for an error from another CPU or a callback of a pipeline; it does not count as a
 * failure of the workqueue.
 *
 * @internal
 */
export function reportLater(kc: Kcont<unknown>, error: unknown): void {
  const { _dispatcher: dispatcher } = kc._wq;
  try {
    report(dispatcher, kc, error);
  } catch (unhandled) {
    dispatcher.clock._raise(unhandled);
  }
}

/** The `then` of a promise or another thenable. */
export type Then = (
  fulfilled: (value: unknown) => void,
  rejected: (error: unknown) => void,
) => unknown;

const { then: promiseThen } = Promise.prototype as { then: Then };

/**
 * Returns the `then` method of a result. A result that has one is treated as a promise. It is read
 * once, because a getter may throw or return another value the next time.
 *
 * @returns undefined: it is not a promise
 * @throws what the getter throws
 */
export function thenOf(result: unknown): Then | undefined {
  if ((typeof result !== 'object' && typeof result !== 'function') || result === null) {
    return undefined;
  }
  const { then } = result as { then?: unknown };
  return typeof then === 'function' ? (then as Then) : undefined;
}

/**
 * Calls exactly one of the two functions, once, and only after this function has returned, even if a
 * thenable calls back synchronously or twice, or throws after calling back.
 */
export function whenDone(
  promise: unknown,
  then: Then,
  fulfilled: (value: unknown) => void,
  rejected: (error: unknown) => void,
): void {
  if (then !== promiseThen) {
    void adopt(promise, then).then(fulfilled, rejected);
    return;
  }
  try {
    then.call(promise, fulfilled, rejected);
  } catch (error) {
    // The object has the method but is not a Promise, or its constructor throws.
    queueMicrotask(() => rejected(error));
  }
}

/** Returns a Promise for a result whose `then` has been read: the result itself, if it is a Promise. */
export function adopt(promise: unknown, then: Then): Promise<unknown> {
  if (then === promiseThen) return promise as Promise<unknown>;
  return new Promise((resolve, reject) => {
    then.call(promise, resolve, reject);
  });
}

/** Returns the error for a promise of a function that must be synchronous. */
function misuse(kc: Kcont<unknown>): KcontError | undefined {
  if (kc._wq.fast) return asynchronous(kc.name, kc._wq.name);
  if (kc._lock?._spin === true) {
    return new KcontError(
      'EPERM',
      `${kc.name || 'a continuation'} holds its SpinLock across an await; take a Mutex`,
    );
  }
  return undefined;
}

function notHeld(kc: Kcont<unknown>): KcontError {
  return new KcontError(
    'EPERM',
    `the lock of ${kc.name || 'a continuation'} must be held when its function settles`,
  );
}

/**
 * Whether some run could be waiting for a timer that is armed now: an asynchronous function is in
 * flight, or the function on the stack may turn out to be asynchronous.
 *
 * @internal
 */
export function awaits({ current, asyncRuns }: Dispatcher): boolean {
  if (!asyncRuns.empty) return true;
  return current !== undefined && (current._state & RUNNING) !== 0 && !current._wq.fast;
}
