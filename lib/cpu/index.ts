/**
 * Worker threads as CPUs: continuations that run, and are stopped, on any of them.
 *
 * @packageDocumentation
 */

import { registerCpuStarter } from '../cpu.ts';
import { startCpus } from './start.ts';

export { Cpu, type CpuEvent, type CpuLimits, type CpuState, type StartCpusOptions } from '../cpu.ts';
export { curcpu } from '../kernel.ts';
export { transfer } from './transfer.ts';

registerCpuStarter(startCpus);
