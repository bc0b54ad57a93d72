// Handles that several CPUs know.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, kern } from '../../../lib/index.ts';
import type { Cpu } from '../../../lib/index.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';
import { GATE, OPEN, PLACE, WORDS } from '../../support/cpu-work.ts';
import { rejectionOf } from '../../support/lab.ts';

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

describe('a handle passed to another CPU', () => {
  closeAfterEach();

  it('can be stopped there, and stop returns the truth', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const kc = new Kcont<unknown>(queue, null, work.note, 'never');
    kc.schedule(1e6);
    expect(await queue.run(work.stopFrom, { arg: { kc }, cpu: cpus[1] ?? null })).to.equal(false);
    expect([kc.pending, kc.busy]).to.deep.equal([false, false]);
  });

  it('can be scheduled from there, on any CPU', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    for (const target of [0, 1, 2]) {
      const counts = shared(1);
      const kc = new Kcont<unknown>(queue, null, work.count, { counts, at: 0 });
      const arg = { kc, cpu: target };
      expect(await queue.run(work.scheduleFrom, { arg, cpu: cpus[1] ?? null })).to.equal(true);
      await until(() => Atomics.load(counts, 0) === 1);
      await until(() => !kc.busy);
      kc.destroy();
    }
  });

  it('is the same there as here, and comes back as itself', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const kc = new Kcont<unknown>(queue, null, work.note, 1, { name: 'known' });
    kc.schedule(1e6);
    expect(await queue.run(work.stateFrom, { arg: { kc }, cpu })).to.include({
      pending: true,
      running: false,
    });
    const back = (await queue.run(work.echo, { arg: { deep: [{ kc }] }, cpu })) as {
      deep: [{ kc: unknown }];
    };
    expect(back.deep[0].kc).to.equal(kc);
    kc.destroy();
    expect(await queue.run(work.stateFrom, { arg: { kc: kc }, cpu })).to.include({
      pending: false,
    });
  });

  it('is refused if its function runs on one CPU only', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const kc = new Kcont<unknown>(queue, null, () => undefined, 1);
    const run = queue.run(work.stateFrom, { arg: { kc }, cpu: cpus[1] ?? null });
    expect(await rejectionOf(run)).to.equal('EINVAL');
  });

  it('runs on a third CPU, which has to be sent its argument', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    const kc = new Kcont<unknown>(queue, null, work.note, { cloned: 'arg' });
    const arg = { kc, cpu: 2 };
    await queue.run(work.scheduleFrom, { arg, cpu: cpus[1] ?? null });
    await until(() => kc.expired && !kc.busy);
    expect(await queue.run(work.ran, { cpu: cpus[2] ?? null })).to.deep.equal([{ cloned: 'arg' }]);
  });

  it('is destroyed here when it is destroyed there', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const kc = new Kcont<unknown>(queue, null, work.note, 1);
    await queue.run(work.destroyFrom, { arg: { kc }, cpu: cpus[1] ?? null });
    await until(() => kc.destroyed);
    expect(kc.stop()).to.equal(false);
  });

  it('never runs twice at once, wherever its next run is', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    const words = shared(WORDS);
    const kc = new Kcont(queue, null, work.hold, { words, ack: true });
    kc.schedule(0, cpus[1] ?? null);
    await until(() => Atomics.load(words, 0) === 1);
    expect(kc.schedule(0, cpus[2] ?? null)).to.equal(true);
    await queue.run(work.where, { cpu: cpus[2] ?? null });
    expect([Atomics.load(words, 0), Atomics.load(words, PLACE)]).to.deep.equal([1, 2]);
    Atomics.store(words, 1, 1);
    await until(() => Atomics.load(words, 0) === 2);
    expect(Atomics.load(words, PLACE)).to.equal(3);
    Atomics.store(words, 1, 2);
    await until(() => !kc.busy);
  });

  it('is stopped for certain while it waits on another CPU for its run on this one', async () => {
    const { queue, work, cpus, kernel } = await startTestKernel(2);
    const words = shared(WORDS);
    const kc = new Kcont(queue, null, work.hold, { words, ack: true });
    kc.schedule(0, cpus[1] ?? null);
    await until(() => Atomics.load(words, 0) === 1);
    kc.schedule(0, cpus[2] ?? null);
    await queue.run(work.where, { cpu: cpus[2] ?? null });
    expect(kc.cancel()).to.equal(3);
    Atomics.store(words, 1, 9);
    await kernel.drain();
    expect(Atomics.load(words, 0)).to.equal(1);
  });

  it('can be scheduled again when halts on two CPUs have both ended', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const words = shared(WORDS);
    const kc = new Kcont(queue, null, work.hold, { words, ack: false });
    kc.schedule(0, cpus[1] ?? null);
    await until(() => Atomics.load(words, 0) === 1);
    const there = queue.run(work.haltFrom, { arg: { kc, words }, cpu: cpus[1] ?? null });
    // If it were released before that, it would settle before it could be halted there.
    await until(() => Atomics.load(words, GATE) === 1);
    const here = kc.halt();
    Atomics.store(words, 1, 1);
    expect([await here, await there]).to.deep.equal([true, true]);
    expect(kc.schedule(1e6, cpus[1] ?? null)).to.equal(true);
    kc.destroy();
  });
});

