// How the exports of the library are shown: by `console.log`, as a string, and as JSON.

import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { expect } from 'chai';
import * as cpu from '../../lib/cpu/index.ts';
import * as graphiles from '../../lib/durable/graphile/index.ts';
import * as durables from '../../lib/durable/index.ts';
import * as mutexes from '../../lib/compat/async-mutex/index.ts';
import * as locks from '../../lib/compat/web-locks.ts';
import * as limits from '../../lib/limits/index.ts';
import * as periodic from '../../lib/periodic/index.ts';
import * as retries from '../../lib/retry/index.ts';
import * as queues from '../../lib/compat/p-queue/index.ts';
import * as observe from '../support/observe.ts';
import * as otel from '../../lib/observe/otel/index.ts';
import * as prometheus from '../../lib/observe/prometheus/index.ts';
import * as inspectors from '../../lib/observe/inspector/index.ts';
import * as pipelines from '../../lib/pipeline/index.ts';
import * as schedulers from '../../lib/compat/scheduler/index.ts';
import * as signals from '../../lib/compat/abort-deadline.ts';
import * as register from '../../lib/compat/timers/register.ts';
import * as promises from '../../lib/compat/timers/promises-index.ts';
import * as timers from '../../lib/compat/timers/index.ts';
import * as core from '../../lib/index.ts';
import * as sync from '../../lib/sync.ts';
import * as kern from '../../lib/kern.ts';

const modules: Readonly<Record<string, object>> = {
  '.': core,
  './kern': kern,
  './timers': timers,
  './timers/promises': promises,
  './timers/register': register,
  './sync': sync,
  './async-mutex': mutexes,
  './locks': locks,
  './p-queue': queues,
  './scheduler': schedulers,
  './signal': signals,
  './pipeline': pipelines,
  './cpu': cpu,
  './limits': limits,
  './observe': observe,
  './otel': otel,
  './prometheus': prometheus,
  './inspector': inspectors,
  './periodic': periodic,
  './retry': retries,
  './durable': durables,
  './durable/graphile': graphiles,
};
register.restore();

const { Kcont, Kernel, Mutex, RMLock, RWLock, Scope, SpinLock, VirtualClock } = core;
const clock = new VirtualClock();
const kernel = new Kernel({ clock });
clock.tick(7);
const nothing = (): void => undefined;

const held = new Mutex();
held.tryEnter();
const waiting = held.enter();
const read = new RWLock();
read.read.tryEnter();
const written = new RMLock();
written.write.tryEnter();
const scope = new Scope();
const beat = new Kcont(kernel.wq.softclock, new Mutex(), nothing, null, { name: 'beat', scope });
beat.schedule(50);
const disposed = new Scope();
disposed[Symbol.dispose]();
const queue = new queues.KcontQueue();
queue.enqueue(() => Promise.resolve());
const paused = new queues.KcontPQueue({ concurrency: 2, autoStart: false });
void paused.add(nothing);
const granted = (await locks.locks.request('journal', (lock) => lock)) as locks.Lock;
const controller = new schedulers.TaskController({ priority: 'background' });
const deadline = new signals.Deadline(kernel);
deadline.arm(500);
const plan = pipelines.pipeline<number>('site').stage('parse', (value) => value);

const other = new Kernel({ clock: new VirtualClock() });
const bucket = new limits.TokenBucket({ ratePerSecond: 1, burst: 5, kernel: other });
const keyed = new limits.KeyedLimiter(() => bucket);
keyed.tryTake('a', 2);
const trying = new retries.Retry(nothing, { wq: other.wq.prilow });
const jobs = await durables.durable({ node: 'web-1', kernel: new Kernel({ clock }) });
const mail = jobs.define('mail', nothing);
const called = durables.Invocation._make(
  { id: 'mail:42', handler: 'mail', failed: 1 } as durables.BackendRun,
  'web-1',
  controller.signal,
);

