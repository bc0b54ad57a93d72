import { expect } from 'chai';
import { Kcont, Kernel, Mutex, VirtualClock } from '../lib/index.ts';

describe('a continuation', () => {
  it('runs timers and jobs by deadline, priority and order', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const { wq } = kernel;
    const ran: string[] = [];
    const lock = new Mutex();
    const make = (name: string, q = wq.softclock, l: Mutex | null = null): Kcont<string> =>
      new Kcont(q, l, (arg) => void ran.push(`${arg}@${clock.now}`), name);
    make('a').schedule(50);
    make('b').schedule(5000);
    make('c').schedule(2 ** 40);
    make('d', wq.prilow, lock).schedule();
    make('e', wq.prihigh, lock).schedule();
    const t = make('t');
    t.schedule(100);
    clock.tick(60);
    expect(t.touch()).to.equal(true);
    clock.tick(2 ** 40);
    expect(ran).to.deep.equal(['e@0', 'd@0', 'a@50', 't@160', 'b@5000', `c@${2 ** 40}`]);
    const slow = new Kcont(wq.prilow, lock, async () => {
      ran.push('in');
      await Promise.resolve();
      ran.push('out');
    }, null);
    ran.length = 0;
    slow.schedule();
    make('f', wq.prihigh, lock).schedule(1);
    clock.tick(1);
    expect(ran).to.deep.equal(['in']);
    await clock.advance(1);
    expect(ran.slice(1).map((s) => s[0])).to.deep.equal(['o', 'f']);
  });
  it('runs on the host', async () => {
    const { wq } = new Kernel();
    const t0 = performance.now();
    const late: number[] = [];
    await Promise.all([0, 1, 5, 20].map((ms) => new Promise<void>((resolve) => {
      new Kcont(wq.prilow, null, () => { late.push(performance.now() - t0 - ms); resolve(); }, null).schedule(ms);
    })));
    expect(await wq.prilow.run(async () => 5)).to.equal(5);
  });
});
