/*
 * Wakes a dispatcher with the host's timers and immediates, or with fakes of them.
 *
 *      turn of the loop:  timers -> poll (I/O) -> check -> ...
 *                            |                      |
 *                       timerFired()              pass()
 *
 * A pass runs as an immediate, in the check phase, so I/O that has arrived is handled before it.
 *
 * If nothing that is scheduled keeps the process alive, the immediate is unref'd. But Node does not end
 * a poll phase for an unref'd immediate, so something else that is unref'd has to end it:
 *
 *   timer     of 1 ms: 0.1 us, and 1.1 ms until the pass if nothing arrives sooner
 *   message   to a port: 6 us, and 0.07 ms until the pass. Used when the armed timer has fired: what
 *             is due then has already waited for up to 1 ms
 *
 * The timer. The host sleeps for whole ms, counted from when it goes to sleep, and oversleeps by a tenth
 * of a ms or two. So its timer is armed for the last ms that may end before the deadline, or shortly after
 * it:
 *
 *    arm |-- 1 ms --|-- 1 ms --|-- 1 ms --|-- 1 ms --|   3.4 ms are left: sleep for 4 ms
 *    arm |-- 1 ms --|-- 1 ms --|-- 1 ms --|..|           3.2 ms are left: sleep for 3 ms, then turns of
 *                                                        the loop that do not sleep
 *
 * By how much the host oversleeps is learned. If the timer fires much too early, because the loop has
 * begun a new ms between arming and sleeping, it is armed again for what is left. The dispatcher is told
 * when the deadline has come, and not before. Then a timer is 0.1 to 0.4 ms late if its delay is a whole
 * number of ms and it was armed by the pass before, and half a ms on average if it is due at any time
 * (bench lateness). The turns that do not sleep take at most an eighth of a ms after each sleep of 1 ms or
 * more, 0.01 ms on average.
 *
 * Under fakes there is an alarm for each timer, and the pass runs in its callback. Runnable
 * continuations get a fake immediate, if immediates are faked too.
 */

import type { MessagePort } from 'node:worker_threads';
import { Alarms } from './alarms.ts';
import type { Driven, Waker } from './clock.ts';
import { LONGEST_MS, globalTimeout, type Fakes } from './fakes.ts';
import type { HostClock } from './host-clock.ts';
import { askHost, nobody, real } from '../base/host-functions.ts';

const setRealImmediate = (callback: () => void): NodeJS.Immediate => real.setImmediate(callback);
/** The timer of the host may fire so many ms before the deadline; turns of the loop bridge that. */
const BRIDGED_MS = 0.125;
/** Sleeps that take so many ms longer than asked are not the host's doing: the loop was busy or suspended. */
const SUSPECT_MS = 0.5;
/** The estimate of what the host oversleeps follows a shorter time by half, and a longer one by a sixteenth. */
const SHORTER = 1 / 2;
const LONGER = 1 / 16;

const setRealTimeout = (callback: () => void, ms: number): NodeJS.Timeout =>
  real.setTimeout(callback, ms);

/** Wakes one dispatcher. */
export class HostWaker implements Waker {
  readonly #clock: HostClock;
  readonly #driven: Driven;
  readonly #pass: () => void;
  readonly #timerFired: () => void;
  readonly #bridgeEnds: () => void;
  #requested = false;
  #immediate: NodeJS.Immediate | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #armedAtMs = Infinity;
  /** By how much the host oversleeps, in ms: close to the shortest times of late. */
  #oversleepMs = 0;
  /** When the current sleep should end. */
  #wakesMs = 0;
  /** Ends a turn that does not sleep, shortly before the armed time. */
  #bridge: NodeJS.Immediate | undefined = undefined;
  #keepAlive = false;
  /** Ends the poll phase before a pass that does not keep the process alive. */
  #pollTimer: NodeJS.Timeout | undefined = undefined;
  #pollTimerArmed = false;
  /** Whether this is the timers phase, where a timer of 1 ms would fire only in the next one. */
  #firing = false;
  /** The alarms under fakes; null: the host wakes the dispatcher. */
  #alarms: Alarms | null = null;
  /** A pass that was requested from fakes. */
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
      this.#firing = true;
      const wakesMs = this.#wakesMs;
      this.#learn(this.#lookAtTime() - wakesMs);
      this.#firing = false;
    };
    this.#bridgeEnds = () => {
      this.#bridge = undefined;
      this.#lookAtTime();
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

  /** Requests a pass for what is runnable; timers have alarms. */
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
    // Without a reference to it, the poll phase would not end for an immediate.
    if (!on && this.#bridge !== undefined) this.#sleep(0);
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

  /** The timer may have been for a pass that is over, and fire before the poll phase of this one. */
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
    if (atMs < Infinity) this.#sleep(atMs - clock.now);
  }

  /** Arms the host's timer for the last ms that may end before the deadline, which is so many ms away. */
  #sleep(leftMs: number): void {
    this.#disarm();
    const earlyMs = this.#keepAlive ? BRIDGED_MS + this.#oversleepMs : this.#oversleepMs;
    const delayMs = Math.min(Math.max(Math.ceil(leftMs - earlyMs), 1), LONGEST_MS);
    this.#wakesMs = this.#armedAtMs - leftMs + delayMs;
    this.#timer = askHost(setRealTimeout, this.#timerFired, delayMs);
    if (!this.#keepAlive) this.#timer.unref();
  }

  #learn(oversleptMs: number): void {
    if (oversleptMs < 0 || oversleptMs > SUSPECT_MS) return;
    const differenceMs = oversleptMs - this.#oversleepMs;
    this.#oversleepMs += differenceMs * (differenceMs < 0 ? SHORTER : LONGER);
  }

  /**
   * Called after a sleep, and after each turn that does not sleep: tells the dispatcher if the time has come.
   * Returns the time.
   */
  #lookAtTime(): number {
    const nowMs = this.#clock.now;
    const leftMs = this.#armedAtMs - nowMs;
    const isHosts = this.#alarms === null;
    if (leftMs > 0 && isHosts) {
      if (leftMs > BRIDGED_MS || !this.#keepAlive) this.#sleep(leftMs);
      else this.#bridge = askHost(setRealImmediate, this.#bridgeEnds, 0);
      return nowMs;
    }
    this.#armedAtMs = Infinity;
    this.#driven.timerFired();
    // Fakes were installed meanwhile. Timers that were due before run in real time.
    if (!isHosts) this.#requestHost();
    return nowMs;
  }

  #disarm(): void {
    if (this.#timer !== undefined) real.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#bridge !== undefined) real.clearImmediate(this.#bridge);
    this.#bridge = undefined;
  }

  /** Called when the clock has another source: repeats all requests to the new one. */
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
      const nowMs = (): number => {
        clock._keep(this);
        return clock.now;
      };
      this.#alarms = new Alarms(fakes, this.#driven, nowMs, (timer) => this.#ring(timer));
    }
    // Timers that were due before run in real time.
    if (this.#driven.tellDeadlines(this.#alarms)) this.#requestHost();
    if (fakes !== null && this.#driven.runnable) this.#requestFakes();
  }

  #ring(timer: object): void {
    const clock = this.#clock;
    clock._passed(this.#driven.dueMs(timer));
    nobody.runInAsyncScope(this.#driven.ring, this.#driven);
  }

  /** Whether there are pending requests to fakes. */
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
  // Adding a listener has ref'd the port.
  port1.unref();
  return port2;
}