/** The first line of each instance. */
const rows: readonly (readonly [of: string, it: object, line: string])[] = [
  ['Kcont', beat, 'Kcont beat { PENDING, due in 50 ms, softclock, free lock }'],
  ['Kernel', kernel, 'Kernel { 3 pending, 1 queued, 0 running }'],
  [
    'Workqueue',
    kernel.wq.softnet,
    'Workqueue softnet { priority 215, 0 queued, 0 running, 0 entered }',
  ],
  ['Cpu', kernel.cpus[0] as core.Cpu, 'Cpu 0 { up }'],
  ['Mutex', new Mutex(), 'Mutex { free, 0 waiting }'],
  ['Mutex', held, 'Mutex { held, 1 waiting }'],
  ['Mutex', new Mutex({ name: 'journal' }), 'Mutex journal { free, 0 waiting }'],
  ['Mutex', new (class OwnLock extends Mutex {})(), 'OwnLock { free, 0 waiting }'],
  ['SpinLock', new SpinLock(), 'SpinLock { free, 0 waiting }'],
  ['RWLock', read, 'RWLock { held by readers, 0 waiting }'],
  ['RWLock', new RWLock(), 'RWLock { free, 0 waiting }'],
  ['RMLock', written, 'RMLock { held by a writer, 0 waiting }'],
  ['Semaphore', new sync.Semaphore(5), 'Semaphore { 5 of 5 free, 0 waiting }'],
  [
    'Semaphore',
    new sync.Semaphore(5, { name: 'memory' }),
    'Semaphore memory { 5 of 5 free, 0 waiting }',
  ],
  ['ShareableLock', new sync.Semaphore(5).ofWeight(2), 'WeightedSide { free, 0 waiting }'],
  ['AsyncLock', new mutexes.Mutex(), 'Mutex { 1 of 1 free, 0 waiting }'],
  ['Semaphore', new mutexes.Semaphore(-2), 'Semaphore { -2 of -2 free, 0 waiting }'],
  ['Condition', new sync.Condition(new Mutex()), 'Condition { 0 waiting }'],
  ['AsyncEvent', new sync.AsyncEvent(), 'AsyncEvent { not set, 0 waiting }'],
  ['AsyncEvent', new sync.AsyncEvent({ set: true }), 'AsyncEvent { set, 0 waiting }'],
  ['KeyedLocks', new sync.KeyedLocks(), 'KeyedLocks { 0 in use }'],
  ['KeyedLocks', new sync.KeyedLocks({ name: 'users' }), 'KeyedLocks users { 0 in use }'],
  ['BaseLock', read.read, 'ReadSide { held, 0 waiting }'],
  ['BaseLock', read.write, 'WriteSide { free, 0 waiting }'],
  ['Scope', scope, 'Scope { 1 continuations, 1 busy }'],
  ['Scope', disposed, 'Scope { disposed }'],
  ['VirtualClock', clock, 'VirtualClock { at 7 ms }'],
  [
    'ShedError',
    new core.ShedError('db', 20, { targetMs: 5, intervalMs: 100 }),
    'KcontError [ESHED]: workqueue db refuses runs: the oldest one has waited for 20 ms, the target is 5 ms; try again after 100 ms',
  ],
  ['KcontError', new core.KcontError('EBUSY', 'not now'), 'KcontError [EBUSY]: not now'],
  ['Lock', granted, 'Lock { journal, exclusive }'],
  ['LockManager', locks.locks, 'LockManager { 0 held, 0 pending }'],
  ['KcontQueue', queue, 'KcontQueue { 1 waiting }'],
  ['KcontPQueue', paused, 'KcontPQueue { 1 waiting, 0 of 2 running, paused }'],
  [
    'Executor',
    queues.createExecutor(kernel.wq.prilow),
    'Executor on prilow { 0 waiting, 0 of Infinity running }',
  ],
  ['Scheduler', schedulers.createScheduler(kernel), 'Scheduler { 0 queued }'],
  ['TaskController', controller, 'TaskController { signal: TaskSignal { background } }'],
  ['TaskSignal', controller.signal, 'TaskSignal { background }'],
  [
    'TaskPriorityChangeEvent',
    new schedulers.TaskPriorityChangeEvent('change', { previousPriority: 'background' }),
    'TaskPriorityChangeEvent { change, was background }',
  ],
  ['Deadline', deadline, 'Deadline { due in 500 ms }'],
  ['PipelinePlan', plan, 'PipelinePlan site { parse }'],
  ['Pipeline', plan.start({ kernel }), 'site: open, 0 inside, 0 done, 0 failed'],
  ['SharedLock', new cpu.SharedRWLock().read, 'ReadSide { free, 0 waiting }'],
  ['SharedSides', new cpu.SharedRWLock(), 'SharedRWLock { free, 0 waiting }'],
  ['SharedMutex', new cpu.SharedMutex(), 'SharedMutex { free, 0 waiting }'],
  ['SharedSpinLock', new cpu.SharedSpinLock(), 'SharedSpinLock { free, 0 waiting }'],
  ['SharedRWLock', new cpu.SharedRWLock(), 'SharedRWLock { free, 0 waiting }'],
  ['SharedRMLock', new cpu.SharedRMLock(), 'SharedRMLock { free, 0 waiting }'],
  [
    'Timeout',
    timers.createTimers(kernel).setTimeout(nothing, 50),
    'Timeout { 50 ms, due in 50 ms }',
  ],
  ['RateLimiter', bucket, 'TokenBucket { 3 available, 0 waiting }'],
  ['TokenBucket', bucket, 'TokenBucket { 3 available, 0 waiting }'],
  [
    'SlidingWindow',
    new limits.SlidingWindow({ limit: 5, windowMs: 5, kernel: other }),
    'SlidingWindow { 5 available, 0 waiting }',
  ],
  ['KeyedLimiter', keyed, 'KeyedLimiter { 1 keys }'],
  ['WallClock', new periodic.WallClock(other, () => 0), 'WallClock { 1970-01-01T00:00:00.000Z }'],
  [
    'VirtualWallClock',
    new periodic.VirtualWallClock(other, 5),
    'VirtualWallClock { 1970-01-01T00:00:00.005Z }',
  ],
  [
    'PeriodicTask',
    periodic.every(50, nothing, { wq: other.wq.prilow }),
    'PeriodicTask nothing { waiting, 0 runs, next at 1970-01-01T00:00:00.050Z }',
  ],
  ['Retry', trying, 'Retry nothing { queued, attempt 0 }'],
  [
    'RetryBudget',
    new retries.RetryBudget({ kernel: other }),
    'RetryBudget { 0 calls, 0 waiting, 0 begun, 0 refused }',
  ],
  ['Durable', jobs, 'Durable web-1 { 0 running }'],
  ['Definition', mail, 'Definition mail { primedlow, at most 1 attempts }'],
  [
    'DurableKcont',
    jobs.kcont('mail:42', 'mail', null, { lock: 'user:7' }),
    'DurableKcont mail:42 { mail, lock user:7 }',
  ],
  ['Invocation', called, 'Invocation mail:42 { mail, attempt 2 }'],
  ['Immediate', timers.createTimers(kernel).setImmediate(nothing), 'Immediate { set }'],
];

