/*
 * One life of a node in the cluster: from joining to leaving, or to being cut off.
 *
 *   liveness    one connection, which holds an advisory lock named by the session's token; its beat every
 *               500 ms also looks for nodes that are dead, and recovers what they ran
 *   worker      graphile-worker, on a pool of its own
 *   statements  a pool for what is stored when a run ends, or begins after another; functions cannot exhaust it
 *   handlers    a pool for the statements of functions
 *
 * All connections have the token in their `application_name`, so that other nodes can end them, and a new one
 * is refused (`verify`) once the token is no longer valid. Invariant: after `leave` or `recover` has been
 * committed for a session, no statement of its worker takes effect. So a worker that was suspended cannot
 * complete a job that runs elsewhere by now.
 *
 * A session that loses a connection ends itself: its runs are aborted, and the node begins another session.
 *
 * graphile-worker shuts down, and sets the exit code of the process, whenever a graphile-worker is installed in any
 * schema of the database, because the notification does not name the schema. So no connection of a session passes that
 * notification on, and the session looks for itself whether its own schema has been changed.
 */

import { randomBytes } from 'node:crypto';
import type { Notification, PoolClient, PoolConfig } from 'pg';
import { KcontError } from '../../base/errors.ts';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import {
  FUNCTIONS,
  OWN,
  OwnClient,
  configure,
  cutOff,
  patientPool,
  tracked,
  type ConnectionSettings,
} from './connection.ts';
import { BEAT_MS, asDied, isConnectionError, isLimit, isLockTimeout } from './connection-errors.ts';
import { checkRevision } from './migrate.ts';
import type { Settings } from './options.ts';
import { Client, type Pool } from './pg.ts';
import { inTime, sleep } from './real-time.ts';
import { Wakes, monotonicMs } from './wakes.ts';

/** How long joining may take, in ms, unless `livenessMs` is longer. */
const JOIN_MS = 10_000;
/** How long the server may need to notice that the process of a node has died, in ms, and how often that is looked for. */
const GONE_MS = 1000;
const AGAIN_MS = 50;
/** How long leaving may take, in ms, and then ending the connection. */
const LEAVE_MS = 3000;
const END_MS = 500;

/** Options of a pool, with the class of its connections. */
type SessionPoolConfig = Omit<PoolConfig, 'Client'> & { readonly Client?: typeof Client };

interface Beat {
  readonly is_current: boolean;
  readonly now_ms: number;
  readonly up: string[];
  readonly dead: { readonly name: string; readonly session: string }[];
}

/** What a session tells its node. */
export interface SessionOwner {
  readonly node: string;
  /** The revision of graphile-worker's schema that it can use. */
  readonly revision: number;
  /** It has ended by itself, and its runs are aborted. */
  lost(session: Session, reason: KcontError): void;
  report(error: unknown): void;
}

/**
 * A session of a node.
 *
 * @internal
 */
