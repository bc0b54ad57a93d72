/**
 * Spans and metrics of OpenTelemetry.
 *
 * @packageDocumentation
 */

import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  context,
  metrics,
  propagation,
  trace,
  type Attributes,
  type BatchObservableResult,
  type Context,
  type Meter,
  type Observable,
  type Span,
  type Tracer,
} from '@opentelemetry/api';
import { FLAG, optionsOf, readOptions } from '../../base/options-check.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { counters, type WorkqueueCounters } from '../counters.ts';
import { KERNEL } from '../list.ts';
import { MOST_NAMES, MetricNames, having } from '../metric-names.ts';
import type {
  EnterMessage,
  KcontMessage,
  RunMessage,
  SettleMessage,
  StallMessage,
} from '../messages.ts';
import { propagate } from '../propagator.ts';
import { subscribeAll } from '../subscriptions.ts';

/**
 * Optional settings of {@link instrument}.
 *
 * @public
 */
export interface InstrumentOptions {
  /** The kernel. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** Makes the spans. Default: `trace.getTracer('kcont')`. */
  tracer?: Tracer;
  /** Makes the instruments. Default: `metrics.getMeter('kcont')`. */
  meter?: Meter;
  /** Only functions that were scheduled within a span get one. Default false: all do. */
  requireParent?: boolean;
  /** How many names of continuations metrics tell apart; all others are `(other)`. Default 100. */
  maxNames?: number;
}

/**
 * What {@link instrument} has started.
 *
 * @public
 */
export interface Instrumentation {
  /** Ends it. Runs in flight get no end of their spans. Further calls have no effect. */
  stop(): void;
  /** The same as `stop`, for `using`. */
  [Symbol.dispose](): void;
}

const OPTIONS = optionsOf<InstrumentOptions>('instrument', {
  kernel: KERNEL,
  tracer: having('startSpan', 'a Tracer'),
  meter: having('createHistogram', 'a Meter'),
  requireParent: FLAG,
  maxNames: MOST_NAMES,
});

const MS_PER_S = 1000;
/** Bounds of histograms of durations, in s. */
const BOUNDS = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Trace contexts are those of OpenTelemetry. */
function propagateContexts(): () => void {
  return propagate({
    capture: () => {
      const active = context.active();
      return active === ROOT_CONTEXT ? undefined : active;
    },
    run: (captured, call) => context.with(captured as Context, call),
    inject: (captured) => {
      const carrier: Record<string, string> = {};
      propagation.inject(captured as Context, carrier);
      return Object.keys(carrier).length === 0 ? undefined : carrier;
    },
    extract: (carrier) => propagation.extract(ROOT_CONTEXT, carrier),
  });
}

/** Makes a span for each run; returns a function that ends this. */
function traceRuns(kernel: Kernel, tracer: Tracer, requireParent: boolean): () => void {
  const spans = new WeakMap<RunMessage, Span>();
  const finish = (run: RunMessage): void => {
    spans.get(run)?.end();
    spans.delete(run);
  };
  return subscribeAll(kernel, {
    'tracing:kcont:run:start': (run: RunMessage): void => {
      const parent = (run.context as Context | undefined) ?? ROOT_CONTEXT;
      if (requireParent && trace.getSpan(parent) === undefined) return;
      const attributes: Attributes = {
        'kcont.workqueue.name': run.workqueue,
        'kcont.workqueue.priority': run.priority,
        'kcont.cpu.index': run.cpu,
      };
      if (run.function !== '') attributes['code.function.name'] = run.function;
      if (run.waitMs !== null) attributes['kcont.run.wait_time'] = run.waitMs / MS_PER_S;
      const span = tracer.startSpan(run.name, { kind: SpanKind.INTERNAL, attributes }, parent);
      spans.set(run, span);
      run.context = trace.setSpan(parent, span);
    },
    'tracing:kcont:run:error': (run: RunMessage): void => {
      const span = spans.get(run);
      if (span === undefined) return;
      const { error } = run;
      const message = error instanceof Error ? error.message : String(error);
      span.recordException(error instanceof Error ? error : message);
      span.setStatus({ code: SpanStatusCode.ERROR, message });
      span.setAttribute('error.type', error instanceof Error ? error.name : '_OTHER');
    },
    'tracing:kcont:run:end': (run: RunMessage): void => {
      if (!run.isAsync) finish(run);
    },
    'tracing:kcont:run:asyncEnd': finish,
  });
}

