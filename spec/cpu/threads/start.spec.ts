// Starting CPUs, stopping them, and starting them again.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, curcpu, kernel as common } from '../../../lib/index.ts';
import type { Cpu } from '../../../lib/index.ts';
import { closeAfterEach, moduleOf, startTestKernel } from '../../support/cpus.ts';
import { GATE, OPEN, WORDS } from '../../support/cpu-work.ts';
import { runModule } from '../../support/child.ts';
import { codeOf, rejectionOf } from '../../support/lab.ts';
import { watchThreads } from '../../support/threads.ts';

const module = moduleOf('cpu-work');

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

describe('startCpus', () => {
  closeAfterEach();

  it('returns the exports of the module, and adds the CPUs to the kernel', async () => {
    const { kernel, work, cpus } = await startTestKernel(2);
    expect(work).to.equal(await import(module.href));
    expect(cpus.map((cpu) => `${cpu.index} ${cpu.state}`)).to.deep.equal(['0 up', '1 up', '2 up']);
    expect(cpus.every((cpu) => cpu.kernel === kernel && cpu.lagMs < 5000)).to.equal(true);
    expect(kernel.cpus).to.equal(cpus);
  });

  it('makes each thread see all of them, and itself by curcpu', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    const seen = await queue.run(work.statesSeen, { cpu: cpus[2] ?? null });
    expect(seen).to.deep.equal(['0 up', '1 up', '2 up']);
    expect(await queue.run(work.where, { cpu: cpus[2] ?? null })).to.equal(2);
    expect(curcpu()).to.equal(common.cpus[0]);
  });

  it('accepts a path, a CommonJS module, and functions with several names', async () => {
    const source = `
      const twice = (n) => n * 2;
      export { twice, twice as double };
      export default { twice, hidden: (n) => n - 1 };
    `;
    const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    const kernel = new Kernel();
    const { double, default: others } = await kernel.startCpus<{
      double: (n: number) => number;
      default: { hidden: (n: number) => number };
    }>({ module: url, count: 1 });
    expect(await kernel.wq.prilow.run(double, { arg: 4 })).to.equal(8);
    expect(await kernel.wq.prilow.run(others.hidden, { arg: 4 })).to.equal(3);
    await kernel.close();
    const byPath = new Kernel();
    await byPath.startCpus({ module: module.pathname, count: 1 });
    await byPath.close();
  });

  it('refuses invalid options before it starts anything', async () => {
    const kernel = new Kernel();
    const refused = async (options: unknown): Promise<string> =>
      rejectionOf(kernel.startCpus(options as never));
    expect(
      await Promise.all(
        [
          undefined,
          {},
          { module: 'relative.js' },
          { module: 5 },
          { module, count: 0 },
          { module, count: 16 },
          { module, count: 1.5 },
          { module, onEvent: 1 },
          { module, blockedMs: -1 },
          { module, backoffMs: NaN },
          { module, longestBackoffMs: Infinity },
          { module, timeoutMs: 0 },
          { module, timeoutMs: NaN },
          { module, timeoutMs: '5' },
          { module, timeoutMs: 2 ** 53 },
          { module, signal: {} },
        ].map(refused),
      ),
    ).to.deep.equal(Array.from({ length: 16 }, () => 'EINVAL'));
    expect(kernel.cpus).to.have.length(1);
  });

  it('starts the CPUs once, and not when the kernel is closed', async () => {
    const { kernel } = await startTestKernel(1);
    expect(await rejectionOf(kernel.startCpus({ module, count: 1 }))).to.equal('EBUSY');
    const twice = new Kernel();
    const first = twice.startCpus({ module, count: 1 });
    expect(await rejectionOf(twice.startCpus({ module, count: 1 }))).to.equal('EBUSY');
    await first;
    await twice.close();
    expect(await rejectionOf(twice.startCpus({ module, count: 1 }))).to.equal('ESHUTDOWN');
  });

  it('can be tried again when it has failed', async () => {
    const kernel = new Kernel();
    expect(
      await rejectionOf(kernel.startCpus({ module: moduleOf('nowhere'), count: 1 })),
    ).to.not.equal('none');
    await kernel.startCpus({ module, count: 1 });
    expect(kernel.cpus).to.have.length(2);
    await kernel.close();
  });

  it('says what is missing when kcont/cpu was not imported', async () => {
    const { out } = await runModule(`
      const { kernel } = kcont;
      kernel.startCpus({ module: 'file:///x.js' }).catch((error) => {
        console.log(error.code, error.message);
      });
    `);
    expect(out).to.deep.equal(["ENOTSUP startCpus needs kcont/cpu: import 'kcont/cpu' first"]);
  });

  it('accepts TypeScript if Node does, and otherwise says what to do', async () => {
    const ts = new URL(
      `data:text/javascript,${encodeURIComponent(`throw Object.assign(new Error('.ts'), { code: 'ERR_UNKNOWN_FILE_EXTENSION' })`)}`,
    );
    const kernel = new Kernel();
    const error = await kernel
      .startCpus({ module: ts, count: 1 })
      .catch((e: unknown) => e as Error);
    expect(error).to.include({ code: 'ENOTSUP' });
    expect(error).to.have.property('message').that.contains('take Node 22.18 or later');
  });
});

