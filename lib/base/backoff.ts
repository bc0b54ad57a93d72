/*
 * Backoff: how long to wait before something that failed is tried again.
 *
 *   none           base * factor^(n-1), at most max: 100, 200, 400, 800, ...
 *   full           a random part of that: clients that failed together do not come back together
 *   decorrelated   between base and three times the last wait, at most max: spreads as well, and needs no
 *                  number of the attempt
 *
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. There, full jitter needs
 * the fewest calls for the same work, and so it is the default here.
 */

import { invalid } from './errors.ts';
import { FINITE_MS, FUNCTION, numberOf, oneOf, optionsOf, readOptions } from './options-check.ts';

/**
 * Settings of a backoff.
 *
 * @public
 */
export interface BackoffOptions {
  /** The first wait, and the least one of decorrelated jitter, in ms: 0 or more, finite. Default 100. */
  baseMs?: number;
  /** The longest wait, in ms: 0 or more, finite. Default 30,000. */
  maxMs?: number;
  /** By what each wait is longer than the last, 1 or more. Not used by decorrelated jitter. Default 2. */
  factor?: number;
  /** How waits are spread. Default `'full'`: a random part of the exponential wait. */
  jitter?: 'none' | 'full' | 'decorrelated';
  /** Returns a random number from 0 to 1, exclusive. Default: `Math.random`. */
  random?: () => number;
}

/**
 * Computes a wait: a function of the number of the retry, from 1, and of the error that led to it. Returns
 * ms, 0 or more, finite.
 *
 * @public
 */
export type BackoffFunction = (retry: number, error: unknown) => number;

const BACKOFF = optionsOf<BackoffOptions>('backoff', {
  baseMs: FINITE_MS,
  maxMs: FINITE_MS,
  factor: numberOf('a finite number >= 1', 1, Number.MAX_VALUE),
  jitter: oneOf("'none', 'full' or 'decorrelated'", 'none', 'full', 'decorrelated'),
  random: FUNCTION,
});

/** By how much a wait of decorrelated jitter may exceed the last one. */
const SPREAD = 3;

/**
 * The waits of one series of attempts.
 *
 * @internal
 */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #factor: number;
  readonly #jitter: 'none' | 'full' | 'decorrelated';
  readonly #random: () => number;
  /** The last wait; in exponential backoff, the longest that the next one may be. */
  #ms: number;

  /**
   * @param options - the settings
   * @throws KcontError EINVAL for an invalid setting
   */
  constructor(options?: BackoffOptions) {
    const {
      baseMs = 100,
      maxMs = 30_000,
      factor = 2,
      jitter = 'full',
      random = Math.random,
    } = readOptions(options, BACKOFF);
    this.#baseMs = Math.min(baseMs, maxMs);
    this.#maxMs = maxMs;
    this.#factor = factor;
    this.#jitter = jitter;
    this.#random = random;
    this.#ms = this.#baseMs;
  }

  /** Returns the next wait, in ms. */
  next(): number {
    const ms = this.#ms;
    if (this.#jitter === 'decorrelated') {
      const upToMs = ms * SPREAD - this.#baseMs;
      this.#ms = Math.min(this.#baseMs + this.#draw() * upToMs, this.#maxMs);
      return this.#ms;
    }
    this.#ms = Math.min(ms * this.#factor, this.#maxMs);
    return this.#jitter === 'none' ? ms : this.#draw() * ms;
  }

  /** Starts again with the first wait. */
  reset(): void {
    this.#ms = this.#baseMs;
  }

  /** A random number from the user's function, which may return anything. */
  #draw(): number {
    const drawn: unknown = this.#random();
    if (typeof drawn === 'number' && drawn >= 0 && drawn < 1) return drawn;
    throw invalid('the result of random', 'a number >= 0 and < 1', drawn);
  }
}

/**
 * Creates the function that returns the next wait.
 *
 * @param backoff - settings, or a function of the user
 * @throws KcontError EINVAL for invalid settings
 *
 * @internal
 */
export function backoffOf(backoff: BackoffOptions | BackoffFunction | undefined): BackoffFunction {
  if (typeof backoff !== 'function') {
    const series = new Backoff(backoff);
    return () => series.next();
  }
  return (retry, error) => {
    const ms: unknown = backoff(retry, error);
    if (FINITE_MS.fits(ms)) return ms as number;
    throw invalid('the result of backoff', FINITE_MS.expected, ms);
  };
}

/**
 * Returns the `retryAfterMs` of an error: how long whoever was asked wants to be left alone; 0 if it has none
 * that can be used.
 *
 * @internal
 */
export function retryAfterMsOf(error: unknown): number {
  try {
    const { retryAfterMs } = error as { retryAfterMs?: unknown };
    return FINITE_MS.fits(retryAfterMs) ? (retryAfterMs as number) : 0;
  } catch {
    // It is null or undefined, or the property cannot be read.
    return 0;
  }
}
