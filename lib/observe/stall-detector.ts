/*
 * Finds stalls of one kernel, and reports each cause once in a while.
 *
 *   function, late   when a function has been entered or has returned. In a pass, the time at which one
 *                    function returns is the time at which the next is entered: one reading for each
 *   run, lock, level by a timer of the kernel itself, at the highest priority: what stalls gives no sign
 */

import { Kcont } from '../core/kcont.ts';
import { LOCK_QUEUE, visitQueued } from '../core/queued.ts';
import { label } from '../core/schedule.ts';
import { WAITED } from '../core/state.ts';
import type { BaseLock } from '../locks/lock.ts';
import { FAR } from '../time/timing-wheel.ts';
import { Causes } from './causes.ts';
import { duration } from './duration.ts';
import { blockingOf } from './holder.ts';
import { inLine } from './in-line.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { functionOf, lockLabel } from './list-entry.ts';
import { numberOf } from './numbers.ts';
import { publishStall } from './publisher.ts';
import type { Stall, StallKind, StallLimits } from './stall.ts';
import { Tap } from './tap.ts';

/** The name of the timer that looks for stalls. */
const NAME = 'kcont/observe';
/** Bounds of the time between two looks, in ms. */
const SHORTEST_MS = 5;
const LONGEST_MS = 1000;
interface Extent {
  readonly ms: number;
  readonly limitMs: number;
  readonly message: string;
  readonly holders?: readonly string[];
  readonly waiting?: number;
}

/**
 * Finds the stalls of one kernel.
 *
 * @internal
 */
export class StallDetector extends Tap {
  readonly #observer: KernelObserver;
  readonly #limits: Required<StallLimits>;
  readonly #timer: Kcont<null>;
  readonly #everyMs: number;
  readonly #remove: () => void;
  readonly #causes: Causes<Stall>;
  /** Since when the waiters wait that have been counted: a stall that lasts is found at each look. */
  readonly #counted = new WeakMap<Kcont<unknown>, number>();
  /** The function on the stack, and when it was entered. */
  #entered: Kcont<unknown> | null = null;
  #enteredMs = 0;
  /** When the last function returned, and in which pass. */
  #returnedMs = 0;
  #returnedIn = -1;
  /** The last function over its limit. */
  #slow = { name: '', ms: 0, endMs: -Infinity };
  /** The runs that have been reported. */
  #reported = new WeakSet<Kcont<unknown>>();

