/*
 * What the continuations of a kernel do while a client watches, by name and workqueue. The clock is read when a
 * function is entered and when it returns, and nothing is kept of a continuation that is gone.
 */

import type { Kcont } from '../../core/kcont.ts';
import { label } from '../../core/schedule.ts';
import { WAITED } from '../../core/state.ts';
import { FAR } from '../../time/timing-wheel.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { shorten } from '../shorten.ts';
import { Tap } from '../tap.ts';
import type { ActivityRow } from './protocol.ts';

/** How many rows there are; all further names share one more. */
const MOST_ROWS = 1000;

type Row = { -readonly [Key in keyof ActivityRow]: ActivityRow[Key] };

const NOTHING = {
  entered: 0,
  runMs: 0,
  longestMs: 0,
  lateMs: 0,
  latestMs: 0,
  waits: 0,
  waitMs: 0,
  failed: 0,
};

/**
 * Observes one kernel for one client.
 *
 * @internal
 */
export class Activity extends Tap {
  readonly #observer: KernelObserver;
  readonly #remove: () => void;
  readonly #rows = new Map<string, Row>();
  readonly #others: Row = { name: '(others)', workqueue: '', priority: 0, running: 0, ...NOTHING };
  readonly #known = new WeakMap<Kcont<unknown>, Row>();
  readonly #waits = new WeakMap<Kcont<unknown>, number>();
  readonly #inFlight = new Set<Kcont<unknown>>();
  #entered: Kcont<unknown> | null = null;
  #enteredMs = 0;

  constructor(observer: KernelObserver) {
    super();
    this.#observer = observer;
    this.#remove = observer.add(this);
  }

  stop(): void {
    this.#remove();
  }

  /** Returns what has happened since the last call. */
  take(): ActivityRow[] {
    const rows: ActivityRow[] = [];
    for (const row of [...this.#rows.values(), this.#others]) {
      if (row.entered + row.running + row.waits + row.failed > 0) rows.push({ ...row });
      Object.assign(row, NOTHING);
    }
    return rows;
  }

  override waits(kc: Kcont<unknown>): void {
    this.#of(kc).waits++;
    if (!this.#waits.has(kc)) this.#waits.set(kc, this.#observer.dispatcher.clock.now);
  }

  override stopped(kc: Kcont<unknown>): void {
    this.#waits.delete(kc);
  }

  override entered(kc: Kcont<unknown>, before: number): void {
    const { collector, wheel, clock } = this.#observer.dispatcher;
    const nowMs = clock.now;
    const row = this.#of(kc);
    row.entered++;
    const sinceMs = this.#waits.get(kc);
    if (sinceMs !== undefined) {
      this.#waits.delete(kc);
      row.waitMs += nowMs - sinceMs;
    } else if (kc._due !== FAR && (before & WAITED) === 0) {
      const lateMs = Math.max(0, nowMs - collector.msOf(wheel.base + kc._due));
      row.lateMs += lateMs;
      row.latestMs = Math.max(row.latestMs, lateMs);
    }
    this.#entered = kc;
    this.#enteredMs = nowMs;
  }

  override suspended(kc: Kcont<unknown>): void {
    this.#returned(kc);
    this.#inFlight.add(kc);
    this.#of(kc).running++;
  }

  override settled(kc: Kcont<unknown>): void {
    this.#returned(kc);
    if (this.#inFlight.delete(kc)) this.#of(kc).running--;
  }

  override failed(kc: Kcont<unknown>): void {
    this.#of(kc).failed++;
  }

  #returned(kc: Kcont<unknown>): void {
    if (this.#entered !== kc) return;
    this.#entered = null;
    const ms = this.#observer.dispatcher.clock.now - this.#enteredMs;
    const row = this.#of(kc);
    row.runMs += ms;
    row.longestMs = Math.max(row.longestMs, ms);
  }

  #of(kc: Kcont<unknown>): Row {
    let row = this.#known.get(kc);
    if (row === undefined) this.#known.set(kc, (row = this.#rowOf(kc)));
    return row;
  }

  #rowOf(kc: Kcont<unknown>): Row {
    const { priority } = kc._wq;
    const workqueue = shorten(kc._wq.name);
    const name = shorten(label(kc));
    const key = `${workqueue}\0${name}`;
    const known = this.#rows.get(key);
    if (known !== undefined) return known;
    if (this.#rows.size >= MOST_ROWS) return this.#others;
    const row: Row = { name, workqueue, priority, running: 0, ...NOTHING };
    this.#rows.set(key, row);
    return row;
  }
}
