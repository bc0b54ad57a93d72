import { Mutex } from '../locks/mutex.ts';

/**
 * The items of one key inside the pipeline. A lock per stage keeps them in order.
 *
 * Invariant: in order of arrival, the urgent items of a key come before its ordinary ones, so items of
 * one key never overtake each other in an admission queue or a run queue. Restored in `enter`.
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

  /** Returns the lock of this key at a stage. */
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

  /** The name of the key function, for reports. */
  get name(): string {
    return this.#of.name === '' ? 'key' : this.#of.name;
  }

  /** Counts an item in. Returns its key, or null if it has none. */
  enter(value: unknown, urgent: boolean): Key | null {
    const by = this.#of(value) ?? null;
    if (by === null) return null;
    let key = this.#keys.get(by);
    if (key === undefined) this.#keys.set(by, (key = new Key(by, urgent)));
    key.urgent &&= urgent;
    key.count++;
    return key;
  }

  /** Counts an item of this key out. */
  leave(key: Key): void {
    if (--key.count === 0) this.#keys.delete(key.value);
  }
}
