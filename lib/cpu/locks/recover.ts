/*
 * After the death of a thread: whatever it held or waited for is freed, or handed on.
 *
 *   strike the CPU from those that have joined
 *   for each lock in the arena: finish or undo the dead one's part (shared-words.ts)
 *   ring everybody else: a grant may have been made, and the ring not
 *
 * One thread does it, when the dead one certainly runs no more (the worker's `exit` event), and before
 * its number is used again. It is not necessary that it is attached to the locks.
 *
 * What the lock protected may be half done. It is not known here what that is: the caller reports
 * that locks were held.
 *
 * Cost: a look at every lock in the arena, some 100 ns each.
 */

import { Arena, type Kind } from './arena.ts';
import { LockProtocol } from './protocol.ts';

/**
 * Frees or hands on all that a dead CPU held or waited for.
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
