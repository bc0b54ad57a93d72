/*
 * The only door to the host's time, timers and immediates.
 *
 * The globals are looked up at every call, so that a kernel obeys fake timers. When they are
 * swapped, time goes on from where it was last read, and what was asked of the old functions is
 * asked again of the new ones.
 *
 *      turn of the loop:  timers -> poll (I/O) -> check -> ...
 *                            |                      |
 *                       timerFired()              pass()
 *
 * A pass runs as an immediate, in the check phase, so I/O that had arrived comes before it. Both
 * callbacks are made in the context in which this module was loaded, that of no request: an
 * immediate would otherwise carry the AsyncLocalStorage store of whoever asked for it.
 *
 * While nothing scheduled keeps the process alive, neither does the immediate. But Node does not end
 * a poll phase for an immediate that is unref'd, so something else that is unref'd has to:
 *
 *   timer     of 1 ms: 0.1 us, and 1.1 ms until the pass if nothing arrives sooner
 *   message   to a port: 6 us, and 0.07 ms until the pass. Where the armed timer has fired: what is
 *             due then has waited for up to a ms already
 */

import { AsyncResource } from 'node:async_hooks';
import type { MessagePort } from 'node:worker_threads';
import type { Clock, Driven, Waker } from './clock.ts';

/**
 * The context of no request. To run in it costs 17 ns; by `AsyncLocalStorage.snapshot()`, which
 * does the same, 149 ns (Node 20).
 */
const nobody = new AsyncResource('KCONT', { requireManualDestroy: true });

/** Calls a function in the context of no request. */
export function inNoContext<R>(func: () => R): R {
  return nobody.runInAsyncScope(func);
}

/** Taken at load: errors are raised also while fake timers stand in. */
const { queueMicrotask } = globalThis;
const { nextTick } = process;

/** Calls a function when all microtasks are over: those in the queue, and those they add. */
export function afterMicrotasks(func: () => void): void {
  // Ticks that a microtask asks for wait until no microtask is left.
  queueMicrotask(() => nextTick(func));
}

/**
 * What Node itself calls between two timers and between two immediates: empties the queues of
 * `process.nextTick` and of microtasks. It has always been on `process`, and is not documented.
 * With `--pending-deprecation` a function that warns is in its place, which is left alone.
 */
const runNextTicks: (() => void) | undefined = named(
  'runNextTicks',
  (process as { _tickCallback?: unknown })._tickCallback,
);

function named(name: string, found: unknown): (() => void) | undefined {
  return typeof found === 'function' && found.name === name ? (found as () => void) : undefined;
}

/**
 * `now`: a kernel is asking the host to wake it, by way of the globals. What has been put there
 * and works by a kernel itself has to pass the call on to the host's own function.
 */
export const asking: { now: boolean } = { now: false };

/** Calls one of the host's functions, in the context of no request. */
function ask<A extends unknown[], R>(func: (...args: A) => R, ...args: A): R {
  asking.now = true;
  try {
    return nobody.runInAsyncScope(func, undefined, ...args);
  } finally {
    asking.now = false;
  }
}

/** The host's own: who fakes time may change the object itself. */
const hostPerformance: typeof performance = globalThis.performance;
const hostNow = hostPerformance.now;
const hostSetTimeout = globalThis.setTimeout;
const hostClearTimeout = globalThis.clearTimeout;

/** Longest delay of the host's timer; longer ones are armed again on the way. */
const LONGEST_MS = 2 ** 31 - 1;

/** The monotonic clock of the host. */
export class HostClock implements Clock {
  /** Aligns ticks with those of the event loop's own clock, so that its timers fire on them. */
  readonly _phase: number;
  /** The global function when it was last looked whether others stand in. */
  #setTimeout: typeof setTimeout = hostSetTimeout;
  #swapped = false;
  #performance: typeof performance = hostPerformance;
  #shiftMs = 0;

  constructor() {
    // In this order: a phase that errs is too large, and a tick then never begins after the loop's.
    const { now } = this;
    const loopMs = Number(process.hrtime.bigint()) / 1e6;
    this._phase = (loopMs - now) % 1;
  }

