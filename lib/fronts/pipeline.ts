/**
 * Asynchronous pipelines whose items are continuations.
 *
 * @packageDocumentation
 */

export type { PipelineStats, StageStats } from './pipeline/diagram.ts';
export type { Failure, PipelineReport, UnfinishedItem } from './pipeline/flow.ts';
export {
  Pipeline,
  type ItemCallback,
  type ItemOptions,
  type ThroughOptions,
} from './pipeline/pipeline.ts';
export {
  PipelinePlan,
  pipeline,
  type SoftQueueName,
  type StageContext,
  type StageOptions,
  type StageQueue,
  type StartOptions,
} from './pipeline/plan.ts';
export type { PipelineSink } from './pipeline/sink.ts';
export type { PipelineSource, ReadableStreamLike } from './pipeline/source.ts';
