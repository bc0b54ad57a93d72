import { PerformanceObserver } from 'node:perf_hooks';
import { expect } from 'chai';
import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';

const TIMES = 10_000_000;
const WEEK_MS = 604_800_000;
/** The number of collections that the engine and the spec itself may cause. */
const CHANCE = 2;

/** Counts the collections during the iterations of `run`, after it has been compiled. */
async function collections(run: (times: number) => void): Promise<number> {
  run(100_000);
  run(100_000);
  let count = 0;
  const observer = new PerformanceObserver((list) => void (count += list.getEntries().length));
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  gc?.();
  await turn();
  observer.observe({ entryTypes: ['gc'] });
  run(TIMES);
  await turn();
  await turn();
  observer.disconnect();
  return count;
}

// A single 16-byte object per operation would be 160 MB: five collections of the young space, or ten.
describe('ten million times', function () {
  this.timeout(60_000);
  const clock = new VirtualClock();
  const { wq } = new Kernel({ clock });
  const nothing = (): void => undefined;
  const kc = new Kcont(wq.softclock, null, nothing, null);

  it('schedule and stop allocate nothing', async () => {
    const count = await collections((times) => {
      for (let i = 0; i < times; i++) {
        kc.schedule(30_000);
        kc.stop();
      }
    });
    expect(count).to.be.at.most(CHANCE);
  });

  it('touch allocates nothing', async () => {
    kc.schedule(30_000);
    const count = await collections((times) => {
      for (let i = 0; i < times; i++) kc.touch();
    });
    kc.stop();
    expect(count).to.be.at.most(CHANCE);
  });

  it('touch of a timer of seven days allocates nothing', async () => {
    const far = new Kcont(wq.softclock, null, nothing, null);
    far.schedule(WEEK_MS);
    const count = await collections((times) => {
      for (let i = 0; i < times; i++) {
        far.touch();
      }
    });
    far.stop();
    expect(count).to.be.at.most(CHANCE);
  });

  it('expiry and dispatch of a synchronous function allocate nothing', async () => {
    const kcs = Array.from({ length: 10_000 }, () => new Kcont(wq.softnet, null, nothing, null));
    const count = await collections((times) => {
      for (let i = 0; i < times; i += kcs.length) {
        for (let at = 0; at < kcs.length; at++) kcs[at]?.schedule(1 + (at & 7));
        clock.tick(8);
      }
    });
    expect(count).to.be.at.most(CHANCE);
  });

  it('a job with a lock allocates nothing', async () => {
    const lock = new Mutex();
    const kcs = Array.from({ length: 10_000 }, () => new Kcont(wq.prilow, lock, nothing, null));
    const count = await collections((times) => {
      for (let i = 0; i < times; i += kcs.length) {
        for (const job of kcs) job.schedule();
        clock.tick(0);
      }
    });
    expect(count).to.be.at.most(CHANCE);
  });

  it('schedule and touch allocate no more than reading the host clock does', async () => {
    const host = new Kernel();
    const timer = new Kcont(host.wq.softclock, null, nothing, null);
    timer.schedule(30_000);
    let sum = 0;
    const reading = await collections((times) => {
      for (let i = 0; i < times; i++) sum += performance.now() - performance.now();
    });
    const count = await collections((times) => {
      for (let i = 0; i < times; i++) {
        timer.schedule(30_000);
        timer.touch();
      }
    });
    timer.stop();
    expect(sum).to.be.below(0);
    // Each reading allocates one number, and nothing else is allocated.
    expect(count).to.be.at.most(reading + CHANCE);
  });
});

describe('a hundred thousand pending timers', () => {
  it('use one host timer', async () => {
    const { setTimeout: real } = globalThis;
    let armed = 0;
    globalThis.setTimeout = Object.assign((...args: Parameters<typeof real>) => {
      armed++;
      return real(...args);
    }, real);
    try {
      const host = new Kernel();
      const kcs = Array.from({ length: 100_000 }, (_, i) => {
        const timer = new Kcont(host.wq.softclock, null, () => undefined, null);
        timer.schedule(60_000 + i);
        return timer;
      });
      await new Promise((resolve) => void setImmediate(resolve));
      await new Promise((resolve) => void setImmediate(resolve));
      expect(armed).to.equal(1);
      for (const timer of kcs) timer.stop();
    } finally {
      globalThis.setTimeout = real;
    }
  });
});