/** A module whose threads run some code when they import it; CPU 0 does not. */
function moduleThat(code: string): URL {
  const source = `
    import { isMainThread } from 'node:worker_threads';
    export const one = () => 1;
    if (!isMainThread) { ${code} }
  `;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

describe('a start that does not finish', () => {
  const threads = watchThreads();

  it('is refused by close, which waits until its threads have ended', async () => {
    const codes: string[] = [];
    for (const threadsFirst of [0, 2]) {
      const closing = new Kernel();
      const started = closing.startCpus({ module: moduleThat('for (;;);'), count: 2 });
      const code = rejectionOf(started);
      while (threads.count < threadsFirst) await new Promise(setImmediate);
      const report = await closing.close();
      codes.push(await code);
      expect(report).to.deep.equal({ withdrawn: [], unfinished: [] });
      expect([threads.count, closing.cpus.length]).to.deep.equal([0, 1]);
      expect(await rejectionOf(closing.startCpus({ module, count: 1 }))).to.equal('ESHUTDOWN');
    }
    expect(codes).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
  });

  it('is given up when its signal is aborted, and can be tried again', async () => {
    const kernel = new Kernel();
    const controller = new AbortController();
    const { signal } = controller;
    const started = kernel.startCpus({ module: moduleThat('for (;;);'), count: 1, signal });
    const reason = started.catch((error: unknown) => error);
    while (threads.count === 0) await new Promise(setImmediate);
    controller.abort(new Error('too long'));
    expect(await reason).to.include({ message: 'too long' });
    expect(threads.count).to.equal(0);
    expect(await rejectionOf(kernel.startCpus({ module, count: 1, signal }))).to.contain(
      'too long',
    );
    expect(threads.made).to.equal(1);
    await kernel.startCpus({ module, count: 1 });
    await kernel.close();
  });

  it('is given up when a thread does not import the module in time, by name', async () => {
    const hanging = moduleThat('for (;;);');
    // The module is loaded on this thread by then; the limit applies to the other thread.
    await import(hanging.href);
    const kernel = new Kernel();
    const error = await kernel
      .startCpus({ module: hanging, count: 1, timeoutMs: 400 })
      .catch((thrown: unknown) => thrown);
    expect(error).to.include({
      code: 'ETIMEDOUT',
      message: `CPU 1 could not be started: it has not imported ${hanging.href} within 400 ms`,
    });
    expect(threads.count).to.equal(0);
  });

  it('is given up when this thread does not import the module in time, by name', async () => {
    const hanging = new URL('data:text/javascript,await new Promise(() => {})');
    const kernel = new Kernel();
    const error = await kernel
      .startCpus({ module: hanging, count: 1, timeoutMs: 20 })
      .catch((thrown: unknown) => thrown);
    expect(error).to.include({
      code: 'ETIMEDOUT',
      message: `the CPU module ${hanging.href} was not imported on CPU 0 within 20 ms (does it await startCpus at its top level?)`,
    });
    expect(threads.made).to.equal(0);
  });

  it('reports at once a thread that has ended because it waits for nothing', async () => {
    const waiting = moduleThat('await new Promise(() => {});');
    const error = await new Kernel()
      .startCpus({ module: waiting, count: 1, timeoutMs: Infinity })
      .catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'ECPUDIED');
    expect(error).to.have.property('message').that.contains(`while it imported ${waiting.href}`);
  });

  it('is a failure of that thread when it happens later, and is tried again', async () => {
    const name = 'KCONT_SPEC_THROWS';
    const later = moduleThat(`if (process.env.${name} === '1') throw new RangeError('not now');`);
    const kernel = new Kernel();
    const died: unknown[] = [];
    const work = await kernel.startCpus<{ one: () => number }>({
      module: later,
      count: 1,
      backoffMs: 1,
      longestBackoffMs: 1,
      onEvent: ({ type, error }) => void (type === 'died' && died.push(error)),
    });
    const [, cpu] = kernel.cpus as [Cpu, Cpu];
    try {
      process.env[name] = '1';
      const error = await cpu.restart().catch((thrown: unknown) => thrown);
      expect(error).to.include({
        code: 'ECPUDIED',
        message: 'CPU 1 could not be started: RangeError: not now',
      });
      await new Promise(setImmediate);
      expect(died[0]).to.include({ code: 'ECPUDIED', message: 'CPU 1 died: not now' });
    } finally {
      delete process.env[name];
    }
    expect(await kernel.wq.prilow.run(work.one)).to.equal(1);
    expect(threads.most).to.equal(1);
    await kernel.close();
    expect(threads.count).to.equal(0);
  });

  it('passes the options of Node that load modules on, in either form', async () => {
    const sets = (name: string): string => `data:text/javascript,globalThis.${name} = '${name}'`;
    const file = `data:text/javascript,export const seen = () => [globalThis.one, globalThis.two]`;
    const { code, out, err } = await runModule(
      `
      import ${JSON.stringify(new URL('../../../lib/cpu/index.js', import.meta.url).href)};
      const kernel = new kcont.Kernel();
      const { seen } = await kernel.startCpus({ module: ${JSON.stringify(file)}, count: 1 });
      console.log(await kernel.wq.prilow.run(seen));
      await kernel.close();
      `,
      `--import=${sets('one')}`,
      '--import',
      sets('two'),
      '--max-old-space-size=512',
    );
    expect([code, out, err]).to.deep.equal([0, ["[ 'one', 'two' ]"], '']);
  });

  it('leaves nothing that keeps the process alive', async () => {
    const { code, out } = await runModule(`
      import ${JSON.stringify(new URL('../../../lib/cpu/index.js', import.meta.url).href)};
      const { Kernel } = kcont;
      const module = ${JSON.stringify(moduleThat('for (;;);').href)};
      const kernel = new Kernel();
      const started = kernel.startCpus({ module, count: 1 }).catch((error) => error.code);
      setTimeout(async () => {
        await kernel.close();
        console.log(await started);
      }, 50);
    `);
    expect([code, out]).to.deep.equal([0, ['ESHUTDOWN']]);
  });
});

