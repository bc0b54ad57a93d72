// What happens when a CPU's thread misbehaves.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, VirtualClock, type KcontError } from '../../../lib/index.ts';
import { rejectionOf } from '../../support/lab.ts';
import { closeAfterEach, moduleOf, startTestKernel } from '../../support/cpus.ts';

async function errorOf(promise: Promise<unknown>): Promise<KcontError> {
  try {
    await promise;
  } catch (error) {
    return error as KcontError;
  }
  throw new Error('it was fulfilled');
}

describe('a CPU that fails', () => {
  closeAfterEach();

  it('reports what ran there when its thread exits, and starts again', async () => {
    const { queue, cpus, work, event } = await startTestKernel(1);
    const up = event('up');
    const error = await errorOf(queue.run(work.exit, { arg: 3, cpu: cpus[1] ?? null }));
    expect(error).to.include({ code: 'ECPUDIED', message: 'CPU 1 died while it ran exit' });
    expect(String(error.cause)).to.equal('Error: its thread ended with code 3');
    await up;
    expect(await queue.run(work.where, { cpu: cpus[1] ?? null })).to.equal(1);
  });

  it('reports what a function throws, even if it has destroyed its own handle', async () => {
    const told: unknown[] = [];
    const { kernel, cpus, work } = await startTestKernel(1);
    const onError = (error: unknown, kc: unknown): void => {
      told.push(kc, (error as Error).message);
    };
    const queue = kernel.acquire(127, { perCpu: true, onError });
    for (let i = 0; i < 20; i++) {
      const kc = new Kcont<string>(queue, null, work.destroyAndFail, `${i}`, { name: `of ${i}` });
      kc.schedule(0, cpus[1] ?? null);
      await queue.run(work.where, { cpu: cpus[1] ?? null });
      expect(told.splice(0)).to.deep.equal([kc, `${i}`]);
    }
  });

  it('reports it even if this CPU has destroyed the handle before the error arrives', async () => {
    const told: unknown[] = [];
    const { kernel, cpus, work } = await startTestKernel(1);
    const [, cpu = null] = cpus;
    const onError = (error: unknown, kc: unknown): void => {
      told.push(kc, (error as Error).message);
    };
    const queue = kernel.acquire(127, { perCpu: true, onError });
    const others = kernel.acquire(60, { perCpu: true });
    for (let i = 0; i < 10; i++) {
      const running = new Int32Array(new SharedArrayBuffer(4));
      const kc = new Kcont(queue, null, work.signalAndFail, running, { name: `of ${i}` });
      kc.schedule(0, cpu);
      // This thread blocks until the function has ended elsewhere.
      Atomics.wait(running, 0, 0);
      while (kc.running);
      kc.destroy();
      // Its block is used by another handle by now.
      const other = new Kcont(others, null, work.note, i, { name: 'other' });
      other.schedule(0, cpu);
      await queue.run(work.where, { cpu });
      other.destroy();
      expect(told.splice(0)).to.deep.equal([kc, 'after all']);
    }
  });

  it('recovers blocks in memory that no other CPU has mapped yet', async () => {
    const { queue, cpus, work, event } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const up = event('up');
    expect(await rejectionOf(queue.run(work.growAndExit, { cpu }))).to.equal('ECPUDIED');
    await up;
    expect(await queue.run(work.where, { cpu })).to.equal(1);
  });

  it('runs what was queued on it, in order, once it is up again', async () => {
    const { queue, cpus, work } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const strong = { affinity: 'strong' } as const;
    const kcs = Array.from({ length: 20 }, (_, i) => new Kcont(queue, null, work.note, i, strong));
    const named = new Kcont<unknown>(queue, null, work.note, { cloned: true }, strong);
    const exit = queue.run(work.exit, { arg: 1, cpu });
    for (const kc of kcs) kc.schedule(0, cpu);
    named.schedule(0, cpu);
    expect(await rejectionOf(exit)).to.equal('ECPUDIED');
    expect(await queue.run(work.ran, { cpu })).to.deep.equal([
      ...Array.from({ length: 20 }, (_, i) => i),
      { cloned: true },
    ]);
  });

  it('lets another CPU run what is not tied to it', async () => {
    const { queue, cpus, work } = await startTestKernel(2);
    const [, one, two] = cpus;
    const kc = new Kcont(queue, null, work.note, 'moved');
    const exit = queue.run(work.exit, { arg: 1, cpu: one ?? null });
    kc.schedule(0, one ?? null);
    expect(await rejectionOf(exit)).to.equal('ECPUDIED');
    await queue.drain();
    expect(await queue.run(work.ran, { cpu: two ?? null })).to.deep.equal(['moved']);
  });

  it('is reported with what it threw if an error is uncaught', async () => {
    const { queue, cpus, work, event } = await startTestKernel(1);
    const died = event('died');
    await queue.run(work.crash, { arg: 'oops', cpu: cpus[1] ?? null });
    const { error } = await died;
    expect(error).to.include({ code: 'ECPUDIED', message: 'CPU 1 died: oops' });
  });

  it('goes on when a function runs out of stack', async () => {
    const { queue, cpus, work, events } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const error = await errorOf(queue.run(work.overflow, { cpu }));
    expect(error).to.be.an.instanceOf(RangeError);
    expect(await queue.run(work.where, { cpu })).to.equal(1);
    expect(events.map(({ type }) => type)).to.deep.equal(['up']);
  });

  it('is reported when it is blocked, and when it works again', async () => {
    const { queue, cpus, work, event, events } = await startTestKernel(1, { blockedMs: 60 });
    const cpu = cpus[1] ?? null;
    const unblocked = event('unblocked');
    const burnt = queue.run(work.burn, { arg: 400, cpu });
    const after = queue.run(work.increment, { arg: 1, cpu });
    await burnt;
    expect(await after).to.equal(2);
    expect((await unblocked).lagMs).to.be.within(60, 4000);
    expect(events.map(({ type }) => type)).to.deep.equal(['up', 'blocked', 'unblocked']);
  });

  it('cannot be started with a module that does not exist or does not parse', async () => {
    const kernel = new Kernel();
    const missing = await errorOf(kernel.startCpus({ module: moduleOf('nowhere'), count: 1 }));
    expect(missing).to.include({ code: 'ERR_MODULE_NOT_FOUND' });
    const broken = new URL('data:text/javascript,export function (');
    const parse = await errorOf(kernel.startCpus({ module: broken, count: 1 }));
    expect(parse).to.be.an.instanceOf(SyntaxError);
    expect(kernel.cpus).to.have.length(1);
  });

  it('cannot be started when the module throws in its thread', async () => {
    const kernel = new Kernel();
    const source = `import { isMainThread } from 'node:worker_threads';
      if (!isMainThread) throw new TypeError('not here');`;
    const module = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    const error = await errorOf(kernel.startCpus({ module, count: 1 }));
    expect(error).to.include({ code: 'ECPUDIED' });
    expect(error.message).to.equal('CPU 1 could not be started: TypeError: not here');
  });

  it('is refused on a virtual clock', async () => {
    const kernel = new Kernel({ clock: new VirtualClock() });
    expect(await rejectionOf(kernel.startCpus({ module: moduleOf('cpu-work') }))).to.equal(
      'ENOTSUP',
    );
  });
});
