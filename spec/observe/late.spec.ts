// A kernel that was created before `kcont/observe` was imported.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { runModule } from '../support/child.ts';

const observing = new URL(`../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

describe('a kernel that was created before the import of kcont/observe', () => {
  it('is observed from the first call, and has no times of what began before', async () => {
    const { code, out, err } = await runModule(`
      const { Kcont, Kernel, VirtualClock } = kcont;
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const make = (name, func) => new Kcont(wq.prilow, null, func, 0, { name });
      make('running', () => new Promise(() => undefined)).schedule();
      clock.tick(20);
      make('timer', () => undefined).schedule(100);
      make('job', () => undefined).schedule();
      const { list, counters } = await import(${JSON.stringify(observing)});
      const say = () => {
        for (const { name, sinceMs } of list(wq.prilow.kernel)) console.log(name, sinceMs);
      };
      say();
      clock.tick(10);
      make('another', () => new Promise(() => undefined)).schedule();
      clock.tick(10);
      say();
      console.log(counters(wq.prilow.kernel).sinceMs);
    `);
    expect(err).to.equal('');
    expect(code).to.equal(0);
    expect(out).to.deep.equal([
      'running null',
      'job 20',
      'timer 20',
      'running null',
      'another 30',
      'timer 20',
      '20',
    ]);
  });

  it('is observed from then on also if the first call is in one of its functions', async () => {
    const { code, out } = await runModule(`
      const { Kcont, Kernel, VirtualClock } = kcont;
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const { list, counters } = await import(${JSON.stringify(observing)});
      clock.tick(3);
      new Kcont(wq.prilow, null, async function first() {
        for (const { name, state, sinceMs } of list(wq.prilow.kernel)) console.log(name, state, sinceMs);
        await new Promise(() => undefined);
      }, 0).schedule();
      new Kcont(wq.prilow, null, function second() {}, 0).schedule();
      clock.tick(5);
      for (const { name, state, sinceMs } of list(wq.prilow.kernel)) console.log(name, state, sinceMs);
    `);
    expect(code).to.equal(0);
    expect(out).to.deep.equal(['first running null', 'second runnable null', 'first running null']);
  });
});
