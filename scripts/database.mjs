// A database made for one run.
//
//   node scripts/database.mjs create     prints its URL: on the server of 127.0.0.1:5432; if none answers, on one that
//                                        is started for it; nothing if there are no binaries for this machine
//   node scripts/database.mjs drop URL   removes it, and the server if it was started for it
//   node scripts/database.mjs serve      starts a server and prints its URL, nothing if this machine has no binaries.
//                                        Then it reads lines: `fast` or `immediate` restarts it, and is answered by
//                                        `restarted`. It ends with the input.
//
// The role on 127.0.0.1:5432 is PGUSER, by default postgres, without a password unless PGPASSWORD is set.

import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { ownServerAt, restartServer, startServer, stopServer, urlOf } from './own-server.mjs';

const [command, given] = process.argv.slice(2);
const usual = new URL('postgres://127.0.0.1:5432/postgres');
usual.username = process.env['PGUSER'] ?? 'postgres';

/**
 * Runs one statement on a server.
 *
 * @param {string} server
 * @param {string} statement
 */
async function run(server, statement) {
  const client = new Client({ connectionString: server, connectionTimeoutMillis: 3000 });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/**
 * Makes a database, and returns its URL.
 *
 * @param {string} server
 */
async function createOn(server) {
  const name = `kcont_run_${process.pid}_${Date.now()}`;
  await run(server, `create database ${name}`);
  return Object.assign(new URL(server), { pathname: `/${name}` }).href;
}

async function create() {
  try {
    return await createOn(usual.href);
  } catch (error) {
    console.error(`no database on 127.0.0.1:5432: ${/** @type {Error} */ (error).message}`);
  }
  try {
    const server = await startServer({ mayInstall: true });
    if (server === undefined) return undefined;
    console.error(
      `started a server on 127.0.0.1:${server.port}, with the binaries of ${server.bin}`,
    );
    return await createOn(urlOf(server));
  } catch (error) {
    console.error(`no server could be started: ${/** @type {Error} */ (error).message}`);
    return undefined;
  }
}

/** @param {string} url */
async function drop(url) {
  const name = new URL(url).pathname.slice(1);
  if (!/^kcont_run_\d+_\d+$/.test(name)) throw new Error(`${name} was not made by this script`);
  const own = await ownServerAt(url);
  if (own !== undefined) await stopServer(own);
  else {
    const server = Object.assign(new URL(url), { pathname: '/postgres' });
    await run(server.href, `drop database if exists ${name} with (force)`);
  }
}

async function serve() {
  const server = await startServer({ mayInstall: false });
  if (server === undefined) return;
  // Ctrl-C reaches all processes; this one ends with its input.
  process.on('SIGINT', () => undefined);
  try {
    console.log(urlOf(server));
    for await (const how of createInterface(process.stdin)) {
      await restartServer(server, how === 'immediate' ? 'immediate' : 'fast');
      console.log('restarted');
    }
  } finally {
    await stopServer(server);
  }
}

if (command === 'create') {
  const url = await create();
  if (url !== undefined) console.log(url);
} else if (command === 'drop' && given !== undefined) await drop(given);
else if (command === 'serve') await serve();
else {
  console.error('Usage: node scripts/database.mjs create | drop URL | serve');
  process.exitCode = 2;
}
