/*
 * A budget of retries that several callers share, so that a service which fails is not called much more often
 * than one which works.
 *
 *   allowed in a window  =  floor(minPerSecond * window)  +  ratio * calls in the window
 *   used                 =  retries that wait in backoff  +  retries begun in the window
 *
 * A retry counts from the moment at which it is granted, before its wait: otherwise all calls that fail in one
 * second would be granted a retry, and their retries would come together. Calls and retries are counted in
 * tenths of the window. Retries are counted over the window and up to a tenth more, calls over the window and up
 * to a tenth less, so the bound holds for every window. Each operation is O(1); no timer is used.
 *
 * Where minPerSecond * window is no integer, its fraction becomes one more retry from time to time: the next one is
 * allowed when so many windows have passed that the fractions make a whole. So half a retry in a window is one in two.
 *
 * Source: RetryBudget of Twitter's Finagle, which counts a retry when it is granted and forgets it after the
 * window, even if it still waits.
 */

import { invalid, isA, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { kindOf, numberOf, optionsOf, readOptions } from '../base/options-check.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';

/**
 * Optional settings of a {@link RetryBudget}.
 *
 * @public
 */
export interface RetryBudgetOptions {
  /** Retries for each call, 0 or more: 0.2 allows one retry for five calls. Default 0.2. */
  ratio?: number;
  /** Retries per second that are always allowed, 0 or more: 0.05 allows one in 20 seconds. Default 10. */
  minPerSecond?: number;
  /** For how long calls and retries count, in ms: from 1 to 2^53-1. Default 10,000. */
  windowMs?: number;
  /** The kernel of the retries that use it, which has the clock. Default: the process-wide one. */
  kernel?: Kernel;
}

const BUDGET = optionsOf<RetryBudgetOptions>('RetryBudget', {
  ratio: numberOf('a finite number >= 0', 0, Number.MAX_VALUE),
  minPerSecond: numberOf('a finite number >= 0', 0, Number.MAX_VALUE),
  windowMs: numberOf('a number of ms from 1 to 2^53-1', 1, Number.MAX_SAFE_INTEGER),
  kernel: kindOf('a Kernel', (value) => isA(value, Kernel)),
});

/** Parts of a window. */
const PARTS = 10;

/**
 * A limit for the retries of several callers together.
 *
 * @remarks
 * Give the same budget to all retries that call one service. When it is exhausted, a call that fails is not
 * retried: it is rejected with its error. Retries that wait in backoff count.
 *
 * @example
 * ```ts
 * const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 10 });
 * const user = await retry(() => fetchUser(id), { budget });
 * ```
 *
 * @public
 */
export class RetryBudget {
  static readonly #line: (budget: RetryBudget) => string =
    /* @__PURE__ */ defineInspect<RetryBudget>(
      this,
      ({ calls, waiting, begun, refused }) =>
        `RetryBudget { ${calls} calls, ${waiting} waiting, ${begun} begun, ${refused} refused }`,
      ({ calls, waiting, begun, refused }) => ({ calls, waiting, begun, refused }),
    );
  /** The kernel whose clock it uses. */
  readonly kernel: Kernel;
  readonly #ratio: number;
  /** Retries that are always allowed in a window. */
  readonly #least: number;
  /** The time between two retries that the fraction allows; Infinity: there is no fraction. */
  readonly #extraEachMs: number;
  /** When the next one of these is allowed. */
  #extraAtMs: number;
  readonly #partMs: number;
  /** Calls and retries begun in the current part of the window and those before it, in a ring. */
  readonly #calls: number[] = Array.from({ length: PARTS + 1 }, () => 0);
  readonly #begun: number[] = Array.from({ length: PARTS + 1 }, () => 0);
  /** The number of the current part of the window. */
  #part: number;
  #waiting = 0;
  #refused = 0;

  /**
   * Creates a budget.
   *
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: RetryBudgetOptions) {
    try {
      const {
        ratio = 0.2,
        minPerSecond = 10,
        windowMs = 10_000,
        kernel = processKernel,
      } = readOptions(options, BUDGET);
      this.kernel = kernel;
      this.#ratio = ratio;
      const least = (minPerSecond * windowMs) / 1000;
      this.#least = Math.floor(least);
      const fraction = least - this.#least;
      this.#extraEachMs = fraction > 0 ? windowMs / fraction : Infinity;
      this.#extraAtMs = fraction > 0 ? -Infinity : Infinity;
      this.#partMs = windowMs / PARTS;
      this.#part = this.#partNow();
    } catch (error) {
      throw traceFrom(RetryBudget, error);
    }
  }

  /** Number of calls in the window, without retries. */
  get calls(): number {
    this.#move();
    return sum(this.#calls) - (this.#calls[this.#oldest] ?? 0);
  }

  /** Number of retries that wait in backoff. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Number of retries begun in the window, and in up to a tenth of it before. */
  get begun(): number {
    this.#move();
    return sum(this.#begun);
  }

  /** Number of retries refused so far. */
  get refused(): number {
    return this.#refused;
  }

  /** Number of retries that would be granted now: 0 or more. */
  get available(): number {
    return Math.max(this.#unused + (this.#hasExtra ? 1 : 0), 0);
  }

  /**
   * Counts a call that is not a retry.
   * @internal
   */
  _call(): void {
    this.#move();
    this.#count(this.#calls);
  }

  /**
   * Grants a retry, which waits from now on.
   * @internal
   */
  _grant(): boolean {
    if (this.available === 0) {
      this.#refused++;
      return false;
    }
    const nowMs = this.kernel.now();
    if (nowMs >= this.#extraAtMs && this.#unused < 1) this.#extraAtMs = nowMs + this.#extraEachMs;
    this.#waiting++;
    return true;
  }

  /**
   * A retry that waited has begun.
   * @internal
   */
  _begin(): void {
    this.#waiting--;
    this.#move();
    this.#count(this.#begun);
  }

  /**
   * A retry that waited will not begin.
   * @internal
   */
  _giveBack(): void {
    this.#waiting--;
  }

  /** @internal */
  toString(): string {
    return RetryBudget.#line(this);
  }

  /** How many more are allowed in this window, without fractions; negative: too many were. */
  get #unused(): number {
    return Math.floor(this.#least + this.#ratio * this.calls - this.#waiting - this.begun);
  }

  /**
   * Whether the fraction adds one retry to what the window allows: the time of the next one has come, or one was
   * granted less than a window ago, and is still counted among those that wait or have begun.
   */
  get #hasExtra(): boolean {
    const nowMs = this.kernel.now();
    const lastMs = this.#extraAtMs - this.#extraEachMs;
    return nowMs >= this.#extraAtMs || nowMs < lastMs + this.#partMs * PARTS;
  }

  get #oldest(): number {
    return (this.#part + 1) % (PARTS + 1);
  }

  #partNow(): number {
    return Math.floor(this.kernel.now() / this.#partMs);
  }

  #count(counts: number[]): void {
    const at = this.#part % (PARTS + 1);
    counts[at] = (counts[at] ?? 0) + 1;
  }

  /** Forgets what is older than the window. */
  #move(): void {
    const part = this.#partNow();
    if (part - this.#part > PARTS) {
      this.#calls.fill(0);
      this.#begun.fill(0);
      this.#part = part;
      return;
    }
    while (this.#part < part) {
      this.#part++;
      const at = this.#part % (PARTS + 1);
      this.#calls[at] = 0;
      this.#begun[at] = 0;
    }
  }
}

function sum(counts: readonly number[]): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}

/**
 * Throws if a budget has another kernel than the workqueue on which its retries run.
 *
 * @internal
 */
export function checkBudget(budget: RetryBudget | undefined, kernel: Kernel): void {
  if (budget === undefined || budget.kernel === kernel) return;
  throw invalid('budget', 'a RetryBudget of the same kernel', budget);
}
