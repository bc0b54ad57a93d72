/*
 * One stage of a running pipeline.
 *
 *     admission    inside: at most limit + buffer items              admission queue
 *     queue        (and as many urgent items again)                  of the next stage
 *     waiting ──▶  queued ──▶ running (at most limit) ──▶ done ──▶ ...
 *
 * An item inside is queued where its continuation is: in the run queue of the stage's priority, in the
 * turnstile of its lock, or waiting for a free active slot of the stage's workqueue. A finished item
 * for which the next stage has no slot stays inside, so back-pressure reaches the source.
 *
 * Each stage has two workqueues of its own, the one for urgent items at a slightly higher priority.
 * They share one limit of active runs. Exception: if the given workqueue already has a limit,
 * ordinary items use that workqueue itself.
 *
 * Urgent items have slots of their own; otherwise they would wait at a full stage for the slowest
 * ordinary item. Invariant: while a slot is free, no item that may take it waits in the admission
 * queue; and no ordinary item is admitted while an urgent one waits, so no item overtakes another of
 * its key. If keys take turns (fair-queue.ts), a slot is for an item that runs next. Restored in `pull`, which is called whenever an item has left.
 */

import { invalid } from '../base/errors.ts';
import type { KcontFunction } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { LOWEST_FAST, PRIORITIES } from '../base/priorities.ts';
import type { BaseLock } from '../locks/lock.ts';
import { checkLock } from '../locks/lock-check.ts';
import { type Workqueue } from '../core/workqueue.ts';
import type { Backlog } from '../core/shedder.ts';
import { createPrivate } from '../core/workqueue-registry.ts';
import { AdmissionQueue, type Admission } from './admission-queue.ts';
import { FairQueue } from './fair-queue.ts';
import type { Item } from './item.ts';
import { Keys } from './keys.ts';
import type { Step } from './plan.ts';

const LIMIT = 16;
const BUFFER = 16;
/** How far urgent items run above the stage's priority: half way to the next predefined priority. */
const URGENT_BY = 4;

/**
 * A stage: counts its slots, and chooses the workqueue and the lock of each item.
 *
 * @internal
 */
export class Stage {
  readonly name: string;
  readonly index: number;
  readonly func: Step['func'];
  readonly fast: boolean;
  readonly limit: number;
  /** The items that wait, if its workqueue refuses runs because of load. */
  readonly backlog: Backlog | null;
  readonly buffer: number;
  readonly deadlineMs: number | undefined;
  /** The keys that order the items from this stage on; undefined if `keyBy` does not precede it. */
  readonly keys: Keys | undefined;
  /** The function of an item's continuation in this stage. It has the name of the stage. */
  readonly enter: KcontFunction<Item>;
  readonly admission: Admission;
  /** The same queue, if keys take turns. */
  readonly #fair: FairQueue | null;
  readonly priority: number;
  /** The name of the workqueue that the user chose for this stage. */
  readonly queueName: string;
  next: Stage | undefined = undefined;
  /** Called when a slot has become free and no item waits for it. */
  onSlotFree: (() => void) | undefined = undefined;
  inside = 0;
  urgentInside = 0;
  running = 0;
  /** Number of items that were admitted and whose run is not over, and of the urgent ones among them. */
  #unfinished = 0;
  #urgentUnfinished = 0;
  /** What to call when the stage holds no more items than it may: items that sources wait for. */
  readonly #outside: (() => void)[] = [];
  passed = 0;
  failed = 0;
  readonly #ordinary: Workqueue;
  readonly #urgent: Workqueue;
  readonly #lock: Step['lock'];
  #pulling = false;

  constructor(kernel: Kernel, pipeline: string, index: number, step: Step) {
    const base = typeof step.wq === 'string' ? kernel.wq[step.wq] : step.wq;
    if (base.kernel !== kernel) {
      throw invalid(`wq of stage ${step.name}`, 'a workqueue of the same kernel', base);
    }
    const limited = base.maxActive !== Infinity;
    if (step.limit !== undefined && (base.fast || limited)) {
      const why = base.fast ? 'runs one function at a time' : 'has a limit of its own';
      throw invalid(`limit of stage ${step.name}`, `omitted: ${base.name} ${why}`, step.limit);
    }
    this.name = step.name;
    this.index = index;
    this.func = step.func;
    this.fast = base.fast;
    this.backlog = base._backlog;
    this.limit = base.fast ? 1 : limited ? base.maxActive : (step.limit ?? LIMIT);
    this.buffer = step.buffer ?? BUFFER;
    this.deadlineMs = step.deadlineMs;
    this.keys = step.keyBy === undefined ? undefined : new Keys(step.keyBy);
    this.#fair = step.fair ? new FairQueue() : null;
    this.admission = this.#fair ?? new AdmissionQueue();
    this.#lock = step.lock;
    this.priority = base.priority;
    this.queueName = base.name;
    const label = `${pipeline}/${step.name}`;
    const highest = (base.fast ? PRIORITIES : LOWEST_FAST) - 1;
    const above = Math.min(base.priority + URGENT_BY, highest);
    const limit = base.fast ? Infinity : this.limit;
    this.#ordinary = limited ? base._acquire() : createPrivate(base, label, base.priority, limit);
    this.#urgent = createPrivate(base, `${label} (urgent)`, above, this.#ordinary);
    this.enter = (item) => item.enter();
    Object.defineProperty(this.enter, 'name', { value: label });
  }

