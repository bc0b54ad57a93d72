/*
 * The host's own functions, whatever stands in for them.
 *
 * They are taken when this module is loaded, so fake timers that are installed later do not reach
 * them. If fakes are installed already, the real functions are found behind them:
 *
 *   performance.now  test libraries shadow it on the object; on the prototype it is Node's.
 *   the others       @sinonjs/fake-timers, which is inside sinon, vitest and jest, gives each
 *                    function that it installs a `clock`, and keeps there what it has replaced:
 *                    `_setTimeout`, `_nextTick` and so on.
 *   node:test        shows nobody what it has replaced. Its functions are recognized by what they
 *                    lack, and the real ones are taken when they are back: `recover`.
 */

import { AsyncResource } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import * as timers from 'node:timers';
import { promisify } from 'node:util';

/**
 * The context of no request, in which all callbacks are made: a timer would otherwise carry the
 * AsyncLocalStorage store of whoever armed it. To run in it costs 17 ns; by
 * `AsyncLocalStorage.snapshot()`, which does the same, 149 ns (Node 20).
 */
export const nobody: AsyncResource = new AsyncResource('KCONT', { requireManualDestroy: true });

/**
 * Asks the host for a callback, in the context of no request and in no domain: that of whoever
 * happens to ask first would get the errors of all whom the callback serves.
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

/** The clock that a function was installed by; undefined: by none, or not by such a library. */
export function clockOf(installed: unknown): FakeClock | undefined {
  const clock = (installed as { clock?: FakeClock } | null | undefined)?.clock;
  return typeof clock?.clearTimeout === 'function' ? clock : undefined;
}

function behind<F>(found: F, name: string): F {
  const replaced = clockOf(found)?.[`_${name}`];
  return replaced === undefined ? found : behind(replaced as F, name);
}

/** Node's own `setTimeout` and `setImmediate` can be promisified; its mocks of them cannot. */
function isNodes(func: object): boolean {
  return promisify.custom in func && clockOf(func) === undefined;
}

/** Functions of the host, to be called by `real.`: `recover` may replace them. */
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

/** Takes what was hidden when this module was loaded from the globals, if it is back there. */
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

/** Whether the real `setTimeout` is known; if not, no function can be told to be it. */
export function isTimeoutKnown(): boolean {
  return !isTimeoutMissing;
}

/** The object of the host, also where the global of that name is another. */
export const hostPerformance: typeof performance = performance;
/** To be called on {@link hostPerformance}. */
export const hostNow: typeof performance.now = (
  Object.getPrototypeOf(performance) as typeof performance
).now;

/** What stands among the globals as `setTimeout`: whether it is another tells that time may be. */
export function globalTimeout(): typeof setTimeout {
  return setTimeout;
}

const { hrtime } = process;
/** Nanoseconds on the axis of the event loop. */
export const hostNanos: () => bigint = behind(hrtime, 'hrtime').bigint;

/** `queueMicrotask` of the host. */
export const microtask: typeof queueMicrotask = behind(queueMicrotask, 'queueMicrotask');
/** `process.nextTick` of the host. */
export const nextTick: typeof process.nextTick = behind(process.nextTick, 'nextTick');

/** In ES2024. */
interface WaitsAsync {
  waitAsync(word: Int32Array, at: number, value: number, ms: number): { value: Promise<unknown> };
}

const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

/**
 * Calls back in some ms, by a timer that nobody fakes, and that keeps nothing alive: a wait of
 * this thread for a word of memory that nobody else knows.
 */
export function unfakedLater(callback: () => void, ms: number): void {
  void (Atomics as unknown as WaitsAsync).waitAsync(never, 0, 0, ms).value.then(callback);
}
