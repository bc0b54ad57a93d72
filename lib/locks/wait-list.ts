import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { List, unlink, type Links } from '../base/list.ts';

/** Code that waits in a list. */
class ListWaiter implements AbortMember, Links {
  _next: Links = this;
  _prev: Links = this;
  readonly signal: AbortSignal | undefined;
  readonly served: () => void;
  readonly #aborted: (reason: unknown) => void;
  readonly #list: WaitList;

  constructor(
    list: WaitList,
    signal: AbortSignal | undefined,
    served: () => void,
    aborted: (reason: unknown) => void,
  ) {
    this.#list = list;
    this.signal = signal;
    this.served = served;
    this.#aborted = aborted;
  }

  _abort(reason: unknown): void {
    this.#list._remove(this);
    this.#aborted(reason);
  }
}

/**
 * Code that waits until it is served, first come, first served, or until its signal is aborted. A linked list, because a
 * Set that is emptied from its front passes over all that have been deleted, each time.
 */
export class WaitList {
  readonly #waiters = new List<ListWaiter>();
  #size = 0;

  get size(): number {
    return this.#size;
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
    const waiter = new ListWaiter(this, signal, served, aborted);
    this.#waiters.push(waiter);
    this.#size++;
    if (signal !== undefined) join(signal, waiter);
  }

  /** Serves the one that has waited longest. False: nobody waits. */
  serve(): boolean {
    for (let at = this.#waiters._next; at !== this.#waiters; at = at._next) {
      const waiter = at as ListWaiter;
      const { signal } = waiter;
      // It will be told of the abort by its signal; what is served here is for the next one.
      if (signal?.aborted === true) continue;
      this._remove(waiter);
      if (signal !== undefined) leave(signal, waiter);
      waiter.served();
      return true;
    }
    return false;
  }

  /** Serves all that wait. */
  serveAll(): void {
    while (this.serve());
  }

  /** Waits until it is served. Rejected with the reason of the signal when that is aborted, or if it is already. */
  wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.add(signal, resolve, reject);
    });
  }

  /** Removes one that waits. */
  _remove(waiter: ListWaiter): void {
    unlink(waiter);
    this.#size--;
  }
}
