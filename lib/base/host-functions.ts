/*
 * The host's own functions, even if the globals have been replaced.
 *
 * They are captured when this module is loaded, so fake timers that are installed later do not affect
 * them. If fakes are already installed, the real functions are found behind them:
 *
 *   performance.now  test libraries replace it on the object; the prototype still has Node's.
 *   the others       @sinonjs/fake-timers, used by sinon, vitest and jest, gives each function that it
 *                    installs a `clock`, which holds the replaced functions: `_setTimeout`,
 *                    `_nextTick` and so on.
 *   node:test        does not expose what it has replaced. Its functions are recognized by a missing
 *                    property, and the real ones are captured when they are back: `recover`.
 */

import { AsyncResource } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import * as timers from 'node:timers';
import { promisify } from 'node:util';

/**
 * An empty async context, in which all host callbacks are requested: a timer would otherwise carry the
 * AsyncLocalStorage store of the code that armed it. Running a function in it costs 17 ns; with
 * `AsyncLocalStorage.snapshot()`, which does the same, 149 ns (Node 20).
 */
export const nobody: AsyncResource = new AsyncResource('KCONT', { requireManualDestroy: true });

/**
 * Requests a callback from the host, in an empty async context and outside any domain: otherwise the
 * domain of the first request would get the errors of all continuations that the callback runs.
 */
export function askHost<A, R>(
  func: (callback: () => void, arg: A) => R,
  callback: () => void,
  arg: A,
): R {
  const inDomain = process as { domain?: object | null };
  const { domain } = inDomain;
  if (domain === undefined || domain === null) {
    return nobody.runInAsyncScope(func, undefined, callback, arg);
  }
  inDomain.domain = null;
  try {
    return nobody.runInAsyncScope(func, undefined, callback, arg);
  } finally {
    inDomain.domain = domain;
  }
}

/** The clock of @sinonjs/fake-timers. */
export interface FakeClock {
  readonly performance?: { readonly now: () => number };
  clearTimeout(timer: unknown): void;
  readonly [replaced: `_${string}`]: unknown;
}

/** Returns the fake clock that installed a function; undefined: it is not from such a library. */
export function clockOf(installed: unknown): FakeClock | undefined {
  const clock = (installed as { clock?: FakeClock } | null | undefined)?.clock;
  return typeof clock?.clearTimeout === 'function' ? clock : undefined;
}

function behind<F>(found: F, name: string): F {
  const replaced = clockOf(found)?.[`_${name}`];
  return replaced === undefined ? found : behind(replaced as F, name);
}

/** Node's own `setTimeout` and `setImmediate` can be promisified; those of node:test cannot. */
function isNodes(func: object): boolean {
  return promisify.custom in func && clockOf(func) === undefined;
}

/** Functions of the host. They must be called through this object, because `recover` replaces them. */
export const real: {
  setTimeout: typeof setTimeout;
  clearTimeout: typeof clearTimeout;
  setImmediate: typeof setImmediate;
  clearImmediate: typeof clearImmediate;
} = {
  setTimeout: behind(timers.setTimeout, 'setTimeout'),
  clearTimeout: behind(timers.clearTimeout, 'clearTimeout'),
  setImmediate: behind(timers.setImmediate, 'setImmediate'),
  clearImmediate: behind(timers.clearImmediate, 'clearImmediate'),
};

let isTimeoutMissing = !isNodes(real.setTimeout);
let isImmediateMissing = !isNodes(real.setImmediate);

/** Captures functions that were faked when this module was loaded, if the globals are real again. */
export function recover(): void {
  if (isTimeoutMissing && typeof setTimeout === 'function' && isNodes(setTimeout)) {
    isTimeoutMissing = false;
    real.setTimeout = setTimeout;
    real.clearTimeout = clearTimeout;
  }
  if (isImmediateMissing && typeof setImmediate === 'function' && isNodes(setImmediate)) {
    isImmediateMissing = false;
    real.setImmediate = setImmediate;
    real.clearImmediate = clearImmediate;
  }
}

/** Whether the real `setTimeout` is known; if not, no function can be recognized as the real one. */
export function isTimeoutKnown(): boolean {
  return !isTimeoutMissing;
}

/** The host's `performance`, even if the global has been replaced. */
export const hostPerformance: typeof performance = performance;
/** The host's `performance.now`, to be called on {@link hostPerformance}. */
export const hostNow: typeof performance.now = (
  Object.getPrototypeOf(performance) as typeof performance
).now;

/** Returns the global `setTimeout`. If it has changed, fake timers may have been installed. */
export function globalTimeout(): typeof setTimeout {
  return setTimeout;
}

/** The host's `setTimeout`; undefined if it is not known, and for good, so that the compiler can rely on it. */
const hostTimeout = isTimeoutMissing ? undefined : real.setTimeout;

/**
 * Whether no fake timers are installed. False if the host's functions were not known when this module was
 * loaded. While `setTimeout` is not replaced, the compiler treats it as a constant and compares nothing.
 */
export function isHostsTime(): boolean {
  return typeof setTimeout === 'function' && setTimeout === hostTimeout;
}

const { hrtime } = process;
/** Returns the time in nanoseconds, on the clock of the event loop. */
export const hostNanos: () => bigint = behind(hrtime, 'hrtime').bigint;

/** `queueMicrotask` of the host. */
export const microtask: typeof queueMicrotask = behind(queueMicrotask, 'queueMicrotask');
/** `process.nextTick` of the host. */
export const nextTick: typeof process.nextTick = behind(process.nextTick, 'nextTick');

/** The type of `Atomics.waitAsync`, which is in ES2024. */
interface WaitsAsync {
  waitAsync(word: Int32Array, at: number, value: number, ms: number): { value: Promise<unknown> };
}

const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

/**
 * Calls back after some ms. This timer is never faked and does not keep the process alive: it is a wait
 * for a word of shared memory that no other thread has.
 */
export function unfakedLater(callback: () => void, ms: number): void {
  void (Atomics as unknown as WaitsAsync).waitAsync(never, 0, 0, ms).value.then(callback);
}
