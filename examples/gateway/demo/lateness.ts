/**
 * If the load's event loop has no turn for longer than this, in ms, its devices were late themselves.
 * A packet can be late by nearly twice as much unnoticed: once because its turn began late, once
 * because other devices came first. So the longest pause between two packets (290 ms) plus twice this
 * must be less than the gateway's idle timeout, and twice this less than its time for a PONG.
 */
const TOO_LATE_MS = 200;

/** For how long after that a closed connection is not judged, in ms: the device may have been late. */
const DOUBT_MS = 1500;

/**
 * Detects delays of the load, so that they are not taken for faults of the gateway. One regular tick
 * makes all devices send, so while the tick is on time, the devices are.
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

  /** Whether the load is late now or was late recently. */
  inDoubt(now: number): boolean {
    return now - this.#lastTick > TOO_LATE_MS || now - this.#lateAt < DOUBT_MS;
  }
}
