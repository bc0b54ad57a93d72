import { KcontError } from '../base/errors.ts';
import type { Kcont } from '../core/kcont.ts';
import { makeOwn } from '../core/own-kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { makeRunnableNext } from '../core/schedule.ts';
import { LIMIT } from '../core/state.ts';
import type { Item } from './item.ts';
import type { Stage } from './stage.ts';

/**
 * The two deadlines of an item: its own, and that of its current stage. One timer serves both.
 *
 * A function that settles in the tick of its deadline has met it. At expiry it may have settled
 * although its promise reactions have not run yet, so the deadline of a running function is checked
 * again in the next pass. An item that waits is aborted at once: it could only be started too late.
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
  /** The deadline has expired while a function runs; the function has until the next pass to settle. */
  #isLast = false;

  constructor(kernel: Kernel, item: Item, ownMs: number | undefined) {
    this.#kernel = kernel;
    this.#item = item;
    this.#ownMs = ownMs;
    this.#ownAt = ownMs === undefined ? Infinity : kernel.now() + ownMs;
    this.#kc = makeOwn<ItemDeadline>(LIMIT, kernel.wq.softclock, null, deadline, this);
    // The errno is ignored: a closed kernel refuses the item anyway.
    if (ownMs !== undefined) this.#kc._schedule(ownMs, null);
  }

  /** Starts the deadline of a stage that has admitted the item. */
  enter(stage: Stage): void {
    if (stage.deadlineMs === undefined) return;
    const now = this.#kernel.now();
    this.#stage = stage;
    this.#stageAt = now + stage.deadlineMs;
    if (this.#stageAt < this.#ownAt) this.#kc.reset(stage.deadlineMs);
  }

  /** Ends the deadline of the stage, because its function has settled. */
  leave(): void {
    if (this.#stage === undefined) return;
    this.#stage = undefined;
    this.#stageAt = Infinity;
    this.#isLast = false;
    // The stage's deadline may have expired and be queued by now, so the timer is set again. While the
    // kernel closes, no further stage is entered.
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
