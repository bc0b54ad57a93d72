/*
 * Where a CPU's thread begins: it joins the machine, imports the CPU module, and says so.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { becomeCpu, type Joining } from './threads/worker-main.ts';

if (parentPort !== null && (workerData as Partial<Joining> | null)?.kcontCpu === true) {
  void becomeCpu(parentPort, workerData as Joining);
}
