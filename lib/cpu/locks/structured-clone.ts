/*
 * Locks and structured clone: a lock is converted to a plain object, and on the other thread back to the
 * lock.
 *
 *   lock --toHandle--> { kcontLock, side, at, generation, buffer } --clone--> --attach--> lock
 *
 * Attaching a lock twice on one thread returns the same object, so that all its waiters on that thread
 * are in one turnstile.
 *
 * A pinned handle (`toHandle`) holds a reference, which is released once, by `unpin`. Control blocks have
 * pinned handles, which recovery finds when a CPU has died. A lock in a posted value (`placeOf`) holds no
 * reference, because the value may be lost with either thread, or never be read. Instead, its sender
 * keeps the lock (`send`, `endSend` of its gate) until the value has been read or will never be read.
 */

import { KcontError, invalid } from '../../base/errors.ts';
import { Arena, MUTEX, RM, RW, SPIN, type Kind } from './arena.ts';
import { ThreadGate } from './thread-gate.ts';
import { SharedLock } from './shared-lock.ts';
import { SharedMutex } from './shared-mutex.ts';
import { SharedRMLock, SharedRWLock, SharedSides } from './shared-rw-lock.ts';
import { SharedSpinLock } from './shared-spin-lock.ts';

/**
 * A lock of an arena.
 *
 * @internal
 */
export interface LockPlace {
  /** The kind of the lock. The name of this property tells handles from other objects. */
  readonly kcontLock: Kind;
  /** The side of an RWLock or RMLock; `both` for the lock as a whole, and for other locks. */
  readonly side: 'both' | 'read' | 'write';
  readonly at: number;
  readonly generation: number;
}

/**
 * A lock between CPUs in a form that can be cloned.
 *
 * @internal
 */
export interface SharedLockHandle extends LockPlace {
  readonly buffer: SharedArrayBuffer;
}

/** An object that can be passed to other threads: a lock, or both sides of one. */
export type Passable = SharedLock | SharedSides;

/**
 * Whether a value is a lock between CPUs.
 *
 * @internal
 */
export function isShared(value: unknown): value is Passable {
  return value instanceof SharedLock || value instanceof SharedSides;
}

/**
 * Whether a value is a handle.
 *
 * @internal
 */
export function isHandle(value: unknown): value is SharedLockHandle {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { kcontLock?: unknown }).kcontLock === 'number'
  );
}

/**
 * Makes a handle, which holds a reference until it is unpinned.
 *
 * @throws KcontError ENOMEM if there is no shared memory left for the lock
 * @internal
 */
export function toHandle(lock: Passable): SharedLockHandle {
  const place = placeOf(lock);
  const { arena } = lock._gate;
  arena.retain(place.at, place.generation);
  return { ...place, buffer: arena.buffer };
}

/**
 * Returns the place of a lock in its arena. It is valid as long as there is a reference to the lock.
 *
 * @throws KcontError ENOMEM if there is no shared memory left for the lock
 * @internal
 */
export function placeOf(lock: Passable): LockPlace {
  if (!isShared(lock)) throw invalid('lock', 'a lock between CPUs', lock);
  const { arena, kind, lock: whole } = lock._gate;
  const at = lock._gate.share();
  let side: LockPlace['side'] = 'both';
  if (whole instanceof SharedSides && whole !== lock) side = whole.read === lock ? 'read' : 'write';
  return { kcontLock: kind, side, at, generation: arena.generationAt(at) };
}

/**
 * Releases the reference of a handle. To be called once per handle, when it is not needed any more.
 *
 * @internal
 */
export function unpin(handle: SharedLockHandle): void {
  unpinIn(Arena.join(handle.buffer), handle);
}

/** The same for a known arena. */
export function unpinIn(arena: Arena, { at }: LockPlace): void {
  arena.release(at);
  // The only reference left may be that of this thread.
  const gate = arena.attachedAt(at);
  if (gate instanceof ThreadGate) gate.unshare();
}

/**
 * Returns this thread's object for the lock of a handle. Every call returns the same object.
 *
 * @throws KcontError EINVAL if the lock has been freed
 * @internal
 */
export function attach(handle: SharedLockHandle): Passable {
  return attachIn(Arena.join(handle.buffer), handle);
}

/** The same for a known arena. */
export function attachIn(
  arena: Arena,
  { at, generation, side, kcontLock: kind }: LockPlace,
): Passable {
  let gate = arena.attachedAt(at) as ThreadGate | undefined;
  if (gate === undefined || arena.generationAt(at) !== generation) {
    if (!arena.retain(at, generation)) {
      throw new KcontError(
        'EINVAL',
        'a lock between CPUs has been freed: no CPU had a reference to it',
      );
    }
    gate = new ThreadGate(arena, at, kind);
    arena.attach(at, gate);
  }
  const lock = (gate.lock ?? makeLock(gate)) as Passable;
  return lock instanceof SharedSides && side !== 'both' ? lock[side] : lock;
}

function makeLock(gate: ThreadGate): Passable {
  switch (gate.kind) {
    case MUTEX:
      return new SharedMutex(gate);
    case SPIN:
      return new SharedSpinLock(gate);
    case RW:
      return new SharedRWLock(gate);
    case RM:
      return new SharedRMLock(gate);
  }
}
