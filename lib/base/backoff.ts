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
import {
  FINITE_MS,
  FUNCTION,
  PATIENCE,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
} from './options-check.ts';

/**
 * Settings of a backoff.
 *
 * @public
 */
export interface BackoffOptions {
  /**
   * The first wait, and the least one of decorrelated jitter, in ms: 0 or more, finite. Default 100; for
   * durable continuations 1000.
   */
  baseMs?: number;
  /** The longest wait, in ms: 0 or more, finite. Default 30,000; for durable continuations 600,000. */
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
 * The wait after a number of failures, 1 or more, without jitter.
 *
 * @internal
 */
export function exponentialMs(
  baseMs: number,
  factor: number,
  failed: number,
  maxMs: number,
): number {
  // 0 times an infinite growth would be NaN.
  return baseMs === 0 ? 0 : Math.min(baseMs * factor ** (failed - 1), maxMs);
}

/** The waits that are used if the options give none, in ms. */
const DEFAULTS: { baseMs: number; maxMs: number } = { baseMs: 100, maxMs: 30_000 };

/**
 * A backoff whose options have been checked. It has no state, so a wait can be computed in another process
 * than the one before.
 *
 * @internal
 */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #factor: number;
  readonly #jitter: 'none' | 'full' | 'decorrelated';
  readonly #random: () => number;

  /**
   * @param options - the settings
   * @param defaults - the first and the longest wait if the settings have none
   * @throws KcontError EINVAL for an invalid setting
   */
  constructor(options?: BackoffOptions, defaults: typeof DEFAULTS = DEFAULTS) {
    const {
      baseMs = defaults.baseMs,
      maxMs = defaults.maxMs,
      factor = 2,
      jitter = 'full',
      random = Math.random,
    } = readOptions(options, BACKOFF);
    this.#baseMs = Math.min(baseMs, maxMs);
    this.#maxMs = maxMs;
    this.#factor = factor;
    this.#jitter = jitter;
    this.#random = random;
  }

  /**
   * Returns the wait after a failure, in ms.
   *
   * @param failed - the number of attempts that have failed, 1 or more
   * @param lastMs - the wait before the last attempt, in ms; 0 before the first
   */
  waitMs(failed: number, lastMs: number): number {
    const baseMs = this.#baseMs;
    if (this.#jitter === 'decorrelated') {
      const upToMs = Math.max(lastMs, baseMs) * SPREAD - baseMs;
      return Math.min(baseMs + this.#draw() * upToMs, this.#maxMs);
    }
    const ms = exponentialMs(baseMs, this.#factor, failed, this.#maxMs);
    return this.#jitter === 'none' ? ms : this.#draw() * ms;
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
  if (backoff === undefined) {
    // Most functions succeed at once, and need no backoff.
    let defaults: Backoff | undefined;
    return (retry) => (defaults ??= new Backoff()).waitMs(retry, 0);
  }
  if (typeof backoff !== 'function') {
    const settings = new Backoff(backoff);
    let lastMs = 0;
    return (retry) => (lastMs = settings.waitMs(retry, lastMs));
  }
  return (retry, error) => {
    const ms: unknown = backoff(retry, error);
    if (FINITE_MS.fits(ms)) return ms as number;
    throw invalid('the result of backoff', FINITE_MS.expected, ms);
  };
}

/**
 * Returns the `retryAfterMs` of an error: how long whoever was asked wants to be left alone, which may be
 * longer than any timer, and for ever; 0 if it has none.
 *
 * @internal
 */
export function retryAfterMsOf(error: unknown): number {
  try {
    const { retryAfterMs } = error as { retryAfterMs?: unknown };
    return PATIENCE.fits(retryAfterMs) ? (retryAfterMs as number) : 0;
  } catch {
    // It is null or undefined, or the property cannot be read.
    return 0;
  }
}
