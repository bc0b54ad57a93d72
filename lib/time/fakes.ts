/*
 * Recognizes fake timers: finds out what the global `setTimeout` is, and which clock goes with it. If
 * `setTimeout` is the host's, other fakes do not matter.
 *
 *    setTimeout is                                       time is told by
 *    the host's, or one of a kernel on the host's clock  the host: no fakes
 *    of @sinonjs/fake-timers (sinon, vitest, jest)       its clock, whatever else it fakes
 *    another, and `performance` is replaced              that `performance`
 *    another, and `Date` is replaced (node:test)         that `Date`
 *    another, and calls the host's (a spy, a monitor)    the host: no fakes
 *    another                                             no clock: `tell` is undefined
 */

import timersPromises from 'node:timers/promises';
import {
  clockOf,
  hostNow,
  hostPerformance,
  isTimeoutKnown,
  real,
  recover,
  type FakeClock,
} from '../base/host-functions.ts';
import { nothing } from '../base/nothing.ts';

/** Longest delay of a timer of the host and of its fakes, in ms. */
export const LONGEST_MS: number = 2 ** 31 - 1;

/** Marks functions that use a kernel on the host's clock; all copies of this module see the mark. */
const MARK = Symbol.for('kcont.host');

/** Functions that were observed to call the host's function. */
const wrappers = new WeakSet<object>();

/** The real `Date`: the fake of node:test keeps its prototype, and so its constructor. */
const RealDate = Date.prototype.constructor as DateConstructor;

/** Marks a function that uses a kernel on the host's clock, so that it does not count as a fake. */
export function standForHost(func: object): void {
  Object.defineProperty(func, MARK, { value: func });
}

/** The global `setTimeout`; undefined: it was deleted. */
export function globalTimeout(): typeof setTimeout | undefined {
  return typeof setTimeout === 'function' ? setTimeout : undefined;
}

/** Whether a global `setTimeout` or `setImmediate` is the host's, or uses the host's clock. */
export function isHosts(func: object | undefined): boolean {
  // It was deleted, and not replaced.
  if (func === undefined) return true;
  if (func === real.setTimeout) return isTimeoutKnown();
  // A wrapper may have copied the mark of our function; the copy does not name the wrapper.
  return (
    func === real.setImmediate ||
    (func as { [MARK]?: unknown })[MARK] === func ||
    wrappers.has(func)
  );
}

/** Fake timers that are installed, or were. */
export class Fakes {
  readonly setTimeout: typeof setTimeout = setTimeout;
  /** The fake `setImmediate`; undefined: it is the host's. */
  readonly setImmediate: typeof setImmediate | undefined;
  readonly clearImmediate: typeof clearImmediate;
  /** Returns the time in ms by their clock; undefined: they have no clock. */
  tell: (() => number) | undefined;
  /** Whether the clock can be read and timers cleared even after they have been uninstalled. */
  readonly lasts: boolean;
  readonly #clearTimeout: (timer: unknown) => void;
  readonly #immediate: unknown = globalThis.setImmediate;
  readonly #performance: typeof performance = performance;
  readonly #date: DateConstructor = Date;
  /** Tells sessions of node:test apart: these functions differ, its `setTimeout` is always the same. */
  readonly #promised: unknown = timersPromises.setTimeout;

  constructor() {
    const clock = clockOf(setTimeout) ?? clockOf(clearTimeout);
    this.tell = teller(clock?.performance);
    this.lasts = clock !== undefined;
    this.#clearTimeout = clock?.clearTimeout ?? (clearTimeout as (timer: unknown) => void);
    // jsdom has no `setImmediate`.
    const immediate: unknown = this.#immediate;
    const isFake = typeof immediate === 'function' && !isHosts(immediate);
    this.setImmediate = isFake ? (immediate as typeof setImmediate) : undefined;
    this.clearImmediate = globalThis.clearImmediate;
  }

  /** Whether they are the current globals. */
  get installed(): boolean {
    return (
      globalTimeout() === this.setTimeout &&
      globalThis.setImmediate === this.#immediate &&
      performance === this.#performance &&
      Date === this.#date &&
      timersPromises.setTimeout === this.#promised
    );
  }

  clearTimeout(timer: unknown): void {
    this.#clearTimeout(timer);
  }
}

/** Finds the clock that goes with a `setTimeout` that is not the host's. */
function teller(ofClock: FakeClock['performance']): (() => number) | undefined {
  // Bound to the clock, not to the globals: jest makes those unusable once a test file is over.
  if (ofClock !== undefined) return ofClock.now;
  const { performance: found } = globalThis;
  const isReplaced = found !== hostPerformance || found.now !== hostNow;
  // A `performance` or `Date` faked by @sinonjs/fake-timers does not move with this `setTimeout`.
  if (isReplaced && clockOf(found) === undefined) return found.now.bind(found);
  const FoundDate = Date;
  if (FoundDate !== RealDate && clockOf(FoundDate) === undefined) return () => FoundDate.now();
  return undefined;
}

let probing = false;

/** Looks for fakes in the globals; null: time is the host's. */
export function findFakes(): Fakes | null {
  recover();
  // A kernel reads the time during the probe, so the probed function uses that kernel.
  if (probing) {
    probing = false;
    return null;
  }
  if (isHosts(globalTimeout())) return null;
  const fakes = new Fakes();
  if (fakes.tell !== undefined || !callsHost(fakes)) return fakes;
  wrappers.add(setTimeout);
  return null;
}

/** Tests whether a function calls the host's `setTimeout`, by what it returns. */
function callsHost(fakes: Fakes): boolean {
  probing = true;
  const calls = handsOn(fakes);
  probing = false;
  return calls;
}

function handsOn(fakes: Fakes): boolean {
  try {
    const timer: unknown = fakes.setTimeout(nothing, LONGEST_MS);
    fakes.clearTimeout(timer);
    // A field of Node's own timers.
    return !probing || Object.hasOwn(Object(timer) as object, '_idlePrev');
  } catch {
    return false;
  }
}
