// CPUs that are stopped and restarted: requests meanwhile, and what happens to their work.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, kern } from '../../../lib/index.ts';
import type { Cpu, KcontError } from '../../../lib/index.ts';
import { closeAfterEach, startTestKernel, type TestKernel } from '../../support/cpus.ts';
import { GATE, OPEN, WORDS } from '../../support/cpu-work.ts';
import { codeOf, rejectionOf } from '../../support/lab.ts';
import { watchThreads } from '../../support/threads.ts';

function shared(words: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** Blocks a CPU's thread until the returned function is called. */
async function closeGate({ queue, work }: TestKernel, cpu: Cpu): Promise<() => void> {
  const words = shared(WORDS);
  void queue.run(work.gate, { arg: words, cpu }).catch(() => undefined);
  await until(() => Atomics.load(words, GATE) === 1);
  return () => {
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
  };
}

describe('a CPU that gets many requests at once', () => {
  const threads = watchThreads();
  closeAfterEach();

  it('has one thread, however many calls restart it', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    for (let i = 0; i < 3; i++) await Promise.all([cpu.restart(), cpu.restart(), cpu.restart()]);
    expect([threads.most, threads.made, cpu.state]).to.deep.equal([1, 4, 'up']);
    expect(await queue.run(work.where, { cpu })).to.equal(1);
  });

  it('follows the last request', async () => {
    const { cpus, events } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const outcomes = await Promise.all(
      [cpu.restart(), cpu.stop(), cpu.restart(), cpu.stop()].map(rejectionOf),
    );
    expect(outcomes).to.deep.equal(['ECPUDIED', 'none', 'ECPUDIED', 'none']);
    expect([cpu.state, threads.count, threads.made]).to.deep.equal(['down', 0, 1]);
    await Promise.all([cpu.stop(), cpu.restart()]);
    expect([cpu.state, threads.count, threads.made]).to.deep.equal(['up', 1, 2]);
    expect(events.map(({ type }) => type)).to.deep.equal(['up', 'stopped', 'up']);
  });

  it('is restarted by hand while it waits to be started again', async () => {
    const { queue, work, cpus, event } = await startTestKernel(1, { backoffMs: 1e6 });
    const cpu = cpus[1] as Cpu;
    const died = event('died');
    expect(await rejectionOf(queue.run(work.exit, { arg: 1, cpu }))).to.equal('ECPUDIED');
    await died;
    await Promise.all([cpu.restart(), cpu.restart()]);
    expect([threads.most, threads.made]).to.deep.equal([1, 2]);
  });

  it('ends with its kernel, in whichever state it is', async () => {
    for (const [first, then] of [
      ['up', (cpu: Cpu) => cpu.stop()],
      ['up', (cpu: Cpu) => cpu.restart()],
      ['down', (cpu: Cpu) => cpu.restart()],
    ] as const) {
      const { kernel, cpus } = await startTestKernel(1);
      const cpu = cpus[1] as Cpu;
      if (first === 'down') await cpu.stop();
      const asked = rejectionOf(then(cpu));
      const report = await kernel.close();
      expect(report).to.deep.equal({ withdrawn: [], unfinished: [] });
      expect(await asked).to.be.oneOf(['none', 'ESHUTDOWN']);
      expect(threads.count).to.equal(0);
      expect(await rejectionOf(cpu.restart())).to.equal('ESHUTDOWN');
      expect(await rejectionOf(cpu.stop())).to.equal('none');
    }
  });

  it('reports a stop if it dies while it is being stopped, and what ran gets the right error', async () => {
    const { queue, work, cpus, events } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const words = shared(WORDS);
    const died = queue.run(work.die, { arg: words, cpu }).catch((error: unknown) => error);
    await until(() => Atomics.load(words, GATE) === 1);
    const stopped = cpu.stop();
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    await stopped;
    expect(await died).to.include({ code: 'ECPUDIED', message: 'CPU 1 died while it ran die' });
    await new Promise(setImmediate);
    expect(events.map(({ type }) => type)).to.deep.equal(['up', 'stopped']);
  });
});

