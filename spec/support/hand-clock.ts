import { HostClock } from '../../lib/time/host-clock.ts';

let nowMs = 1000;

/** The host's clock, with a time that is set by hand: turns come by themselves, time does not. */
export class HandClock extends HostClock {
  override get now(): number {
    return nowMs;
  }

  /** Moves time on, for all of them. */
  pass(ms: number): void {
    nowMs += ms;
  }
}
