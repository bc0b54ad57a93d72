/*
 * A queueClass for p-queue, with priority levels and locks.
 *
 *   enqueue --> ready, by level and order --> dequeue
 *                 ^  |
 *      its lock   |  | its lock is held: aside, with all others that need it
 *      is granted |  v
 *               chain of that lock
 *
 * All items with the same lock form a chain. At most one item of a chain is ready, and no item while
 * another holds the lock. The queue's `size` counts only ready items, so p-queue never requests an item
 * that cannot start, and waiting for a lock takes no slot. When a chain is granted its lock, p-queue is
 * asked to start functions again; if it has no free slot, the lock is released meanwhile.
 *
 * A queueClass alone can neither make its PQueue start functions nor know when a function has settled.
 * So locks need a KcontPQueue, which shares a `Home` object with its queues.
 *
 * Invariant: if a chain has items, then one of them is ready, or a running function of the chain holds
 * the lock, or the chain waits for the lock. Restored in `#place`, `#lookAtChain` and `_ended`.
 */

import type { Queue, QueueAddOptions } from 'p-queue';
import { KcontError, isA, refuseOptions } from '../../base/errors.ts';
import { defineInspect } from '../../base/inspect.ts';
import { unlink } from '../../base/list.ts';
import { after, stamp, type Entry } from '../../base/ordered-list.ts';
import type { BaseLock, Lock } from '../../locks/lock.ts';
import { checkLock } from '../../locks/lock-check.ts';
import { LevelList, RankList, type Ranked } from './rank-list.ts';

/**
 * The function that p-queue puts into its queue.
 *
 * @public
 */
export type KcontQueueRun = () => Promise<unknown>;

/**
 * Options for adding a function to a PQueue with a {@link KcontQueue}.
 *
 * @public
 */
export interface KcontQueueAddOptions extends QueueAddOptions {
  /**
   * A lock held while the function runs: functions with the same lock run one at a time, in order.
   * Requires a {@link KcontPQueue}. Default null: no lock.
   */
  readonly lock?: Lock | null;
}

/** The key of an internal option: a callback that is called when the function is withdrawn. */
export const WITHDRAWN: unique symbol = Symbol('withdrawn');

/** The reason if `clear` withdrew it. The promise of `add` is left to p-queue; 9 never settles it. */
export const CLEARED: unique symbol = Symbol('cleared');

/** Options with a callback for withdrawal. */
export interface Withdrawable extends KcontQueueAddOptions {
  readonly [WITHDRAWN]?: (reason: unknown) => void;
}

/** The state that a KcontPQueue and its queues share. */
export class Home {
  /** The current queue. `clear` replaces it. */
  queue: KcontQueue | undefined = undefined;
  /** The item whose function is about to be called. */
  starting: Item | null = null;
  /** True during `clear`: then `size` counts all items, because p-queue 10 does not clear an empty queue. */
  clearing = false;
  /** Makes p-queue start the functions it can. */
  look: () => void = () => undefined;
}

/** A function that waits. */
export class Item implements Ranked {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  _due = 0;
  priority: number;
  readonly id: string | undefined;
  readonly run: KcontQueueRun;
  readonly chain: Chain | null;
  readonly withdrawn: ((reason: unknown) => void) | undefined;

  constructor(
    run: KcontQueueRun,
    priority: number,
    id: string | undefined,
    chain: Chain | null,
    withdrawn: ((reason: unknown) => void) | undefined,
  ) {
    this.run = run;
    this.priority = priority;
    this.id = id;
    this.chain = chain;
    this.withdrawn = withdrawn;
  }
}

/** All items of a queue that need the same lock. */
export class Chain {
  readonly lock: BaseLock;
  readonly aside: RankList<Item> = new RankList<Item>();
  /** Number of items, ready or aside. */
  count = 0;
  /** The item that is ready. */
  ready: Item | null = null;
  /** Whether the lock is held for the item that is ready. */
  granted = false;
  /** Whether a running function holds the lock. */
  running = false;
  /** Whether the lock has been requested. */
  waiting = false;

  constructor(lock: BaseLock) {
    this.lock = lock;
  }
}

