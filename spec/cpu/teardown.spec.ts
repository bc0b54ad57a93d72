// The teardown table for handles that several CPUs know: their answers on every CPU while the kernel is
// open, in the grace period of its close, and closed. Runs in flight on any CPU are still served.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import { SharedMutex } from '../../lib/cpu/index.ts';
import { closeAfterEach, startTestKernel, type TestKernel } from '../support/cpus.ts';
import {
  ENTERED,
  GATE,
  OPEN,
  PLACE,
  RELEASED,
  WORDS,
  answersOf,
  type Held,
} from '../support/cpu-work.ts';
import { rejectionOf } from '../support/lab.ts';
import { SITUATIONS, TEARDOWN, type PhaseName, type Situation } from '../support/teardown.ts';

function shared(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * WORDS));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** A handle in each situation; its runs are on one CPU. */
class Cast {
  readonly lock = new SharedMutex();
  readonly kcs: Kcont<never>[] = [];
  readonly #words: Int32Array[] = [];
  readonly #testKernel: TestKernel;
  readonly #cpu: Cpu;

  constructor(testKernel: TestKernel, index: number) {
    this.#testKernel = testKernel;
    this.#cpu = testKernel.cpus[index] as Cpu;
    this.lock.tryEnter();
  }

  async bringAll(): Promise<void> {
    for (const situation of SITUATIONS) await this.#bring(situation);
  }

  async #bring(situation: Situation): Promise<void> {
    const { queue, work } = this.#testKernel;
    const words = shared();
    const lock = situation === 'queued' ? this.lock : null;
    const ack = situation.startsWith('acked');
    const kc = new Kcont<Held>(queue, lock, work.hold, { words, ack }, { name: situation });
    this.kcs.push(kc as Kcont<unknown> as Kcont<never>);
    this.#words.push(words);
    if (situation === 'pending') kc.schedule(1e6, this.#cpu);
    const runs = /running|acked/.test(situation);
    if (runs || lock !== null) kc.schedule(0, this.#cpu);
    if (runs) await until(() => Atomics.load(words, ENTERED) === 1);
    if (situation.endsWith('pending') && runs) kc.schedule(1e6, this.#cpu);
    if (situation.startsWith('destroyed')) kc.destroy();
  }

  /** The expected answers, in the order of `answersOf`. */
  expected(phase: PhaseName): unknown[][] {
    return SITUATIONS.map((situation) => {
      const { schedule, reset, errno } = TEARDOWN[situation][phase];
      return [schedule, schedule, reset, reset, errno, errno];
    });
  }

  endRuns(): void {
    for (const words of this.#words) Atomics.store(words, RELEASED, 1000);
  }
}

describe('a handle that several CPUs know', () => {
  closeAfterEach();

  for (const runsOn of [0, 1]) {
    it(`answers on every CPU as the table says, while it runs on CPU ${runsOn} in the grace`, async () => {
      const testKernel = await startTestKernel(1);
      const { kernel, queue, work, cpus } = testKernel;
      const cast = new Cast(testKernel, runsOn);
      await cast.bringAll();
      const words = shared();
      const arg = { words, kcs: cast.kcs };
      const there = queue.run(work.askLater, { arg, cpu: cpus[1] ?? null });
      await until(() => Atomics.load(words, GATE) === 1);
      const closed = kernel.close({ graceMs: 1e6 });
      expect(answersOf(cast.kcs)).to.deep.equal(cast.expected('in the grace'));
      Atomics.store(words, OPEN, 1);
      expect(await there).to.deep.equal(cast.expected('in the grace'));
      expect(await rejectionOf(queue.run(work.where, { cpu: cpus[1] ?? null }))).to.equal(
        'ESHUTDOWN',
      );
      cast.endRuns();
      cast.lock.exit();
      const { withdrawn, unfinished } = await closed;
      expect(withdrawn.toSorted()).to.deep.equal(['acked and pending', 'pending']);
      expect(unfinished).to.deep.equal([]);
    });
  }

  it('answers as the table says when the kernel is closed, also while it still runs', async () => {
    const testKernel = await startTestKernel(1);
    const cast = new Cast(testKernel, 0);
    await cast.bringAll();
    await testKernel.queue.run(testKernel.work.echo, {
      arg: cast.kcs,
      cpu: testKernel.cpus[1] ?? null,
    });
    const { unfinished } = await testKernel.kernel.close({ graceMs: 0 });
    expect(answersOf(cast.kcs)).to.deep.equal(cast.expected('closed'));
    expect(unfinished.map(({ name, state }) => `${state} ${name}`).toSorted()).to.deep.equal([
      'queued queued',
      'running acked',
      'running acked and pending',
      'running destroyed while running',
      'running running',
    ]);
    cast.endRuns();
    await until(() => !cast.kcs.some((kc) => kc.running));
  });

  it('answers like an idle handle when the kernel is closed, if its run has ended with its thread', async () => {
    const testKernel = await startTestKernel(1);
    const cast = new Cast(testKernel, 1);
    await cast.bringAll();
    const halted = (cast.kcs[SITUATIONS.indexOf('running')] as Kcont<never>).halt();
    await testKernel.kernel.close({ graceMs: 0 });
    expect(await halted).to.equal(true);
    expect(cast.kcs.map((kc) => kc.busy)).to.deep.equal(SITUATIONS.map(() => false));
    const answers = answersOf(cast.kcs);
    const idle = cast.expected('closed')[SITUATIONS.indexOf('idle')];
    expect(answers[SITUATIONS.indexOf('running')]).to.deep.equal(idle);
  });

  it('may schedule itself again on a CPU that is being stopped, and goes on with its next thread', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const words = shared();
    const kc = new Kcont<Held>(
      queue,
      null,
      work.again,
      { words, ack: false },
      { affinity: 'strong' },
    );
    kc.schedule(0, cpu);
    await until(() => Atomics.load(words, ENTERED) === 1);
    const restarted = cpu.restart({ graceMs: 1e6 });
    Atomics.store(words, RELEASED, 1);
    await restarted;
    await until(() => Atomics.load(words, ENTERED) === 2);
    expect(Atomics.load(words, PLACE)).to.equal(1);
    kc.stop();
    Atomics.store(words, RELEASED, 2);
    await until(() => !kc.running);
    kc.destroy();
  });
});

describe('a run in flight on any CPU when the kernel closes', () => {
  closeAfterEach();

  it('gets jobs and locks from other CPUs until it has settled', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(2);
    const [, one, two] = cpus as [Cpu, Cpu, Cpu];
    const gate = shared();
    const lock = new SharedMutex();
    lock.tryEnter();
    const blocked = queue.run(work.gate, { arg: gate, cpu: two });
    await until(() => Atomics.load(gate, GATE) === 1);
    // It waits for a job on a blocked CPU, and for a lock that is held on CPU 0.
    const waiting = queue.run(work.runOn, { arg: { cpu: 2, value: 'v' }, cpu: one });
    const inside = new Int32Array(new SharedArrayBuffer(4));
    const locked = queue.run(work.contend, { arg: { lock, inside, times: 2 }, cpu: one });
    await queue.run(work.where, { cpu: one });
    const closed = kernel.close({ graceMs: 1e6 });
    await new Promise(setImmediate);
    lock.exit();
    Atomics.store(gate, OPEN, 1);
    Atomics.notify(gate, OPEN);
    await blocked;
    expect(await waiting).to.deep.equal({ value: 'v', by: 1 });
    expect(await locked).to.equal(0);
    expect(await closed).to.deep.equal({ withdrawn: [], unfinished: [] });
  });

  it('is told when another CPU dies meanwhile, and the report names what ran there', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const words = shared();
    const died = rejectionOf(queue.run(work.die, { arg: words, cpu }));
    await until(() => Atomics.load(words, GATE) === 1);
    const behind = rejectionOf(queue.run(work.where, { cpu }));
    const closed = kernel.close({ graceMs: 1e6 });
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    expect([await died, await behind]).to.deep.equal(['ECPUDIED', 'ESHUTDOWN']);
    const { unfinished } = await closed;
    expect(unfinished.map(({ name, state }) => `${state} ${name}`)).to.deep.equal([
      'running die',
      'queued where',
    ]);
  });
});

