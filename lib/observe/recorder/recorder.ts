/*
 * Records what the continuations of one kernel do on this thread, in the ring of its CPU.
 *
 * What costs most is the clock: 50 to 110 ns for one reading. In a pass, the time at which one function returns is
 * the time at which the next is entered, so it is read about once per function. After 12 functions that took less than
 * 4 us each, it is read for every fourth, and for the last one in the run queue: a group of four then has one end, and
 * its last record says how many of the ends before it are estimates; if the pass has ended meanwhile, because its budget
 * was spent, the first record of the next pass says so. If the watching thread is running, it counts in a
 * shared word, and a function during which that has changed is read for itself. The time of a `schedule` call is not
 * read at all: it follows from the deadline.
 *
 *   in bursts of 1,000 jobs: 33 ns for each record, of which there are three per job (bench recorder); of these the look-up
 *   of the continuation takes 4, the call from the observer 3, and the stores 10
 */

import { functionName } from '../../base/errors.ts';
import type { Dispatcher } from '../../core/dispatcher.ts';
import type { Kcont } from '../../core/kcont.ts';
import { label } from '../../core/schedule.ts';
import { PENDING, WAITED } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { HostClock, commonMs } from '../../time/host-clock.ts';
import { FAR, TICKS_PER_MS } from '../../time/timing-wheel.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { functionOf, lockLabel } from '../list-entry.ts';
import { numberOf } from '../numbers.ts';
import { Tap } from '../tap.ts';
import {
  ASIDE,
  ENTER,
  EXPIRE,
  FAIL,
  FLAGS_AT,
  MOST_NAMES,
  NAME_AT,
  OPEN_AT,
  PRIORITY_AT,
  SCHEDULE,
  SETTLE,
  STOP,
  SUSPEND,
  WAIT,
  type Ring,
} from './ring.ts';
import { type LockName, type WorkName } from './records.ts';

/** After so many dense readings, ends are estimated. */
const STREAK = 12;
/** Functions are dense that take less than this, in ms. */
const DENSE_MS = 0.004;
/** Of so many ends, one is read. */
const GROUP = 4;
/** Names are cut off after so many characters. */
const LONGEST_NAME = 200;

/** What records say of one continuation. */
class Known {
  readonly id: number;
  /** Its priority and its name, in their places in a head. */
  readonly head: number;

  constructor(id: number, head: number) {
    this.id = id;
    this.head = head;
  }
}

/**
 * Writes the records of one kernel on this thread.
 *
 * @internal
 */
export class Recorder extends Tap {
  /** The common time at which the kernel's clock was at 0, in ms. */
  readonly originMs: number;
  readonly #dispatcher: Dispatcher;
  readonly #ring: Ring;
  readonly #remove: () => void;
  readonly #known = new WeakMap<Kcont<unknown>, Known>();
  readonly #names = new Map<string, number>();
  readonly #locks = new WeakMap<BaseLock, number>();
  /** By lock: the run in flight that holds it. */
  readonly #holders = new Map<BaseLock, number>();
  /** By run in flight: its lock. */
  readonly #held = new Map<Kcont<unknown>, BaseLock>();
  /** The function on the stack. */
  #entered: Kcont<unknown> | null = null;
  #enteredAs: Known | null = null;
  /** The last time that was read, and in which pass. */
  #lastMs = 0;
  #pass = NaN;
  #streak = 0;
  /** How many functions have returned since then. */
  #estimated = 0;
  /** How many ends at the end of the last pass were estimated. */
  #open = 0;
  readonly #samples: boolean;
  /** The count of the watching thread. */
  #ticks: Int32Array | null = null;
  #tickAt = 0;
  #tick = 0;
  #nextName = 0;

  constructor(observer: KernelObserver, ring: Ring) {
    super();
    const { dispatcher } = observer;
    const { clock } = dispatcher;
    this.#dispatcher = dispatcher;
    this.#ring = ring;
    this.#samples = clock instanceof HostClock;
    this.originMs = this.#samples ? commonMs() - clock.now : 0;
    ring.begin(dispatcher.kernel._cpu.index);
    const others: WorkName = { name: '(others)', function: '', workqueue: '', patienceMs: null };
    this.#nextName = ring.names;
    this.#name(JSON.stringify(others));
    this.#remove = observer.add(this);
  }

  stop(): void {
    this.#remove();
  }

  /** Reads the clock whenever a word of shared memory has changed. */
  followTicks(ticks: Int32Array, at: number): void {
    this.#ticks = ticks;
    this.#tickAt = at;
  }

  override scheduled(kc: Kcont<unknown>): void {
    const known = this.#of(kc);
    const { collector, wheel, clock } = this.#dispatcher;
    const due = kc._due;
    const delay = (kc._state & PENDING) === 0 ? 0 : kc._delay;
    const isExact = due !== FAR && delay !== FAR && kc._extras === null;
    const clockMs = isExact ? collector.msOf(wheel.base + due - delay) : clock.now;
    const atMs = clockMs + this.originMs;
    const head = SCHEDULE | known.head;
    this.#ring.write(atMs < this.#lastMs ? this.#lastMs : atMs, head, known.id, delay, 0);
  }

  override expired(kc: Kcont<unknown>): void {
    const known = this.#of(kc);
    this.#look();
    this.#ring.write(this.#lastMs, EXPIRE | known.head, known.id, 0, 0);
  }

