import { runMigrations } from 'graphile-worker';
import { KcontError, causedBy } from '../../base/errors.ts';
import { nothing } from '../../base/nothing.ts';
import { QUIET } from './quiet-logger.ts';
import type { DurableClient } from '../backend.ts';
import { OWN, OwnClient, configure, configured } from './connection.ts';
import { MIGRATIONS, type Schemas } from './migrations.ts';
import type { Settings } from './options.ts';
import { Pool } from './pg.ts';

/**
 * Brings both schemas to the version of this program. Nodes that start together do it one after the other.
 *
 * @returns the revision of graphile-worker's schema, for {@link checkRevision}
 * @throws KcontError ENOTSUP if one of the schemas is of a newer version
 *
 * @internal
 */
export async function migrate({ config, schemas }: Settings): Promise<number> {
  const { own, name } = schemas;
  const client = new OwnClient(config);
  client.on('error', nothing);
  try {
    await client.connect();
    await configure(client, OWN);
    await client.query('select pg_advisory_lock(hashtextextended($1, 0))', [`kcont:${own}`]);
    await migrateWorker(config, schemas.worker);
    await client.query('begin');
    const found = await client.query('select 1 where to_regnamespace($1) is not null', [own]);
    // The right to create schemas is checked even by `if not exists`.
    if (found.rowCount === 0) await client.query(`create schema ${own}`);
    await client.query(`
      create table if not exists ${own}.migrations (
        id integer primary key, ts timestamptz not null default now()
      )`);
    const { rows } = await client.query<{ last: number }>(
      `select coalesce(max(id), 0)::integer as last from ${own}.migrations`,
    );
    const last = rows[0]?.last ?? 0;
    if (last > MIGRATIONS.length) {
      throw new KcontError(
        'ENOTSUP',
        `schema ${name} has version ${last}, this program knows up to ${MIGRATIONS.length}: upgrade kcont`,
      );
    }
    for (const [index, migration] of MIGRATIONS.entries()) {
      if (index < last) continue;
      await client.query(migration(schemas));
      await client.query(`insert into ${own}.migrations (id) values ($1)`, [index + 1]);
    }
    await client.query('commit');
    return await revisionOf(client, schemas);
  } finally {
    // Ends the transaction and releases the lock, whatever has happened.
    await client.end().catch(nothing);
  }
}

/**
 * Checks that a newer graphile-worker has not changed its schema since this program migrated it.
 *
 * @throws KcontError ENOTSUP if it has
 *
 * @internal
 */
export async function checkRevision(
  client: DurableClient,
  schemas: Schemas,
  known: number,
): Promise<void> {
  const revision = await revisionOf(client, schemas);
  if (revision <= known) return;
  const what = `schema ${schemas.worker} has revision ${revision} of graphile-worker`;
  throw new KcontError('ENOTSUP', `${what}, this program uses up to ${known}: upgrade it`);
}

/** The last change after which an older graphile-worker must not go on. */
async function revisionOf(client: DurableClient, { worker }: Schemas): Promise<number> {
  const { rows } = await client.query(
    `select coalesce(max(id), 0)::integer as last from ${worker}.migrations where breaking`,
  );
  return (rows[0] as { last: number }).last;
}

async function migrateWorker(config: Settings['config'], schema: string): Promise<void> {
  const pgPool = new Pool(configured({ ...config, Client: OwnClient, max: 2 }, OWN));
  // A pool listens only while a connection is idle. Without both, graphile-worker writes a warning.
  pgPool.on('error', nothing).on('connect', (client) => client.on('error', nothing));
  const { exitCode } = process;
  try {
    await runMigrations({ pgPool, schema, logger: QUIET });
  } catch (error) {
    if (process.exitCode === exitCode) throw error;
    // It sets the exit code of the process if the schema is of a newer version.
    process.exitCode = exitCode;
    throw causedBy(new KcontError('ENOTSUP', `schema ${schema}: upgrade graphile-worker`), error);
  } finally {
    await pgPool.end();
  }
}
