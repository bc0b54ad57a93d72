import { check } from '../base/options-check.ts';
import { SHARES } from '../base/stride.ts';
import type { BaseLock } from '../locks/lock.ts';
import { Mutex } from '../locks/mutex.ts';

/**
 * Options of {@link PipelinePlan.keyBy}.
 *
 * @typeParam K - the type of the keys
 *
 * @public
 */
export interface KeyByOptions<K> {
  /**
   * Whether keys take turns at the stages that follow, until the next `keyBy`, so that many items of one key do not
   * hold up those of the others. Default false: the items of a stage are taken in the order in which they came.
   */
  fair?: boolean;
  /**
   * Returns how many turns a key gets in proportion to the others: an integer, 1 … 1000. Called when the first item
   * of a key enters; what it throws fails that item. Only with `fair`. Default: all get the same.
   */
  shares?: (key: K) => number;
}

/**
 * What `keyBy` was called with.
 *
 * @internal
 */
export interface KeyBy {
  // oxlint-disable-next-line typescript/no-explicit-any -- the type is the one that the previous step returns
  readonly of: (value: any) => unknown;
  readonly fair: boolean;
  readonly sharesOf: ((key: unknown) => number) | undefined;
}

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
  readonly shares: number;
  urgent: boolean;
  count = 0;
  readonly #locks: (Mutex | undefined)[] = [];

  constructor(value: unknown, urgent: boolean, shares: number) {
    this.value = value;
    this.shares = shares;
    this.urgent = urgent;
  }

  /** Returns the lock of this key at a stage. */
  lockAt(stage: number): Mutex {
    return (this.#locks[stage] ??= new Mutex());
  }

  /** Whether a lock is that of this key at a stage. */
  owns(lock: BaseLock | null, stage: number): boolean {
    return lock !== null && this.#locks[stage] === lock;
  }
}

/**
 * The keys of the items that have passed one `keyBy` and are still inside.
 *
 * @internal
 */
export class Keys {
  readonly #of: KeyBy['of'];
  readonly #sharesOf: KeyBy['sharesOf'];
  readonly #keys = new Map<unknown, Key>();

  constructor({ of, sharesOf }: KeyBy) {
    this.#of = of;
    this.#sharesOf = sharesOf;
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
    const key = this.#keys.get(by) ?? this.#add(by, urgent);
    key.urgent &&= urgent;
    key.count++;
    return key;
  }

  #add(by: unknown, urgent: boolean): Key {
    const shares = this.#sharesOf === undefined ? 1 : this.#sharesOf(by);
    check('what shares returns', SHARES, shares);
    // The user's function may have added an item of this key.
    let key = this.#keys.get(by);
    if (key === undefined) this.#keys.set(by, (key = new Key(by, urgent, shares)));
    return key;
  }

  /** Counts an item of this key out. */
  leave(key: Key): void {
    if (--key.count === 0) this.#keys.delete(key.value);
  }
}
