// A database made for one run, on a server of this machine.
//
//   node scripts/database.mjs create   prints its URL; nothing if no server answers on 127.0.0.1:5432
//   node scripts/database.mjs drop URL
//
// The role is PGUSER, by default postgres, without a password unless PGPASSWORD is set.

import { Client } from 'pg';

const [command, url] = process.argv.slice(2);
const server = new URL('postgres://127.0.0.1:5432/postgres');
server.username = process.env['PGUSER'] ?? 'postgres';

/**
 * Runs one statement on the server.
 *
 * @param {string} statement
 */
async function run(statement) {
  const client = new Client({
    connectionString: server.href,
    connectionTimeoutMillis: 3000,
  });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

if (command === 'create') {
  const name = `kcont_run_${process.pid}_${Date.now()}`;
  try {
    await run(`create database ${name}`);
    console.log(Object.assign(new URL(server.href), { pathname: `/${name}` }).href);
  } catch (error) {
    console.error(`no database on 127.0.0.1:5432: ${/** @type {Error} */ (error).message}`);
  }
} else if (command === 'drop' && url !== undefined) {
  const name = new URL(url).pathname.slice(1);
  if (!/^kcont_run_\d+_\d+$/.test(name)) throw new Error(`${name} was not made by this script`);
  await run(`drop database if exists ${name} with (force)`);
} else {
  console.error('Usage: node scripts/database.mjs create | drop URL');
  process.exitCode = 2;
}
