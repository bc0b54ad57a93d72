import { Mutex } from '../locks/mutex.ts';

/**
 * The items of one key that are inside, and what keeps them in order: a lock per stage.
 *
 * Invariant: among them, in the order of their coming, the urgent ones are first. So in no admission queue and
 * in no run queue does one overtake another. It is restored in `enter`.
 *
 * @internal
 */
export class Key {
  readonly value: unknown;
  urgent: boolean;
  count = 0;
  readonly #locks: (Mutex | undefined)[] = [];

  constructor(value: unknown, urgent: boolean) {
    this.value = value;
    this.urgent = urgent;
  }

  /** The lock of this key at a stage. */
  lockAt(stage: number): Mutex {
    return (this.#locks[stage] ??= new Mutex());
  }
}

/**
 * The keys of the items that have passed one `keyBy` and are still inside.
 *
 * @internal
 */
export class Keys {
  readonly #of: (value: unknown) => unknown;
  readonly #keys = new Map<unknown, Key>();

  constructor(of: (value: unknown) => unknown) {
    this.#of = of;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** What it orders by, as far as the function tells. */
  get name(): string {
    return this.#of.name === '' ? 'key' : this.#of.name;
  }

  /** An item comes: its key; null for one that has none. */
  enter(value: unknown, urgent: boolean): Key | null {
    const by = this.#of(value) ?? null;
    if (by === null) return null;
    let key = this.#keys.get(by);
    if (key === undefined) this.#keys.set(by, (key = new Key(by, urgent)));
    key.urgent &&= urgent;
    key.count++;
    return key;
  }

  /** An item of this key is gone. */
  leave(key: Key): void {
    if (--key.count === 0) this.#keys.delete(key.value);
  }
}
