/*
 * Allocation of control blocks. Blocks come in slabs, and each slab has a link to the slab made before
 * it, so that all blocks of all CPUs can be enumerated.
 */

import { BLOCK_UNITS, HOME } from './control-block.ts';
import { SLABS, SLAB_UNITS, UNIT, type Memory } from './shared-memory.ts';

/** Allocates blocks for a CPU: returns the first and adds the others to its list of free blocks. */
export function grabBlocks(memory: Memory, cpu: number, free: number[]): number {
  const slab = memory.grab(SLAB_UNITS);
  const size = BLOCK_UNITS * UNIT;
  const { words } = memory;
  // The first block of the slab holds the link instead.
  for (let at = slab + size; at < slab + SLAB_UNITS * UNIT; at += size) {
    words[at + HOME] = cpu;
    if (at > slab + size) free.push(at);
  }
  let last = words[SLABS] as number;
  for (;;) {
    words[slab] = last;
    const found = Atomics.compareExchange(words, SLABS, last, slab);
    if (found === last) return slab + size;
    last = found;
  }
}

/** Enumerates all blocks, whether they are in use or not. */
export function* allBlocks(memory: Memory): Generator<number, void, undefined> {
  const size = BLOCK_UNITS * UNIT;
  let slab = Atomics.load(memory.words, SLABS);
  while (slab !== 0) {
    memory.reach(slab + SLAB_UNITS * UNIT - 1);
    for (let at = slab + size; at < slab + SLAB_UNITS * UNIT; at += size) yield at;
    slab = memory.words[slab] as number;
  }
}
