/*
 * The only door to the host's time, timers and immediates.
 *
 * Kernels obey fake timers. Time and waking always have the same source:
 *
 *   host    as long as the global `setTimeout` is the host's. Its functions are those that were
 *           taken at load (real.ts), whatever else is faked.
 *   fakes   time is what goes with the `setTimeout` that is faked (fakes.ts); each PENDING
 *           continuation has a fake timer (alarms.ts), in whose callback it runs.
 *
 * One source follows the other without a gap: time goes on from where it is, never back. That it
 * is another one is seen when the clock is read or something is asked of it; the compiler knows
 * a global function that was never assigned by heart, so it costs nothing. If nothing is asked
 * while fakes are there, a look every few ms finds that they are gone, by a timer that nobody
 * fakes; and one more before the process would end, for fakes keep no process alive.
 *
 * While a callback of the fakes is a whole ms, a tick begins on it: 1000 ms are over after
 * `tick(1000)`, and not after 999. So the first fake ms begins on a tick, up to 1.25 ms ahead of
 * the host; when the host is back, time stands still for as long: no timer is early by that.
 */

import { markError } from '../base/errors.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Clock, Driven, Waker } from './clock.ts';
import { findFakes, globalTimeout, isHosts, type Fakes } from './fakes.ts';
import { HostWaker } from './host-waker.ts';
import {
  hostNanos,
  hostNow,
  hostPerformance,
  microtask,
  nextTick,
  nobody,
  real,
  unfakedLater,
} from '../base/host-functions.ts';

export { standForHost } from './fakes.ts';
export { microtask } from '../base/host-functions.ts';

/** Calls a function in the context of no request. */
export function inNoContext<R>(func: () => R): R {
  return nobody.runInAsyncScope(func);
}

/** Calls a function when all microtasks are over: those in the queue, and those they add. */
export function afterMicrotasks(func: () => void): void {
  // Ticks that a microtask asks for wait until no microtask is left.
  microtask(() => nextTick(func));
}

/**
 * What Node itself calls between two timers and between two immediates: empties the queues of
 * `process.nextTick` and of microtasks. It has always been on `process`, and is not documented.
 * With `--pending-deprecation` a function that warns is in its place, which is left alone.
 */
export const runNextTicks: (() => void) | undefined = named(
  'runNextTicks',
  (process as { _tickCallback?: unknown })._tickCallback,
);

function named(name: string, found: unknown): (() => void) | undefined {
  return typeof found === 'function' && found.name === name ? (found as () => void) : undefined;
}

/**
 * Whether somebody could see that a tick or a microtask threw while a callback of the host is on the
 * stack: when the error has been handled, Node tells the `after` hooks of all callbacks on the stack,
 * and when ours ends, tells it again. Hooks show in the ids that promises have while there are any.
 * Asked once a turn: 0.1 us.
 */
export function isWatched(): boolean {
  const handled =
    process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
  return handled && Object.getOwnPropertySymbols(Promise.resolve()).length > 0;
}

/** What a reading may be ahead of time: that of ClockSampler, in a burst. */
const AHEAD_MS = 0.25;
/** Under fakes: how often it is looked whether they are gone, in ms. */
const LOOK_MS = 5;
/** Phases are multiples of this, so that sums of times and whole ms are exact for 139 years. */
const PHASE_MS = 2 ** -10;

/** In the place of a global function: whoever compares with it looks. */
const lookAlways = (() => undefined) as unknown as typeof setTimeout;

