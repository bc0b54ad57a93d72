import { List, unlink } from '../base/list.ts';
import type { Item } from './item.ts';

/**
 * Holds the items that wait for a slot of a stage, and chooses which is next.
 *
 * @internal
 */
export interface Admission {
  /** The number of items that wait. */
  readonly size: number;
  add(item: Item): void;
  /** Removes an item that leaves without being admitted. */
  remove(item: Item): void;
  /** Tells whether an item would have to wait behind others. */
  mustWait(item: Item): boolean;
  /** Takes the next item for which there is a slot: one for urgent items, one for others. */
  shift(urgentToo: boolean, othersToo: boolean): Item | undefined;
}

/**
 * Holds the items that wait for a slot of a stage: urgent items first, then first come, first served.
 *
 * @internal
 */
export class AdmissionQueue implements Admission {
  readonly #urgent: List<Item> = new List<Item>();
  readonly #others: List<Item> = new List<Item>();
  size = 0;

  add(item: Item): void {
    (item.urgent ? this.#urgent : this.#others).push(item);
    this.size++;
  }

  /** Removes an item that leaves without being admitted. */
  remove(item: Item): void {
    unlink(item);
    this.size--;
  }

  /** Tells whether an item would have to wait behind others. */
  mustWait(item: Item): boolean {
    return !this.#urgent.empty || (!item.urgent && !this.#others.empty);
  }

  /**
   * Takes the next item for which there is a slot. While an urgent item waits, no ordinary item is
   * admitted.
   */
  shift(urgentToo: boolean, othersToo: boolean): Item | undefined {
    if (this.#urgent.empty) return othersToo ? this.#take(this.#others) : undefined;
    return urgentToo ? this.#take(this.#urgent) : undefined;
  }

  #take(from: List<Item>): Item | undefined {
    const item = from.shift();
    if (item !== undefined) this.size--;
    return item;
  }
}
