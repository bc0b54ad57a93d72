// Every promise of every drop-in API settles when its kernel is closed.
import { getEventListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import { KcontError, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import type { CloseReport } from '../../lib/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { Deadline, createDeadline, release } from '../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { burn } from '../support/busy.ts';
import { deferred } from '../support/lab.ts';

const never = (): Promise<never> => new Promise(() => undefined);

/** Resolves with the reason when it is aborted. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

/** Each case: the promise that waits, by what it waits for when the kernel is closed. */
const waits: Record<string, (kernel: Kernel) => Promise<unknown> | Promise<unknown>[]> = {
  'Workqueue.run, before its delay is over': ({ wq }) =>
    wq.prilow.run(() => 1, { delayMs: 60_000 }),
  'Workqueue.run, behind a lock that is never released': ({ wq }) => {
    const lock = new Mutex();
    lock.tryEnter();
    return wq.prilow.run(() => 1, { lock });
  },
  'Workqueue.run, of a function that never settles': ({ wq }) => wq.prilow.run(never),
  'Workqueue.run, of a function that ignores its signal': ({ wq }) =>
    wq.prilow.run((_signal) => never()),
  'postTask, before its delay is over': (kernel) =>
    createScheduler(kernel).postTask(() => 1, { delay: 60_000 }),
  'postTask, of a function that never settles': (kernel) => createScheduler(kernel).postTask(never),
  'postTask, of a thenable that never settles': (kernel) =>
    // oxlint-disable-next-line unicorn/no-thenable -- that is what it is about
    createScheduler(kernel).postTask(() => ({ then: never })),
  'postTask, one after the other': (kernel) => {
    const scheduler = createScheduler(kernel);
    return [1, 2, 3].map(() => scheduler.postTask(never));
  },
  'locks.request, of a callback that never settles, and all requests that wait for it': (
    kernel,
  ) => {
    const locks = createLocks(kernel);
    return [
      locks.request('a', never),
      locks.request('a', never),
      locks.request('a', { mode: 'shared' }, never),
      locks.request('a', { mode: 'shared', signal: new AbortController().signal }, never),
    ];
  },
  'timers/promises: setTimeout': (kernel) => createTimers(kernel).promises.setTimeout(60_000),
  'timers/promises: setTimeout with a signal': (kernel) =>
    createTimers(kernel).promises.setTimeout(60_000, 1, { signal: new AbortController().signal }),
  'timers/promises: scheduler.wait': (kernel) =>
    createTimers(kernel).promises.scheduler.wait(60_000),
  'timers/promises: setInterval': (kernel) =>
    createTimers(kernel).promises.setInterval(60_000).next(),
  'timers/promises: setImmediate, unreferenced': (kernel) => {
    const { setImmediate } = createTimers(kernel).promises;
    return setImmediate(1, { ref: false });
  },
  'a deadline’s signal': (kernel) => aborted(createDeadline(kernel)(60_000)),
  'the signal of a Deadline': (kernel) => aborted(new Deadline(kernel).arm(60_000)),
  'an executor’s run, before its delay is over': ({ wq }) =>
    createExecutor(wq.prilow).run(() => 1, { delayMs: 60_000 }),
  'an executor’s run, of a function that never settles, and all runs that wait for a slot': ({
    wq,
  }) => {
    const executor = createExecutor(wq.prilow, { concurrency: 1 });
    return [executor.run(never), executor.run(never), executor.run(never, { lock: new Mutex() })];
  },
  'an executor’s run, while it is paused': ({ wq }) => {
    const executor = createExecutor(wq.prilow, { autoStart: false });
    return [executor.run(never), executor.run(never, { lock: new Mutex() })];
  },
  'an executor’s run, beyond its rate': ({ wq }) => {
    const executor = createExecutor(wq.prilow, { interval: 60_000, intervalCap: 1 });
    return [executor.run(never), executor.run(never)];
  },
  'a pipeline’s run, in every phase': (kernel) => {
    const line = pipeline<number>()
      .keyBy(() => 1)
      .stage('a', never, { limit: 1, buffer: 1, deadlineMs: 60_000 })
      .start({ kernel, deadlineMs: 90_000 });
    return [1, 2, 3, 4].map((item) => line.run(item));
  },
  'a pipeline’s iterator': (kernel) => {
    const line = pipeline<number>().stage('a', never).start({ kernel });
    return line.through([1, 2, 3]).next();
  },
  'a pipeline’s pump': (kernel) => {
    const line = pipeline<number>().stage('a', never).start({ kernel });
    return line.pump([1, 2, 3], () => undefined);
  },
};

describe('a kernel that closes', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
  });

  const codeOf = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => 'fulfilled',
      (error: KcontError | DOMException) =>
        error instanceof KcontError ? error.code : (error as Error).name,
    );

  const dispatcherOf = ({ wq }: Kernel): { tasks: Set<unknown> } => wq.prilow._dispatcher;

  async function close(graceMs: number): Promise<void> {
    const closing = kernel.close({ graceMs });
    await clock.advance(graceMs + 1000);
    await closing;
  }

  for (const [what, wait] of Object.entries(waits)) {
    for (const begun of [true, false]) {
      it(`${begun ? 'after a turn' : 'at once'}, ends ${what}`, async () => {
        const codes = [wait(kernel)].flat().map(codeOf);
        if (begun) await clock.advance(0);
        await close(begun ? 50 : 0);
        const seen = await Promise.race([Promise.all(codes), nextTurn(['still pending'])]);
        const isLocks = what.startsWith('locks');
        // A task whose callback has been entered gets the kernel's own error.
        if (isLocks && begun) expect(seen.shift()).to.equal('ESHUTDOWN');
        expect(new Set(seen)).to.deep.equal(new Set([isLocks ? 'InvalidStateError' : 'ESHUTDOWN']));
        expect(dispatcherOf(kernel).tasks.size).to.equal(0);
      });
    }
  }

  it('ends an interval that is called while it closes', async () => {
    const ticks = createTimers(kernel).promises.setInterval(5, 'tick');
    const first = ticks.next();
    void kernel.wq.softserial.run(() => void kernel.close(), { delayMs: 5 });
    await clock.advance(1000);
    expect(await first).to.deep.equal({ done: false, value: 'tick' });
    expect(await codeOf(ticks.next())).to.equal('ESHUTDOWN');
    expect(await ticks.next()).to.deep.equal({ done: true, value: undefined });
  });

  it('clears the callbacks that are still queued when the grace period is over', async () => {
    const real = new Kernel({ budgetMs: 1 });
    const { setTimeout, promises } = createTimers(real);
    let called = 0;
    const closed = new Promise<CloseReport>((resolve) => {
      for (let i = 0; i < 9; i++) {
        setTimeout(() => {
          called++;
          if (called === 1) resolve(real.close({ graceMs: 0 }));
          burn(3);
        }, 1);
      }
    });
    const waiting = [promises.setTimeout(1), promises.setTimeout(1)].map(codeOf);
    // All are due when the callback ends, and expire together.
    burn(5);
    expect(await Promise.all(waiting)).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
    expect((await closed).unfinished).to.deep.equal([
      { name: 'timers', wq: 'pri198', state: 'queued' },
    ]);
    expect(called).to.be.below(9);
  });

  it('removes the listeners of promises from their signals', async () => {
    const { signal } = new AbortController();
    const { setTimeout, setImmediate, setInterval } = createTimers(kernel).promises;
    const codes = [
      setTimeout(60_000, 1, { signal }),
      setImmediate(1, { signal, ref: false }),
      setInterval(60_000, 1, { signal }).next(),
      createLocks(kernel).request('a', { signal }, () => 1),
      createScheduler(kernel).postTask(never, { signal, delay: 5 }),
    ].map(codeOf);
    expect(getEventListeners(signal, 'abort')).to.have.length.above(0);
    await close(0);
    await Promise.all(codes);
    expect(getEventListeners(signal, 'abort')).to.deep.equal([]);
  });

  it('keeps deadlines running while it waits for the work that they limit', async () => {
    const ran: string[] = [];
    const deadline = createDeadline(kernel);
    const untilAborted = (signal: AbortSignal): Promise<string> =>
      aborted(signal).catch((error: Error) => `${error.name} at ${clock.now}`);
    const line = pipeline<string>().stage('a', never, { deadlineMs: 20 }).start({ kernel });
    const all = [
      kernel.wq.prilow.run(async () => void ran.push(await untilAborted(deadline(10)))),
      kernel.wq.prilow.run(async () => void ran.push(await untilAborted(deadline(60_000)))),
      line.run('item').catch((error: KcontError) => ran.push(`${error.code} at ${clock.now}`)),
    ];
    await clock.advance(0);
    const closing = kernel.close({ graceMs: 100 });
    await clock.advance(1000);
    await Promise.all(all);
    expect(ran).to.deep.equal(['TimeoutError at 10', 'ETIMEDOUT at 20', 'KcontError at 100']);
    expect(await closing).to.deep.equal({ withdrawn: ['deadline'], unfinished: [] });
  });

  it('names timers and work of executors by their functions in its report', async () => {
    const { setTimeout, setInterval, promises } = createTimers(kernel);
    setTimeout(function closeIdle() {}, 60_000);
    setInterval(function poll() {}, 60_000);
    setTimeout(() => undefined, 60_000);
    const codes = [
      codeOf(promises.setTimeout(60_000)),
      codeOf(createExecutor(kernel.wq.prilow).run(() => never())),
    ];
    await clock.advance(0);
    const closing = kernel.close({ graceMs: 0 });
    await clock.advance(1000);
    expect(await closing).to.deep.equal({
      withdrawn: ['timeout closeIdle', 'interval poll', 'timeout', 'timeout'],
      unfinished: [{ name: 'run', wq: 'prilow', state: 'running' }],
    });
    expect(await Promise.all(codes)).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
  });

  it('names the immediate that it refuses in the error', async () => {
    const { setImmediate, setInterval } = createTimers(kernel);
    await kernel.close();
    expect(() => setImmediate(() => undefined)).to.throw(
      KcontError,
      'immediate cannot be scheduled: the kernel is closed',
    );
    expect(() => setInterval(function poll() {}, 5)).to.throw(
      KcontError,
      'interval poll cannot be scheduled: the kernel is closed',
    );
  });

  it('does not abort a deadline that another one has released', async () => {
    const deadline = createDeadline(kernel);
    const [first, second] = [deadline(100), deadline(200)];
    first.addEventListener('abort', () => void release(second));
    const closing = kernel.close({ graceMs: 0 });
    await clock.advance(0);
    expect((await closing).withdrawn).to.deep.equal(['deadline']);
    expect([first.aborted, second.aborted]).to.deep.equal([true, false]);
  });

  it('finishes an item in its last stage, even if the item has deadlines', async () => {
    const end = deferred<string>();
    const line = pipeline<string>()
      .stage('a', () => end.promise, { deadlineMs: 500 })
      .start({ kernel, deadlineMs: 1000 });
    const done = line.run('item');
    await clock.advance(0);
    const closing = kernel.close({ graceMs: 100 });
    end.resolve('done');
    await clock.advance(1000);
    expect([await done, await closing]).to.deep.equal(['done', { withdrawn: [], unfinished: [] }]);
  });

  it('leaves an executor idle', async () => {
    const executor = createExecutor(kernel.wq.prilow, { autoStart: false });
    const code = codeOf(executor.run(never));
    const drained = executor.drain();
    await close(0);
    expect(await code).to.equal('ESHUTDOWN');
    await drained;
    expect([executor.queue.size, executor.queue.pending]).to.deep.equal([0, 0]);
  });

  it('keeps a reference to an executor only while functions wait in it', async () => {
    const executor = createExecutor(kernel.wq.prilow, { concurrency: 1 });
    const { tasks } = dispatcherOf(kernel);
    const all = [executor.run(() => 1), executor.run(() => 2)];
    expect(tasks.size).to.equal(1);
    await clock.advance(0);
    await Promise.all(all);
    expect(tasks.size).to.equal(0);
    void executor.run(() => 3, { timeout: -1 }).catch(() => undefined);
    executor.pause();
    void executor.run(() => 4);
    executor.queue.clear();
    expect(tasks.size).to.equal(0);
  });
});
