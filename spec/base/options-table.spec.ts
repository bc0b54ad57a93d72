// Checks the same rules for every options object of the library: invalid values and unknown names are
// refused at the call, and each option is read once.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { SharedMutex, SharedRMLock, SharedRWLock, SharedSpinLock } from '../../lib/cpu/index.ts';
import { LocalCpu } from '../../lib/cpu/local-cpu.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { KcontPQueue, KcontQueue, createExecutor } from '../../lib/compat/p-queue/index.ts';
import { entries, list, observe, report, type Recording } from '../support/observe.ts';
import { instrument } from '../../lib/observe/otel/index.ts';
import { collect } from '../../lib/observe/prometheus/index.ts';
import { serveInspector } from '../../lib/observe/inspector/index.ts';
import { metrics, trace } from '@opentelemetry/api';
import { Registry } from 'prom-client';
import { graphile } from '../../lib/durable/graphile/index.ts';
import { durable, memory } from '../../lib/durable/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import {
  KeyedLimiter,
  SlidingWindow,
  TokenBucket,
  debounce,
  debounceAsync,
  throttle,
  throttleAsync,
} from '../../lib/limits/index.ts';
import { AsyncEvent, Condition, KeyedLocks, Semaphore } from '../../lib/sync.ts';
import { VirtualWallClock, at, cron, every } from '../../lib/periodic/index.ts';
import { Retry, RetryBudget, retry } from '../../lib/retry/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { Deadline, createDeadline, deadline } from '../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { restore, takeOver } from '../../lib/compat/timers/register.ts';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  RMLock,
  RWLock,
  Scope,
  SpinLock,
  VirtualClock,
  type Workqueue,
} from '../../lib/index.ts';
import { ROOT } from '../support/root.ts';

// An import has replaced the global timers.
restore();

const nothing = (): void => undefined;
const kernel = new Kernel({ clock: new VirtualClock() });
const { prilow, softclock } = kernel.wq;

const always = (): boolean => true;

/** A condition of a lock that is held. */
function heldCondition(): Condition {
  const lock = new Mutex();
  lock.tryEnter();
  return new Condition(lock);
}

/** Replaces the parts that need threads. */
const machine = {
  supervision: { stop: () => Promise.resolve(), restart: () => Promise.resolve() },
} as unknown as LocalCpu;

/** A row of the table: one options object. */
interface Row {
  /** Its name in messages. */
  readonly of: string;
  /** The functions, classes and methods in the API reports that take it. */
  readonly api: readonly string[];
  /** All the calls that take it. */
  readonly calls: readonly ((options: never) => unknown)[];
  /** A valid value for each of its options. */
  readonly good: Readonly<Record<string, unknown>>;
  /** Further invalid values, besides those that are invalid for every option of that type. */
  readonly bad?: Readonly<Record<string, readonly unknown[]>>;
  /** Options that accept any value. */
  readonly takesAll?: readonly string[];
  /** Required options. */
  readonly needed?: readonly string[];
  /** Whether it is passed on to p-queue, which reads Object.prototype too. */
  readonly passesOn?: boolean;
  /** Whether it is nested in another options object. */
  readonly inner?: boolean;
}

const site = pipeline<number>('site')
  .stage('parse', (value) => value, { buffer: Infinity })
  .start({ kernel });

/** The options that all periodic tasks have. */
const task = {
  wq: prilow,
  lock: null,
  name: 'job',
  ref: false,
  signal: new AbortController().signal,
  wallClock: new VirtualWallClock(kernel),
};

/** The options that all debounced and throttled functions have. */
const edges = {
  leading: true,
  trailing: true,
  keyBy: nothing,
  wq: prilow,
  ref: false,
  name: 'job',
};
const recording = observe({ kernel, record: { onException: false } }).recording as Recording;
const backend = memory();
const jobs = await durable({ backend, node: 'table', kernel });
jobs.define('note', nothing);
const note = jobs.kcont('note', 'note', null);
let defined = 0;
const schema = { '~standard': { version: 1, vendor: 'spec', validate: nothing } };
const client = { query: nothing };

