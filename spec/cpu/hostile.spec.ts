// A hostile value of a user does no harm to a CPU, nor to those that wait for it.
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { Kcont, Kernel, KcontError } from '../../lib/index.ts';
import type { Cpu, Workqueue } from '../../lib/index.ts';
import { curcpu } from '../../lib/cpu/index.ts';
import { expectCarried } from '../support/carried.ts';
import { codeOf } from '../support/lab.ts';
import { moduleOf } from '../support/cpus.ts';
import { HOSTILE, deep } from '../support/hostile.ts';
import type * as Work from '../support/hostile-work.ts';
import { THENABLES } from '../support/hostile-work.ts';

void curcpu;

function shared(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** How a promise ended: what it was fulfilled or rejected with. */
async function endOf(promise: Promise<unknown>): Promise<{ value?: unknown; error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

describe('a CPU', () => {
  const errors: unknown[] = [];
  const kernel = new Kernel({ onError: (error) => void errors.push(error) });
  const events: string[] = [];
  let queue: Workqueue;
  let cpu: Cpu;
  let work: typeof Work;

  before(async () => {
    work = await kernel.startCpus<typeof Work>({
      module: moduleOf('hostile-work'),
      count: 1,
      onEvent: ({ type }) => void events.push(type),
    });
    queue = kernel.acquire(127, { perCpu: true });
    cpu = kernel.cpus[1] as Cpu;
  });

  after(async () => {
    const { unfinished } = await kernel.close({ graceMs: 100 });
    expect([unfinished, events]).to.deep.equal([[], ['up']]);
  });

  /** Checks that the CPU answers, runs nothing that nobody waits for, and has lost no result. */
  async function expectSound(others: Promise<unknown>): Promise<void> {
    expect(await others).to.equal('pong');
    expect(await queue.run(work.ping, { cpu })).to.equal('pong');
    expect(errors.splice(0)).to.deep.equal([]);
  }

  for (const [what, make] of Object.entries(HOSTILE)) {
    it(`tells who waits whatever is thrown: ${what}`, async () => {
      for (const func of [work.throwing, work.rejecting]) {
        const ended = endOf(queue.run(func, { arg: what, cpu }));
        const others = queue.run(work.ping, { cpu });
        const { error } = await ended;
        expectCarried(make(), () => error);
        await expectSound(others);
      }
    });

    it(`hands over a result, or says why not: ${what}`, async () => {
      for (const func of [work.returning, work.fulfilling]) {
        const ended = endOf(queue.run(func, { arg: what, cpu }));
        const others = queue.run(work.ping, { cpu });
        const end = await ended;
        // Or with what its `then` throws when it is read.
        if ('error' in end) expect(String(end.error)).to.match(/cannot be|proxy|refused/);
        await expectSound(others);
      }
    });

    it(`refuses an argument at the call, or gets it: ${what}`, async () => {
      const ended = endOf(queue.run(work.echo, { arg: make(), cpu }));
      const others = queue.run(work.ping, { cpu });
      const end = await ended;
      if ('error' in end) expect(end.error).to.include({ code: 'EINVAL' });
      await expectSound(others);
    });

    it(`aborts with any reason: ${what}`, async () => {
      const began = shared();
      const controller = new AbortController();
      const { signal } = controller;
      const seen = queue.run(work.reasonSeen, { arg: began, cpu, signal });
      await until(() => Atomics.load(began, 0) === 1);
      const reason = make();
      controller.abort(reason);
      const { value, error } = await endOf(seen);
      // The result of the function may be more than can be sent back.
      if (error !== undefined) expect(error).to.include({ code: 'EINVAL' });
      else expectCarried(reason, () => (value as { reason: unknown }).reason);
      await expectSound(queue.run(work.ping, { cpu }));
    });

    it(`reports what a continuation throws, and leaves it idle: ${what}`, async () => {
      const kc = new Kcont(queue, null, work.failing, { what });
      kc.schedule(0, cpu);
      await until(() => errors.length > 0);
      const [error] = errors.splice(0);
      expectCarried(make(), () => error);
      await until(() => !kc.busy);
      kc.destroy();
    });
  }

  it('follows every thenable, once', async () => {
    const ends: Record<string, unknown> = {};
    for (const what of Object.keys(THENABLES)) {
      const { value, error } = await endOf(queue.run(work.thenable, { arg: what, cpu }));
      ends[what] = value ?? String(error);
    }
    expect(ends).to.deep.equal({
      'a then that throws': 'Error: then',
      'a then that cannot be read': 'Error: get then',
      'calls back twice': 'first',
      'fails, then throws': 'TypeError: failed',
      'a promise with a then of its own': 1,
      'a promise whose constructor throws': 'Error: constructor',
      'a function that has a then': 'from a function',
      'a thenable of a thenable': 'inner',
    });
    await expectSound(queue.run(work.ping, { cpu }));
  });

  it('reads the `then` of a result once', async () => {
    for (const [arg, value] of [
      [true, 'kept'],
      [false, '1 reads'],
    ]) {
      const run = endOf(queue.run(work.readsThenTwice, { arg: arg as boolean, cpu }));
      expect(await run).to.deep.include({ value });
    }
  });

  it('reports every promise on a FAST queue as an error', async () => {
    const fast = kernel.wq.softclock;
    for (const what of ['a then that throws', 'calls back twice', 'fails, then throws']) {
      const { error } = await endOf(fast.run(work.thenable, { arg: what }));
      expect(error).to.include({ code: 'ENOTSUP' });
    }
    await expectSound(queue.run(work.ping, { cpu }));
  });

  it('moves a result once, and reports an error the second time', async () => {
    const first = await queue.run(work.movesOneFrame, { cpu });
    expect((first as Uint8Array).byteLength).to.equal(1024);
    const { error } = await endOf(queue.run(work.movesOneFrame, { cpu }));
    expect(error).to.be.an.instanceOf(KcontError).that.includes({ code: 'EINVAL' });
    const nonsense = await endOf(queue.run(work.movesNonsense, { cpu }));
    expect(nonsense.error).to.include({ code: 'EINVAL' });
    await expectSound(queue.run(work.ping, { cpu }));
  });

  it('reports an argument that arrives and cannot be read', async () => {
    const gone = new Uint8Array(8);
    structuredClone(gone, { transfer: [gone.buffer] });
    // Some versions of Node refuse it at the call, others when it is read.
    for (const transfer of [[gone.buffer], []]) {
      const others = queue.run(work.ping, { cpu });
      const { error } = await endOf(queue.run(work.echo, { arg: { gone }, cpu, transfer }));
      if (transfer.length > 0) expect(error).to.include({ code: 'EINVAL' });
      await expectSound(others);
    }
  });

  it('carries errors in arguments and results, with class, code and causes', async () => {
    const cause = new DOMException('gone', 'AbortError');
    const error = Object.assign(new RangeError('it', { cause }), { code: 'EIT' });
    const sent = { list: [error, error], ok: false };
    const back = (await queue.run(work.echo, { arg: sent, cpu })) as typeof sent;
    const [first, second] = back.list;
    expect(first).to.be.an.instanceOf(RangeError).that.includes({ code: 'EIT', message: 'it' });
    expect([first === second, back.ok]).to.deep.equal([true, false]);
    expect(first?.cause).to.be.an.instanceOf(DOMException).that.includes({ code: 20 });
    const alone = await queue.run(work.echo, { arg: error, cpu });
    expect(alone).to.be.an.instanceOf(RangeError).that.includes({ code: 'EIT' });
  });

  it('transmits a value as deep as structuredClone allows, or reports that it cannot', async () => {
    const depthOf = (value: unknown): number => {
      let depth = 0;
      for (let at = value; at !== null; at = (at as { value: unknown }).value) depth++;
      return depth;
    };
    expect(depthOf(await queue.run(work.echo, { arg: deep(1000), cpu }))).to.equal(1000);
    const { error } = await endOf(queue.run(work.echo, { arg: deep(1e5), cpu }));
    expect(error).to.include({ code: 'EINVAL' });
    // The stack of a worker is larger than that of this thread, so not everything that it can send can
    // be read here.
    const ends: string[] = [];
    for (let levels = 500; levels < 5e4; levels *= 2) {
      const end = await endOf(queue.run(work.deepResult, { arg: Math.trunc(levels), cpu }));
      if (end.error === undefined) expect(depthOf(end.value)).to.equal(Math.trunc(levels));
      else expect(end.error).to.include({ code: 'EINVAL' });
      ends.push(/cannot be read on this CPU/.test(String(end.error)) ? 'read' : typeof end.error);
    }
    expect(ends).to.include('read');
    await expectSound(queue.run(work.ping, { cpu }));
  });
});

describe('an argument that is changed after it was checked', () => {
  it('is refused where it has to be sent again, and changes nothing', async () => {
    const errors: unknown[] = [];
    const kernel = new Kernel({ onError: (error) => void errors.push(error) });
    const module = moduleOf('hostile-work');
    const work = await kernel.startCpus<typeof Work>({ module, count: 2, backoffMs: 1 });
    const queue = kernel.acquire(127, { perCpu: true });
    const [, one, two] = kernel.cpus;
    const arg: Record<string, unknown> = { told: [] };
    const kc = new Kcont<unknown>(queue, null, work.noted, arg);
    kc.schedule(1e6, one);
    arg['f'] = () => 1;
    expect(codeOf(() => kc.schedule(0, two))).to.equal('EINVAL');
    expect(kc.pending).to.equal(true);
    kc.setArg({ told: [1] });
    expect(kc.schedule(0, two)).to.equal(true);
    await until(() => !kc.busy);
    expect(errors).to.deep.equal([]);
    kc.destroy();
    // The argument of a job is sent again if its CPU has a new thread.
    const words = new Int32Array(new SharedArrayBuffer(8));
    const blocked = endOf(queue.run(work.block, { arg: words, cpu: one ?? null }));
    await until(() => Atomics.load(words, 0) === 1);
    const changed: Record<string, unknown> = { map: new Map() };
    const job = endOf(queue.run(work.echo, { arg: changed, cpu: one ?? null }));
    changed['f'] = () => 1;
    await one?.restart({ graceMs: 0 });
    expect((await job).error).to.include({ code: 'EINVAL' });
    expect((await blocked).error).to.include({ code: 'ECPUDIED' });
    expect(await queue.run(work.ping, { cpu: one ?? null })).to.equal('pong');
    await kernel.close({ graceMs: 0 });
  });

  it('is an error of its continuation if it cannot be read where that is to run', async () => {
    const kernel = new Kernel();
    const module = moduleOf('hostile-work');
    const work = await kernel.startCpus<typeof Work>({ module, count: 1 });
    const queue = kernel.acquire(127, { perCpu: true });
    const cpu = kernel.cpus[1] ?? null;
    const ends: string[] = [];
    for (let levels = 500; levels < 5e4; levels *= 2) {
      ends.push(await queue.run(work.tellDeep, { arg: Math.trunc(levels), cpu }));
    }
    expect(ends).to.include('the argument of noted cannot be read on CPU 0');
    expect(ends[0]).to.equal('ran');
    await kernel.close({ graceMs: 0 });
  });
});

describe('a thenable result that never settles', () => {
  it('stays in flight, and is named by inspect there and in the report of a close', async () => {
    const kernel = new Kernel();
    const work = await kernel.startCpus<typeof Work>({
      module: moduleOf('hostile-work'),
      count: 1,
    });
    const began = shared();
    const queue = kernel.acquire(127, { perCpu: true });
    const run = endOf(queue.run(work.neverSettles, { arg: began, cpu: kernel.cpus[1] ?? null }));
    await until(() => Atomics.load(began, 0) === 1);
    const other = kernel.acquire(100, { perCpu: true });
    const running = await other.run(work.runningHere, { cpu: kernel.cpus[1] ?? null });
    expect(running).to.deep.equal([`${queue.name} 1`, `${other.name} 1`]);
    const { unfinished } = await kernel.close({ graceMs: 20 });
    expect(unfinished).to.deep.equal([{ name: 'neverSettles', wq: queue.name, state: 'running' }]);
    expect((await run).error).to.include({ code: 'ESHUTDOWN' });
  });
});
