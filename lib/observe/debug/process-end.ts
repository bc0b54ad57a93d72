/**
 * Listens for the end of the process as long as somebody needs it.
 *
 * @internal
 */
export class ProcessEnd {
  readonly #onIdle: () => void;
  readonly #onExit: () => void;
  #users = 0;

  /**
   * Listens for nothing yet.
   *
   * @param onIdle - called when the event loop is empty, as `beforeExit` is
   * @param onExit - called when the process exits; must be synchronous
   */
  constructor(onIdle: () => void, onExit: () => void) {
    this.#onIdle = onIdle;
    this.#onExit = onExit;
  }

  /** Adds a user. */
  add(): void {
    if (this.#users === 0) process.on('beforeExit', this.#onIdle).on('exit', this.#onExit);
    this.#users++;
  }

  /** Removes one. */
  remove(): void {
    if (--this.#users > 0) return;
    process.off('beforeExit', this.#onIdle).off('exit', this.#onExit);
  }
}