describe('the report of a kernel that has closed', () => {
  closeAfterEach();

  it('names what ran on a CPU that spins for ever, and what was queued there', async () => {
    const { kernel, queue, wq, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const running = new Int32Array(new SharedArrayBuffer(4));
    const stuck = rejectionOf(wq.prilow.run(work.signalAndBurn, { arg: running }));
    await until(() => Atomics.load(running, 0) === 1);
    const behind = rejectionOf(wq.prilow.run(work.where, { name: 'behind it' }));
    const timer = new Kcont(queue, null, work.note, 1, { name: 'a timer' });
    timer.schedule(1e6, cpu);
    const report = await kernel.close({ graceMs: 0 });
    expect(report).to.deep.equal({
      withdrawn: ['a timer'],
      unfinished: [
        { name: 'signalAndBurn', wq: 'prilow', state: 'running' },
        { name: 'behind it', wq: 'prilow', state: 'queued' },
      ],
    });
    expect([await stuck, await behind, timer.busy]).to.deep.equal([
      'ESHUTDOWN',
      'ESHUTDOWN',
      false,
    ]);
  });

  it('names the CPU if no other CPU knows what ran there', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const running = new Int32Array(new SharedArrayBuffer(4));
    await queue.run(work.burnByItself, { arg: running, cpu: cpus[1] ?? null });
    await until(() => Atomics.load(running, 0) === 1);
    const { unfinished } = await kernel.close({ graceMs: 0 });
    expect(unfinished).to.deep.equal([{ name: 'CPU 1', wq: '', state: 'running' }]);
  });

  it('names what waited for a CPU that was down, and does not wait for it', async () => {
    const { kernel, queue, wq, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    await cpu.stop();
    const codes = Promise.all(
      [
        queue.run(work.where, { cpu, name: 'named' }),
        wq.prilow.run(work.where, { name: 'anywhere' }),
        queue.run(work.where, { cpu, delayMs: 1e6, name: 'later' }),
      ].map(rejectionOf),
    );
    const report = await kernel.close({ graceMs: 1e6 });
    expect(report).to.deep.equal({
      withdrawn: ['later'],
      unfinished: [
        { name: 'named', wq: 'pri127/percpu', state: 'queued' },
        { name: 'anywhere', wq: 'prilow', state: 'queued' },
      ],
    });
    expect(await codes).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN', 'ESHUTDOWN']);
  });
});
