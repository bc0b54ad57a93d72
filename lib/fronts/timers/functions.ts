/*
 * The functions of node:timers over the timers of a kernel. A callback that is none is handed to
 * Node's own function, which throws its own error; a timer that is none of ours is Node's to clear.
 */

import * as host from 'node:timers';
import { promisify } from 'node:util';
import { asking } from '../../clock/host.ts';
import type { Kernel } from '../../kernel.ts';
import { named } from '../named.ts';
import { delayMs } from './delay.ts';
import { Immediate } from './immediate.ts';
import { promisesOn, type TimersPromises } from './promises.ts';
import { Timeout } from './timeout.ts';
import { Turns } from './turns.ts';

/**
 * A timer of Node's own, which can be cleared here too.
 *
 * @public
 */
export interface HostTimeout {
  /** Whether it keeps the process alive. */
  hasRef(): boolean;
  /** Starts its delay anew. */
  refresh(): unknown;
}

/**
 * An immediate of Node's own, which can be cleared here too.
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
 * `setInterval`, and what `setTimeout` has in common with it.
 *
 * @public
 */
export interface SetTimer {
  /**
   * Calls a function after a delay.
   *
   * @param callback - called with the arguments, `this` being the timer
   * @param delay - in ms, 1 … 2^53-1, of which the whole part counts; 1 for what is none, or less
   * @returns the timer; in the grace of `Kernel.close` one that is cleared already
   * @throws TypeError ERR_INVALID_ARG_TYPE for a callback that is none; KcontError ESHUTDOWN on a
   * kernel that is closed
   */
  <A extends unknown[]>(callback: (...args: A) => void, delay?: number, ...args: A): Timeout;
  /** The same, for a callback without arguments. */
  (callback: (_: void) => void, delay?: number): Timeout;
}

/**
 * `setTimeout`.
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
 * `setImmediate`.
 *
 * @public
 */
export interface SetImmediate {
  /**
   * Calls a function after the I/O that has arrived.
   *
   * @param callback - called with the arguments, `this` being the immediate
   * @returns the immediate; in the grace of `Kernel.close` one that is cleared already
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
  /** Calls a function again and again, with a delay in between that counts from its start. */
  readonly setInterval: SetTimer;
  /** Calls a function after the I/O that has arrived. */
  readonly setImmediate: SetImmediate;
  /** Clears a timer, by itself or its primitive. It will not be called any more. */
  readonly clearTimeout: (timer?: Timeout | HostTimeout | string | number | null) => void;
  /** The same. */
  readonly clearInterval: (timer?: Timeout | HostTimeout | string | number | null) => void;
  /** Clears an immediate. */
  readonly clearImmediate: (immediate?: Immediate | HostImmediate | null) => void;
  /** The same with promises. */
  readonly promises: TimersPromises;
}

type Func = (...args: never[]) => unknown;

/**
 * Makes the functions for one kernel.
 *
 * @internal
 */
export function functionsOn(kernel: Kernel): Timers {
  const turns = new Turns(kernel);
  const promises = promisesOn(turns);

  function setTimeout(callback: Func, delay?: unknown, ...args: unknown[]): unknown {
    if (typeof callback !== 'function' || asking.now) {
      return host.setTimeout(callback, delay as number, ...(args as []));
    }
    return Timeout._make(turns, callback, delayMs(delay), given(args), false);
  }

  function setInterval(callback: Func, delay?: unknown, ...args: unknown[]): unknown {
    if (typeof callback !== 'function') return host.setInterval(callback);
    return Timeout._make(turns, callback, delayMs(delay), given(args), true);
  }

  function setImmediate(callback: Func, ...args: unknown[]): unknown {
    if (typeof callback !== 'function' || asking.now) {
      return host.setImmediate(callback, ...(args as []));
    }
    return Immediate._make(turns, callback, given(args));
  }

  function clearTimeout(timer?: unknown): void {
    const isPrimitive = typeof timer === 'number' || typeof timer === 'string';
    const ours = isPrimitive ? Timeout._byPrimitive(timer) : timer;
    if (ours instanceof Timeout) ours.close();
    else host.clearTimeout(timer as number);
  }

  function clearInterval(timer?: unknown): void {
    clearTimeout(timer);
  }

  function clearImmediate(immediate?: unknown): void {
    if (immediate instanceof Immediate) immediate._clear();
    // In Node it takes a timer out of its list, by chance.
    else if (immediate instanceof Timeout) immediate.close();
    // Whatever else it is given, Node counts as an immediate less, and may never call the next one.
    else if (isOfNode(immediate)) host.clearImmediate(immediate);
  }

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

function isOfNode(immediate: unknown): immediate is NodeJS.Immediate {
  return typeof (immediate as HostImmediate | null | undefined)?._onImmediate === 'function';
}

function given(args: unknown[]): unknown[] | undefined {
  return args.length === 0 ? undefined : args;
}

/** A function of which `util.promisify` makes another one. */
function promisifying(func: unknown, promised: unknown): unknown {
  return Object.defineProperty(func, promisify.custom, { enumerable: true, value: promised });
}
