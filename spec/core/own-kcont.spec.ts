// Functions of the core for the modules above it: handles that change their workqueue or stand in for
// another, and private workqueues.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Mutex } from '../../lib/index.ts';
import { makeStandIn, repoint } from '../../lib/core/own-kcont.ts';
import type { BaseLock } from '../../lib/locks/lock.ts';
import { createPrivate } from '../../lib/core/workqueue-registry.ts';
import { codeOf, deferred, Lab } from '../support/lab.ts';

describe('repoint', () => {
  it('gives an idle handle another workqueue, lock and function', () => {
    const lab = new Lab();
    const lock: BaseLock = new Mutex();
    const kc = lab.sync('first');
    kc.schedule();
    lab.clock.tick(0);
    repoint(kc, lab.wq.prilow, lock, function second(arg) {
      lab.ran.push(`${arg} again, lock ${lock.held ? 'held' : 'free'}`);
    });
    expect([kc.wq, kc.lock, kc.name]).to.deep.equal([lab.wq.prilow, lock, 'second']);
    lab.sync('prihigh').schedule();
    kc.schedule();
    lab.sync('prilow', { wq: lab.wq.prilow }).schedule();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['first', 'prihigh', 'first again, lock held', 'prilow']);
    expect(lock.held).to.equal(false);
  });

  it('can be called as soon as a run has settled, and then again', async () => {
    const lab = new Lab();
    const queues = [lab.wq.softnet, lab.wq.primedlow, lab.wq.prihigh];
    const visit = (arg: string, kc: Kcont<string>): void | Promise<void> => {
      lab.ran.push(`${arg} on ${kc.wq.name}`);
      kc.drainAsync(() => {
        const wq = queues.shift();
        if (wq === undefined) return;
        repoint(kc, wq, null, visit);
        kc.schedule();
      });
      return kc.wq.fast ? undefined : Promise.resolve();
    };
    new Kcont(lab.wq.prilow, null, visit, 'item').schedule();
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal([
      'item on prilow',
      'item on softnet',
      'item on primedlow',
      'item on prihigh',
    ]);
    expect(lab.kernel.inspect()).to.include({ queued: 0, running: 0 });
  });

  it('refuses a handle that is pending, queued, running or destroyed, and changes nothing', () => {
    const lab = new Lab();
    const refused = (kc: Kcont<string>): string =>
      codeOf(() => repoint(kc, lab.wq.prilow, null, () => {}));
    const kc = lab.async('a', { body: (own) => void lab.ran.push(refused(own)) });
    kc.schedule(1);
    lab.ran.push(refused(kc));
    kc.schedule();
    lab.ran.push(refused(kc));
    lab.clock.tick(0);
    lab.ran.push(refused(kc));
    kc.destroy();
    lab.ran.push(refused(kc));
    expect(lab.ran).to.deep.equal(['EBUSY', 'EBUSY', 'a', 'EBUSY', 'EBUSY', 'EBUSY']);
    expect(kc.wq).to.equal(lab.wq.prihigh);
  });

  it('moves its reference: the old workqueue can be freed, the new one cannot', () => {
    const lab = new Lab();
    const old = lab.kernel.acquire(50);
    const other = lab.kernel.acquire(51);
    const kc = lab.sync('a', { wq: old });
    old.release();
    repoint(kc, other, null, () => {});
    other.release();
    expect(lab.kernel.acquire(50)).to.not.equal(old);
    expect(lab.kernel.acquire(51)).to.equal(other);
  });
});

describe('makeStandIn', () => {
  it('creates a destroyed handle that keeps no workqueue, on prilow if its own was freed', () => {
    const { kernel, wq } = new Lab();
    const own = createPrivate(wq.primedlow, 'mine', 50, 3);
    const first = makeStandIn(own, 'lost');
    expect([first.name, first.wq, first.destroyed]).to.deep.equal(['lost', own, true]);
    own.release();
    expect(kernel.inspect().workqueues.map(({ name }) => name)).to.not.include('mine');
    const second = makeStandIn(own, 'lost');
    expect([second.name, second.wq, second.destroyed]).to.deep.equal(['lost', wq.prilow, true]);
  });
});

