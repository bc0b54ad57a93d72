/**
 * Metrics for Prometheus, by prom-client.
 *
 * @packageDocumentation
 */

import { Counter, Gauge, Histogram, register, type Registry } from 'prom-client';
import { optionsOf, readOptions } from '../../base/options-check.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { counters, type WorkqueueCounters } from '../counters.ts';
import { KERNEL } from '../list.ts';
import { MOST_NAMES, MetricNames, having } from '../metric-names.ts';
import type { EnterMessage, SettleMessage, StallMessage } from '../messages.ts';
import { subscribeAll } from '../subscriptions.ts';

/**
 * Optional settings of {@link collect}.
 *
 * @public
 */
export interface CollectOptions {
  /** The kernel. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** Where the metrics are registered. Default: the registry of prom-client. */
  registry?: Registry;
  /** How many names of continuations metrics tell apart; all others are `(other)`. Default 100. */
  maxNames?: number;
}

/**
 * What {@link collect} has started.
 *
 * @public
 */
export interface Collection {
  /** Ends it, and removes the metrics from the registry. Further calls have no effect. */
  stop(): void;
  /** The same as `stop`, for `using`. */
  [Symbol.dispose](): void;
}

const OPTIONS = optionsOf<CollectOptions>('collect', {
  kernel: KERNEL,
  registry: having('registerMetric', 'a Registry'),
  maxNames: MOST_NAMES,
});

const MS_PER_S = 1000;
/** Bounds of histograms of durations, in s. */
const BUCKETS = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const COUNTED: readonly (readonly [string, string, keyof WorkqueueCounters])[] = [
  ['kcont_scheduled_total', 'Calls that have scheduled a continuation.', 'scheduled'],
  ['kcont_refused_total', 'Calls that found the continuation busy.', 'refused'],
  ['kcont_expired_total', 'Timers that have expired.', 'expired'],
  ['kcont_stopped_total', 'Scheduled runs that were withdrawn.', 'stopped'],
  ['kcont_entered_total', 'Functions that were called.', 'entered'],
  ['kcont_failed_total', 'Functions that have failed.', 'failed'],
];
const PRESENT: typeof COUNTED = [
  ['kcont_running', 'Functions that have not settled.', 'running'],
  ['kcont_queued', 'Continuations that are due and wait.', 'queued'],
];

/** Registers metrics that read the counters of the workqueues when they are scraped. Returns their names. */
function countRuns(kernel: Kernel, registers: Registry[]): string[] {
  const labelNames = ['workqueue'];
  for (const [name, help, key] of COUNTED) {
    void new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const row of counters(kernel).workqueues) {
          this.inc({ workqueue: row.name }, row[key] as number);
        }
      },
    });
  }
  for (const [name, help, key] of PRESENT) {
    void new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const row of counters(kernel).workqueues) {
          this.set({ workqueue: row.name }, row[key] as number);
        }
      },
    });
  }
  void new Gauge({
    name: 'kcont_cpu_lag_seconds',
    help: 'For how long the event loop of a CPU has been blocked.',
    labelNames: ['cpu'],
    registers,
    collect() {
      this.reset();
      for (const { index, lagMs } of counters(kernel).cpus) {
        this.set({ cpu: String(index) }, lagMs / MS_PER_S);
      }
    },
  });
  return [
    ...COUNTED.map(([name]) => name),
    ...PRESENT.map(([name]) => name),
    'kcont_cpu_lag_seconds',
  ];
}

/**
 * Registers metrics of the workqueues of a kernel on this thread: what has happened, how long continuations wait and
 * run, and stalls that `observe` has found.
 *
 * @remarks
 * Metrics have the names of workqueues and continuations, never single continuations. Counters are read when they
 * are scraped; waits and runs are recorded as they happen.
 *
 * @param options - optional settings
 * @returns an object that ends it
 * @throws KcontError EINVAL for an invalid option; what prom-client throws if metrics of these names are registered
 *
 * @example
 * ```ts
 * collect();
 * createServer(async (_, response) => response.end(await register.metrics())).listen(9464);
 * ```
 *
 * @public
 */
export function collect(options?: CollectOptions): Collection {
  const {
    kernel = processKernel,
    registry = register,
    maxNames = 100,
  } = readOptions(options, OPTIONS, collect);
  // Has it observed from now on.
  counters(kernel);
  const registers = [registry];
  const names = new MetricNames(maxNames);
  const registered = countRuns(kernel, registers);
  const waits = new Histogram({
    name: 'kcont_run_wait_seconds',
    help: 'Time from when a continuation was due until its function was called.',
    labelNames: ['workqueue', 'name'],
    buckets: BUCKETS,
    registers,
  });
  const runs = new Histogram({
    name: 'kcont_run_duration_seconds',
    help: 'Time until the function has returned, or its promise has settled.',
    labelNames: ['workqueue', 'name', 'failed'],
    buckets: BUCKETS,
    registers,
  });
  const stalls = new Counter({
    name: 'kcont_stalls_total',
    help: 'Stalls that observe() has reported.',
    labelNames: ['workqueue', 'kind'],
    registers,
  });
  registered.push('kcont_run_wait_seconds', 'kcont_run_duration_seconds', 'kcont_stalls_total');
  const unsubscribe = subscribeAll(kernel, {
    'kcont:enter': (message: EnterMessage): void => {
      const { workqueue, waitMs } = message;
      if (waitMs !== null) waits.observe({ workqueue, name: names.of(message) }, waitMs / MS_PER_S);
    },
    'kcont:settle': (message: SettleMessage): void => {
      const { workqueue, runMs, failed } = message;
      if (runMs === null) return;
      const labels = { workqueue, name: names.of(message), failed: String(failed) };
      runs.observe(labels, runMs / MS_PER_S);
    },
    'kcont:stall': ({ stall: { workqueue, kind } }: StallMessage): void => {
      stalls.inc({ workqueue, kind });
    },
  });
  const stop = (): void => {
    unsubscribe();
    for (const name of registered.splice(0)) registry.removeSingleMetric(name);
  };
  return { stop, [Symbol.dispose]: stop };
}
