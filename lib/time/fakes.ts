/*
 * Recognizing fake timers: what stands in for `setTimeout` among the globals, and what tells the
 * time with it. Where `setTimeout` is the host's, nothing else that is faked matters.
 *
 *    setTimeout is                                       time is told by
 *    the host's, or one of a kernel on the host's clock  the host: no fakes
 *    of @sinonjs/fake-timers (sinon, vitest, jest)       its clock, whatever else it fakes
 *    another, and `performance` is replaced              that
 *    another, and `Date` is replaced (node:test)         that
 *    another, and calls the host's (a spy, a monitor)    the host: no fakes
 *    another                                             nobody: `tell` is undefined
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

/** Marks functions that work by a kernel on the host's clock, to all copies of this module. */
const MARK = Symbol.for('kcont.host');

/** Functions that have been seen to call the host's. */
const wrappers = new WeakSet<object>();

/** The fake of node:test keeps the prototype, and so the constructor, of the real one. */
const RealDate = Date.prototype.constructor as DateConstructor;

/** A function that works by a kernel on the host's clock is no fake. */
export function standForHost(func: object): void {
  Object.defineProperty(func, MARK, { value: func });
}

/** The global `setTimeout`; undefined: it was taken away. */
export function globalTimeout(): typeof setTimeout | undefined {
  return typeof setTimeout === 'function' ? setTimeout : undefined;
}

/** Whether a global `setTimeout` or `setImmediate` is the host's, or as good. */
export function isHosts(func: object | undefined): boolean {
  // Taken away: nothing stands in for the host's.
  if (func === undefined) return true;
  if (func === real.setTimeout) return isTimeoutKnown();
  // A copy of the mark, on a function that wraps ours, names another function.
  return (
    func === real.setImmediate ||
    (func as { [MARK]?: unknown })[MARK] === func ||
    wrappers.has(func)
  );
}

/** Fake timers that are installed, or were. */
export class Fakes {
  readonly setTimeout: typeof setTimeout = setTimeout;
  /** Undefined: immediates are the host's. */
  readonly setImmediate: typeof setImmediate | undefined;
  readonly clearImmediate: typeof clearImmediate;
  /** Milliseconds by the clock that goes with them; undefined: there is none. */
  tell: (() => number) | undefined;
  /** The clock can be asked, and timers cleared, when they have been uninstalled too. */
  readonly lasts: boolean;
  readonly #clearTimeout: (timer: unknown) => void;
  readonly #immediate: unknown = globalThis.setImmediate;
  readonly #performance: typeof performance = performance;
  readonly #date: DateConstructor = Date;
  /** node:test installs the same `setTimeout` again, and never the same one of these. */
  readonly #promised: unknown = timersPromises.setTimeout;

  constructor() {
    const clock = clockOf(setTimeout) ?? clockOf(clearTimeout);
    this.tell = teller(clock?.performance);
    this.lasts = clock !== undefined;
    this.#clearTimeout = clock?.clearTimeout ?? (clearTimeout as (timer: unknown) => void);
    // jsdom has none.
    const immediate: unknown = this.#immediate;
    const isFake = typeof immediate === 'function' && !isHosts(immediate);
    this.setImmediate = isFake ? (immediate as typeof setImmediate) : undefined;
    this.clearImmediate = globalThis.clearImmediate;
  }

  /** Whether they are what stands among the globals. */
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

/** What tells the time with a `setTimeout` that is not the host's. */
function teller(ofClock: FakeClock['performance']): (() => number) | undefined {
  // jest makes what its fakes have been unusable once a test file is over.
  if (ofClock !== undefined) return ofClock.now;
  const { performance: found } = globalThis;
  const isReplaced = found !== hostPerformance || found.now !== hostNow;
  // What another library fakes goes its own way.
  if (isReplaced && clockOf(found) === undefined) return found.now.bind(found);
  const FoundDate = Date;
  if (FoundDate !== RealDate && clockOf(FoundDate) === undefined) return () => FoundDate.now();
  return undefined;
}

let probing = false;

/** Looks among the globals; null: time is the host's. */
export function findFakes(): Fakes | null {
  recover();
  // A kernel has asked for the time: what is being tried works by it.
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

/** Tries whether a function hands on to the host's `setTimeout`, by what it returns. */
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
    // A field of Node's lists.
    return !probing || Object.hasOwn(Object(timer) as object, '_idlePrev');
  } catch {
    return false;
  }
}
