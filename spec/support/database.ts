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
export async function withClient<T>(
  use: (client: Client) => Promise<T>,
  url: string = DATABASE_URL as string,
): Promise<T> {
  const client = new Client({ connectionString: url });
  // The server may be restarted: the statement in progress is rejected.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** Removes a schema, and that of graphile-worker beside it. */
export async function dropSchema(schema: string, url?: string): Promise<void> {
  await withClient(async (client) => {
    await client.query(`drop schema if exists ${schema} cascade`);
    await client.query(`drop schema if exists ${schema}_worker cascade`);
  }, url);
}

/**
 * Leaves out the specs of a suite that needs a database if there is none, and says how many they are. Called at
 * the start of the suite. They are not pending, because a pending spec counts as a failure.
 */
export function needsDatabase(suite: Suite): void {
  if (DATABASE_URL !== undefined) return;
  let count = 0;
  const leaveOut = (one: Suite): void => {
    one.addTest = () => {
      count++;
      return one;
    };
    one.addSuite = (inner) => {
      leaveOut(inner);
      return one;
    };
  };
  leaveOut(suite);
  queueMicrotask(() => {
    console.log(`SKIPPED: ${count} specs of “${suite.title}” need a database: set DATABASE_URL`);
  });
}