  /**
   * Whether it has no place for another ordinary item. If keys take turns, items that wait for their turn take places,
   * and the buffer has no others for items that have not run.
   */
  get full(): boolean {
    if (this.#fair !== null) return this.#held >= this.limit + this.buffer;
    return !this.#hasSlot || this.admission.size > 0;
  }

  /** The number of ordinary items that it holds and of those that wait. */
  get #held(): number {
    return this.inside - this.urgentInside + this.admission.size;
  }

  get #hasSlot(): boolean {
    if (this.inside - this.urgentInside >= this.limit + this.buffer) return false;
    return this.#fair === null || this.#unfinished - this.#urgentUnfinished < this.limit;
  }

  get #hasUrgentSlot(): boolean {
    if (this.urgentInside >= this.limit + this.buffer) return false;
    return this.#fair === null || this.#urgentUnfinished < this.limit;
  }

  /** Whether this item has to wait in the admission queue. */
  isFullFor(item: Item): boolean {
    if (this.admission.mustWait(item)) return true;
    return item.urgent ? !this.#hasUrgentSlot : !this.#hasSlot;
  }

  /** Counts an item that has taken a slot, and runs under a lock. */
  took(item: Item, lock: BaseLock | null): void {
    this.inside++;
    this.#unfinished++;
    if (item.urgent) {
      this.urgentInside++;
      this.#urgentUnfinished++;
    }
    if (item.group?.owns(lock, this.index) === true) this.#fair?.began(item.group);
  }

  /** Called when the run of an item that has taken a slot is over, or will not begin. */
  ran(item: Item, lock: BaseLock | null): void {
    this.#unfinished--;
    if (item.urgent) this.#urgentUnfinished--;
    if (item.group?.owns(lock, this.index) === true) this.#fair?.ended(item.group);
  }

  /**
   * Calls a function of an item that waits, when the stage holds no more items than it may. Without turns this is when
   * the item is admitted.
   */
  whenHeld(told: () => void): void {
    if (this.#fair === null) return;
    if (this.#held <= this.limit + this.buffer) told();
    else this.#outside.push(told);
  }

  /** Number of items that are finished here and wait for the next stage. */
  get blocked(): number {
    return this.next?.admission.size ?? 0;
  }

  queueFor(item: Item): Workqueue {
    return item.urgent ? this.#urgent : this.#ordinary;
  }

  /** Returns the lock that an item needs here. */
  lockFor(item: Item): BaseLock | null {
    const lock = typeof this.#lock === 'function' ? this.#lock(item.value) : this.#lock;
    if (lock !== undefined) {
      checkLock(lock);
      return lock;
    }
    // Synchronous functions run one after the other, in order.
    return item.group === null || this.fast ? null : item.group.lockAt(this.index);
  }

  /** Frees the slot of an item that has left, and admits items that wait. */
  left(urgent: boolean): void {
    this.inside--;
    if (urgent) this.urgentInside--;
    this.pull();
  }

  /** Admits items that wait. */
  pull(): void {
    // An item that cannot be scheduled leaves at once and calls this again; the loop below goes on.
    if (this.#pulling) return;
    this.#pulling = true;
    for (;;) {
      const item = this.admission.shift(this.#hasUrgentSlot, this.#hasSlot);
      if (item === undefined) break;
      item.admit(this);
    }
    this.#pulling = false;
    while (this.#outside.length > 0 && this.#held <= this.limit + this.buffer) {
      this.#outside.shift()?.();
    }
    if (!this.full) this.onSlotFree?.();
  }

  /** Releases the workqueues, because no more items will come. */
  release(): void {
    this.#ordinary.release();
    this.#urgent.release();
  }
}
