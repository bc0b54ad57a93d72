/*
 * Recovery of locks after the death of a thread: all locks that it held or waited for are freed, or
 * passed on.
 *
 *   remove the CPU from those that have joined
 *   for each lock in the arena: finish or undo the dead CPU's part (protocol.ts)
 *   wake all other CPUs: the dead CPU may have granted a lock and died before the wake-up
 *
 * One thread does this, after the dead one has certainly stopped (the worker's `exit` event), and before
 * its CPU number is used again. That thread need not be attached to the locks.
 *
 * The data that a lock protects may be half changed. This is not known here, so the caller reports that
 * locks were held.
 *
 * Cost: some 100 ns for every lock in the arena.
 */

import { Arena, type Kind } from './arena.ts';
import { LockProtocol } from './protocol.ts';

/**
 * Frees or passes on all locks that a dead CPU held or waited for.
 *
 * @returns how many locks (or sides of locks) it held
 * @internal
 */
export function recover(dead: number, arena: Arena = Arena.home()): number {
  arena.strike(dead);
  let held = 0;
  for (const at of arena) {
    const protocol = new LockProtocol(arena, at, arena.kindAt(at) as Kind);
    if (protocol.recover(dead, arena.cpu)) held++;
    arena.detachDead(at, dead);
  }
  for (let left = arena.joined; left !== 0; left &= left - 1) {
    const cpu = 31 - Math.clz32(left & -left);
    if (cpu !== arena.cpu) arena.wake(cpu);
  }
  arena.look();
  return held;
}
