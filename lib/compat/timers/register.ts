/**
 * Replaces the global timer functions: `node --import kcont/timers/register app.js`.
 *
 * @remarks
 * The functions run on a separate kernel, so closing the process-wide kernel does not affect the
 * timers of the app. This kernel always uses the clock and timers of the host. If fake timers are
 * installed later, they replace the global functions; timers that were set before, and functions that
 * were saved before, continue in real time, as Node's own do. Other kernels follow the fake timers.
 *
 * @packageDocumentation
 */

import { HostClock } from '../../time/host-clock.ts';
import { Kernel } from '../../core/kernel.ts';
import { FLAG, optionsOf, readOptions } from '../../base/options-check.ts';
import type { DelayRules } from './delay.ts';
import { timersOn, type Timers } from './functions.ts';

/**
 * The kernel on which the global timer functions run.
 *
 * @public
 */
export const kernel: Kernel = new Kernel({ clock: new HostClock(false) });

/**
 * Options of {@link takeOver}.
 *
 * @public
 */
export interface TakeOverOptions {
  /**
   * True: delays of more than 2^31-1 ms are kept. Default false: they become 1 ms, with a warning, as
   * in Node. With `--import`, set it by the environment variable KCONT_LONG_DELAYS=1.
   */
  longDelays?: boolean;
}

const TAKE_OVER = optionsOf<TakeOverOptions>('takeOver', { longDelays: FLAG });

const rules: DelayRules = { longDelays: process.env['KCONT_LONG_DELAYS'] === '1' };
const timers: Timers = timersOn(kernel, rules);

/** The names of the globals that are replaced. */
const NAMES = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
] as const;

type Name = (typeof NAMES)[number];

/** The original properties. */
const before = new Map<Name, PropertyDescriptor>();

/**
 * Replaces the globals, as loading this module does. If they are replaced, it only sets the options.
 *
 * @param options - optional settings; omitted ones keep their values
 * @throws KcontError EINVAL for an invalid option
 *
 * @public
 */
export function takeOver(options?: TakeOverOptions): void {
  const { longDelays = rules.longDelays } = readOptions(options, TAKE_OVER, takeOver);
  rules.longDelays = longDelays;
  for (const name of NAMES) {
    const found = Object.getOwnPropertyDescriptor(globalThis, name);
    if (found === undefined || found.value === timers[name]) continue;
    before.set(name, found);
    Object.defineProperty(globalThis, name, {
      configurable: true,
      enumerable: true,
      writable: true,
      value: timers[name],
    });
  }
}

/**
 * Restores the original globals. Timers that are set stay set, and can still be cleared.
 *
 * @returns true if all globals were restored; false if other code has replaced some of them since,
 * which are left as they are
 *
 * @public
 */
export function restore(): boolean {
  let all = true;
  for (const [name, found] of before) {
    if (globalThis[name] === (timers[name] as unknown)) {
      Object.defineProperty(globalThis, name, found);
      before.delete(name);
    } else all = false;
  }
  return all;
}

takeOver();
