/*
 * The port: what a backend of durable continuations has to do. `spec/durable/conformance.suite.ts` is run
 * against each of them; where backends may differ, `caps` says how.
 *
 *              schedule                     due, lock and slot free             settled
 *     IDLE ----------------> PENDING --------------------------> RUNNING -----------------> IDLE
 *                            ^  |  stop                          |  | ack, reset, stop
 *                            +--+--> IDLE                        |  +--> RUNNING, detached: the name is free
 *                         schedule, touch                        | the node died N times
 *                                                                +--> PARKED
 *
 * Every operation is atomic: it has taken effect when its promise is fulfilled, and has changed nothing if
 * it is rejected.
 */

import type { Affinity } from '../core/extras.ts';
import type { Kernel } from '../core/kernel.ts';

/**
 * What a backend guarantees.
 *
 * @public
 */
export interface BackendCaps {
  /** Whether continuations survive the end of the process. */
  readonly durable: boolean;
  /** Whether a process that is cut off can be fenced: its writes through `invocation.client` are refused. */
  readonly fencing: boolean;
  /** Whether `schedule` can join a transaction of the caller, and functions have a client. */
  readonly transactions: boolean;
  /** Whether it has a cron. */
  readonly cron: boolean;
  /** How late, in ms, the backend usually notices that a continuation is due. */
  readonly timerGrainMs: number;
  /** The number of locks that should not be exceeded; undefined: there is no such number. */
  readonly maxLocks?: number;
}

/**
 * A query in a transaction of the caller, as a `pg` client has it.
 *
 * @public
 */
export interface DurableClient {
  /**
   * Runs one statement.
   *
   * @param text - the statement, with parameters as `$1`, `$2`, …
   * @param values - the values of the parameters
   * @returns a promise of the rows, rejected with the error of the database
   */
  query(
    text: string,
    values?: unknown[],
    // oxlint-disable-next-line typescript/no-explicit-any -- as in pg: the columns are not known
  ): Promise<{ rows: any[]; rowCount: number | null }>;
}

/**
 * What to run, and when.
 *
 * @public
 */
export interface ScheduleRequest {
  /** The continuation's name. */
  readonly id: string;
  /** The name of the function. */
  readonly handler: string;
  /** The argument as JSON text; undefined for undefined. */
  readonly arg: string | undefined;
  /** 0 … 223, 223 is the most urgent. */
  readonly priority: number;
  /** The name of the lock; null: none. */
  readonly lock: string | null;
  /** The node that `affinity` is about; null for `'none'`. */
  readonly node: string | null;
  /** Whether the node must run it, is preferred while it is up, or is of no importance. */
  readonly affinity: Affinity;
  /** The delay in ms: 0 … 2^53-1. */
  readonly delayMs: number;
  /** The period in ms; 0: it is not periodic. */
  readonly everyMs: number;
  /** Whether periods that were missed are run, one after the other. */
  readonly catchUp: boolean;
  /** After how many runs that ended with the death of their node it is parked. */
  readonly crashLimit: number;
}

/**
 * The answer to a request: scheduled, its deadline moved, or refused.
 *
 * @public
 */
export type ScheduleAnswer = 'scheduled' | 'moved' | 'EBUSY' | 'ENOENT';

/**
 * The answer to a stop: a scheduled run was withdrawn, or a run is in flight, or both, or neither.
 *
 * @public
 */
export interface Cancelled {
  /** Whether a scheduled run was withdrawn. */
  readonly withdrawn: boolean;
  /** Whether a run is in flight somewhere in the cluster. */
  readonly running: boolean;
}

/**
 * The state of a continuation.
 *
 * @public
 */
export interface DurableState {
  /** Whether it is scheduled and no node has begun to run it. */
  readonly pending: boolean;
  /** Whether a node is running it, or has taken it in order to run it. */
  readonly running: boolean;
  /** Whether a run is in flight that has not been acknowledged: `schedule` returns false. */
  readonly invoking: boolean;
  /** Whether it is parked, because the nodes that ran it died. */
  readonly parked: boolean;
  /** In how many ms it is due, negative if it is overdue; NaN while it is not pending. */
  readonly dueInMs: number;
  /** How many attempts of the last scheduled run have failed. */
  readonly failed: number;
  /** The error of the last attempt that failed, as text; null: none failed. Cleared by a run that succeeds. */
  readonly lastError: string | null;
}

/**
 * A continuation that a backend no longer runs, because its runs ended with the death of their node.
 *
 * @public
 */
export interface ParkedKcont {
  /** The continuation's name. */
  readonly id: string;
  /** The name of its function. */
  readonly handler: string;
  /** How many nodes died. */
  readonly crashes: number;
}

