import { unlink } from '../base/list.ts';
import { OrderedList, stamp } from '../base/ordered-list.ts';
import type { Item } from './item.ts';

/**
 * The items that wait until a stage has a place for them: the urgent ones first, then first come.
 *
 * @internal
 */
export class AdmissionQueue {
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

  /** Whether an item would have to wait behind others. */
  mustWait(item: Item): boolean {
    return !this.#urgent.empty || (!item.urgent && !this.#others.empty);
  }

  /** The next one, of those for whom there is a place. While an urgent one waits, no other goes. */
  shift(urgentToo: boolean, othersToo: boolean): Item | undefined {
    if (this.#urgent.empty) return othersToo ? this.#take(this.#others) : undefined;
    return urgentToo ? this.#take(this.#urgent) : undefined;
  }

  #take(from: OrderedList<Item>): Item | undefined {
    const item = from.shift();
    if (item !== undefined) this.size--;
    return item;
  }
}