describe('createPrivate', () => {
  it('creates a workqueue that acquire does not find, and that is freed when released', () => {
    const { kernel, wq } = new Lab();
    const before = kernel.inspect().workqueues.length;
    const apart = createPrivate(wq.primedlow, 'mine', 50, 3);
    expect(apart).to.include({ name: 'mine', priority: 50, maxActive: 3, fast: false });
    expect(kernel.acquire(50, { maxActive: 3 })).to.not.equal(apart);
    expect(kernel.inspect().workqueues.map(({ name }) => name)).to.include('mine');
    apart.release();
    expect(kernel.inspect().workqueues).to.have.length(before + 1);
    expect(codeOf(() => new Kcont(apart, null, () => {}, 0))).to.equal('EINVAL');
  });

  it('is drained and closed with its kernel', async () => {
    const lab = new Lab();
    const apart = createPrivate(lab.wq.primedlow, 'mine', 50, 1);
    const never = lab.async('never', { wq: apart });
    never.schedule();
    lab.clock.tick(0);
    const closed = lab.kernel.close({ graceMs: 10 });
    await lab.clock.advance(200);
    expect((await closed).unfinished).to.deep.equal([
      { name: '(anonymous)', wq: 'mine', state: 'running' },
    ]);
  });
});

describe('a limit shared by workqueues', () => {
  it('limits them together, and a free place goes to the highest priority', async () => {
    const lab = new Lab();
    const low = createPrivate(lab.wq.prilow, 'low', 40, 2);
    const high = createPrivate(lab.wq.prilow, 'high', 60, low);
    const middle = createPrivate(lab.wq.prilow, 'middle', 50, high);
    const runs = ['low 1', 'low 2', 'low 3', 'middle', 'high 1', 'high 2'].map((name) => {
      const wq = name.startsWith('low') ? low : name === 'middle' ? middle : high;
      return lab.async(name, { wq });
    });
    const [low1, low2, low3, mid, high1, high2] = runs as [
      Kcont<string>,
      Kcont<string>,
      Kcont<string>,
      Kcont<string>,
      Kcont<string>,
      Kcont<string>,
    ];
    low1.schedule();
    low2.schedule();
    low3.schedule();
    lab.clock.tick(0);
    mid.schedule();
    high1.schedule();
    high2.schedule();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['low 1', 'low 2']);
    const order: string[] = [];
    for (const kc of [low1, low2, high1, high2, mid]) {
      await lab.end(kc);
      lab.clock.tick(0);
      order.push(lab.take().join());
      const running = [low, middle, high].map((wq) => wq.stats().running);
      expect(running.reduce((sum, n) => sum + n)).to.equal(2 - Math.max(0, order.length - 4));
    }
    expect(order).to.deep.equal(['high 1', 'high 2', 'middle', 'low 3', '']);
    expect([low, middle, high].map((wq) => wq.stats().entered)).to.deep.equal([3, 1, 2]);
  });

  it('is passed on if the next continuation is stopped or waits for a lock', async () => {
    const lab = new Lab();
    const low = createPrivate(lab.wq.prilow, 'low', 40, 1);
    const high = createPrivate(lab.wq.prilow, 'high', 60, low);
    const lock = new Mutex();
    const first = lab.async('first', { wq: low });
    const locked = lab.sync('locked', { wq: high, lock });
    const stopped = lab.sync('stopped', { wq: high });
    const last = lab.sync('last', { wq: low });
    first.schedule();
    lab.clock.tick(0);
    for (const kc of [locked, stopped, last]) kc.schedule();
    lab.clock.tick(0);
    lock.tryEnter();
    await lab.end(first);
    stopped.stop();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['first', 'last']);
    lock.exit();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['locked']);
  });

  it('counts runs already in flight, and is no longer shared by a freed workqueue', async () => {
    const lab = new Lab();
    const wq = lab.kernel.acquire(40, { maxActive: 2 });
    const first = lab.async('first', { wq });
    first.schedule();
    lab.clock.tick(0);
    const above = createPrivate(wq, 'above', 50, wq);
    const runs = ['second', 'third'].map((name) => lab.async(name, { wq: above }));
    for (const kc of runs) kc.schedule();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['first', 'second']);
    await lab.end(first);
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['third']);
    for (const kc of runs) await lab.end(kc);
    for (const kc of runs) kc.destroy();
    above.release();
    const after = ['a', 'b', 'c'].map((name) => lab.async(name, { wq }));
    for (const kc of after) kc.schedule();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['a', 'b']);
  });

  it('holds up synchronous functions too, but does not count them', () => {
    const lab = new Lab();
    const wq = createPrivate(lab.wq.prilow, 'mine', 40, 1);
    const hold = deferred();
    new Kcont(wq, null, () => hold.promise, null).schedule();
    lab.clock.tick(0);
    lab.sync('a', { wq }).schedule();
    lab.sync('b', { wq }).schedule();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal([]);
    hold.resolve();
    return lab.clock.advance(0).then(() => expect(lab.take()).to.deep.equal(['a', 'b']));
  });
});
