import { runMigrations } from 'graphile-worker';
import { Client, Pool } from 'pg';
import { KcontError } from '../../base/errors.ts';
import { nothing } from '../../base/nothing.ts';
import { QUIET } from './quiet-logger.ts';
import { MIGRATIONS } from './migrations.ts';
import type { Settings } from './options.ts';

/**
 * Brings both schemas to the version of this program. Nodes that start together do it one after the other.
 *
 * @throws KcontError ENOTSUP if the schema is of a newer version
 *
 * @internal
 */
export async function migrate({ config, schemas }: Settings): Promise<void> {
  const { own } = schemas;
  const client = new Client(config);
  client.on('error', nothing);
  await client.connect();
  try {
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
        `schema ${own} has version ${last}, this program knows up to ${MIGRATIONS.length}: upgrade kcont`,
      );
    }
    for (const [index, migration] of MIGRATIONS.entries()) {
      if (index < last) continue;
      await client.query(migration(schemas));
      await client.query(`insert into ${own}.migrations (id) values ($1)`, [index + 1]);
    }
    await client.query('commit');
  } finally {
    // Ends the transaction and releases the lock, whatever has happened.
    await client.end().catch(nothing);
  }
}

async function migrateWorker(config: Settings['config'], schema: string): Promise<void> {
  const pgPool = new Pool({ ...config, max: 2 });
  // Without both, graphile-worker writes a warning.
  pgPool.on('error', nothing).on('connect', nothing);
  try {
    await runMigrations({ pgPool, schema, logger: QUIET });
  } finally {
    await pgPool.end();
  }
}
