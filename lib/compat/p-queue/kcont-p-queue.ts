import PQueue, { type Options } from 'p-queue';
import { defineInspect } from '../../base/inspect.ts';
import { race } from '../../base/race.ts';
import { CLEARED, Home, KcontQueue, type Chain, type KcontQueueAddOptions } from './kcont-queue.ts';

/**
 * How a KcontPQueue is made: as a PQueue is, but for the queueClass, which is its own.
 *
 * @public
 */
export type KcontPQueueOptions = Omit<Options<KcontQueue, KcontQueueAddOptions>, 'queueClass'>;

/** As p-queue has them. */
type Task<T> = Parameters<typeof PQueue.prototype.add<T>>[0];

type QueueEvent = 'empty' | 'idle' | 'next' | 'active';

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
   * As that of a PQueue, whose type it has, which differs from 9 to 10: options may have a lock.
   * @internal
   */
  override add<T>(task: Task<T>, options?: Partial<KcontQueueAddOptions>): Promise<T> {
    const lock = options?.lock ?? null;
    if (lock === null) return super.add<T>(task, options);
    return super.add((given) => this.#withLock(() => task(given)), options);
  }

  /**
   * How full it is, for `util.inspect`.
   * @internal
   */
  get _fill(): string {
    const paused = this.isPaused ? ', paused' : '';
    return `{ ${this.size} waiting, ${this.pending} of ${this.concurrency} running${paused} }`;
  }

  /** Takes out all functions that wait, those for a lock included. */
  override clear(): void {
    this.#inner._tell(CLEARED);
    this.#home.clearing = true;
    try {
      super.clear();
    } finally {
      this.#home.clearing = false;
    }
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
      await race([this.#event('next'), this.#event('active')]);
    }
  }

  /**
   * As that of p-queue 9; it is neither empty nor idle while functions wait for a lock.
   * @internal
   */
  override emit(...args: Parameters<PQueue['emit']>): boolean {
    return !KcontPQueue.#hides(this, args[0]) && super.emit(...args);
  }

  /**
   * The same, of p-queue 10.
   * @internal
   */
  dispatchEvent(event: Event): boolean {
    return (
      !KcontPQueue.#hides(this, event.type) && EventTarget.prototype.dispatchEvent.call(this, event)
    );
  }

  /** Called by the constructor of PQueue too, when there is no home yet. */
  static #hides(queue: KcontPQueue, event: unknown): boolean {
    return (event === 'empty' || event === 'idle') && #home in queue && queue.size > 0;
  }

  /**
   * Listens to an event: p-queue 9 is an EventEmitter, p-queue 10 an EventTarget.
   * @internal
   */
  _on(event: QueueEvent, listener: () => void, once: boolean): void {
    const it = this as Partial<Pick<PQueue, 'on' | 'once'>> & Partial<EventTarget>;
    if (it.addEventListener !== undefined) it.addEventListener(event, listener, { once });
    else if (once) it.once?.(event, listener);
    else it.on?.(event, listener);
  }

  /**
   * Takes out all functions that wait, and tells those who want to hear of it.
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

defineInspect(KcontPQueue, (queue) => `KcontPQueue ${queue._fill}`);
