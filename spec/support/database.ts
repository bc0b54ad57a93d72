// The database of the specs: the one of DATABASE_URL, and no other.

import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import type { Suite } from 'mocha';

/** Where the specs may connect to; undefined: nowhere. */
export const DATABASE_URL: string | undefined = process.env['DATABASE_URL'] || undefined;

/** A name for a schema that no other run uses. */
export function newSchema(): string {
  return `kcont_spec_${process.pid}_${randomBytes(4).toString('hex')}`;
}

/** Runs statements on a connection of its own. */
export async function withClient<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: DATABASE_URL as string });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** Removes a schema, and that of graphile-worker beside it. */
export async function dropSchema(schema: string): Promise<void> {
  await withClient(async (client) => {
    await client.query(`drop schema if exists ${schema} cascade`);
    await client.query(`drop schema if exists ${schema}_worker cascade`);
  });
}

function countOf(suite: Suite): number {
  return suite.suites.reduce((sum, one) => sum + countOf(one), suite.tests.length);
}

/** Skips a suite that needs a database if there is none, and says how many specs that are. */
export function needsDatabase(suite: Suite): void {
  if (DATABASE_URL !== undefined) return;
  suite.beforeAll(function () {
    console.log(
      `\n  SKIPPED: ${countOf(suite)} specs of “${suite.title}” need a database: set DATABASE_URL\n`,
    );
    this.skip();
  });
}