/** Its string in a template and by `String`. */
const asText = (it_: unknown): string => `${it_ as string}:`.slice(0, -1);

const isClass = (value: unknown): boolean =>
  typeof value === 'function' && Function.prototype.toString.call(value).startsWith('class');

describe('the log output', () => {
  // Lists of other specs would have the code that waits for it.
  after(async () => {
    held.exit();
    await waiting;
    held.exit();
  });

  it('covers all modules of the package', () => {
    const { exports } = JSON.parse(
      readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
    ) as { exports: object };
    const paths = Object.keys(exports).filter((path) => path !== './package.json');
    expect(paths).to.have.members(Object.keys(modules));
  });

  it('covers every class that is exported', () => {
    const classes = Object.values(modules).flatMap((exported) =>
      Object.entries(exported)
        .filter(([, value]) => isClass(value))
        .map(([name]) => name),
    );
    const inTable = new Set(rows.map(([of]) => of));
    expect(classes.filter((name) => !inTable.has(name))).to.deep.equal([]);
  });

  for (const [of, it_, line] of rows) {
    it(`of ${of} is: ${line}`, () => {
      const shown = inspect(it_);
      expect(shown.split('\n')[0]).to.equal(line);
      expect(inspect({ deeper: { still: it_ } }, { depth: 0 })).to.be.a('string');
      expect(shown.replaceAll(/\n {4}at .*/g, '')).to.not.match(/\b_\w|Circular/);
      const text = asText(it_);
      expect(text).to.not.equal('[object Object]');
      const json = JSON.stringify(it_);
      expect(json).to.not.match(/"_\w/);
      const parsed = JSON.parse(json) as unknown;
      const size =
        typeof parsed === 'string' ? parsed.length : Object.keys(parsed as object).length;
      expect(size).to.be.greaterThan(0);
      expect(JSON.stringify({ deeper: [it_] })).to.equal(`{"deeper":[${json}]}`);
    });
  }

  it('has the figures as JSON', () => {
    expect(
      [beat, kernel.cpus[0], held, read, clock, scope].map((it_) => JSON.stringify(it_)),
    ).to.deep.equal([
      '{"name":"beat","state":"PENDING","deadline":57,"wq":"softclock"}',
      '{"index":0,"state":"up"}',
      '{"name":"","held":true,"waiting":1}',
      '{"name":"","read":true,"write":false,"waiting":0}',
      '{"now":7}',
      '{"name":"","size":1,"busy":1,"runs":0,"disposed":false}',
    ]);
    expect(JSON.parse(JSON.stringify(kernel))).to.deep.equal(kernel.inspect());
    expect(JSON.parse(JSON.stringify(kernel.wq))).to.have.keys(Object.keys(kernel.wq));
    expect(JSON.parse(JSON.stringify(kernel.wq.prilow))).to.deep.equal(kernel.wq.prilow.stats());
  });

  it('does not show internals of the object that a stage gets', async () => {
    const own = plan
      .stage('render', (_, context) => [inspect(context), JSON.stringify(context)])
      .start();
    expect(await own.run(1)).to.deep.equal([
      'StageContext { render of site }',
      '{"stage":"render","pipeline":"site","urgent":false}',
    ]);
    await own.close();
  });

  it('of objects made without their constructor, as stubs are, does not throw', () => {
    for (const made of [Mutex, RWLock, Scope, Kernel, Kcont]) {
      const stub = Object.create(made.prototype as object) as object;
      expect([inspect(stub), asText(stub), JSON.stringify(stub)]).to.deep.equal([
        `${made.name} {}`,
        `${made.name} {}`,
        `"${made.name} {}"`,
      ]);
    }
  });
});
