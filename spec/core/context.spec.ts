import { AsyncLocalStorage } from 'node:async_hooks';
import { expect } from 'chai';
import { Kcont, Kernel, Mutex } from '../../lib/index.ts';

describe('the async context of a function', () => {
  const als = new AsyncLocalStorage<{ user: string }>();
  const kernel = new Kernel();
  const { wq } = kernel;
  const seen: unknown[] = [];
  const look = (): void => void seen.push(als.getStore()?.user);
  const turn = (): Promise<void> => wq.prilow.run(() => undefined);

  beforeEach(() => void (seen.length = 0));
  // Otherwise Node 20 tracks every promise of the process from here on, and the specs with many promises
  // take eight times as long. For that reason the specs of compat/ run last (.mocharc.json).
  after(() => als.disable());

  it('is empty by default, whichever code scheduled it or started the pass', async () => {
    const job = new Kcont(wq.softnet, null, look, null);
    const timer = new Kcont(wq.softnet, null, look, null);
    await als.run({ user: 'ann' }, async () => {
      job.schedule();
      timer.schedule(1);
      await turn();
      await new Promise<void>((resolve) => {
        new Kcont(wq.prilow, null, () => resolve(), null).schedule(5);
      });
    });
    expect(seen).to.deep.equal([undefined, undefined]);
  });

  it('is that of the schedule call if requested, and each schedule captures its own', async () => {
    const job = new Kcont(wq.softnet, null, look, null, { context: 'schedule' });
    als.run({ user: 'ann' }, () => job.schedule());
    await turn();
    als.run({ user: 'bob' }, () => job.schedule());
    await turn();
    job.schedule();
    await turn();
    expect(seen).to.deep.equal(['ann', 'bob', undefined]);
  });

  it('is that of the creation if requested, until the first settle', async () => {
    const job = als.run(
      { user: 'ann' },
      () => new Kcont(wq.softnet, null, look, null, { context: 'create' }),
    );
    job.schedule();
    await turn();
    job.schedule();
    await turn();
    expect(seen).to.deep.equal(['ann', undefined]);
  });

  it('is passed to a one-shot run if requested', async () => {
    const user = await als.run({ user: 'ann' }, () =>
      wq.prilow.run(() => als.getStore()?.user, { context: 'create' }),
    );
    expect(user).to.equal('ann');
    expect(await als.run({ user: 'ann' }, () => wq.prilow.run(() => als.getStore()))).to.equal(
      undefined,
    );
  });

  it('does not leak from a function that enters a store into later turns', async () => {
    const leaky = new Kcont(wq.softnet, null, () => als.enterWith({ user: 'eve' }), null);
    leaky.schedule();
    await turn();
    new Kcont(wq.softnet, null, look, null).schedule();
    await turn();
    expect(seen).to.deep.equal([undefined]);
  });

  it('is released by stop, even if the handle is kept', async () => {
    const job = new Kcont(wq.softnet, null, look, null, { context: 'schedule' });
    let store: WeakRef<object> | undefined;
    als.run({ user: 'ann' }, () => {
      store = new WeakRef(als.getStore()!);
      job.schedule(60_000);
    });
    job.stop();
    for (let i = 0; i < 10 && store!.deref() !== undefined; i++) {
      await turn();
      gc?.();
    }
    expect(store!.deref()).to.equal(undefined);
    expect(job.destroyed).to.equal(false);
  });

  it('is kept for the next run by a run that reschedules itself', async () => {
    const lock = new Mutex();
    const job = new Kcont(
      wq.prilow,
      lock,
      (_, kc) => {
        look();
        if (seen.length === 1) als.run({ user: 'bob' }, () => kc.reset());
      },
      null,
      { context: 'schedule' },
    );
    als.run({ user: 'ann' }, () => job.schedule());
    await turn();
    await turn();
    expect(seen).to.deep.equal(['ann', 'bob']);
  });
});
