/*
 * Reads the text of a file that a flight recorder has written. It may have been cut off, edited, or never have been
 * such a file: nothing of it is used that has not been checked.
 */

import { isObject } from '../../base/options-check.ts';
import { KINDS, type LockName, type Recorded, type RecordedCpu, type WorkName } from './records.ts';
import { MOST_CPUS, type Stored } from './ring.ts';

/** The length of a stored record. */
const FIELDS = 8;

class NotARecording extends Error {}

function need(holds: boolean, what: string): void {
  if (!holds) throw new NotARecording(what);
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isIndex(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

/**
 * Reads a recording.
 *
 * @returns the recording; a text that says why it is none
 *
 * @internal
 */
export function parseRecording(text: string): Recorded | string {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return 'it is not JSON, or it is cut off';
  }
  try {
    return recordedOf(found);
  } catch (error) {
    if (error instanceof NotARecording) return error.message;
    throw error;
  }
}

function recordedOf(found: unknown): Recorded {
  const kcont = isObject(found) ? (found as { kcont?: unknown }).kcont : undefined;
  need(isObject(kcont), 'it has no records of kcont');
  const given = kcont as Partial<Recorded>;
  need(given.version === 1, `its version is ${JSON.stringify(given.version)}, and 1 is known`);
  const { pid, nowMs, wallMs, originMs, budgetMs, reason, cpus } = given;
  for (const [name, value] of Object.entries({ pid, nowMs, wallMs, originMs, budgetMs })) {
    need(isNumber(value), `${name} is not a number`);
  }
  need(typeof reason === 'string', 'reason is not a string');
  need(Array.isArray(cpus) && cpus.length <= MOST_CPUS, 'it has no CPUs, or too many');
  const checked = (cpus as unknown[]).map((cpu) => cpuOf(cpu));
  return { ...(given as Recorded), cpus: checked };
}

function cpuOf(found: unknown): RecordedCpu {
  need(isObject(found), 'a CPU is not an object');
  const { cpu, lost, names, records } = found as Partial<RecordedCpu>;
  need(isIndex(cpu, MOST_CPUS - 1), 'the index of a CPU is invalid');
  need(isIndex(lost, 2 ** 31), 'the number of lost records is invalid');
  need(Array.isArray(names) && names.every(isName), 'a name is invalid');
  need(Array.isArray(records) && records.every(isStored), 'a record is invalid');
  return found as RecordedCpu;
}

function isName(found: unknown): boolean {
  if (!isObject(found)) return false;
  const { lock } = found as Partial<LockName>;
  if (lock !== undefined) return typeof lock === 'string';
  const { name, function: func, workqueue, patienceMs } = found as Partial<WorkName>;
  const areTexts = [name, func, workqueue].every((text) => typeof text === 'string');
  return areTexts && (patienceMs === null || isNumber(patienceMs));
}

function isStored(found: unknown): boolean {
  if (!Array.isArray(found) || found.length !== FIELDS || !found.every(isNumber)) return false;
  const [, kind, , , priority] = found as unknown as Stored;
  return KINDS[kind] !== undefined && isIndex(priority, 255);
}
