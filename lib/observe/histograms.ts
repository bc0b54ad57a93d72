/*
 * Histograms of how long continuations wait and run. Off by default: recording costs two readings of the clock
 * for each pass, and one for each function.
 *
 *   timer   deadline ------- latenessUs ------> entered --- runTimeUs ---> settled
 *   job     schedule ------- queueWaitUs -----> entered
 *   both    waits for lock -- lockWaitUs -----> entered: then this is all that is recorded of the wait
 *
 * In a pass, the time at which one function returns is the time at which the next is entered: the clock is read
 * about once per function.
 */

import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { EXPIRED, WAITED } from '../core/state.ts';
import type { Workqueue } from '../core/workqueue.ts';
import type { BaseLock } from '../locks/lock.ts';
import { nameOf } from '../locks/lock-names.ts';
import { FAR } from '../time/timing-wheel.ts';
import { LogHistogram, type LatencyHistogram } from './histogram.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { observerFor } from './list.ts';
import { Tap } from './tap.ts';

/**
 * The histograms of one workqueue, in microseconds. What took less than one counts as one.
 *
 * @public
 */
export interface WorkqueueHistograms {
  /** Its name. */
  readonly name: string;
  /** Of timers: from the deadline until the function was entered. */
  readonly latenessUs: LatencyHistogram;
  /** Of jobs: from `schedule` until the function was entered. */
  readonly queueWaitUs: LatencyHistogram;
  /** Until the function has returned, or its promise has settled. */
  readonly runTimeUs: LatencyHistogram;
}

/**
 * The histogram of one lock, in microseconds.
 *
 * @public
 */
export interface LockHistograms {
  /** Its name. */
  readonly name: string;
  /** Of continuations that had to wait for it: from then until the function was entered. */
  readonly lockWaitUs: LatencyHistogram;
}

/**
 * Histograms that are being recorded.
 *
 * @public
 */
export interface Histograms {
  /** Those of the workqueues that have entered a function, in the order in which they first did. */
  readonly workqueues: readonly WorkqueueHistograms[];
  /** Those of the locks with a name that a continuation had to wait for. */
  readonly locks: readonly LockHistograms[];
  /** Sets all counts to 0. */
  reset(): void;
  /** Ends the recording; what has been recorded can still be read. Further calls have no effect. */
  stop(): void;
  /** The same as `stop`, for `using`. */
  [Symbol.dispose](): void;
}

const US_PER_MS = 1000;

function record(histogram: LogHistogram, ms: number): void {
  const us = ms * US_PER_MS;
  histogram.record(us < 1 ? 1 : us);
}

/** The histograms of the workqueues of one name. */
class Recorded implements WorkqueueHistograms {
  readonly name: string;
  readonly latenessUs = new LogHistogram();
  readonly queueWaitUs = new LogHistogram();
  readonly runTimeUs = new LogHistogram();

  constructor(name: string) {
    this.name = name;
  }
}

class Recorder extends Tap implements Histograms {
  readonly #observer: KernelObserver;
  readonly #remove: () => void;
  /** By name: a workqueue that is released and acquired again continues its histograms. */
  readonly #workqueues = new Map<string, Recorded>();
  /** Those that were used last, and for which workqueue: continuations of one workqueue come in series. */
  #last: Recorded | null = null;
  #lastQueue: Workqueue | null = null;
  readonly #locks = new Map<string, { readonly name: string; readonly lockWaitUs: LogHistogram }>();
  /** When those that wait for a lock began to, in ms. */
  readonly #waits = new WeakMap<Kcont<unknown>, number>();
  /** When the asynchronous runs began, in ms. */
  readonly #runs = new Map<Kcont<unknown>, number>();
  #entered: Kcont<unknown> | null = null;
  #enteredMs = 0;
  #returnedMs = 0;
  #returnedIn = -1;

  constructor(observer: KernelObserver) {
    super();
    this.#observer = observer;
    this.#remove = observer.add(this);
  }

