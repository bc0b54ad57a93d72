import type { CpuState } from '../core/cpu.ts';
import type { Kernel } from '../core/kernel.ts';
import type { Workqueue } from '../core/workqueue.ts';
import { waitersOf, type BaseLock } from '../locks/lock.ts';
import { TICKS_PER_MS } from '../time/timing-wheel.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { lockLabel } from './list-entry.ts';
import { observerFor } from './list.ts';

/**
 * What has happened on one workqueue.
 *
 * @public
 */
export interface WorkqueueCounters {
  /** Its name. */
  readonly name: string;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /** Its part in the turns of its priority; null: no workqueue of its priority has been acquired with `shares`. */
  readonly shares: number | null;
  /** Number of calls that scheduled a continuation: `schedule`, `reset` and `run`. */
  readonly scheduled: number;
  /** How many of them found its timer running, and moved its deadline. `touch` is not counted. */
  readonly moved: number;
  /** Number of timers that have expired. */
  readonly expired: number;
  /** Number of functions entered, since the workqueue was created. */
  readonly entered: number;
  /** Number of scheduled runs that were withdrawn. */
  readonly stopped: number;
  /** Number of calls of `schedule` and `reset` that returned false, although the continuation was not destroyed. */
  readonly refused: number;
  /** Number of functions that have failed, since the workqueue was created. */
  readonly failed: number;
  /** Number of functions that have been entered and have not settled: those in flight. */
  readonly running: number;
  /** Number of continuations that are runnable or wait, and have not been entered: the backlog. */
  readonly queued: number;
  /** The longest time that one was runnable or waited before it was entered, in ms. */
  readonly longestWaitMs: number;
}

/**
 * What continuations have done with one lock.
 *
 * @public
 */
export interface LockCounters {
  /** Its name. */
  readonly name: string;
  /** Whether it is held. */
  readonly held: boolean;
  /** How often a continuation has taken it. */
  readonly taken: number;
  /** How often a continuation found it held, and began to wait for it. */
  readonly contended: number;
  /** How many wait for it now, continuations and code; for one side of a lock, for either side. */
  readonly waiting: number;
  /** The longest time from when a continuation was runnable until it held the lock, in ms. */
  readonly longestWaitMs: number;
}

/**
 * What is known of one CPU.
 *
 * @public
 */
export interface CpuCounters {
  /** Its index. */
  readonly index: number;
  /** Its state. */
  readonly state: CpuState;
  /** How long its event loop has been blocked, in ms; 0 if it is not blocked. */
  readonly lagMs: number;
  /** How many passes of the dispatcher there were; null for another CPU than that of this thread. */
  readonly passes: number | null;
}

/**
 * The result of {@link counters}. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface KernelCounters {
  /** From when it counts, in ms on the clock of `kernel.now()`. */
  readonly sinceMs: number;
  /** The workqueues, highest priority first. */
  readonly workqueues: readonly WorkqueueCounters[];
  /** The locks that have a name and were taken by a continuation, in the order in which they first were. */
  readonly locks: readonly LockCounters[];
  /** The CPUs, by index. */
  readonly cpus: readonly CpuCounters[];
}

/**
 * Returns how often things have happened on a kernel on this thread, since it has been observed: see {@link list}.
 *
 * @param kernel - the kernel
 * @returns counts of each workqueue, named lock and CPU
 * @throws KcontError EINVAL for anything but a kernel
 *
 * @public
 */
export function counters(kernel: Kernel): KernelCounters {
  const observer = observerFor(kernel, counters);
  return {
    sinceMs: observer.sinceMs,
    workqueues: workqueueCounters(observer),
    locks: Array.from(observer.namedLocks(), (lock) => lockCounters(observer, lock)),
    cpus: cpuCounters(observer),
  };
}

/**
 * The counters of all workqueues, highest priority first.
 *
 * @internal
 */
export function workqueueCounters(observer: KernelObserver): WorkqueueCounters[] {
  const queues = [...observer.dispatcher.queues].toSorted((a, b) => b.priority - a.priority);
  return queues.map((wq) => ofQueue(observer, wq));
}

/**
 * The counters of all CPUs, by index.
 *
 * @internal
 */
export function cpuCounters({ dispatcher }: KernelObserver): CpuCounters[] {
  const { kernel, passes } = dispatcher;
  return kernel.cpus.map(({ index, state, lagMs }) => {
    return { index, state, lagMs, passes: index === kernel._cpu.index ? passes : null };
  });
}

function ofQueue(observer: KernelObserver, wq: Workqueue): WorkqueueCounters {
  const { name, priority, shares, queued, running, entered, failed } = wq.stats();
  const { scheduled, moved, expired, stopped, refused, longestWait } = observer.of(wq);
  const longestWaitMs = longestWait / TICKS_PER_MS;
  return {
    name,
    priority,
    shares,
    scheduled,
    moved,
    expired,
    entered,
    stopped,
    refused,
    failed,
    running,
    queued,
    longestWaitMs,
  };
}

function lockCounters(observer: KernelObserver, lock: BaseLock): LockCounters {
  const { taken, contended, longestWaitMs } = lockActivity(observer, lock);
  const { held } = lock;
  return { name: lockLabel(lock), held, taken, contended, waiting: waitersOf(lock), longestWaitMs };
}

/**
 * The counters of a lock, without those that wait for it.
 *
 * @internal
 */
export function lockActivity(
  observer: KernelObserver,
  lock: BaseLock,
): Pick<LockCounters, 'taken' | 'contended' | 'longestWaitMs'> {
  const { taken, contended, longestWait } = observer.ofLock(lock);
  return { taken, contended, longestWaitMs: longestWait / TICKS_PER_MS };
}
