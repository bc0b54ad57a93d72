/**
 * More than this without a turn of the load's loop, and its devices were late themselves. A packet
 * can be late by nearly twice as much unnoticed: once because its turn began late, once because the
 * others came first. So a pause between two packets (290 ms at most) and twice this must be less
 * than the gateway's idle timeout, and twice this less than its time for a PONG.
 */
const TOO_LATE_MS = 200;

/** After that nobody can tell for so long whether a device that was cut off had been in time. */
const DOUBT_MS = 1500;

/**
 * The load must not take its own delays for faults of the gateway. It has one regular tick, which
 * also makes all devices speak; as long as that comes on time, so do they.
 */
export class Lateness {
  worstMs = 0;
  #lastTick: number;
  #lateAt = Number.NEGATIVE_INFINITY;

  constructor(now: number) {
    this.#lastTick = now;
  }

  tick(now: number): void {
    const lag = now - this.#lastTick;
    if (lag > this.worstMs) this.worstMs = lag;
    if (lag > TOO_LATE_MS) this.#lateAt = now;
    this.#lastTick = now;
  }

  /** Whether the load is late just now, or has been a little while ago. */
  inDoubt(now: number): boolean {
    return now - this.#lastTick > TOO_LATE_MS || now - this.#lateAt < DOUBT_MS;
  }
}