/**
 * A run that a node has taken.
 *
 * @public
 */
export interface BackendRun {
  /** The continuation's name. */
  readonly id: string;
  /** The name of the function. */
  readonly handler: string;
  /** The argument as JSON text; undefined for undefined. */
  readonly arg: string | undefined;
  /** How many attempts of this run have failed. */
  readonly failed: number;
  /** The delay before this attempt, in ms; 0 for the first. */
  readonly backoffMs: number;
  /** How many nodes have died while they ran it. */
  readonly crashes: number;
  /** Aborted when the node has lost the run: its result will be ignored. */
  readonly signal: AbortSignal;
  /** A client whose writes are refused once the node has lost the run; undefined without `caps.transactions`. */
  readonly client: DurableClient | undefined;
  /**
   * Runs a function in one such transaction. Rolled back if it throws.
   *
   * @param work - gets a client whose statements belong to the transaction
   */
  readonly transaction:
    | (<T>(work: (client: DurableClient) => Promise<T>) => Promise<T>)
    | undefined;
  /**
   * Frees the name, so that the continuation can be scheduled while this run continues.
   *
   * @returns a promise of true: it did; false: it was free already
   */
  ack(): Promise<boolean>;
}

/**
 * How a run ended.
 *
 * @public
 */
export type BackendOutcome =
  | {
      /** It succeeded. */
      readonly kind: 'done';
    }
  | {
      /** It failed, and is tried again after a delay. */
      readonly kind: 'retry';
      /** The delay in ms. */
      readonly delayMs: number;
      /** The error, as text. */
      readonly error: string;
    }
  | {
      /** It failed for good. */
      readonly kind: 'failed';
      /** The error, as text. */
      readonly error: string;
    }
  | {
      /** It was not run, or not to its end: another node has to run it. */
      readonly kind: 'refused';
    };

/**
 * What a backend needs of the node that it serves.
 *
 * @public
 */
export interface BackendHost {
  /** The node's name, unique in the cluster. */
  readonly node: string;
  /** The kernel on which functions are entered. */
  readonly kernel: Kernel;
  /** How many runs the node takes at a time. */
  readonly concurrency: number;
  /** Runs a function. Never rejected. */
  run(run: BackendRun): Promise<BackendOutcome>;
  /** Called with errors that belong to no call, such as a connection that was lost. */
  report(error: unknown): void;
}

/**
 * A repeated schedule at times of the calendar.
 *
 * @public
 */
export interface CronRequest extends ScheduleRequest {
  /** Minute, hour, day of month, month and day of week, in UTC. */
  readonly pattern: string;
  /** How far back, in ms, missed times are caught up with; 0: they are skipped. */
  readonly catchUpMs: number;
}

/**
 * A node of a backend.
 *
 * @public
 */
export interface BackendNode {
  /** Begins to take runs of a function. */
  handle(handler: string): void;
  /** Schedules, or moves what is scheduled. With `reset`, also while a run is in flight. */
  schedule(
    request: ScheduleRequest,
    reset: boolean,
    client: DurableClient | undefined,
  ): Promise<ScheduleAnswer>;
  /** Withdraws a scheduled run; a run in flight loses the name, so that it schedules nothing again. */
  stop(id: string, client: DurableClient | undefined): Promise<Cancelled>;
  /** Moves the deadline of a pending continuation to now plus its last delay. False: it is not pending. */
  touch(id: string, client: DurableClient | undefined): Promise<boolean>;
  /** Frees the name of a run in flight. False: there is none, or it was freed before. */
  ack(id: string): Promise<boolean>;
  /** Reads the state. */
  state(id: string): Promise<DurableState>;
  /** Waits until no run of it is in flight; true: there was one. */
  drain(id: string, signal: AbortSignal | undefined): Promise<boolean>;
  /** Lists what is parked, by name, at most 1000. */
  parked(): Promise<ParkedKcont[]>;
  /** Schedules something parked to run at once. False: it is not parked. */
  release(id: string): Promise<boolean>;
  /** Schedules by the calendar. */
  cron(request: CronRequest): Promise<void>;
  /** Takes no more runs. */
  pause(): void;
  /**
   * Leaves the cluster. Runs that are still in flight are lost: other nodes begin them again.
   *
   * @returns a promise of the names of continuations that are gone with this process
   */
  close(): Promise<string[]>;
}

/**
 * Where durable continuations are stored.
 *
 * @public
 */
export interface DurableBackend {
  /** What it guarantees. */
  readonly caps: BackendCaps;
  /**
   * Joins the cluster.
   *
   * @param host - the node
   * @returns a promise of the node; rejected with KcontError EBUSY if a node of that name is up
   */
  open(host: BackendHost): Promise<BackendNode>;
}
