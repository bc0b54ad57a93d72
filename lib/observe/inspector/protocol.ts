/*
 * What the page asks for, and what it gets. Each request is a POST with a JSON object.
 *
 *   /api/sample         {}      one Sample, of what has happened since the last one
 *   /api/continuations  {}      lines of JSON: Listing, as many Chunk as it takes, ListingEnd
 *   /api/records        Cursor  4 bytes: the length of the header; RecordsHeader as JSON, filled up with spaces to a
 *                               multiple of 8 bytes with the length; the records of each CPU, as they are in its ring
 */

// The page imports this file. What is of the same form as types of kcont/observe is written out here, because the
// types of the core need those of Node, which do not go with those of a browser.
import type { LockName, WorkName } from '../recorder/records.ts';

/** What is shown of a `CpuCounters`. @internal */
export interface CpuSample {
  readonly index: number;
  readonly state: string;
  readonly lagMs: number;
  readonly passes: number | null;
}

/** What is shown of a `ListEntry`. @internal */
export interface EntrySample {
  readonly id: number;
  readonly name: string;
  readonly function: string;
  readonly state: string;
  readonly waitsFor: string | null;
  readonly workqueue: string | null;
  readonly priority: number;
  readonly sinceMs: number | null;
  readonly deadlineMs: number | null;
  readonly lateMs: number;
  readonly lock: string | null;
  readonly cpu: number | null;
  readonly scope: number | null;
  readonly ref: boolean;
  readonly createdAt?: string | null;
}

/** Percentiles of one histogram, in µs, and how many values it had. @internal */
export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** A workqueue: its counters since it was created, and its percentiles since the last sample. @internal */
export interface WorkqueueSample {
  readonly name: string;
  readonly priority: number;
  readonly shares: number | null;
  readonly entered: number;
  readonly failed: number;
  readonly running: number;
  readonly queued: number;
  readonly longestWaitMs: number;
  readonly latenessUs: Percentiles;
  readonly queueWaitUs: Percentiles;
  readonly runTimeUs: Percentiles;
}

/** A lock that is held or waited for, or has a name. @internal */
export interface LockSample {
  readonly name: string;
  readonly held: boolean;
  /** The first of those who hold it; for one side of a lock that cannot be entered, those of the other sides too. */
  readonly holders: readonly { readonly name: string; readonly sinceMs: number | null }[];
  /** How many hold it. */
  readonly holding: number;
  /** The first of those who wait. */
  readonly waiters: readonly { readonly name: string }[];
  /** How many wait; {@link MOST_COUNTED}: as many or more. */
  readonly waiting: number;
  /** Null if no continuation has taken the lock or waited for it since the kernel is observed. */
  readonly counters: LockActivity | null;
}

/** What is shown of a `LockCounters`. @internal */
export interface LockActivity {
  readonly taken: number;
  readonly contended: number;
  readonly longestWaitMs: number;
}

/** How many waiters of a lock are counted. @internal */
export const MOST_COUNTED = 10_000;

/** What is shown of a `WaitParty` or `WaitHolder`. @internal */
export interface PartySample {
  readonly id: number | null;
  readonly name: string;
  readonly sinceMs?: number | null;
}

/** What is shown of a `WaitEdge`. @internal */
export interface WaitSample {
  readonly waiter: PartySample;
  readonly waitsFor: string;
  readonly what: string;
  readonly site: string | null;
  readonly sinceMs: number | null;
  /** The first of those who have it. */
  readonly holders: readonly PartySample[];
  /** How many have it. */
  readonly holding: number;
}

/** The wait graph. @internal */
export interface GraphSample {
  /** How many waits there are, of which the first are sent. */
  readonly total: number;
  readonly waits: readonly WaitSample[];
  readonly deadlocks: readonly {
    readonly message: string;
    readonly waits: readonly WaitSample[];
  }[];
}

/** @internal */
export interface ProcessInfo {
  readonly pid: number;
  readonly thread: number;
  readonly title: string;
  readonly node: string;
  readonly uptimeS: number;
}

/** @internal */
export interface Sample {
  /** The number of the sample. */
  readonly number: number;
  readonly process: ProcessInfo;
  /** `now()` of the kernel, in ms. */
  readonly nowMs: number;
  /** The time since the last sample; 0 for the first after a pause. */
  readonly intervalMs: number;
  /** CPU time of the process in that time, all threads together. */
  readonly cpuMs: number;
  /** How long the event loop of the thread was active in that time. */
  readonly activeMs: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly pending: number;
  readonly queued: number;
  readonly running: number;
  readonly cpus: readonly CpuSample[];
  readonly workqueues: readonly WorkqueueSample[];
  /** Those in flight, the oldest first; at most so many as are sent. */
  readonly runs: readonly EntrySample[];
  readonly locks: readonly LockSample[];
  /** Null: so many wait that it would take long to find who for whom. */
  readonly graph: GraphSample | null;
}

/** The first line of a list. @internal */
export interface Listing {
  readonly nowMs: number;
  /** How many continuations there were when the list began. */
  readonly total: number;
}

/**
 * Some rows of a list. Each has the values of {@link COLUMNS}; for a text, its number among the texts of this list,
 * which are sent before they are needed.
 *
 * @internal
 */
export interface Chunk {
  readonly texts: readonly string[];
  readonly rows: readonly (readonly (number | null)[])[];
}

/** The last line of a list. @internal */
export interface ListingEnd {
  readonly count: number;
  /** For how long the event loop was occupied with it, in ms. */
  readonly tookMs: number;
}

/** The columns of a row, in their order. Those that are texts come first. @internal */
export const COLUMNS = [
  'name',
  'function',
  'state',
  'waitsFor',
  'workqueue',
  'lock',
  'createdAt',
  'id',
  'priority',
  'sinceMs',
  'deadlineMs',
  'lateMs',
  'cpu',
  'scope',
  'ref',
] as const;

/** How many of the columns are texts. @internal */
export const TEXT_COLUMNS = 7;

/** What the page has of the records. @internal */
export interface Cursor {
  /** The {@link RecordsHeader.source} of the last answer; of other records it has none. */
  readonly source?: number;
  /** How many records and names of each CPU, by the index of the ring. */
  readonly rings?: readonly (readonly [records: number, names: number])[];
}

/** @internal */
export interface RecordsHeader {
  /** Another number: the recording has begun anew. */
  readonly source: number;
  /** The present time on the clock of the records, in ms. */
  readonly nowMs: number;
  /** The time on the clock of the records at which that of the kernel was at 0, in ms. */
  readonly originMs: number;
  readonly rings: readonly RingHeader[];
}

/** @internal */
export interface RingHeader {
  /** The index of the CPU; null: no CPU uses this ring. */
  readonly cpu: number | null;
  /** How many records are missing before those that follow. */
  readonly lost: number;
  /** How many records of it follow. */
  readonly records: number;
  /** The cursor for the next request. */
  readonly next: readonly [records: number, names: number];
  /** The names that the page does not have. */
  readonly names: readonly (WorkName | LockName)[];
}
