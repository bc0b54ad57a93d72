/*
 * The runs of a scope: what their outcomes decide, and when a join is over.
 *
 *   begin --> open ----- settled ----> outcomes, in the order of the calls
 *                           |
 *                           +--> decide, by the policy: the scope ends, and aborts the others
 *                           +--> the last one, here and in the scopes in it: the join settles
 *
 *   policy     decided by             the join is fulfilled with        rejected with
 *   all        the first error        all results                       that error
 *   any        the first result       that result                       an AggregateError of all errors
 *   race       the first outcome      that result                       that error
 *   settled    nothing                all outcomes                      -
 *
 * A decision is final. If the scope ends for another reason first (a deadline, an abort), that reason is the decision.
 */

import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { KcontError } from '../base/errors.ts';

/**
 * What a join of a {@link Scope} waits for, and what it is settled with.
 *
 * - `'all'`: all results; the first error ends the scope
 * - `'any'`: the first result, which ends the scope
 * - `'race'`: the first result or error, which ends the scope
 * - `'settled'`: all outcomes, as `Promise.allSettled` has them; nothing ends the scope
 *
 * @public
 */
export type JoinPolicy = 'all' | 'any' | 'race' | 'settled';

type Outcome = PromiseSettledResult<unknown>;

/**
 * The runs that were begun since the last join.
 *
 * @internal
 */
export class RunGroup {
  /** How many runs have begun and not settled. */
  open = 0;
  /** How many runs of the scopes in it have begun and not settled. */
  nested = 0;
  isJoining = false;
  readonly #ownPolicy: JoinPolicy;
  readonly #end: (reason: unknown) => void;
  readonly #whyEnded: () => unknown;
  #isEnded = false;
  #policy: JoinPolicy;
  #outcomes: Outcome[] = [];
  #first: Outcome | undefined = undefined;
  #firstResult: Outcome | undefined = undefined;
  #firstError: Outcome | undefined = undefined;
  #decision: Outcome | undefined = undefined;
  /** Called when no run is open, here or in the scopes in it. */
  #idle: (() => void)[] = [];

  /**
   * `end`: ends the scope, with the reason for which the other runs are aborted. `whyEnded`: returns the reason for which
   * the scope has ended.
   */
  constructor(policy: JoinPolicy, end: (reason: unknown) => void, whyEnded: () => unknown) {
    this.#ownPolicy = policy;
    this.#policy = policy;
    this.#end = end;
    this.#whyEnded = whyEnded;
  }

  /** Begins a run, and returns a function to be called with its outcome; undefined: it was refused. */
  begin(): (outcome: Outcome | undefined) => void {
    const index = this.#outcomes.length++;
    this.open++;
    return (outcome) => this.#settled(index, outcome);
  }

  #settled(index: number, outcome: Outcome | undefined): void {
    this.open--;
    if (outcome !== undefined) {
      this.#outcomes[index] = outcome;
      this.#first ??= outcome;
      if (outcome.status === 'fulfilled') this.#firstResult ??= outcome;
      else this.#firstError ??= outcome;
      this.#decide();
    }
    this.tellIfIdle();
  }

  /** Resolves those who wait, if no run is open. */
  tellIfIdle(): void {
    if (this.#isIdle) for (const resolve of this.#idle.splice(0)) resolve();
  }

  get #isIdle(): boolean {
    return this.open + this.nested === 0;
  }

  #decide(): void {
    if (this.#decision !== undefined || this.#isEnded) return;
    const decision = {
      all: this.#firstError,
      any: this.#firstResult,
      race: this.#first,
      settled: undefined,
    }[this.#policy];
    if (decision === undefined) return;
    this.#decision = decision;
    this.#end(
      decision.status === 'rejected'
        ? decision.reason
        : new DOMException('Another run of the scope has succeeded', 'AbortError'),
    );
  }

  /** Called when the scope ends, for whatever reason. */
  ended(): void {
    this.#isEnded = true;
  }

  /** Waits until no run is open, here or in the scopes in it. */
  whenIdle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => void this.#idle.push(resolve));
  }

  /** Waits for all runs, and returns what the policy makes of their outcomes. */
  async join(policy: JoinPolicy = this.#ownPolicy): Promise<unknown> {
    this.isJoining = true;
    this.#policy = policy;
    try {
      this.#decide();
      await this.whenIdle();
      return this.#result();
    } finally {
      this.isJoining = false;
      this.#policy = this.#ownPolicy;
      this.#outcomes = [];
      this.#first = undefined;
      this.#firstResult = undefined;
      this.#firstError = undefined;
      this.#decision = undefined;
    }
  }

  #result(): unknown {
    // Without the holes of what was refused.
    const outcomes = this.#outcomes.filter(() => true);
    if (this.#policy === 'settled') return outcomes;
    const decision = this.#decision;
    if (decision?.status === 'rejected') throw decision.reason;
    // A result that the policy of the scope has chosen is not all results.
    if (decision !== undefined && this.#policy !== 'all') return decision.value;
    if (this.#isEnded) throw this.#whyEnded();
    if (this.#policy === 'all') return outcomes.map((one) => (one as { value: unknown }).value);
    if (this.#policy === 'race') throw new KcontError('EINVAL', 'the scope has no run to race');
    const errors = outcomes.map((one) => (one as { reason: unknown }).reason);
    throw new AggregateError(errors, 'no run of the scope has succeeded');
  }
}

/**
 * A signal that is aborted with the first of two others.
 *
 * @internal
 */
export class EitherSignal implements AbortMember {
  readonly #sources: readonly AbortSignal[];
  readonly #controller = new AbortController();

  constructor(...sources: readonly AbortSignal[]) {
    this.#sources = sources;
    const aborted = sources.find((source) => source.aborted);
    if (aborted !== undefined) this.#controller.abort(aborted.reason);
    else for (const source of sources) join(source, this);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Called when one of them is aborted. */
  _abort(reason: unknown): void {
    this.end();
    this.#controller.abort(reason);
  }

  /** Lets go of both. */
  end(): void {
    for (const source of this.#sources) leave(source, this);
  }
}
