/*
 * One life of a node in the cluster: from joining to leaving, or to being cut off.
 *
 *   liveness    one connection, which holds an advisory lock named by the session's token; its beat every
 *               500 ms also looks for nodes that are dead, and recovers what they ran
 *   worker      graphile-worker, on a pool of its own
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
import { Client, Pool, type Notification, type PoolClient, type PoolConfig } from 'pg';
import { KcontError } from '../../base/errors.ts';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import { BEAT_MS, asDied, isConnectionError } from './connection-errors.ts';
import { checkRevision } from './migrate.ts';
import type { Settings } from './options.ts';
import { Wakes, monotonicMs } from './wakes.ts';

type Verify = (client: PoolClient, done: (error?: Error) => void) => void;

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
  /** The class of the connections of its pools. */
  readonly Client: typeof Client = clientOf(() => this.#migrated());
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
  readonly #clients = new Set<PoolClient>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #lastBeatMs: number = monotonicMs();

  private constructor(settings: Settings, owner: SessionOwner) {
    this.settings = settings;
    this.#owner = owner;
    this.wakes = new Wakes((count) => this.onWake(count));
    this.#liveness = new Client(this.#config);
    this.#liveness.on('error', (error) => this.lost(error));
    this.#liveness.on('end', () => this.lost(new Error('the connection has ended')));
    this.handlers = this.makePool({ max: 10 });
  }

  /**
   * Joins the cluster.
   *
   * @throws KcontError EBUSY if a node of that name is up
   */
  static async begin(settings: Settings, owner: SessionOwner): Promise<Session> {
    const session = new Session(settings, owner);
    try {
      await session.#begin();
      return session;
    } catch (error) {
      await session.#end();
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const { own } = this.settings.schemas;
    const { node } = this.#owner;
    const client = this.#liveness;
    await client.connect();
    await checkRevision(client, this.settings.schemas, this.#owner.revision);
    client.on('notification', ({ payload }) => this.wakes.at(Number(payload)));
    await client.query(`listen "${own}"`);
    const key = await client.query<{ key: string }>(
      `with k as (select hashtextextended($1, 3) as key)
       select key::text, pg_advisory_lock(key) from k`,
      [`${own}:${this.token}`],
    );
    const joined = await client.query<{ joined: boolean }>(
      `select ${own}.join_cluster($1, $2, $3, $4) as joined`,
      [node, this.token, key.rows[0]?.key, this.settings.livenessMs],
    );
    if (joined.rows[0]?.joined !== true) {
      throw new KcontError('EBUSY', `a node ${node} is up`);
    }
    await this.#beat();
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

  get #config(): PoolConfig {
    return {
      ...this.settings.config,
      application_name: `kcont:${this.token}`,
      keepAlive: true,
    };
  }

  /** Makes a pool whose connections end with the session. */
  makePool(options: PoolConfig, made: typeof Pool = Pool): Pool {
    // Parts of pg that its types do not have; `verify` is called before a new connection is used.
    const verified: Omit<PoolConfig, 'Client'> & { verify: Verify; Client: unknown } = {
      ...this.#config,
      Client: this.Client,
      ...options,
      verify: (client, done) => this.#verify(client, done),
    };
    const pool = new made(verified as PoolConfig);
    pool.on('error', (error) => this.lost(error));
    pool.on('connect', (client) => {
      this.#clients.add(client);
      // A pool listens only while a connection is idle.
      client.on('error', (error) => this.lost(error));
    });
    pool.on('remove', (client) => this.#clients.delete(client));
    this.#pools.push(pool);
    return pool;
  }

  #verify(client: PoolClient, done: (error?: Error) => void): void {
    const { own } = this.settings.schemas;
    client.query(`select ${own}.check_session($1, $2)`, [this.node, this.token]).then(
      () => done(),
      (error: Error) => {
        this.lost(error);
        done(error);
      },
    );
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
    checkRevision(this.handlers, this.settings.schemas, this.#owner.revision).catch(
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
    const { rows } = await this.#liveness.query<Beat>(`select * from ${own}.beat($1, $2, $3)`, [
      this.node,
      this.token,
      settings.livenessMs,
    ]);
    const beat = rows[0] as Beat;
    this.#lastBeatMs = monotonicMs();
    this.wakes.synchronize(beat.now_ms, askedMs, this.#lastBeatMs);
    if (!beat.is_current) throw new Error('another node has taken its place');
    const hasFewer = this.up.some((node) => !beat.up.includes(node));
    this.up = beat.up;
    // What preferred a node that is down may be taken now.
    if (hasFewer) this.onWake(1000);
    for (const { name, session } of beat.dead) {
      const recovered = this.#liveness.query(`select ${own}.recover($1, $2)`, [name, session]);
      // It may be that another node was first, or that it has to be tried again.
      await recovered.catch((error: unknown) => {
        if (isConnectionError(error)) throw error;
      });
    }
    this.#beatLater();
  }

  #beatLater(): void {
    if (this.isOver) return;
    this.#timer = real.setTimeout(() => {
      const overdue = real.setTimeout(
        () => this.lost(new Error('the database does not answer')),
        this.settings.livenessMs,
      );
      this.#beat()
        .catch((error: unknown) => this.lost(error))
        .finally(() => real.clearTimeout(overdue));
    }, BEAT_MS);
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
    try {
      // No statement of the worker may follow.
      await this.#liveness.query(
        `select case when ${own}.cut_off($2) then ${own}.leave($1, $2, true) end`,
        [this.node, this.token],
      );
    } catch (error) {
      this.#owner.report(error);
    }
    await this.#end();
  }

  async #end(): Promise<void> {
    real.clearTimeout(this.#timer);
    this.wakes.stop();
    if (!this.isOver) this.#gone.abort(asDied(this.node, new Error('it could not join')));
    this.#endPools();
    await this.#liveness.end().catch(nothing);
  }

  #endPools(): void {
    for (const pool of this.#pools) {
      if (!pool.ending) void pool.end().catch(nothing);
    }
    for (const client of this.#clients) cutOff(client);
  }
}

/** Returns a class of connections that call a function instead of telling of an incompatible change of a schema. */
function clientOf(onMigrated: () => void): typeof Client {
  return class extends Client {
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

/** Ends a connection, even in the middle of a statement. */
function cutOff(client: PoolClient): void {
  const { connection } = client as unknown as {
    connection?: { stream?: { destroy(): void } };
  };
  connection?.stream?.destroy();
}
