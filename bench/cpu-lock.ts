// Locks between CPUs: beside a lock of one thread, handed over between two, read on two at once.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { toHandle, type Passable } from '../lib/cpu/locks/structured-clone.ts';
import { SharedMutex } from '../lib/cpu/locks/shared-mutex.ts';
import { SharedRMLock, SharedRWLock } from '../lib/cpu/locks/shared-rw-lock.ts';
import { Kcont, Kernel, Mutex } from '../lib/index.ts';
import { CROWD, MEMORY_BYTES, contend, reset, type Task } from './cpu-lock-load.ts';
import type { Given } from './cpu-lock-worker.ts';
import {
  costs,
  sized,
  type Bench,
  type Case,
  type Effort,
  type Role,
  type Side,
} from './harness/bench.ts';
import { bareCalls } from './harness/floors.ts';
import { expectSame, expectTrue, timed } from './harness/timed.ts';

const LOCAL = 'Mutex, of one thread';
const ONE_WAITER = 'one waiter per thread: to the other thread each time';
const RW = 'SharedRWLock';
const MANY = 1000;
/** Reads in one round. */
const READS = 400_000;

/** This thread and a second one, which have these locks. */
class TwoThreads {
  readonly #locks: readonly Passable[];
  readonly #words = new Int32Array(new SharedArrayBuffer(MEMORY_BYTES));
  readonly #worker: Worker;

  constructor(locks: readonly Passable[]) {
    this.#locks = locks;
    const given: Given = { handles: locks.map(toHandle), words: this.#words };
    const entry = new URL(`./cpu-lock-worker${import.meta.url.slice(-3)}`, import.meta.url);
    this.#worker = new Worker(entry, { workerData: given });
  }

  /** Does the same here and there. */
  async contend(task: Task): Promise<number[]> {
    reset(this.#words);
    this.#worker.postMessage(task);
    const there = once(this.#worker, 'message') as Promise<[number[]]>;
    const bursts = await contend(this.#locks[task.at], this.#words, 1, task);
    const [others] = await there;
    return [...bursts, ...others];
  }
}

/** A lock that nobody else wants. */
function uncontended(): Case {
  return {
    name: 'uncontended: tryEnter, exit',
    metrics: costs('ns', { against: LOCAL, atMost: 15 }),
    sides() {
      const side = (role: Role, name: string, lock: Mutex | SharedMutex): Side =>
        timed(role, name, {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              if (!lock.tryEnter()) throw new Error('it is held');
              lock.exit();
            }
          },
          check: () => expectTrue('the lock is free', !lock.held),
        });
      const word = new Int32Array(new SharedArrayBuffer(4));
      return [
        side('kcont', 'SharedMutex', new SharedMutex()),
        side('peer', LOCAL, new Mutex()),
        timed('floor', 'a compareExchange and a store', {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              Atomics.compareExchange(word, 0, 0, 1);
              Atomics.store(word, 0, 0);
            }
          },
          check: () => expectSame('the word', word[0] ?? -1, 0),
        }),
      ];
    },
  };
}

/** Taken by the dispatcher, a thousand of them. */
function dispatched(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: 'uncontended: run soon, lock taken, entered, released; bursts of 1 k',
    metrics: costs('ns', { against: LOCAL, atMost: 4 }),
    sides() {
      const side = (role: Role, name: string, make: () => Mutex | SharedMutex): Side => {
        const { wq } = new Kernel();
        let finish = (): void => undefined;
        let entered = 0;
        const enter = (lock: Mutex | SharedMutex): void => {
          if (!lock.held) throw new Error('entered without the lock');
          if (++entered === count) finish();
        };
        const kcs = Array.from({ length: count }, () => {
          const lock = make();
          return new Kcont(wq.softnet, lock, enter, lock);
        });
        return timed(role, name, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              entered = 0;
              const finished = new Promise<void>((resolve) => (finish = resolve));
              for (const kc of kcs) kc.schedule();
              await finished;
            }
          },
          check() {
            expectSame('runs', entered, count);
            expectTrue('all locks are free', !kcs.some(({ lock }) => lock?.held === true));
          },
        });
      };
      return [
        side('kcont', 'SharedMutex', () => new SharedMutex()),
        side('peer', LOCAL, () => new Mutex()),
        bareCalls(count),
      ];
    },
  };
}

/** Wanted on two threads all the time. */
function handOver(): Case {
  return {
    name: 'await enter, exit on two threads at once: each hand-over',
    metrics: costs('ns', { against: ONE_WAITER, atLeast: 3 }),
    sides() {
      const lock = new SharedMutex();
      const threads = new TwoThreads([lock]);
      const check = (): void => expectTrue('the lock is free', !lock.held);
      return [
        timed('kcont', `${CROWD} waiters per thread: to 16 of them, then to the other thread`, {
          batch: 2 * CROWD,
          run: async (ops) => void (await threads.contend({ at: 0, load: 'crowd', ops: ops / 2 })),
          check,
        }),
        timed('peer', ONE_WAITER, {
          run: async (ops) => void (await threads.contend({ at: 0, load: 'hand over', ops })),
          check,
        }),
      ];
    },
  };
}

/** Two threads that read: the quarter of the bursts in which nobody else had the cores. */
function readers(effort: Effort): Case {
  return {
    name: 'read on two threads at once: tryEnter, exit on each',
    metrics: costs('ns', { against: RW, atLeast: 1.2 }),
    sides() {
      const locks = [new SharedRMLock(), new SharedRWLock()];
      const threads = new TwoThreads(locks);
      const side = (role: Role, name: string, at: number): Side => ({
        role,
        name,
        async sample() {
          const ops = sized(effort, READS, 10_000);
          const bursts = await threads.contend({ at, load: 'read', ops });
          expectTrue('the lock is free', locks[at]?.read.held === false);
          return [bursts.toSorted((a, b) => a - b)[Math.floor(bursts.length / 4)] as number];
        },
      });
      return [side('kcont', 'SharedRMLock', 0), side('peer', RW, 1)];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-lock',
  about: 'Locks between threads: their price beside a lock of one thread, hand-overs, readers.',
  cases: (effort) => [uncontended(), dispatched(effort), handOver(), readers(effort)],
};
