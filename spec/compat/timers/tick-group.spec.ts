import { expect } from 'chai';
import { Kcont, Kernel } from '../../../lib/index.ts';
import { TickGroup } from '../../../lib/compat/timers/tick-group.ts';
import { HandClock } from '../../support/hand-clock.ts';

describe('the timers that one callback sets with the same delay', () => {
  let clock: HandClock;
  let kernel: Kernel;
  let group: TickGroup<null>;
  let kcs: Kcont<null>[];
  let beganMs: number;

  beforeEach(() => {
    clock = new HandClock();
    kernel = new Kernel({ clock });
    group = new TickGroup<null>(clock);
    kcs = [];
    // Calls are at the end of a tick, so that no time is lost by rounding up.
    clock.pass(Math.ceil(clock.now + clock._phase) - (clock.now + clock._phase));
    beganMs = clock.now;
  });

  afterEach(() => kernel.close());

  /** Sets a timer of 5 ms. */
  const arm = (): void => {
    const kc = new Kcont(kernel.wq.softclock, null, () => undefined, null);
    kcs.push(kc);
    expect(group.arm(kc, 5)).to.equal(0);
  };
  /** From when each timer counts, in ticks after the beginning. */
  const counts = (): number[] => kcs.map(({ deadline }) => (deadline - 5 - beganMs) * 8);

  it('count from the call, as long as the callback takes no longer than a tick', () => {
    arm();
    arm();
    expect(counts()).to.deep.equal([0, 0]);
  });

  it('count from one tick, which is moved onward by as much as the group has lasted', () => {
    const seen = [0, 0.1, 0.1, 0.1, 0.18, 0.4, 0.05].map((ms) => {
      clock.pass(ms);
      arm();
      expect(new Set(counts()).size).to.equal(1);
      return counts()[0];
    });
    expect(seen).to.deep.equal([0, 1, 2, 4, 4, 8, 8]);
  });

  it('are a new group after a ms, which counts from no earlier time', () => {
    arm();
    clock.pass(0.7);
    arm();
    group.end();
    arm();
    expect(counts()).to.deep.equal([8, 8, 8]);
    clock.pass(1.4);
    arm();
    expect(counts()).to.deep.equal([8, 8, 8, 17]);
    clock.pass(10);
    arm();
    expect(counts()).to.deep.equal([8, 8, 8, 17, 97]);
  });
});
