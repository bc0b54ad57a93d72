// Jobs: functions that run once on another CPU, and their results.
import { getEventListeners } from 'node:events';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kernel, KcontError, Mutex, RMLock, RWLock, SpinLock, curcpu } from '../../../lib/index.ts';
import type { Cpu } from '../../../lib/index.ts';
import { SharedMutex, SharedSpinLock } from '../../../lib/cpu/index.ts';
import { createExecutor } from '../../../lib/compat/p-queue/index.ts';
import { rejectionOf } from '../../support/lab.ts';
import { JobRunner } from '../../../lib/cpu/jobs/job-runner.ts';
import type { LocalCpu } from '../../../lib/cpu/local-cpu.ts';
import { closeAfterEach, startTestKernel, type TestKernel } from '../../support/cpus.ts';

function cpuAt({ cpus }: TestKernel, index: number): Cpu {
  return cpus[index] as Cpu;
}

/** A view whose bytes all threads share. */
function shared(words: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

const HOLE = Symbol('hole');

/** Makes an array with a hole in place of each HOLE. */
function holed(list: readonly unknown[]): object[] {
  const holey: object[] = [];
  for (const [at, one] of list.entries()) if (one !== HOLE) holey[at] = one as object;
  holey.length = list.length;
  return holey;
}

describe('run on another CPU', () => {
  closeAfterEach();

  it('returns what the function returns there', async () => {
    const testKernel = await startTestKernel(2);
    const { queue, work } = testKernel;
    expect(await queue.run(work.where, { cpu: cpuAt(testKernel, 1) })).to.equal(1);
    expect(await queue.run(work.where, { cpu: cpuAt(testKernel, 2) })).to.equal(2);
    expect(await queue.run(work.increment, { arg: 41, cpu: cpuAt(testKernel, 1) })).to.equal(42);
  });

  it('clones arguments and results of all kinds', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const values = [
      undefined,
      null,
      true,
      false,
      0,
      -0,
      NaN,
      1.5,
      2 ** 60,
      'text',
      10n,
      [1, { two: [3] }],
      { deep: { map: new Map([[1, new Set([2])]]), date: new Date(5), bytes: Uint8Array.of(1) } },
    ];
    for (const value of values) {
      expect(await queue.run(work.echo, { arg: value, cpu })).to.deep.equal(value);
    }
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const back = (await queue.run(work.echo, { arg: cyclic, cpu })) as typeof cyclic;
    expect(back.self).to.equal(back);
  });

  it('clones at the call: later changes are not seen', async () => {
    const testKernel = await startTestKernel(1);
    const arg = { n: 1 };
    const result = testKernel.queue.run(testKernel.work.echo, { arg, cpu: cpuAt(testKernel, 1) });
    arg.n = 2;
    expect(await result).to.deep.equal({ n: 1 });
  });

  it('refuses an argument that cannot be cloned, and runs nothing', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    expect(await rejectionOf(queue.run(work.note, { arg: () => 1, cpu }))).to.equal('EINVAL');
    expect(await queue.run(work.ran, { cpu })).to.deep.equal([]);
  });

  it('says so when a result cannot be cloned', async () => {
    const testKernel = await startTestKernel(1);
    const result = testKernel.queue.run(testKernel.work.notCloneable, {
      cpu: cpuAt(testKernel, 1),
    });
    expect(await rejectionOf(result)).to.equal('EINVAL');
  });

  it('moves what is in the transfer list, both ways', async () => {
    const testKernel = await startTestKernel(1);
    const buffer = new ArrayBuffer(8);
    const back = await testKernel.queue.run(testKernel.work.moveBack, {
      arg: buffer,
      transfer: [buffer],
      cpu: cpuAt(testKernel, 1),
    });
    expect([buffer.byteLength, back.byteLength]).to.deep.equal([0, 8]);
  });

  it('shares shared memory without a copy', async () => {
    const testKernel = await startTestKernel(1);
    const words = shared(1);
    await testKernel.queue.run(testKernel.work.addToShared, {
      arg: words,
      cpu: cpuAt(testKernel, 1),
    });
    expect(words[0]).to.equal(1);
  });

  it('rejects with what the function throws, class, code and cause included', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const error = await queue
      .run(work.fail, { arg: 'bad', cpu })
      .catch((thrown: unknown) => thrown);
    expect(error).to.be.an.instanceOf(RangeError);
    expect(error).to.include({ message: 'bad', code: 'ESPEC' });
    expect((error as Error).cause).to.include({ message: 'because' });
    expect((error as Error).stack).to.contain('cpu-work');
    const later = await queue.run(work.failLater, { arg: 'worse', cpu }).catch((e: unknown) => e);
    expect((later as Error).message).to.equal('worse');
    expect(testKernel.errors).to.deep.equal([]);
  });

  it('takes the next CPU that is available, on a queue that is not per CPU', async () => {
    const testKernel = await startTestKernel(2);
    const { wq, work } = testKernel;
    const used = await Promise.all(
      Array.from({ length: 2 }, () => wq.prilow.run(work.burn, { arg: 60 })),
    );
    expect(used.toSorted((a, b) => a - b)).to.deep.equal([1, 2]);
  });

  it('stays on this CPU for a closure, and on a queue per CPU without a CPU', async () => {
    const { queue, wq, work } = await startTestKernel(1);
    expect(await wq.prilow.run(() => curcpu().index)).to.equal(0);
    expect(await queue.run(work.where)).to.equal(0);
    expect(await queue.run((n: number) => n + 1, { arg: 1 })).to.equal(2);
  });

  it('refuses a closure, a lock of this CPU, and a CPU where there are no queues per CPU', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, wq, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const error = await queue.run(() => 1, { cpu }).catch((thrown: unknown) => thrown);
    expect(error).to.be.an.instanceOf(KcontError);
    expect((error as KcontError).message).to.contain('export it from the CPU module');
    for (const lock of [new Mutex(), new SpinLock()]) {
      expect(await rejectionOf(queue.run(work.where, { cpu, lock }))).to.equal('EINVAL');
    }
    expect(await rejectionOf(wq.prilow.run(work.where, { cpu }))).to.equal('ENOENT');
    const [other] = new Kernel().cpus;
    expect(await rejectionOf(queue.run(work.where, { cpu: other ?? null }))).to.equal('EINVAL');
  });

  it('is never entered if it was aborted before', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const controller = new AbortController();
    const burnt = queue.run(work.burn, { arg: 50, cpu });
    const result = queue.run(work.note, { arg: 1, cpu, signal: controller.signal });
    controller.abort(new Error('not wanted'));
    expect(await result.catch((error: unknown) => (error as Error).message)).to.equal('not wanted');
    await burnt;
    expect(await queue.run(work.ran, { cpu })).to.deep.equal([]);
  });

  it('aborts the signal of the function, and nothing else, if it was aborted later', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const controller = new AbortController();
    const { signal } = controller;
    const result = queue.run(work.untilAborted, { arg: null, cpu, signal });
    const other = queue.run(work.linger, { arg: 20, cpu });
    await queue.run(work.where, { cpu });
    controller.abort(new Error('enough'));
    expect(await result).to.equal('enough');
    await other;
  });

  it('has one listener per signal, with and without kill, and none when it has ended', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, wq, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const { signal } = new AbortController();
    const runs = [1, 2, 3].map((arg) => queue.run(work.increment, { arg, cpu, signal }));
    runs.push(...[4, 5].map((arg) => wq.prilow.run(work.increment, { arg, kill: true, signal })));
    const during = getEventListeners(signal, 'abort').length;
    expect(await Promise.all(runs)).to.deep.equal([2, 3, 4, 5, 6]);
    expect([during, getEventListeners(signal, 'abort').length]).to.deep.equal([1, 0]);
  });

  it('ends when it is aborted with kill, whatever it does, and affects no other work', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, wq, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const other = queue.run(work.linger, { arg: 300, cpu });
    const controller = new AbortController();
    const { signal } = controller;
    const result = wq.prilow.run(work.burn, { arg: 60_000, kill: true, signal });
    expect(await wq.prilow.run(work.increment, { arg: 1 })).to.equal(2);
    setTimeout(() => controller.abort(new Error('killed')), 100);
    expect(await result.catch((error: unknown) => (error as Error).message)).to.equal('killed');
    await other;
    expect(await wq.prilow.run(work.increment, { arg: 1, kill: true })).to.equal(2);
    expect(testKernel.errors).to.deep.equal([]);
  });

  it('runs no earlier than its delay', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, kernel } = testKernel;
    const since = kernel.now();
    await queue.run(work.where, { cpu: cpuAt(testKernel, 1), delayMs: 30 });
    expect(kernel.now() - since).to.be.at.least(30);
  });

  it('keeps kernel.drain waiting', async () => {
    const testKernel = await startTestKernel(2);
    const { queue, work, kernel } = testKernel;
    let done = 0;
    for (const index of [1, 2]) {
      void queue.run(work.linger, { arg: 30, cpu: cpuAt(testKernel, index) }).then(() => done++);
    }
    await kernel.drain();
    await new Promise(setImmediate);
    expect(done).to.equal(2);
  });

  it('is rejected when the kernel closes and can wait no longer', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, kernel } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const stuck = rejectionOf(queue.run(work.burn, { arg: 60_000, cpu }));
    const queued = rejectionOf(queue.run(work.where, { cpu }));
    await kernel.close({ graceMs: 20 });
    expect([await stuck, await queued]).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
  });

  it('returns what its function moves, wherever that runs', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    for (const cpu of [null, cpuAt(testKernel, 0), cpuAt(testKernel, 1)]) {
      const buffer = await queue.run(work.moveBack, { arg: new ArrayBuffer(8), cpu });
      expect(buffer).to.be.an.instanceof(ArrayBuffer);
      expect(buffer.byteLength).to.equal(8);
    }
    expect(work.moveBack(new ArrayBuffer(8)).byteLength).to.equal(8);
  });

  it('is refused an async context, which it cannot take along', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const context = 'create';
    const there = queue.run(work.where, { cpu: cpuAt(testKernel, 1), context });
    expect(await rejectionOf(there)).to.equal('EINVAL');
    expect(await queue.run(work.where, { context })).to.equal(0);
  });

  it('waits for the next thread of the CPU that it names, when that dies', async () => {
    const testKernel = await startTestKernel(2);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const exit = rejectionOf(queue.run(work.exit, { arg: 1, cpu }));
    const where = queue.run(work.where, { cpu });
    expect([await exit, await where]).to.deep.equal(['ECPUDIED', 1]);
  });

  it('does not delay a close by what its function has left open', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, kernel } = testKernel;
    await queue.run(work.leaveOpen, { cpu: cpuAt(testKernel, 1) });
    const { unfinished } = await kernel.close({ graceMs: 1e9 });
    expect(unfinished).to.deep.equal([]);
  });

  it('emits no CPU event when it is killed', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, events, kernel } = testKernel;
    const controller = new AbortController();
    const running = shared(1);
    const stuck = rejectionOf(
      queue.run(work.signalAndBurn, { arg: running, kill: true, signal: controller.signal }),
    );
    while (Atomics.load(running, 0) === 0) await new Promise(setImmediate);
    controller.abort();
    await stuck;
    await kernel.close();
    expect(events.filter(({ cpu }) => !kernel.cpus.includes(cpu))).to.deep.equal([]);
  });

  it('is not reported as unfinished when it is killed, even if the kernel closes at once', async () => {
    for (const graceMs of [0, 5000]) {
      const { kernel, wq, work } = await startTestKernel(1);
      const controller = new AbortController();
      const { signal } = controller;
      const running = shared(1);
      const stuck = wq.prilow.run(work.signalAndBurn, { arg: running, kill: true, signal });
      while (Atomics.load(running, 0) === 0) await new Promise(setImmediate);
      controller.abort(new Error('killed'));
      expect(await stuck.catch((error: unknown) => (error as Error).message)).to.equal('killed');
      expect(await kernel.close({ graceMs })).to.deep.equal({ withdrawn: [], unfinished: [] });
    }
  });

  it('is reported as unfinished when the kernel closes, unless it is killed', async () => {
    const { kernel, wq, work } = await startTestKernel(2);
    const controller = new AbortController();
    const { signal } = controller;
    const running = [shared(1), shared(1)];
    const runs = running.map((arg, i) =>
      rejectionOf(
        wq.prilow.run(work.signalAndBurn, {
          arg,
          kill: true,
          name: `run ${i}`,
          ...(i === 0 ? { signal } : {}),
        }),
      ),
    );
    for (const words of running) {
      while (Atomics.load(words, 0) === 0) await new Promise(setImmediate);
    }
    const closing = kernel.close({ graceMs: 50 });
    controller.abort(new KcontError('EPERM', 'killed'));
    expect(await runs[0]).to.equal('EPERM');
    const { unfinished } = await closing;
    expect(unfinished).to.deep.equal([{ name: 'run 1', wq: 'prilow', state: 'running' }]);
    expect(await runs[1]).to.equal('ESHUTDOWN');
  });

  it('can be sent by an executor too, with its argument, and killed', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, wq, work } = testKernel;
    const there = createExecutor(queue, { concurrency: 1 });
    expect(await there.run(work.where, { cpu: cpuAt(testKernel, 1) })).to.equal(1);
    expect(await there.run(work.increment, { arg: 41, cpu: cpuAt(testKernel, 1) })).to.equal(42);
    const buffer = new ArrayBuffer(8);
    const size = there.run(work.sizeOf, {
      arg: buffer,
      transfer: [buffer],
      cpu: cpuAt(testKernel, 1),
    });
    expect([await size, buffer.byteLength]).to.deep.equal([8, 0]);
    const killed = createExecutor(wq.prilow).run(work.burn, { arg: 1e6, kill: true, timeout: 50 });
    expect(await rejectionOf(killed)).to.match(/^TimeoutError/);
  });

  it('is refused a transfer list that cannot be moved, and moves nothing', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const gone = new ArrayBuffer(8);
    structuredClone(gone, { transfer: [gone] });
    const moved = new ArrayBuffer(8);
    const there = cpuAt(testKernel, 1);
    await queue.run(work.sizeOf, { arg: moved, transfer: [moved], cpu: there });
    const kept = new ArrayBuffer(8);
    const anywhere: unknown[][] = [
      [1, kept],
      [null, kept],
      ['a text', kept],
      [undefined, kept],
      [[kept], kept, 1],
      [[kept], kept, null],
      // A hole.
      [[kept], kept, HOLE],
    ];
    const elsewhere: unknown[][] = [
      [[kept], kept, {}],
      [[kept], kept, kept],
      [gone, gone],
      [{ kept, gone }, kept, gone],
      [{ kept }, kept, gone],
      [moved, moved],
    ];
    const codesOf = (cases: unknown[][], cpu: Cpu): Promise<string[]> =>
      Promise.all(
        cases.map(([arg, ...transfer]) =>
          rejectionOf(queue.run(work.echo, { arg, transfer: holed(transfer), cpu })),
        ),
      );
    const refused = (cases: unknown[][]): string[] => cases.map(() => 'EINVAL');
    expect(await codesOf(anywhere, cpuAt(testKernel, 0))).to.deep.equal(refused(anywhere));
    expect(await codesOf(anywhere, there)).to.deep.equal(refused(anywhere));
    expect(await codesOf(elsewhere, there)).to.deep.equal(refused(elsewhere));
    const later = createExecutor(queue, { concurrency: 1 }).run(work.echo, {
      arg: 1,
      transfer: [kept],
      delayMs: 1e9,
    });
    expect(await rejectionOf(later)).to.equal('EINVAL');
    expect(kept.byteLength).to.equal(8);
    const empty = new ArrayBuffer(0);
    expect(await queue.run(work.sizeOf, { arg: empty, transfer: [empty], cpu: there })).to.equal(0);
  });

  it('rejects an async function with a SharedSpinLock with EPERM, and frees the lock when it settles', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const lock = new SharedSpinLock();
    const run = queue.run(work.linger, { arg: 20, lock, cpu: cpuAt(testKernel, 1) });
    expect(await rejectionOf(run)).to.equal('EPERM');
    await lock.enter();
    lock.exit();
    await testKernel.kernel.drain();
  });

  it('takes its argument at the call, even if there is no thread yet', async () => {
    const testKernel = await startTestKernel(1);
    const { wq, work } = testKernel;
    const buffer = new ArrayBuffer(8);
    const lock = new SharedMutex();
    const list = { items: [1], lock };
    const moved = wq.prilow.run(work.sizeOf, { arg: buffer, transfer: [buffer], kill: true });
    const copied = wq.prilow.run(work.echo, { arg: list, kill: true });
    const refused = wq.prilow.run(work.echo, { arg: () => 1, kill: true });
    expect(buffer.byteLength).to.equal(0);
    list.items.push(2);
    expect(await moved).to.equal(8);
    expect(await copied).to.deep.equal({ items: [1], lock });
    expect(await rejectionOf(refused)).to.equal('EINVAL');
  });

  it('can be aborted by a getter within its argument', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const controller = new AbortController();
    const arg = {
      get it(): number {
        controller.abort(new Error('while it was read'));
        return 1;
      },
    };
    const { signal } = controller;
    const run = queue.run(work.echo, { arg, signal, cpu: cpuAt(testKernel, 1) });
    expect(await rejectionOf(run)).to.equal('Error: while it was read');
  });

  it('is refused a lock of one CPU within its argument, or its result', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const locks = [new Mutex(), new SpinLock(), new RWLock(), new RMLock(), new RWLock().read];
    for (const lock of locks) {
      const error = await queue
        .run(work.echo, { arg: [{ lock }], cpu })
        .catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: 'EINVAL' });
      expect((error as KcontError).message).to.include('take one of kcont/cpu');
    }
    expect(await rejectionOf(queue.run(work.makeLock, { cpu }))).to.equal('EINVAL');
  });

  it('is refused an invalid transfer list, wherever it runs', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const told: string[] = [];
    for (const cpu of [cpuAt(testKernel, 0), cpuAt(testKernel, 1)]) {
      for (const what of ['nothing of a number', 'a number', 'a text', 'an empty list']) {
        await queue.run(work.movesWrongly, { arg: what, cpu }).then(
          (value) => told.push(`${what}: ${String(value)}`),
          (error: KcontError) => told.push(`${what}: ${error.code} ${error.message}`),
        );
      }
    }
    const expected = [
      'nothing of a number: EINVAL list must be empty for a result that is not an object, got an array',
      'a number: EINVAL list must be an array of objects that can be moved, got an array',
      'a text: EINVAL list must be an array of objects that can be moved, got "text"',
      'an empty list: 1',
    ];
    expect(told).to.deep.equal([...expected, ...expected]);
    const elsewhere = queue.run(work.movesWrongly, { arg: 'an object', cpu: cpuAt(testKernel, 1) });
    expect(await elsewhere.catch(({ code, message }: KcontError) => `${code} ${message}`)).to.match(
      /^EINVAL the result of movesWrongly cannot be cloned/,
    );
  });

  // If no job is alive, V8 discards all code compiled for jobs at a full garbage collection.
  it('keeps the last job that has ended, emptied, on both CPUs, so that V8 keeps the code of all', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work } = testKernel;
    const cpu = cpuAt(testKernel, 1);
    const { handles } = cpuAt(testKernel, 0)._link as LocalCpu;
    expect(handles.lastJob).to.equal(undefined);
    expect(await queue.run(work.lastJobHere, { cpu })).to.include({ isKept: false });
    const words = shared(1);
    await queue.run(work.addToShared, { arg: words, cpu });
    const mine = handles.lastJob;
    expect([mine instanceof JobRunner, mine?.arg]).to.deep.equal([true, undefined]);
    const kept = { isKept: true, hasArg: false };
    expect(await queue.run(work.lastJobHere, { cpu })).to.deep.equal(kept);
    expect([handles.lastJob === undefined, handles.lastJob === mine]).to.deep.equal([false, false]);
  });
});