describe('a CPU that is stopped', () => {
  closeAfterEach();

  it('aborts what runs when the grace is over, and says why', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const running = queue.run(work.reasonOfAbort, { arg: null, cpu });
    await queue.run(work.where, { cpu });
    await cpu.restart({ graceMs: 1 });
    expect(await running).to.deep.equal({
      code: 'ECPUDIED',
      message: 'CPU 1 is being stopped',
    });
  });

  it('aborts what runs when its kernel closes, and says why', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const running = queue.run(work.reasonOfAbort, { arg: null, cpu });
    await queue.run(work.where, { cpu });
    const { unfinished } = await kernel.close({ graceMs: 1 });
    expect(await running).to.deep.equal({ code: 'ESHUTDOWN', message: 'the kernel is closed' });
    expect(unfinished).to.deep.equal([]);
  });

  it('reports what ended with the thread as stopped', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const running = shared(1);
    const stuck = queue
      .run(work.signalAndBurn, { arg: running, cpu })
      .catch((error: unknown) => error);
    await until(() => Atomics.load(running, 0) === 1);
    await cpu.stop({ graceMs: 0 });
    expect(await stuck).to.include({
      code: 'ECPUDIED',
      message: 'CPU 1 was stopped while it ran signalAndBurn',
    });
  });

  it('reads messages of other CPUs until what runs there has finished', async () => {
    const testKernel = await startTestKernel(2);
    const { queue, work, cpus } = testKernel;
    const [, one, two] = cpus as [Cpu, Cpu, Cpu];
    const open = await closeGate(testKernel, two);
    const waiting = queue.run(work.runOn, { arg: { cpu: 2, value: 'v' }, cpu: one });
    await queue.run(work.where, { cpu: one });
    const stopped = one.stop({ graceMs: 1e6 });
    open();
    await stopped;
    expect(await waiting).to.deep.equal({ value: 'v', by: 1 });
  });

  it('first runs what was moved to it, because that cannot go to another CPU', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, cpus } = testKernel;
    const cpu = cpus[1] as Cpu;
    const open = await closeGate(testKernel, cpu);
    const bytes = new ArrayBuffer(8);
    const moved = queue.run(work.sizeOf, { arg: bytes, transfer: [bytes], cpu });
    const cloned = queue.run(work.sizeOf, { arg: new ArrayBuffer(9), cpu });
    const stopped = cpu.stop({ graceMs: 1e6 });
    open();
    await stopped;
    expect(await moved).to.equal(8);
    await cpu.restart();
    expect(await cloned).to.equal(9);
  });
});

describe('work for a CPU that is down', () => {
  closeAfterEach();

  it('runs on the CPU that is up first, if it named no CPU', async () => {
    const { wq, queue, work, cpus } = await startTestKernel(2);
    const [, one, two] = cpus as [Cpu, Cpu, Cpu];
    await Promise.all([one.stop(), two.stop()]);
    const counts = shared(4);
    const buffer = new ArrayBuffer(5);
    const runs = Promise.all([
      wq.prilow.run(work.echo, { arg: 1 }),
      wq.prilow.run(work.echo, { arg: { small: true } }),
      wq.prilow.run(work.echo, { arg: new Map([[1, 2]]) }),
      wq.prilow.run(work.echo, { arg: new Map([[3, 4]]), delayMs: 1 }),
      wq.prilow.run(work.sizeOf, { arg: buffer, transfer: [buffer] }),
    ]);
    const kcs = (['none', 'weak', 'strong'] as const).map(
      (affinity, at) => new Kcont(wq.prilow, null, work.count, { counts, at }, { affinity }),
    );
    const late = new Kcont(queue, null, work.count, { counts, at: 3 }, { affinity: 'weak' });
    for (const kc of kcs) kc.schedule(0);
    late.schedule(1);
    expect(buffer.byteLength).to.equal(0);
    await two.restart();
    expect(await runs).to.deep.equal([1, { small: true }, new Map([[1, 2]]), new Map([[3, 4]]), 5]);
    await until(() => counts.every((count) => count === 1));
    expect(one.state).to.equal('down');
    // It is tied to the CPU that has run it.
    const [, , strong] = kcs as [Kcont<never>, Kcont<never>, Kcont<never>];
    await until(() => !strong.busy);
    await one.restart();
    await two.stop();
    strong.schedule(0);
    await queue.run(work.where, { cpu: one });
    expect([strong.invoking, Atomics.load(counts, 2)]).to.deep.equal([true, 1]);
  });

  it('goes to the CPU that is up first, if the last CPU has left it', async () => {
    const { wq, queue, work, cpus } = await startTestKernel(2, { backoffMs: 1e6 });
    const [, one, two] = cpus as [Cpu, Cpu, Cpu];
    await two.stop();
    const words = shared(WORDS);
    const died = rejectionOf(queue.run(work.die, { arg: words, cpu: one }));
    await until(() => Atomics.load(words, GATE) === 1);
    const runs = Promise.all([
      wq.prilow.run(work.echo, { arg: 1 }),
      wq.prilow.run(work.echo, { arg: new Map([[1, 2]]) }),
    ]);
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    expect(await died).to.equal('ECPUDIED');
    await two.restart();
    expect(await runs).to.deep.equal([1, new Map([[1, 2]])]);
  });

  it('waits with its argument: cloned or moved at the call, and sent when there is a thread', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const bytes = new ArrayBuffer(8);
    const map = new Map([[1, 1]]);
    const moved = queue.run(work.sizeOf, { arg: bytes, transfer: [bytes], cpu });
    const cloned = queue.run(work.echo, { arg: map, cpu });
    map.set(2, 2);
    expect(bytes.byteLength).to.equal(0);
    await cpu.restart();
    expect([await moved, await cloned]).to.deep.equal([8, new Map([[1, 1]])]);
  });

  it('is refused if its argument cannot be cloned or moved, and nothing is moved', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const bytes = new ArrayBuffer(8);
    const arg = { bytes, no: () => undefined };
    expect(await rejectionOf(queue.run(work.echo, { arg, transfer: [bytes], cpu }))).to.equal(
      'EINVAL',
    );
    expect(bytes.byteLength).to.equal(8);
    expect(await rejectionOf(queue.run(work.echo, { arg, cpu }))).to.equal('EINVAL');
  });

  it('can be aborted', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const bytes = new ArrayBuffer(8);
    const controller = new AbortController();
    const { signal } = controller;
    const run = queue.run(work.sizeOf, { arg: bytes, transfer: [bytes], cpu, signal });
    const outcome = run.catch((error: unknown) => (error as Error).message);
    controller.abort(new Error('no more'));
    expect(await outcome).to.equal('no more');
    await cpu.restart();
    expect(await queue.run(work.where, { cpu })).to.equal(1);
  });

  it('is rejected at once if its argument was moved to a thread that has died', async () => {
    const { queue, work, cpus } = await startTestKernel(1, { backoffMs: 1e6 });
    const cpu = cpus[1] as Cpu;
    const words = shared(WORDS);
    const died = rejectionOf(queue.run(work.die, { arg: words, cpu }));
    await until(() => Atomics.load(words, GATE) === 1);
    const bytes = new ArrayBuffer(8);
    const run = queue.run(work.sizeOf, { arg: bytes, transfer: [bytes], cpu });
    const error = run.catch((thrown: unknown) => thrown);
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    expect(await died).to.equal('ECPUDIED');
    expect(await error).to.include({
      code: 'ECPUDIED',
      message: 'sizeOf cannot run: its argument was moved to CPU 1, which has died',
    });
  });

  it('does not keep a drain from ending when the kernel closes', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const run = rejectionOf(queue.run(work.where, { cpu }));
    const drained = kernel.drain();
    await new Promise(setImmediate);
    await kernel.close();
    await drained;
    expect(await run).to.equal('ESHUTDOWN');
  });
});

