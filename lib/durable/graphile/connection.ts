/*
 * What is the same for all connections to the database: their settings, and how they are made and ended.
 *
 * A role or a connection string may have settings that would break the work of a node: a limit for idle sessions, or
 * for statements that wait, an isolation level that makes statements fail, numbers or dates that are read wrongly,
 * another `application_name`. So they are set on each connection after it has been made.
 */

import type { ClientConfig, PoolClient, PoolConfig } from 'pg';
import { Backoff } from '../../base/backoff.ts';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import type { DurableClient } from '../backend.ts';
import { isPassing } from './connection-errors.ts';
import { Client, Pool } from './pg.ts';
import { OWN_TYPES } from './type-parsers.ts';

/** Settings of a connection by name. A server of an older version does not know all of them. */
export type ConnectionSettings = Readonly<Record<string, string>>;

/** What makes statements of this library fail, or is read wrongly. */
const BASE: ConnectionSettings = {
  datestyle: 'ISO',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  extra_float_digits: '1',
  idle_session_timeout: '0',
  intervalstyle: 'postgres',
};

/**
 * The settings of connections whose statements are all of this library.
 *
 * @internal
 */
export const OWN: ConnectionSettings = {
  ...BASE,
  idle_in_transaction_session_timeout: '0',
  lock_timeout: '0',
  statement_timeout: '0',
  timezone: 'UTC',
  transaction_timeout: '0',
};

/**
 * The settings of connections for the statements of functions: other limits of the role apply to them. The check of the
 * session locks a row, which needs the right to write.
 *
 * @internal
 */
export const FUNCTIONS: ConnectionSettings = {
  default_transaction_read_only: 'off',
  idle_session_timeout: '0',
};

/**
 * The settings of connections for operations, which fail as the role wishes, but not for want of retries.
 *
 * @internal
 */
export const OPERATIONS: ConnectionSettings = BASE;

/**
 * Applies settings to a connection.
 *
 * @internal
 */
export async function configure(
  client: DurableClient,
  settings: ConnectionSettings,
): Promise<void> {
  await client.query(
    `select set_config(name, value, false) from json_each_text($1) as s(name, value)
     where current_setting(name, true) is not null`,
    [JSON.stringify(settings)],
  );
}

/**
 * Returns the options of a pool that applies settings to its connections.
 *
 * @internal
 */
export function configured(config: PoolConfig, settings: ConnectionSettings): PoolConfig {
  return {
    ...config,
    verify: (client, done) => {
      configure(client, settings).then(() => done(), done);
    },
  };
}

/**
 * Ends a connection, even in the middle of a statement, or while it is made.
 *
 * @internal
 */
export function cutOff(client: object): void {
  const { connection } = client as { connection?: { stream?: { destroy(): void } } };
  connection?.stream?.destroy();
}

/**
 * A connection whose statements are all of this library: how the program, its pool or pg's defaults read results, and how
 * long they wait for them, does not apply to it.
 *
 * @internal
 */
export class OwnClient extends Client {
  constructor(config?: string | ClientConfig) {
    super(withOptions(config, { types: OWN_TYPES, pipeline: false }));
    // The defaults of pg and the connection string have these too.
    Object.assign(this, { binary: false });
    const { connectionParameters } = this as { connectionParameters?: object };
    Object.assign(connectionParameters ?? {}, { query_timeout: 0 });
  }
}

/**
 * Returns a class of connections that send a statement before the one before has been answered, if this version of pg can.
 *
 * @internal
 */
export function pipelined(base: typeof Client): typeof Client {
  return class extends base {
    constructor(config?: string | ClientConfig) {
      super(config);
      if ('pipeline' in this) Object.assign(this, { pipeline: true });
    }
  };
}

/** Adds options to those of a connection. The password of a pool is a property that is not enumerable. */
function withOptions(config: string | ClientConfig | undefined, more: ClientConfig): ClientConfig {
  const given = typeof config === 'string' ? { connectionString: config } : (config ?? {});
  const all = Object.defineProperties({}, Object.getOwnPropertyDescriptors(given));
  return Object.assign(all, more);
}

/**
 * Returns a class of connections that are in a set from the moment they are made until they have ended: also one that is
 * still being made has to be cut off, or its socket would keep the process alive.
 *
 * @param timeoutMs - how long making one may take, in ms; undefined: any time
 *
 * @internal
 */
export function tracked(
  base: typeof Client,
  clients: Set<Client>,
  timeoutMs: number | undefined,
): typeof Client {
  return class extends base {
    constructor(config?: string | ClientConfig) {
      super(withOptions(config, { connectionTimeoutMillis: timeoutMs }));
      clients.add(this);
      this.once('end', () => clients.delete(this));
    }
  };
}

/**
 * Returns a class of pools that get their connections by a function.
 *
 * @param connect - called with the function that gets one from the pool
 *
 * @internal
 */
export function poolBy(
  connect: (get: () => Promise<PoolClient>) => Promise<PoolClient>,
  base: typeof Pool = Pool,
): typeof Pool {
  return class extends base {
    override connect(): Promise<PoolClient>;
    override connect(
      callback: (
        error: Error | undefined,
        client: PoolClient | undefined,
        done: (release?: boolean | Error) => void,
      ) => void,
    ): void;
    override connect(callback?: Parameters<Pool['connect']>[0]): Promise<PoolClient> | void {
      const connected = connect(() => super.connect());
      if (callback === undefined) return connected;
      connected.then(
        (client) => callback(undefined, client, (error) => client.release(error)),
        (error: Error) => callback(error, undefined, nothing),
      );
      return undefined;
    }
  };
}

/** How a pool tries again to get a connection. */
const AGAIN: Backoff = new Backoff({ baseMs: 50, maxMs: 1000 });

/**
 * Returns a class of pools that try again while no connection can be made, instead of failing: then a session that has
 * its connections would end, and with it all its runs.
 *
 * @param mayWait - called before each new try, with the error of the last one
 *
 * @internal
 */
export function patientPool(mayWait: (error: unknown, isFirst: boolean) => boolean): typeof Pool {
  const connect = async (get: () => Promise<PoolClient>, attempt: number): Promise<PoolClient> => {
    try {
      return await get();
    } catch (error) {
      if (!isPassing(error)) throw error;
      await new Promise((resolve) => real.setTimeout(resolve, AGAIN.waitMs(attempt, 0)).unref());
      // If the session has lost its other connections too, it is over by now.
      if (!mayWait(error, attempt === 1)) throw error;
      return await connect(get, attempt + 1);
    }
  };
  return poolBy((get) => connect(get, 1));
}
