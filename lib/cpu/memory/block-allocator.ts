/*
 * Where control blocks are: in slabs, each of which leads to the one made before it, so that all blocks
 * of all CPUs can be looked through.
 */

import { BLOCK_UNITS, HOME } from './control-block.ts';
import { SLABS, SLAB_UNITS, UNIT, type Memory } from './shared-memory.ts';

/** Fresh blocks of a CPU: the first of them; the others are added to its free ones. */
export function grabBlocks(memory: Memory, cpu: number, free: number[]): number {
  const slab = memory.grab(SLAB_UNITS);
  const size = BLOCK_UNITS * UNIT;
  const { words } = memory;
  // The place of the first holds the link.
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

/** All blocks there are, used or not. */
export function* allBlocks(memory: Memory): Generator<number, void, undefined> {
  const size = BLOCK_UNITS * UNIT;
  let slab = Atomics.load(memory.words, SLABS);
  while (slab !== 0) {
    memory.reach(slab + SLAB_UNITS * UNIT - 1);
    for (let at = slab + size; at < slab + SLAB_UNITS * UNIT; at += size) yield at;
    slab = memory.words[slab] as number;
  }
}
