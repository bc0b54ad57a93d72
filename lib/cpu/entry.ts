/*
 * The entry point of a CPU's thread. The thread becomes a CPU, imports the CPU module, and reports to CPU 0.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { becomeCpu, type Joining } from './threads/worker-main.ts';

if (parentPort !== null && (workerData as Partial<Joining> | null)?.kcontCpu === true) {
  void becomeCpu(parentPort, workerData as Joining);
}
