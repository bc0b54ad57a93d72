/*
 * What a flight recorder has recorded, outside of shared memory: as it is stored in a file, and as plain objects.
 */

import {
  ASIDE,
  ENTER,
  EXPIRE,
  FAIL,
  OPEN_AT,
  SCHEDULE,
  SETTLE,
  STOP,
  SUSPEND,
  WAIT,
  type RingContents,
  type Stored,
} from './ring.ts';

/** An eighth of a ms, as in the timing wheel. This file is also read by a command that does not load the kernel. */
const TICKS_PER_MS = 8;
/** A delay of so many ticks or more is not stored. */
const FAR_TICKS = 2 ** 31 - 1;

/**
 * What happened, in a {@link FlightRecord}.
 *
 * - `'schedule'`: it was scheduled
 * - `'expire'`: its timer expired
 * - `'wait'`: it began to wait for its lock
 * - `'enter'`: its function was called
 * - `'suspend'`: its function returned a promise
 * - `'settle'`: its function returned or threw, or its promise settled
 * - `'stop'`: a scheduled run was withdrawn
 * - `'fail'`: its function failed
 *
 * @public
 */
export type FlightRecordKind =
  | 'schedule'
  | 'expire'
  | 'wait'
  | 'enter'
  | 'suspend'
  | 'settle'
  | 'stop'
  | 'fail';

/**
 * One record of the flight recorder. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface FlightRecord {
  /** What happened. */
  readonly kind: FlightRecordKind;
  /** When, in ms as of `now()` of the kernel that records. */
  readonly atMs: number;
  /** The index of the CPU. */
  readonly cpu: number;
  /** The {@link ListEntry.id} of the continuation on that CPU. */
  readonly id: number;
  /** Its name. */
  readonly name: string;
  /** The name of its function; empty if it has none. */
  readonly function: string;
  /** The name of its workqueue. */
  readonly workqueue: string;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /** The `patienceMs` of its workqueue; null: Infinity. */
  readonly patienceMs: number | null;
  /** For `'schedule'`, the delay in ms; null if it is longer than three days, and for all other kinds. */
  readonly delayMs: number | null;
  /** For `'enter'`, for how long it had been due, in ms; null for all other kinds. */
  readonly waitedMs: number | null;
  /** For `'enter'`, whether it had to wait for its lock, a place, its own run or another CPU; otherwise false. */
  readonly aside: boolean;
  /** For `'enter'`, the number of the pass of the dispatcher; null for all other kinds. */
  readonly pass: number | null;
  /** For `'wait'`, the lock; null for all other kinds. */
  readonly lock: string | null;
  /** For `'wait'`, the id of the continuation that holds the lock; null if it is not known. */
  readonly holder: number | null;
  /**
   * For `'suspend'`, `'settle'` and `'enter'`: so many functions that returned just before have an estimated end, and any
   * of them may have taken the time up to this record, or I/O in the case of `'enter'`; 0 otherwise.
   */
  readonly estimated: number;
}

/**
 * The name of a continuation in a ring.
 *
 * @internal
 */
export interface WorkName {
  readonly name: string;
  readonly function: string;
  readonly workqueue: string;
  readonly patienceMs: number | null;
}

/**
 * The name of a lock in a ring.
 *
 * @internal
 */
export interface LockName {
  readonly lock: string;
}

/**
 * All that the rings of a process contained: what a file stores.
 *
 * @internal
 */
export interface Recorded {
  readonly version: 1;
  readonly pid: number;
  /** When it was read: on the common clock of the records, and in ms since 1970. */
  readonly nowMs: number;
  readonly wallMs: number;
  /** The common time at which the clock of the kernel was at 0. */
  readonly originMs: number;
  readonly budgetMs: number;
  /** Why it was written. */
  readonly reason: string;
  readonly cpus: readonly RecordedCpu[];
}

/** @internal */
export interface RecordedCpu {
  readonly cpu: number;
  readonly lost: number;
  readonly names: readonly (WorkName | LockName)[];
  readonly records: readonly Stored[];
}

/** @internal */
export const KINDS: Readonly<Record<number, FlightRecordKind>> = {
  [SCHEDULE]: 'schedule',
  [EXPIRE]: 'expire',
  [WAIT]: 'wait',
  [ENTER]: 'enter',
  [SUSPEND]: 'suspend',
  [SETTLE]: 'settle',
  [STOP]: 'stop',
  [FAIL]: 'fail',
};

/** The names of a ring as objects. @internal */
export function recordedCpu({ cpu, lost, names, records }: RingContents): RecordedCpu {
  return {
    cpu,
    lost,
    names: names.map((json) => JSON.parse(json) as WorkName | LockName),
    records: records.filter(([atMs, kind]) => KINDS[kind] !== undefined && atMs > -Infinity),
  };
}

const NOBODY: WorkName = { name: '(others)', function: '', workqueue: '', patienceMs: null };

/**
 * The records of one CPU as plain objects, in the order in which they were written.
 *
 * @internal
 */
export function flightRecords(
  { cpu, names, records }: RecordedCpu,
  originMs: number,
): FlightRecord[] {
  return records.map((stored) => describe(cpu, names, stored, originMs));
}

function describe(
  cpu: number,
  names: readonly (WorkName | LockName)[],
  [atMs, code, flags, id, priority, name, a, b]: Stored,
  originMs: number,
): FlightRecord {
  const found = names[name];
  const work = found !== undefined && 'name' in found ? found : NOBODY;
  const kind = KINDS[code] as FlightRecordKind;
  const lock = kind === 'wait' ? names[a] : undefined;
  return {
    kind,
    atMs: atMs - originMs,
    cpu,
    id,
    name: work.name,
    function: work.function,
    workqueue: work.workqueue,
    priority,
    patienceMs: work.patienceMs,
    delayMs: kind === 'schedule' && a < FAR_TICKS ? a / TICKS_PER_MS : null,
    waitedMs: kind === 'enter' ? a / TICKS_PER_MS : null,
    aside: kind === 'enter' && (flags & ASIDE) !== 0,
    pass: kind === 'enter' ? b : null,
    lock: lock !== undefined && 'lock' in lock ? lock.lock : kind === 'wait' ? '(others)' : null,
    holder: kind === 'wait' && b !== 0 ? b : null,
    estimated:
      kind === 'enter' ? flags >> OPEN_AT : kind === 'suspend' || kind === 'settle' ? a : 0,
  };
}