  get _rations(): boolean {
    if (setTimeout !== this.#setTimeout) this.#look();
    return this.#performance === hostPerformance;
  }

  /**
   * Whoever fakes time fakes `setTimeout`: the engine knows a global function that was never
   * assigned by heart, while `performance` is a getter (15 of 75 ns).
   */
  get now(): number {
    if (setTimeout !== this.#setTimeout) this.#look();
    return this.#swapped ? this.#performance.now() + this.#shiftMs : hostNow.call(hostPerformance);
  }

  /**
   * If another clock stands in, time goes on from where it is. Ticks begin where they begin for the
   * host, or at the whole milliseconds of a fake.
   */
  #look(): void {
    this.#setTimeout = setTimeout;
    const { performance } = globalThis;
    if (performance === this.#performance) return;
    const lastMs = this.now;
    const phase = performance === hostPerformance ? 0 : this._phase;
    this.#performance = performance;
    this.#swapped = true;
    this.#shiftMs = Math.ceil(lastMs - performance.now() + phase) - phase;
  }

  _drive(driven: Driven): Waker {
    return new HostWaker(this, driven);
  }

  _raise(error: unknown): void {
    queueMicrotask(() => {
      throw error;
    });
  }

  _drain(): boolean {
    // A fake clock calls from within synchronous code, which promises do not interrupt.
    if (!this._rations) return true;
    runNextTicks?.();
    return runNextTicks !== undefined;
  }

  get _turns(): boolean {
    return this._rations;
  }
}

class HostWaker implements Waker {
  readonly #clock: HostClock;
  readonly #pass: () => void;
  readonly #timerFired: () => void;
  /** The function that was asked for a pass; undefined: none is asked for. */
  #requested: typeof setImmediate | undefined = undefined;
  #immediate: NodeJS.Immediate | undefined = undefined;
  #clear: typeof clearImmediate = clearImmediate;
  #timer: NodeJS.Timeout | undefined = undefined;
  #armedBy: typeof setTimeout | undefined = undefined;
  #disarm: typeof clearTimeout = clearTimeout;
  #armedAtMs = Infinity;
  #keepAlive = false;
  /** Ends the poll phase before a pass that keeps nothing alive. */
  #alarm: NodeJS.Timeout | undefined = undefined;
  #alarmed = false;
  /** In the timers phase: a timer of 1 ms fires in the next one. */
  #firing = false;

  constructor(clock: HostClock, driven: Driven) {
    this.#clock = clock;
    this.#pass = () => {
      this.#requested = undefined;
      driven.pass();
    };
    this.#timerFired = () => {
      this.#timer = undefined;
      this.#armedAtMs = Infinity;
      this.#firing = true;
      driven.timerFired();
      this.#firing = false;
    };
  }

  request(): void {
    if (this.#requested === setImmediate) return;
    this.#requested = setImmediate;
    this.#clear = clearImmediate;
    this.#immediate = ask(setImmediate, this.#pass);
    if (!this.#keepAlive) this.#unrefPass();
  }

  takeBack(): void {
    this.#requested = undefined;
    this.#clear(this.#immediate);
    hostClearTimeout(this.#alarm);
    this.#alarm = undefined;
    this.#alarmed = false;
  }

  keepAlive(on: boolean): void {
    this.#keepAlive = on;
    if (on) this.#timer?.ref?.();
    else this.#timer?.unref?.();
    if (this.#requested === undefined) return;
    if (on) this.#immediate?.ref?.();
    else this.#unrefPass();
  }

  #unrefPass(): void {
    this.#immediate?.unref?.();
    if (this.#firing) return endPoll();
    if (this.#alarmed) return;
    this.#alarmed = true;
    if (this.#alarm === undefined) {
      this.#alarm = nobody.runInAsyncScope(hostSetTimeout, undefined, this.#rang, 1);
      this.#alarm.unref();
    } else this.#alarm.refresh();
  }

  /** It may have come before the poll phase, for a pass that is over. */
  readonly #rang = (): void => {
    this.#alarmed = false;
    if (this.#requested !== undefined && !this.#keepAlive) this.#unrefPass();
  };

  arm(atMs: number): void {
    if (atMs !== this.#armedAtMs || setTimeout !== this.#armedBy) {
      if (this.#timer !== undefined) this.#disarm(this.#timer);
      this.#timer = undefined;
      this.#armedAtMs = atMs;
      if (atMs === Infinity) return;
      this.#armedBy = setTimeout;
      this.#disarm = clearTimeout;
      this.#timer = ask(setTimeout, this.#timerFired, this.#delayMs(atMs));
      if (!this.#keepAlive) this.#timer.unref?.();
    }
  }

  /** The loop's clock counts whole ms from the start of the present one; so does a tick. */
  #delayMs(atMs: number): number {
    const phase = this.#clock._phase;
    const delayMs = Math.round(atMs + phase) - Math.floor(this.#clock.now + phase);
    return Math.min(Math.max(delayMs, 1), LONGEST_MS);
  }
}

let port: MessagePort | undefined = undefined;

/** Ends the next poll phase as soon as it begins. */
function endPoll(): void {
  port ??= nobody.runInAsyncScope(openPort);
  port.postMessage(null);
}

function openPort(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.on('message', () => undefined);
  // Listening has referenced it.
  port1.unref();
  return port2;
}

/** Milliseconds on a monotonic axis that all threads of the process have in common. */
export function commonMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
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
  return nobody.runInAsyncScope(realSetImmediate, undefined, callback);
}

const realSetImmediate = globalThis.setImmediate;
