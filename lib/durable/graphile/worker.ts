/*
 * graphile-worker, as far as a session needs it.
 *
 * graphile-worker 0.17 does not await the statement that completes a job: if it failed, the rejection would
 * be unhandled and end the process, and if a worker looked for the next job of a lock before it was committed,
 * it would find the lock held and sleep for two seconds. So its pool ends the session when a connection is
 * lost or the statement fails for good, and lets it wait forever; and when the statement has been executed, a worker
 * looks again.
 *
 * If a look fails, graphile-worker tries again after two seconds, and says nothing. The first one that fails is reported.
 *
 * Whenever it shuts down for a reason of its own, the session ends.
 */

import { EventEmitter } from 'node:events';
import {
  runTaskList,
  type JobHelpers,
  type TaskList,
  type WorkerEvents,
  type WorkerPool,
} from 'graphile-worker';
import type { PoolClient, PoolConfig, QueryConfig } from 'pg';
import { never, nothing } from '../../base/nothing.ts';
import { pipelined, poolBy } from './connection.ts';
import { isConflict, isConnectionError, isStale } from './connection-errors.ts';
import { Looks, type Found } from './looks.ts';
import type { Client, Pool } from './pg.ts';
import { QUIET } from './quiet-logger.ts';
import { sleep } from './real-time.ts';
import type { Session } from './session.ts';
import { monotonicMs } from './wakes.ts';

/** How many looks that go one after the other are sent ahead. */
const AHEAD = 2;
/** How long the last statements may take when a node is closed, in ms. */
const LAST_MS = 2000;

/** A job as a task gets it. */
export type Job = JobHelpers['job'];

/**
 * The worker of a session.
 *
 * @internal
 */
export class Worker {
  readonly #session: Session;
  readonly #pg: Pool;
  readonly #pool: WorkerPool;
  #isPaused = false;
  #stopping: Promise<unknown> | undefined = undefined;

  constructor(session: Session, tasks: TaskList, concurrency: number) {
    this.#session = session;
    this.#pg = makePool(session, concurrency, () => this.nudge(1));
    const events = new EventEmitter() as WorkerEvents;
    events.on('worker:fatalError', ({ error }) => session.lost(error));
    events.on('pool:gracefulShutdown', ({ message }) => {
      if (!this.#isPaused) session.lost(new Error(`graphile-worker has ended: ${message}`));
    });
    let start: (registered: Promise<void>) => void = nothing;
    const registered = new Promise<void>((resolve) => {
      start = resolve;
    });
    this.#pool = runTaskList(
      {
        pgPool: this.#pg,
        schema: session.settings.schemas.worker,
        concurrency,
        noHandleSignals: true,
        logger: QUIET,
        events,
        // Functions do not use its signal.
        gracefulShutdownAbortTimeout: 1,
        // What is preferred by a node that is up is left to it.
        forbiddenFlags: () => session.up.map((node) => `weak@${node}`),
        preset: {
          plugins: [
            {
              name: 'kcont',
              version: '1',
              // Peers have to know whose jobs these are before the first is taken.
              worker: { hooks: { startWorker: () => registered } },
            },
          ],
        },
      },
      tasks,
      this.#pg,
    );
    this.#pool.promise.catch(nothing);
    start(
      session.register(this.#pool.id).catch((error: unknown) => {
        session.lost(error);
        return never;
      }),
    );
    session.onWake = (count) => this.nudge(count);
    session.signal.addEventListener('abort', () => this.pause(), { once: true });
  }

  /** Lets workers look for jobs at once. */
  nudge(count: number): void {
    if (!this.#isPaused && !this.#session.isOver) this.#pool.nudge(count);
  }

  /** Takes no more jobs. */
  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#stopping = Promise.resolve(this.#pool.gracefulShutdown()).catch(nothing);
  }

  /** Waits until the last statements have been executed. Functions that have not settled are not waited for. */
  async finish(): Promise<void> {
    this.pause();
    const untilMs = monotonicMs() + LAST_MS;
    // A job that has just ended gets its connection within the next turns.
    for (let idle = 0; idle < 3 && monotonicMs() < untilMs && !this.#session.isOver;) {
      await sleep(2);
      const { totalCount, idleCount, waitingCount } = this.#pg;
      idle = totalCount === idleCount && waitingCount === 0 ? idle + 1 : 0;
    }
    void this.#stopping;
  }
}

