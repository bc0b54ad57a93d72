import { KcontError } from '../base/errors.ts';
import { atEndOfTurn } from '../time/host-clock.ts';
import { BaseLock } from './lock.ts';

/** Locks taken by code other than continuations, which have to be free at the end of the turn. */
const taken = new Set<BaseLock>();

/**
 * Notes that code other than a continuation has taken a lock, and checks it at the end of the turn.
 *
 * @internal
 */
export function noteTaken(lock: BaseLock): void {
  if (taken.size === 0) atEndOfTurn(check);
  taken.add(lock);
}

/**
 * Notes that a lock has been released.
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
 * Works as a {@link Mutex}, but must be released within the turn of the event loop in which it was
 * taken. If it is still held when the turn ends, KcontError EPERM is raised as an uncaught exception,
 * once for each time it was taken. A continuation's function that holds it and returns a promise is
 * reported to `onError`.
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
