import { HostClock } from '../../lib/time/host-clock.ts';

let nowMs = 1000;

/** The host clock with a time that is set by hand: turns of the loop are real, time is not. */
export class HandClock extends HostClock {
  override get now(): number {
    return nowMs;
  }

  /** Moves time forward, for all of them. */
  pass(ms: number): void {
    nowMs += ms;
  }
}