/** Whether a statement ends a job. If it fails, graphile-worker tries again after a conflict only. */
function isLastStatement(name: string): boolean {
  return /^(?:complete|fail)_job/.test(name);
}

/** Executes a statement. */
type Execute<T> = (
  client: { query(query: QueryConfig): Promise<T> },
  query: QueryConfig,
) => Promise<T>;

/**
 * Returns a function that executes prepared statements, and prepares them anew, under another name, when the tables have
 * been changed: PostgreSQL refuses a prepared statement that would return other columns than before.
 */
function preparing(): Execute<Found> {
  let version = 0;
  return async (client, query) => {
    const { name } = query;
    const execute = (): Promise<Found> =>
      client.query(version === 0 ? query : { ...query, name: `${name}/${version}` });
    const tried = version;
    try {
      return await execute();
    } catch (error) {
      if (!isStale(error)) throw error;
      if (tried === version) version++;
      return await execute();
    }
  };
}

/** Makes the pool of a worker: what fails because a connection is lost ends the session, and never settles. */
function makePool(session: Session, concurrency: number, onCompleted: () => void): Pool {
  const lost = (error: unknown): Promise<never> => {
    session.lost(error);
    return never;
  };

  const looks = new Looks<Found>();
  /** The connection for looks that go one after the other, as soon as there is one. */
  let line: PoolClient | undefined;

  let isFailing = false;
  const onFound = (found: Found): Found => {
    isFailing = false;
    return found;
  };
  const onFailed = (error: unknown): never => {
    if (!isFailing && !isConflict(error) && !isConnectionError(error)) {
      isFailing = true;
      session.report(error);
    }
    throw error;
  };
  const preparedAnew = preparing();

  class WorkerClient extends session.Client {
    override query(...args: unknown[]): never {
      const { name = '', values } = (args[0] ?? {}) as { name?: string; values?: unknown };
      const execute = (): unknown => Reflect.apply(super.query, this, args);
      const look = async (isInLine: boolean): Promise<Found> => {
        const query = args[0] as QueryConfig;
        if (isInLine && line !== undefined) return await preparedAnew(line, query);
        return await preparedAnew({ query: (own) => super.query(own) }, query);
      };
      const result = name.startsWith('get_job')
        ? looks.look(`${name} ${JSON.stringify(values)}`, look).then(onFound, onFailed)
        : execute();
      if (!(result instanceof Promise)) return result as never;
      const settled = result.then(
        (value: unknown) => {
          if (name.startsWith('complete_job_q') && !looks.renew()) onCompleted();
          return value;
        },
        (error: unknown) => {
          const isFinal = isLastStatement(name) && !isConflict(error);
          if (isFinal || isConnectionError(error)) return lost(error);
          throw error;
        },
      );
      return settled as never;
    }
  }

  const made = poolBy((get) => (session.isOver ? never : get().catch(lost)), session.Pool);
  const options: PoolConfig & { Client: typeof Client } = {
    max: Math.min(concurrency, 20) + 2,
    Client: WorkerClient,
  };
  const pool = session.makePool(options, made);
  const linePool = session.makePool({ max: 1, Client: pipelined(session.Client) }, made);
  void linePool.connect().then((client) => {
    line = client;
    // Older versions of pg have no pipeline mode.
    if ((client as { pipeline?: boolean }).pipeline === true) looks.ahead = AHEAD;
  });
  return pool;
}
