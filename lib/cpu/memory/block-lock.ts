/*
 * The lock of a continuation that more than one CPU knows, as it is stored in the control block.
 *
 * Each CPU has its own object for the lock, over the same words in the lock arena. When one CPU changes
 * the lock, the others notice by its version, at the latest when they are about to dispatch the entry.
 * If an entry waits for the old lock, its CPU gets a message, and the entry moves to the queue of the
 * new lock and keeps its place in the order.
 *
 * A block holds a reference to its lock, so that the lock's memory is not reused.
 */

import type { BaseLock } from '../../locks/lock.ts';
import { LOCK, LOCK_GENERATION, LOCK_SIDE } from './control-block.ts';
import type { Memory } from './shared-memory.ts';
import { LINE, type Arena, type Kind } from '../locks/arena.ts';
import { attachIn, toHandle, unpinIn, type LockPlace } from '../locks/structured-clone.ts';
import { SharedLock } from '../locks/shared-lock.ts';

const SIDES = ['both', 'read', 'write'] as const;

/** A lock as a block stores it. */
export interface WrittenLock {
  /** The index of its first word in the arena; 0 if there is no lock. */
  readonly at: number;
  /** Its kind and its side, packed. */
  readonly side: number;
  readonly generation: number;
}

const NONE: WrittenLock = { at: 0, side: 0, generation: 0 };

/** Whether a lock is shared by all CPUs that have joined an arena. */
export function isSharedIn(arena: Arena, lock: BaseLock): lock is SharedLock {
  return lock instanceof SharedLock && lock._gate.arena === arena;
}

/**
 * Takes the reference to a lock that a block holds.
 *
 * @throws KcontError ENOMEM if there is no memory for the lock
 */
export function pinLock(lock: BaseLock | null): WrittenLock {
  if (lock === null) return NONE;
  const { at, kcontLock: kind, side, generation } = toHandle(lock as SharedLock);
  return { at, side: kind | (SIDES.indexOf(side) << 4), generation };
}

/** Reads the lock of a block. */
export function readLock({ words }: Memory, block: number): WrittenLock {
  return {
    at: words[block + LOCK] as number,
    side: words[block + LOCK_SIDE] as number,
    generation: words[block + LOCK_GENERATION] as number,
  };
}

/** Returns this CPU's object for a lock; null if there is no lock. */
export function attachLock(arena: Arena, written: WrittenLock): BaseLock | null {
  return written.at === 0 ? null : (attachIn(arena, placeOf(written)) as SharedLock);
}

/** Releases the reference that a block holds. */
export function unpinLock(arena: Arena, written: WrittenLock): void {
  if (written.at !== 0) unpinIn(arena, placeOf(written));
}

/** The number of a block's lock, which is the same on all CPUs; 0 if there is no lock. */
export function numberOf({ words }: Memory, block: number): number {
  return (words[block + LOCK] as number) / LINE;
}

function placeOf({ at, side, generation }: WrittenLock): LockPlace {
  const kcontLock = (side & 15) as Kind;
  return { kcontLock, side: SIDES[side >> 4] ?? 'both', at, generation };
}