  override waits(kc: Kcont<unknown>): void {
    const known = this.#of(kc);
    const lock = kc._lock as BaseLock;
    this.#look();
    const holder = this.#holders.get(lock) ?? 0;
    this.#ring.write(this.#lastMs, WAIT | known.head, known.id, this.#lockName(lock), holder);
  }

  override entered(kc: Kcont<unknown>, before: number): void {
    const known = this.#of(kc);
    const { sampler, passes } = this.#dispatcher;
    this.#look();
    const nowMs = this.#lastMs;
    const due = kc._due;
    const waited =
      due === FAR ? 0 : Math.floor((nowMs - this.originMs) * TICKS_PER_MS + sampler.offset) - due;
    const flags = ((before & WAITED) === 0 ? 0 : ASIDE) | (this.#open << OPEN_AT);
    const head = ENTER | (flags << FLAGS_AT) | known.head;
    this.#open = 0;
    this.#ring.write(nowMs, head, known.id, waited < 0 ? 0 : waited, passes);
    this.#entered = kc;
    this.#enteredAs = known;
  }

  override suspended(kc: Kcont<unknown>): void {
    const known = this.#entered === kc ? (this.#enteredAs as Known) : this.#of(kc);
    const estimated = this.#returned();
    this.#entered = null;
    this.#ring.write(this.#lastMs, SUSPEND | known.head, known.id, estimated, 0);
    const lock = kc._lock;
    if (lock === null) return;
    this.#holders.set(lock, known.id);
    this.#held.set(kc, lock);
  }

  override settled(kc: Kcont<unknown>): void {
    if (this.#entered === kc) {
      const known = this.#enteredAs as Known;
      const estimated = this.#returned();
      this.#entered = null;
      this.#ring.write(this.#lastMs, SETTLE | known.head, known.id, estimated, 0);
      return;
    }
    const known = this.#of(kc);
    this.#read();
    this.#ring.write(this.#lastMs, SETTLE | known.head, known.id, 0, 0);
    const lock = this.#held.get(kc);
    if (lock === undefined) return;
    this.#held.delete(kc);
    if (this.#holders.get(lock) === known.id) this.#holders.delete(lock);
  }

  override stopped(kc: Kcont<unknown>): void {
    this.#note(STOP, kc);
  }

  override failed(kc: Kcont<unknown>): void {
    this.#note(FAIL, kc);
  }

  #note(kind: number, kc: Kcont<unknown>): void {
    const known = this.#of(kc);
    if (this.#entered === null) this.#read();
    this.#ring.write(this.#lastMs, kind | known.head, known.id, 0, 0);
  }

  /** Reads the clock when a pass begins. */
  #look(): void {
    const { passes } = this.#dispatcher;
    if (passes === this.#pass) return;
    this.#pass = passes;
    // The last pass has ended within a group.
    this.#open = this.#estimated;
    this.#read();
  }

  #read(): void {
    this.#lastMs = this.#dispatcher.clock.now + this.originMs;
    this.#estimated = 0;
  }

  /** The function has returned: its end is read or estimated. Returns how many ends before it were estimated. */
  #returned(): number {
    const estimated = this.#estimated;
    if (
      this.#streak >= STREAK &&
      estimated < GROUP - 1 &&
      this.#samples &&
      !this.#dispatcher.runq.empty &&
      (this.#ticks === null || this.#ticks[this.#tickAt] === this.#tick)
    ) {
      this.#estimated = estimated + 1;
      return 0;
    }
    const beganMs = this.#lastMs;
    this.#read();
    if (this.#ticks !== null) this.#tick = this.#ticks[this.#tickAt] as number;
    if (this.#lastMs - beganMs <= DENSE_MS * (estimated + 1)) this.#streak++;
    else this.#streak = 0;
    return estimated;
  }

  #of(kc: Kcont<unknown>): Known {
    return this.#known.get(kc) ?? this.#meet(kc);
  }

  #meet(kc: Kcont<unknown>): Known {
    const wq = kc._wq;
    const known = new Known(
      numberOf(kc),
      (wq.priority << PRIORITY_AT) | (this.#nameOf(kc, wq) << NAME_AT),
    );
    this.#known.set(kc, known);
    return known;
  }

  #nameOf(kc: Kcont<unknown>, wq: Workqueue): number {
    const name: WorkName = {
      name: label(kc).slice(0, LONGEST_NAME),
      function: (functionOf(kc) || functionName(kc._func)).slice(0, LONGEST_NAME),
      workqueue: wq.name.slice(0, LONGEST_NAME),
      patienceMs: wq.patienceMs < Infinity ? wq.patienceMs : null,
    };
    return this.#name(JSON.stringify(name));
  }

  #lockName(lock: BaseLock): number {
    let known = this.#locks.get(lock);
    if (known === undefined) {
      const name: LockName = { lock: lockLabel(lock).slice(0, LONGEST_NAME) };
      known = this.#name(JSON.stringify(name));
      this.#locks.set(lock, known);
    }
    return known;
  }

  /** The number of a name; 0, that of all others, if there is no space left. */
  #name(json: string): number {
    const known = this.#names.get(json);
    if (known !== undefined) return known;
    if (this.#nextName > MOST_NAMES || !this.#ring.addName(json)) return 0;
    const name = this.#nextName++;
    this.#names.set(json, name);
    return name;
  }
}
