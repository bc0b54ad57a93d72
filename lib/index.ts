/**
 * Continuations for async TypeScript: timers, jobs that run soon and workqueues, with one kind of handle.
 *
 * @packageDocumentation
 */

import type { KcontConstructor } from './core/fast-workqueue.ts';
import { Kcont as KcontHandle } from './core/kcont.ts';

if (process.env['KCONT_DEBUG'] === '1') {
  // By require: it is there before the program goes on, which an import would not wait for.
  const file = `./observe/index${import.meta.url.slice(-3)}`;
  process.getBuiltinModule('node:module').createRequire(import.meta.url)(file);
}

export type { Clock } from './time/clock.ts';
export { VirtualClock } from './time/virtual-clock.ts';
export {
  Cpu,
  type CpuEvent,
  type CpuLimits,
  type CpuState,
  type StartCpusOptions,
} from './core/cpu.ts';
export type { Affinity, ContextPolicy } from './core/extras.ts';
export type { InheritedPriority } from './core/inherited.ts';
export type { OnError } from './core/invoke.ts';
export { KcontError, type KcontErrorCode } from './base/errors.ts';
export type { RunOptions } from './core/one-shot.ts';
export type {
  FastWorkqueue,
  KcontConstructor,
  KcontFunctionOn,
  KcontSettings,
  KcontSettingsWithoutArg,
  SlowWorkqueue,
  Synchronous,
  UnlessFast,
} from './core/fast-workqueue.ts';
export { CANCELLED, DRAINING, type KcontFunction } from './core/kcont.ts';
export type { KcontHandle };
export * as kern from './kern.ts';
export {
  Kernel,
  curcpu,
  kernel,
  wq,
  type KernelOptions,
  type KernelReport,
  type WorkqueueLoad,
  type PredefinedWorkqueues,
} from './core/kernel.ts';
export { BaseLock, type EnterOptions, type Lock } from './locks/lock.ts';
export type { LockOptions } from './locks/lock-names.ts';
export { Mutex } from './locks/mutex.ts';
export { RMLock } from './locks/rm-lock.ts';
export { RWLock } from './locks/rw-lock.ts';
export { SpinLock } from './locks/spin-lock.ts';
export {
  PRI_PRIHIGH,
  PRI_PRILOW,
  PRI_PRIMEDHIGH,
  PRI_PRIMEDLOW,
  PRI_SOFTBIO,
  PRI_SOFTCLOCK,
  PRI_SOFTNET,
  PRI_SOFTSERIAL,
} from './base/priorities.ts';
export type { KcontOptions } from './core/options.ts';
export type { JoinPolicy } from './core/run-group.ts';
export { Scope, type JoinOptions, type ScopeOptions } from './core/scope.ts';
export { ShedError, type ShedOptions } from './core/shedder.ts';
export { stopping, type StoppableRun } from './core/stopping.ts';
export type { CloseReport, Unfinished } from './core/shutdown.ts';
export { Workqueue, type WorkqueueOptions, type WorkqueueStats } from './core/workqueue.ts';

/**
 * A continuation: a function, its argument, a workqueue and optionally a lock. Created once, scheduled
 * many times.
 *
 * @public
 */
export type Kcont<A> = KcontHandle<A>;

/**
 * The class of continuations.
 *
 * @public
 */
export const Kcont: KcontConstructor = KcontHandle;