/** The monotonic clock of the host, or of fake timers that stand in for it. */
export class HostClock implements Clock {
  /** Aligns ticks with those of the event loop's own clock, so that its timers fire on them. */
  readonly _phase: number;
  /** The global function for which time is the host's. */
  _hosts: typeof setTimeout | undefined = isHosts(real.setTimeout) ? real.setTimeout : lookAlways;
  /** Null: time is the host's. */
  _fakes: Fakes | null = null;
  readonly #obeys: boolean;
  /** Time is, or was, that of fakes. */
  #parted = false;
  /** Host: what is added to its time, a whole number. */
  #shiftMs = 0;
  /** The last time that was told; in the host's, time stands still until it is over. */
  #lastMs = -Infinity;
  /** Fakes: the time when they told `#originMs`. */
  #baseMs = 0;
  #originMs = 0;
  /** How much the fakes' time is ahead of what has gone by. */
  #aheadMs = 0;
  /** When the host's time was left. */
  #leftMs = 0;
  #wakers: WeakRef<HostWaker>[] = [];
  /** Who has asked the fakes for something: it is kept, and looked after. */
  readonly #asking = new Set<HostWaker>();
  #watching = false;

  /** @param obeys - whether fake timers tell its time, too */
  constructor(obeys = true) {
    this.#obeys = obeys;
    // In this order: a phase that errs is too large, and a tick then never begins after the loop's.
    const now = hostNow.call(hostPerformance);
    const loopMs = Number(hostNanos()) / 1e6;
    this._phase = (Math.ceil((loopMs - now) / PHASE_MS) * PHASE_MS) % 1;
  }

  get _samples(): boolean {
    if (globalTimeout() !== this._hosts) this._look();
    return this._fakes === null;
  }

  get now(): number {
    // Not by `globalTimeout`: 1 of 45 ns.
    if ((typeof setTimeout === 'function' ? setTimeout : undefined) !== this._hosts) this._look();
    return this.#parted ? this.#partedNow() : hostNow.call(hostPerformance);
  }

  #partedNow(): number {
    let nowMs = hostNow.call(hostPerformance) + this.#shiftMs;
    if (this._fakes !== null) {
      const { tell } = this._fakes;
      if (tell === undefined) return this.#lastMs;
      const toldMs = tell();
      nowMs = this.#baseMs + (toldMs - this.#originMs);
      if (nowMs < this.#lastMs) this.#begin(toldMs);
    }
    if (nowMs > this.#lastMs) this.#lastMs = nowMs;
    return this.#lastMs;
  }

  /** Time goes on from what is told now. */
  #begin(toldMs: number): void {
    this.#baseMs = this.#lastMs;
    this.#originMs = toldMs;
  }

  /** An alarm has rung: it is so late, at least. */
  _passed(atMs: number): void {
    const fakes = this._fakes;
    if (fakes === null || this.now >= atMs) return;
    // What tells the time does not go with what wakes: it is believed no more.
    fakes.tell = undefined;
    this.#lastMs = atMs;
    this.#baseMs = atMs;
    this.#leftMs = hostNow.call(hostPerformance);
  }

  /** Looks whether fakes have come or gone. */
  _look(): void {
    if (!this.#obeys) this._hosts = globalTimeout();
    else if (this._fakes === null) {
      const found = isHosts(globalTimeout()) ? null : findFakes();
      if (found !== null) this.#enterFakes(found);
      else if (this._fakes === null) this._hosts = globalTimeout();
    } else if (!this._fakes.installed) {
      const found = findFakes();
      if (this._fakes !== null) this.#leaveFakes(this._fakes, found);
    }
  }

  #enterFakes(fakes: Fakes): void {
    const hostMs = hostNow.call(hostPerformance);
    const goneMs = hostMs + this.#shiftMs;
    this.#beginFakes(fakes, Math.max(goneMs, this.#lastMs) + AHEAD_MS);
    this.#aheadMs = this.#lastMs - goneMs;
    this.#leftMs = hostMs;
    this.#tellWakers();
  }

