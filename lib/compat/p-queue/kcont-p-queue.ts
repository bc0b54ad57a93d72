import PQueue, { type Options } from 'p-queue';
import { defineInspect } from '../../base/inspect.ts';
import { race } from '../../base/race.ts';
import { CLEARED, Home, KcontQueue, type Chain, type KcontQueueAddOptions } from './kcont-queue.ts';

/**
 * Options of {@link KcontPQueue}: those of a PQueue, except `queueClass`.
 *
 * @public
 */
export type KcontPQueueOptions = Omit<Options<KcontQueue, KcontQueueAddOptions>, 'queueClass'>;

/** The functions that p-queue takes. */
type Task<T> = Parameters<typeof PQueue.prototype.add<T>>[0];

type QueueEvent = 'empty' | 'idle' | 'next' | 'active';

/**
 * A PQueue on a {@link KcontQueue}, with locks that keep an order per key.
 *
 * @remarks
 * Functions that are added with the same lock run one at a time, the highest priority first, then in
 * the order in which they were added. A function that waits for its lock takes no slot and delays no
 * other. The lock is held until the function has settled, even if p-queue has timed it out.
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
   * Creates a queue.
   *
   * @param options - as for a PQueue, without `queueClass`
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
    // Setting the concurrency makes p-queue start the functions it can.
    home.look = () => {
      const { concurrency } = this;
      this.concurrency = concurrency;
    };
  }

  /**
   * Adds a function, as in a PQueue; the options may have a lock. Internal, so that its public type is
   * that of the installed version of p-queue, 9 or 10.
   * @internal
   */
  override add<T>(task: Task<T>, options?: Partial<KcontQueueAddOptions>): Promise<T> {
    const lock = options?.lock ?? null;
    if (lock === null) return super.add<T>(task, options);
    return super.add((given) => this.#withLock(() => task(given)), options);
  }

  /**
   * Describes its state for `util.inspect`.
   * @internal
   */
  get _fill(): string {
    const paused = this.isPaused ? ', paused' : '';
    return `{ ${this.size} waiting, ${this.pending} of ${this.concurrency} running${paused} }`;
  }

  /** Removes all functions that wait, including those that wait for a lock. */
  override clear(): void {
    this.#inner._tell(CLEARED);
    this.#home.clearing = true;
    try {
      super.clear();
    } finally {
      this.#home.clearing = false;
    }
  }

  /** Number of functions that wait, including those that wait for a lock. */
  override get size(): number {
    return this.#inner._count;
  }

  /** Resolves when no function waits. */
  override async onEmpty(): Promise<void> {
    if (this.size > 0) await this.#event('empty');
  }

  /** Resolves when no function waits or runs. */
  override async onIdle(): Promise<void> {
    if (this.size > 0 || this.pending > 0) await this.#event('idle');
  }

  /**
   * Resolves when fewer functions than a limit wait.
   *
   * @param limit - the limit
   */
  override async onSizeLessThan(limit: number): Promise<void> {
    while (this.size >= limit) {
      await race([this.#event('next'), this.#event('active')]);
    }
  }

  /**
   * Emits an event of p-queue 9, but not `empty` or `idle` while functions wait for a lock.
   * @internal
   */
  override emit(...args: Parameters<PQueue['emit']>): boolean {
    return !KcontPQueue.#hides(this, args[0]) && super.emit(...args);
  }

  /**
   * Emits an event of p-queue 10, in the same way.
   * @internal
   */
  dispatchEvent(event: Event): boolean {
    return (
      !KcontPQueue.#hides(this, event.type) && EventTarget.prototype.dispatchEvent.call(this, event)
    );
  }

  /** Tells whether to suppress an event. PQueue's constructor calls it before `#home` exists. */
  static #hides(queue: KcontPQueue, event: unknown): boolean {
    return (event === 'empty' || event === 'idle') && #home in queue && queue.size > 0;
  }

  /**
   * Adds a listener: p-queue 9 is an EventEmitter, p-queue 10 an EventTarget.
   * @internal
   */
  _on(event: QueueEvent, listener: () => void, once: boolean): void {
    const it = this as Partial<Pick<PQueue, 'on' | 'once'>> & Partial<EventTarget>;
    if (it.addEventListener !== undefined) it.addEventListener(event, listener, { once });
    else if (once) it.once?.(event, listener);
    else it.on?.(event, listener);
  }

  /**
   * Removes all functions that wait, and calls their `WITHDRAWN` callbacks.
   * @internal
   */
  _withdraw(reason: unknown): void {
    this.#inner._tell(reason);
    this.clear();
  }

  get #inner(): KcontQueue {
    return this.#home.queue as KcontQueue;
  }

  #event(name: QueueEvent): Promise<void> {
    return new Promise((resolve) => this._on(name, resolve, true));
  }

  /** Calls a function whose lock is held, and releases the lock when the function has settled. */
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

defineInspect(KcontPQueue, (queue) => `KcontPQueue ${queue._fill}`);
