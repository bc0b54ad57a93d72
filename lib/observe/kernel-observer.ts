/*
 * The observer of one kernel on this thread: what the core tells it is counted here, and passed on to those
 * who have asked for it.
 *
 * Counting has to be cheap, because it goes on whether anybody looks or not. Continuations of one workqueue
 * come in series, so the counts of the last workqueue are kept at hand. The clock is read by the sampler of the
 * dispatcher, which in a burst reads it for every 16th call. A run is noted in a map only if its function has
 * returned a promise.
 */

import type { Caller } from '../base/errors.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import { Kcont, type KcontFunction } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { observing, type Observer } from '../core/observer.ts';
import { PENDING } from '../core/state.ts';
import type { Workqueue } from '../core/workqueue.ts';
import type { BaseLock } from '../locks/lock.ts';
import { FAR } from '../time/timing-wheel.ts';
import type { TraceCarrier } from './propagator.ts';
import { Publisher } from './publisher.ts';
import type { Tap } from './tap.ts';

/**
 * What has happened on one workqueue.
 *
 * @internal
 */
export class Counts {
  readonly wq: Workqueue;
  scheduled = 0;
  moved = 0;
  expired = 0;
  stopped = 0;
  refused = 0;
  /** In ticks. */
  longestWait = 0;

  constructor(wq: Workqueue) {
    this.wq = wq;
  }
}

/**
 * What continuations have done with one lock.
 *
 * @internal
 */
export class LockCounts {
  taken = 0;
  contended = 0;
  /** In ticks. */
  longestWait = 0;
}

/**
 * Observes one kernel, on this thread.
 *
 * @internal
 */
export class KernelObserver implements Observer {
  readonly dispatcher: Dispatcher;
  /** When it began to observe, in ms on the clock of `kernel.now()`. */
  readonly sinceMs: number;
  /** Those who have asked to be told too. */
  readonly taps: Tap[] = [];
  readonly #publisher: Publisher;
  readonly #counts = new WeakMap<Workqueue, Counts>();
  #last: Counts | null = null;
  readonly #locks = new WeakMap<BaseLock, LockCounts>();
  /** Those of them that have a name. */
  readonly #named = new Set<WeakRef<BaseLock>>();
  readonly #forget = new FinalizationRegistry<WeakRef<BaseLock>>((ref) => this.#named.delete(ref));
  /** The ticks at which the runs in flight began, absolute; only of those that have returned a promise. */
  readonly #runs = new Map<Kcont<unknown>, number>();
  /** The tick at which the last function was entered, relative to the wheel's base at that time. */
  #enteredTick = 0;
  #enteredBase = 0;
  /** The continuation that was entered last, until it has settled; null: none was since it is observed. */
  #entered: Kcont<unknown> | null = null;

  constructor(dispatcher: Dispatcher) {
    this.dispatcher = dispatcher;
    this.sinceMs = dispatcher.clock.now;
    this.#publisher = new Publisher(dispatcher);
  }

  /** The counts of a workqueue. */
  of(wq: Workqueue): Counts {
    const last = this.#last;
    if (last !== null && last.wq === wq) return last;
    let counts = this.#counts.get(wq);
    if (counts === undefined) {
      counts = new Counts(wq);
      this.#counts.set(wq, counts);
    }
    this.#last = counts;
    return counts;
  }

  /** The counts of a lock. */
  ofLock(lock: BaseLock): LockCounts {
    let counts = this.#locks.get(lock);
    if (counts === undefined) {
      counts = new LockCounts();
      this.#locks.set(lock, counts);
      if (lock.name !== '') this.#remember(lock);
    }
    return counts;
  }

  /** Whether continuations have taken a lock or waited for it. */
  knows(lock: BaseLock): boolean {
    return this.#locks.has(lock);
  }

  /** The locks with a name that continuations have taken or waited for. */
  *namedLocks(): Generator<BaseLock, void, undefined> {
    for (const ref of this.#named) {
      const lock = ref.deref();
      if (lock !== undefined) yield lock;
    }
  }

