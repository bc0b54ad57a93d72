import { expect } from 'chai';
import { Kcont, Kernel } from '../../lib/index.ts';
import { burn } from '../support/busy.ts';

const COUNT = 1_000_000;
/** How many are pending at a time. */
const PENDING = 20_000;

/** Delays of every kind: whole ms, whole ticks, and others; the more of them, the shorter. */
function someDelayMs(): number {
  const delayMs = 200 * Math.random() ** 3;
  const kind = Math.random();
  if (kind < 0.3) return Math.ceil(delayMs);
  return kind < 0.6 ? Math.ceil(delayMs * 8) / 8 : delayMs;
}

describe('a million timers on the host clock', function () {
  this.timeout(600_000);

  it('are never early, by the nanosecond, on a loop that is idle, busy or blocked', async () => {
    const kernel = new Kernel();
    const { softclock } = kernel.wq;
    let entered = 0;
    let armed = 0;
    let earliestNs = Infinity;
    await new Promise<void>((done) => {
      class Timer {
        dueNs = 0n;
        kc = new Kcont<Timer>(softclock, null, (timer) => timer.enter(), this);

        arm(): void {
          armed++;
          const delayMs = someDelayMs();
          // A number of ns that is not more than the delay.
          this.dueNs = process.hrtime.bigint() + BigInt(Math.floor(delayMs * 1e6));
          this.kc.reset(delayMs);
          if (armed % 7 !== 0) return;
          this.dueNs = process.hrtime.bigint() + BigInt(Math.floor(delayMs * 1e6));
          this.kc.touch();
        }

        enter(): void {
          const lateNs = Number(process.hrtime.bigint() - this.dueNs);
          earliestNs = Math.min(earliestNs, lateNs);
          if (++entered === COUNT) done();
          else if (armed < COUNT) this.arm();
        }
      }
      const timers = Array.from({ length: PENDING }, () => new Timer());
      for (const timer of timers) timer.arm();
      const disturb = (): void => {
        if (entered === COUNT) return;
        burn(Math.random() ** 8 * 20);
        setTimeout(disturb, 5 * Math.random());
      };
      disturb();
    });
    expect(earliestNs).to.be.at.least(0);
    await kernel.close();
  });
});
