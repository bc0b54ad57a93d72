/**
 * Worker threads as CPUs: continuations that run, and are stopped, on any of them.
 *
 * @packageDocumentation
 */

import { registerCpuStarter } from '../core/cpu.ts';
import { startCpus } from './start.ts';

export {
  Cpu,
  type CpuEvent,
  type CpuLimits,
  type CpuState,
  type StartCpusOptions,
} from '../core/cpu.ts';
export { curcpu } from '../core/kernel.ts';
export { SharedLock } from './shared-lock.ts';
export { SharedMutex } from './shared-mutex.ts';
export { SharedRMLock, SharedRWLock, SharedSides } from './shared-rw-lock.ts';
export { SharedSpinLock } from './shared-spin-lock.ts';
export { transfer } from './transfer.ts';

registerCpuStarter(startCpus);
