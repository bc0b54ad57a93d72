import { nameOf, readName, type LockOptions } from '../../locks/lock-names.ts';
import { defineSidesInspect, nameSides } from '../../locks/rw-lock.ts';
import type { Waiter } from '../../locks/turnstile.ts';
import { RM, RW, type Kind } from './arena.ts';
import type { ThreadGate } from './thread-gate.ts';
import { SharedLock, gateIn, newGate } from './shared-lock.ts';

/** The side that many readers may hold together. */
class ReadSide extends SharedLock {
  override get held(): boolean {
    return this._gate.read;
  }

  override get _open(): boolean {
    return this._gate.readable;
  }

  override _take(): boolean {
    return this._gate.tryRead();
  }

  override _takeFor(waiter: Waiter): boolean {
    const gate = this._gate;
    if (gate.bestOutranks(waiter) || !gate.tryReadFor(waiter)) return false;
    gate.hasTaken(waiter);
    return true;
  }

  override _hold(): void {
    this._gate.addReader();
  }

  override _drop(): void {
    this._gate.endRead();
  }

  override _release(): boolean {
    const gate = this._gate;
    if (gate.readers === 0) return false;
    gate.endRead();
    return true;
  }
}

/** The side that excludes everybody else. */
class WriteSide extends SharedLock {}

/**
 * The base class of locks between CPUs with a read side and a write side.
 *
 * @remarks
 * It cannot be constructed directly: use {@link SharedRWLock} or {@link SharedRMLock}.
 *
 * @public
 */
export abstract class SharedSides {
  /** The side that many may hold together, on all CPUs. */
  readonly read: SharedLock;
  /** The side that excludes everybody else. */
  readonly write: SharedLock;
  /** @internal */
  readonly _gate: ThreadGate;

  /** @internal */
  constructor(given: ThreadGate | LockOptions | undefined, kind: Kind) {
    const known = gateIn(given);
    const name =
      known === undefined ? readName(given as LockOptions | undefined, new.target) : undefined;
    const gate = known ?? newGate(kind);
    this._gate = gate;
    this.read = new ReadSide(gate);
    this.write = new WriteSide(gate);
    gate.reader = this.read;
    gate.lock = this;
    nameSides(this, name);
  }

  /** Its name on this thread; empty if it was given none. */
  get name(): string {
    return nameOf(this);
  }
}

defineSidesInspect(SharedSides);

/**
 * A lock between CPUs with a side for many readers and a side for one writer.
 *
 * @remarks
 * It does for threads what an {@link RWLock} does for one thread. Within a CPU a reader does not pass a
 * writer that waits with the same or a higher priority. Between CPUs no new reader comes in once a writer
 * has claimed the lock, and waiting readers come in between any two writers. It takes 320 bytes, and
 * readers on all CPUs write the same cache lines.
 *
 * @public
 */
export class SharedRWLock extends SharedSides {
  /**
   * Makes a free lock. It takes shared memory when it is first sent to another thread.
   *
   * @param options - optional settings: a name, which is not sent to other threads. The sides are then
   * called `name.read` and `name.write`
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions);
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(given?: ThreadGate | LockOptions) {
    super(given, RW);
  }
}

/**
 * A read-mostly lock between CPUs: a {@link SharedRWLock} for data that is rarely written.
 *
 * @remarks
 * It grants its sides in the same order as a SharedRWLock. Readers on different CPUs write different
 * cache lines, so they do not slow each other down. It takes 2.3 kB, and a writer has to read the word of
 * every CPU.
 *
 * @public
 */
export class SharedRMLock extends SharedSides {
  /**
   * Makes a free lock. It takes shared memory when it is first sent to another thread.
   *
   * @param options - optional settings: a name, which is not sent to other threads. The sides are then
   * called `name.read` and `name.write`
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions);
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(given?: ThreadGate | LockOptions) {
    super(given, RM);
  }
}