/** Records how long continuations wait and run; returns a function that ends this. */
function measureRuns(kernel: Kernel, meter: Meter, maxNames: number): () => void {
  const names = new MetricNames(maxNames);
  const durations = { unit: 's', advice: { explicitBucketBoundaries: BOUNDS } };
  const waits = meter.createHistogram('kcont.run.wait_time', {
    description: 'Time from when a continuation was due until its function was called.',
    ...durations,
  });
  const runs = meter.createHistogram('kcont.run.duration', {
    description: 'Time until the function has returned, or its promise has settled.',
    ...durations,
  });
  const stalls = meter.createCounter('kcont.stall.count', {
    description: 'Stalls that observe() has reported.',
    unit: '{stall}',
  });
  const attributesOf = (message: KcontMessage): Attributes => ({
    'kcont.workqueue.name': message.workqueue,
    'kcont.name': names.of(message),
  });
  return subscribeAll(kernel, {
    'kcont:enter': (message: EnterMessage): void => {
      if (message.waitMs !== null) waits.record(message.waitMs / MS_PER_S, attributesOf(message));
    },
    'kcont:settle': (message: SettleMessage): void => {
      if (message.runMs === null) return;
      const attributes = attributesOf(message);
      if (message.failed) attributes['error.type'] = '_OTHER';
      runs.record(message.runMs / MS_PER_S, attributes);
    },
    'kcont:stall': ({ stall }: StallMessage): void => {
      stalls.add(1, { 'kcont.workqueue.name': stall.workqueue, 'kcont.stall.kind': stall.kind });
    },
  });
}

/** The instruments that are read from the counters: name, description, unit, and which counter. */
const COUNTED: readonly (readonly [string, string, string, keyof WorkqueueCounters])[] = [
  ['scheduled', 'Calls that have scheduled a continuation.', '{call}', 'scheduled'],
  ['refused', 'Calls that found the continuation busy.', '{call}', 'refused'],
  ['expired', 'Timers that have expired.', '{timer}', 'expired'],
  ['stopped', 'Scheduled runs that were withdrawn.', '{run}', 'stopped'],
  ['entered', 'Functions that were called.', '{run}', 'entered'],
  ['failed', 'Functions that have failed.', '{run}', 'failed'],
];
const PRESENT: typeof COUNTED = [
  ['running', 'Functions that have not settled.', '{run}', 'running'],
  ['queued', 'Continuations that are due and wait.', '{continuation}', 'queued'],
];

/** Has the counters read when metrics are collected; returns a function that ends this. */
function observeCounters(kernel: Kernel, meter: Meter): () => void {
  const instruments: (readonly [Observable, keyof WorkqueueCounters])[] = [];
  for (const [name, description, unit, key] of COUNTED) {
    const options = { description, unit };
    instruments.push([meter.createObservableCounter(`kcont.workqueue.${name}`, options), key]);
  }
  for (const [name, description, unit, key] of PRESENT) {
    const options = { description, unit };
    const made = meter.createObservableUpDownCounter(`kcont.workqueue.${name}`, options);
    instruments.push([made, key]);
  }
  const lag = meter.createObservableGauge('kcont.cpu.lag', {
    description: 'For how long the event loop of a CPU has been blocked.',
    unit: 's',
  });
  const read = (result: BatchObservableResult): void => {
    const { workqueues, cpus } = counters(kernel);
    for (const row of workqueues) {
      const attributes = { 'kcont.workqueue.name': row.name };
      for (const [observable, key] of instruments) {
        result.observe(observable, row[key] as number, attributes);
      }
    }
    for (const { index, lagMs } of cpus) {
      result.observe(lag, lagMs / MS_PER_S, { 'kcont.cpu.index': index });
    }
  };
  const observables = [...instruments.map(([observable]) => observable), lag];
  meter.addBatchObservableCallback(read, observables);
  return () => meter.removeBatchObservableCallback(read, observables);
}

/**
 * Makes a span of each run of a kernel on this thread, whose parent is the span in which it was scheduled, and
 * metrics of its workqueues.
 *
 * @remarks
 * The function runs in the context of its span. Metrics have the names of workqueues and continuations, never single
 * continuations. It installs a {@link Propagator}. On another CPU, call it in the CPU module.
 *
 * @param options - optional settings
 * @returns an object that ends it
 * @throws KcontError EINVAL for an invalid option
 *
 * @example
 * ```ts
 * using instrumentation = instrument();
 * ```
 *
 * @public
 */
export function instrument(options?: InstrumentOptions): Instrumentation {
  const {
    kernel = processKernel,
    tracer = trace.getTracer('kcont'),
    meter = metrics.getMeter('kcont'),
    requireParent = false,
    maxNames = 100,
  } = readOptions(options, OPTIONS, instrument);
  // Has it observed from now on.
  counters(kernel);
  const undo = [
    propagateContexts(),
    traceRuns(kernel, tracer, requireParent),
    measureRuns(kernel, meter, maxNames),
    observeCounters(kernel, meter),
  ];
  const stop = (): void => {
    for (const one of undo.splice(0)) one();
  };
  return { stop, [Symbol.dispose]: stop };
}
