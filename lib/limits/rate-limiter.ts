/*
 * What all rate limits have in common: who waits, in which order, and the timer of the first waiter.
 *
 *   limiter ---> line, created by the first wait: its waiters, and a continuation for the first of them
 *
 * There may be a million limiters, one for each address, of which few ever make somebody wait. So a limiter is small,
 * and what a wait needs is created when it is needed.
 *
 * Waiters are served first in, first out, so small amounts do not starve a large one: `tryTake` fails while somebody
 * waits. There is one timer, for the first waiter; when it is served, the timer is set for the next one. A shutdown
 * leaves it running as long as runs in flight may be waiting for it; then the waiters are rejected.
 */

import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { checkFunction, invalid, isA, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { SIGNAL, kindOf, optionsOf, readOptions, type Kind } from '../base/options-check.ts';
import type { Kcont } from '../core/kcont.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { refusal } from '../core/schedule.ts';
import { LIMIT, TASK } from '../core/state.ts';

/** The check of an option that is a kernel. @internal */
export const KERNEL: Kind = kindOf('a Kernel', (value) => isA(value, Kernel));

const TAKE = optionsOf<{ signal?: AbortSignal }>('take', { signal: SIGNAL });

/** What a call awaits for which the limit is not reached. */
const GRANTED: Promise<void> = Promise.resolve();

/** Somebody who waits. */
class Waiter implements AbortMember {
  readonly amount: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly #limiter: RateLimiter;

  constructor(
    limiter: RateLimiter,
    amount: number,
    signal: AbortSignal | undefined,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    this.#limiter = limiter;
    this.amount = amount;
    this.signal = signal;
    this.resolve = resolve;
    this.reject = reject;
  }

  _abort(reason: unknown): void {
    this.#limiter._leave(this, reason);
  }
}

/** Those who wait for one limiter, and the timer of the first one. */
class Line {
  readonly waiters = new Set<Waiter>();
  readonly kc: Kcont<RateLimiter>;
  /** How much they all wait for. */
  amount = 0;

  constructor(limiter: RateLimiter) {
    const bits = TASK | LIMIT;
    this.kc = makeOwn<RateLimiter>(bits, limiter.kernel.wq.softclock, null, serve, limiter);
  }

  add(waiter: Waiter): void {
    this.waiters.add(waiter);
    this.amount += waiter.amount;
    if (waiter.signal !== undefined) join(waiter.signal, waiter);
  }

  delete(waiter: Waiter): void {
    this.waiters.delete(waiter);
    this.amount -= waiter.amount;
    if (waiter.signal !== undefined) leave(waiter.signal, waiter);
  }
}

/**
 * A limit for how much may be taken in some time.
 *
 * @remarks
 * An amount counts at the moment it is granted: for `take`, when its promise is fulfilled.
 *
 * @public
 */
export abstract class RateLimiter {
  static readonly #described: (limiter: RateLimiter) => string =
    /* @__PURE__ */ defineInspect<RateLimiter>(
      this,
      ({ available, waiting }, name) => `${name} { ${available} available, ${waiting} waiting }`,
      ({ available, waiting }) => ({ available, waiting }),
    );
  /** The kernel whose clock it uses. */
  readonly kernel: Kernel;
  /** The largest amount that can be taken at once. */
  readonly most: number;
  #line: Line | null = null;

  /** @internal */
  constructor(kernel: Kernel = processKernel, most: number) {
    this.kernel = kernel;
    this.most = most;
  }

  /**
   * The name of its continuation in reports.
   * @internal
   */
  get _name(): string {
    return this.constructor.name;
  }

  /** How much could be taken now if nobody waited. */
  abstract get available(): number;

  /**
   * How long it takes until an amount can be taken, in ms; 0: now. After a wait of this length, the clock shows a time
   * at which the result is 0.
   * @internal
   */
  abstract _untilMs(nowMs: number, amount: number): number;

  /**
   * Takes an amount for which `_untilMs` is 0.
   * @internal
   */
  abstract _grant(nowMs: number, amount: number): void;

  /**
   * The longest time until all can be taken again, in ms.
   * @internal
   */
  abstract get _refillMs(): number;

  /** Number of calls of `take` that wait. */
  get waiting(): number {
    return this.#line === null ? 0 : this.#line.waiters.size;
  }

  /**
   * Takes an amount if that is possible now.
   *
   * @param amount - an integer, 1 or more. Default 1
   * @returns true: it was taken; false: nothing changed, because the limit is reached, or others wait
   * @throws KcontError EINVAL for an amount that can never be taken
   */
  tryTake(amount: number = 1): boolean {
    this.#check(amount, RateLimiter.prototype.tryTake);
    return this.#tryTake(amount);
  }

  /**
   * Takes an amount, and waits until that is possible.
   *
   * @param amount - an integer, 1 or more. Default 1
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise that is fulfilled when the amount was taken, in the order of the calls. Rejected with the
   * signal's reason, with KcontError EINVAL for an invalid argument, and ESHUTDOWN when the kernel is closed
   */
  async take(amount: number = 1, options?: { signal?: AbortSignal }): Promise<void> {
    const signal = this.#mayTake(amount, options, RateLimiter.prototype.take);
    if (!this.#tryTake(amount)) await this.#wait(amount, signal);
  }

  /**
   * Takes an amount, then calls a function.
   *
   * @param func - called when the amount was taken
   * @param amount - an integer, 1 or more. Default 1
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise of the function's result. Rejected as {@link RateLimiter.take}, and with what the function
   * throws
   */
  run<T>(
    func: () => T | PromiseLike<T>,
    amount: number = 1,
    options?: { signal?: AbortSignal },
  ): Promise<T> {
    let granted = GRANTED;
    try {
      const caller = RateLimiter.prototype.run;
      checkFunction(func, 'func', caller);
      const signal = this.#mayTake(amount, options, caller);
      if (!this.#tryTake(amount)) granted = this.#wait(amount, signal);
    } catch (error) {
      return Promise.reject(error);
    }
    // The function is never called by this call itself, whether the limit is reached or not. An async function that
    // awaits the same takes 80 ns more.
    return granted.then(() => func());
  }

  /**
   * Tells how long it takes until an amount can be taken.
   *
   * @param amount - an integer, 1 or more. Default 1
   * @returns the time in ms; 0: now. If others wait, it is a lower bound
   * @throws KcontError EINVAL for an amount that can never be taken
   */
  waitMs(amount: number = 1): number {
    this.#check(amount, RateLimiter.prototype.waitMs);
    return this._untilMs(this.kernel.now(), (this.#line?.amount ?? 0) + amount);
  }

  /**
   * A signal was aborted.
   * @internal
   */
  _leave(waiter: Waiter, reason: unknown): void {
    this.#line?.delete(waiter);
    waiter.reject(reason);
    this._serve();
  }

  /**
   * Serves the waiters whose time has come, and starts the timer of the next one.
   * @internal
   */
  _serve(): void {
    const line = this.#line as Line;
    const { kc } = line;
    for (const waiter of line.waiters) {
      const nowMs = this.kernel.now();
      const untilMs = this._untilMs(nowMs, waiter.amount);
      if (untilMs > 0) {
        kc.ack();
        // A wait that is longer than that of any timer is continued when the timer has expired.
        const errno = kc._schedule(Math.min(untilMs, Number.MAX_SAFE_INTEGER), null);
        if (errno !== 0 && !kc.busy) this._abort(refusal(kc, errno, untilMs, null));
        return;
      }
      this._grant(nowMs, waiter.amount);
      line.delete(waiter);
      waiter.resolve();
    }
    kc.stop();
  }

  /**
   * The kernel is closed: nobody can wait any longer.
   * @internal
   */
  _abort(reason: unknown): void {
    const line = this.#line as Line;
    for (const waiter of line.waiters) {
      line.delete(waiter);
      waiter.reject(reason);
    }
  }

  /** @internal */
  toString(): string {
    return RateLimiter.#described(this);
  }

  /** Checks the arguments of a call that may wait, and throws the reason if its signal is aborted. */
  #mayTake(
    amount: number,
    options: { signal?: AbortSignal } | undefined,
    caller: Caller,
  ): AbortSignal | undefined {
    this.#check(amount, caller);
    if (options === undefined) return undefined;
    const { signal } = readOptions(options, TAKE, caller);
    signal?.throwIfAborted();
    return signal;
  }

  #wait(amount: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const line = (this.#line ??= new Line(this));
      line.add(new Waiter(this, amount, signal, resolve, reject));
      if (line.waiters.size === 1) this._serve();
    });
  }

  #tryTake(amount: number): boolean {
    if (this.waiting > 0) return false;
    const nowMs = this.kernel.now();
    if (this._untilMs(nowMs, amount) > 0) return false;
    this._grant(nowMs, amount);
    return true;
  }

  #check(amount: unknown, caller: Caller): void {
    if (Number.isInteger(amount) && (amount as number) >= 1 && (amount as number) <= this.most)
      return;
    throw traceFrom(caller, invalid('amount', `an integer from 1 to ${this.most}`, amount));
  }
}

function serve(limiter: RateLimiter): void {
  limiter._serve();
}
