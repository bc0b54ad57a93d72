import { closeSync, openSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { threadId } from 'node:worker_threads';
import { dateAt } from '../../time/wall-clock.ts';
import { traceText } from './chrome-trace.ts';
import type { Recorded } from './records.ts';
import { readRings, type Rings } from './rings.ts';

/** Names and locks may tell about a program's users: nobody else may read the file. */
const MODE = 0o600;
let written = 0;

/**
 * Writes a recording to a file, synchronously.
 *
 * @param file - the file, which is replaced; undefined: a new one in the folder, with a name of its own
 * @returns its path
 * @throws what the file system throws
 *
 * @internal
 */
export function writeRecording(recorded: Recorded, folder: string, file?: string): string {
  const path = resolve(file ?? join(folder, newName(recorded)));
  // A name that can be guessed may be a link that somebody else has put there.
  const handle = openSync(path, file === undefined ? 'wx' : 'w', MODE);
  try {
    for (const chunk of traceText(recorded)) writeSync(handle, chunk);
  } finally {
    closeSync(handle);
  }
  return path;
}

/** Such as `kcont-1234-20260131T093000-0-1.json`: process, time, thread, and a number. */
function newName({ pid, wallMs }: Recorded): string {
  const time = dateAt(wallMs)
    .toISOString()
    .replaceAll(/[-:]|\..*/g, '');
  return `kcont-${pid}-${time}-${threadId}-${++written}.json`;
}

/**
 * Writes a file, and says where it is, or why it could not be written.
 *
 * @internal
 */
export function writeOrTell(rings: Rings, reason: string): string {
  try {
    return `the flight recorder has written ${writeRecording(readRings(rings, reason), rings.folder)}`;
  } catch (error) {
    return `the flight recorder could not write a file: ${String(error)}`;
  }
}
