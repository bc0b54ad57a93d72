import { threadId } from 'node:worker_threads';
import { hostPerformance } from '../../base/host-functions.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { contended, type Turnstile } from '../../locks/turnstile.ts';
import { commonMs } from '../../time/host-clock.ts';
import { Kcont } from '../../core/kcont.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { cpuCounters, lockActivity, workqueueCounters } from '../counters.ts';
import type { LatencyHistogram } from '../histogram.ts';
import { histograms, type Histograms, type WorkqueueHistograms } from '../histograms.ts';
import { Holders, describeWaiter, type LockWaiter } from '../holder.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { RUNNING_ROLE, describe, lockLabel, type ListEntry } from '../list-entry.ts';
import { running } from '../walk.ts';
import { waitGraph, type WaitEdge } from '../debug/wait-graph.ts';
import {
  MOST_COUNTED,
  type GraphSample,
  type LockSample,
  type Percentiles,
  type ProcessInfo,
  type Sample,
  type WaitSample,
  type WorkqueueSample,
} from './protocol.ts';

/** How many workqueues, locks, waiters and holders of one lock and runs are sent. */
const MOST_WORKQUEUES = 64;
const MOST_LOCKS = 64;
const MOST_WAITERS = 16;
const MOST_HOLDERS = 16;
const MOST_RUNS = 100;
/** How many locks are looked at to find those that are sent. */
const MOST_LOOKS = 10_000;
/** How many waits and deadlocks are sent; how many may wait, or run, for the graph to be made. */
const MOST_WAITS = 100;
const MOST_DEADLOCKS = 16;
const MOST_IN_GRAPH = 1000;
/** A sample is sent again for so long, to several pages. */
const FRESH_MS = 400;

/** The title of a process that has not named itself. */
const NODE = /(?:^|[\\/])node(?:\.exe)?$/;

const NO_VALUES: Percentiles = { count: 0, p50: 0, p90: 0, p99: 0, max: 0 };

function percentilesOf(histogram: LatencyHistogram | undefined): Percentiles {
  if (histogram === undefined || histogram.count === 0) return NO_VALUES;
  return {
    count: histogram.count,
    p50: histogram.percentile(50),
    p90: histogram.percentile(90),
    p99: histogram.percentile(99),
    max: histogram.max,
  };
}

/**
 * Takes samples of one kernel. Between `start` and `stop` its continuations are measured.
 *
 * @internal
 */
export class Sampler {
  readonly #observer: KernelObserver;
  #histograms: Histograms | null = null;
  #last: Sample | null = null;
  #number = 0;
  #takenMs = 0;
  #cpu = process.cpuUsage();
  #loop = hostPerformance.eventLoopUtilization();

  constructor(observer: KernelObserver) {
    this.#observer = observer;
  }

  start(): void {
    this.#histograms ??= histograms(this.#observer.dispatcher.kernel);
  }

  stop(): void {
    this.#histograms?.stop();
    this.#histograms = null;
    this.#last = null;
  }

