/*
 * How many scheduled continuations keep the process alive, and whether the host knows.
 *
 * The host is told at once when there is a first one. When there is none any more it is told at the
 * end of the callback, by a microtask: one handle that is scheduled and stopped by turns would tell
 * it each time otherwise, 30 of 60 ns.
 */

import type { Waker } from '../time/clock.ts';

const endOfCallback: Promise<void> = Promise.resolve();

/** The references of one dispatcher. */
export class Refs {
  count = 0;
  readonly #waker: Waker;
  /** What the host was told last. */
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

  /** The host does not know that something keeps the process alive. */
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
