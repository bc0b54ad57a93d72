/*
 * The clock of the host, and of fake timers that stand in for it. Other modules get time and wake-ups
 * through it, not from Node directly.
 *
 * Kernels obey fake timers. Time and wake-ups always have the same source:
 *
 *   host    while the global `setTimeout` is the host's. The functions are those captured at load
 *           (base/host-functions.ts), whatever else is faked.
 *   fakes   time is that of the faked `setTimeout` (fakes.ts); each PENDING continuation has a fake
 *           timer (alarms.ts) and runs in its callback.
 *
 * The sources follow each other without a gap: time continues from its current value and never goes
 * back. A change of source is noticed when the clock is read or asked for a callback; the check costs
 * nothing, because the compiler treats a global function that was never assigned as a constant. While
 * something is requested from the fakes, a real timer also checks every few ms whether they are gone.
 * `beforeExit` checks too, because fake timers do not keep the process alive.
 *
 * Fakes count whole ms, so a tick must begin at each whole ms of the fakes: a timer of 1000 ms has to fire in
 * `tick(1000)` and not in `tick(999)`. When fakes are installed, time is therefore moved forward to the
 * ms, by up to 1.04 ms. When they are removed, time stands still until the host has caught up by
 * that amount, so that no timer is early.
 */

import { markError } from '../base/errors.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Clock, Driven, Waker } from './clock.ts';
import { MARGIN_MS } from './clock-sampling.ts';
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

/** Calls a function in an empty async context. */
export function inNoContext<R>(func: () => R): R {
  return nobody.runInAsyncScope(func);
}

/** Calls a function after all microtasks: those in the queue, and those that they add. */
export function afterMicrotasks(func: () => void): void {
  // A `nextTick` requested by a microtask runs when no microtask is left.
  microtask(() => nextTick(func));
}

/**
 * The function that Node calls between two timers and between two immediates: it empties the queues of
 * `process.nextTick` and of microtasks. It has always been on `process`, but is not documented. With
 * `--pending-deprecation`, Node replaces it by a function that warns; then this is undefined.
 */
export const runNextTicks: (() => void) | undefined = named(
  'runNextTicks',
  (process as { _tickCallback?: unknown })._tickCallback,
);

function named(name: string, found: unknown): (() => void) | undefined {
  return typeof found === 'function' && found.name === name ? (found as () => void) : undefined;
}

/**
 * True if the program handles uncaught exceptions and has async hooks installed. If a
 * `process.nextTick` callback or a microtask then throws while our callback is on the stack, Node calls
 * the `after` hook of our callback twice: after the error has been handled, and when the callback ends.
 * Node has no query for installed hooks, but with hooks a promise has symbol properties for its ids. Costs
 * 0.1 us, once per turn.
 */
export function isWatched(): boolean {
  const handled =
    process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
  return handled && Object.getOwnPropertySymbols(Promise.resolve()).length > 0;
}

/** Under fakes: how often to check whether they are gone, in ms. */
const LOOK_MS = 5;
/** Phases are multiples of this, so that sums of times and whole ms are exact for 139 years. */
const PHASE_MS = 2 ** -10;

/** Equal to no global function, so that each comparison leads to a look. */
const lookAlways = (() => undefined) as unknown as typeof setTimeout;

/** The monotonic clock of the host, or of fake timers that stand in for it. */
export class HostClock implements Clock {
  /**
   * The offset that aligns ticks with the whole ms of the event loop's clock.
   */
  readonly _phase: number;
  /** While the global `setTimeout` is this function, time is the host's. */
  _hosts: typeof setTimeout | undefined = isHosts(real.setTimeout) ? real.setTimeout : lookAlways;
  /** The installed fakes; null: time is the host's. */
  _fakes: Fakes | null = null;
  readonly #obeys: boolean;
  /** Whether time is, or was, that of fakes. */
  #parted = false;
  /** Host: the offset that is added to its time, a whole number. */
  #shiftMs = 0;
  /** The last time that was returned; on the host, time stands still until that time is reached. */
  #lastMs = -Infinity;
  /** Fakes: the time at which their clock was at `#originMs`. */
  #baseMs = 0;
  #originMs = 0;
  /** By how much time was moved forward to a whole ms when fakes were installed; taken back when they are gone. */
  #aheadMs = 0;
  /** The host's time at which fakes took over. */
  #leftMs = 0;
  #wakers: WeakRef<HostWaker>[] = [];
  /** Wakers that have asked the fakes for something: kept alive, and told when the fakes are gone. */
  readonly #asking = new Set<HostWaker>();
  #watching = false;

