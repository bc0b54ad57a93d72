/*
 * Who wakes a dispatcher, by the host's timers and immediates, or by fakes of them.
 *
 *      turn of the loop:  timers -> poll (I/O) -> check -> ...
 *                            |                      |
 *                       timerFired()              pass()
 *
 * A pass runs as an immediate, in the check phase, so I/O that had arrived comes before it.
 *
 * While nothing scheduled keeps the process alive, neither does the immediate. But Node does not end
 * a poll phase for an immediate that is unref'd, so something else that is unref'd has to:
 *
 *   timer     of 1 ms: 0.1 us, and 1.1 ms until the pass if nothing arrives sooner
 *   message   to a port: 6 us, and 0.07 ms until the pass. Where the armed timer has fired: what is
 *             due then has waited for up to a ms already
 *
 * Under fakes there is an alarm for each timer, in whose callback the pass runs, and a fake
 * immediate for what is runnable, where immediates are faked too.
 */

import type { MessagePort } from 'node:worker_threads';
import { Alarms } from './alarms.ts';
import type { Driven, Waker } from './clock.ts';
import { LONGEST_MS, globalTimeout, type Fakes } from './fakes.ts';
import type { HostClock } from './host-clock.ts';
import { askHost, nobody, real } from '../base/host-functions.ts';

const setRealImmediate = (callback: () => void): NodeJS.Immediate => real.setImmediate(callback);
const setRealTimeout = (callback: () => void, ms: number): NodeJS.Timeout =>
  real.setTimeout(callback, ms);

/** Wakes one dispatcher. */
export class HostWaker implements Waker {
  readonly #clock: HostClock;
  readonly #driven: Driven;
  readonly #pass: () => void;
  readonly #timerFired: () => void;
  #requested = false;
  #immediate: NodeJS.Immediate | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #armedAtMs = Infinity;
  #keepAlive = false;
  /** Ends the poll phase before a pass that keeps nothing alive. */
  #pollTimer: NodeJS.Timeout | undefined = undefined;
  #pollTimerArmed = false;
  /** In the timers phase: a timer of 1 ms fires in the next one. */
  #firing = false;
  /** Null: the host wakes. */
  #alarms: Alarms | null = null;
  /** A pass that was asked of fakes. */
  #fakeRequest: object | undefined = undefined;

  constructor(clock: HostClock, driven: Driven) {
    this.#clock = clock;
    this.#driven = driven;
    this.#pass = () => {
      this.#requested = false;
      driven.pass();
    };
    this.#timerFired = () => {
      this.#timer = undefined;
      this.#armedAtMs = Infinity;
      this.#firing = true;
      driven.timerFired();
      // Fakes have come unnoticed. What was due before is called in real time.
      if (this.#alarms !== null) this.#requestHost();
      this.#firing = false;
    };
    this.sourceChanged();
  }

  request(): void {
    const clock = this.#clock;
    if (globalTimeout() !== clock._hosts) clock._look();
    if (this.#alarms !== null) this.#requestFakes();
    else if (!this.#requested) this.#requestHost();
  }

  #requestHost(): void {
    if (this.#requested) return;
    this.#requested = true;
    this.#immediate = askHost(setRealImmediate, this.#pass, 0);
    if (!this.#keepAlive) this.#unrefPass();
  }

  /** A pass for what is runnable; what is due later has an alarm. */
  #requestFakes(): void {
    const { setImmediate: ask } = this.#clock._fakes as Fakes;
    if (ask === undefined || this.#driven.served) this.#requestHost();
    else if (this.#driven.runnable && this.#fakeRequest === undefined) {
      const request = {};
      this.#fakeRequest = request;
      ask(() => {
        if (this.#fakeRequest !== request) return;
        this.#fakeRequest = undefined;
        nobody.runInAsyncScope(this.#driven.pass, this.#driven);
      });
      this.#clock._keep(this);
    }
  }

  takeBack(): void {
    this.#fakeRequest = undefined;
    if (!this.#requested) return;
    this.#requested = false;
    real.clearImmediate(this.#immediate);
    if (this.#pollTimer !== undefined) real.clearTimeout(this.#pollTimer);
    this.#pollTimer = undefined;
    this.#pollTimerArmed = false;
  }

  keepAlive(on: boolean): void {
    this.#keepAlive = on;
    if (on) this.#timer?.ref();
    else this.#timer?.unref();
    if (!this.#requested) return;
    if (on) this.#immediate?.ref();
    else this.#unrefPass();
  }

  #unrefPass(): void {
    this.#immediate?.unref();
    if (this.#firing) return endPoll();
    if (this.#pollTimerArmed) return;
    this.#pollTimerArmed = true;
    if (this.#pollTimer === undefined) {
      this.#pollTimer = askHost(setRealTimeout, this.#pollEnds, 1);
      this.#pollTimer.unref();
    } else this.#pollTimer.refresh();
  }

  /** It may have come before the poll phase, for a pass that is over. */
  readonly #pollEnds = (): void => {
    this.#pollTimerArmed = false;
    if (this.#requested && !this.#keepAlive) this.#unrefPass();
  };

  arm(atMs: number): void {
    const clock = this.#clock;
    if (globalTimeout() !== clock._hosts) clock._look();
    if (this.#alarms !== null || atMs === this.#armedAtMs) return;
    this.#disarm();
    this.#armedAtMs = atMs;
    if (atMs === Infinity) return;
    const delayMs = this.#delayMs(atMs);
    this.#timer = askHost(setRealTimeout, this.#timerFired, delayMs);
    if (!this.#keepAlive) this.#timer.unref();
  }

  #disarm(): void {
    if (this.#timer !== undefined) real.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The loop's clock counts whole ms from the start of the present one; so does a tick. */
  #delayMs(atMs: number): number {
    const phase = this.#clock._phase;
    const delayMs = Math.round(atMs + phase) - Math.floor(this.#clock.now + phase);
    return Math.min(Math.max(delayMs, 1), LONGEST_MS);
  }

  /** The clock has another source: what was asked of the old one is asked of the new one. */
  sourceChanged(): void {
    const clock = this.#clock;
    const { _fakes: fakes } = clock;
    if (fakes === null && this.#alarms === null) return;
    this.#alarms?.forget();
    this.#alarms = null;
    this.#fakeRequest = undefined;
    this.#disarm();
    this.#armedAtMs = Infinity;
    if (fakes !== null) {
      const nowTicks = (): number => {
        clock._keep(this);
        return clock.now + clock._phase;
      };
      this.#alarms = new Alarms(fakes, this.#driven, nowTicks, (timer) => this.#ring(timer));
    }
    // What has passed already is called in real time.
    if (this.#driven.tellDeadlines(this.#alarms)) this.#requestHost();
    if (fakes !== null && this.#driven.runnable) this.#requestFakes();
  }

  #ring(timer: object): void {
    const clock = this.#clock;
    clock._passed(this.#driven.dueTick(timer) - clock._phase);
    nobody.runInAsyncScope(this.#driven.ring, this.#driven);
  }

  /** Whether fakes have been asked for something. */
  get asks(): boolean {
    return this.#fakeRequest !== undefined || this.#alarms?.isEmpty === false;
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
