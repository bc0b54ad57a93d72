// The other thread of the benches of locks between CPUs.

import { parentPort, workerData } from 'node:worker_threads';
import { attach, type SharedLockHandle } from '../lib/cpu/locks/structured-clone.ts';
import { contend, type Task } from './cpu-lock-load.ts';

/** What it is given. */
export interface Given {
  readonly handles: readonly SharedLockHandle[];
  readonly words: Int32Array;
}

const { handles, words } = workerData as Given;
const locks = handles.map(attach);

parentPort?.on('message', (task: Task) => {
  contend(locks[task.at], words, 2, task).then(
    (bursts) => parentPort?.postMessage(bursts),
    (error: unknown) => {
      throw error;
    },
  );
});
