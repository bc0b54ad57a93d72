/*
 * Locks by structured clone: a lock becomes a plain object, and on the other side the lock again.
 *
 *   lock --toHandle--> { kcontLock, side, buffer, at, generation } --clone--> --attach--> lock
 *
 * Two attachments of one lock on one thread are one object: who waits for it there waits in one
 * turnstile. A handle holds a reference, so that the lock's memory stays while it is on its way;
 * whoever knows that it has arrived gives that back, once, by `unpin`. A handle that is never
 * unpinned, or lost on its way, keeps the memory as long as the arena lives, and does no other harm.
 */

import { KcontError, invalid, show } from '../errors.ts';
import { Arena, MUTEX, RM, RW, SPIN, type Kind } from './shared-arena.ts';
import { Gate } from './shared-gate.ts';
import { SharedLock } from './shared-lock.ts';
import { SharedMutex } from './shared-mutex.ts';
import { SharedRMLock, SharedRWLock, SharedSides } from './shared-rw-lock.ts';
import { SharedSpinLock } from './shared-spin-lock.ts';

/**
 * A lock between CPUs in a form that can be cloned.
 *
 * @internal
 */
export interface SharedLockHandle {
  /** Tells it from other objects. */
  readonly kcontLock: Kind;
  /** Of an RWLock or RMLock: both sides, or one. */
  readonly side: 'both' | 'read' | 'write';
  readonly buffer: SharedArrayBuffer;
  readonly at: number;
  readonly generation: number;
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
 * @internal
 */
export function toHandle(lock: Passable): SharedLockHandle {
  if (!isShared(lock)) throw invalid('lock', 'a lock between CPUs', lock);
  const { arena, at, kind, face } = lock._gate;
  const generation = arena.generationAt(at);
  arena.retain(at, generation);
  let side: SharedLockHandle['side'] = 'both';
  if (face instanceof SharedSides && face !== lock) side = face.read === lock ? 'read' : 'write';
  return { kcontLock: kind, side, buffer: arena.buffer, at, generation };
}

/**
 * Gives back a handle's reference: once for each that was made, when it has arrived or never will.
 *
 * @internal
 */
export function unpin(handle: SharedLockHandle): void {
  Arena.join(handle.buffer).release(handle.at);
}

/**
 * The lock that a handle was made of, on this thread: the same object each time.
 *
 * @throws KcontError EINVAL if the lock has been freed
 * @internal
 */
export function attach(handle: SharedLockHandle): Passable {
  const arena = Arena.join(handle.buffer);
  const { at, generation, kcontLock: kind } = handle;
  let gate = arena.attachedAt(at) as Gate | undefined;
  if (gate === undefined || arena.generationAt(at) !== generation) {
    if (!arena.retain(at, generation)) {
      throw new KcontError('EINVAL', `the lock of ${show(handle)} has been freed`);
    }
    gate = new Gate(arena, at, kind);
    arena.attach(at, gate);
  }
  const face = (gate.face ?? faceOf(gate)) as Passable;
  if (!(face instanceof SharedSides) || handle.side === 'both') return face;
  return face[handle.side];
}

function faceOf(gate: Gate): Passable {
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
