/*
 * A lock with two sides. The read side can have many holders, the write side one. Both sides queue at
 * one turnstile, so that neither starves: a reader does not pass a waiting writer of the same or a
 * higher priority, and when a reader is granted the lock, the readers behind it are granted it too.
 */

import { defineInspect } from '../base/inspect.ts';
import { BaseLock, waitersOf } from './lock.ts';
import { nameLock, nameOf, readName, titled, type LockOptions } from './lock-names.ts';
import { ShareableLock } from './shareable-lock.ts';
import type { Turnstile } from './turnstile.ts';

/** The state that both sides share. */
class Sides {
  readers = 0;
  writing = false;
  turnstile: Turnstile | null = null;
}

class ReadSide extends ShareableLock {
  readonly #sides: Sides;

  constructor(sides: Sides) {
    super();
    this.#sides = sides;
  }

  override get held(): boolean {
    return this.#sides.readers > 0;
  }

  override get _whole(): object {
    return this.#sides;
  }

  override get _turnstile(): Turnstile | null {
    return this.#sides.turnstile;
  }

  override set _turnstile(turnstile: Turnstile) {
    this.#sides.turnstile = turnstile;
  }

  override get _open(): boolean {
    return !this.#sides.writing;
  }

  override _hold(): void {
    this.#sides.readers++;
  }

  override _drop(): void {
    this.#sides.readers--;
  }
}

class WriteSide extends BaseLock {
  readonly #sides: Sides;

  constructor(sides: Sides) {
    super();
    this.#sides = sides;
  }

  override get held(): boolean {
    return this.#sides.writing;
  }

  override get _whole(): object {
    return this.#sides;
  }

  override get _turnstile(): Turnstile | null {
    return this.#sides.turnstile;
  }

  override set _turnstile(turnstile: Turnstile) {
    this.#sides.turnstile = turnstile;
  }

  override get _open(): boolean {
    return !this.#sides.writing && this.#sides.readers === 0;
  }

  override _hold(): void {
    this.#sides.writing = true;
  }

  override _drop(): void {
    this.#sides.writing = false;
  }
}

/**
 * A lock with a side for many readers and a side for one writer.
 *
 * @remarks
 * Each side is a {@link Lock} that can be passed to continuations or entered. Readers share the lock; a
 * writer excludes readers and other writers. A reader does not pass a waiting writer of the same or a
 * higher priority.
 *
 * @example
 * ```ts
 * const routes = new RWLock();
 * const reload = new Kcont(wq.primedlow, routes.write, loadRoutes, table);
 * const lookup = new Kcont(wq.softnet, routes.read, forward, packet);
 * ```
 *
 * @public
 */
export class RWLock {
  /** The read side, which can have many holders at a time. */
  readonly read: BaseLock;
  /** The write side, which excludes all other holders. */
  readonly write: BaseLock;

  /**
   * Creates a free lock.
   *
   * @param options - optional settings: a name. The sides are then called `name.read` and `name.write`
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions) {
    const name = readName(options, new.target);
    const sides = new Sides();
    this.read = new ReadSide(sides);
    this.write = new WriteSide(sides);
    nameSides(this, name);
  }

  /** Its name; empty if it was given none. */
  get name(): string {
    return nameOf(this);
  }
}

/**
 * Names a lock with two sides, and its sides.
 *
 * @internal
 */
export function nameSides(
  lock: { readonly read: BaseLock; readonly write: BaseLock },
  name: string | undefined,
): void {
  if (name === undefined) return;
  nameLock(lock, name);
  nameLock(lock.read, `${name}.read`);
  nameLock(lock.write, `${name}.write`);
}

/**
 * Defines how `util.inspect` shows locks with two sides.
 *
 * @internal
 */
export function defineSidesInspect(made: {
  readonly prototype: { readonly read: BaseLock; readonly write: BaseLock };
}): void {
  defineInspect(
    made,
    (lock, name) => {
      const { read, write } = lock;
      const held = write.held ? 'held by a writer' : read.held ? 'held by readers' : 'free';
      return `${titled(name, lock)} { ${held}, ${waitersOf(read)} waiting }`;
    },
    (lock) => ({
      name: nameOf(lock),
      read: lock.read.held,
      write: lock.write.held,
      waiting: waitersOf(lock.read),
    }),
  );
}

defineSidesInspect(RWLock);