  /** A program may make a lock with a name for each of its users: nothing is left of one that is gone. */
  #remember(lock: BaseLock): void {
    const ref = new WeakRef(lock);
    this.#named.add(ref);
    this.#forget.register(lock, ref);
  }

  created(kc: Kcont<unknown>): void {
    for (const tap of this.taps) tap.created(kc);
  }

  scheduled(kc: Kcont<unknown>, before: number): void {
    const counts = this.of(kc._wq);
    counts.scheduled++;
    if ((before & PENDING) !== 0) counts.moved++;
    for (const tap of this.taps) tap.scheduled(kc, before);
    this.#publisher.scheduled(kc, before);
  }

  refused(kc: Kcont<unknown>, by: Caller): void {
    if (by !== Kcont.prototype.touch && !kc.destroyed) this.of(kc._wq).refused++;
    for (const tap of this.taps) tap.refused(kc, by);
  }

  expired(kc: Kcont<unknown>): void {
    this.of(kc._wq).expired++;
    for (const tap of this.taps) tap.expired(kc);
    this.#publisher.expired(kc);
  }

  waits(kc: Kcont<unknown>): void {
    this.ofLock(kc._lock as BaseLock).contended++;
    for (const tap of this.taps) tap.waits(kc);
  }

  entered(
    kc: Kcont<unknown>,
    before: number,
    func: KcontFunction<unknown>,
  ): KcontFunction<unknown> {
    const { sampler, wheel } = this.dispatcher;
    const tick = sampler.tick();
    this.#entered = kc;
    this.#enteredTick = tick;
    this.#enteredBase = wheel.base;
    const lock = kc._lock;
    const waited = kc._due === FAR ? 0 : tick - kc._due;
    const counts = this.of(kc._wq);
    if (waited > counts.longestWait) counts.longestWait = waited;
    if (lock !== null) {
      const taken = this.ofLock(lock);
      taken.taken++;
      if (waited > taken.longestWait) taken.longestWait = waited;
    }
    for (const tap of this.taps) tap.entered(kc, before);
    return this.#publisher.entered(kc, kc._due === FAR ? null : waited, func);
  }

  suspended(kc: Kcont<unknown>): void {
    if (this.#entered === kc) this.#runs.set(kc, this.#enteredBase + this.#enteredTick);
    this.#entered = null;
    for (const tap of this.taps) tap.suspended(kc);
    this.#publisher.suspended(kc);
  }

  settled(kc: Kcont<unknown>): void {
    let enteredTick: number | null = null;
    if (this.#entered === kc) {
      this.#entered = null;
      enteredTick = this.#enteredBase + this.#enteredTick;
    } else if (this.#runs.size > 0) {
      enteredTick = this.#runs.get(kc) ?? null;
      this.#runs.delete(kc);
    }
    for (const tap of this.taps) tap.settled(kc);
    this.#publisher.settled(kc, enteredTick);
  }

  stopped(kc: Kcont<unknown>): void {
    this.of(kc._wq).stopped++;
    for (const tap of this.taps) tap.stopped(kc);
    this.#publisher.stopped(kc);
  }

  failed(kc: Kcont<unknown>, error: unknown): void {
    for (const tap of this.taps) tap.failed(kc, error);
    this.#publisher.failed(kc, error);
  }

  sent(kc: Kcont<unknown>): TraceCarrier | undefined {
    return this.#publisher.sent(kc);
  }

  /** Passes everything on to a tap, until the function that is returned is called. */
  add(tap: Tap): () => void {
    this.taps.push(tap);
    return () => {
      const at = this.taps.indexOf(tap);
      if (at !== -1) this.taps.splice(at, 1);
    };
  }

  /** The asynchronous runs that began since the kernel is observed, and when. */
  get runs(): ReadonlyMap<Kcont<unknown>, number> {
    return this.#runs;
  }

  /** When a run in flight began, in ms; null: before the kernel was observed. */
  runningSince(kc: Kcont<unknown>): number | null {
    const entered = this.#enteredBase + this.#enteredTick;
    const tick = kc === this.#entered ? entered : this.#runs.get(kc);
    if (tick === undefined) return null;
    return Math.max(this.sinceMs, this.dispatcher.collector.msOf(tick));
  }
}

const observers = new WeakMap<Dispatcher, KernelObserver>();
/** The same, to be enumerated; a kernel that nobody else refers to is not kept in memory. */
const all = new Set<WeakRef<KernelObserver>>();
const forget = new FinalizationRegistry<WeakRef<KernelObserver>>((ref) => all.delete(ref));

/**
 * The observers of all kernels that are still in use, in the order in which they began.
 *
 * @internal
 */
export function* allObservers(): Generator<KernelObserver, void, undefined> {
  for (const ref of all) {
    const observer = ref.deref();
    if (observer !== undefined) yield observer;
  }
}

function make(dispatcher: Dispatcher): KernelObserver {
  const observer = new KernelObserver(dispatcher);
  observers.set(dispatcher, observer);
  const ref = new WeakRef(observer);
  all.add(ref);
  forget.register(observer, ref);
  return observer;
}

/**
 * Returns the observer of a kernel on this thread, which is created at the first request.
 *
 * @internal
 */
export function observerOf(kernel: Kernel): KernelObserver {
  const { _dispatcher: dispatcher } = kernel.wq.softclock;
  const known = observers.get(dispatcher);
  if (known !== undefined) return known;
  const observer = make(dispatcher);
  dispatcher.observer = observer;
  return observer;
}

/**
 * Has each kernel observed that is created from now on.
 *
 * @internal
 */
export function observeNewKernels(): void {
  observing.make = make;
}
