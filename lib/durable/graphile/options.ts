import type { PoolConfig } from 'pg';
import { KcontError, causedBy } from '../../base/errors.ts';
import {
  NAME,
  isObject,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../../base/options-check.ts';
import type { DurableClient } from '../backend.ts';
import type { Schemas } from './migrations.ts';

/**
 * What is used of a pool of `pg`.
 *
 * @public
 */
export interface PoolLike extends DurableClient {
  /** The settings of its connections. */
  readonly options: object;
}

/**
 * Options of {@link graphile}. Exactly one of `connectionString` and `pool` has to be given.
 *
 * @public
 */
export interface GraphileOptions {
  /**
   * How to connect to PostgreSQL, as in `postgres://user@host/database?sslmode=verify-full`, or the folder of a
   * Unix socket, as in `/var/run/postgresql database`.
   */
  connectionString?: string;
  /**
   * A pool of `pg`, version 8, which is used for operations such as `schedule`, and is not ended. The
   * connections of the worker are not taken from it: they are new ones with its settings, because other
   * nodes end them if this node is cut off.
   */
  pool?: PoolLike;
  /**
   * The schema of the tables of kcont, 1 … 40 lower-case letters, digits and _; graphile-worker's own is called
   * the same, with `_worker` at the end. Default `'kcont'`.
   */
  schema?: string;
  /**
   * After how many ms without a sign of life a node counts as dead although its connection is open: 1000 …
   * 600,000. A node whose event loop is blocked for longer is cut off. Default 10,000.
   */
  livenessMs?: number;
}

/**
 * The options, checked.
 *
 * @internal
 */
export interface Settings {
  readonly config: PoolConfig;
  readonly pool: PoolLike | undefined;
  readonly schemas: Schemas;
  readonly livenessMs: number;
}

const GRAPHILE = optionsOf<GraphileOptions>('graphile', {
  connectionString: NAME,
  pool: kindOf('a Pool of pg', (value) => {
    const { query, options } = value as PoolLike;
    return typeof query === 'function' && isObject(options);
  }),
  schema: kindOf(
    'a string of 1 to 40 lower-case letters, digits and _, not beginning with a digit or pg_',
    (value) => typeof value === 'string' && /^(?!pg_)[a-z_][a-z0-9_]{0,39}$/.test(value),
  ),
  livenessMs: numberOf('a number of ms from 1000 to 600000', 1000, 600_000),
});

/**
 * Reads and checks the options.
 *
 * @internal
 */
export function readSettings(options: GraphileOptions, caller: CallableFunction): Settings {
  const {
    connectionString,
    pool,
    schema = 'kcont',
    livenessMs = 10_000,
  } = readOptions(options, GRAPHILE, caller);
  if ((connectionString === undefined) === (pool === undefined)) {
    throw new KcontError('EINVAL', 'graphile takes either a connectionString or a pool');
  }
  if (connectionString !== undefined && !CONNECTION.test(connectionString)) {
    // The string itself may contain a password.
    throw new KcontError(
      'EINVAL',
      'connectionString must begin with postgres://, postgresql://, socket: or /',
    );
  }
  return {
    config: pool === undefined ? { connectionString } : copyOf(pool),
    pool,
    schemas: { own: `"${schema}"`, name: schema, worker: `${schema}_worker` },
    livenessMs,
  };
}

/** pg takes anything else for a path below a host named `base`. */
const CONNECTION = /^(?:postgres(?:ql)?:\/\/|socket:|\/)/;

/** The settings of a pool, with the password, which is not enumerable. */
function copyOf({ options }: PoolLike): PoolConfig {
  try {
    return settingsOf(options);
  } catch (error) {
    throw causedBy(new KcontError('EINVAL', 'the options of pool cannot be read'), error);
  }
}

function settingsOf({ password, ssl, ...rest }: PoolConfig): PoolConfig {
  const given = Object.fromEntries(
    Object.entries(rest).filter(([name]) => !SIZES.has(name)),
  ) as PoolConfig;
  if (password !== undefined) given.password = password;
  if (ssl !== undefined) given.ssl = ssl;
  return given;
}

/** What is not a setting of a connection. */
const SIZES: ReadonlySet<string> = new Set([
  'max',
  'min',
  'maxUses',
  'allowExitOnIdle',
  'idleTimeoutMillis',
  'maxLifetimeSeconds',
  'verify',
  'Client',
  'Promise',
  'log',
]);
