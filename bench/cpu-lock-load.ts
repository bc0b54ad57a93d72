// What both threads do in the benches of locks between CPUs.

import type { SharedMutex } from '../lib/cpu/locks/shared-mutex.ts';
import type { SharedSides } from '../lib/cpu/locks/shared-rw-lock.ts';
import { Stopwatch } from './harness/stopwatch.ts';

/** What both are told. */
export interface Task {
  /** Which lock. */
  readonly at: number;
  readonly load: 'hand over' | 'crowd' | 'read';
  readonly ops: number;
}

// Words that both threads see.
const LAST = 0;
const SWITCHES = 1;
const BARRIER = 2;
export const MEMORY_BYTES = 64;

/** How many on each thread want the lock: more than are let in before it goes to another thread. */
export const CROWD = 20;
/** Reads between two looks at the watch: less than a slice of the scheduler. */
export const BURST = 5000;

/** Resolves to the times of its bursts in ns, of a load that has some. */
export async function contend(
  lock: unknown,
  words: Int32Array,
  me: number,
  { load, ops }: Task,
): Promise<number[]> {
  switch (load) {
    case 'hand over':
      await handOver(lock as SharedMutex, words, me, ops);
      return [];
    case 'crowd':
      await crowd(lock as SharedMutex, ops);
      return [];
    case 'read':
      return read(lock as SharedSides, words, ops);
  }
}

/** Until the lock has gone from one thread to the other so many times. */
async function handOver(
  lock: SharedMutex,
  words: Int32Array,
  me: number,
  switches: number,
): Promise<void> {
  for (let seen = 0; seen < switches;) {
    await lock.enter();
    if (words[LAST] !== me) {
      words[LAST] = me;
      words[SWITCHES] = (words[SWITCHES] as number) + 1;
    }
    seen = words[SWITCHES] as number;
    lock.exit();
  }
}

async function crowd(lock: SharedMutex, ops: number): Promise<void> {
  const one = async (): Promise<void> => {
    for (let i = 0; i < ops / CROWD; i++) {
      await lock.enter();
      lock.exit();
    }
  };
  await Promise.all(Array.from({ length: CROWD }, one));
}

/** In bursts that begin on both threads at once. */
function read({ read: side }: SharedSides, words: Int32Array, ops: number): number[] {
  const bursts: number[] = [];
  for (let done = 0; done < ops; done += BURST) {
    meet(words);
    const watch = new Stopwatch();
    for (let i = 0; i < BURST; i++) {
      if (!side.tryEnter()) throw new Error('a reader was kept out');
      side.exit();
    }
    bursts.push(watch.ns / BURST);
  }
  return bursts;
}

/** Waits until both have come. */
function meet(words: Int32Array): void {
  const came = Atomics.add(words, BARRIER, 1);
  const both = came - (came % 2) + 2;
  while (Atomics.load(words, BARRIER) < both);
}

/** Before a run. */
export function reset(words: Int32Array): void {
  words.fill(0);
}