/**
 * A queue for p-queue: `new PQueue({ queueClass: KcontQueue })`.
 *
 * @remarks
 * The order is that of p-queue's own queue: highest priority first, then first come, first served.
 * Adding, taking, removing by id and changing the priority take constant time for integer priorities
 * from −112 to 111.
 *
 * @example
 * ```ts
 * const queue = new PQueue({ concurrency: 4, queueClass: KcontQueue });
 * await queue.add(() => fetch(url), { priority: 1 });
 * ```
 *
 * @public
 */
export class KcontQueue implements Queue<KcontQueueRun, KcontQueueAddOptions> {
  readonly #home: Home | undefined;
  readonly #ready = new LevelList<Item>();
  readonly #items = new Set<Item>();
  readonly #byId = new Map<string, Item | Set<Item>>();
  readonly #chains = new Map<BaseLock, Chain>();
  #readyCount = 0;

  /**
   * Creates a queue. Called by p-queue.
   *
   * @throws KcontError EINVAL if options are given
   */
  constructor();
  /** @internal */
  constructor(home: Home);
  constructor(home?: Home) {
    if (!isA(home, Home)) refuseOptions(home, 'KcontQueue', new.target);
    this.#home = home;
    if (home !== undefined) home.queue = this;
  }

  /** Number of functions that wait and are not kept from starting by a lock. */
  get size(): number {
    if (this.#home?.clearing === true) return this.#items.size;
    this.#first();
    return this.#readyCount;
  }

  /**
   * Number of functions that wait.
   * @internal
   */
  get _count(): number {
    return this.#items.size;
  }

  /**
   * Adds a function.
   *
   * @param run - the function that p-queue will run
   * @param options - priority, id, lock
   * @throws KcontError EINVAL if the lock is not a lock of kcont, ENOTSUP for a lock in a PQueue that is
   * not a {@link KcontPQueue}
   */
  enqueue(run: KcontQueueRun, options: Partial<KcontQueueAddOptions> = {}): void {
    const { priority = 0, id, lock = null } = options;
    checkLock(lock);
    if (lock !== null && this.#home === undefined) {
      throw new KcontError('ENOTSUP', 'locks need a KcontPQueue instead of a PQueue');
    }
    const chain = lock === null ? null : this.#chainOf(lock);
    const withdrawn = (options as Partial<Withdrawable>)[WITHDRAWN];
    this.#insert(new Item(run, priority, id, chain, withdrawn));
  }

  /**
   * Removes the next function and returns it.
   *
   * @returns a function; undefined if no function can start
   */
  dequeue(): KcontQueueRun | undefined {
    const item = this.#first();
    if (item === undefined) return undefined;
    const { chain } = item;
    if (chain === null) {
      this.#delete(item);
      return item.run;
    }
    if (!chain.granted) chain.lock.tryEnter();
    chain.granted = false;
    chain.running = true;
    this.#delete(item);
    return () => this.#start(item);
  }

  /**
   * Returns the functions of one priority, in order.
   *
   * @param options - the priority
   * @returns all functions that wait with that priority
   */
  filter({ priority }: Readonly<Partial<KcontQueueAddOptions>>): KcontQueueRun[] {
    return Array.from(this.#items)
      .filter((item) => item.priority === priority)
      .toSorted((a, b) => (after(a, b) ? 1 : -1))
      .map(({ run }) => run);
  }

  /**
   * Changes the priority of a function, and moves it behind the functions of that priority. If the
   * priority is unchanged, it keeps its position, as in p-queue 10.
   *
   * @param id - the id of the function
   * @param priority - the new priority
   * @throws ReferenceError if no function with that id waits
   */
  setPriority(id: string, priority: number): void {
    const item = this.#find(id);
    if (item === undefined) {
      throw new ReferenceError(`No promise function with the id "${id}" exists in the queue.`);
    }
    if (item.priority === priority) return;
    this.#delete(item);
    item.priority = priority;
    this.#insert(item);
  }

  /**
   * Removes a function, if it waits here.
   *
   * @param idOrRun - its id, or the function
   */
  remove(idOrRun: string | KcontQueueRun): void {
    const item =
      typeof idOrRun === 'string'
        ? this.#find(idOrRun)
        : Array.from(this.#items).find(({ run }) => run === idOrRun);
    if (item === undefined) return;
    this.#delete(item);
    if (item.chain !== null) this.#lookAtChain(item.chain);
  }

  /**
   * Calls the callbacks of all functions that are about to be withdrawn.
   * @internal
   */
  _tell(reason: unknown): void {
    for (const { withdrawn } of this.#items) withdrawn?.(reason);
  }

  /**
   * Releases the lock of a chain, because the function that held it has settled.
   * @internal
   */
  _ended(chain: Chain): void {
    chain.running = false;
    chain.lock.exit();
    this.#lookAtChain(chain);
  }

  #chainOf(lock: BaseLock): Chain {
    let chain = this.#chains.get(lock);
    if (chain === undefined) this.#chains.set(lock, (chain = new Chain(lock)));
    return chain;
  }

  #insert(item: Item): void {
    stamp(item);
    this.#items.add(item);
    const { chain, id } = item;
    if (id !== undefined) {
      const known = this.#byId.get(id);
      if (known === undefined) this.#byId.set(id, item);
      else if (known instanceof Set) known.add(item);
      else this.#byId.set(id, new Set([known, item]));
    }
    if (chain === null) this.#makeReady(item);
    else {
      chain.count++;
      this.#place(item, chain);
    }
  }

  #makeReady(item: Item): void {
    this.#ready.add(item);
    this.#readyCount++;
  }

  #place(item: Item, chain: Chain): void {
    const { ready } = chain;
    if (chain.running || chain.waiting || (ready !== null && ready.priority >= item.priority)) {
      chain.aside.add(item);
      return;
    }
    if (ready !== null) this.#setAside(ready, chain);
    chain.ready = item;
    this.#makeReady(item);
  }