const rows: readonly Row[] = [
  {
    of: 'Kcont',
    api: ['KcontConstructor.new', 'KcontHandle.constructor'],
    calls: [(options) => new Kcont(softclock, null, nothing, null, options).destroy()],
    good: {
      name: 'idle',
      ref: false,
      affinity: 'weak',
      slackMs: 5,
      context: 'schedule',
      scope: new Scope(),
      signal: new AbortController().signal,
    },
    bad: { slackMs: [2 ** 31, Infinity], affinity: ['some'], context: ['own'] },
  },
  {
    // All settings in one object.
    of: 'Kcont',
    api: [],
    calls: [(settings) => new Kcont(settings).destroy()],
    good: {
      wq: softclock,
      lock: new Mutex(),
      func: nothing,
      arg: 'anything',
      name: 'idle',
      ref: false,
      affinity: 'weak',
      slackMs: 5,
      context: 'schedule',
      scope: new Scope(),
      signal: new AbortController().signal,
    },
    bad: { lock: [{}], slackMs: [2 ** 31], affinity: ['some'], context: ['own'] },
    takesAll: ['arg'],
    needed: ['wq', 'func'],
  },
  {
    of: 'run',
    api: ['Workqueue.run'],
    // A call with valid options waits for the clock.
    calls: [(options) => Promise.race([prilow.run(nothing, options), Promise.resolve()])],
    good: {
      lock: new Mutex(),
      delayMs: 5,
      cpu: null,
      signal: new AbortController().signal,
      arg: 'anything',
      transfer: [],
      kill: false,
      name: 'job',
      scope: new Scope(),
      context: 'create',
    },
    bad: { delayMs: [2 ** 53, Infinity], context: ['schedule'], cpu: [{}], lock: [{}, 1] },
    takesAll: ['arg'],
  },
  {
    of: 'Scope',
    api: ['Scope.constructor'],
    calls: [(options) => new Scope(options)[Symbol.dispose]()],
    good: {
      name: 'request',
      wq: prilow,
      signal: new AbortController().signal,
      deadlineMs: 5,
      parent: new Scope(),
      policy: 'any',
    },
    bad: { deadlineMs: [0, Infinity, 2 ** 53], policy: ['first'] },
  },
  {
    of: 'join',
    api: ['Scope.join'],
    calls: [(options) => new Scope({ wq: prilow }).join(options)],
    good: { policy: 'settled', deadlineMs: 5 },
    bad: { deadlineMs: [0, Infinity, 2 ** 53], policy: ['first'] },
  },
  {
    of: 'enter',
    api: [
      'Lock.enter',
      'BaseLock.enter',
      'Mutex.hold',
      'Mutex.run',
      'SharedMutex.hold',
      'SharedMutex.run',
      'KeyedLocks.run',
    ],
    calls: [
      (options) => new KeyedLocks().run(1, nothing, options),
      (options) => new KeyedLocks().of(1).enter(options),
      (options) => new Mutex().enter(options),
      (options) => new Mutex().hold(options),
      (options) => new Mutex().run(nothing, options),
      (options) => {
        const lock = new SpinLock();
        return lock.enter(options).then(() => lock.exit());
      },
      (options) => new RWLock().read.enter(options),
      (options) => new SharedMutex().enter(options),
      (options) => new SharedMutex().hold(options),
      (options) => new SharedMutex().run(nothing, options),
      (options) => new SharedRWLock().write.enter(options),
    ],
    good: { signal: new AbortController().signal, priority: 223 },
    bad: { priority: [224, 1.5, Infinity] },
  },
  {
    of: 'enter',
    api: ['Semaphore.enter', 'Semaphore.hold', 'Semaphore.run'],
    calls: [
      (options) => Promise.race([new Semaphore(5).enter(options), Promise.resolve()]),
      (options) => Promise.race([new Semaphore(5).hold(options), Promise.resolve()]),
      (options) => Promise.race([new Semaphore(5).run(nothing, options), Promise.resolve()]),
    ],
    good: { signal: new AbortController().signal, priority: 223, weight: 5 },
    bad: { priority: [224, 1.5, Infinity], weight: [0, 1.5, Infinity] },
  },
  {
    of: 'wait',
    api: ['Condition.wait', 'Condition.waitFor'],
    calls: [
      (options) => Promise.race([heldCondition().wait(options), Promise.resolve()]),
      (options) => heldCondition().waitFor(always, options),
    ],
    good: { signal: new AbortController().signal, priority: 223 },
    bad: { priority: [224, 1.5, Infinity] },
  },
  {
    of: 'wait',
    api: ['AsyncEvent.wait'],
    calls: [(options) => new AsyncEvent({ set: true }).wait(options)],
    good: { signal: new AbortController().signal },
  },
  {
    of: 'AsyncEvent',
    api: ['AsyncEvent.constructor'],
    calls: [(options) => new AsyncEvent(options)],
    good: { set: true, autoReset: true },
  },
  {
    of: 'Lock',
    api: [
      'BaseLock.constructor',
      'RWLock.constructor',
      'SharedMutex.constructor',
      'SharedSpinLock.constructor',
      'SharedRWLock.constructor',
      'SharedRMLock.constructor',
      'KeyedLocks.constructor',
      'Semaphore.constructor',
    ],
    calls: [
      KeyedLocks,
      class extends Semaphore {
        constructor(options: never) {
          super(1, options);
        }
      },
      Mutex,
      SpinLock,
      RWLock,
      RMLock,
      SharedMutex,
      SharedSpinLock,
      SharedRWLock,
      SharedRMLock,
    ].map((made) => (options: never) => new made(options)),
    good: { name: 'journal' },
    bad: { name: [''] },
  },
  {
    of: 'acquire',
    api: ['Kernel.acquire'],
    calls: [(options) => kernel.acquire(90, options).release()],
    good: {
      perCpu: false,
      maxActive: 2,
      patienceMs: 50,
      onError: nothing,
      name: 'database',
      shares: 3,
      shed: { targetMs: 5 },
    },
    bad: { maxActive: [0, 1.5], name: [''], shares: [0, 1.5, 1001, Infinity] },
    // Its own row has what is refused.
    takesAll: ['shed'],
  },
  {
    of: 'Kernel',
    api: ['Kernel.constructor'],
    calls: [(options) => new Kernel(options)],
    good: { clock: new VirtualClock(), onError: nothing, budgetMs: 2, shed: {}, debug: false },
    bad: { budgetMs: [0], clock: [{}] },
    takesAll: ['shed'],
  },
  {
    of: 'shed',
    api: [],
    calls: [
      (options) => kernel.acquire(90, { shed: options ?? {} }).release(),
      (options) => new Kernel({ clock: new VirtualClock(), shed: options ?? {} }),
    ],
    good: { targetMs: 5, intervalMs: 100 },
    bad: { targetMs: [0, Infinity], intervalMs: [0, Infinity] },
    inner: true,
  },
  {
    of: 'drain',
    api: ['Kernel.drain', 'Workqueue.drain', 'Pipeline.drain', 'Executor.drain'],
    calls: [
      (options) => new Kernel({ clock: new VirtualClock() }).drain(options),
      (options) => softclock.drain(options),
      (options) => pipeline('site').stage('parse', nothing).start({ kernel }).drain(options),
      (options) => createExecutor(prilow).drain(options),
    ],
    good: { signal: new AbortController().signal },
  },
  {
    of: 'close',
    api: ['Kernel.close'],
    calls: [(options) => new Kernel({ clock: new VirtualClock() }).close(options)],
    good: { graceMs: 5 },
    bad: { graceMs: [Infinity, 2 ** 53] },
  },
  ...(['stop', 'restart'] as const).map((of) => ({
    of,
    api: [`Cpu.${of}`],
    calls: [(options: never) => LocalCpu.prototype[of].call(machine, 1, options)],
    good: { graceMs: 5 },
    bad: { graceMs: [Infinity, 2 ** 53] },
  })),
  {
    of: 'startCpus',
    api: ['Kernel.startCpus'],
    // A VirtualClock has no CPUs: valid options are refused with ENOTSUP.
    calls: [(options) => kernel.startCpus(options)],
    good: {
      module: new URL('file:///cpu.js'),
      count: 1,
      onEvent: nothing,
      blockedMs: 5,
      backoffMs: 5,
      longestBackoffMs: 5,
      timeoutMs: Infinity,
      signal: new AbortController().signal,
      resourceLimits: { stackSizeMb: 4 },
    },
    bad: { count: [0, 16, 1.5], blockedMs: [Infinity], timeoutMs: [0, 2 ** 53] },
    takesAll: ['module', 'resourceLimits'],
    needed: ['module'],
  },
  {
    of: 'resourceLimits',
    api: [],
    calls: [
      (options) =>
        kernel.startCpus({ module: new URL('file:///cpu.js'), resourceLimits: options ?? {} }),
    ],
    good: {
      maxOldGenerationSizeMb: 64,
      maxYoungGenerationSizeMb: 8,
      codeRangeSizeMb: 8,
      stackSizeMb: 4,
    },
    bad: { stackSizeMb: [0, Infinity] },
    inner: true,
  },
  {
    of: 'enterSync',
    api: ['SharedSpinLock.enterSync'],
    calls: [
      (options) => {
        const lock = new SharedSpinLock();
        lock.enterSync(options);
        lock.exit();
      },
    ],
    good: { patienceMs: Infinity },
  },
  {
    of: 'Deadline',
    api: ['createDeadline', 'Deadline.constructor'],
    calls: [
      (options) => createDeadline(kernel, options),
      (options) => new Deadline(kernel, options)[Symbol.dispose](),
    ],
    good: { ref: true, wq: softclock },
    bad: { wq: [new Kernel({ clock: new VirtualClock() }).wq.softclock] },
  },
  {
    of: 'createLocks',
    api: ['createLocks'],
    calls: [(options) => createLocks(kernel, options)],
    good: { wq: prilow },
    bad: { wq: [softclock] },
  },
  {
    of: 'createScheduler',
    api: ['createScheduler'],
    calls: [(options) => createScheduler(kernel, options)],
    good: { patienceMs: Infinity },
  },
  {
    of: 'Executor.run',
    api: ['Executor.run'],
    calls: [
      (options) => Promise.race([createExecutor(prilow).run(nothing, options), Promise.resolve()]),
    ],
    good: {
      scope: new Scope(),
      lock: null,
      delayMs: 5,
      cpu: null,
      signal: new AbortController().signal,
      arg: 'anything',
      transfer: [],
      kill: false,
      name: 'job',
      context: 'create',
      priority: 2,
      id: 'x',
      timeout: Infinity,
    },
    bad: { priority: ['2', NaN] },
    takesAll: ['arg', 'cpu', 'priority'],
    passesOn: true,
  },
  {
    of: 'createExecutor',
    api: ['createExecutor'],
    calls: [(options) => createExecutor(prilow, options)],
    good: {
      concurrency: 2,
      autoStart: false,
      interval: 5,
      intervalCap: 2,
      carryoverIntervalCount: true,
      carryoverConcurrencyCount: true,
      strict: true,
      timeout: 5,
    },
    // PQueue refuses them, with a TypeError.
    takesAll: [
      'concurrency',
      'autoStart',
      'interval',
      'intervalCap',
      'carryoverIntervalCount',
      'carryoverConcurrencyCount',
      'strict',
      'timeout',
    ],
    passesOn: true,
  },
  {
    of: 'takeOver',
    api: ['takeOver'],
    calls: [
      (options) => {
        try {
          takeOver(options);
        } finally {
          restore();
        }
      },
    ],
    good: { longDelays: false },
  },
  {
    of: 'stage',
    api: ['PipelinePlan.stage'],
    calls: [(options) => pipeline('site').stage('parse', nothing, options)],
    good: { wq: 'prilow', limit: Infinity, buffer: 0, deadlineMs: 5, lock: new Mutex() },
    bad: { wq: ['low', null, {}], limit: [0, 1.5], buffer: [1.5], deadlineMs: [0, Infinity] },
  },
  {
    of: 'keyBy',
    api: ['PipelinePlan.keyBy'],
    calls: [(options) => pipeline('site').keyBy(nothing, options)],
    good: { fair: true, shares: (): number => 1 },
    bad: {},
  },
  {
    of: 'start',
    api: ['PipelinePlan.start'],
    calls: [(options) => pipeline('site').stage('parse', nothing).start(options)],
    good: {
      kernel,
      signal: new AbortController().signal,
      deadlineMs: 5,
      onError: nothing,
      context: 'create',
    },
    bad: { deadlineMs: [0, Infinity], context: ['schedule'] },
  },
  {
    of: 'an item',
    api: ['Pipeline.run', 'Pipeline.push'],
    calls: [
      (options) => Promise.race([site.run(1, options), Promise.resolve()]),
      (options) => site.push(1, nothing, options),
      (options) => site.push(1, undefined, options),
    ],
    good: { scope: new Scope(), urgent: true, deadlineMs: 5, signal: new AbortController().signal },
    bad: { deadlineMs: [0, Infinity] },
  },
  {
    of: 'through',
    api: ['Pipeline.through', 'Pipeline.pump', 'Pipeline.duplex', 'Pipeline.transform'],
    calls: [
      (options) => site.through([], options),
      (options) => Promise.race([site.pump([], nothing, options), Promise.resolve()]),
      // Not the equivalent `duplex`, which Node creates with properties of Object.prototype.
      (options) => site.transform(options),
    ],
    good: {
      urgent: true,
      deadlineMs: 5,
      signal: new AbortController().signal,
      ordered: true,
      buffer: 2,
      onError: nothing,
    },
    bad: { deadlineMs: [0, Infinity], buffer: [0, 1.5] },
  },
  {
    of: 'retry',
    api: ['retry', 'Retry.constructor'],
    calls: [
      (options) => Promise.race([retry(nothing, options), Promise.resolve()]),
      (options) => void new Retry(nothing, options),
    ],
    good: {
      attempts: Infinity,
      backoff: nothing,
      retryIf: nothing,
      onRetry: nothing,
      signal: new AbortController().signal,
      deadlineMs: 5,
      lock: new Mutex(),
      wq: prilow,
      budget: new RetryBudget({ kernel }),
      name: 'job',
      context: 'create',
    },
    bad: {
      attempts: [0, 1.5],
      deadlineMs: [0, Infinity, 2 ** 53],
      budget: [new RetryBudget()],
      context: ['schedule'],
    },
    // It may be a function or an object: its own row has what is refused.
    takesAll: ['backoff'],
  },
  {
    of: 'backoff',
    api: [],
    calls: [
      (options) => Promise.race([retry(nothing, { backoff: options ?? {} }), Promise.resolve()]),
      (options) => jobs.define(`f${defined++}`, { backoff: options ?? {} }, nothing),
    ],
    good: { baseMs: 5, maxMs: 50, factor: 1.5, jitter: 'none', random: Math.random },
    bad: { baseMs: [Infinity], maxMs: [Infinity], factor: [0.5, Infinity], jitter: ['some'] },
    inner: true,
  },
  {
    of: 'RetryBudget',
    api: ['RetryBudget.constructor'],
    calls: [(options) => new RetryBudget(options)],
    good: { ratio: 0.5, minPerSecond: 1, windowMs: 1000, kernel },
    bad: { ratio: [Infinity], minPerSecond: [Infinity], windowMs: [0, 5e-324, 0.5, Infinity] },
  },
  {
    of: 'every',
    api: ['every'],
    calls: [(options) => every(5, nothing, options).stop()],
    good: {
      ...task,
      fixed: 'rate',
      overrun: 'merge',
      jitterMs: 5,
      align: false,
      initialDelayMs: 5,
      random: Math.random,
    },
    bad: { fixed: ['some'], overrun: ['some'], jitterMs: [Infinity], initialDelayMs: [Infinity] },
  },
  {
    of: 'at',
    api: ['at'],
    calls: [(options) => at(5, nothing, options).stop()],
    good: { ...task, missed: 'skip', graceMs: 5 },
    bad: { missed: ['all'], graceMs: [Infinity] },
  },
  {
    of: 'cron',
    api: ['cron'],
    calls: [(options) => cron('* * * * *', nothing, options).stop()],
    good: {
      ...task,
      timeZone: 'UTC',
      missed: 'all',
      graceMs: 5,
      jitterMs: 5,
      random: Math.random,
    },
    bad: { missed: ['merge'], graceMs: [Infinity], jitterMs: [Infinity] },
  },
  {
    of: 'throttle',
    api: ['throttle'],
    calls: [(options) => throttle(nothing, 5, options)],
    good: edges,
  },
  {
    of: 'debounce',
    api: ['debounce'],
    calls: [(options) => debounce(nothing, 5, options)],
    good: { ...edges, maxWaitMs: 50 },
    bad: { maxWaitMs: [Infinity] },
  },
  {
    of: 'throttleAsync',
    api: ['throttleAsync'],
    calls: [(options) => throttleAsync(nothing, 5, options)],
    good: { ...edges, lock: null },
  },
  {
    of: 'debounceAsync',
    api: ['debounceAsync'],
    calls: [(options) => debounceAsync(nothing, 5, options)],
    good: { ...edges, lock: null, maxWaitMs: 50 },
    bad: { maxWaitMs: [Infinity] },
  },
  {
    of: 'TokenBucket',
    api: ['TokenBucket.constructor'],
    calls: [(options) => new TokenBucket(options)],
    good: { ratePerSecond: 5, burst: 5, kernel },
    bad: { ratePerSecond: [0, Infinity], burst: [0, 1.5, Infinity] },
    needed: ['ratePerSecond'],
  },
  {
    of: 'SlidingWindow',
    api: ['SlidingWindow.constructor'],
    calls: [(options) => new SlidingWindow(options)],
    good: { limit: 5, windowMs: 5, kernel },
    bad: { limit: [0, 1.5, Infinity], windowMs: [0, Infinity] },
    needed: ['limit', 'windowMs'],
  },
  {
    of: 'take',
    api: ['RateLimiter.take', 'RateLimiter.run', 'KeyedLimiter.take'],
    calls: [
      (options) => new TokenBucket({ ratePerSecond: 5 }).take(1, options),
      (options) => new TokenBucket({ ratePerSecond: 5 }).run(nothing, 1, options),
      (options) =>
        new KeyedLimiter(() => new TokenBucket({ ratePerSecond: 5 })).take(1, 1, options),
    ],
    good: { signal: new AbortController().signal },
  },
  {
    of: 'Pipeline.close',
    api: ['Pipeline.close'],
    calls: [(options) => pipeline('site').stage('parse', nothing).start({ kernel }).close(options)],
    good: { graceMs: Infinity },
  },
  {
    of: 'list',
    api: [],
    calls: [
      (options) => list(kernel, options),
      async (options) => {
        for await (const _ of entries(kernel, options)) break;
      },
    ],
    good: {
      state: 'waiting',
      waitsFor: 'lock',
      workqueue: 'prilow',
      name: 'idle',
      lateMs: Infinity,
      limit: Infinity,
    },
    bad: { state: ['idle'], waitsFor: ['a lock'], workqueue: [''], name: [''], limit: [0, 1.5] },
  },
  {
    of: 'report',
    api: ['report'],
    calls: [(options) => report(kernel, options)],
    good: { limit: 5 },
    bad: { limit: [0, 1.5] },
  },
  {
    of: 'instrument',
    api: ['instrument'],
    calls: [(options) => instrument(options).stop()],
    good: {
      kernel,
      tracer: trace.getTracer('spec'),
      meter: metrics.getMeter('spec'),
      requireParent: true,
      maxNames: 5,
    },
    bad: { tracer: [{}], meter: [{}], maxNames: [-1, 1.5] },
  },
  {
    of: 'collect',
    api: ['collect'],
    calls: [(options) => collect(options).stop()],
    good: { kernel, registry: new Registry(), maxNames: 5 },
    bad: { registry: [{}], maxNames: [-1, 1.5] },
  },
  {
    of: 'serveInspector',
    api: ['serveInspector'],
    calls: [
      async (options) => {
        const inspector = await serveInspector(options);
        await inspector.close();
      },
    ],
    good: {
      kernel,
      port: 0,
      host: 'localhost',
      allowedHosts: ['build.example'],
      token: 'a-token-of-a-spec_0123',
    },
    bad: {
      port: [-1, 1.5, 65_536],
      host: ['', 'a b'],
      allowedHosts: [[''], [5]],
      token: ['', 'short', 'not only of these characters!'],
    },
  },
  {
    of: 'observe',
    api: ['observe'],
    calls: [(options) => observe(options).stop()],
    good: {
      signal: 'SIGUSR2',
      write: nothing,
      kernel,
      limits: {},
      watch: false,
      record: false,
      socket: false,
      onStall: nothing,
      onFinding: nothing,
    },
    bad: { signal: ['SIGKILL', 'SIGSTOP', 'SIGNONE', 'sigusr2'] },
    takesAll: ['limits', 'record'],
  },
  {
    of: 'record',
    api: [],
    calls: [(options) => observe({ kernel, record: options ?? {} }).stop()],
    good: { records: 2000, folder: '.', onException: false },
    bad: { records: [1023, 2 ** 23], folder: [''] },
    inner: true,
  },
  {
    of: 'records',
    api: [],
    calls: [(options) => recording.records(options)],
    good: { sinceMs: 5, limit: 5 },
    bad: { limit: [0, 1.5] },
  },
  {
    of: 'limits',
    api: [],
    calls: [(options) => observe({ kernel, limits: options ?? {} }).stop()],
    good: {
      functionMs: 5,
      blockMs: 5,
      lateMs: 5,
      lockMs: 5,
      runMs: 5,
      starvedMs: Infinity,
      intervalMs: 0,
    },
    bad: { functionMs: [0], runMs: [0] },
    inner: true,
  },
  {
    of: 'durable',
    api: ['durable'],
    calls: [(options) => durable(options)],
    // A second node of that name is refused with EBUSY.
    good: { backend, node: 'table', kernel, concurrency: 2, onError: nothing },
    bad: { concurrency: [0, 1.5, Infinity], node: ['', 'a b'] },
  },
  {
    of: 'graphile',
    api: ['graphile'],
    calls: [(options) => graphile(options)],
    good: { connectionString: 'postgres://127.0.0.1/test', schema: 'kcont', livenessMs: 5000 },
    bad: {
      connectionString: [''],
      schema: ['', 'A', '1a', 'pg_a', 'a"b', 'x'.repeat(41)],
      livenessMs: [999, Infinity],
    },
    needed: ['connectionString'],
  },
  {
    of: 'define',
    api: ['Durable.define'],
    calls: [(options) => jobs.define(`f${defined++}`, options, nothing)],
    good: {
      wq: 'prilow',
      schema,
      maxAttempts: 2,
      backoff: {},
      crashLimit: 2,
      localLock: new Mutex(),
      onError: nothing,
    },
    bad: { wq: ['low', {}], maxAttempts: [0, 1.5, Infinity], crashLimit: [0, Infinity] },
    takesAll: ['backoff'],
  },
  {
    of: 'Durable.kcont',
    api: ['Durable.kcont'],
    calls: [(options) => jobs.kcont('x', 'note', null, options)],
    good: { lock: 'user:7', node: 'table', affinity: 'weak' },
    bad: { node: [''], affinity: ['some'] },
    // Null is valid.
    takesAll: ['lock'],
  },
  {
    of: 'cron',
    api: ['Durable.cron'],
    calls: [(options) => jobs.cron('x', '0 3 * * *', 'note', null, options)],
    good: { lock: 'user:7', node: 'table', affinity: 'weak', catchUpMs: 5 },
    bad: { node: [''], affinity: ['some'], catchUpMs: [Infinity] },
    takesAll: ['lock'],
  },
  {
    of: 'Durable.stage',
    api: ['Durable.stage'],
    calls: [(options) => jobs.stage('note', options)],
    good: { id: String, lock: nothing, delayMs: 5 },
    bad: { delayMs: [Infinity] },
    needed: ['id'],
  },
  {
    of: 'Durable.drain',
    api: ['Durable.drain'],
    calls: [(options) => jobs.drain(options)],
    good: { signal: new AbortController().signal },
  },
  {
    of: 'Durable.close',
    api: ['Durable.close'],
    calls: [(options) => jobs.close(options)],
    good: { graceMs: Infinity },
  },
  {
    of: 'an operation',
    api: [
      'DurableKcont.schedule',
      'DurableKcont.reset',
      'DurableKcont.touch',
      'DurableKcont.stop',
      'DurableKcont.cancel',
    ],
    calls: [
      (options) => note.schedule(0, options),
      (options) => note.reset(0, options),
      (options) => note.touch(options),
      (options) => note.stop(options),
      (options) => note.cancel(options),
    ],
    // Memory has no transactions: ENOTSUP.
    good: { client },
  },
  {
    of: 'every',
    api: ['DurableKcont.every'],
    calls: [(options) => note.every(5, options)],
    good: { client, firstMs: 5, catchUp: true },
    bad: { firstMs: [Infinity] },
  },
  {
    of: 'DurableKcont.drain',
    api: ['DurableKcont.drain', 'DurableKcont.halt'],
    calls: [(options) => note.drain(options), (options) => note.halt(options)],
    good: { signal: new AbortController().signal },
  },
];

