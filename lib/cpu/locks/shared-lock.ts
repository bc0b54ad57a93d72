import { isA, refuseOptions } from '../../base/errors.ts';
import { PRI_PRIHIGH } from '../../base/priorities.ts';
import { BaseLock } from '../../locks/lock.ts';
import { NONE, type Turnstile, type Waiter } from '../../locks/turnstile.ts';
import { Arena, type Kind } from './arena.ts';
import { ThreadGate } from './thread-gate.ts';

/**
 * What the locks between CPUs have in common.
 *
 * @remarks
 * Each is an object per thread over the same words in shared memory. It takes part in everything as a
 * lock of one thread does; what it adds is that other threads take part too. A lock is held by a
 * CPU, and only there can it be released. Continuations and awaiting code of one CPU wait by
 * priority, first come first served; CPUs take turns, at the latest after sixteen hand-overs within
 * one of them. When a CPU dies, whatever it held is freed or handed on.
 *
 * Made by the library alone: take {@link SharedMutex}, {@link SharedSpinLock}, {@link SharedRWLock} or
 * {@link SharedRMLock}.
 *
 * @public
 */
export abstract class SharedLock extends BaseLock {
  /** @internal */
  readonly _gate: ThreadGate;

  /** @internal */
  constructor(gate: ThreadGate) {
    super();
    if (!isA(gate, ThreadGate)) refuseOptions(gate, new.target.name, new.target);
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

  // The write side, unless a read side says otherwise.

  /** Whether somebody holds it, on whichever CPU. */
  override get held(): boolean {
    return this._gate.written;
  }

  /** @internal */
  override get _open(): boolean {
    return this._gate.writable;
  }

  /**
   * Takes its side if it is free.
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
   * @returns true: it is held now, by this CPU; false: somebody else holds it, here or elsewhere
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
   * Code that does not wait has it: perhaps ahead of some who do.
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
   * Awaiting code is let in.
   * @internal
   */
  override _grant(): void {
    this._gate.hasEntered();
    this._hold();
  }

  /** @internal */
  override _takeFor(waiter: Waiter): boolean {
    const gate = this._gate;
    if (gate.outranks(waiter) || !gate.tryWrite()) return false;
    gate.hasTaken(waiter);
    return true;
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
 * This thread's gate to a new lock, which it alone can know until it is sent away.
 *
 * @internal
 */
export function newGate(kind: Kind): ThreadGate {
  return new ThreadGate(Arena.home(), 0, kind);
}
