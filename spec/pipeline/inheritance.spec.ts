import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { deferred } from '../support/lab.ts';

describe('an item of a pipeline that the holder of a lock awaits', () => {
  it('inherits the priority of a waiter in each stage, and so does what its function awaits', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const ran: string[] = [];
    const lock = new Mutex();
    const job = (name: string): void => {
      new Kcont(primedhigh, null, () => void ran.push(name), null).schedule();
    };
    const pages = pipeline<string>()
      .stage(
        'read',
        async (page: string) => {
          ran.push(`read ${page}`);
          job('middle of read');
          await prilow.run(() => void ran.push(`part of ${page}`));
          return page;
        },
        { wq: prilow },
      )
      .stage(
        'write',
        (page: string) => {
          ran.push(`write ${page}`);
          return page;
        },
        { wq: prilow },
      )
      .start({ kernel });
    const holder = new Kcont(
      prilow,
      lock,
      async () => {
        job('middle');
        new Kcont(prihigh, lock, () => void ran.push('high'), null).schedule();
        await pages.run('page');
        job('middle at the end');
      },
      null,
    );
    holder.schedule();
    await clock.advance(0);
    expect(ran).to.deep.equal([
      'read page',
      'part of page',
      'middle',
      'middle of read',
      'write page',
      'high',
      'middle at the end',
    ]);
    expect(kernel.inspect().inherited).to.deep.equal([]);
    await pages.close();
  });

  it('inherits it when it is admitted to a full stage, and loses it when the waiter leaves', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const ran: string[] = [];
    const lock = new Mutex();
    const free = deferred();
    const pages = pipeline<string>()
      .stage(
        'read',
        async (page: string) => {
          ran.push(page);
          if (page === 'first') await free.promise;
          return page;
        },
        { wq: prilow, limit: 1, buffer: 0 },
      )
      .start({ kernel });
    const first = pages.run('first');
    await clock.advance(0);
    const holder = new Kcont(
      prilow,
      lock,
      async () => {
        await pages.run('second');
      },
      null,
    );
    holder.schedule();
    await clock.advance(0);
    const high = new Kcont(prihigh, lock, () => void ran.push('high'), null);
    high.schedule();
    await clock.advance(0);
    expect(kernel.inspect().inherited).to.deep.equal([]);
    new Kcont(
      prihigh,
      null,
      () => {
        new Kcont(primedhigh, null, () => void ran.push('middle'), null).schedule();
        free.resolve();
      },
      null,
    ).schedule();
    await clock.advance(0);
    await first;
    expect(ran).to.deep.equal(['first', 'middle', 'second', 'high']);
    await pages.close();
  });

  it('is counted as one that went first: those before it have still waited', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const wq = kernel.acquire(110, {
      name: 'db',
      maxActive: 1,
      shed: { targetMs: 10, intervalMs: 100 },
    });
    const lock = new Mutex();
    const ran: string[] = [];
    const free = deferred();
    const waited = (name: string) => (): void => {
      ran.push(`${name} after ${wq._backlog?.waitMs()} ms`);
    };
    const pages = pipeline<string>().stage('read', waited('page'), { wq }).start({ kernel });
    void wq.run(() => free.promise);
    await clock.advance(1);
    const before = wq.run(() => void ran.push('before'));
    const holder = new Kcont(
      kernel.wq.prilow,
      lock,
      async () => {
        await Promise.all([pages.run('page'), wq.run(waited('run'))]);
      },
      null,
    );
    holder.schedule();
    await clock.advance(1);
    new Kcont(kernel.wq.prihigh, lock, () => void ran.push('high'), null).schedule();
    await clock.advance(4);
    free.resolve();
    await clock.advance(0);
    await before;
    await clock.advance(0);
    expect(ran).to.deep.equal(['page after 5 ms', 'run after 5 ms', 'before', 'high']);
    await pages.close();
  });
});
