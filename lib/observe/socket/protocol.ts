/*
 * What is said over a socket: lines of JSON, which end with a newline. A client sends a request, and gets lines of
 * which the last has the type `end` or `error`; then it may send the next one. After `error` the connection is closed.
 */

import type { CpuCounters } from '../counters.ts';
import type { ListEntry } from '../list-entry.ts';

/** @internal */
export const VERSION = 1;
/** The longest line of a request, in characters. @internal */
export const LONGEST_REQUEST = 1024;

/** The longest time between an answer and the next request, in ms. @internal */
export const LONGEST_PAUSE_MS = 3_600_000;

/**
 * What a client may ask for: everything in hand; or what has happened since it last asked, which begins with the
 * first request.
 *
 * @internal
 */
export type Wanted = 'tree' | 'sample';

/** @internal */
export interface Request {
  readonly kcont: typeof VERSION;
  readonly get: Wanted;
}

/** The first line of an answer. @internal */
export interface ProcessLine {
  readonly type: 'process';
  readonly pid: number;
  readonly thread: number;
  readonly title: string;
  readonly node: string;
  readonly uptimeS: number;
}

/** What a kernel has in hand. @internal */
export interface KernelState {
  readonly kernel: number;
  readonly nowMs: number;
  readonly pending: number;
  readonly queued: number;
  readonly running: number;
  readonly cpus: readonly CpuCounters[];
}

/** In a tree, it is followed by the entries of the kernel. @internal */
export interface KernelLine extends KernelState {
  readonly type: 'kernel';
}

/** Who holds a lock. @internal */
export interface Holder {
  readonly name: string;
  /** Null for code. */
  readonly id: number | null;
}

/** @internal */
export interface EntryLine extends ListEntry {
  readonly type: 'entry';
  readonly kernel: number;
  /** Tells locks apart, whose names may be the same; null: it has none. */
  readonly lockId: number | null;
  /** The first of those who hold the lock for which it waits; empty otherwise. */
  readonly holders: readonly Holder[];
  /** How many hold it. */
  readonly holding: number;
}

/** What the continuations of one name have done on a workqueue since the last sample. @internal */
export interface ActivityRow {
  readonly name: string;
  readonly workqueue: string;
  readonly priority: number;
  /** How often their functions were entered. */
  readonly entered: number;
  /** How many functions are in flight. */
  readonly running: number;
  /** How long their functions occupied the event loop: in total, and the longest. */
  readonly runMs: number;
  readonly longestMs: number;
  /** How long after they were due they were entered: in total, and the longest. */
  readonly lateMs: number;
  readonly latestMs: number;
  /** How often they began to wait for a lock, and how long those waits took that ended. */
  readonly waits: number;
  readonly waitMs: number;
  readonly failed: number;
}

/** @internal */
export interface SampleLine {
  readonly type: 'sample';
  /** The time since the last sample; 0 for the first. */
  readonly intervalMs: number;
  /** CPU time of the process in that time, all threads together. */
  readonly cpuMs: number;
  /** How long the event loop of the thread was active in that time. */
  readonly activeMs: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly kernels: readonly KernelState[];
  /** At most 1000. */
  readonly rows: readonly ActivityRow[];
}

/** @internal */
export interface EndLine {
  readonly type: 'end';
  /** How many entries or rows there were. */
  readonly count: number;
}

/** @internal */
export interface ErrorLine {
  readonly type: 'error';
  readonly message: string;
}

/** @internal */
export type Line = ProcessLine | KernelLine | EntryLine | SampleLine | EndLine | ErrorLine;

/**
 * Reads a request.
 *
 * @returns the request; a text that says what is wrong with it
 *
 * @internal
 */
export function parseRequest(line: string): Request | string {
  let found: unknown;
  try {
    found = JSON.parse(line);
  } catch {
    return 'a request must be a line of JSON';
  }
  if (typeof found !== 'object' || found === null) return 'a request must be an object';
  const { kcont, get } = found as Partial<Request>;
  if (kcont !== VERSION) return `the version of a request must be ${VERSION}`;
  if (get !== 'tree' && get !== 'sample') return "'get' must be 'tree' or 'sample'";
  return { kcont, get };
}