describe('code on another CPU', () => {
  closeAfterEach();

  it('makes continuations that run on any CPU', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    for (const by of [1, 2]) {
      for (const cpu of [0, 1, 2]) {
        const counts = shared(1);
        await queue.run(work.delegate, { arg: { counts, at: 0, cpu }, cpu: cpus[by] ?? null });
        await until(() => Atomics.load(counts, 0) === 1);
      }
    }
  });

  it('runs functions on any CPU, and gets their results', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    for (const cpu of [0, 2]) {
      expect(
        await queue.run(work.runOn, { arg: { cpu, value: 'v' }, cpu: cpus[1] ?? null }),
      ).to.deep.equal({ value: 'v', by: 1 });
    }
  });

  it('keeps a heartbeat while this thread is blocked', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const words = shared(WORDS);
    const kc = new Kcont<never>(queue, null, work.beat, { words, ms: 5 } as never);
    kc.schedule(0, cpus[1]);
    await until(() => Atomics.load(words, 0) > 0);
    const before = Atomics.load(words, 0);
    work.burn(400);
    expect(Atomics.load(words, 0) - before).to.be.at.least(10);
    expect(Atomics.load(words, PLACE)).to.equal(2);
    await kc.halt();
    kc.destroy();
  });
});

describe('where a continuation runs', () => {
  closeAfterEach();

  /** Runs it once, and returns the CPU on which it ran. */
  async function ranOn(kc: Kcont<never>, words: Int32Array, cpu: Cpu | null): Promise<number> {
    Atomics.store(words, PLACE, 0);
    Atomics.store(words, 1, 1e6);
    kc.schedule(0, cpu);
    await until(() => Atomics.load(words, PLACE) > 0 && !kc.busy);
    return Atomics.load(words, PLACE) - 1;
  }

  it('is the CPU it is tied to, if its affinity is strong', async () => {
    const { queue, wq, work, cpus } = await startTestKernel(2);
    const words = shared(WORDS);
    const options = { affinity: 'strong' } as const;
    const kc = new Kcont(queue, null, work.hold, { words, ack: false }, options) as never;
    expect(await ranOn(kc, words, cpus[2] ?? null)).to.equal(2);
    expect(await ranOn(kc, words, null)).to.equal(2);
    expect(await ranOn(kc, words, cpus[1] ?? null)).to.equal(1);
    expect(await ranOn(kc, words, null)).to.equal(1);
    const plain = new Kcont(wq.prilow, null, work.hold, { words, ack: false }, options) as never;
    const first = await ranOn(plain, words, null);
    for (let i = 0; i < 5; i++) expect(await ranOn(plain, words, null)).to.equal(first);
  });

  it('is the CPU where it ran last, if its affinity is weak and that CPU keeps up', async () => {
    const { queue, wq, work, cpus } = await startTestKernel(2);
    const words = shared(WORDS);
    const options = { affinity: 'weak' } as const;
    const kc = new Kcont(wq.prilow, null, work.hold, { words, ack: false }, options) as never;
    const first = await ranOn(kc, words, null);
    for (let i = 0; i < 5; i++) expect(await ranOn(kc, words, null)).to.equal(first);
    const gate = shared(WORDS);
    void queue.run(work.gate, { arg: gate, cpu: cpus[first] ?? null });
    await until(() => Atomics.load(gate, GATE) === 1);
    await until(() => (cpus[first] as Cpu).lagMs > 30);
    expect(await ranOn(kc, words, null)).to.equal(3 - first);
    Atomics.store(gate, OPEN, 1);
    Atomics.notify(gate, OPEN);
  });

  it('is this CPU on a queue per CPU, without a CPU', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const words = shared(WORDS);
    const kc = new Kcont(queue, null, work.hold, { words, ack: false }) as never;
    expect(await ranOn(kc, words, null)).to.equal(0);
    expect(await ranOn(kc, words, cpus[1] ?? null)).to.equal(1);
    expect(await ranOn(kc, words, null)).to.equal(0);
    expect(await ranOn(kc, words, cpus[0] ?? null)).to.equal(0);
  });

  it('is the next CPU that is available on other queues, never CPU 0', async () => {
    const { wq, work, kernel } = await startTestKernel(2);
    const words = shared(WORDS);
    const kc = new Kcont(wq.prilow, null, work.hold, { words, ack: false }) as never;
    expect(await ranOn(kc, words, null)).to.be.oneOf([1, 2]);
    const timer = new Kcont<never>(wq.prilow, null, work.beat, { words, ms: 1e6 } as never);
    Atomics.store(words, PLACE, 0);
    timer.schedule(5);
    await until(() => Atomics.load(words, PLACE) > 0);
    expect(Atomics.load(words, PLACE)).to.be.oneOf([2, 3]);
    timer.destroy();
    await kernel.drain();
  });

  it('is reported as an errno by the functions of the proposal', async () => {
    const { queue, wq, work, cpus } = await startTestKernel(1);
    const counts = shared(1);
    const portable = kern.kcont_create(queue, null, work.count, { counts, at: 0 }, 0);
    expect(kern.kcont_schedule(portable, cpus[1] as Cpu, 0)).to.equal(0);
    await until(() => Atomics.load(counts, 0) === 1);
    const closure = kern.kcont_create(queue, null, () => undefined, 0, 0);
    expect(kern.kcont_schedule(closure, cpus[1] as Cpu, 0)).to.equal(kern.EINVAL);
    expect(kern.kcont_schedule(closure, cpus[0] as Cpu, 0)).to.equal(0);
    const plain = kern.kcont_create(wq.prilow, null, work.count, { counts, at: 0 }, 0);
    expect(kern.kcont_schedule(plain, cpus[1] as Cpu, 0)).to.equal(kern.ENOENT);
  });

  it('does not change the order of priorities there', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const gate = shared(WORDS);
    const log = shared(8);
    void queue.run(work.gate, { arg: gate, cpu });
    await until(() => Atomics.load(gate, GATE) === 1);
    for (const priority of [100, 215, 127, 103, 199]) {
      const wq = kernel.acquire(priority, { perCpu: true });
      new Kcont(wq, null, work.writePriority, log).schedule(0, cpu);
    }
    Atomics.store(gate, OPEN, 1);
    Atomics.notify(gate, OPEN);
    await kernel.drain();
    expect(Array.from(log.subarray(1, 6))).to.deep.equal([215, 199, 127, 103, 100]);
  });

  it('lets workqueues with shares take turns there', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const gate = shared(WORDS);
    const log = shared(32);
    void queue.run(work.gate, { arg: gate, cpu });
    await until(() => Atomics.load(gate, GATE) === 1);
    for (const shares of [2, 1]) {
      const wq = kernel.acquire(100, { perCpu: true, shares });
      for (let i = 0; i < 10; i++) {
        new Kcont(wq, null, work.write, { log, what: shares }).schedule(0, cpu);
      }
    }
    Atomics.store(gate, OPEN, 1);
    Atomics.notify(gate, OPEN);
    await kernel.drain();
    // Who is next after that depends on how long they take.
    expect(Array.from(log.subarray(0, 3))).to.deep.equal([20, 2, 1]);
  });

  it('gets another argument together with its function', async () => {
    const { queue, cpus, work } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const kc = new Kcont<unknown>(queue, null, work.note, 'first');
    kc.schedule(1e6, cpu);
    kc.setFunc(work.note, 'second');
    kc.schedule(0, cpu);
    await queue.drain();
    expect(await queue.run(work.ran, { cpu })).to.deep.equal(['second']);
  });
});
