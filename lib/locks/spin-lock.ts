import { KcontError } from '../base/errors.ts';
import { atEndOfTurn } from '../time/host-clock.ts';
import { BaseLock } from './lock.ts';

/** Taken by plain code, and to be free again at the end of the turn. */
const taken = new Set<BaseLock>();

/**
 * Plain code has taken one: it is to be free at the end of the turn.
 *
 * @internal
 */
export function noteTaken(lock: BaseLock): void {
  if (taken.size === 0) atEndOfTurn(check);
  taken.add(lock);
}

/**
 * It is free.
 *
 * @internal
 */
export function noteFree(lock: BaseLock): void {
  taken.delete(lock);
}

/**
 * A lock for synchronous sections only.
 *
 * @remarks
 * Takes part as a {@link Mutex} does, but must be released within the turn in which it was taken:
 * one that is still held when the turn ends raises KcontError EPERM as an uncaught exception, once
 * for each time it was taken. An asynchronous function that runs with it is reported to `onError`.
 *
 * @public
 */
export class SpinLock extends BaseLock {
  /** @internal */
  override readonly _spin = true;

  /** @internal */
  override _grant(): void {
    super._grant();
    noteTaken(this);
  }

  /** @internal */
  override _drop(): void {
    super._drop();
    noteFree(this);
  }
}

function check(): void {
  const { size } = taken;
  taken.clear();
  if (size > 0) {
    throw new KcontError(
      'EPERM',
      `${size} SpinLock(s) held across a turn of the event loop; take a Mutex to hold a lock while waiting`,
    );
  }
}
