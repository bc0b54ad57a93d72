/**
 * Worker threads as CPUs: continuations that run, and are stopped, on any of them.
 *
 * @packageDocumentation
 */

import { registerCpuStarter } from '../core/cpu.ts';
import { startCpus } from './threads/start.ts';

export {
  Cpu,
  type CpuEvent,
  type CpuLimits,
  type CpuState,
  type StartCpusOptions,
} from '../core/cpu.ts';
export { curcpu } from '../core/kernel.ts';
export { SharedLock } from './locks/shared-lock.ts';
export { SharedMutex } from './locks/shared-mutex.ts';
export { SharedRMLock, SharedRWLock, SharedSides } from './locks/shared-rw-lock.ts';
export { SharedSpinLock } from './locks/shared-spin-lock.ts';
export { transfer } from './messages/transfer.ts';

registerCpuStarter(startCpus);
