/*
 * Counts the scheduled continuations that keep the process alive, and tells the host.
 *
 * The host is told immediately when the count becomes 1. When it becomes 0, the host is told at the end
 * of the callback, by a microtask: otherwise a handle that is scheduled and stopped alternately would
 * tell it each time, which costs 30 of 60 ns.
 */

import type { Waker } from '../time/clock.ts';

const endOfCallback: Promise<void> = Promise.resolve();

/** The references of one dispatcher. */
export class Refs {
  count = 0;
  readonly #waker: Waker;
  /** What the host was last told. */
  #told = false;
  #asked = false;
  readonly #tellLater: () => void;

  constructor(waker: Waker) {
    this.#waker = waker;
    this.#tellLater = () => {
      this.#asked = false;
      this.tell();
    };
  }

  /** Whether the host has to be told that the process must stay alive. */
  get isNews(): boolean {
    return this.count > 0 && !this.#told;
  }

  /** Tells the host. */
  tell(): void {
    const keepsAlive = this.count > 0;
    if (keepsAlive === this.#told) return;
    this.#told = keepsAlive;
    this.#waker.keepAlive(keepsAlive);
  }

  /** Tells the host when the callback is over, if there is something to tell. */
  tellLater(): void {
    if (!this.#told || this.#asked) return;
    this.#asked = true;
    void endOfCallback.then(this.#tellLater);
  }
}