  #leaveFakes({ tell, lasts }: Fakes, next: Fakes | null): void {
    const hostMs = hostNow.call(hostPerformance);
    if (tell === undefined) {
      // Nothing has told that time has stood still.
      this.#lastMs = Math.max(this.#lastMs, this.#baseMs + hostMs - this.#leftMs);
    } else if (lasts) this.#partedNow();
    const lastMs = this.#lastMs;
    if (next !== null) {
      this.#beginFakes(next, lastMs);
      this.#aheadMs += this.#lastMs - lastMs;
      this.#leftMs = hostMs;
    } else {
      this._fakes = null;
      this._hosts = globalTimeout();
      this.#shiftMs = Math.floor(lastMs - this.#aheadMs - hostMs + PHASE_MS);
    }
    this.#tellWakers();
  }

  /** On a tick, for fakes count whole ms. */
  #beginFakes(fakes: Fakes, fromMs: number): void {
    this._fakes = fakes;
    this._hosts = lookAlways;
    this.#parted = true;
    this.#lastMs = Math.ceil(fromMs + this._phase) - this._phase;
    this.#begin(fakes.tell?.() ?? 0);
  }

  #tellWakers(): void {
    const wakers = this.#wakers;
    this.#wakers = wakers.filter((ref) => ref.deref() !== undefined);
    for (const ref of wakers) ref.deref()?.sourceChanged();
    if (this._fakes === null) {
      this.#asking.clear();
      underFakes.delete(this);
      if (underFakes.size === 0) process.off('beforeExit', lookAll);
    }
  }

  /** Keeps who has asked the fakes for something, and sees to it that it hears when they are gone. */
  _keep(waker: HostWaker): void {
    this.#asking.add(waker);
    if (this.#watching) return;
    this.#watching = true;
    unfakedLater(this.#watch, LOOK_MS);
    underFakes.add(this);
    process.off('beforeExit', lookAll).on('beforeExit', lookAll);
  }

  readonly #watch = (): void => {
    this.#watching = false;
    this._lookForEnd();
    for (const waker of this.#asking) {
      if (waker.asks) {
        this._keep(waker);
        return;
      }
      this.#asking.delete(waker);
    }
  };

  /** Looks whether fakes have gone. */
  _lookForEnd(): void {
    if (this._fakes !== null) this._look();
  }

  _drive(driven: Driven): Waker {
    const waker = new HostWaker(this, driven);
    this.#wakers.push(new WeakRef(waker));
    return waker;
  }

  _raise(error: unknown): void {
    microtask(() => {
      throw error;
    });
  }

  _escaping(kc: Kcont<unknown>): void {
    // Fakes hand it to whoever moves their time.
    if (this._fakes === null) markNextUncaught(kc);
  }

  _drain(): boolean {
    // Fakes call from within synchronous code, which promises do not interrupt. The host's queues are
    // emptied by runNextTicks, or behind the pass.
    return !this._samples;
  }

  get _turns(): boolean {
    return this._samples;
  }
}

/** Clocks of which something was asked under fakes: they have one listener of the process. */
const underFakes = new Set<HostClock>();

function lookAll(): void {
  for (const clock of underFakes) clock._lookForEnd();
}

/** Whose function has thrown what is uncaught next. */
let escaping: Kcont<unknown> | undefined = undefined;

/**
 * Has the exception that is uncaught next, in this turn, name a continuation. Caught and thrown again, it
 * would be reported with a line of ours in place of the user's.
 */
export function markNextUncaught(kc: Kcont<unknown>): void {
  escaping = kc;
  process.off('uncaughtExceptionMonitor', mark).once('uncaughtExceptionMonitor', mark);
  afterMicrotasks(() => {
    escaping = undefined;
  });
}

function mark(error: unknown): void {
  if (escaping !== undefined) markError(error, escaping, true);
}

/** Milliseconds on a monotonic axis that all threads of the process have in common. */
export function commonMs(): number {
  return Number(hostNanos()) / 1e6;
}

/** The clock of the process-wide kernel, and of every kernel that is given none. */
export const hostClock: HostClock = new HostClock();

/** Resolves in a later turn of the real event loop, when all promises have settled. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    atEndOfTurn(resolve);
  });
}

/** Calls a function in the check phase of this turn, or of the next from within one. */
export function atEndOfTurn(callback: () => void): NodeJS.Immediate {
  return nobody.runInAsyncScope(real.setImmediate, undefined, callback);
}
