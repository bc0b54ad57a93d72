/*
 * Under fake timers each PENDING continuation has a fake timer of its own, its alarm.
 *
 * On the host one timer is armed for all. Fakes are another matter: they may let time pass without
 * anything that tells it; and whoever tests asks them for the next timer, the last one, their
 * number, which have to be those of the continuations. So when an alarm rings, the time of its
 * continuation is over, whatever a clock says.
 *
 * Fakes may do anything: call back at once, twice, or when the alarm was cleared.
 */

import type { Deadlines, Driven } from './clock.ts';
import { LONGEST_MS, type Fakes } from './fakes.ts';
import { microtask, real } from '../base/host-functions.ts';

interface Alarm {
  handle: unknown;
  /** What is left when it rings: a delay was longer than timers can be. */
  readonly leftMs: number;
}

/** The alarms of one dispatcher. */
export class Alarms implements Deadlines {
  readonly #fakes: Fakes;
  readonly #driven: Driven;
  readonly #nowTicks: () => number;
  readonly #ring: (timer: object) => void;
  readonly #alarms = new Map<object, Alarm>();
  /** The one that is being armed. */
  #arming: Alarm | undefined = undefined;

  /**
   * @param nowTicks - the present time in ticks, with fractions
   * @param ring - called when the time of a timer is over
   */
  constructor(fakes: Fakes, driven: Driven, nowTicks: () => number, ring: (timer: object) => void) {
    this.#fakes = fakes;
    this.#driven = driven;
    this.#nowTicks = nowTicks;
    this.#ring = ring;
  }

  /** Nothing but the alarms tells the time. */
  get alone(): boolean {
    return this.#fakes.tell === undefined;
  }

  set(timer: object): void {
    this.drop(timer);
    this.#arm(timer, this.#driven.dueTick(timer) - this.#nowTicks());
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

  /** The fakes are gone, or others have come. */
  forget(): void {
    // node:test would take timers of its next session for these.
    if (this.#fakes.lasts) {
      for (const { handle } of this.#alarms.values()) this.#fakes.clearTimeout(handle);
    }
    this.#alarms.clear();
  }

  #arm(timer: object, ms: number): void {
    // Not all fakes count fractions.
    const delayMs = Math.min(Math.max(Math.ceil(ms), 1), LONGEST_MS);
    const alarm: Alarm = { handle: undefined, leftMs: ms - delayMs };
    this.#alarms.set(timer, alarm);
    const outer = this.#arming;
    this.#arming = alarm;
    try {
      alarm.handle = this.#fakes.setTimeout(() => this.#fire(timer, alarm), delayMs);
    } catch (error) {
      // It is not the fault of what has been scheduled, which stays so.
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
      // A stub that calls back at once. Whoever has scheduled is not to be interrupted.
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
