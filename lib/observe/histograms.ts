/*
 * Histograms of how long continuations wait and run, in those of Node itself. Off by default: recording costs
 * more than dispatching.
 *
 *   timer   deadline ------- latenessUs ------> entered --- runTimeUs ---> settled
 *   job     schedule ------- queueWaitUs -----> entered
 *   both    waits for lock -- lockWaitUs -----> entered: then this is all that is recorded of the wait
 *
 * In a pass, the time at which one function returns is the time at which the next is entered: the clock is read
 * about once per function.
 */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import type { Workqueue } from '../core/workqueue.ts';
import type { BaseLock } from '../locks/lock.ts';
import { nameOf } from '../locks/lock-names.ts';
import { FAR } from '../time/timing-wheel.ts';
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
  readonly latenessUs: RecordableHistogram;
  /** Of jobs: from `schedule` until the function was entered. */
  readonly queueWaitUs: RecordableHistogram;
  /** Until the function has returned, or its promise has settled. */
  readonly runTimeUs: RecordableHistogram;
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
  readonly lockWaitUs: RecordableHistogram;
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

function record(histogram: RecordableHistogram, ms: number): void {
  histogram.record(Math.max(1, Math.round(ms * US_PER_MS)));
}

class Recorder extends Tap implements Histograms {
  readonly #observer: KernelObserver;
  readonly #remove: () => void;
  /** By name: a workqueue that is released and acquired again continues its histograms. */
  readonly #workqueues = new Map<string, WorkqueueHistograms>();
  readonly #locks = new Map<string, LockHistograms>();
  /** Those whose timer has expired and that have not been entered. */
  readonly #expired = new WeakSet<Kcont<unknown>>();
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

  override expired(kc: Kcont<unknown>): void {
    this.#expired.add(kc);
  }

  override stopped(kc: Kcont<unknown>): void {
    this.#expired.delete(kc);
    this.#waits.delete(kc);
  }

  override waits(kc: Kcont<unknown>): void {
    if (!this.#waits.has(kc)) this.#waits.set(kc, this.#observer.dispatcher.clock.now);
  }

  override entered(kc: Kcont<unknown>): void {
    const { dispatcher } = this.#observer;
    const isNext = this.#returnedIn === dispatcher.passes;
    const nowMs = isNext ? this.#returnedMs : dispatcher.clock.now;
    this.#entered = kc;
    this.#enteredMs = nowMs;
    const isTimer = this.#expired.delete(kc);
    const waitedMs = this.#waits.get(kc);
    if (waitedMs !== undefined) {
      this.#waits.delete(kc);
      const lock = kc._lock;
      if (lock !== null && nameOf(lock) !== '') record(this.#ofLock(lock), nowMs - waitedMs);
    } else if (kc._due !== FAR) {
      const { collector, wheel } = dispatcher;
      const { latenessUs, queueWaitUs } = this.#of(kc._wq);
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

  #of({ name }: Workqueue): WorkqueueHistograms {
    let known = this.#workqueues.get(name);
    if (known === undefined) {
      known = {
        name,
        latenessUs: createHistogram(),
        queueWaitUs: createHistogram(),
        runTimeUs: createHistogram(),
      };
      this.#workqueues.set(name, known);
    }
    return known;
  }

  #ofLock(lock: BaseLock): RecordableHistogram {
    const name = nameOf(lock);
    let known = this.#locks.get(name);
    if (known === undefined) {
      known = { name, lockWaitUs: createHistogram() };
      this.#locks.set(name, known);
    }
    return known.lockWaitUs;
  }
}

/**
 * Starts to record how long the continuations of a kernel wait and run on this thread.
 *
 * @remarks
 * The histograms are those of `node:perf_hooks`, with `min`, `max`, `mean` and `percentile`. There is a set for
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
