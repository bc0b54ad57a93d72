/*
 * One stage of a pipeline that runs.
 *
 *     admission        inside: at most limit + buffer            the next stage's
 *     queue                                                     admission queue
 *                      (of urgent items as many again)
 *     waiting ──▶  queued ──▶ running (at most limit) ──▶ done ──▶ ...
 *
 * An item inside is queued and running as its continuation is: in the run queue of the stage's
 * priority, in the turnstile of its lock, waiting for the room of the stage's workqueue. What is
 * done and finds the next stage full stays inside, so that fullness travels to the source.
 *
 * Each stage has workqueues of its own, one for urgent items a little above the other, which share
 * one room: that is its limit. A workqueue that came with a limit is used as it is.
 *
 * Urgent items have places of their own: at a full stage they would wait for the slowest of the
 * others. Invariant: while a place is free, nobody who may have it waits in the admission queue, and no ordinary
 * item comes in while an urgent one waits: so none overtakes one of its key. It is restored in `pull`,
 * called whenever an item has left.
 */

import { invalid } from '../base/errors.ts';
import type { KcontFunction } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { LOWEST_FAST, PRIORITIES } from '../base/priorities.ts';
import type { BaseLock } from '../locks/lock.ts';
import { checkLock } from '../locks/lock-check.ts';
import { createPrivate, type Workqueue } from '../core/workqueue.ts';
import { AdmissionQueue } from './admission-queue.ts';
import type { Item } from './item.ts';
import { Keys } from './keys.ts';
import type { Step } from './plan.ts';

const LIMIT = 16;
const BUFFER = 16;
/** Half of the way to the next predefined priority. */
const URGENT_BY = 4;

/**
 * A stage: its places, and where its function runs.
 *
 * @internal
 */
export class Stage {
  readonly name: string;
  readonly index: number;
  readonly func: Step['func'];
  readonly fast: boolean;
  readonly limit: number;
  readonly buffer: number;
  readonly deadlineMs: number | undefined;
  /** Orders the items from here on; undefined: as before. */
  readonly keys: Keys | undefined;
  /** What an item's continuation runs here. Its name is that of the stage. */
  readonly enter: KcontFunction<Item>;
  readonly admission: AdmissionQueue = new AdmissionQueue();
  readonly priority: number;
  /** The name of the workqueue that was chosen. */
  readonly queueName: string;
  next: Stage | undefined = undefined;
  /** Called when a place has become free that nobody waited for. */
  onSlotFree: (() => void) | undefined = undefined;
  inside = 0;
  urgentInside = 0;
  running = 0;
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
      throw invalid(`limit of stage ${step.name}`, `left out: ${base.name} ${why}`, step.limit);
    }
    this.name = step.name;
    this.index = index;
    this.func = step.func;
    this.fast = base.fast;
    this.limit = base.fast ? 1 : limited ? base.maxActive : (step.limit ?? LIMIT);
    this.buffer = step.buffer ?? BUFFER;
    this.deadlineMs = step.deadlineMs;
    this.keys = step.keyOf === undefined ? undefined : new Keys(step.keyOf);
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

  /** Whether an ordinary item would have to wait in the admission queue. */
  get full(): boolean {
    return !this.#hasSlot || this.admission.size > 0;
  }

  get #hasSlot(): boolean {
    return this.inside - this.urgentInside < this.limit + this.buffer;
  }

  get #hasUrgentSlot(): boolean {
    return this.urgentInside < this.limit + this.buffer;
  }

  /** Whether this item has to wait in the admission queue. */
  isFullFor(item: Item): boolean {
    if (this.admission.mustWait(item)) return true;
    return item.urgent ? !this.#hasUrgentSlot : !this.#hasSlot;
  }

  /** An item has got a place. */
  took(item: Item): void {
    this.inside++;
    if (item.urgent) this.urgentInside++;
  }

  /** Done here, and waiting for the next stage. */
  get blocked(): number {
    return this.next?.admission.size ?? 0;
  }

  queueFor(item: Item): Workqueue {
    return item.urgent ? this.#urgent : this.#ordinary;
  }

  /** The lock that an item needs here. */
  lockFor(item: Item): BaseLock | null {
    const lock = typeof this.#lock === 'function' ? this.#lock(item.value) : this.#lock;
    if (lock !== undefined) {
      checkLock(lock);
      return lock;
    }
    // Synchronous functions run one after the other, in order.
    return item.group === null || this.fast ? null : item.group.lockAt(this.index);
  }

  /** An item has left: whoever waits in the admission queue is admitted. */
  left(urgent: boolean): void {
    this.inside--;
    if (urgent) this.urgentInside--;
    this.#pull();
  }

  #pull(): void {
    // An item that cannot be scheduled leaves again at once: the loop goes on, one level deep.
    if (this.#pulling) return;
    this.#pulling = true;
    for (;;) {
      const item = this.admission.shift(this.#hasUrgentSlot, this.#hasSlot);
      if (item === undefined) break;
      item.admit(this);
    }
    this.#pulling = false;
    if (!this.full) this.onSlotFree?.();
  }

  /** No item comes any more. */
  release(): void {
    this.#ordinary.release();
    this.#urgent.release();
  }
}
