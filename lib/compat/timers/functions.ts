/*
 * The functions of node:timers over the timers of a kernel. An invalid callback is passed to Node's own
 * function, which throws its own error; Node's own timers are cleared by Node's own function.
 */

import * as host from 'node:timers';
import { promisify } from 'node:util';
import { HostClock, standForHost } from '../../time/host-clock.ts';
import type { Kernel } from '../../core/kernel.ts';
import { named } from '../function-name.ts';
import { delayMs, type DelayRules } from './delay.ts';
import { Immediate, isImmediate } from './immediate.ts';
import { promisesOn, type TimersPromises } from './promises.ts';
import { Timeout } from './timeout.ts';
import { PhaseQueues } from './phase-queues.ts';

/**
 * A timer of Node. The functions here can clear it too.
 *
 * @public
 */
export interface HostTimeout {
  /** Whether it keeps the process alive. */
  hasRef(): boolean;
  /** Restarts its delay. */
  refresh(): unknown;
}

/**
 * An immediate of Node. The functions here can clear it too.
 *
 * @public
 */
export interface HostImmediate {
  /** Whether it keeps the process alive. */
  hasRef(): boolean;
  /** Its function. */
  readonly _onImmediate: unknown;
}

/**
 * The signature of `setInterval`, which `setTimeout` shares.
 *
 * @public
 */
export interface SetTimer {
  /**
   * Calls a function after a delay.
   *
   * @param callback - called with the arguments; `this` is the timer
   * @param delay - in ms, 1 … 2^53-1, truncated to an integer; invalid or smaller values become 1
   * @returns the timer; during the grace period of `Kernel.close`, one that is already cleared
   * @throws TypeError ERR_INVALID_ARG_TYPE if the callback is not a function; KcontError ESHUTDOWN if
   * the kernel is closed
   */
  <A extends unknown[]>(callback: (...args: A) => void, delay?: number, ...args: A): Timeout;
  /** The same, for a callback without arguments. */
  (callback: (_: void) => void, delay?: number): Timeout;
}

/**
 * The signature of `setTimeout`.
 *
 * @public
 */
export interface SetTimeout extends SetTimer {
  /** What `util.promisify` makes of it. */
  readonly [promisify.custom]: TimersPromises['setTimeout'];
  /** In types alone, as in `@types/node`, so that this can be given where Node's is asked for. */
  readonly __promisify__: TimersPromises['setTimeout'];
}

/**
 * The signature of `setImmediate`.
 *
 * @public
 */
export interface SetImmediate {
  /**
   * Calls a function after the callbacks of I/O that has arrived.
   *
   * @param callback - called with the arguments; `this` is the immediate
   * @returns the immediate; during the grace period of `Kernel.close`, one that is already cleared
   * @throws as {@link SetTimer} does
   */
  <A extends unknown[]>(callback: (...args: A) => void, ...args: A): Immediate;
  /** The same, for a callback without arguments. */
  (callback: (_: void) => void): Immediate;
  /** What `util.promisify` makes of it. */
  readonly [promisify.custom]: TimersPromises['setImmediate'];
  /** In types alone, as in `@types/node`, so that this can be given where Node's is asked for. */
  readonly __promisify__: TimersPromises['setImmediate'];
}

/**
 * The functions of `node:timers`.
 *
 * @public
 */
export interface Timers {
  /** Calls a function once, after a delay. */
  readonly setTimeout: SetTimeout;
  /** Calls a function repeatedly. The delay counts from the start of each call. */
  readonly setInterval: SetTimer;
  /** Calls a function after the callbacks of I/O that has arrived. */
  readonly setImmediate: SetImmediate;
  /** Clears a timer, given as the object or its primitive. It is not called any more. */
  readonly clearTimeout: (timer?: Timeout | HostTimeout | string | number | null) => void;
  /** The same. */
  readonly clearInterval: (timer?: Timeout | HostTimeout | string | number | null) => void;
  /** Clears an immediate. */
  readonly clearImmediate: (immediate?: Immediate | HostImmediate | null) => void;
  /** The functions of `node:timers/promises`. */
  readonly promises: TimersPromises;
}

