/*
 * The functions of node:timers over the timers of a kernel. A callback that is none is handed to
 * Node's own function, which throws its own error; a timer that is none of ours is Node's to clear.
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

const made = new WeakMap<Kernel, Timers>();

/**
 * The functions of one kernel: the same ones whenever asked.
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
    // Up to Node 22 it takes a timer out of its list, by chance.
    else if (takesTimers() && typeof immediate === 'object') Timeout._of(immediate)?.close();
    // Whatever else it is given, such a Node counts as an immediate less, and may never call the next one.
    if (isOfNode(immediate)) host.clearImmediate(immediate);
  }

  // Other kernels need not go through them to wake themselves, and must not if this is their own.
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

/** Whether `clearImmediate` of the running Node takes away timers: then it looks at what it is given. */
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

/** A function of which `util.promisify` makes another one. */
function promisifying(func: unknown, promised: unknown): unknown {
  return Object.defineProperty(func, promisify.custom, { enumerable: true, value: promised });
}
