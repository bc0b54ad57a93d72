/*
 * Where the sockets are on which processes answer: in a folder that only its user can enter.
 *
 *   $KCONT_SOCKETS, or kcont in $XDG_RUNTIME_DIR, or kcont-UID in the folder for temporary files, mode 0700
 *      1234.0.5f3a9c01e2b4d687.sock        process, thread, a random number; mode 0600
 *
 * Anybody may create names in /tmp. So a folder counts only if it is not a link, is its user's, and gives nobody else
 * any right; and what it is in must not let others rename it. Within such a folder nobody else can put anything. The
 * random number keeps processes apart that have the same id in different containers and share the folder. On Windows
 * there are named pipes instead, of which others cannot open both ends.
 */

import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { KcontError } from '../../base/errors.ts';

const PIPES = '\\\\.\\pipe\\';
const FOLDER_MODE = 0o700;
/** The rights of others. */
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
/** The longest path of a socket, in bytes: on macOS; Linux allows 107. */
const LONGEST = 103;
const NAME = /^(?:kcont-)?(?<pid>\d{1,10})\.(?<thread>\d{1,10})\.[0-9a-f]{16}(?:\.sock)?$/;

const isWindows = process.platform === 'win32';

/**
 * A socket that was found.
 *
 * @internal
 */
export interface SocketName {
  readonly path: string;
  readonly pid: number;
  readonly thread: number;
}

/** The folders in which sockets may be, most likely first. */
function folders(): string[] {
  const { KCONT_SOCKETS: given, XDG_RUNTIME_DIR: runtime } = process.env;
  if (given !== undefined && given !== '') return [given];
  const { uid } = userInfo();
  // Services have no XDG_RUNTIME_DIR, and shells may have another TMPDIR.
  const runtimes = [runtime ?? '', `/run/user/${uid}`].filter((path) => isAbsolute(path));
  const own = [tmpdir(), '/tmp'].map((path) => join(path, `kcont-${uid}`));
  return [...new Set([...runtimes.map((path) => join(path, 'kcont')), ...own])];
}

/** Why a folder cannot be trusted; undefined: it can. */
function distrust(folder: string): string | undefined {
  const { uid } = userInfo();
  const found = lstatSync(folder);
  if (!found.isDirectory()) return 'it is not a folder, or is a link to one';
  if (found.uid !== uid) return 'it belongs to another user';
  if ((found.mode & OTHERS) !== 0) return 'other users have rights to it';
  const parent = statSync(dirname(folder));
  const isShared = (parent.mode & OTHERS_WRITE) !== 0 && (parent.mode & STICKY) === 0;
  if (isShared || (parent.uid !== uid && parent.uid !== 0)) return 'other users can rename it';
  return undefined;
}

/**
 * Returns a new path for the socket of a thread of this process, and creates its folder.
 *
 * @throws KcontError EPERM if there is no folder that can be trusted
 *
 * @internal
 */
export function newSocketPath(thread: number): string {
  const name = `${process.pid}.${thread}.${randomBytes(8).toString('hex')}`;
  if (isWindows) return `${PIPES}kcont-${name}`;
  const reasons: string[] = [];
  for (const folder of folders()) {
    const path = join(folder, `${name}.sock`);
    const isLong = Buffer.byteLength(path) > LONGEST;
    const reason = isLong ? `its sockets have paths of over ${LONGEST} bytes` : prepare(folder);
    if (reason === undefined) return path;
    reasons.push(`${folder}: ${reason}`);
  }
  throw new KcontError('EPERM', `there is no folder for the socket: ${reasons.join('; ')}`);
}

/** Creates a folder, if it does not exist. Returns why it cannot be used. */
function prepare(folder: string): string | undefined {
  try {
    mkdirSync(folder, { mode: FOLDER_MODE });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') return `it cannot be created, ${code}`;
  }
  try {
    return distrust(folder);
  } catch (error) {
    return `it cannot be read, ${(error as NodeJS.ErrnoException).code}`;
  }
}

/**
 * Finds the sockets of this user, by process and thread. The process of a socket may be gone.
 *
 * @internal
 */
export function findSockets(): SocketName[] {
  const found: SocketName[] = [];
  for (const folder of isWindows ? [PIPES] : folders()) {
    let names: string[] = [];
    try {
      if (isWindows || distrust(folder) === undefined) names = readdirSync(folder);
    } catch {
      // There is no such folder.
    }
    for (const name of names) {
      const groups = NAME.exec(name)?.groups;
      if (groups === undefined || name.startsWith('kcont-') !== isWindows) continue;
      const path = isWindows ? `${PIPES}${name}` : join(folder, name);
      found.push({ path, pid: Number(groups['pid']), thread: Number(groups['thread']) });
    }
  }
  return found.toSorted((a, b) => a.pid - b.pid || a.thread - b.thread);
}
