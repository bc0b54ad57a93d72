/*
 * What is the same for all connections to the database: their settings, and how they are made and ended.
 *
 * A role or a connection string may have settings that would break the work of a node: a limit for idle sessions, or
 * for statements that wait, an isolation level that makes statements fail, numbers or dates that are read wrongly,
 * another `application_name`. So they are set on each connection after it has been made.
 */

import { Pool, type PoolClient, type PoolConfig } from 'pg';
import { Backoff } from '../../base/backoff.ts';
import { real } from '../../base/host-functions.ts';
import { nothing } from '../../base/nothing.ts';
import type { DurableClient } from '../backend.ts';

/** Part of pg that its types do not have: it is called before a new connection of a pool is used. */
export type Verify = (client: PoolClient, done: (error?: Error) => void) => void;

/** Settings of a connection by name. A server of an older version does not know all of them. */
export type ConnectionSettings = Readonly<Record<string, string>>;

/** How numbers and dates are written, which both ends have to agree on. */
const FORMATS: ConnectionSettings = {
  datestyle: 'ISO',
  extra_float_digits: '1',
  intervalstyle: 'postgres',
};

/**
 * The settings of connections whose statements are all of this library.
 *
 * @internal
 */
export const OWN: ConnectionSettings = {
  ...FORMATS,
  default_transaction_isolation: 'read committed',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  lock_timeout: '0',
  statement_timeout: '0',
  transaction_timeout: '0',
};

/**
 * The settings of connections for the statements of functions: other limits of the role apply to them.
 *
 * @internal
 */
export const FUNCTIONS: ConnectionSettings = { idle_session_timeout: '0' };

/**
 * The settings of connections for operations, which fail as the role wishes, but not for want of retries.
 *
 * @internal
 */
export const OPERATIONS: ConnectionSettings = {
  ...FORMATS,
  default_transaction_isolation: 'read committed',
  idle_session_timeout: '0',
};

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
  const verify: Verify = (client, done) => {
    configure(client, settings).then(() => done(), done);
  };
  const result: PoolConfig & { verify: Verify } = { ...config, verify };
  return result;
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

/** How a pool tries again while the server has no free connection. */
const FULL: Backoff = new Backoff({ baseMs: 50, maxMs: 1000 });

/**
 * Returns a class of pools that wait while the server, the database or the role has no free connection, instead of
 * failing: then a session that has its connections would end, and with it all its runs.
 *
 * @param mayWait - called with the error of the first try
 *
 * @internal
 */
export function patientPool(mayWait: (error: unknown, isFirst: boolean) => boolean): typeof Pool {
  return class extends Pool {
    override connect(): Promise<PoolClient>;
    override connect(
      callback: (
        error: Error | undefined,
        client: PoolClient | undefined,
        done: (release?: boolean | Error) => void,
      ) => void,
    ): void;
    override connect(callback?: Parameters<Pool['connect']>[0]): Promise<PoolClient> | void {
      const connected = this.#connect(1);
      if (callback === undefined) return connected;
      connected.then(
        (client) => callback(undefined, client, (error) => client.release(error)),
        (error: Error) => callback(error, undefined, nothing),
      );
      return undefined;
    }

    #connect(attempt: number): Promise<PoolClient> {
      return super.connect().catch(async (error: unknown) => {
        const { code } = error as { code?: unknown };
        if (code !== '53300' || !mayWait(error, attempt === 1)) throw error;
        await new Promise((resolve) => real.setTimeout(resolve, FULL.waitMs(attempt, 0)).unref());
        return await this.#connect(attempt + 1);
      });
    }
  };
}
