import PQueue, { type Options } from 'p-queue';
import { Home, KcontQueue, type Chain, type KcontQueueAddOptions } from './kcont-queue.ts';

/**
 * How a KcontPQueue is made: as a PQueue is, but for the queueClass, which is its own.
 *
 * @public
 */
export type KcontPQueueOptions = Omit<Options<KcontQueue, KcontQueueAddOptions>, 'queueClass'>;

/**
 * A function for a KcontPQueue.
 *
 * @public
 */
export type KcontPQueueTask<T> = (options: {
  readonly signal?: AbortSignal | undefined;
}) => T | PromiseLike<T>;

/**
 * A PQueue on a {@link KcontQueue}, with locks: order per key.
 *
 * @remarks
 * Functions that are added with the same lock run one at a time, the highest priority first, then in
 * the order they were added. One that waits for its lock takes no slot, and holds up no other. Its
 * lock is held until the function has ended, also if p-queue has given up on it.
 *
 * @example
 * ```ts
 * const queue = new KcontPQueue({ concurrency: 8 });
 * queue.add(() => deposit(account, 5), { lock: account.lock });
 * queue.add(() => withdraw(account, 3), { lock: account.lock }); // after the deposit
 * ```
 *
 * @public
 */
export class KcontPQueue extends PQueue<KcontQueue, KcontQueueAddOptions> {
  readonly #home: Home;

  /**
   * Makes a queue.
   *
   * @param options - as for a PQueue, without queueClass
   * @throws TypeError as PQueue does
   */
  constructor(options: KcontPQueueOptions = {}) {
    const home = new Home();
    const queueClass = class extends KcontQueue {
      constructor() {
        super(home);
      }
    };
    super({ ...options, queueClass });
    this.#home = home;
    // Setting it has p-queue start what it can.
    home.look = () => {
      const { concurrency } = this;
      this.concurrency = concurrency;
    };
  }

  /**
   * Adds a function.
   *
   * @param task - called with the signal
   * @param options - as for a PQueue, and a lock
   * @returns what the function returns; rejected with what it throws, and as PQueue does; with
   * KcontError EINVAL for a lock that is none of kcont's
   */
  override add<T>(task: KcontPQueueTask<T>, options?: Partial<KcontQueueAddOptions>): Promise<T> {
    const lock = options?.lock ?? null;
    if (lock === null) return super.add<T>(task as (given: object) => PromiseLike<T>, options);
    return super.add((given) => this.#withLock(() => task(given)), options);
  }

  /** How many functions wait, those for a lock included. */
  override get size(): number {
    return this.#inner._count;
  }

  /** Resolves when no function waits. */
  override async onEmpty(): Promise<void> {
    if (this.size > 0) await this.#event('empty');
  }

  /** Resolves when no function waits, and none runs. */
  override async onIdle(): Promise<void> {
    if (this.size > 0 || this.pending > 0) await this.#event('idle');
  }

  /**
   * Resolves when fewer functions wait than a limit.
   *
   * @param limit - the limit
   */
  override async onSizeLessThan(limit: number): Promise<void> {
    while (this.size >= limit) {
      await Promise.race([this.#event('next'), this.#event('active')]);
    }
  }

  /** As that of a PQueue; it is neither empty nor idle while functions wait for a lock. */
  override emit(...args: Parameters<PQueue['emit']>): boolean {
    const [event] = args;
    if ((event === 'empty' || event === 'idle') && #home in this && this.size > 0) return false;
    return super.emit(...args);
  }

  /**
   * Takes out the functions of all who want to hear of it, and tells them.
   * @internal
   */
  _withdraw(reason: unknown): void {
    this.#inner._withdraw(reason);
    // Who waits for it to be empty, too.
    this.#home.look();
  }

  get #inner(): KcontQueue {
    return this.#home.queue as KcontQueue;
  }

  #event(name: 'empty' | 'idle' | 'next' | 'active'): Promise<void> {
    return new Promise((resolve) => void this.once(name, () => resolve()));
  }

  /** Calls a function whose lock is held, and gives it back when that has ended. */
  async #withLock<T>(task: () => T | PromiseLike<T>): Promise<T> {
    const { queue, starting } = this.#home;
    this.#home.starting = null;
    try {
      return await task();
    } finally {
      queue?._ended(starting?.chain as Chain);
    }
  }
}