/** Values that are invalid for every option of that type. */
function wrongFor(good: unknown): readonly unknown[] {
  if (typeof good === 'number') {
    return [String(good), '', NaN, -1, null, true, {}, [good], BigInt(7), new Number(7)];
  }
  if (typeof good === 'boolean') return [String(good), 0, 1, null, {}];
  if (typeof good === 'string') return [1, null, {}, Symbol('text')];
  if (typeof good === 'function') return ['nothing', null, {}];
  if (good === null) return [];
  if (Array.isArray(good)) return ['text', 1, null, {}];
  return ['text', 1, ...(good instanceof Mutex ? [] : [null, {}])];
}

/** 'taken', or the code and message of the error. */
async function answer(call: (options: never) => unknown, options: unknown): Promise<string> {
  try {
    await call(options as never);
    return 'taken';
  } catch (error) {
    if (!(error instanceof KcontError)) return String(error);
    // If it is refused for another reason, its options were accepted.
    return error.code === 'EINVAL' ? error.message : 'taken';
  }
}

const LIB = join(ROOT, 'lib');
const ETC = join(ROOT, 'etc');

/** Drop-in APIs of Node, the web and p-queue treat options as the originals do. */
const THEIRS = new Set([
  'LockManager.request',
  'Scheduler.postTask',
  'Scheduler.wait',
  'TimersPromises.setTimeout',
  'TimersPromises.setImmediate',
  'TimersPromises.setInterval',
  'KcontPQueue.constructor',
  'KcontQueue.enqueue',
  'KcontQueue.filter',
]);

