import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kernel } from '../../lib/index.ts';
import { durable, memory, type DurableBackend } from '../../lib/durable/index.ts';
import { Reminders, outboxOf } from './reminders.ts';
import { makeService } from './service.ts';

const USAGE = `Usage: npm start -- [options]

  --port N      the port (default: one that is free)
  --node NAME   the name of this process in the cluster, the same after a restart (default mailer)
  --schema NAME where in the database it keeps all it knows (default mailer)
  --demo        two processes, one of which is killed, in a schema of their own; needs DATABASE_URL
  --help        this text

Without DATABASE_URL the reminders are kept in memory.`;

process.exitCode = await main();

async function main(): Promise<number> {
  const url = process.env['DATABASE_URL'];
  let options: { port: string; node: string; schema: string; demo: boolean; help: boolean };
  try {
    options = parseArgs({
      options: {
        port: { type: 'string', default: '0' },
        node: { type: 'string', default: 'mailer' },
        schema: { type: 'string', default: 'mailer' },
        demo: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
    if (!/^\d{1,5}$/.test(options.port) || Number(options.port) > 65_535) {
      throw new Error(`--port must be a whole number from 0 to 65535, got ${options.port}`);
    }
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(options.schema)) {
      throw new Error(
        `--schema must be up to 40 small letters, digits and _, got ${options.schema}`,
      );
    }
    if (options.demo && url === undefined) throw new Error('--demo needs DATABASE_URL');
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  if (options.help) console.log(USAGE);
  else if (options.demo) {
    const { runDemo } = await import('./demo.ts');
    return await runDemo(fileURLToPath(import.meta.url), url as string);
  } else await serve(Number(options.port), options.node, options.schema, url);
  return 0;
}

async function serve(
  port: number,
  node: string,
  schema: string,
  url: string | undefined,
): Promise<void> {
  const jobs = await durable({ backend: await backendFor(url, schema), node });
  if (url !== undefined) await createOutbox(url, schema);
  const reminders = new Reminders(jobs, schema);
  const server = makeService(reminders).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const at = (server.address() as AddressInfo).port;
  console.log(
    `http://127.0.0.1:${at}/reminders/ID, ${url === undefined ? 'in memory' : 'durable'}`,
  );
  process.send?.(at);
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  if (process.connected) process.disconnect();
  server.close();
  server.closeAllConnections();
  const { withdrawn } = await jobs.close({ graceMs: 5000 });
  const { unfinished } = await kernel.close();
  console.log(`lost with this process: ${withdrawn.length}; unfinished: ${unfinished.length}`);
}

/** With a database, its packages are loaded; without one they need not be installed. */
async function backendFor(url: string | undefined, schema: string): Promise<DurableBackend> {
  if (url === undefined) return memory();
  const { graphile } = await import('../../lib/durable/graphile/index.ts');
  return graphile({ connectionString: url, schema });
}

async function createOutbox(url: string, schema: string): Promise<void> {
  const { Client } = await import('pg');
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    // Mailers that start together wait for each other.
    await client.query('select pg_advisory_lock(hashtext($1))', [schema]);
    await client.query(outboxOf(schema));
  } finally {
    await client.end();
  }
}
