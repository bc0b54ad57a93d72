/*
 * When the worker has to look for something due. graphile-worker polls every two seconds; an announcement
 * brings the time at which something will be due, and a scan finds what was scheduled earlier.
 *
 * Times within 5 ms share a timer. The worker is told twice, because the clock of the database is known to
 * some ms only: shortly after the time, and 30 ms later.
 */

import { hostNow, hostPerformance, real } from '../../base/host-functions.ts';

const GRAIN_MS = 5;
const AGAIN_MS = 30;
/** What is due later than this is found by a scan. */
const LONGEST_MS = 60_000;
/** The largest number of timers. */
const MOST = 10_000;

/** The host's monotonic time, in ms. */
export function monotonicMs(): number {
  return hostNow.call(hostPerformance);
}

/**
 * The timers of a session.
 *
 * @internal
 */
export class Wakes {
  readonly #nudge: (count: number) => void;
  readonly #counts = new Map<number, number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** The database's time minus the host's monotonic time, in ms. */
  #offsetMs = 0;

  constructor(nudge: (count: number) => void) {
    this.#nudge = nudge;
  }

  /** Notes what the clock of the database has shown. */
  synchronize(databaseMs: number, askedMs: number, answeredMs: number): void {
    this.#offsetMs = databaseMs - (askedMs + answeredMs) / 2;
  }

  /** Something is due at a time of the database. */
  at(databaseMs: number): void {
    const ms = Math.max(databaseMs - this.#offsetMs - monotonicMs(), 0);
    // Before the first beat the clock of the database is not known; polling finds what is missed here.
    if (!(ms < LONGEST_MS)) return;
    this.#add(ms + 1);
    this.#add(ms + AGAIN_MS);
  }

  #add(ms: number): void {
    const bucket = Math.ceil((monotonicMs() + ms) / GRAIN_MS);
    const count = this.#counts.get(bucket);
    this.#counts.set(bucket, (count ?? 0) + 1);
    if (count !== undefined || this.#timers.size >= MOST) return;
    const delayMs = Math.max(ms, bucket * GRAIN_MS - monotonicMs());
    const timer = real.setTimeout(() => {
      this.#timers.delete(timer);
      const due = this.#counts.get(bucket) ?? 1;
      this.#counts.delete(bucket);
      this.#nudge(due);
    }, delayMs);
    timer.unref();
    this.#timers.add(timer);
  }

  stop(): void {
    for (const timer of this.#timers) real.clearTimeout(timer);
    this.#timers.clear();
    this.#counts.clear();
  }
}
