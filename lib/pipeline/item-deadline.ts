import { KcontError } from '../base/errors.ts';
import type { Kcont } from '../core/kcont.ts';
import { makeOwn } from '../core/own-kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { makeRunnableNext } from '../core/schedule.ts';
import { LIMIT } from '../core/state.ts';
import type { Item } from './item.ts';
import type { Stage } from './stage.ts';

/**
 * The deadlines of one item: its own and that of the stage it is at. One timer serves both.
 *
 * What ends in the very tick in which its time is over has kept its deadline, and it may have ended,
 * and only its promises not have told yet. So the deadline of a function that runs is looked at again in
 * the next pass. What waits is made to leave at once: in a backlog, it would only be begun too late.
 *
 * @internal
 */
export class ItemDeadline {
  readonly #kernel: Kernel;
  readonly #item: Item;
  readonly #kc: Kcont<ItemDeadline>;
  readonly #ownMs: number | undefined;
  readonly #ownAt: number;
  #stage: Stage | undefined = undefined;
  #stageAt = Infinity;
  /** The time is over, and a function runs: this is the last pass it has. */
  #isLast = false;

  constructor(kernel: Kernel, item: Item, ownMs: number | undefined) {
    this.#kernel = kernel;
    this.#item = item;
    this.#ownMs = ownMs;
    this.#ownAt = ownMs === undefined ? Infinity : kernel.now() + ownMs;
    this.#kc = makeOwn<ItemDeadline>(LIMIT, kernel.wq.softclock, null, deadline, this);
    // On a kernel that is closed the item is refused anyway.
    if (ownMs !== undefined) this.#kc._schedule(ownMs, null);
  }

  /** The item has been let into a stage. */
  enter(stage: Stage): void {
    if (stage.deadlineMs === undefined) return;
    const now = this.#kernel.now();
    this.#stage = stage;
    this.#stageAt = now + stage.deadlineMs;
    if (this.#stageAt < this.#ownAt) this.#kc.reset(stage.deadlineMs);
  }

  /** The stage's function has settled. */
  leave(): void {
    if (this.#stage === undefined) return;
    this.#stage = undefined;
    this.#stageAt = Infinity;
    this.#isLast = false;
    // The stage's may be over by now, and queued. On a kernel that closes, no stage is to come.
    if (this.#ownAt === Infinity || this.#kernel.closed) this.#kc.stop();
    else this.#kc.reset(Math.max(this.#ownAt - this.#kernel.now(), 0));
  }

  end(): void {
    this.#kc.destroy();
  }

  over(): void {
    if (this.#item.isInFlight && !this.#isLast) {
      this.#isLast = true;
      makeRunnableNext(this.#kc);
      return;
    }
    const stage = this.#stageAt < this.#ownAt ? this.#stage : undefined;
    const limit =
      stage === undefined ? `its deadline of ${this.#ownMs}` : `the stage's ${stage.deadlineMs}`;
    const item = this.#item;
    const message = `${item.pipeline}/${item.stage}: ${limit} ms is over`;
    item._abort(new KcontError('ETIMEDOUT', message));
  }
}

function deadline(it: ItemDeadline): void {
  it.over();
}