  #setAside(item: Item, chain: Chain): void {
    unlink(item);
    this.#readyCount--;
    chain.ready = null;
    chain.aside.add(item);
  }

  #delete(item: Item): void {
    unlink(item);
    this.#items.delete(item);
    const { chain, id } = item;
    const known = id === undefined ? undefined : this.#byId.get(id);
    if (known instanceof Set && known.size > 1) known.delete(item);
    else if (id !== undefined) this.#byId.delete(id);
    if (chain === null) this.#readyCount--;
    else {
      chain.count--;
      if (chain.ready !== item) return;
      chain.ready = null;
      this.#readyCount--;
    }
  }

  /** Finds the first item with an id. */
  #find(id: string): Item | undefined {
    const known = this.#byId.get(id);
    if (!(known instanceof Set)) return known;
    return Array.from(known).reduce((best, item) => {
      if (item.priority !== best.priority) return item.priority > best.priority ? item : best;
      return after(item, best) ? best : item;
    });
  }

  /** Finds the first item that can start, and sets aside the items before it. */
  #first(): Item | undefined {
    for (;;) {
      const item = this.#ready.first;
      const chain = item?.chain;
      if (item === undefined || chain === undefined || chain === null) return item;
      if (chain.granted || chain.lock._open) return item;
      this.#setAside(item, chain);
      this.#lookAtChain(chain);
    }
  }

  /** Starts a function whose lock is held. */
  #start(item: Item): Promise<unknown> {
    const home = this.#home as Home;
    home.starting = item;
    const running = item.run();
    // p-queue has not called the function, because its signal was aborted.
    if (home.starting === item) this._ended(item.chain as Chain);
    home.starting = null;
    return running;
  }

  #lookAtChain(chain: Chain): void {
    if (chain.running || chain.waiting || chain.ready !== null) return;
    // The queue was cleared: p-queue will not take items from it any more.
    if (this.#home?.queue !== this) return;
    if (chain.count === 0) {
      this.#chains.delete(chain.lock);
      return;
    }
    chain.waiting = true;
    void chain.lock.enter().then(() => this.#granted(chain));
  }

  #granted(chain: Chain): void {
    const home = this.#home as Home;
    chain.waiting = false;
    const item = chain.aside.first;
    if (item !== undefined && home.queue === this) {
      unlink(item);
      chain.ready = item;
      chain.granted = true;
      this.#makeReady(item);
      home.look();
      if (!chain.granted) return;
      // p-queue has no free slot at present.
      chain.granted = false;
    }
    chain.lock.exit();
    this.#lookAtChain(chain);
  }
}

defineInspect(KcontQueue, (queue) => `KcontQueue { ${queue._count} waiting }`);
