/*
 * Where findings go: to those who have asked for them with `observe({ onFinding })`, or else to the standard error
 * stream.
 */

import { writeSync } from 'node:fs';
import type { Dispatcher } from '../../core/dispatcher.ts';
import { Causes } from '../causes.ts';
import { inLine } from '../in-line.ts';
import { findingText, type Finding } from './finding.ts';

/** The file descriptor of the standard error stream, which can be written to while the process ends. */
const STDERR = 2;
/** A wait that lasts, or comes up again, is reported once in this time. */
const INTERVAL_MS = 10_000;

type OnFinding = (finding: Finding) => void;

/**
 * The findings of one kernel.
 *
 * @internal
 */
export class Findings {
  readonly #dispatcher: Dispatcher;
  readonly #listeners: OnFinding[] = [];
  readonly #causes = new Causes<Finding>((finding) => this.#tell(finding));

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  /** Passes findings to a function, until the function that is returned is called. */
  add(listener: OnFinding): () => void {
    this.#listeners.push(listener);
    return () => {
      const at = this.#listeners.indexOf(listener);
      if (at !== -1) this.#listeners.splice(at, 1);
    };
  }

  /** Whether the kernel is closed or closing. */
  get isOver(): boolean {
    return this.#dispatcher.closed;
  }

  /** Whether findings are passed to a function. */
  get isHeard(): boolean {
    return this.#listeners.length > 0;
  }

  /**
   * Reports a mistake, once for each key.
   *
   * @param make - makes all but what is added here
   */
  once(key: string, make: () => Omit<Finding, 'atMs' | 'suppressed'>): void {
    this.#report(key, Infinity, true, make);
  }

  /**
   * Reports what lasts or comes up again, once in an interval.
   *
   * @param isNew - whether it has come up again since it was last found
   */
  again(key: string, isNew: boolean, make: () => Omit<Finding, 'atMs' | 'suppressed'>): void {
    this.#report(key, INTERVAL_MS, isNew, make);
  }

  #report(
    key: string,
    intervalMs: number,
    isNew: boolean,
    make: () => Omit<Finding, 'atMs' | 'suppressed'>,
  ): void {
    const atMs = this.#dispatcher.clock.now;
    this.#causes.report(key, atMs, intervalMs, isNew, (suppressed) => {
      const finding = make();
      const { message, details } = finding;
      const lines = { message: inLine(message), details: details.map(inLine) };
      return { ...finding, ...lines, atMs, suppressed };
    });
  }

  /** Delivers what has not been delivered yet. */
  flush(): void {
    this.#causes.flush();
  }

  #tell(finding: Finding): void {
    if (this.#listeners.length === 0) toStderr(findingText(finding));
    for (const listener of this.#listeners.slice()) listener(finding);
  }
}

function toStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // Nobody reads it, or not fast enough. The program goes on.
  }
}
