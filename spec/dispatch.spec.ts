import { expect } from 'chai';
import { Kcont, Kernel, type Workqueue } from '../lib/index.ts';
import { burn } from './support/busy.ts';
import { runModule } from './support/child.ts';

describe('a pass', function () {
  this.timeout(60_000);

  const kernel = new Kernel({ budgetMs: 200 });
  const one = kernel.acquire(50, { maxActive: 1 });

  /** Schedules functions that run one by one, and notes when the next immediate comes. */
  const run = async (functions: Record<string, () => void>): Promise<string[]> => {
    const ran: string[] = [];
    for (const [name, func] of Object.entries(functions)) {
      new Kcont(
        one,
        null,
        async () => {
          ran.push(name);
          func();
          await Promise.resolve();
        },
        null,
      ).schedule();
    }
    setImmediate(() => void ran.push('next immediate'));
    await one.drain();
    await new Promise((resolve) => void setImmediate(resolve));
    return ran;
  };

  it('goes on with what its own asynchronous functions have made room for', async () => {
    const nothing = (): void => undefined;
    expect(await run({ a: nothing, b: nothing, c: nothing })).to.deep.equal([
      'a',
      'b',
      'c',
      'next immediate',
    ]);
  });

  it('enters what it collects after a stall by deadline, then by sequence', async () => {
    const ran: string[] = [];
    const { softclock } = kernel.wq;
    for (const [name, delayMs] of Object.entries({ c: 9, b: 5, d: 9, a: 2 })) {
      new Kcont(softclock, null, () => void ran.push(name), null).schedule(delayMs);
    }
    burn(30);
    await kernel.wq.prilow.run(() => undefined, { delayMs: 1 });
    expect(ran).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('keeps to the priorities after a stall longer than any patience: nobody was starved', async () => {
    const ran: string[] = [];
    const { prilow, prihigh, softnet } = kernel.wq;
    const make = (queue: Workqueue, delayMs: number): boolean =>
      new Kcont(queue, null, () => void ran.push(queue.name), null).schedule(delayMs);
    make(prilow, 2);
    make(prihigh, 3);
    make(softnet, 4);
    burn(prilow.patienceMs + 50);
    await prilow.run(() => undefined, { delayMs: 1 });
    expect(ran).to.deep.equal(['softnet', 'prihigh', 'prilow']);
  });

  it('leaves to the next one what comes when its budget is spent', async () => {
    const nothing = (): void => undefined;
    expect(await run({ a: () => burn(250), b: nothing })).to.deep.equal([
      'a',
      'next immediate',
      'b',
    ]);
  });

  it('raises an error from there as an uncaught exception, and goes on', async () => {
    const { out } = await runModule(`
      process.on('uncaughtException', (error) => console.log(error.message));
      const { Kcont, Kernel } = kcont;
      const one = new Kernel({ budgetMs: 5000 }).acquire(50, { maxActive: 1 });
      const run = (func) => new Kcont(one, null, func, null).schedule();
      run(async () => { console.log('a'); await null; });
      run(() => { throw new Error('thrown'); });
      run(() => console.log('c'));
    `);
    expect(out).to.deep.equal(['a', 'thrown', 'c']);
  });
});
