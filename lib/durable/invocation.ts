import { KcontError, checkFunction } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import type { BackendRun, DurableClient } from './backend.ts';

/**
 * The second argument of a durable function: what it is called for.
 *
 * @public
 */
export class Invocation {
  static readonly #line: (invocation: Invocation) => string =
    /* @__PURE__ */ defineInspect<Invocation>(
      this,
      ({ id, handler, attempt }) => `Invocation ${id} { ${handler}, attempt ${attempt} }`,
      ({ id, handler, attempt, node }) => ({ id, handler, attempt, node }),
    );
  /** The continuation's name. */
  readonly id: string;
  /** The name of the function. */
  readonly handler: string;
  /** The number of this attempt, 1 for the first. */
  readonly attempt: number;
  /** How many processes have died while they ran it since it was scheduled. */
  readonly crashes: number;
  /** The name of the node that runs it. */
  readonly node: string;
  /**
   * Aborted when the node has lost the run, with KcontError ECPUDIED: another node may begin it again; and
   * at the end of the grace of `close`, with ESHUTDOWN.
   */
  readonly signal: AbortSignal;
  readonly #run: BackendRun;

  private constructor(run: BackendRun, node: string, signal: AbortSignal) {
    this.id = run.id;
    this.handler = run.handler;
    this.attempt = run.failed + 1;
    this.crashes = run.crashes;
    this.node = node;
    this.signal = signal;
    this.#run = run;
  }

  /** @internal */
  static _make(run: BackendRun, node: string, signal: AbortSignal): Invocation {
    return new Invocation(run, node, signal);
  }

  /**
   * A client for statements that are refused once the node has lost the run. Each is a transaction of its
   * own.
   *
   * @throws KcontError ENOTSUP on a backend without transactions
   */
  get client(): DurableClient {
    return this.#run.client ?? this.#refuse('client');
  }

  /**
   * Runs statements in one transaction, which is refused once the node has lost the run.
   *
   * @param work - called with a client; its statements are committed when its promise is fulfilled, and rolled
   * back when it is rejected
   * @returns a promise of what `work` returns, rejected with what it throws, with the error of the database,
   * with KcontError ECPUDIED if the node has lost the run, EINVAL if `work` is not a function, and ENOTSUP on a
   * backend without transactions. A statement that failed has rolled back the transaction: if `work` ignores
   * its error, the promise is rejected with it
   */
  async transaction<T>(work: (client: DurableClient) => Promise<T>): Promise<T> {
    checkFunction(work, 'work');
    const { transaction } = this.#run;
    return transaction === undefined ? this.#refuse('transaction') : transaction(work);
  }

  /**
   * Acknowledges this run, so that the continuation can be scheduled while it continues. The new run begins
   * after this one has settled.
   *
   * @returns a promise of true: acknowledged; false: it was before, or the continuation was stopped or reset
   */
  ack(): Promise<boolean> {
    return this.#run.ack();
  }

  #refuse(what: string): never {
    throw new KcontError('ENOTSUP', `${what} of ${this.id}: the backend has no transactions`);
  }

  /** @internal */
  toString(): string {
    return Invocation.#line(this);
  }
}
