/** A record of calls, in order, that specs can wait for without waiting for time. */
export class Calls<T> {
  readonly all: T[] = [];
  #count = Infinity;
  #enough: (() => void) | undefined;

  readonly note = (it: T): void => {
    this.all.push(it);
    if (this.all.length >= this.#count) this.#enough?.();
  };

  /** Resolves to all calls when there are `count` of them; only one wait at a time. */
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
