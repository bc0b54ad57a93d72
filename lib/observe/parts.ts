/**
 * The parts of an observation that have been started: they are stopped together, the last one first, and once.
 *
 * @internal
 */
export class Parts {
  #stops: (() => void)[] = [];

  /** @param stop - stops a part */
  add(stop: () => void): void {
    this.#stops.push(stop);
  }

  /** Stops all, also if one cannot be stopped. Throws what the first of these has thrown. */
  stop(): void {
    const stops = this.#stops.toReversed();
    this.#stops = [];
    const errors: unknown[] = [];
    for (const stop of stops) {
      try {
        stop();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}
