// A thread that executes commands on locks: the other side of lock-peer.ts.

import { parentPort, workerData } from 'node:worker_threads';
import { Arena } from '../../lib/cpu/locks/arena.ts';
import { attach, type SharedLockHandle } from '../../lib/cpu/locks/structured-clone.ts';
import { SharedMutex } from '../../lib/cpu/locks/shared-mutex.ts';
import { SharedSides } from '../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/locks/shared-spin-lock.ts';
import type { Lock } from '../../lib/index.ts';
import { Load } from './lock-load.ts';

/** The thread's data. */
export interface Given {
  readonly handles: readonly SharedLockHandle[];
  readonly memory: SharedArrayBuffer;
}

/** Its commands; it replies to each. */
export type Order = {
  readonly id: number;
  readonly lock: number;
  readonly side?: 'read' | 'write';
} & (
  | { readonly do: 'cpu' | 'tryEnter' | 'enter' | 'exit' | 'held' | 'quit' }
  | { readonly do: 'holdUntil'; readonly word: number }
  | { readonly do: 'load'; readonly load: Load['name']; readonly times: number }
);

export interface Answer {
  readonly id: number;
  readonly result: unknown;
}

const { handles, memory } = workerData as Given;
const locks = handles.map(attach);
const words = new Int32Array(memory);

function side(order: Order): Lock {
  const lock = locks[order.lock];
  return lock instanceof SharedSides ? lock[order.side ?? 'write'] : (lock as Lock);
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'cpu':
      return Arena.home().cpu;
    case 'tryEnter':
      return side(order).tryEnter();
    case 'enter':
      return side(order).enter();
    case 'exit':
      return side(order).exit();
    case 'held':
      return side(order).held;
    case 'quit':
      return parentPort?.unref();
    case 'holdUntil': {
      // Reports that it holds the lock, then blocks until it is told to continue.
      const lock = side(order);
      if (lock instanceof SharedSpinLock) lock.enterSync();
      else if (!lock.tryEnter()) throw new Error('it is held');
      Atomics.store(words, order.word, 1);
      Atomics.notify(words, order.word);
      Atomics.wait(words, order.word, 1);
      return lock.exit();
    }
    case 'load': {
      const lock = locks[order.lock];
      if (
        !(
          lock instanceof SharedMutex ||
          lock instanceof SharedSpinLock ||
          lock instanceof SharedSides
        )
      ) {
        throw new Error('no lock');
      }
      return new Load(order.load, lock, words, Arena.home().cpu).run(order.times);
    }
  }
}

parentPort?.on('message', (order: Order) => {
  obey(order).then(
    (result) => parentPort?.postMessage({ id: order.id, result } satisfies Answer),
    (error: unknown) => {
      throw error;
    },
  );
});
