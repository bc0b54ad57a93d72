// What keeps a process with CPUs alive, and what does not.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { runModule, type Ended } from '../support/child.ts';
import { moduleOf } from '../support/cpus.ts';

const cpuRoom = new URL(`../../lib/cpu/index${import.meta.url.slice(-3)}`, import.meta.url).href;

/** Runs a program with two CPUs, which prints what `body` says and when it ends. */
function run(body: string): Promise<Ended> {
  return runModule(`
    import ${JSON.stringify(cpuRoom)};
    const { Kcont, kernel, wq } = kcont;
    const work = await kernel.startCpus({ module: ${JSON.stringify(moduleOf('cpu-work').href)}, count: 2 });
    const queue = kernel.acquire(127, { perCpu: true });
    const [, one, two] = kernel.cpus;
    const counts = new Int32Array(new SharedArrayBuffer(40));
    const count = (at, options) => new Kcont(queue, null, work.count, { counts, at }, options);
    process.on('exit', () => console.log(counts.join('').replace(/0+$/, '') || 'none'));
    ${body}
  `);
}

describe('with CPUs, the process', () => {
  it('ends when nothing is scheduled', async () => {
    expect(await run('')).to.deep.equal({ code: 0, out: ['none'], err: '' });
  });

  it('stays for a timer on another CPU', async () => {
    const { code, out } = await run('count(0).schedule(100, one); count(1).schedule(50, two);');
    expect([code, out]).to.deep.equal([0, ['11']]);
  });

  it('does not stay for one that is unreferenced, or was stopped', async () => {
    const { code, out } = await run(`
      count(0, { ref: false }).schedule(1e6, one);
      const later = count(1); later.schedule(1e6, one); later.unref();
      const stopped = count(2); stopped.schedule(1e6, two); stopped.stop();
      count(3).schedule(20, two);
    `);
    expect([code, out]).to.deep.equal([0, ['0001']]);
  });

  it('stays for a result', async () => {
    const { code, out } = await run(`
      console.log(await queue.run(work.linger, { arg: 100, cpu: one }).then(() => 'lingered'));
    `);
    expect([code, out]).to.deep.equal([0, ['lingered', 'none']]);
  });

  it('stays for what one CPU has scheduled on another', async () => {
    const { code, out } = await run(`
      await queue.run(work.delegate, { arg: { counts, at: 0, cpu: 2 }, cpu: one });
    `);
    expect([code, out]).to.deep.equal([0, ['1']]);
  });

  it('stays until a CPU that died has been started again, and has run what is tied to it', async () => {
    const { code, out } = await run(`
      queue.run(work.exit, { arg: 0, cpu: one }).catch((error) => console.log(error.code));
      count(0, { affinity: 'strong' }).schedule(0, one);
    `);
    expect([code, out]).to.deep.equal([0, ['ECPUDIED', '1']]);
  });

  it('stays while a halt or a drain waits', async () => {
    const { code, out } = await run(`
      const kc = new Kcont(queue, null, work.linger, 50);
      kc.schedule(0, one);
      await kernel.drain();
      kc.schedule(0, two);
      while (!kc.running) await new Promise(setImmediate);
      console.log(await kc.halt());
    `);
    expect([code, out]).to.deep.equal([0, ['true', 'none']]);
  });

  it('ends with CPUs that are blocked, when nothing else is left', async () => {
    const { code, out } = await run(`
      await queue.run(work.crash, { arg: 'said later', cpu: one });
      await kernel.close();
      console.log('closed');
    `);
    expect([code, out]).to.deep.equal([0, ['closed', 'none']]);
  });

  it('reports an error that no handler takes as an uncaught exception', async () => {
    const { code, err } = await run(`
      new Kcont(queue, null, work.fail, 'nobody listens').schedule(0, one);
    `);
    expect(code).to.equal(1);
    expect(err).to.contain('RangeError: nobody listens');
  });
}).timeout(60_000);
