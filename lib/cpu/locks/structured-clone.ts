/*
 * Locks by structured clone: a lock becomes a plain object, and on the other side the lock again.
 *
 *   lock --toHandle--> { kcontLock, side, at, generation, buffer } --clone--> --attach--> lock
 *
 * Two attachments of one lock on one thread are one object: who waits for it there waits in one
 * turnstile.
 *
 * A handle that is pinned (`toHandle`) holds a reference, to be given back once, by `unpin`: control
 * blocks have such ones, which are found again when their CPU has died. What goes through a port
 * (`placeOf`) has none: it may be lost with either thread, or never be read. Its sender keeps the lock,
 * and says so at its gate (`send`, `endSend`), until the message has been read or never will be.
 */

import { KcontError, invalid } from '../../base/errors.ts';
import { Arena, MUTEX, RM, RW, SPIN, type Kind } from './arena.ts';
import { ThreadGate } from './thread-gate.ts';
import { SharedLock } from './shared-lock.ts';
import { SharedMutex } from './shared-mutex.ts';
import { SharedRMLock, SharedRWLock, SharedSides } from './shared-rw-lock.ts';
import { SharedSpinLock } from './shared-spin-lock.ts';

/**
 * Which lock of an arena.
 *
 * @internal
 */
export interface LockPlace {
  /** Tells it from other objects. */
  readonly kcontLock: Kind;
  /** Of an RWLock or RMLock: both sides, or one. */
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

/** What can be passed. */
export type Passable = SharedLock | SharedSides;

/**
 * Whether something can be made into a handle.
 *
 * @internal
 */
export function isShared(value: unknown): value is Passable {
  return value instanceof SharedLock || value instanceof SharedSides;
}

/**
 * Whether something is a handle.
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
 * @throws KcontError ENOMEM if the lock has to be given memory for it, and there is none
 * @internal
 */
export function toHandle(lock: Passable): SharedLockHandle {
  const place = placeOf(lock);
  const { arena } = lock._gate;
  arena.retain(place.at, place.generation);
  return { ...place, buffer: arena.buffer };
}

/**
 * Says which lock of its arena it is. That is so for as long as somebody has a reference.
 *
 * @throws KcontError ENOMEM if the lock has to be given memory for it, and there is none
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
 * Gives back a handle's reference: once for each that was made, when it has arrived or never will.
 *
 * @internal
 */
export function unpin(handle: SharedLockHandle): void {
  unpinIn(Arena.join(handle.buffer), handle);
}

/** The same, where the arena is known. */
export function unpinIn(arena: Arena, { at }: LockPlace): void {
  arena.release(at);
  // It may have been the last one beside this thread's own.
  const gate = arena.attachedAt(at);
  if (gate instanceof ThreadGate) gate.unshare();
}

/**
 * The lock that a handle was made of, on this thread: the same object each time.
 *
 * @throws KcontError EINVAL if the lock has been freed
 * @internal
 */
export function attach(handle: SharedLockHandle): Passable {
  return attachIn(Arena.join(handle.buffer), handle);
}

/** The same, where the arena is known. */
export function attachIn(
  arena: Arena,
  { at, generation, side, kcontLock: kind }: LockPlace,
): Passable {
  let gate = arena.attachedAt(at) as ThreadGate | undefined;
  if (gate === undefined || arena.generationAt(at) !== generation) {
    if (!arena.retain(at, generation)) {
      throw new KcontError('EINVAL', 'a lock between CPUs has been freed: nobody had it any more');
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
