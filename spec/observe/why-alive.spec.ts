import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Mutex, kernel } from '../../lib/index.ts';
import { Earliest } from '../../lib/observe/earliest.ts';
import { list, report, whyAlive } from '../support/observe.ts';
import { codeOf, Lab } from '../support/lab.ts';

function observed(): Lab {
  const lab = new Lab();
  list(lab.kernel);
  return lab;
}

describe('whyAlive()', () => {
  it('is empty if nothing keeps the process alive', () => {
    const lab = observed();
    lab.sync('a', { options: { ref: false } }).schedule(10);
    const kc = lab.sync('b');
    kc.schedule(10);
    kc.stop();
    expect(whyAlive(lab.kernel)).to.deep.equal([]);
  });

  it('has a line for each timer, by deadline', () => {
    const lab = observed();
    lab.sync('a', { options: { name: 'later' } }).schedule(90_000);
    lab.sync('a', { wq: lab.wq.softclock, options: { name: 'idle' } }).schedule(30_000);
    lab.clock.tick(1500);
    expect(whyAlive(lab.kernel)).to.deep.equal([
      'timer idle on softclock: due in 28 s, set 1.5 s ago',
      'timer later on prihigh: due in 1.4 min, set 1.5 s ago',
    ]);
  });

  it('tells what waits for a lock, a place and its own run, and who holds the lock', async () => {
    const lab = observed();
    const lock = new Mutex({ name: 'journal' });
    const narrow = lab.kernel.acquire(120, { maxActive: 1, name: 'narrow' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    const active = lab.async('active', { wq: narrow, options: { name: 'active' } });
    flush.schedule();
    active.schedule();
    lab.clock.tick(0);
    lab.sync('waiter', { lock, options: { name: 'append' } }).schedule();
    lab.sync('next', { wq: narrow, options: { name: 'next' } }).schedule();
    active.reset();
    lab.clock.tick(20);
    lab.sync('job', { options: { name: 'job' } }).schedule();
    expect(whyAlive(lab.kernel)).to.deep.equal([
      'job job on prihigh: runnable for 0 ms',
      'job next on narrow: waits for 20 ms for one of the 1 places of its workqueue',
      'job append on prihigh: waits for 20 ms for lock journal, held by flush',
      'job active on narrow: waits for 20 ms for its own run to settle',
    ]);
    await lab.end(flush);
    await lab.end(active);
  });

  it('does not count a running function', async () => {
    const lab = observed();
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(0);
    expect(whyAlive(lab.kernel)).to.deep.equal([]);
    await lab.end(kc);
  });

  it('refuses what is not a kernel', () => {
    expect(codeOf(() => whyAlive({} as never))).to.equal('EINVAL');
  });
});

describe('report()', () => {
  it('has what is in hand by state, with at most so many lines of each', () => {
    const lab = observed();
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush', ref: false } });
    flush.schedule();
    lab.clock.tick(0);
    for (const ms of [3000, 1000, 2000]) {
      lab.sync('t', { options: { name: `t${ms}`, ref: false } }).schedule(ms);
    }
    const lines = report(lab.kernel, { limit: 2 }).split('\n');
    const text = lines.join('\n');
    expect(text).to.match(/^running: 1\n {2}flush on prihigh: running/);
    expect(text.slice(text.indexOf('runnable'))).to.equal(
      [
        'runnable: 0',
        'waiting: 0',
        'pending: 3',
        '  t1000 on prihigh: due in 1 s, set 0 ms ago',
        '  t2000 on prihigh: due in 2 s, set 0 ms ago',
        '  and 1 more',
        'workqueues that have entered functions: 1',
        '  prihigh: 0 queued, 1 running, 1 entered, 0 failed, longest wait 0 ms',
        'keeps the process alive: 0',
        '',
      ].join('\n'),
    );
  });

  it('has code that awaits a lock', async () => {
    const lock = new Mutex({ name: 'reported' });
    lock.tryEnter();
    const entered = lock.enter();
    expect(report(kernel, { limit: Infinity })).to.include(
      '  code waits for lock reported, held by an unknown holder\n',
    );
    lock.exit();
    await entered;
  });

  it('makes no text of what it does not show, and has the first timers of many', () => {
    const lab = observed();
    let names = 0;
    const func = (): undefined => undefined;
    Object.defineProperty(func, 'name', {
      get: () => {
        names++;
        return 'work';
      },
    });
    for (let n = 0; n < 1000; n++) {
      new Kcont(lab.wq.softclock, null, func, 0).schedule(1000 + ((n * 389) % 1000));
    }
    names = 0;
    const text = report(lab.kernel, { limit: 3 });
    expect(names).to.be.at.most(24);
    expect(text).to.match(
      /^pending: 1000\n(?: {2}work on softclock: due in 1 s.*\n){3} {2}and 997 more$/m,
    );
    expect(text).to.match(
      /^keeps the process alive: 1000\n(?: {2}timer work on softclock.*\n){3} {2}and 997 more$/m,
    );
  });

  it('sorts timers by deadline, those of one deadline in their order, among any number', () => {
    for (const limit of [1, 2, 5, Infinity]) {
      const earliest = new Earliest(limit);
      const all = Array.from({ length: 40 }, (_, n) => ({ n, deadline: (n * 7) % 13 }));
      for (const kc of all) earliest.add(kc as never, { state: 'pending', waitsFor: null });
      const runs = { n: -1, deadline: 0 };
      earliest.add(runs as never, { state: 'running', waitsFor: null });
      const sorted = [runs, ...all.toSorted((a, b) => a.deadline - b.deadline)];
      expect(earliest.count).to.equal(41);
      expect(earliest.take().map(({ kc }) => kc as never)).to.deep.equal(sorted.slice(0, limit));
    }
  });

  it('goes through the runs in flight once, however many locks are waited for', async () => {
    const lab = observed();
    let looks = 0;
    const kcs = Array.from({ length: 200 }, (_, n) => {
      const lock = new Mutex({ name: `lock ${n}` });
      const holder = lab.async(`holder ${n}`, { lock, options: { name: `holder ${n}` } });
      const waiter = lab.sync(`waiter ${n}`, { lock, options: { name: `waiter ${n}` } });
      holder.schedule();
      waiter.schedule();
      return { holder, waiter, lock };
    });
    lab.clock.tick(1);
    for (const { holder, lock } of kcs) {
      Object.defineProperty(holder, '_lock', {
        get: () => {
          looks++;
          return lock;
        },
      });
    }
    const lines = whyAlive(lab.kernel);
    expect(lines).to.have.length(200);
    expect(lines[77]).to.include('for lock lock 77, held by holder 77');
    expect(looks).to.be.at.most(200 * 8);
    for (const { waiter } of kcs) waiter.destroy();
  });
});