describe('an argument that cannot be cloned any more', () => {
  closeAfterEach();

  async function prepared(
    down: boolean,
  ): Promise<{ testKernel: TestKernel; kc: Kcont<unknown>; cpu: Cpu }> {
    const testKernel = await startTestKernel(1);
    const { queue, work, cpus, kernel } = testKernel;
    const cpu = cpus[1] as Cpu;
    const arg: Record<string, unknown> = { x: 1 };
    const kc = new Kcont<unknown>(queue, null, work.note, arg);
    kc.schedule(0, cpu);
    await kernel.drain();
    if (down) await cpu.stop();
    else await cpu.restart();
    arg['f'] = () => undefined;
    return { testKernel, kc, cpu };
  }

  for (const down of [false, true]) {
    it(`is refused before anything changes if the CPU is ${down ? 'down' : 'up'}`, async () => {
      const { testKernel, kc, cpu } = await prepared(down);
      for (const call of [
        () => kc.schedule(0, cpu),
        () => kc.schedule(10, cpu),
        () => kc.reset(0, cpu),
        () => kc.setArg({ no: () => undefined }),
      ]) {
        expect(codeOf(call)).to.equal('EINVAL');
        expect([kc.busy, kc.expired]).to.deep.equal([false, true]);
      }
      try {
        kc.schedule(0, cpu);
      } catch (error) {
        expect((error as KcontError).cause).to.be.an.instanceOf(DOMException);
        expect((error as KcontError).message).to.contain('the argument of note cannot be cloned');
      }
      expect(kern.kcont_schedule(kc, cpu, 0)).to.equal(kern.EINVAL);
      await testKernel.kernel.drain();
      expect(testKernel.errors).to.deep.equal([]);
    });
  }

  it('is an error of the handle if it was scheduled before and its CPU has a new thread', async () => {
    const testKernel = await startTestKernel(1);
    const { queue, work, cpus, kernel, errors } = testKernel;
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const arg: Record<string, unknown> = { x: 1 };
    const kc = new Kcont<unknown>(queue, null, work.note, arg, { affinity: 'strong' });
    kc.schedule(0, cpu);
    arg['f'] = () => undefined;
    await cpu.restart();
    await kernel.drain();
    await until(() => errors.length > 0);
    expect(errors[0]).to.include({ code: 'EINVAL' });
    expect(kc.busy).to.equal(false);
    expect(await queue.run(work.ran, { cpu })).to.deep.equal([]);
  });
});
