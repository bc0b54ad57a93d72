import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { counters, report, type WorkqueueCounters } from '../support/observe.ts';
import { codeOf, Lab } from '../support/lab.ts';

/** The counts of prihigh that are not 0. */
function counted(lab: Lab): Partial<WorkqueueCounters> {
  const found = counters(lab.kernel).workqueues.find(({ name }) => name === 'prihigh') ?? {};
  const { name: _, priority: __, shares: ___, ...counts } = found as Record<string, unknown>;
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0));
}

describe('counters()', () => {
  it('count a timer that is scheduled, moved, and expires', () => {
    const lab = new Lab();
    const kc = lab.sync('a');
    kc.schedule(10);
    expect(counted(lab)).to.deep.equal({ scheduled: 1 });
    kc.schedule(20);
    kc.touch();
    expect(counted(lab)).to.deep.equal({ scheduled: 2, moved: 1 });
    lab.clock.tick(20);
    expect(counted(lab)).to.deep.equal({ scheduled: 2, moved: 1, expired: 1, entered: 1 });
  });

  it('tell the shares of a workqueue, and the report has those that count', () => {
    const { kernel, clock } = new Lab();
    const wq = kernel.acquire(kernel.wq.prilow.priority, { name: 'paying', shares: 3 });
    for (const queue of [wq, kernel.wq.prilow, kernel.wq.prihigh])
      new Kcont(queue, null, () => undefined, 0).schedule();
    clock.tick(0);
    const found = counters(kernel).workqueues.filter(({ entered }) => entered > 0);
    expect(found.map(({ name, shares }) => [name, shares])).to.deep.equal([
      ['prihigh', null],
      ['prilow', 1],
      ['paying', 3],
    ]);
    const text = report(kernel);
    expect(text).to.include('  prihigh: 0 queued');
    expect(text).to.include('  prilow, 1 share: 0 queued');
    expect(text).to.include('  paying, 3 shares: 0 queued');
  });

  it('count jobs that are queued, stopped and refused', () => {
    const lab = new Lab();
    const kc = lab.sync('a');
    kc.schedule();
    expect(kc.schedule()).to.equal(false);
    expect(counted(lab)).to.deep.equal({ scheduled: 1, refused: 1, queued: 1 });
    kc.stop();
    expect(counted(lab)).to.deep.equal({ scheduled: 1, refused: 1, stopped: 1 });
    kc.stop();
    kc.destroy();
    expect(kc.schedule()).to.equal(false);
    expect(counted(lab)).to.deep.equal({ scheduled: 1, refused: 1, stopped: 1 });
  });

  it('count functions that run and fail', async () => {
    const lab = new Lab();
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(0);
    expect(counted(lab)).to.deep.equal({ scheduled: 1, entered: 1, running: 1 });
    await lab.fail(kc, new Error('lost'));
    lab
      .sync('b', {
        body: () => {
          throw new Error('wrong');
        },
      })
      .schedule();
    lab.clock.tick(0);
    expect(counted(lab)).to.deep.equal({ scheduled: 2, entered: 2, failed: 2 });
  });

  it('count a function whose error nobody handles', () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const func = (): never => {
      throw new Error('wrong');
    };
    new Kcont(kernel.wq.softclock, null, func, 0).schedule();
    expect(() => clock.tick(0)).to.throw('wrong');
    const softclock = counters(kernel).workqueues.find(({ name }) => name === 'softclock');
    expect(softclock).to.include({ entered: 1, failed: 1, running: 0 });
  });

  it('tell the longest wait in the queue', () => {
    const lab = new Lab();
    const lock = new Mutex({ name: 'journal' });
    lock.tryEnter();
    lab.sync('a', { lock }).schedule(10);
    lab.clock.tick(40);
    lock.exit();
    lab.clock.tick(5);
    const { locks } = counters(lab.kernel);
    expect(counted(lab)).to.include({ entered: 1, longestWaitMs: 30 });
    expect(locks).to.deep.equal([
      { name: 'journal', held: false, taken: 1, contended: 1, waiting: 0, longestWaitMs: 30 },
    ]);
  });

  it('have locks with a name only', () => {
    const lab = new Lab();
    lab.sync('a', { lock: new Mutex() }).schedule();
    lab.clock.tick(0);
    expect(counters(lab.kernel).locks).to.deep.equal([]);
  });

  it('have all workqueues by priority, and the CPUs', () => {
    const lab = new Lab();
    lab.clock.tick(7);
    const all = counters(lab.kernel);
    expect(all.sinceMs).to.equal(0);
    expect(all.workqueues.map(({ name }) => name)).to.deep.equal(Object.keys(lab.wq));
    expect(all.cpus).to.deep.equal([{ index: 0, state: 'up', lagMs: 0, passes: 1 }]);
    expect(JSON.parse(JSON.stringify(all))).to.deep.equal(all);
  });

  it('go on when the workqueue was released', () => {
    const lab = new Lab();
    const wq = lab.kernel.acquire(90, { name: 'own' });
    const kc = lab.sync('a', { wq });
    kc.schedule();
    lab.clock.tick(0);
    kc.destroy();
    wq.release();
    expect(counters(lab.kernel).workqueues.some(({ name }) => name === 'own')).to.equal(false);
  });

  it('refuse what is not a kernel', () => {
    expect(codeOf(() => counters(null as never))).to.equal('EINVAL');
  });
});
