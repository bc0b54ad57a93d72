/**
 * The backend of durable continuations on PostgreSQL, by graphile-worker.
 *
 * @packageDocumentation
 */

import type { BackendCaps, BackendHost, BackendNode, DurableBackend } from '../backend.ts';
import { migrate } from './migrate.ts';
import { GraphileNode } from './node.ts';
import { readSettings, type GraphileOptions } from './options.ts';

export type { GraphileOptions, PoolLike } from './options.ts';

const CAPS: BackendCaps = {
  durable: true,
  fencing: true,
  transactions: true,
  cron: true,
  timerGrainMs: 5,
  maxLocks: 1000,
};

/**
 * Returns a backend on PostgreSQL 12 or later, by graphile-worker.
 *
 * @remarks
 * Nodes create and upgrade the schema when they start, so the role needs the right to create schemas then; see
 * `docs/durable.md` for the least privileges. Each node has one connection for its liveness, and pools for the
 * worker, for functions and for operations.
 *
 * @param options - how to connect
 * @returns the backend, for {@link DurableOptions}. Nothing is connected before `durable` is called
 * @throws KcontError EINVAL for an invalid option
 *
 * @example
 * ```ts
 * const backend = graphile({ connectionString: process.env.DATABASE_URL });
 * const jobs = await durable({ backend, node: 'web-1' });
 * ```
 *
 * @public
 */
export function graphile(options: GraphileOptions): DurableBackend {
  const settings = readSettings(options, graphile);
  return {
    caps: CAPS,
    async open(host: BackendHost): Promise<BackendNode> {
      return await GraphileNode.open(settings, host, await migrate(settings));
    },
  };
}
