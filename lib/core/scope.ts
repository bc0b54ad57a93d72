/*
 * Scopes: what belongs together ends together.
 *
 *   Scope ---- continuations (option `scope`)      destroyed when the scope ends
 *     |------- runs: run(), and `run` and items of pipelines with the option `scope`
 *     |                                            aborted when the scope ends; a join waits for them
 *     |------- scopes (option `parent`)            end when the scope ends
 *
 *   It ends once: by dispose or abort, by its signal or deadline or those of its parents, or because an outcome has
 *   decided its join (run-group.ts). All that is synchronous: when the call that ends it has returned, nothing of it is
 *   entered any more. What is running goes on until it settles, and `join` and `await using` wait for that.
 *
 * Sources: Java's StructuredTaskScope (JEP 525, 2025); Trio's nurseries (Smith, 2018).
 */

import { join, leave } from '../base/abort-listeners.ts';
import { inPass } from './in-pass.ts';
import { KcontError, isMistake, traceFrom } from '../base/errors.ts';
import { mayHalt } from './halt.ts';
import { defineInspect } from '../base/inspect.ts';
import type { Kcont } from './kcont.ts';
import { wq as processWorkqueues } from './kernel.ts';
import { whenSettled } from './invoke.ts';
import { handled } from '../base/nothing.ts';
import { runOnce, type RunOptions } from './one-shot.ts';
import {
  POSITIVE_MS,
  SIGNAL,
  TEXT,
  kindOf,
  oneOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import { makeOwn } from './own-kcont.ts';
import { EitherSignal, RunGroup, type JoinPolicy } from './run-group.ts';
import { label, scheduleOrThrow, taskOf } from './schedule.ts';
import { LIMIT } from './state.ts';
import { Workqueue } from './workqueue.ts';

/**
 * Optional settings of a scope. What is omitted is inherited from the parent.
 *
 * @public
 */
export interface ScopeOptions {
  /** Shown in reports, before the names of its runs. Default: that of the parent, or none. */
  name?: string;
  /** The workqueue of its runs, which sets their priority. Default: that of the parent, or `prihigh`. */
  wq?: Workqueue;
  /** Ends the scope when aborted. */
  signal?: AbortSignal;
  /**
   * How long it may last, in ms, more than 0: then it ends with KcontError ETIMEDOUT. It never lasts longer than its
   * parent. Default: no deadline of its own.
   */
  deadlineMs?: number;
  /** The scope that it belongs to, and ends with. */
  parent?: Scope;
  /** What ends it, and what `join` is settled with. Default `'all'`: the first error ends it. */
  policy?: JoinPolicy;
}

/**
 * Optional settings of `join`.
 *
 * @public
 */
export interface JoinOptions {
  /** What it waits for. Default: the policy of the scope. */
  policy?: JoinPolicy;
  /** After so many ms, more than 0, the scope ends with KcontError ETIMEDOUT. Default: no such limit. */
  deadlineMs?: number;
}

const POLICY = /* @__PURE__ */ oneOf(
  "'all', 'any', 'race' or 'settled'",
  'all',
  'any',
  'race',
  'settled',
);

const SCOPE = /* @__PURE__ */ optionsOf<ScopeOptions>('Scope', {
  name: TEXT,
  wq: /* @__PURE__ */ kindOf('a Workqueue', (value) => value instanceof Workqueue),
  signal: SIGNAL,
  deadlineMs: POSITIVE_MS,
  parent: /* @__PURE__ */ kindOf('a Scope', (value) => value instanceof Scope),
  policy: POLICY,
});
const JOIN = /* @__PURE__ */ optionsOf<JoinOptions>('join', {
  policy: POLICY,
  deadlineMs: POSITIVE_MS,
});

/**
 * A run that has begun: the signal it gets, and a function to be called with its outcome.
 *
 * @internal
 */
export interface ScopedRun {
  readonly signal: AbortSignal;
  readonly fulfilled: (value: unknown) => void;
  readonly rejected: (reason: unknown) => void;
  /** To be called instead if it cannot be started: then it is no run of the scope. */
  readonly refused: () => void;
}

/**
 * A group of continuations, runs and scopes that end together: those of a connection, a session or a request.
 *
 * @remarks
 * A continuation joins through the option `scope` and leaves when it is destroyed. A run joins through
 * `run` of the scope, or the option `scope` of `run` and of the items of a pipeline, and leaves when it has settled. A scope
 * joins through the option `parent`, and leaves when it ends.
 *
 * When a scope has ended, none of them is entered any more; what is running goes on until it settles.
 *
 * @example
 * ```ts
 * await using scope = new Scope({ deadlineMs: 2000 });
 * const user = scope.run((signal) => fetchUser(id, signal));
 * const orders = scope.run((signal) => fetchOrders(id, signal));
 * await scope.join(); // the first error aborts the other
 * return render(await user, await orders);
 * ```
 *
 * @public
 */
export class Scope {
  static readonly #line: (scope: Scope) => string = /* @__PURE__ */ defineInspect<Scope>(
    this,
    (scope) => {
      const name = scope.name === '' ? '' : ` ${scope.name}`;
      if (scope.disposed && scope.runs === 0) return `Scope${name} { disposed }`;
      const runs = scope.runs === 0 ? '' : `, ${scope.runs} runs`;
      const state = scope.disposed ? 'disposed' : `${scope.size} continuations, ${scope.busy} busy`;
      return `Scope${name} { ${state}${runs} }`;
    },
    ({ name, size, busy, runs, disposed }) => ({ name, size, busy, runs, disposed }),
  );
  /** Its name in reports; empty if it has none. */
  readonly name: string;
  readonly #wq: Workqueue | undefined;
  readonly #parent: Scope | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #members = new Set<Kcont<unknown>>();
  readonly #children = new Set<Scope>();
  /** Fulfilled when nothing of it is running, if it has ended and its parent waits for that. */
  #over: Promise<void> | undefined = undefined;
  readonly #runs: RunGroup;
  /** When it ends, in ms on the clock of its kernel; Infinity: no deadline. */
  readonly #deadlineAtMs: number;
  #timer: Kcont<Scope> | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #disposed = false;
  #reason: unknown = undefined;
  /** The continuations that were running when it ended, until they have settled. */
  readonly #settling = new Map<Kcont<unknown>, Promise<void>>();

  /**
   * Creates an empty scope.
   *
   * @param options - optional settings. If the signal is aborted or the parent has ended, the scope has ended
   * @throws KcontError EINVAL for an invalid option, ESHUTDOWN for a deadline on a closed kernel
   */
  constructor(options?: ScopeOptions) {
    const { name, wq, signal, deadlineMs, parent, policy } = readOptions(
      options,
      SCOPE,
      new.target,
    );
    this.name = parent === undefined ? (name ?? '') : parent._nameOf(name ?? '');
    this.#wq = wq ?? parent?.wq;
    this.#parent = parent;
    this.#signal = signal;
    this.#runs = new RunGroup(
      policy ?? 'all',
      (reason) => this.#end(reason),
      () => this.#whyEnded,
    );
    const inheritedMs = parent?.remainingMs ?? Infinity;
    const ownMs = Math.min(deadlineMs ?? Infinity, inheritedMs);
    this.#deadlineAtMs = ownMs === Infinity ? Infinity : this.wq.kernel.now() + ownMs;
    if (parent?.disposed === true) this.#end(parent.#whyEnded);
    else if (signal?.aborted === true) this.#end(signal.reason);
    else {
      if (deadlineMs !== undefined && deadlineMs < inheritedMs) {
        try {
          this.#timer = this.#startDeadline(deadlineMs);
        } catch (error) {
          throw traceFrom(Scope, error);
        }
      }
      if (parent !== undefined) parent.#children.add(this);
      if (signal !== undefined) join(signal, this);
    }
  }

  /** The workqueue of its runs. */
  get wq(): Workqueue {
    return this.#wq ?? processWorkqueues.prihigh;
  }

  /** Aborted when the scope ends. For operations that take a signal, such as `fetch`, and need not be joined. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#disposed) this.#controller.abort(this.#whyEnded);
    }
    return this.#controller.signal;
  }

  /** The time until its deadline, or the earliest of its parents, in ms, 0 or more; Infinity: no deadline. */
  get remainingMs(): number {
    return Math.max(this.#deadlineAtMs - this.wq.kernel.now(), 0);
  }

  /** Number of continuations that belong to it. */
  get size(): number {
    return this.#members.size;
  }

  /** Number of its continuations that are PENDING, INVOKING or running. */
  get busy(): number {
    let busy = 0;
    for (const kc of this.#members) if (kc.busy) busy++;
    return busy;
  }

  /** Number of its runs that have not settled. */
  get runs(): number {
    return this.#runs.open;
  }

  /** Whether it has ended: it was disposed or aborted, its deadline has passed, or its join has been decided. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Runs a function once, on the workqueue of the scope, as a part of it.
   *
   * @remarks
   * The same as `run` of a workqueue with the option `scope`. On kernels with CPUs, a function of the CPU module that gets an
   * argument may run on another CPU; it is aborted there.
   *
   * @param func - as for `run` of a workqueue; its signal is aborted when the scope ends
   * @param options - as for `run` of a workqueue, without a scope
   * @returns as `run` of a workqueue. Rejected with the reason for which the scope ended if the function was not entered
   * before that. `join` reports its error too, also if the run was refused because of load or a closed kernel, so an error of a promise that nobody awaits is not an
   * unhandled rejection
   */
  run<T>(
    func: (signal: AbortSignal) => T | PromiseLike<T>,
    options?: Omit<RunOptions, 'scope'>,
  ): Promise<T>;
  /**
   * Runs a function with an argument once, on the workqueue of the scope, as a part of it.
   *
   * @param func - called with the argument, and with a signal if it declares a second parameter
   * @param options - the argument, and as for a run without an argument
   * @returns as for a run without an argument
   */
  run<A, T>(
    func: (arg: A, signal: AbortSignal) => T | PromiseLike<T>,
    options: Omit<RunOptions, 'scope'> & { arg: NoInfer<A> },
  ): Promise<T>;
  run<T>(func: (...args: never[]) => T | PromiseLike<T>, options?: RunOptions): Promise<T> {
    return runOnce(this.wq, func, options, Scope.prototype.run, this);
  }

  /**
   * Waits until all its runs have settled, and returns their results.
   *
   * @remarks
   * The policy decides which outcome ends the scope, and so aborts the other runs: from this call on, and on outcomes that
   * came before. Until this call, the policy of the scope decides. Runs that begin while it waits are waited for too, and so
   * are runs of the scopes in it, whose results are those of their own scopes. A function that ignores its signal is waited
   * for. Results are kept until a join has returned them; a further join is about later runs.
   *
   * @param options - optional settings: the policy, a deadline
   * @returns `'all'`: the results in the order of the calls; rejected with the first error. `'any'`: the first result;
   * rejected with an AggregateError if all have failed. `'race'`: the first result; rejected with the first error, or EINVAL
   * without runs. `'settled'`: all outcomes in the order of the calls. Except for `'settled'`, also rejected with the
   * reason for which the scope has ended: that of an abort, or KcontError ETIMEDOUT for a deadline. Rejected before it waits
   * with KcontError EINVAL for an invalid option, EBUSY during another join, EDEADLK when called by one of its runs, or
   * one of the scopes in it, before its first `await`, and ESHUTDOWN for a deadline on a closed kernel
   */
  join(options: JoinOptions & { policy: 'any' | 'race' }): Promise<unknown>;
  /** Waits until all its runs have settled, and returns their outcomes. */
  join(options: JoinOptions & { policy: 'settled' }): Promise<PromiseSettledResult<unknown>[]>;
  /** Waits until all its runs have settled, and returns their results. */
  join(options: JoinOptions & { policy: 'all' }): Promise<unknown[]>;
  /** Waits until all its runs have settled, and returns what the policy says: that of the scope, unless it is given. */
  join(options?: JoinOptions): Promise<unknown>;
  async join(options?: JoinOptions): Promise<unknown> {
    let policy: JoinPolicy | undefined;
    let timer: Kcont<Scope> | undefined;
    try {
      const given = readOptions(options, JOIN);
      ({ policy } = given);
      this.#mayWaitFor((kc) => taskOf(kc)?._scope);
      if (this.#runs.isJoining) throw new KcontError('EBUSY', 'the scope is being joined');
      if (given.deadlineMs !== undefined) timer = this.#startDeadline(given.deadlineMs);
    } catch (error) {
      throw traceFrom(Scope.prototype.join, error);
    }
    try {
      return await this.#runs.join(policy);
    } finally {
      timer?.destroy();
    }
  }

  /**
   * Ends it: aborts its runs, destroys its continuations, and ends the scopes in it. Further calls have no effect.
   *
   * @param reason - what joins and runs are rejected with; by default an AbortError
   */
  abort(reason?: unknown): void {
    this.#end(reason);
  }

  /**
   * Stops all its continuations, in the order in which they were created. Its runs go on.
   *
   * @returns false: no continuation is running or will run, so what they use may be freed immediately;
   * true: at least one is still running
   */
  stop(): boolean {
    let running = false;
    for (const kc of this.#members) {
      kc.stop();
      running ||= kc.running;
    }
    return running;
  }

  /**
   * Stops all its continuations and waits until none is running. Its runs go on.
   *
   * @remarks
   * They cannot be scheduled while waiting.
   *
   * @returns a promise of true: it waited for a run; or false: no continuation was running. Rejected with
   * KcontError EDEADLK when called from the function of one of them
   */
  async halt(): Promise<boolean> {
    const members = [...this.#members];
    try {
      for (const kc of members) mayHalt(kc);
    } catch (error) {
      throw traceFrom(Scope.prototype.halt, error);
    }
    if (!this.stop()) return false;
    const halts = members.map((kc) => kc._beginHalt());
    try {
      await Promise.all(halts);
    } finally {
      for (const kc of members) kc._endHalt();
    }
    return true;
  }

  /** The same as {@link Scope.abort} without a reason, for `using`. */
  [Symbol.dispose](): void {
    this.#end(undefined);
  }

  /**
   * Ends it and waits until nothing of it is running, for `await using`.
   *
   * @returns a promise, rejected with KcontError EDEADLK when called from the function of one of its continuations or
   * runs. Errors of runs are reported by their promises and by `join`, not here
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(undefined);
    this.#mayWaitFor((kc) => taskOf(kc)?._scope ?? kc._details?.scope);
    await this.#whenOver();
  }

  /** Ends this scope and those in it. Without recursion, because they may be nested to any depth. */
  #end(reason: unknown): void {
    if (!this.#beginEnd(reason)) return;
    const ending: [scope: Scope, left: Iterator<Scope>][] = [[this, this.#children.values()]];
    for (let last = ending.at(-1); last !== undefined; last = ending.at(-1)) {
      const [scope, left] = last;
      const { done, value: child } = left.next();
      if (done === true) (ending.pop() as typeof last)[0].#finishEnd();
      else if (child.#beginEnd(scope.#whyEnded)) ending.push([child, child.#children.values()]);
    }
  }

  /** Ends all of it but the scopes in it. False: it had ended before. */
  #beginEnd(reason: unknown): boolean {
    if (this.#disposed) return false;
    this.#disposed = true;
    this.#reason = reason;
    this.#runs.ended();
    if (this.#signal !== undefined) leave(this.#signal, this);
    this.#timer?.destroy();
    for (const kc of this.#members) {
      if (kc.running) this.#letSettle(kc);
      kc.destroy();
    }
    return true;
  }

  /** Tells its runs, when the scopes in it have ended. */
  #finishEnd(): void {
    if (this.#runs.open > 0 || this.#controller !== undefined) {
      (this.#controller as AbortController).abort(this.#whyEnded);
    }
    const parent = this.#parent;
    if (parent === undefined) return;
    const forget = (): unknown => parent.#children.delete(this);
    const isRunning = this.#runs.open > 0 || this.#settling.size > 0 || this.#children.size > 0;
    if (isRunning) void (this.#over = this.#whenOver()).then(forget);
    else forget();
  }

  #letSettle(kc: Kcont<unknown>): void {
    const settled = new Promise<void>((resolve) => whenSettled(kc, resolve));
    this.#settling.set(kc, settled);
    void settled.then(() => this.#settling.delete(kc));
  }

  get #whyEnded(): unknown {
    if (this.#reason === undefined) {
      this.#reason = new DOMException('The scope has ended', 'AbortError');
    }
    return this.#reason;
  }

  /** Waits, after it has ended, until nothing of it is running. */
  async #whenOver(): Promise<void> {
    const children = Array.from(this.#children, (child) => child.#over ?? child.#whenOver());
    await Promise.all([this.#runs.whenIdle(), ...this.#settling.values(), ...children]);
  }

  /**
   * Throws if the function on the stack would wait for itself: its scope, if it is among those that are waited for, is
   * this one or one in it.
   */
  #mayWaitFor(scopeOf: (kc: Kcont<unknown>) => Scope | undefined): void {
    const current = inPass.dispatcher?.current;
    if (current?.running !== true) return;
    let scope = scopeOf(current);
    while (scope !== undefined && scope !== this) scope = scope.#parent;
    if (scope === undefined) return;
    throw new KcontError('EDEADLK', `${label(current)} cannot wait for its own scope`);
  }

  #startDeadline(deadlineMs: number): Kcont<Scope> {
    const { softclock } = this.wq.kernel.wq;
    const name = `deadline of ${this.name || 'a scope'}`;
    const over = (): void => {
      const what = `${this.name || 'a scope'}: its deadline of ${deadlineMs} ms is over`;
      this.#end(new KcontError('ETIMEDOUT', what));
    };
    const timer = makeOwn<Scope>(LIMIT, softclock, null, over, this, { name });
    scheduleOrThrow(timer, deadlineMs);
    return timer;
  }

  /**
   * Called when its signal is aborted.
   * @internal
   */
  _abort(reason: unknown): void {
    this.#end(reason);
  }

  /**
   * The name of something in it.
   * @internal
   */
  _nameOf(name: string): string {
    return [this.name, name].filter((part) => part !== '').join('/');
  }

  /**
   * Begins a run. Throws the reason if the scope has ended.
   * @internal
   */
  _begin(signal: AbortSignal | undefined): ScopedRun {
    if (this.#disposed) throw this.#whyEnded;
    const either = signal === undefined ? undefined : new EitherSignal(this.signal, signal);
    const settle = this.#beginRun();
    const settleWith = (outcome?: PromiseSettledResult<unknown>): void => {
      either?.end();
      settle(outcome);
    };
    return {
      signal: either?.signal ?? this.signal,
      fulfilled: (value) => settleWith({ status: 'fulfilled', value }),
      rejected: (reason) => settleWith({ status: 'rejected', reason }),
      refused: () => settleWith(),
    };
  }

  /**
   * Holds up joins and the end until the returned function is called: something goes on whose outcome is known.
   * @internal
   */
  _hold(): () => void {
    const settle = this.#beginRun();
    return () => settle(undefined);
  }

  /** Begins a run that joins of this scope, and of those it is in, wait for. */
  #beginRun(): (outcome: PromiseSettledResult<unknown> | undefined) => void {
    const settle = this.#runs.begin();
    for (let scope = this.#parent; scope !== undefined; scope = scope.#parent) scope.#runs.nested++;
    return (outcome) => {
      settle(outcome);
      for (let scope = this.#parent; scope !== undefined; scope = scope.#parent) {
        scope.#runs.nested--;
        scope.#runs.tellIfIdle();
      }
    };
  }

  /**
   * Runs a function as a part of it: `start` is called with the options that the run inherits. What `start` throws is
   * thrown. If it is a mistake of the caller, it is not an outcome; a refusal, for example because of load, is one.
   * @internal
   */
  _run<T, O extends RunOptions>(
    options: O,
    name: string,
    start: (options: O) => Promise<T>,
  ): Promise<T> {
    if (this.#disposed) return handled(Promise.reject(this.#whyEnded));
    const run = this._begin(options.signal);
    const own = { name: this._nameOf(options.name ?? name), signal: run.signal, scope: this };
    try {
      const promise = start({ ...options, ...own });
      promise.then(run.fulfilled, run.rejected);
      return promise;
    } catch (error) {
      if (isMistake(error)) run.refused();
      else run.rejected(error);
      throw error;
    }
  }

  /** @internal */
  _check(): void {
    if (this.#disposed) throw new KcontError('EINVAL', 'the scope has been disposed');
  }

  /** @internal */
  _add(kc: Kcont<unknown>): void {
    this.#members.add(kc);
  }

  /** @internal */
  _delete(kc: Kcont<unknown>): void {
    this.#members.delete(kc);
    // What has been destroyed during its run still uses what the scope stands for.
    if (kc.running && !this.#settling.has(kc)) this.#letSettle(kc);
  }

  /** @internal */
  toString(): string {
    return Scope.#line(this);
  }
}
