/*
 * Reports of causes that may come up again and again: each is reported at once, then once in an interval, with the
 * number of times that it came up in between. An observer must not call what may throw or schedule, so reports
 * are delivered by a microtask.
 */

import { microtask } from '../base/host-functions.ts';

/** How many causes are remembered. A program that makes up names must not fill the memory. */
const MOST_CAUSES = 1000;

interface Cause {
  reportedMs: number;
  suppressed: number;
}

/**
 * Reports each cause once in a while.
 *
 * @internal
 */
export class Causes<R> {
  readonly #tell: (report: R) => void;
  readonly #causes = new Map<string, Cause>();
  readonly #found: R[] = [];
  /** How many of them have been delivered. */
  #told = 0;

  constructor(tell: (report: R) => void) {
    this.#tell = tell;
  }

  /**
   * Reports a cause, unless it was reported less than an interval ago.
   *
   * @param isNew - false: the cause has not come up again, it only lasts
   * @param make - makes the report; gets how often the cause has come up since the last report
   */
  report(
    key: string,
    atMs: number,
    intervalMs: number,
    isNew: boolean,
    make: (suppressed: number) => R,
  ): void {
    const cause = this.#causeOf(key);
    if (atMs - cause.reportedMs < intervalMs) {
      if (isNew) cause.suppressed++;
      return;
    }
    const { suppressed } = cause;
    cause.reportedMs = atMs;
    cause.suppressed = 0;
    const found = make(suppressed);
    if (this.#found.length === 0) microtask(() => this.flush());
    this.#found.push(found);
  }

  #causeOf(key: string): Cause {
    const known = this.#causes.get(key);
    if (known !== undefined) return known;
    if (this.#causes.size === MOST_CAUSES) this.#causes.clear();
    const cause = { reportedMs: -Infinity, suppressed: 0 };
    this.#causes.set(key, cause);
    return cause;
  }

  /** Delivers what has been found and not been delivered yet. */
  flush(): void {
    const found = this.#found;
    try {
      while (this.#told < found.length) this.#tell(found[this.#told++] as R);
    } finally {
      if (this.#told === found.length) {
        found.length = 0;
        this.#told = 0;
      }
      // The receiver has thrown. The others are reported too.
      else microtask(() => this.flush());
    }
  }
}
