/** What was called, in order; whoever waits for it waits for calls, not for time. */
export class Calls<T> {
  readonly all: T[] = [];
  #count = Infinity;
  #enough: (() => void) | undefined;

  readonly note = (it: T): void => {
    this.all.push(it);
    if (this.all.length >= this.#count) this.#enough?.();
  };

  /** All, once they are so many; one waits at a time. */
  async until(count: number): Promise<T[]> {
    this.#count = count;
    if (this.all.length < count) {
      await new Promise<void>((resolve) => {
        this.#enough = resolve;
      });
    }
    return this.all;
  }
}
