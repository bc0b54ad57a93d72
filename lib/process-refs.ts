import type { Waker } from './clock/clock.ts';

const endOfCallback: Promise<void> = Promise.resolve();

/** Keeps the process alive while something scheduled is to. */
export class ProcessRefs {
  /** Scheduled continuations that keep the process alive. */
  count = 0;
  readonly #waker: Waker;
  /** What the host was told last. */
  #told = false;
  #willTell = false;
  readonly #tellLater: () => void;

  constructor(waker: Waker) {
    this.#waker = waker;
    this.#tellLater = () => {
      this.#willTell = false;
      this.tell();
    };
  }

  /** One more. Returns whether a pass has to be asked for: it is the first. */
  add(passing: boolean): boolean {
    if (this.count++ > 0 || this.#told || passing) return false;
    this.tell();
    return true;
  }

  /**
   * One less. The host is told when the callback is over, for one handle that is scheduled and
   * stopped by turns would tell it at each (30 of 60 ns). A pass tells it at its end.
   */
  drop(passing: boolean): void {
    if (--this.count > 0 || !this.#told || passing || this.#willTell) return;
    this.#willTell = true;
    void endOfCallback.then(this.#tellLater);
  }

  /** Tells the host whether what is scheduled keeps the process alive. */
  tell(): void {
    const keepsAlive = this.count > 0;
    if (keepsAlive === this.#told) return;
    this.#told = keepsAlive;
    this.#waker.keepAlive(keepsAlive);
  }
}
