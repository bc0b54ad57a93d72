/**
 * p-queue with kcont's priority levels and locks, and p-queue as the limiter of a workqueue.
 *
 * @packageDocumentation
 */

export {
  Executor,
  createExecutor,
  type ExecutorOptions,
  type ExecutorRunOptions,
} from './executor.ts';
export { KcontPQueue, type KcontPQueueOptions } from './kcont-p-queue.ts';
export { KcontQueue, type KcontQueueAddOptions, type KcontQueueRun } from './kcont-queue.ts';
