/**
 * Continuations that are stored, and run by any process of a cluster.
 *
 * @packageDocumentation
 */

export type { BackoffOptions } from '../base/backoff.ts';
export type {
  BackendCaps,
  BackendHost,
  BackendNode,
  BackendOutcome,
  BackendRun,
  Cancelled,
  CronRequest,
  DurableBackend,
  DurableClient,
  DurableState,
  ParkedKcont,
  ScheduleAnswer,
  ScheduleRequest,
} from './backend.ts';
export { Definition, type DefineOptions, type DurableFunction } from './definition.ts';
export {
  Durable,
  durable,
  type CronOptions,
  type DurableKcontOptions,
  type DurableOptions,
  type DurableStageOptions,
} from './durable.ts';
export { DurableKcont, type EveryOptions, type OperationOptions } from './durable-kcont.ts';
export { Invocation } from './invocation.ts';
export type { Json } from './json.ts';
export { memory } from './memory.ts';
export type { SchemaIssue, SchemaResult, StandardSchema } from './schema.ts';
