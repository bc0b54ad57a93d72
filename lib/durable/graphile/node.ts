/*
 * A node on PostgreSQL: its operations, and one session after the other.
 */

import type { CronItem, TaskList } from 'graphile-worker';
import { Backoff } from '../../base/backoff.ts';
import type { KcontError } from '../../base/errors.ts';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import type {
  BackendHost,
  BackendNode,
  Cancelled,
  CronRequest,
  DurableClient,
  DurableState,
  ParkedKcont,
  ScheduleAnswer,
  ScheduleRequest,
} from '../backend.ts';
import { neverUp } from '../names.ts';
import { ask } from './ask.ts';
import { OPERATIONS, configured, cutOff, tracked } from './connection.ts';
import { Cron, TICK, cronItemOf, runTick } from './cron.ts';
import { runJob } from './job-run.ts';
import type { Settings } from './options.ts';
import { flagsOf, jobPriority, payloadOf, taskOf } from './payload.ts';
import { Client, Pool } from './pg.ts';
import { inTime, sleep } from './real-time.ts';
import { Session, type SessionOwner } from './session.ts';
import { Worker } from './worker.ts';

/** How a node that has lost its connection tries again. */
const RECONNECT: Backoff = new Backoff({ baseMs: 100, maxMs: 5000 });
/** How long each of the last things may take when the node is closed, in ms. */
const LAST_MS = 2000;
/** How often `drain` looks, in ms: at first, and at most. */
const FIRST_LOOK_MS = 5;
const LONGEST_LOOK_MS = 100;

/** A row of the function `state`. */
type StateRow = Omit<DurableState, 'dueInMs' | 'lastError'> & {
  readonly due_in_ms: number | null;
  readonly last_error: string | null;
};

/** A row of the function `parked`. */
interface ParkedRow {
  readonly id: string;
  readonly task: string;
  readonly crashes: number;
}

/** A list without a prototype: a function may be called `constructor`. */
function emptyList(): TaskList {
  return Object.create(null) as TaskList;
}

/**
 * A node of the backend on PostgreSQL.
 *
 * @internal
 */
export class GraphileNode implements BackendNode, SessionOwner {
  readonly node: string;
  readonly revision: number;
  readonly #host: BackendHost;
  readonly #settings: Settings;
  readonly #pool: Pool | undefined;
  /** The connections of that pool. */
  readonly #clients = new Set<Client>();
  readonly #commands: DurableClient;
  readonly #handlers = new Set<string>();
  readonly #crons = new Map<string, CronItem>();
  #session: Session;
  #tasks: TaskList = emptyList();
  #worker: Worker | undefined = undefined;
  #cron: Cron | undefined = undefined;
  #isPaused = false;
  #isClosed = false;
  #reconnecting: NodeJS.Timeout | undefined = undefined;
  #joining: Promise<void> = Promise.resolve();

