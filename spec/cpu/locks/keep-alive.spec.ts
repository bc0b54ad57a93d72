// What keeps a process alive, and what lets it end. Each spec runs a process of its own.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { runModule } from '../../support/child.ts';

const room = new URL('../../../lib/cpu/locks/', import.meta.url);
const ending = import.meta.url.slice(-3);

function imports(...names: string[]): string {
  return names
    .map((name) => {
      const exported = /mutex/.test(name)
        ? 'SharedMutex'
        : /spin/.test(name)
          ? 'SharedSpinLock'
          : '';
      const what = name === 'structured-clone' ? 'attach, toHandle' : exported;
      return `const { ${what} } = await import(${JSON.stringify(new URL(name + ending, room).href)});`;
    })
    .join('\n');
}

/** A thread that takes the lock, says so, and releases it when told to. */
const HOLDER = JSON.stringify(`
  (async () => {
    const { parentPort, workerData } = await import('node:worker_threads');
    ${imports('structured-clone')}
    const lock = attach(workerData);
    await lock.enter();
    parentPort.once('message', () => {
      setTimeout(() => lock.exit(), 100);
    });
    parentPort.postMessage('held');
  })();
`);

const START = `
  ${imports('shared-mutex', 'structured-clone')}
  const { Worker } = await import('node:worker_threads');
  const { once } = await import('node:events');
  const lock = new SharedMutex();
  const worker = new Worker(${HOLDER}, { eval: true, workerData: toHandle(lock) });
  await once(worker, 'message');
`;

describe('a lock between threads', function () {
  this.timeout(60_000);

  it('keeps a thread alive while code waits for another thread, and no longer', async () => {
    const { code, out, err } = await runModule(`
      ${START}
      worker.unref();
      worker.postMessage('exit');
      lock.enter().then(() => console.log('entered'));
    `);
    expect({ code, out, err }).to.deep.equal({ code: 0, out: ['entered'], err: '' });
  });

  it('lets a thread end that has stopped waiting because it was aborted', async () => {
    const { code, out } = await runModule(`
      ${START}
      worker.unref();
      const abort = new AbortController();
      lock.enter({ signal: abort.signal }).catch(() => console.log('aborted'));
      abort.abort();
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['aborted'] });
  });

  it('does not keep a thread alive for a waiting continuation that is unreferenced', async () => {
    const { code, out } = await runModule(`
      ${START}
      worker.unref();
      const { Kcont, wq } = kcont;
      new Kcont(wq.prihigh, lock, () => console.log('never'), null).unref().schedule();
      await new Promise((resolve) => setImmediate(resolve));
      console.log('ends');
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['ends'] });
  });

  it('keeps a thread alive for a continuation that waits', async () => {
    const { code, out } = await runModule(`
      ${START}
      worker.unref();
      worker.postMessage('exit');
      const { Kcont, wq } = kcont;
      new Kcont(wq.prihigh, lock, () => console.log('ran'), null).schedule();
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['ran'] });
  });

  it('lets a worker end by itself when it has nothing to wait for', async () => {
    const { code, out } = await runModule(`
      ${START}
      worker.postMessage('exit');
      await lock.enter();
      const [code] = worker.threadId === -1 ? [0] : await once(worker, 'exit');
      console.log('worker', code);
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['worker 0'] });
  });
});

describe('SharedSpinLock', function () {
  this.timeout(60_000);

  it('is an uncaught error, EPERM, if it is held across a turn', async () => {
    const { code, out } = await runModule(`
      ${imports('shared-spin-lock')}
      process.on('uncaughtException', (error) => console.log(error.code));
      const lock = new SharedSpinLock();
      lock.tryEnter();
      setImmediate(() => {
        lock.exit();
        lock.enterSync();
        lock.exit();
        lock.enter().then(() => lock.exit());
        setImmediate(() => lock.enterSync());
      });
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['EPERM', 'EPERM'] });
  });
});