export class Session {
  /** The fencing token. */
  readonly token: string = randomBytes(12).toString('hex');
  readonly settings: Settings;
  readonly wakes: Wakes;
  /** The class of the connections of its pools, but for that of functions. */
  readonly Client: typeof Client = quiet(OwnClient, () => this.#migrated());
  /** The class of its pools. */
  readonly Pool: typeof Pool = patientPool((error, isFirst) => {
    if (isFirst) this.report(error);
    return !this.isOver;
  });
  /** The pool for statements of this library in runs. */
  readonly statements: Pool;
  /** The pool for the statements of functions. */
  readonly handlers: Pool;
  /** The other nodes that are up. */
  up: readonly string[] = [];
  /** Called when something may be due. */
  onWake: (count: number) => void = nothing;
  readonly #owner: SessionOwner;
  readonly #gone = new AbortController();
  readonly #liveness: Client;
  readonly #pools: Pool[] = [];
  readonly #clients = new Set<Client>();
  /** Connections of functions that a limit of the role has ended. */
  readonly #limited = new WeakSet<object>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #lastBeatMs: number = monotonicMs();

  private constructor(settings: Settings, owner: SessionOwner) {
    this.settings = settings;
    this.#owner = owner;
    this.wakes = new Wakes((count) => this.onWake(count));
    this.#liveness = new this.Client(this.#config);
    this.#liveness.on('error', (error) => this.lost(error));
    this.#liveness.on('end', () => this.lost(new Error('the connection has ended')));
    this.statements = this.makePool({ max: 4 });
    const options = { max: 10, Client: quiet(Client, () => this.#migrated()) };
    this.handlers = this.makePool(options, this.Pool, FUNCTIONS);
  }

  /**
   * Joins the cluster.
   *
   * @throws KcontError EBUSY if a node of that name is up
   */
  static async begin(settings: Settings, owner: SessionOwner): Promise<Session> {
    const session = new Session(settings, owner);
    const overdue = real.setTimeout(
      () => cutOff(session.#liveness),
      Math.max(settings.livenessMs, JOIN_MS),
    );
    try {
      await session.#begin();
      return session;
    } catch (error) {
      await session.#end();
      throw error;
    } finally {
      real.clearTimeout(overdue);
    }
  }

  async #begin(): Promise<void> {
    const { own } = this.settings.schemas;
    const { node } = this.#owner;
    const client = this.#liveness;
    await client.connect();
    await configure(client, { ...OWN, application_name: this.#name });
    // A change is told of, or found here, whenever it is made: the worker does not listen yet.
    await client.query('listen "worker:migrate"');
    await checkRevision(client, this.settings.schemas, this.#owner.revision);
    client.on('notification', ({ payload }) => this.wakes.at(Number(payload)));
    await client.query(`listen ${own}`);
    const key = await client.query<{ key: string }>(
      `with k as (select hashtextextended($1, 3) as key)
       select key::text, pg_advisory_lock(key) from k`,
      [`${own}:${this.token}`],
    );
    const untilMs = monotonicMs() + GONE_MS;
    while (!(await this.#join(key.rows[0]?.key))) {
      if (monotonicMs() > untilMs) throw new KcontError('EBUSY', `a node ${node} is up`);
      await sleep(AGAIN_MS);
    }
    // How long it took to get here does not matter: the beat asks whether the session is still valid.
    this.#lastBeatMs = monotonicMs();
    await this.#beat();
  }

  /** Returns whether it has joined. False: a node of that name is up, or cannot be taken out yet. */
  async #join(key: string | undefined): Promise<boolean> {
    const { schemas, livenessMs } = this.settings;
    try {
      const { rows } = await this.#liveness.query<{ joined: boolean }>(
        `select ${schemas.own}.join_cluster($1, $2, $3, $4) as joined`,
        [this.#owner.node, this.token, key, livenessMs],
      );
      return rows[0]?.joined === true;
    } catch (error) {
      // A transaction of others holds what the recovery needs.
      if (isLockTimeout(error)) return false;
      throw error;
    }
  }

  /** Aborted, with KcontError ECPUDIED, when the session has ended. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  get isOver(): boolean {
    return this.#gone.signal.aborted;
  }

  get node(): string {
    return this.#owner.node;
  }

  get #name(): string {
    return `kcont:${this.token}`;
  }

  get #config(): PoolConfig {
    return {
      ...this.settings.config,
      application_name: this.#name,
      keepAlive: true,
    };
  }

  /** Makes a pool whose connections end with the session. */
  makePool(
    { Client: made = this.Client, ...options }: SessionPoolConfig,
    Made: typeof Pool = this.Pool,
    settings: ConnectionSettings = OWN,
  ): Pool {
    const { connectionTimeoutMillis: timeoutMs, onConnect, ...config } = this.#config;
    const pool = new Made({
      ...config,
      // The user's, which may change whatever belongs to a connection.
      ...(settings === FUNCTIONS ? { onConnect } : {}),
      Client: tracked(made, this.#clients, timeoutMs),
      ...options,
      verify: (client, done) => this.#verify(client, settings, done),
    });
    pool.on('error', (error, client) => this.#failed(error, client));
    // A pool listens only while a connection is idle.
    pool.on('connect', (client) => client.on('error', (error) => this.#failed(error, client)));
    this.#pools.push(pool);
    return pool;
  }

  /** A connection of a pool is lost. */
  #failed(error: Error, client: object): void {
    if (isLimit(error)) this.limit(client);
    else if (!this.#limited.has(client)) this.lost(error);
  }

  /** Notes that a limit of the role ends a connection, which is a matter of one transaction. */
  limit(client: object): void {
    this.#limited.add(client);
  }

  #verify(client: PoolClient, settings: ConnectionSettings, done: (error?: Error) => void): void {
    this.#check(client, settings).then(
      () => done(),
      (error: Error) => {
        this.lost(error);
        done(error);
      },
    );
  }

  async #check(client: PoolClient, settings: ConnectionSettings): Promise<void> {
    const { own } = this.settings.schemas;
    // The connection can be ended by its name before it is checked.
    await configure(client, { ...settings, application_name: this.#name });
    await client.query(`select ${own}.check_session($1, $2)`, [this.node, this.token]);
  }

  /** Records which worker runs what this session has taken. */
  async register(worker: string): Promise<void> {
    const { own } = this.settings.schemas;
    await this.#liveness.query(
      `update ${own}.nodes set worker = $3 where name = $1 and session = $2`,
      [this.node, this.token, worker],
    );
  }

  /** A schema of graphile-worker has been changed in this database. If it is that of this session, the session ends. */
  #migrated(): void {
    checkRevision(this.statements, this.settings.schemas, this.#owner.revision).catch(
      (error: unknown) => this.lost(error),
    );
  }

  async #beat(): Promise<void> {
    const { settings } = this;
    const { own } = settings.schemas;
    const askedMs = monotonicMs();
    // A process that was suspended finds out here, before it has asked anybody.
    if (askedMs - this.#lastBeatMs > settings.livenessMs) {
      throw new Error(`it was blocked for more than ${settings.livenessMs} ms`);
    }
    const { rows } = await this.#liveness.query<Beat>(
      `select is_current, now_ms, to_json(up) as up, dead from ${own}.beat($1, $2, $3)`,
      [this.node, this.token, settings.livenessMs],
    );
    const beat = rows[0] as Beat;
    this.#lastBeatMs = monotonicMs();
    this.wakes.synchronize(beat.now_ms, askedMs, this.#lastBeatMs);
    if (!beat.is_current) throw new Error('another node has taken its place');
    const hasFewer = this.up.some((node) => !beat.up.includes(node));
    this.up = beat.up;
    // What preferred a node that is down may be taken now.
    if (hasFewer) this.onWake(1000);
    for (const { name, session } of beat.dead) {
      // What holds up the recovery of others must not hold up the next sign of life.
      if (monotonicMs() - this.#lastBeatMs > BEAT_MS / 2) break;
      const recovered = this.#liveness.query(`select ${own}.recover($1, $2, 100)`, [name, session]);
      // It may be that another node was first, or that it has to be tried again.
      await recovered.catch((error: unknown) => {
        if (isConnectionError(error)) throw error;
      });
    }
    this.#beatLater();
  }

  #beatLater(): void {
    if (this.isOver) return;
    const delayMs = Math.max(this.#lastBeatMs + BEAT_MS - monotonicMs(), 0);
    this.#timer = real.setTimeout(() => {
      const overdue = real.setTimeout(
        () => this.lost(new Error('the database does not answer')),
        this.settings.livenessMs,
      );
      this.#beat()
        .catch((error: unknown) => this.lost(error))
        .finally(() => real.clearTimeout(overdue));
    }, delayMs);
  }

  /** Reports an error that does not end the session. */
  report(error: unknown): void {
    if (!this.isOver) this.#owner.report(error);
  }

  /** Ends the session, because a connection was lost or the node was cut off. */
  lost(error: unknown): void {
    if (this.isOver) return;
    const reason = asDied(this.node, error);
    this.#gone.abort(reason);
    void this.#end();
    this.#owner.lost(this, reason);
  }

  /** Leaves the cluster in an orderly way. What is still in flight is given back. */
  async leave(): Promise<void> {
    if (this.isOver) return;
    const { own } = this.settings.schemas;
    this.#gone.abort(new KcontError('ECPUDIED', `node ${this.node} has left the cluster`));
    real.clearTimeout(this.#timer);
    // No statement of the worker may follow.
    const left = this.#liveness
      .query(`select case when ${own}.cut_off($2, 1000) then ${own}.leave($1, $2, true) end`, [
        this.node,
        this.token,
      ])
      .catch((error: unknown) => this.#owner.report(error));
    if (!(await inTime(left, LEAVE_MS))) cutOff(this.#liveness);
    await left;
    await this.#end();
  }

  async #end(): Promise<void> {
    real.clearTimeout(this.#timer);
    this.wakes.stop();
    if (!this.isOver) this.#gone.abort(asDied(this.node, new Error('it could not join')));
    this.#endPools();
    const ended = this.#liveness.end().catch(nothing);
    if (!(await inTime(ended, END_MS))) cutOff(this.#liveness);
    await ended;
  }

  #endPools(): void {
    for (const pool of this.#pools) {
      if (!pool.ending) void pool.end().catch(nothing);
    }
    for (const client of this.#clients) cutOff(client);
  }
}

/** Returns a class of connections that call a function instead of telling of an incompatible change of a schema. */
function quiet(base: typeof Client, onMigrated: () => void): typeof Client {
  return class extends base {
    override emit(event: string, ...args: unknown[]): boolean {
      const { channel, payload = '' } = (args[0] ?? {}) as Partial<Notification>;
      if (event !== 'notification' || channel !== 'worker:migrate') {
        return Reflect.apply(super.emit, this, [event, ...args]);
      }
      if (/"breaking":\s*true/.test(payload)) onMigrated();
      return true;
    }
  };
}
