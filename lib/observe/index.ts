/**
 * Seeing inside a kernel: lists of what is scheduled, waits and runs, who holds a lock, and what keeps the
 * process alive.
 *
 * @packageDocumentation
 */

import { kernel } from '../core/kernel.ts';
import { observing } from '../core/observer.ts';
import { debugAllKernels, startDebug } from './debug/debug-mode.ts';
import { locateLibrary } from './debug/sites.ts';
import { observeNewKernels, observerOf } from './kernel-observer.ts';
import { joinRecording } from './recorder/recording.ts';

export {
  counters,
  type CpuCounters,
  type KernelCounters,
  type LockCounters,
  type WorkqueueCounters,
} from './counters.ts';
export type { LatencyHistogram } from './histogram.ts';
export type { Finding, FindingKind } from './debug/finding.ts';
export {
  waitGraph,
  type Deadlock,
  type WaitEdge,
  type WaitGraph,
  type WaitHolder,
  type WaitParty,
} from './debug/wait-graph.ts';
export {
  histograms,
  type Histograms,
  type LockHistograms,
  type WorkqueueHistograms,
} from './histograms.ts';
export { lockState, type LockHolder, type LockState, type LockWaiter } from './holder.ts';
export { entries, list, type ListFilter } from './list.ts';
export type { ListEntry, ListState, ListWait } from './list-entry.ts';
export type {
  EnterMessage,
  ErrorMessage,
  KcontMessage,
  RunMessage,
  ScheduleMessage,
  SettleMessage,
  StallMessage,
} from './messages.ts';
export { observe, type Observation, type ObserveOptions } from './observe.ts';
export { propagate, type Propagator, type TraceCarrier } from './propagator.ts';
export type { FlightRecord, FlightRecordKind } from './recorder/records.ts';
export type { RecordOptions, Recording, RecordsFilter } from './recorder/recording.ts';
export { report, type ReportOptions } from './report.ts';
export type { Stall, StallKind, StallLimits } from './stall.ts';
export { whyAlive } from './why-alive.ts';

locateLibrary(import.meta.url);
observerOf(kernel);
observeNewKernels();
observing.debug = startDebug;
if (process.env['KCONT_DEBUG'] === '1') debugAllKernels();
joinRecording(kernel);
