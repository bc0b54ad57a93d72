/** What a heap holds. */
export interface HeapItem {
  /** Its index in the heap that it is in; written by the heap. */
  heapIndex: number;
}

/**
 * A binary heap: `peek` and `pop` return the first item in an order. An item can be removed from wherever it is, and is
 * in one heap at a time.
 *
 * @internal
 */
export class Heap<T extends HeapItem> {
  readonly #items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length;
  }

  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const at = this.#items.length;
    this.#items.push(item);
    this.#moveUp(item, at);
  }

  pop(): T | undefined {
    const first = this.peek();
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** Removes an item of this heap. */
  remove(item: T): void {
    const items = this.#items;
    const last = items.pop() as T;
    if (last === item) return;
    // The last one takes its place, and goes from there to its own.
    const at = item.heapIndex;
    const above = items[(at - 1) >> 1];
    if (above !== undefined && this.#isBefore(last, above)) this.#moveUp(last, at);
    else this.#moveDown(last, at);
  }

  #moveUp(item: T, from: number): void {
    const items = this.#items;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!this.#isBefore(item, items[above] as T)) break;
      this.#put(items[above] as T, at);
      at = above;
    }
    this.#put(item, at);
  }

  #moveDown(item: T, from: number): void {
    const items = this.#items;
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      const other = below + 1;
      if (other < items.length && this.#isBefore(items[other] as T, items[below] as T))
        below = other;
      if (!this.#isBefore(items[below] as T, item)) break;
      this.#put(items[below] as T, at);
      at = below;
    }
    this.#put(item, at);
  }

  #put(item: T, at: number): void {
    this.#items[at] = item;
    item.heapIndex = at;
  }
}
