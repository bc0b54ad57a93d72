/**
 * What kind of stall was found.
 *
 * - `'function'`: a function has occupied the event loop for longer than `functionMs`
 * - `'late'`: a continuation was entered more than `lateMs` after it was due, and had not waited for a lock, a place
 *   within `maxActive`, its own run or another CPU
 * - `'lock'`: a continuation has waited for its lock for longer than `lockMs`
 * - `'run'`: an asynchronous run has not settled within `runMs`
 * - `'block'`: a function has occupied the event loop for longer than `blockMs`, and had not returned; only with `watch`
 * - `'level'`: no continuation of a priority has been entered for longer than `starvedMs`, though some are runnable
 *
 * @public
 */
export type StallKind = 'function' | 'block' | 'late' | 'lock' | 'run' | 'level';

/**
 * A stall. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface Stall {
  /** What kind of stall. */
  readonly kind: StallKind;
  /** A sentence for a log. */
  readonly message: string;
  /** The name of the continuation: for `'lock'`, the one that waits longest; for `'level'`, the first one. */
  readonly name: string;
  /** The name of its function; empty if it has none. */
  readonly function: string;
  /** The {@link ListEntry.id} of the continuation; null for `'block'`. */
  readonly id: number | null;
  /** The name of its workqueue. */
  readonly workqueue: string;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /** For how long, in ms. */
  readonly ms: number;
  /** The limit that was exceeded, in ms. */
  readonly limitMs: number;
  /** When it was found, in ms on the clock of `kernel.now()`. */
  readonly atMs: number;
  /** Its lock; null: it has none. */
  readonly lock: string | null;
  /** Who holds the lock, for `'lock'`; empty otherwise. */
  readonly holders: readonly string[];
  /** How many wait for the lock, for `'lock'`, or are runnable, for `'level'`; 0 otherwise. */
  readonly waiting: number;
  /** How many stalls of the same kind, workqueue and name were not reported since the last report. */
  readonly suppressed: number;
  /** The stack of the blocked thread, for `'block'`; null if it could not be read. */
  readonly stack: string | null;
}

/**
 * The limits of stalls, for {@link observe}: each in ms, more than 0. Infinity: no limit.
 *
 * @public
 */
export interface StallLimits {
  /** How long a function may occupy the event loop. Default 50. */
  functionMs?: number;
  /** How long a function may occupy the event loop until the watching thread reports it. Default 1000. */
  blockMs?: number;
  /** How long after it was due a continuation may be entered. Default 100. */
  lateMs?: number;
  /** How long a continuation may wait for its lock. Default 1000. */
  lockMs?: number;
  /** How long an asynchronous run may take. Default 30000. */
  runMs?: number;
  /** How long the continuations of a priority may be runnable without one of them being entered. Default 1000. */
  starvedMs?: number;
  /** Stalls of the same kind, workqueue and name are reported once in this time; 0 or more. Default 10000. */
  intervalMs?: number;
}