  /** Returns what has happened since the last sample, or the last one if it is recent. */
  take(): Sample {
    const takenMs = commonMs();
    if (this.#last !== null && takenMs - this.#takenMs < FRESH_MS) return this.#last;
    const { kernel } = this.#observer.dispatcher;
    const { user, system } = process.cpuUsage(this.#cpu);
    const loop = hostPerformance.eventLoopUtilization();
    const { rss, heapUsed } = process.memoryUsage();
    const { pending, queued, running: inFlight } = kernel.inspect();
    const isFirst = this.#last === null;
    const sample: Sample = {
      number: ++this.#number,
      process: describeProcess(),
      nowMs: kernel.now(),
      intervalMs: isFirst ? 0 : takenMs - this.#takenMs,
      cpuMs: isFirst ? 0 : (user + system) / 1000,
      activeMs: isFirst ? 0 : loop.active - this.#loop.active,
      rssBytes: rss,
      heapBytes: heapUsed,
      pending,
      queued,
      running: inFlight,
      cpus: cpuCounters(this.#observer),
      workqueues: this.#workqueues(workqueueCounters(this.#observer)),
      runs: this.#runs(),
      locks: locksOf(this.#observer),
      graph: queued + inFlight > MOST_IN_GRAPH ? null : graphOf(kernel),
    };
    this.#histograms?.reset();
    this.#takenMs = takenMs;
    this.#cpu = process.cpuUsage();
    this.#loop = loop;
    this.#last = sample;
    return sample;
  }

  #workqueues(all: ReturnType<typeof workqueueCounters>): WorkqueueSample[] {
    const measured = new Map<string, WorkqueueHistograms>();
    for (const one of this.#histograms?.workqueues ?? []) measured.set(one.name, one);
    return all.slice(0, MOST_WORKQUEUES).map((one) => {
      const of = measured.get(one.name);
      return Object.assign({}, one, {
        latenessUs: percentilesOf(of?.latenessUs),
        queueWaitUs: percentilesOf(of?.queueWaitUs),
        runTimeUs: percentilesOf(of?.runTimeUs),
      });
    });
  }

  /** The runs in flight: those that were entered first. */
  #runs(): ListEntry[] {
    const { dispatcher } = this.#observer;
    const nowMs = dispatcher.clock.now;
    const runs: ListEntry[] = [];
    for (const kc of running(dispatcher)) {
      if (runs.length === MOST_RUNS) break;
      runs.push(describe(this.#observer, kc, RUNNING_ROLE, nowMs));
    }
    return runs;
  }
}

/**
 * The locks that continuations of this kernel, and for the process-wide one code, have or wait for: those first that
 * somebody waits for, then those that are held. Other kernels' locks are in the same list of contended ones, and
 * there can be any number of them.
 */
function locksOf(observer: KernelObserver): LockSample[] {
  const locks = new Set<BaseLock>();
  const rest: BaseLock[] = [];
  let looked = 0;
  for (const lock of observer.namedLocks()) {
    if (++looked > MOST_LOOKS || locks.size === MOST_LOCKS) break;
    if (isContended(lock)) locks.add(lock);
    else rest.push(lock);
  }
  looked = 0;
  for (const turnstile of contended) {
    if (++looked > MOST_LOOKS || locks.size === MOST_LOCKS) break;
    const lock = ownLock(observer, turnstile);
    if (lock !== undefined) locks.add(lock);
  }
  for (const lock of [...rest.filter(({ held }) => held), ...rest]) {
    if (locks.size === MOST_LOCKS) break;
    locks.add(lock);
  }
  const found = new Holders();
  for (const _ of found.collect(MOST_LOOKS));
  return Array.from(locks, (lock) => sampleLock(observer, lock, found));
}

function sampleLock(observer: KernelObserver, lock: BaseLock, found: Holders): LockSample {
  const waiters: LockWaiter[] = [];
  let waiting = 0;
  for (const waiter of lock._turnstile ?? []) {
    if (waiting < MOST_WAITERS) waiters.push(describeWaiter(waiter));
    if (++waiting === MOST_COUNTED) break;
  }
  const counters = observer.knows(lock) ? lockActivity(observer, lock) : null;
  const { held } = lock;
  const all = found.of(lock);
  const holders = all.slice(0, MOST_HOLDERS);
  const holding = all.length;
  return { name: lockLabel(lock), held, holders, holding, waiters, waiting, counters };
}

function isContended({ _turnstile: turnstile }: BaseLock): boolean {
  return turnstile !== null && turnstile._next !== turnstile;
}

/** The lock that the first waiters wait for; undefined: it has nothing to do with this kernel. */
function ownLock(observer: KernelObserver, turnstile: Turnstile): BaseLock | undefined {
  const { dispatcher } = observer;
  let looked = 0;
  for (const waiter of turnstile) {
    const lock = waiter._lock as BaseLock;
    const isOwn =
      waiter instanceof Kcont
        ? waiter._wq._dispatcher === dispatcher
        : dispatcher.kernel === processKernel;
    if (isOwn || observer.knows(lock)) return lock;
    if (++looked === MOST_WAITERS) break;
  }
  return undefined;
}

function graphOf(kernel: Kernel): GraphSample {
  const { waits, deadlocks } = waitGraph(kernel);
  return {
    total: waits.length,
    waits: waits.slice(0, MOST_WAITS).map(sampleWait),
    deadlocks: deadlocks.slice(0, MOST_DEADLOCKS).map(({ message, waits: circle }) => {
      return { message, waits: circle.slice(0, MOST_WAITS).map(sampleWait) };
    }),
  };
}

function sampleWait(wait: WaitEdge): WaitSample {
  const { holders } = wait;
  return { ...wait, holders: holders.slice(0, MOST_HOLDERS), holding: holders.length };
}

function describeProcess(): ProcessInfo {
  const { pid, version, argv } = process;
  // A program that has not named itself is called by its file.
  const title = NODE.test(process.title) ? (argv[1] ?? 'node') : process.title;
  return { pid, thread: threadId, title, node: version, uptimeS: process.uptime() };
}