  private constructor(settings: Settings, host: BackendHost, revision: number) {
    this.node = host.node;
    this.revision = revision;
    this.#host = host;
    this.#settings = settings;
    if (settings.pool === undefined) {
      const config = { ...settings.config, application_name: `kcont/${host.node}` };
      const made = { ...config, Client: tracked(Client, this.#clients, undefined) };
      this.#pool = new Pool(configured(made, OPERATIONS));
      this.#pool.on('error', nothing).on('connect', (client) => client.on('error', nothing));
    }
    this.#commands = settings.pool ?? (this.#pool as Pool);
    this.#session = undefined as unknown as Session;
  }

  static async open(
    settings: Settings,
    host: BackendHost,
    revision: number,
  ): Promise<GraphileNode> {
    const node = new GraphileNode(settings, host, revision);
    try {
      node.#session = await Session.begin(settings, node);
      return node;
    } catch (error) {
      await node.#pool?.end();
      throw error;
    }
  }

  report(error: unknown): void {
    this.#host.report(error);
  }

  lost(session: Session, reason: KcontError): void {
    if (session !== this.#session || this.#isClosed) return;
    this.report(reason);
    this.#reconnect(1);
  }

  #reconnect(attempt: number): void {
    // This timer keeps the process alive, as the connection has done.
    this.#reconnecting = real.setTimeout(
      () => {
        this.#joining = Session.begin(this.#settings, this).then(
          (session) => this.#renew(session),
          (error: unknown) => {
            if (this.#isClosed) return;
            this.report(error);
            this.#reconnect(attempt + 1);
          },
        );
      },
      RECONNECT.waitMs(attempt, 0),
    );
  }

  async #renew(session: Session): Promise<void> {
    if (this.#isClosed) {
      await session.leave();
      return;
    }
    this.#session = session;
    this.#worker = undefined;
    this.#cron = undefined;
    if (session.isOver) this.#reconnect(1);
    else if (!this.#isPaused) this.#startWork();
  }

  handle(handler: string): void {
    this.#handlers.add(handler);
    if (this.#session.isOver || this.#isPaused) return;
    this.#startWork();
    this.#worker?.nudge(this.#host.concurrency);
  }

  /** Starts the worker of the session, or tells it of new functions. */
  #startWork(): void {
    if (this.#handlers.size === 0) return;
    if (this.#worker === undefined) this.#tasks = emptyList();
    const session = this.#session;
    for (const handler of this.#handlers) {
      const task: TaskList[string] = (_, { job }) => runJob(this.#host, session, handler, job);
      // The worker reads the list whenever it looks for jobs.
      this.#tasks[handler] ??= task;
      this.#tasks[`${handler}@${this.node}`] ??= task;
    }
    if (this.#worker !== undefined) return;
    this.#tasks[TICK] = (_, { job }) => runTick(this.#host, session, job);
    this.#worker = new Worker(session, this.#tasks, this.#host.concurrency);
    void this.#startCron();
  }

  async schedule(
    request: ScheduleRequest,
    reset: boolean,
    client: DurableClient | undefined,
  ): Promise<ScheduleAnswer> {
    const { id, handler, affinity, node, lock, delayMs, crashLimit, priority } = request;
    return await this.#ask<ScheduleAnswer>(
      'schedule',
      [
        id,
        taskOf(handler, affinity, node),
        payloadOf(request),
        lock,
        delayMs,
        crashLimit,
        jobPriority(priority),
        flagsOf(affinity, node, delayMs),
        node,
        reset,
      ],
      client,
    );
  }

  stop(id: string, client: DurableClient | undefined): Promise<Cancelled> {
    return this.#read('stop', [id], client);
  }

  touch(id: string, client: DurableClient | undefined): Promise<boolean> {
    return this.#ask('touch', [id], client);
  }

  ack(id: string): Promise<boolean> {
    return this.#ask('ack', [id, null]);
  }

  async state(id: string): Promise<DurableState> {
    const { due_in_ms, last_error, ...rest } = await this.#read<StateRow>('state', [id]);
    return { ...rest, dueInMs: due_in_ms ?? NaN, lastError: last_error };
  }

  async drain(id: string, signal: AbortSignal | undefined): Promise<boolean> {
    for (let lookMs = FIRST_LOOK_MS, waited = false; ; waited = true) {
      const { running } = await this.state(id);
      signal?.throwIfAborted();
      if (!running) return waited;
      await sleep(lookMs);
      signal?.throwIfAborted();
      lookMs = Math.min(lookMs * 1.5, LONGEST_LOOK_MS);
    }
  }

  async parked(): Promise<ParkedKcont[]> {
    const all = "coalesce(json_agg(p), '[]')";
    const rows = await ask<ParkedRow[]>(this.#commands, all, [], `${this.#own}.parked() p`);
    return rows.map(({ id, task, crashes }) => {
      return { id, handler: task.split('@', 1)[0] ?? task, crashes };
    });
  }

  release(id: string): Promise<boolean> {
    return this.#ask('release', [id]);
  }

  async cron(request: CronRequest): Promise<void> {
    const { id, node } = request;
    const item = cronItemOf(request);
    if (node !== null) {
      const known = `exists (select from ${this.#own}.nodes where name = $1)`;
      if (!(await ask<boolean>(this.#commands, known, [node]))) throw neverUp(id, node);
    }
    this.#crons.set(id, item);
    await this.#startCron();
  }

  /** Starts the cron of the session with all items, instead of the ones before. */
  async #startCron(): Promise<void> {
    if (this.#crons.size === 0 || this.#worker === undefined) return;
    this.#cron ??= new Cron(this.#session);
    await this.#cron.start([...this.#crons.values()]);
  }

  pause(): void {
    this.#isPaused = true;
    this.#worker?.pause();
  }

  async close(): Promise<string[]> {
    this.#isClosed = true;
    real.clearTimeout(this.#reconnecting);
    // The database may not answer any more.
    if (this.#cron !== undefined) await inTime(this.#cron.stop(), LAST_MS);
    await this.#worker?.finish();
    await this.#session.leave();
    await inTime(this.#joining, LAST_MS);
    await this.#endPool();
    return [];
  }

  /** Ends the pool of operations. Those that take too long are ended with it. */
  async #endPool(): Promise<void> {
    if (this.#pool === undefined || (await inTime(this.#pool.end(), LAST_MS))) return;
    for (const client of this.#clients) cutOff(client);
  }

  get #own(): string {
    return this.#settings.schemas.own;
  }

  /** Calls a function that returns one value. */
  #ask<T>(name: string, values: unknown[], client?: DurableClient): Promise<T> {
    return ask(client ?? this.#commands, `${this.#own}.${name}(${parameters(values)})`, values);
  }

  /** Calls a function that returns a row. */
  #read<T>(name: string, values: unknown[], client?: DurableClient): Promise<T> {
    const row = `${this.#own}.${name}(${parameters(values)}) r`;
    return ask(client ?? this.#commands, 'r', values, row);
  }
}

function parameters(values: unknown[]): string {
  return values.map((_, index) => `$${index + 1}`).join(', ');
}
