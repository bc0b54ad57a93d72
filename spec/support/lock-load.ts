// Loads on a lock between threads, the same on each thread. They change memory without atomic operations:
// the figures are right only if the lock works.

import { Kcont, Kernel, type Lock } from '../../lib/index.ts';
import type { Passable } from '../../lib/cpu/locks/structured-clone.ts';
import { SharedSides } from '../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/locks/shared-spin-lock.ts';

/** Words of the memory: two that are always equal, errors, and the order of the threads. */
export const COUNT = 0;
export const COPY = 1;
export const WRONG = 2;
export const READS = 3;
export const CAME = 16;
/** Words for the order of the threads. */
const PLACES = 100_000;
export const MEMORY_BYTES: number = 4 * (CAME + PLACES);

/** A microtask. */
const soon: Promise<void> = Promise.resolve();

/** The number of contending loops on each thread. */
export const LOOPS = 20;

/** Increments a word, not atomically. */
export function bump(words: Int32Array, at: number): void {
  words[at] = (words[at] as number) + 1;
}

type Name = 'await' | 'crowd' | 'kcont' | 'sync' | 'spin' | 'read and write';

export class Load {
  readonly name: Name;
  readonly #lock: Passable;
  readonly #words: Int32Array;
  readonly #cpu: number;

  constructor(name: Name, lock: Passable, words: Int32Array, cpu: number) {
    this.name = name;
    this.#lock = lock;
    this.#words = words;
    this.#cpu = cpu;
  }

  /** Increments under the lock, a number of times. */
  async run(times: number): Promise<void> {
    const lock = this.#write;
    switch (this.name) {
      case 'await':
        return this.#await(lock, times, () => this.#count());
      case 'crowd': {
        const each = times / LOOPS;
        const loop = (): Promise<void> => this.#await(lock, each, () => this.#come());
        await Promise.all(Array.from({ length: LOOPS }, loop));
        return;
      }
      case 'kcont':
        return this.#kcont(lock, times);
      case 'sync':
        for (let left = times; left > 0;) {
          if (!lock.tryEnter()) {
            await soon;
            continue;
          }
          this.#count();
          lock.exit();
          left--;
        }
        return;
      case 'spin':
        for (let i = 0; i < times; i++) {
          (lock as SharedSpinLock).enterSync({ patienceMs: 60_000 });
          this.#count();
          lock.exit();
        }
        return;
      case 'read and write': {
        const { read } = this.#lock as SharedSides;
        await Promise.all([
          this.#await(lock, times, () => this.#count()),
          this.#await(read, times, () => this.#look()),
          this.#await(read, times, () => this.#look()),
        ]);
      }
    }
  }

  get #write(): Lock {
    return this.#lock instanceof SharedSides ? this.#lock.write : this.#lock;
  }

  async #await(lock: Lock, times: number, func: () => void): Promise<void> {
    for (let i = 0; i < times; i++) {
      await lock.enter();
      func();
      // Sometimes across an await, which is not allowed for a SpinLock.
      if (i % 8 === 0 && !(lock instanceof SharedSpinLock)) await soon;
      lock.exit();
    }
  }

  /** Some sync and some async functions, on three workqueues. */
  async #kcont(lock: Lock, times: number): Promise<void> {
    const { wq } = new Kernel();
    const left = { runs: times };
    const count = (): void => {
      this.#count();
      left.runs--;
    };
    const later = async (): Promise<void> => {
      const before = this.#words[COUNT];
      await soon;
      if (this.#words[COUNT] !== before) bump(this.#words, WRONG);
      count();
    };
    const kcs = [
      new Kcont(wq.softnet, lock, count, undefined),
      new Kcont(wq.prihigh, lock, later, undefined),
      new Kcont(wq.prilow, lock, later, undefined),
      new Kcont(wq.prilow, lock, count, undefined),
    ];
    while (left.runs > 0) {
      for (const kc of kcs.slice(0, left.runs)) kc.schedule();
      await Promise.all([wq.softnet.drain(), wq.prihigh.drain(), wq.prilow.drain()]);
    }
  }

  #count(): void {
    const words = this.#words;
    const count = words[COUNT] as number;
    if (words[COPY] !== count) bump(words, WRONG);
    words[COUNT] = count + 1;
    words[COPY] = count + 1;
  }

  #come(): void {
    const words = this.#words;
    const place = words[COUNT] as number;
    this.#count();
    words[CAME + place] = this.#cpu + 1;
  }

  #look(): void {
    const words = this.#words;
    if (words[COPY] !== words[COUNT]) bump(words, WRONG);
    Atomics.add(words, READS, 1);
  }
}