describe('a CPU', () => {
  closeAfterEach();

  it('stops when what runs has finished; what is tied to it waits', async () => {
    const { queue, work, cpus, events } = await startTestKernel(2);
    const [, one, two] = cpus as [Cpu, Cpu, Cpu];
    const running = queue.run(work.linger, { arg: 30, cpu: one });
    await queue.run(work.where, { cpu: one });
    const words = shared(WORDS);
    void queue.run(work.gate, { arg: words, cpu: one });
    while (Atomics.load(words, GATE) === 0) await new Promise(setImmediate);
    const tied = new Kcont(queue, null, work.note, 'tied', { affinity: 'strong' });
    const free = new Kcont(queue, null, work.note, 'free');
    tied.schedule(0, one);
    free.schedule(0, one);
    const stopped = one.stop();
    expect(one.state).to.equal('stopping');
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    await stopped;
    await running;
    expect([one.state, one.lagMs, tied.invoking]).to.deep.equal(['down', 0, true]);
    while (free.busy) await new Promise(setImmediate);
    expect(await queue.run(work.ran, { cpu: two })).to.deep.equal(['free']);
    await one.restart();
    expect(await queue.run(work.ran, { cpu: one })).to.deep.equal(['tied']);
    expect(events.map(({ type, cpu }) => `${type} ${cpu.index}`).slice(2)).to.deep.equal([
      'stopped 1',
      'up 1',
    ]);
  });

  it('restarts, and ends what does not finish within the grace period', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const words = shared(WORDS);
    const stuck = rejectionOf(queue.run(work.hog, { arg: { words, ms: 60_000 }, cpu }));
    while (Atomics.load(words, GATE) === 0) await new Promise(setImmediate);
    await cpu.restart({ graceMs: 0 });
    expect(await stuck).to.equal('ECPUDIED');
    expect(cpu.state).to.equal('up');
    expect(await queue.run(work.where, { cpu })).to.equal(1);
  });

  it('cannot stop itself, and CPU 0 cannot be stopped', async () => {
    const { cpus } = await startTestKernel(1);
    expect(codeOf(() => void (cpus[0] as Cpu).stop())).to.equal('ENOTSUP');
    expect(codeOf(() => void (cpus[0] as Cpu).restart())).to.equal('ENOTSUP');
    expect(await rejectionOf((cpus[1] as Cpu).stop({ graceMs: -1 }))).to.equal('EINVAL');
    expect(codeOf(() => void (new Kernel().cpus[0] as Cpu).stop())).to.equal('ENOTSUP');
  });

  it('reports, with the kernel, what did not finish on it', async () => {
    const { kernel, queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const timer = new Kcont(queue, null, work.note, 1, { name: 'far off' });
    timer.schedule(1e6, cpu);
    await queue.run(work.where, { cpu });
    const { withdrawn, unfinished } = await kernel.close();
    expect(withdrawn).to.deep.equal(['far off']);
    expect(unfinished).to.deep.equal([]);
    expect([cpu.state, timer.pending]).to.deep.equal(['down', false]);
    expect(codeOf(() => timer.schedule(0, cpu))).to.equal('ESHUTDOWN');
  });
});