/** The functions, classes and methods in an API report that take options, by their types. */
function takersIn(api: string): string[] {
  const takers: string[] = [];
  let owner = '';
  for (const line of api.split('\n')) {
    const declared = /^export (?:abstract )?(class|interface|function|const|type) (\w+)/.exec(line);
    const [, kind, name = ''] = declared ?? [];
    if (kind !== undefined) owner = kind === 'function' || kind === 'const' ? '' : name;
    if (!/\w\??: (?:Readonly<)?(?:Partial<)?(?:\w*Options\b|\{$)/.test(line)) continue;
    const [, method] = /^ {4}(\w+) ?[<(]/.exec(line) ?? [];
    if (kind === 'function') takers.push(name);
    else if (method !== undefined) takers.push(`${owner}.${method}`);
  }
  return takers;
}

describe('every options object', () => {
  it('has a row in this table', () => {
    const source = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => readFileSync(join(LIB, path), 'utf8'))
      .join('\n');
    const declared = Array.from(
      source.matchAll(/\boptionsOf<[^(]*\(\s*'([^']*)'/g),
      ([, of]) => of,
    );
    expect(declared).to.have.members(rows.map(({ of }) => of));
  });

  it('in the API reports has a row too', () => {
    const takers = readdirSync(ETC)
      .map((path) => readFileSync(join(ETC, path), 'utf8'))
      .flatMap(takersIn)
      .filter((taker) => !THEIRS.has(taker));
    expect([...new Set(takers)]).to.have.members(rows.flatMap(({ api }) => api));
  });

  for (const row of rows) {
    const {
      of,
      calls,
      good,
      bad = {},
      takesAll = [],
      needed = [],
      inner = false,
      passesOn = false,
    } = row;
    const options = Object.keys(good);
    const least = Object.fromEntries(needed.map((name) => [name, good[name]]));

    describe(`of ${of}`, () => {
      it('accepts valid values and undefined', async () => {
        for (const call of calls) {
          expect(await answer(call, good)).to.equal('taken');
          if (needed.length === 0) expect(await answer(call, undefined)).to.equal('taken');
          expect(await answer(call, least)).to.equal('taken');
          expect(await answer(call, Object.freeze({ ...good }))).to.equal('taken');
          const left = Object.fromEntries(options.map((name) => [name, undefined]));
          expect(await answer(call, { ...left, ...least })).to.equal('taken');
        }
      });

      it('must be an object', async () => {
        for (const call of calls) {
          for (const wrong of inner ? [5, 'text'] : [null, 5, 'text', true, nothing]) {
            expect(await answer(call, wrong)).to.match(/ must be an object( or a function)?, got /);
          }
        }
      });

      it('refuses values of another type or out of range', async () => {
        for (const call of calls) {
          for (const name of options.filter((option) => !takesAll.includes(option))) {
            for (const wrong of [...wrongFor(good[name]), ...(bad[name] ?? [])]) {
              const said = await answer(call, { ...good, [name]: wrong });
              expect(said, `${name}: ${typeof wrong} ${String(wrong)}`).to.match(
                new RegExp(`^${name}( of \\S+)? must be `),
              );
            }
          }
        }
      });

      it('refuses an unknown name, and suggests the intended one', async () => {
        for (const call of calls) {
          for (const name of options) {
            const misspelt = `${name[0]}${name.slice(2)}${name[1]}`;
            for (const wrong of [misspelt, `${name}s`, name.toUpperCase()]) {
              if (options.includes(wrong)) continue;
              expect(await answer(call, { ...good, [wrong]: good[name] })).to.equal(
                `unknown option '${wrong}' of ${of}; did you mean '${name}'?`,
              );
            }
          }
          expect(await answer(call, { zzzzzzzzzz: undefined })).to.equal(
            `unknown option 'zzzzzzzzzz' of ${of}`,
          );
          expect(await answer(call, Object.create({ zzzzzzzzzz: 1 }))).to.equal(
            `unknown option 'zzzzzzzzzz' of ${of}`,
          );
          expect(await answer(call, { ...least, [Symbol('zzz')]: 1 })).to.equal('taken');
        }
      });

      it('reads each option once', async () => {
        for (const call of calls) {
          const reads: string[] = [];
          const counting = (name: string): PropertyDescriptor => ({
            configurable: true,
            get() {
              reads.push(name);
              return good[name];
            },
          });
          const accessors = Object.fromEntries(options.map((name) => [name, counting(name)]));
          const own = Object.defineProperties({}, accessors);
          class Options {
            method(): void {}
          }
          Object.defineProperties(Options.prototype, accessors);
          class Derived extends Options {}
          for (const given of [
            own,
            Object.defineProperties(Object.create(null) as object, accessors),
            new Options(),
            new Derived(),
            new Proxy(own, {}),
          ]) {
            reads.length = 0;
            expect(await answer(call, given)).to.equal('taken');
            expect(reads.toSorted()).to.deep.equal(options.toSorted());
          }
        }
      });

      it('detects invalid options of a class too', async () => {
        for (const call of calls) {
          for (const name of options.filter((option) => !takesAll.includes(option))) {
            if (name === 'cpu') continue;
            const given = Object.create(
              Object.defineProperty({}, name, { get: () => Symbol('wrong') }),
            ) as object;
            expect(await answer(call, given)).to.match(new RegExp(`^${name} must be `));
          }
        }
      });

      it('refuses an option that cannot be read, and keeps what was thrown as the cause', async () => {
        for (const call of calls) {
          for (const name of options) {
            const thrown = new Error('stuck');
            const given = Object.defineProperty({ ...good }, name, {
              enumerable: true,
              get() {
                throw thrown;
              },
            });
            let error: unknown;
            try {
              await call(given as never);
            } catch (refused) {
              error = refused;
            }
            expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
            expect(String(error)).to.match(
              new RegExp(`${name} must be .*, got a getter that throws`),
            );
            expect((error as Error).cause).to.equal(thrown);
          }
        }
      });

      if (passesOn) return;

      it('ignores properties of Object.prototype', async () => {
        for (const call of calls) {
          for (const enumerable of [true, false]) {
            const polluted = [...options, 'zzzzzzzzzz'];
            let reads = 0;
            try {
              for (const name of polluted) {
                // oxlint-disable-next-line eslint/no-extend-native -- what is being tried
                Object.defineProperty(Object.prototype, name, {
                  configurable: true,
                  enumerable,
                  get() {
                    reads++;
                    return Symbol('polluted');
                  },
                  set(this: object, value: unknown) {
                    Object.defineProperty(this, name, {
                      configurable: true,
                      enumerable: true,
                      writable: true,
                      value,
                    });
                  },
                });
              }
              void Promise.resolve(call({ ...least } as never)).catch(nothing);
              if (needed.length === 0) {
                void Promise.resolve(call(undefined as never)).catch(nothing);
              }
            } finally {
              for (const name of polluted) Reflect.deleteProperty(Object.prototype, name);
            }
            expect(reads).to.equal(0);
          }
        }
      });
    });
  }
});

describe('an option name of another library', () => {
  const says = (f: () => unknown): string => {
    try {
      f();
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };

  it('is answered with the name it has here', () => {
    const acquire = (options: object): Workqueue => kernel.acquire(90, options);
    const make = (options: object): unknown => new Kcont(prilow, null, nothing, 0, options);
    expect([
      says(() => acquire({ concurrency: 2 })),
      says(() => acquire({ patience: 2 })),
      says(() => make({ unref: true })),
      says(() => make({ slakMs: 2 })),
    ]).to.deep.equal([
      "unknown option 'concurrency' of acquire; did you mean 'maxActive'?",
      "unknown option 'patience' of acquire; did you mean 'patienceMs'?",
      "unknown option 'unref' of Kcont; did you mean ref: false?",
      "unknown option 'slakMs' of Kcont; did you mean 'slackMs'?",
    ]);
  });

  it('gets no suggestion if no name is similar', () => {
    expect(says(() => kernel.acquire(90, { colour: 2 } as object))).to.equal(
      "unknown option 'colour' of acquire",
    );
  });
});

describe('functions and classes without options', () => {
  const given = { signal: new AbortController().signal };
  type Make = (options: object | undefined) => unknown;
  const making = (made: new (...args: never[]) => unknown): Make => {
    return (options) => Reflect.construct(made, [options]);
  };
  const calls: Record<string, Make> = {
    ...Object.fromEntries([VirtualClock, KcontQueue].map((made) => [made.name, making(made)])),
    createTimers: (options) => Reflect.apply(createTimers, undefined, [kernel, options]) as unknown,
    pipeline: (options) => Reflect.apply(pipeline, undefined, ['site', options]) as unknown,
    deadline: (options) => Reflect.apply(deadline, undefined, [1e6, options]) as unknown,
  };

  for (const [name, call] of Object.entries(calls)) {
    it(`${name} refuses options, and accepts undefined`, () => {
      expect(call(undefined)).to.not.equal(undefined);
      let error: KcontError | undefined;
      try {
        call(given);
      } catch (thrown) {
        error = thrown as KcontError;
      }
      expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
      expect(error?.message).to.equal(`${name} takes no options, got an instance of Object`);
      expect(error?.stack).to.include('options-table.spec');
    });
  }

  it('a clock refuses a start time', () => {
    expect(() => Reflect.construct(VirtualClock, [1000])).to.throw('takes no options, got 1000');
  });

  it('subclasses may take arguments', () => {
    class Account extends Mutex {
      readonly owner: string;
      constructor(owner: string) {
        super();
        this.owner = owner;
      }
    }
    expect(new Account('me').owner).to.equal('me');
  });

  it('functions may be called by Array.prototype.map', () => {
    expect([1e6, 2e6].map(deadline)).to.have.length(2);
    expect(['a', 'b'].map(pipeline).map(({ name }) => name)).to.deep.equal(['a', 'b']);
  });
});

describe('drop-in APIs of Node, the web and p-queue', () => {
  it('ignore names that they do not know, as the originals do', async () => {
    const unknown: object = { zzz: 1 };
    const clock = new VirtualClock();
    const own = new Kernel({ clock });
    const results = [
      createLocks(own).request('a', unknown, () => 'locks'),
      createScheduler(own).postTask(() => 'scheduler', unknown),
      createTimers(own).promises.setTimeout(0, 'timers', unknown),
      new KcontPQueue(unknown).add(() => 'p-queue', unknown),
    ];
    await clock.advance(5);
    expect(await Promise.all(results)).to.deep.equal(['locks', 'scheduler', 'timers', 'p-queue']);
  });
});
