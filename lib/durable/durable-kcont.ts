import type { Affinity } from '../core/extras.ts';
import { KcontError } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import {
  FINITE_MS,
  FLAG,
  SIGNAL,
  check,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import type {
  BackendNode,
  Cancelled,
  DurableClient,
  DurableState,
  ScheduleAnswer,
  ScheduleRequest,
} from './backend.ts';
import { neverUp } from './names.ts';

/**
 * Options of {@link DurableKcont.schedule}, {@link DurableKcont.reset} and the other operations.
 *
 * @public
 */
export interface OperationOptions {
  /**
   * A client of `pg` inside a transaction of the caller: the operation is part of that transaction, and
   * has no effect if it is rolled back. By default the operation is a transaction of its own.
   */
  client?: DurableClient;
}

/**
 * Options of {@link DurableKcont.every}.
 *
 * @public
 */
export interface EveryOptions extends OperationOptions {
  /** The delay of the first run, in ms: 0 … 2^53-1. Default: the period. */
  firstMs?: number;
  /**
   * What happens to runs whose time passed while no node was up, or while an earlier run took longer than
   * the period. False, the default: they are skipped; true: they run one after the other.
   */
  catchUp?: boolean;
}

/**
 * The check of a client.
 *
 * @internal
 */
export const CLIENT: Kind = kindOf(
  'a client with a method query',
  (value) => typeof (value as Partial<DurableClient> | null)?.query === 'function',
);

const OPERATION = optionsOf<OperationOptions>('an operation', { client: CLIENT });
const EVERY = optionsOf<EveryOptions>('every', {
  client: CLIENT,
  firstMs: FINITE_MS,
  catchUp: FLAG,
});
const WAIT = optionsOf<{ signal?: AbortSignal }>('DurableKcont.drain', { signal: SIGNAL });
const PERIOD = numberOf('a number of ms from 1 to 2^53-1', 1, Number.MAX_SAFE_INTEGER);

/**
 * What a handle needs of its `Durable`.
 *
 * @internal
 */
export interface HandleOwner {
  /** The node. Throws KcontError ESHUTDOWN if it has been closed. */
  open(): BackendNode;
  /** Whether the backend has transactions. */
  readonly hasTransactions: boolean;
}

/**
 * What a handle schedules, but for the times.
 *
 * @internal
 */
export type Template = Omit<ScheduleRequest, 'delayMs' | 'everyMs' | 'catchUp'>;

/**
 * A continuation that is known to a cluster by its name, with the operations of {@link Kcont}.
 *
 * @remarks
 * Handles of the same name are about the same continuation, in whatever process they are. A handle holds
 * nothing but what it would schedule: create as many as you like.
 *
 * Every operation is one transaction. Its promise is rejected with KcontError ESHUTDOWN after
 * {@link Durable.close}, EINVAL for an invalid argument, ENOTSUP for a `client` on a backend without
 * transactions, and with the error of the database; nothing has changed then, except that a connection
 * which is lost during a commit leaves open whether it has taken effect.
 *
 * @typeParam A - the type of the argument
 *
 * @example
 * ```ts
 * const reminder = jobs.kcont('mail:42', 'send-mail', { to: 'ann@example.com' }, { lock: 'user:7' });
 * await reminder.schedule(60_000);
 * await reminder.stop();
 * ```
 *
 * @public
 */
export class DurableKcont<A> {
  static readonly #line: (kc: DurableKcont<unknown>) => string = /* @__PURE__ */ defineInspect<
    DurableKcont<unknown>
  >(
    this,
    ({ id, handler, lock }) =>
      `DurableKcont ${id} { ${handler}${lock === null ? '' : `, lock ${lock}`} }`,
    ({ id, handler, lock, node, affinity }) => ({ id, handler, lock, node, affinity }),
  );
  /** Its name in the cluster. */
  readonly id: string;
  /** The name of its function. */
  readonly handler: string;
  /** The argument that `schedule` stores. */
  readonly arg: A;
  /** The name of its lock in the cluster, or null. */
  readonly lock: string | null;
  /** The node that its affinity is about; null for `'none'`. */
  readonly node: string | null;
  /** How strongly it prefers that node. */
  readonly affinity: Affinity;
  readonly #owner: HandleOwner;
  readonly #template: Template;

  private constructor(owner: HandleOwner, template: Template, arg: A) {
    this.id = template.id;
    this.handler = template.handler;
    this.arg = arg;
    this.lock = template.lock;
    this.node = template.node;
    this.affinity = template.affinity;
    this.#owner = owner;
    this.#template = template;
  }

  /** @internal */
  static _make<A>(owner: HandleOwner, template: Template, arg: A): DurableKcont<A> {
    return new DurableKcont(owner, template, arg);
  }

  /**
   * Schedules a run: soon, or after a delay.
   *
   * @remarks
   * If it is pending, this sets a new deadline, argument, function and lock. The run does not begin before
   * the delay has elapsed on the clock of the backend. Continuations with the same workqueue and lock
   * begin in the order of their deadlines, and equal ones in the order of the calls.
   *
   * @param delayMs - 0 … 2^53-1 ms; 0, the default: no delay
   * @param options - optional settings: a client with a transaction to join
   * @returns a promise of true: it is scheduled; false: nothing changed, because a run is in flight that has
   * not been acknowledged. Rejected with KcontError ENOENT if its node has never been up
   */
  async schedule(delayMs: number = 0, options?: OperationOptions): Promise<boolean> {
    return await this.#schedule(delayMs, options, false);
  }

  /**
   * Withdraws a scheduled run, acknowledges a run in flight, and schedules again.
   *
   * @remarks
   * The new run begins after a run in flight has settled. That run is not tried again if it fails.
   *
   * @param delayMs - as for {@link DurableKcont.schedule}
   * @param options - as for {@link DurableKcont.schedule}
   * @returns a promise of true: it is scheduled. Rejected as {@link DurableKcont.schedule} is
   */
  async reset(delayMs: number = 0, options?: OperationOptions): Promise<boolean> {
    return await this.#schedule(delayMs, options, true);
  }

  /**
   * Schedules a run after each period, until it is stopped.
   *
   * @remarks
   * The next run is scheduled by the transaction in which a run ends, whether it has succeeded or failed for
   * good; its time is that of the first attempt of the last one plus the period, so that it does not drift.
   * A function may stop its own continuation.
   *
   * @param periodMs - 1 … 2^53-1 ms
   * @param options - optional settings: the first delay, what happens to missed runs, and a client
   * @returns a promise, as of {@link DurableKcont.schedule}
   */
  async every(periodMs: number, options?: EveryOptions): Promise<boolean> {
    check('periodMs', PERIOD, periodMs);
    const { client, firstMs = periodMs, catchUp = false } = readOptions(options, EVERY);
    const request = { ...this.#template, delayMs: firstMs, everyMs: periodMs, catchUp };
    return this.#answer(await this.#node(client).schedule(request, false, client));
  }

  /**
   * Moves the deadline of a pending continuation to now plus its last delay, whichever handle scheduled it.
   *
   * @param options - optional settings: a client with a transaction to join
   * @returns a promise of true: the deadline was moved; false: it is not pending or is due already, nothing
   * changed
   */
  async touch(options?: OperationOptions): Promise<boolean> {
    const { client } = readOptions(options, OPERATION);
    return await this.#node(client).touch(this.id, client);
  }

  /**
   * Withdraws a scheduled run.
   *
   * @remarks
   * After its promise is fulfilled, no run begins that was scheduled before. A run in flight continues; it
   * is not tried again if it fails, and a periodic one is not scheduled again.
   *
   * @param options - optional settings: a client with a transaction to join
   * @returns a promise of false: it is not running and will not run; true: a run is in flight
   */
  async stop(options?: OperationOptions): Promise<boolean> {
    const { running } = await this.cancel(options);
    return running;
  }

  /**
   * Stops it and tells both whether a run was withdrawn and whether one is in flight.
   *
   * @param options - optional settings: a client with a transaction to join
   * @returns a promise of both answers
   */
  async cancel(options?: OperationOptions): Promise<Cancelled> {
    const { client } = readOptions(options, OPERATION);
    return await this.#node(client).stop(this.id, client);
  }

  /**
   * Acknowledges the run in flight, so that it can be scheduled again.
   *
   * @returns a promise of true: acknowledged; false: it is not running, or the run has already been
   * acknowledged
   */
  async ack(): Promise<boolean> {
    return await this.#owner.open().ack(this.id);
  }

  /** Reads its state. It may have changed by the time the promise is fulfilled. */
  async state(): Promise<DurableState> {
    return await this.#owner.open().state(this.id);
  }

  /**
   * Waits until no run of it is in flight anywhere in the cluster.
   *
   * @remarks
   * A function that waits for its own continuation waits forever.
   *
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise of true: it waited for a run; false: it was not running. Rejected with the signal's
   * reason when aborted
   */
  async drain(options?: { signal?: AbortSignal }): Promise<boolean> {
    const { signal } = readOptions(options, WAIT);
    signal?.throwIfAborted();
    return await this.#owner.open().drain(this.id, signal);
  }

  /**
   * Stops it and waits until it is not running.
   *
   * @remarks
   * Unlike a local halt, it does not keep others from scheduling it meanwhile.
   *
   * @param options - optional settings: a signal that ends the wait; it has been stopped nevertheless
   * @returns a promise of true: a run was in flight when it was stopped, and has settled; false: it was not
   * running. Rejected with the signal's reason when aborted
   */
  async halt(options?: { signal?: AbortSignal }): Promise<boolean> {
    const { signal } = readOptions(options, WAIT);
    signal?.throwIfAborted();
    const running = await this.stop();
    // The run may end before the drain looks: the answer is that of the stop.
    if (running) await this.#owner.open().drain(this.id, signal);
    return running;
  }

  async #schedule(
    delayMs: number,
    options: OperationOptions | undefined,
    reset: boolean,
  ): Promise<boolean> {
    check('delayMs', FINITE_MS, delayMs);
    const { client } = readOptions(options, OPERATION);
    const request = { ...this.#template, delayMs, everyMs: 0, catchUp: false };
    return this.#answer(await this.#node(client).schedule(request, reset, client));
  }

  #node(client: DurableClient | undefined): BackendNode {
    if (client !== undefined && !this.#owner.hasTransactions) {
      throw new KcontError('ENOTSUP', `client of ${this.id}: the backend has no transactions`);
    }
    return this.#owner.open();
  }

  #answer(answer: ScheduleAnswer): boolean {
    if (answer !== 'ENOENT') return answer !== 'EBUSY';
    throw neverUp(this.id, this.node);
  }

  /** @internal */
  toString(): string {
    return DurableKcont.#line(this);
  }
}