  get workqueues(): WorkqueueHistograms[] {
    return [...this.#workqueues.values()];
  }

  get locks(): LockHistograms[] {
    return [...this.#locks.values()];
  }

  reset(): void {
    for (const { latenessUs, queueWaitUs, runTimeUs } of this.#workqueues.values()) {
      latenessUs.reset();
      queueWaitUs.reset();
      runTimeUs.reset();
    }
    for (const { lockWaitUs } of this.#locks.values()) lockWaitUs.reset();
  }

  stop(): void {
    this.#remove();
    this.#runs.clear();
    this.#entered = null;
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  override stopped(kc: Kcont<unknown>): void {
    this.#waits.delete(kc);
  }

  override waits(kc: Kcont<unknown>): void {
    if (!this.#waits.has(kc)) this.#waits.set(kc, this.#observer.dispatcher.clock.now);
  }

  override entered(kc: Kcont<unknown>, before: number): void {
    const { dispatcher } = this.#observer;
    const isNext = this.#returnedIn === dispatcher.passes;
    const nowMs = isNext ? this.#returnedMs : dispatcher.clock.now;
    this.#entered = kc;
    this.#enteredMs = nowMs;
    const waitedMs = (before & WAITED) === 0 ? undefined : this.#waits.get(kc);
    if (waitedMs !== undefined) {
      this.#waits.delete(kc);
      const lock = kc._lock;
      if (lock !== null && nameOf(lock) !== '') record(this.#ofLock(lock), nowMs - waitedMs);
    } else if (kc._due !== FAR) {
      const { collector, wheel } = dispatcher;
      const { latenessUs, queueWaitUs } = this.#of(kc._wq);
      const isTimer = (before & EXPIRED) !== 0;
      record(isTimer ? latenessUs : queueWaitUs, nowMs - collector.msOf(wheel.base + kc._due));
    }
  }

  override suspended(kc: Kcont<unknown>): void {
    if (this.#entered !== kc) return;
    this.#returned();
    this.#runs.set(kc, this.#enteredMs);
  }

  override settled(kc: Kcont<unknown>): void {
    if (this.#entered === kc) {
      this.#returned();
      record(this.#of(kc._wq).runTimeUs, this.#returnedMs - this.#enteredMs);
      return;
    }
    const beganMs = this.#runs.get(kc);
    if (beganMs === undefined) return;
    this.#runs.delete(kc);
    record(this.#of(kc._wq).runTimeUs, this.#observer.dispatcher.clock.now - beganMs);
  }

  #returned(): void {
    const { dispatcher } = this.#observer;
    this.#entered = null;
    this.#returnedMs = dispatcher.clock.now;
    this.#returnedIn = dispatcher.passes;
  }

  #of(wq: Workqueue): Recorded {
    if (this.#last !== null && this.#lastQueue === wq) return this.#last;
    const { name } = wq;
    let known = this.#workqueues.get(name);
    if (known === undefined) this.#workqueues.set(name, (known = new Recorded(name)));
    this.#last = known;
    this.#lastQueue = wq;
    return known;
  }

  #ofLock(lock: BaseLock): LogHistogram {
    const name = nameOf(lock);
    let known = this.#locks.get(name);
    if (known === undefined) {
      known = { name, lockWaitUs: new LogHistogram() };
      this.#locks.set(name, known);
    }
    return known.lockWaitUs;
  }
}

/**
 * Starts to record how long the continuations of a kernel wait and run on this thread.
 *
 * @remarks
 * The histograms have `min`, `max`, `mean` and `percentile`, as those of `node:perf_hooks`. There is a set for
 * each name of a workqueue, and one for each name of a lock.
 *
 * @param kernel - the kernel
 * @returns the histograms, to be stopped with `stop` or `using`
 * @throws KcontError EINVAL for anything but a kernel
 *
 * @example
 * ```ts
 * using recording = histograms(kernel);
 * await work();
 * for (const { name, latenessUs } of recording.workqueues) console.log(name, latenessUs.percentile(99));
 * ```
 *
 * @public
 */
export function histograms(kernel: Kernel): Histograms {
  return new Recorder(observerFor(kernel, histograms));
}
