import { Fifo, stamp, unlink } from '../../list.ts';
import type { Item } from './item.ts';

/**
 * The items that wait until a stage has a place for them: the urgent ones first, then first come.
 *
 * @internal
 */
export class Door {
  readonly #urgent: Fifo<Item> = new Fifo<Item>();
  readonly #others: Fifo<Item> = new Fifo<Item>();
  size = 0;

  add(item: Item): void {
    stamp(item);
    (item.urgent ? this.#urgent : this.#others).append(item);
    this.size++;
  }

  /** An item goes away without being let in. */
  remove(item: Item): void {
    unlink(item);
    this.size--;
  }

  shift(): Item | undefined {
    const item = this.#urgent.shift() ?? this.#others.shift();
    if (item !== undefined) this.size--;
    return item;
  }
}
