/*
 * The lock of a continuation that more than one CPU knows: some words of its control block.
 *
 * Each CPU's face of the handle has an object of its own for the lock, over the same words in the
 * arena of the locks. When the lock is changed on one CPU, the others notice by its version, at the
 * latest when they are about to dispatch the entry; where an entry waits for the old lock, its CPU is
 * sent a message, and it goes to the new one, with its place in the order.
 *
 * A block holds a reference to its lock, so that the lock's memory is not used for another one.
 */

import type { BaseLock } from '../../locks/lock.ts';
import { LOCK, LOCK_GENERATION, LOCK_SIDE } from './control-block.ts';
import type { Memory } from './shared-memory.ts';
import { LINE, type Arena, type Kind } from '../locks/arena.ts';
import { attachIn, toHandle, unpinIn, type LockPlace } from '../locks/structured-clone.ts';
import { SharedLock } from '../locks/shared-lock.ts';

const SIDES = ['both', 'read', 'write'] as const;

/** What a block says of its lock. */
export interface WrittenLock {
  /** Where it is in the arena; 0: there is none. */
  readonly at: number;
  /** Its kind, and which side of it. */
  readonly side: number;
  readonly generation: number;
}

const NONE: WrittenLock = { at: 0, side: 0, generation: 0 };

/** Whether a lock can be taken by all CPUs that have joined an arena. */
export function isSharedIn(arena: Arena, lock: BaseLock): lock is SharedLock {
  return lock instanceof SharedLock && lock._gate.arena === arena;
}

/**
 * Takes a reference to a lock, for a block to hold.
 *
 * @throws KcontError ENOMEM if there is no memory for the lock
 */
export function pinLock(lock: BaseLock | null): WrittenLock {
  if (lock === null) return NONE;
  const { at, kcontLock: kind, side, generation } = toHandle(lock as SharedLock);
  return { at, side: kind | (SIDES.indexOf(side) << 4), generation };
}

/** What a block says. */
export function readLock({ words }: Memory, block: number): WrittenLock {
  return {
    at: words[block + LOCK] as number,
    side: words[block + LOCK_SIDE] as number,
    generation: words[block + LOCK_GENERATION] as number,
  };
}

/** This CPU's object for it; null: there is none. */
export function attachLock(arena: Arena, written: WrittenLock): BaseLock | null {
  return written.at === 0 ? null : (attachIn(arena, placeOf(written)) as SharedLock);
}

/** Gives the reference back. */
export function unpinLock(arena: Arena, written: WrittenLock): void {
  if (written.at !== 0) unpinIn(arena, placeOf(written));
}

/** A number for a lock, the same on all CPUs. */
export function numberOf({ words }: Memory, block: number): number {
  return (words[block + LOCK] as number) / LINE;
}

function placeOf({ at, side, generation }: WrittenLock): LockPlace {
  const kcontLock = (side & 15) as Kind;
  return { kcontLock, side: SIDES[side >> 4] ?? 'both', at, generation };
}
