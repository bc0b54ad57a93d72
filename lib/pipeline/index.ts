/**
 * Asynchronous pipelines whose items are continuations.
 *
 * @packageDocumentation
 */

export type { PipelineStats, StageStats } from './stats.ts';
export type { Failure, PipelineReport, UnfinishedItem } from './runner.ts';
export { Pipeline, type ItemCallback, type ItemOptions, type ThroughOptions } from './pipeline.ts';
export {
  PipelinePlan,
  pipeline,
  type SoftQueueName,
  type StageContext,
  type StageOptions,
  type StageQueue,
  type StartOptions,
} from './plan.ts';
export type { KeyByOptions } from './keys.ts';
export type { PipelineSink } from './sink.ts';
export type { PipelineSource, ReadableStreamLike } from './source.ts';
