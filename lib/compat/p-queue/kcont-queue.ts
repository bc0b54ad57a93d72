/*
 * A queueClass for p-queue, by levels and by locks.
 *
 *   enqueue --> ready, by level and order --> dequeue
 *                 ^  |
 *      its lock   |  | its lock is held: aside, with all others that want it
 *      is granted |  v
 *               chain of that lock
 *
 * All items with the same lock make a chain, of which one at most stands among the ready ones. While
 * the lock is held, none does: the queue's `size` then does not count them, so p-queue asks for no
 * item that could not begin, and no slot is taken by one that waits. When the lock is granted, p-queue
 * is asked to look again; if it has no room, the lock is given back meanwhile.
 *
 * A queueClass alone cannot ask its PQueue to look, and cannot know when a function has ended. So locks
 * need a KcontPQueue, which tells its queues where they are at home.
 *
 * Invariant: if a chain has items, one of them is ready, or the lock is held by one that runs, or the
 * chain waits for the lock. It is restored in `place`, `#lookAtChain` and `ended`.
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
 * What p-queue puts into its queue.
 *
 * @public
 */
export type KcontQueueRun = () => Promise<unknown>;

/**
 * How a function is added to a PQueue with a {@link KcontQueue}.
 *
 * @public
 */
export interface KcontQueueAddOptions extends QueueAddOptions {
  /**
   * Held while the function runs: functions with the same lock run one at a time, in order. Only in
   * a {@link KcontPQueue}. Default null: none.
   */
  readonly lock?: Lock | null;
}

/** By which somebody who has added a function hears that it has been withdrawn. */
export const WITHDRAWN: unique symbol = Symbol('withdrawn');

/** Why, if `clear` has done it: what `add` has returned is then p-queue's, whose 9 never settles it. */
export const CLEARED: unique symbol = Symbol('cleared');

/** The options of those who want to hear. */
export interface Withdrawable extends KcontQueueAddOptions {
  readonly [WITHDRAWN]?: (reason: unknown) => void;
}

/** What a KcontPQueue and its queues share. */
export class Home {
  /** The queue at present: `clear` makes a new one. */
  queue: KcontQueue | undefined = undefined;
  /** The item whose function is about to be called. */
  starting: Item | null = null;
  /** p-queue is about to clear it, and 10 does so only if it has something to clear. */
  clearing = false;
  /** Has p-queue look whether it can start something. */
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

/** All items of a queue that want the same lock. */
export class Chain {
  readonly lock: BaseLock;
  readonly aside: RankList<Item> = new RankList<Item>();
  /** How many items, ready or aside. */
  count = 0;
  /** The one that is ready. */
  ready: Item | null = null;
  /** The lock is held for the one that is ready. */
  granted = false;
  /** The lock is held by one that runs. */
  running = false;
  /** The lock has been asked for. */
  waiting = false;

  constructor(lock: BaseLock) {
    this.lock = lock;
  }
}

/**
 * A queue for p-queue: `new PQueue({ queueClass: KcontQueue })`.
 *
 * @remarks
 * Highest priority first, then first come, as p-queue's own. Adding, taking, removing by id and
 * changing the priority cost the same however many wait, for whole priorities from −112 to 111.
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
   * Makes a queue, as p-queue does.
   *
   * @throws KcontError EINVAL for options: there are none
   */
  constructor();
  /** @internal */
  constructor(home: Home);
  constructor(home?: Home) {
    if (!isA(home, Home)) refuseOptions(home, 'KcontQueue', new.target);
    this.#home = home;
    if (home !== undefined) home.queue = this;
  }

  /** How many functions wait and could begin now, as far as locks go. */
  get size(): number {
    if (this.#home?.clearing === true) return this.#items.size;
    this.#first();
    return this.#readyCount;
  }

  /**
   * How many functions wait.
   * @internal
   */
  get _count(): number {
    return this.#items.size;
  }

  /**
   * Adds a function.
   *
   * @param run - what p-queue wants to run
   * @param options - priority, id, lock
   * @throws KcontError EINVAL for a lock that is none of kcont's, ENOTSUP for a lock in a PQueue that
   * is no {@link KcontPQueue}
   */
  enqueue(run: KcontQueueRun, options: Partial<KcontQueueAddOptions> = {}): void {
    const { priority = 0, id, lock = null } = options;
    checkLock(lock);
    if (lock !== null && this.#home === undefined) {
      throw new KcontError('ENOTSUP', 'locks need a KcontPQueue in place of a PQueue');
    }
    const chain = lock === null ? null : this.#chainOf(lock);
    const withdrawn = (options as Partial<Withdrawable>)[WITHDRAWN];
    this.#insert(new Item(run, priority, id, chain, withdrawn));
  }

  /**
   * Takes the next function out.
   *
   * @returns a function; undefined: none could begin
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
   * The functions of one priority, in order.
   *
   * @param options - the priority
   * @returns all that wait with it
   */
  filter({ priority }: Readonly<Partial<KcontQueueAddOptions>>): KcontQueueRun[] {
    return Array.from(this.#items)
      .filter((item) => item.priority === priority)
      .toSorted((a, b) => (after(a, b) ? 1 : -1))
      .map(({ run }) => run);
  }

  /**
   * Changes the priority of a function; it goes behind those that have the new one already. One that
   * has it itself keeps its place, as in p-queue 10.
   *
   * @param id - its id
   * @param priority - the new one
   * @throws ReferenceError if none with that id waits
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
   * Takes a function out, if it is there.
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
   * Tells all who want to hear of it that their functions are going to be withdrawn.
   * @internal
   */
  _tell(reason: unknown): void {
    for (const { withdrawn } of this.#items) withdrawn?.(reason);
  }

  /**
   * A function that held the lock of its chain has ended.
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

  /** The first in order among those with that id. */
  #find(id: string): Item | undefined {
    const known = this.#byId.get(id);
    if (!(known instanceof Set)) return known;
    return Array.from(known).reduce((best, item) => {
      if (item.priority !== best.priority) return item.priority > best.priority ? item : best;
      return after(item, best) ? best : item;
    });
  }

  /** The first item that can begin; those before it are set aside. */
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

  /** Begins a function that wants a lock, which is held. */
  #start(item: Item): Promise<unknown> {
    const home = this.#home as Home;
    home.starting = item;
    const running = item.run();
    // p-queue has not called the function: its signal was aborted.
    if (home.starting === item) this._ended(item.chain as Chain);
    home.starting = null;
    return running;
  }

  #lookAtChain(chain: Chain): void {
    if (chain.running || chain.waiting || chain.ready !== null) return;
    // Cleared: nobody will ask for what is here.
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
      // There is no room at present.
      chain.granted = false;
    }
    chain.lock.exit();
    this.#lookAtChain(chain);
  }
}

defineInspect(KcontQueue, (queue) => `KcontQueue { ${queue._count} waiting }`);
