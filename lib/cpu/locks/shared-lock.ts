import { isA } from '../../base/errors.ts';
import { PRI_PRIHIGH } from '../../base/priorities.ts';
import { BaseLock } from '../../locks/lock.ts';
import type { LockOptions } from '../../locks/lock-names.ts';
import { NONE, type Turnstile, type Waiter } from '../../locks/turnstile.ts';
import { Arena, type Kind } from './arena.ts';
import { ThreadGate } from './thread-gate.ts';

/**
 * The base class of locks between CPUs.
 *
 * @remarks
 * Each thread has its own object for a lock, over the same words in shared memory. It can be used like a
 * lock of one thread, but excludes other threads too. A lock is held by a CPU, and can only be released
 * there. Continuations and awaiting code on one CPU wait by priority, then first come, first served.
 * CPUs take turns, at the latest after sixteen hand-overs within one CPU. When a CPU dies, the locks that
 * it held are freed or passed on.
 *
 * It cannot be constructed directly: use {@link SharedMutex}, {@link SharedSpinLock},
 * {@link SharedRWLock} or {@link SharedRMLock}.
 *
 * @public
 */
export abstract class SharedLock extends BaseLock {
  /** @internal */
  readonly _gate: ThreadGate;

  /** @internal */
  constructor(gate: ThreadGate, options?: LockOptions) {
    super(options);
    this._gate = gate;
  }

  /** @internal */
  override get _turnstile(): Turnstile | null {
    return this._gate.turnstile;
  }

  /** @internal */
  override set _turnstile(turnstile: Turnstile) {
    this._gate.turnstile = turnstile;
  }

  // Overridden by the read side.

  /** Whether the lock is held, on any CPU. */
  override get held(): boolean {
    return this._gate.written;
  }

  /** @internal */
  override get _open(): boolean {
    return this._gate.writable;
  }

  /**
   * Takes this side of the lock if it is free.
   * @internal
   */
  _take(): boolean {
    return this._gate.tryWrite();
  }

  /** @internal */
  override _hold(): void {
    this._gate.write();
  }

  /** @internal */
  override _drop(): void {
    this._gate.endWrite();
  }

  /** @internal */
  override _release(): boolean {
    if (!this._gate.writing) return false;
    this._drop();
    return true;
  }

  /**
   * Takes the lock if it is free.
   *
   * @returns true if this CPU holds the lock now; false if it is held already, on this or another CPU
   */
  override tryEnter(): boolean {
    return this.#takeAhead(PRI_PRIHIGH);
  }

  #takeAhead(priority: number): boolean {
    if (!this._take()) return false;
    this._tookAhead(priority);
    return true;
  }

  /**
   * Records that code has taken the lock without waiting, perhaps ahead of waiters.
   * @internal
   */
  _tookAhead(priority: number): void {
    this._gate.turnstile?.hasTaken(null, priority);
  }

  /** @internal */
  override _tryFor(priority: number): boolean {
    return !this._gate.mustQueue(priority) && this.#takeAhead(priority);
  }

  /**
   * Lets awaiting code in.
   * @internal
   */
  override _grant(): void {
    this._gate.hasEntered();
    this._hold();
  }

  /** @internal */
  override _takeFor(waiter: Waiter): boolean {
    const gate = this._gate;
    if (gate.bestOutranks(waiter) || !gate.tryWrite()) return false;
    gate.hasTaken(waiter);
    return true;
  }

  /** @internal */
  override get _whole(): null {
    return null;
  }

  /** @internal */
  override _wait(waiter: Waiter, since: number = NONE): void {
    this._gate.wait(waiter, since);
  }

  /** @internal */
  override _leave(waiter: Waiter): void {
    this._gate.leave(waiter);
  }
}

/**
 * Returns the gate that this library has passed to the constructor of a lock; undefined: the argument
 * comes from an application, and is its options.
 *
 * @internal
 */
export function gateIn(given: ThreadGate | LockOptions | undefined): ThreadGate | undefined {
  return isA(given, ThreadGate) ? given : undefined;
}

/**
 * Makes this thread's gate to a new lock, which only this thread can know until it is sent.
 *
 * @internal
 */
export function newGate(kind: Kind): ThreadGate {
  return new ThreadGate(Arena.home(), 0, kind);
}
