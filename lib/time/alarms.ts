/*
 * Under fake timers each PENDING continuation has its own fake timer, its alarm.
 *
 * On the host, one timer is armed for all continuations. Fakes are different: time may pass without a
 * clock that tells it, and tests ask the fakes for the next timer, the last one and their number, which
 * have to be those of the continuations. So when an alarm rings, its continuation is due, whatever a
 * clock says.
 *
 * Fakes may behave in any way: call back immediately, twice, or after the alarm was cleared.
 */

import type { Deadlines, Driven } from './clock.ts';
import { LONGEST_MS, type Fakes } from './fakes.ts';
import { microtask, real } from '../base/host-functions.ts';

interface Alarm {
  handle: unknown;
  /** The rest of the delay when it rings, if the delay was too long for one timer. */
  readonly leftMs: number;
}

/** The alarms of one dispatcher. */
export class Alarms implements Deadlines {
  readonly #fakes: Fakes;
  readonly #driven: Driven;
  readonly #nowMs: () => number;
  readonly #ring: (timer: object) => void;
  readonly #alarms = new Map<object, Alarm>();
  /** The alarm that is being armed. */
  #arming: Alarm | undefined = undefined;

  /**
   * @param nowMs - returns the current time in ms, with fractions
   * @param ring - called when a timer is due
   */
  constructor(fakes: Fakes, driven: Driven, nowMs: () => number, ring: (timer: object) => void) {
    this.#fakes = fakes;
    this.#driven = driven;
    this.#nowMs = nowMs;
    this.#ring = ring;
  }

  /** Whether the alarms are the only source of time. */
  get alone(): boolean {
    return this.#fakes.tell === undefined;
  }

  set(timer: object): void {
    this.drop(timer);
    this.#arm(timer, this.#driven.dueMs(timer) - this.#nowMs());
  }

  drop(timer: object): void {
    const alarm = this.#alarms.get(timer);
    if (alarm === undefined) return;
    this.#alarms.delete(timer);
    this.#fakes.clearTimeout(alarm.handle);
  }

  has(timer: object): boolean {
    return this.#alarms.has(timer);
  }

  get isEmpty(): boolean {
    return this.#alarms.size === 0;
  }

  /** Drops all alarms, because the fakes have been uninstalled or replaced. */
  forget(): void {
    // node:test reuses timer ids in its next session: there, clearing could hit another timer.
    if (this.#fakes.lasts) {
      for (const { handle } of this.#alarms.values()) this.#fakes.clearTimeout(handle);
    }
    this.#alarms.clear();
  }

  #arm(timer: object, ms: number): void {
    // Not all fakes support fractions of a ms.
    const delayMs = Math.min(Math.max(Math.ceil(ms), 1), LONGEST_MS);
    const alarm: Alarm = { handle: undefined, leftMs: ms - delayMs };
    this.#alarms.set(timer, alarm);
    const outer = this.#arming;
    this.#arming = alarm;
    try {
      alarm.handle = this.#fakes.setTimeout(() => this.#fire(timer, alarm), delayMs);
    } catch (error) {
      // The call that schedules is not at fault: it succeeds, and the error is thrown later.
      microtask(() => {
        throw error;
      });
    } finally {
      this.#arming = outer;
    }
  }

  #fire(timer: object, alarm: Alarm): void {
    if (this.#alarms.get(timer) !== alarm) return;
    if (this.#arming === alarm) {
      // A stub has called back immediately: run later, not inside the call that schedules.
      real.setImmediate(() => this.#fire(timer, alarm));
    } else if (alarm.leftMs > 0) {
      if (this.alone) this.#arm(timer, alarm.leftMs);
      else this.set(timer);
    } else {
      this.#alarms.delete(timer);
      this.#ring(timer);
    }
  }
}