  /** @param obeys - whether it follows fake timers */
  constructor(obeys = true) {
    this.#obeys = obeys;
    // Read in this order, the phase can only come out too large, so a tick begins no later than that of
    // the event loop.
    const now = hostNow.call(hostPerformance);
    const loopMs = Number(hostNanos()) / 1e6;
    this._phase = (Math.ceil((loopMs - now) / PHASE_MS) * PHASE_MS) % 1;
  }

  get _samples(): boolean {
    if (globalTimeout() !== this._hosts) this._look();
    return this._fakes === null;
  }

  get now(): number {
    // Not by calling `globalTimeout`, which would cost 1 of 45 ns.
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

  /** Continues from the last time, starting at this reading of the fakes. */
  #begin(toldMs: number): void {
    this.#baseMs = this.#lastMs;
    this.#originMs = toldMs;
  }

  /** Called when an alarm has rung: the time is at least `atMs`. */
  _passed(atMs: number): void {
    const fakes = this._fakes;
    if (fakes === null || this.now >= atMs) return;
    // Their clock does not match their timers: ignore it from now on.
    fakes.tell = undefined;
    this.#lastMs = atMs;
    this.#baseMs = atMs;
    this.#leftMs = hostNow.call(hostPerformance);
  }

  /** Checks whether fakes have been installed or removed. */
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
    // In a burst, times are ahead of the clock by that margin.
    this.#beginFakes(fakes, Math.max(goneMs, this.#lastMs) + MARGIN_MS);
    this.#aheadMs = this.#lastMs - goneMs;
    this.#leftMs = hostMs;
    this.#tellWakers();
  }

  #leaveFakes({ tell, lasts }: Fakes, next: Fakes | null): void {
    const hostMs = hostNow.call(hostPerformance);
    if (tell === undefined) {
      // The fakes told no time, so only alarms have moved it. It catches up with the host's.
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

  /** Begins at a whole ms, because fakes count whole ms. */
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
      this.#forget();
    }
  }

  /** Keeps a waker that has asked the fakes for something, and checks regularly whether they are gone. */
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
    this.#forget();
  };

  /** Nothing is requested from the fakes: whether they are gone is noticed when the clock is read. */
  #forget(): void {
    underFakes.delete(this);
    if (underFakes.size === 0) process.off('beforeExit', lookAll);
  }

  /** Checks whether fakes have been removed. */
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
    // Under fakes, it is thrown to the code that moves their time.
    if (this._fakes === null) markNextUncaught(kc);
  }

  _drain(): boolean {
    // Fakes call back from synchronous code, during which promises do not settle. The host's queues are
    // emptied by runNextTicks, or after the pass.
    return !this._samples;
  }

  get _turns(): boolean {
    return this._samples;
  }
}

/** Clocks with pending requests to fakes; they share one listener of the process. */
const underFakes = new Set<HostClock>();

function lookAll(): void {
  for (const clock of underFakes) clock._lookForEnd();
}

/** The continuation whose function threw the next uncaught exception. */
let escaping: Kcont<unknown> | undefined = undefined;

/**
 * Marks the next uncaught exception of this turn with a continuation. The error is not caught and thrown
 * again, because Node would then report a line of kcont instead of the user's.
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

/** Returns the monotonic time in ms on a clock that all threads of the process share. */
export function commonMs(): number {
  return Number(hostNanos()) / 1e6;
}

/** The clock of the process-wide kernel, and the default of every other kernel. */
export const hostClock: HostClock = new HostClock();

/** Resolves in a later turn of the real event loop, after all promises have settled. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    atEndOfTurn(resolve);
  });
}

/** Calls a function in the check phase of this turn, or of the next turn if called in a check phase. */
export function atEndOfTurn(callback: () => void): NodeJS.Immediate {
  return nobody.runInAsyncScope(real.setImmediate, undefined, callback);
}
