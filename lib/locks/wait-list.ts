import { join, leave, type AbortMember } from '../base/abort-listeners.ts';

/** Code that waits in a list. */
class ListWaiter implements AbortMember {
  readonly signal: AbortSignal | undefined;
  readonly served: () => void;
  readonly #aborted: (reason: unknown) => void;
  readonly #waiters: Set<ListWaiter>;

  constructor(
    waiters: Set<ListWaiter>,
    signal: AbortSignal | undefined,
    served: () => void,
    aborted: (reason: unknown) => void,
  ) {
    this.#waiters = waiters;
    this.signal = signal;
    this.served = served;
    this.#aborted = aborted;
  }

  _abort(reason: unknown): void {
    this.#waiters.delete(this);
    this.#aborted(reason);
  }
}

/** Code that waits until it is served, first come, first served, or until its signal is aborted. */
export class WaitList {
  readonly #waiters = new Set<ListWaiter>();

  get size(): number {
    return this.#waiters.size;
  }

  /**
   * Adds a waiter, whose signal must not be aborted. One of the functions will be called, once; neither may call user
   * code.
   */
  add(
    signal: AbortSignal | undefined,
    served: () => void,
    aborted: (reason: unknown) => void,
  ): void {
    const waiter = new ListWaiter(this.#waiters, signal, served, aborted);
    this.#waiters.add(waiter);
    if (signal !== undefined) join(signal, waiter);
  }

  /** Serves the one that has waited longest. False: nobody waits. */
  serve(): boolean {
    for (const waiter of this.#waiters) {
      const { signal } = waiter;
      // It will be told of the abort by its signal; what is served here is for the next one.
      if (signal?.aborted === true) continue;
      this.#waiters.delete(waiter);
      if (signal !== undefined) leave(signal, waiter);
      waiter.served();
      return true;
    }
    return false;
  }
}