  constructor(
    observer: KernelObserver,
    limits: Required<StallLimits>,
    tell: (stall: Stall) => void,
  ) {
    super();
    this.#observer = observer;
    this.#limits = limits;
    this.#causes = new Causes((stall) => {
      publishStall(observer.dispatcher.kernel, stall);
      tell(stall);
    });
    const { lockMs, runMs, starvedMs } = limits;
    const least = Math.min(lockMs, runMs, starvedMs);
    this.#everyMs = Math.min(Math.max(least / 4, SHORTEST_MS), LONGEST_MS);
    const { kernel } = observer.dispatcher;
    const look = (_: null, kc: Kcont<null>): void => {
      this.#look();
      kc.reset(this.#everyMs);
    };
    this.#timer = new Kcont(kernel.wq.softserial, null, look, null, { name: NAME, ref: false });
    this.#remove = observer.add(this);
    if (least < Infinity && !kernel.closed) this.#timer.schedule(this.#everyMs);
  }

  stop(): void {
    this.#remove();
    this.#timer.destroy();
  }

  override entered(kc: Kcont<unknown>, before: number): void {
    const { dispatcher } = this.#observer;
    const isNext = this.#returnedIn === dispatcher.passes;
    const nowMs = isNext ? this.#returnedMs : dispatcher.clock.now;
    this.#entered = kc;
    this.#enteredMs = nowMs;
    // If it has waited for a lock, a place or its own run, that is why it is late.
    if (kc._due === FAR || (before & WAITED) !== 0) return;
    const { collector, wheel } = dispatcher;
    const dueMs = collector.msOf(wheel.base + kc._due);
    if (nowMs - dueMs > this.#limits.lateMs) this.#late(kc, nowMs - dueMs, nowMs);
  }

  override suspended(kc: Kcont<unknown>): void {
    this.#returned(kc);
  }

  override settled(kc: Kcont<unknown>): void {
    if (this.#entered === kc) this.#returned(kc);
    else this.#reported.delete(kc);
  }

  #returned(kc: Kcont<unknown>): void {
    const { dispatcher } = this.#observer;
    const nowMs = dispatcher.clock.now;
    this.#entered = null;
    this.#returnedMs = nowMs;
    this.#returnedIn = dispatcher.passes;
    const ms = nowMs - this.#enteredMs;
    const { functionMs: limitMs } = this.#limits;
    if (ms <= limitMs) return;
    const name = label(kc);
    this.#slow = { name, ms, endMs: nowMs };
    const message = `${name} on ${kc._wq.name} blocked the event loop for ${duration(ms)}`;
    this.#report('function', kc, nowMs, { ms, limitMs, message });
  }

  #late(kc: Kcont<unknown>, ms: number, nowMs: number): void {
    const slow = this.#slow;
    const isBlocked = slow.endMs > nowMs - ms && slow.name !== label(kc);
    const cause = isBlocked
      ? `: ${slow.name} blocked the event loop for ${duration(slow.ms)}`
      : ': the event loop was busy, or higher priorities were served first';
    const message = `${label(kc)} on ${kc._wq.name} was entered ${duration(ms)} late${cause}`;
    this.#report('late', kc, nowMs, { ms, limitMs: this.#limits.lateMs, message });
  }

  #look(): void {
    const nowMs = this.#observer.dispatcher.clock.now;
    this.#lookAtRuns(nowMs);
    this.#lookAtQueues(nowMs);
  }

  #lookAtRuns(nowMs: number): void {
    const { runMs: limitMs } = this.#limits;
    for (const kc of this.#observer.runs.keys()) {
      const ms = nowMs - (this.#observer.runningSince(kc) ?? nowMs);
      if (ms <= limitMs || this.#reported.has(kc)) continue;
      this.#reported.add(kc);
      const holds = kc._lock === null ? '' : `, and holds lock ${lockLabel(kc._lock)}`;
      const message = `${label(kc)} on ${kc._wq.name} has not settled for ${duration(ms)}${holds}`;
      this.#report('run', kc, nowMs, { ms, limitMs, message });
    }
  }

  /** Looks for the oldest waiter of each lock, and for the first of each level. */
  #lookAtQueues(nowMs: number): void {
    const { dispatcher } = this.#observer;
    const { lockMs, starvedMs } = this.#limits;
    const locks = new Map<BaseLock, Oldest>();
    visitQueued(dispatcher, (kc, place) => {
      if (place !== LOCK_QUEUE) return;
      note(locks, kc._lock as BaseLock, kc, this.#dueMs(kc, nowMs));
    });
    for (const [lock, { kc, sinceMs, count }] of locks) {
      const ms = nowMs - sinceMs;
      if (ms <= lockMs) continue;
      const holders = blockingOf(lock).map(({ name }) => name);
      const held = holders.length === 0 ? '' : `, held by ${holders.join(', ')}`;
      const message = `${label(kc)} on ${kc._wq.name} has waited ${duration(ms)} for lock ${lockLabel(lock)}${held}; ${count} wait for it`;
      const extent = { ms, limitMs: lockMs, message, holders, waiting: count };
      this.#report('lock', kc, nowMs, extent, this.#isNew(kc, sinceMs));
    }
    let level = dispatcher.runq.highest();
    for (; level !== undefined; level = dispatcher.runq.highest(level.priority)) {
      const { first } = level;
      if (first === undefined) continue;
      const sinceMs = this.#dueMs(first, nowMs);
      const ms = nowMs - sinceMs;
      if (ms <= starvedMs) continue;
      const waiting = Array.from(level).length;
      const message = `no continuation of priority ${level.priority} has been entered for ${duration(ms)}; ${waiting} are runnable, ${label(first)} on ${first._wq.name} is the first`;
      const extent = { ms, limitMs: starvedMs, message, waiting };
      this.#report('level', first, nowMs, extent, this.#isNew(first, sinceMs));
    }
  }

  #dueMs(kc: Kcont<unknown>, nowMs: number): number {
    const { collector, wheel } = this.#observer.dispatcher;
    return kc._due === FAR ? nowMs : collector.msOf(wheel.base + kc._due);
  }

  /** Whether a waiter has not been counted since it waits. */
  #isNew(kc: Kcont<unknown>, sinceMs: number): boolean {
    if (this.#counted.get(kc) === sinceMs) return false;
    this.#counted.set(kc, sinceMs);
    return true;
  }

  #report(
    kind: StallKind,
    kc: Kcont<unknown>,
    atMs: number,
    extent: Extent,
    isNew: boolean = true,
  ): void {
    const name = label(kc);
    const key = `${kind} ${kc._wq.name} ${name}`;
    this.#causes.report(key, atMs, this.#limits.intervalMs, isNew, (suppressed) => ({
      kind,
      name,
      function: functionOf(kc),
      id: numberOf(kc),
      workqueue: kc._wq.name,
      priority: kc._wq.priority,
      atMs,
      lock: kc._lock === null ? null : lockLabel(kc._lock),
      holders: [],
      waiting: 0,
      suppressed,
      stack: null,
      ...extent,
      message: inLine(extent.message),
    }));
  }
}

/** The oldest waiter of a lock, and how many there are. */
interface Oldest {
  kc: Kcont<unknown>;
  sinceMs: number;
  count: number;
}

function note(
  locks: Map<BaseLock, Oldest>,
  lock: BaseLock,
  kc: Kcont<unknown>,
  sinceMs: number,
): void {
  const oldest = locks.get(lock);
  if (oldest === undefined) locks.set(lock, { kc, sinceMs, count: 1 });
  else {
    oldest.count++;
    if (sinceMs < oldest.sinceMs) Object.assign(oldest, { kc, sinceMs });
  }
}
