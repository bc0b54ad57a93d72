// What a new user of the drop-in APIs sees: printed objects, and errors for invalid options.
import { inspect } from 'node:util';
import PQueue from 'p-queue';
import { expect } from 'chai';
import { KcontError, Kernel, Mutex, VirtualClock } from '../../../lib/index.ts';
import { createLocks } from '../../../lib/compat/web-locks.ts';
import { KcontPQueue, KcontQueue, createExecutor } from '../../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../../lib/pipeline/index.ts';
import { TaskController, createScheduler } from '../../../lib/compat/scheduler/index.ts';
import { Deadline, createDeadline, release } from '../../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../../lib/compat/timers/index.ts';

const never = (): Promise<never> => new Promise(() => undefined);

describe('util.inspect shows', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  const seen: string[] = [];
  const look = (...them: unknown[]): string[] => them.map((it) => inspect(it));
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    seen.length = 0;
  });

  it('a lock and its manager', async () => {
    const locks = createLocks(kernel);
    void locks.request('journal', { mode: 'shared' }, (lock) => {
      seen.push(inspect(lock));
      return never();
    });
    void locks.request('journal', never);
    await clock.advance(0);
    expect([...seen, ...look(locks)]).to.deep.equal([
      'Lock { journal, shared }',
      'LockManager { 1 held, 1 pending }',
    ]);
  });

  it('a scheduler, a controller and its signal', async () => {
    const scheduler = createScheduler(kernel);
    const controller = new TaskController({ priority: 'background' });
    const { signal } = controller;
    const done = scheduler.postTask(() => 1, { signal });
    expect(look(scheduler, controller, signal)).to.deep.equal([
      'Scheduler { 1 queued }',
      'TaskController { signal: TaskSignal { background } }',
      'TaskSignal { background }',
    ]);
    await clock.advance(0);
    await done;
    controller.abort();
    expect(look(scheduler, signal)).to.deep.equal([
      'Scheduler { 0 queued }',
      'TaskSignal { background, aborted }',
    ]);
  });

  it('a Deadline in all states', () => {
    const deadline = new Deadline(kernel);
    seen.push(...look(deadline));
    deadline.arm(500);
    clock.tick(1);
    seen.push(...look(deadline));
    deadline.signal.addEventListener('abort', () => seen.push(...look(deadline)));
    kernel.wq.softserial.run(() => seen.push(...look(deadline)), { delayMs: 499 }).catch(never);
    clock.tick(499);
    deadline[Symbol.dispose]();
    expect([...seen, ...look(deadline)]).to.deep.equal([
      'Deadline { not armed }',
      'Deadline { due in 499 ms }',
      'Deadline { due }',
      'Deadline { due }',
      'Deadline { disposed }',
    ]);
    const passed = new Deadline(kernel);
    passed.arm(1);
    clock.tick(1);
    expect(inspect(passed)).to.equal('Deadline { passed }');
  });

  it('queues and executors', async () => {
    const lock = new Mutex();
    const queue = new KcontPQueue({ concurrency: 1 });
    void queue.add(never, { lock });
    void queue.add(never, { lock });
    queue.pause();
    const executor = createExecutor(kernel.wq.prilow, { concurrency: 2 });
    for (let i = 0; i < 3; i++) void executor.run(never);
    expect(look(new KcontQueue(), queue, executor)).to.deep.equal([
      'KcontQueue { 0 waiting }',
      'KcontPQueue { 1 waiting, 1 of 1 running, paused }',
      'Executor on prilow { 1 waiting, 2 of 2 running }',
    ]);
  });

  it('the description of a pipeline', () => {
    const user = (name: string): string => name;
    const plan = pipeline<string>('site').stage('parse', String).keyBy(user).stage('store', String);
    const anonymous = plan.keyBy((name) => name).stage('render', String);
    expect(look(plan, anonymous)).to.deep.equal([
      'PipelinePlan site { parse, by user: store }',
      'PipelinePlan site { parse, by user: store, by key: render }',
    ]);
  });
});

describe('a mistaken argument of a drop-in API', () => {
  const kernel = new Kernel({ clock: new VirtualClock() });
  const one = pipeline<number>('line').stage('a', (n) => n);
  const wrong = null as never;
  const noObject = 'options must be an object, got null';
  const noSink = 'sink must be a function or a writable stream, got';
  const calls: readonly (readonly [what: string, message: string, call: () => unknown])[] = [
    ['createLocks', noObject, () => createLocks(kernel, wrong)],
    ['createScheduler', noObject, () => createScheduler(kernel, wrong)],
    ['createDeadline', noObject, () => createDeadline(kernel, wrong)],
    ['createExecutor', noObject, () => createExecutor(kernel.wq.prilow, wrong)],
    ['run', noObject, () => createExecutor(kernel.wq.prilow).run(() => 1, wrong)],
    [
      'stage',
      'options must be an object, got "softnet"',
      () => one.stage('b', (n) => n, 'softnet' as never),
    ],
    ['stage', 'name must be a string that is not empty, got ""', () => one.stage('', (n) => n)],
    ['start', noObject, () => one.start(wrong)],
    ['run', noObject, () => one.start({ kernel }).run(1, wrong)],
    ['through', noObject, () => one.start({ kernel }).through([1], wrong)],
    ['pump', `${noSink} 5`, () => one.start({ kernel }).pump([1], 5 as never)],
    ['pump', `${noSink} null`, () => one.start({ kernel }).pump([1], wrong)],
    [
      'createTimers',
      'kernel must be a Kernel, got undefined',
      () => createTimers(undefined as never),
    ],
    [
      'release',
      'signal must be a signal returned by deadline, got an instance of AbortSignal',
      () => release(new AbortController().signal as never),
    ],
    ['release', 'signal must be a signal returned by deadline, got null', () => release(wrong)],
    [
      'add',
      'locks need a KcontPQueue instead of a PQueue',
      () => new PQueue({ queueClass: KcontQueue }).add(() => 1, { lock: new Mutex() } as object),
    ],
  ];

  for (const [what, message, call] of calls) {
    it(`is answered by ${what}: ${message}`, async () => {
      const thrown = await (async () => call())().catch((error: unknown) => error);
      expect(thrown).to.be.instanceOf(KcontError);
      expect((thrown as Error).message).to.equal(message);
    });
  }
});
