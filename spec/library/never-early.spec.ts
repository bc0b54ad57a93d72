import { expect } from 'chai';
import { Kcont, Kernel } from '../../lib/index.ts';
import { burn } from '../support/busy.ts';

describe('a timer on the host clock', function () {
  this.timeout(30_000);

  it('is never early: 10,000 timers of up to 50 ms on a busy loop', async () => {
    const kernel = new Kernel();
    let left = 10_000;
    let early = 0;
    await new Promise<void>((done) => {
      const loop = (): void => {
        if (left === 0) return done();
        burn(Math.random() * 3);
        setImmediate(loop);
      };
      const entered = (dueMs: number): void => {
        if (performance.now() < dueMs) early++;
        left--;
      };
      const make = (i: number): void => {
        const delayMs = (1 + (i % 50)) * (i % 3 === 0 ? 1 : Math.random());
        const dueMs = performance.now() + delayMs;
        new Kcont(kernel.wq.softclock, null, entered, dueMs).schedule(delayMs);
      };
      for (let i = 0; i < 5000; i++) make(i);
      const more = (i: number): void => {
        for (let k = 0; k < 50; k++) make(i + k);
        if (i + 50 < 10_000) setImmediate(more, i + 50);
      };
      more(5000);
      loop();
    });
    expect(early).to.equal(0);
    await kernel.close();
  });

  it('is not early after a touch either', async () => {
    const kernel = new Kernel();
    let dueMs = 0;
    const enteredMs = await new Promise<number>((resolve) => {
      const kc = new Kcont(kernel.wq.softclock, null, () => resolve(performance.now()), null);
      kc.schedule(20);
      let touches = 30;
      const touch = (): void => {
        burn(1);
        dueMs = performance.now() + 20;
        kc.touch();
        if (--touches > 0) setImmediate(touch);
      };
      touch();
    });
    expect(enteredMs).to.be.at.least(dueMs);
    await kernel.close();
  });
});