type Func = (...args: never[]) => unknown;

const made = new WeakMap<Kernel, Timers>();

/**
 * Returns the functions of a kernel, the same ones for every call.
 *
 * @internal
 */
export function timersOn(kernel: Kernel, rules: DelayRules): Timers {
  let timers = made.get(kernel);
  if (timers === undefined) {
    timers = functionsOn(kernel, rules);
    made.set(kernel, timers);
  }
  return timers;
}

function functionsOn(kernel: Kernel, rules: DelayRules): Timers {
  const queues = new PhaseQueues(kernel);
  const promises = promisesOn(queues, rules);

  function setTimeout(callback: Func, delay?: unknown, ...args: unknown[]): unknown {
    if (typeof callback !== 'function') return host.setTimeout(callback, delay as number);
    return Timeout._make(queues, callback, delayMs(delay, rules), given(args), false);
  }

  function setInterval(callback: Func, delay?: unknown, ...args: unknown[]): unknown {
    if (typeof callback !== 'function') return host.setInterval(callback);
    return Timeout._make(queues, callback, delayMs(delay, rules), given(args), true);
  }

  function setImmediate(callback: Func, ...args: unknown[]): unknown {
    if (typeof callback !== 'function') return host.setImmediate(callback);
    return Immediate._make(queues, callback, given(args));
  }

  function clearTimeout(timer?: unknown): void {
    const ours = Timeout._of(timer);
    if (ours === undefined) host.clearTimeout(timer as number);
    else ours.close();
  }

  function clearInterval(timer?: unknown): void {
    clearTimeout(timer);
  }

  function clearImmediate(immediate?: unknown): void {
    if (isImmediate(immediate)) immediate._clear();
    // Up to Node 22, Node's clearImmediate also clears a timer, by accident.
    else if (takesTimers() && typeof immediate === 'object') Timeout._of(immediate)?.close();
    // Only immediates of Node are passed on: for anything else, such a version of Node decrements its
    // count of immediates and may never call the next one.
    if (isOfNode(immediate)) host.clearImmediate(immediate);
  }

  // Kernels that wake themselves by the global timers must not go through these functions, since this
  // may be their own kernel.
  const { clock } = kernel.wq.softclock._dispatcher;
  if (clock instanceof HostClock) for (const func of [setTimeout, setImmediate]) standForHost(func);

  return {
    setTimeout: promisifying(named('setTimeout', setTimeout), promises.setTimeout) as SetTimeout,
    setInterval: named('setInterval', setInterval) as SetTimer,
    setImmediate: promisifying(
      named('setImmediate', setImmediate),
      promises.setImmediate,
    ) as SetImmediate,
    clearTimeout: named('clearTimeout', clearTimeout),
    clearInterval: named('clearInterval', clearInterval),
    clearImmediate: named('clearImmediate', clearImmediate),
    promises,
  };
}

let takes: boolean | undefined;

/** Tells whether Node's `clearImmediate` also clears timers. If so, it reads `_destroyed`. */
function takesTimers(): boolean {
  if (takes === undefined) {
    let looks = false;
    const cleared = {
      get _destroyed(): boolean {
        looks = true;
        return true;
      },
    };
    host.clearImmediate(cleared as unknown as NodeJS.Immediate);
    takes = looks;
  }
  return takes;
}

function isOfNode(immediate: unknown): immediate is NodeJS.Immediate {
  return typeof (immediate as HostImmediate | null | undefined)?._onImmediate === 'function';
}

function given(args: unknown[]): unknown[] | undefined {
  return args.length === 0 ? undefined : args;
}

/** Sets what `util.promisify` returns for a function. */
function promisifying(func: unknown, promised: unknown): unknown {
  return Object.defineProperty(func, promisify.custom, { enumerable: true, value: promised });
}
