import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import pThrottle from 'p-throttle';
import { useFakeTimers } from 'sinon';
import { Kcont, Kernel } from '../../lib/index.ts';
import {
  KeyedLimiter,
  SlidingWindow,
  TokenBucket,
  type RateLimiter,
} from '../../lib/limits/index.ts';
import { Lab, codeOf, elapse, rejectionOf, settled, soak } from '../support/lab.ts';

/** Something that was taken. */
interface Taken {
  readonly atMs: number;
  readonly amount: number;
}

/** The most that was taken in a window [t, t + windowMs), wherever it begins. */
function mostIn(windowMs: number, taken: readonly Taken[]): number {
  let most = 0;
  for (const { atMs: from } of taken) {
    let sum = 0;
    for (const { atMs, amount } of taken) {
      if (atMs >= from && atMs < from + windowMs) sum += amount;
    }
    most = Math.max(most, sum);
  }
  return most;
}

/** Calls at random times, of amounts up to a limit. */
function program(most: number): fc.Arbitrary<{ gapMs: number; amount: number; waits: boolean }[]> {
  return fc.array(
    fc.record({
      gapMs: fc.oneof(fc.constantFrom(0, 0, 1, 10, 99, 100, 101), fc.integer({ min: 0, max: 300 })),
      amount: fc.integer({ min: 1, max: most }),
      waits: fc.boolean(),
    }),
    { maxLength: 60 },
  );
}

/** Plays such a program, and returns what was taken. */
async function play(
  lab: Lab,
  limiter: RateLimiter,
  calls: readonly { gapMs: number; amount: number; waits: boolean }[],
): Promise<Taken[]> {
  const taken: Taken[] = [];
  const order: number[] = [];
  for (const [index, { gapMs, amount, waits }] of calls.entries()) {
    await lab.clock.advance(gapMs);
    if (!waits) {
      const untilMs = limiter.waitMs(amount);
      const got = limiter.tryTake(amount);
      if (limiter.waiting === 0) expect(got).to.equal(untilMs === 0);
      if (got) taken.push({ atMs: lab.clock.now, amount });
      continue;
    }
    void limiter.take(amount).then(() => {
      order.push(index);
      taken.push({ atMs: lab.clock.now, amount });
    });
  }
  await lab.clock.advance(1e7);
  expect(limiter.waiting).to.equal(0);
  expect(order).to.deep.equal(order.toSorted((a, b) => a - b));
  expect(limiter.available).to.equal(limiter.most);
  return taken;
}

describe('TokenBucket', () => {
  let lab: Lab;
  beforeEach(() => {
    lab = new Lab();
  });

  it('allows a burst, and then its rate', async () => {
    const bucket = new TokenBucket({ ratePerSecond: 10, burst: 3, kernel: lab.kernel });
    expect([1, 1, 1, 1].map((amount) => bucket.tryTake(amount))).to.deep.equal([
      true,
      true,
      true,
      false,
    ]);
    expect([bucket.waitMs(), bucket.waitMs(3), bucket.available]).to.deep.equal([100, 300, 0]);
    await lab.clock.advance(99);
    expect([bucket.tryTake(), bucket.waitMs()]).to.deep.equal([false, 1]);
    await lab.clock.advance(1);
    expect([bucket.tryTake(), bucket.tryTake()]).to.deep.equal([true, false]);
    await lab.clock.advance(10_000);
    expect(bucket.available).to.equal(3);
  });

  it('has a burst of a second by default', () => {
    expect(new TokenBucket({ ratePerSecond: 7.5 }).most).to.equal(7);
    expect(new TokenBucket({ ratePerSecond: 0.5 }).most).to.equal(1);
  });

  it('never allows more than burst + rate * window', async () => {
    const settings = fc.record({
      ratePerSecond: fc.constantFrom(0.5, 3, 10, 33.3, 1000),
      burst: fc.integer({ min: 1, max: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(settings, program(8), async ({ ratePerSecond, burst }, calls) => {
        const own = new Lab();
        const bucket = new TokenBucket({ ratePerSecond, burst, kernel: own.kernel });
        const fitting = calls.map((call) => ({ ...call, amount: Math.min(call.amount, burst) }));
        const taken = await play(own, bucket, fitting);
        for (const windowMs of [1, 50, 100, 500, 1000, 5000]) {
          const allowed = burst + (ratePerSecond * windowMs) / 1000;
          expect(mostIn(windowMs, taken)).to.be.at.most(allowed + 1e-6);
        }
      }),
      { numRuns: 100 * soak },
    );
  });

  it('serves every waiter in time, whatever its rate', async () => {
    const rates = [0.3, 1 / 3, 3, 6, 7, 15, 30, 33.3, 60, 70, 700, 999, Math.PI, 0.1 + 0.2];
    for (const ratePerSecond of rates) {
      for (const startMs of [0, 0.125, 1000.1, 1e9 + 0.7]) {
        const own = new Lab();
        await own.clock.advance(startMs);
        const bucket = new TokenBucket({ ratePerSecond, burst: 5, kernel: own.kernel });
        const times: number[] = [];
        for (let i = 0; i < 20; i++) void bucket.take().then(() => times.push(own.clock.now));
        await own.clock.advance(60_000);
        expect([ratePerSecond, times.length]).to.deep.equal([ratePerSecond, 20]);
        for (const [index, ms] of times.entries()) {
          const dueMs = (Math.max(index - 4, 0) * 1000) / ratePerSecond;
          expect(ms - startMs).to.be.within(dueMs - 1e-6, dueMs + 0.25);
        }
      }
    }
  });

  it('has an amount available if it can be taken, and after its wait', async () => {
    const ratePerSecond = fc.oneof(
      fc.constantFrom(3, 6, 7, 15, 1e-3, 1e300, 5e-324),
      fc.double({ min: 0.01, max: 1e5, noNaN: true }),
    );
    const gaps = fc.array(fc.double({ min: 0, max: 2000, noNaN: true }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(ratePerSecond, gaps, async (rate, gapsMs) => {
        const own = new Lab();
        const bucket = new TokenBucket({ ratePerSecond: rate, burst: 4, kernel: own.kernel });
        for (const gapMs of gapsMs) {
          await own.clock.advance(gapMs);
          const { available } = bucket;
          for (const amount of [1, 2, 3, 4]) {
            expect(bucket.waitMs(amount) === 0).to.equal(amount <= available);
          }
          const taken = Math.min(available + 1, 4);
          expect(bucket.tryTake(taken)).to.equal(taken <= available);
          const waitMs = bucket.waitMs();
          if (waitMs > 1e9) continue;
          await own.clock.advance(waitMs);
          expect(bucket.tryTake()).to.equal(true);
        }
      }),
      { numRuns: 200 * soak },
    );
  });

  it('loses nothing and gives no more when it is not full for a long time', async () => {
    const kernel = lab.kernel;
    const fast = new TokenBucket({ ratePerSecond: 1e12, burst: 1e12, kernel });
    expect(fast.tryTake(1e12)).to.equal(true);
    for (let i = 1; i <= 50; i++) {
      await lab.clock.advance(99.5);
      expect([i, fast.available]).to.deep.equal([i, 99_500_000_000]);
      expect(fast.tryTake(99_500_000_000)).to.equal(true);
    }
    const all = Number.MAX_SAFE_INTEGER;
    const deep = new TokenBucket({ ratePerSecond: 1000, burst: all, kernel });
    expect(deep.tryTake(all)).to.equal(true);
    await lab.clock.advance(7);
    expect([deep.tryTake(8), deep.tryTake(7), deep.waitMs()]).to.deep.equal([false, true, 1]);
  });

  it('refuses bad settings and amounts', async () => {
    for (const bad of [0, -1, NaN, Infinity, '5', undefined]) {
      expect(codeOf(() => new TokenBucket({ ratePerSecond: bad as number }))).to.equal('EINVAL');
    }
    const bucket = new TokenBucket({ ratePerSecond: 5, burst: 2 });
    for (const bad of [0, 3, 1.5, NaN, '1', null]) {
      expect(codeOf(() => bucket.tryTake(bad as number))).to.equal('EINVAL');
      expect(codeOf(() => bucket.waitMs(bad as number))).to.equal('EINVAL');
      expect(await rejectionOf(bucket.take(bad as number))).to.equal('EINVAL');
      expect(await rejectionOf(bucket.run(() => 1, bad as number))).to.equal('EINVAL');
    }
    expect(await rejectionOf(bucket.run('text' as never))).to.equal('EINVAL');
    expect(bucket.available).to.equal(2);
  });
});

describe('SlidingWindow', () => {
  let lab: Lab;
  beforeEach(() => {
    lab = new Lab();
  });

  it('allows its limit, and more when the first have left the window', async () => {
    const limit = new SlidingWindow({ limit: 3, windowMs: 100, kernel: lab.kernel });
    expect([limit.tryTake(), limit.available]).to.deep.equal([true, 2]);
    await lab.clock.advance(50);
    expect([limit.tryTake(2), limit.tryTake(), limit.waitMs(), limit.waitMs(3)]).to.deep.equal([
      true,
      false,
      50,
      100,
    ]);
    await lab.clock.advance(49);
    expect(limit.tryTake()).to.equal(false);
    await lab.clock.advance(1);
    expect([limit.tryTake(), limit.tryTake()]).to.deep.equal([true, false]);
  });

  it('never allows more than its limit in any window', async () => {
    const settings = fc.record({
      limit: fc.integer({ min: 1, max: 8 }),
      windowMs: fc.constantFrom(1, 10, 100, 333.3),
    });
    await fc.assert(
      fc.asyncProperty(settings, program(8), async ({ limit, windowMs }, calls) => {
        const own = new Lab();
        const window = new SlidingWindow({ limit, windowMs, kernel: own.kernel });
        const fitting = calls.map((call) => ({ ...call, amount: Math.min(call.amount, limit) }));
        const taken = await play(own, window, fitting);
        expect(mostIn(windowMs, taken)).to.be.at.most(limit);
      }),
      { numRuns: 150 * soak },
    );
  });

  it('forgets what has left the window, with a large limit too', async () => {
    const limit = new SlidingWindow({ limit: 5000, windowMs: 1000, kernel: lab.kernel });
    for (let i = 0; i < 20; i++) {
      expect(limit.tryTake(500)).to.equal(true);
      await lab.clock.advance(100);
    }
    expect(limit.available).to.equal(500);
    await lab.clock.advance(1000);
    expect(limit.available).to.equal(5000);
  });

  it('counts an amount of any size as one entry', async () => {
    const limit = new SlidingWindow({ limit: 2e8, windowMs: 100, kernel: lab.kernel });
    expect([limit.tryTake(2e8), limit.tryTake(), limit.waitMs()]).to.deep.equal([true, false, 100]);
    await lab.clock.advance(100);
    expect([limit.tryTake(15e7), limit.available]).to.deep.equal([true, 5e7]);
    await lab.clock.advance(10);
    expect([limit.tryTake(5e7), limit.waitMs(15e7), limit.waitMs(15e7 + 1)]).to.deep.equal([
      true,
      90,
      100,
    ]);
  });

  it('adds up exactly, however much was taken since it was empty', async () => {
    const most = Number.MAX_SAFE_INTEGER;
    const half = (most - 1) / 2;
    const limit = new SlidingWindow({ limit: most, windowMs: 100, kernel: lab.kernel });
    for (let i = 0; i < 6; i++) {
      expect([limit.tryTake(half), limit.tryTake(half + 2), limit.available]).to.deep.equal([
        true,
        false,
        i === 0 ? half + 1 : 1,
      ]);
      await lab.clock.advance(50);
    }
  });

  it('never allows more than its limit when times are rounded', async () => {
    // The sum of a time and a window may be rounded to a time before it.
    const windows = [0.1, 0.7, 33.3, 100 / 3, 999.9];
    for (const windowMs of windows) {
      for (let i = 1; i <= 200; i++) {
        const own = new Lab();
        const fromMs = i / 10;
        await own.clock.advance(fromMs);
        const limit = new SlidingWindow({ limit: 1, windowMs, kernel: own.kernel });
        expect(limit.tryTake()).to.equal(true);
        await own.clock.advance(fromMs + windowMs - own.clock.now);
        const sinceMs = own.clock.now - fromMs;
        if (sinceMs < windowMs) expect(limit.tryTake()).to.equal(false);
        const served = limit.take();
        await own.clock.advance(windowMs + 1);
        await served;
        expect(limit.waiting).to.equal(0);
      }
    }
  });

  it('is no slower than p-throttle with `strict`, and allows no more', async () => {
    const fake = useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    try {
      const window = new SlidingWindow({ limit: 3, windowMs: 100, kernel: lab.kernel });
      const times: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
      const theirs = pThrottle({ limit: 3, interval: 100, strict: true })(() => {
        times.theirs.push(fake.now);
      });
      for (const gapMs of [0, 0, 0, 20, 0, 0, 50, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0]) {
        await lab.clock.advance(gapMs);
        await fake.tickAsync(gapMs);
        void window.run(() => times.ours.push(lab.clock.now));
        theirs();
      }
      await lab.clock.advance(5000);
      await fake.tickAsync(5000);
      expect(times.ours).to.have.length(times.theirs.length);
      for (const [index, ms] of times.ours.entries()) {
        expect(ms).to.be.at.most(times.theirs[index] ?? NaN);
      }
      expect(
        mostIn(
          100,
          times.ours.map((atMs) => ({ atMs, amount: 1 })),
        ),
      ).to.equal(3);
    } finally {
      fake.restore();
    }
  });

  it('refuses bad settings', () => {
    for (const bad of [0, -1, 1.5, NaN, '5', undefined]) {
      const limit = bad as number;
      expect(codeOf(() => new SlidingWindow({ limit, windowMs: 5 }))).to.equal('EINVAL');
    }
    for (const bad of [0, -1, NaN, Infinity, '5', undefined]) {
      const windowMs = bad as number;
      expect(codeOf(() => new SlidingWindow({ limit: 5, windowMs }))).to.equal('EINVAL');
    }
  });
});

describe('take', () => {
  let lab: Lab;
  let bucket: TokenBucket;
  let order: string[];
  const take = (name: string, amount = 1, options?: { signal: AbortSignal }): Promise<void> =>
    bucket.take(amount, options).then(
      () => void order.push(`${lab.clock.now} ${name}`),
      (error: unknown) => void order.push(`${lab.clock.now} ${name}: ${(error as Error).message}`),
    );
  beforeEach(() => {
    lab = new Lab();
    bucket = new TokenBucket({ ratePerSecond: 10, burst: 3, kernel: lab.kernel });
    order = [];
  });

  it('serves in the order of the calls, and lets nobody pass a large amount', async () => {
    for (const [name, amount] of [
      ['a', 3],
      ['b', 3],
      ['c', 1],
    ] as const)
      void take(name, amount);
    expect([bucket.tryTake(), bucket.waiting, bucket.waitMs()]).to.deep.equal([false, 2, 500]);
    await lab.clock.advance(1000);
    expect(order).to.deep.equal(['0 a', '300 b', '400 c']);
    expect(lab.kernel.inspect().pending).to.equal(0);
  });

  it('ends its wait when its signal is aborted, which may serve the next one', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    void take('a', 3);
    void take('b', 3, { signal });
    void take('c', 1);
    await lab.clock.advance(150);
    controller.abort(new Error('gone'));
    await settled();
    expect(order).to.deep.equal(['0 a', '150 b: gone', '150 c']);
    await take('d', 1, { signal });
    void take('e', 3);
    void take('f', 1, { signal: new AbortController().signal });
    await lab.clock.advance(1000);
    expect(order.slice(3)).to.deep.equal(['150 d: gone', '400 e', '500 f']);
  });

  it('calls a function when it is its turn, and passes on what it returns or throws', async () => {
    const run = bucket.run(async () => 'result', 3);
    const failing = rejectionOf(
      bucket.run(() => {
        throw new Error('failed');
      }),
    );
    await lab.clock.advance(1000);
    expect([await run, await failing]).to.deep.equal(['result', 'Error: failed']);
  });

  it('goes on during the grace of a close while runs wait for it, then rejects', async () => {
    const run = lab.wq.prihigh.run(async () => {
      await take('a', 3);
      await take('b', 2);
      return 'done';
    });
    await lab.clock.advance(0);
    const report = lab.kernel.close();
    await lab.clock.advance(10_000);
    expect([await run, (await report).unfinished, order]).to.deep.equal([
      'done',
      [],
      ['0 a', '200 b'],
    ]);
    void take('c', 3);
    void take('d');
    await settled();
    expect(order.slice(2)).to.have.length(2);
    expect(order[3]).to.include('closed');
  });

  it('is rejected when the kernel closes and nothing is in flight', async () => {
    void take('a', 3);
    void take('b', 3);
    void take('c');
    await lab.clock.advance(0);
    void lab.kernel.close();
    await lab.clock.advance(10_000);
    expect(order).to.have.length(3);
    for (const line of order.slice(1)) expect(line).to.include('closed');
  });

  it('is not early on the clock of the host', async () => {
    const kernel = new Kernel();
    const limit = new SlidingWindow({ limit: 2, windowMs: 15, kernel });
    const times: number[] = [];
    await Promise.all(
      Array.from({ length: 6 }, () => limit.run(() => void times.push(kernel.now()))),
    );
    for (let i = 2; i < 6; i++) expect((times[i] ?? 0) - (times[i - 2] ?? 0)).to.be.at.least(14);
    await elapse(kernel.wq.softclock, 16);
    expect(limit.available).to.equal(2);
  });

  it('shows its state', () => {
    expect(inspect(bucket)).to.equal('TokenBucket { 3 available, 0 waiting }');
    expect(String(bucket)).to.equal(inspect(bucket));
    expect(JSON.stringify(bucket)).to.equal('{"available":3,"waiting":0}');
  });
});

describe('KeyedLimiter', () => {
  it('limits each key, and frees those that are full again', async () => {
    const lab = new Lab();
    const perUser = new KeyedLimiter(
      () => new TokenBucket({ ratePerSecond: 10, burst: 2, kernel: lab.kernel }),
    );
    expect([perUser.tryTake('a', 2), perUser.tryTake('a'), perUser.tryTake('b')]).to.deep.equal([
      true,
      false,
      true,
    ]);
    expect([perUser.waitMs('a'), perUser.waitMs('c'), perUser.size]).to.deep.equal([100, 0, 2]);
    const taken = perUser.take('a', 2);
    await lab.clock.advance(200);
    await taken;
    expect([perUser.size, inspect(perUser)]).to.deep.equal([1, 'KeyedLimiter { 1 keys }']);
    await lab.clock.advance(400);
    expect([perUser.size, lab.kernel.inspect().pending]).to.deep.equal([0, 0]);
    expect([perUser.tryTake('a'), String(perUser), JSON.stringify(perUser)]).to.deep.equal([
      true,
      'KeyedLimiter { 1 keys }',
      '{"size":1}',
    ]);
  });

  it('does not free a key for which somebody waits', async () => {
    const lab = new Lab();
    const keyed = new KeyedLimiter<number>(
      (limit) => new SlidingWindow({ limit, windowMs: 100, kernel: lab.kernel }),
    );
    const order: number[] = [];
    for (let i = 0; i < 6; i++) void keyed.take(1).then(() => order.push(lab.clock.now));
    await lab.clock.advance(1000);
    expect([order, keyed.size]).to.deep.equal([[0, 100, 200, 300, 400, 500], 0]);
  });

  it('frees each key in twice its own time, if those of other keys differ', async () => {
    for (const order of [
      [10, 60_000, 1000],
      [60_000, 1000, 10],
    ]) {
      const lab = new Lab();
      const keyed = new KeyedLimiter<number>(
        (windowMs) => new SlidingWindow({ limit: 1, windowMs, kernel: lab.kernel }),
      );
      for (const windowMs of order) keyed.tryTake(windowMs);
      await lab.clock.advance(20);
      expect(keyed.size).to.equal(2);
      await lab.clock.advance(1980);
      expect(keyed.size).to.equal(1);
      await lab.clock.advance(118_000);
      expect([keyed.size, lab.kernel.inspect().pending]).to.deep.equal([0, 0]);
    }
  });

  it('frees keys of any limit, also of one that is full at once or never', async () => {
    const lab = new Lab();
    const keyed = new KeyedLimiter<number>(
      (ratePerSecond) => new TokenBucket({ ratePerSecond, burst: 1, kernel: lab.kernel }),
    );
    for (const ratePerSecond of [1e300, 5e-324, 1e-300]) keyed.tryTake(ratePerSecond);
    await lab.clock.advance(10);
    expect(keyed.size).to.equal(2);
  });

  it('lets others run while it looks through many keys', () => {
    const lab = new Lab();
    let looks = 0;
    let seen = NaN;
    const other = new Kcont(lab.wq.prihigh, null, () => void (seen = looks), undefined);
    class Counted extends TokenBucket {
      override get available(): number {
        if (lab.clock.now > 0 && looks++ === 0) other.schedule();
        return super.available;
      }
    }
    const { kernel } = lab;
    const perUser = new KeyedLimiter<number>(
      () => new Counted({ ratePerSecond: 1, burst: 1, kernel }),
    );
    for (let key = 0; key < 10_000; key++) perUser.tryTake(key);
    lab.clock.tick(2000);
    expect([perUser.size, looks >= 10_000]).to.deep.equal([0, true]);
    expect(seen).to.be.lessThan(1000);
  });

  it('keeps no key of which nothing was taken', async () => {
    const lab = new Lab();
    const keyed = new KeyedLimiter(
      () => new TokenBucket({ ratePerSecond: 10, burst: 2, kernel: lab.kernel }),
    );
    expect(codeOf(() => keyed.tryTake('a', -1))).to.equal('EINVAL');
    expect(codeOf(() => keyed.waitMs('a', 3))).to.equal('EINVAL');
    expect(await rejectionOf(keyed.take('a', 3))).to.equal('EINVAL');
    const signal = AbortSignal.abort(new Error('gone'));
    expect(await rejectionOf(keyed.take('a', 1, { signal }))).to.equal('Error: gone');
    expect([keyed.waitMs('a'), keyed.size]).to.deep.equal([0, 0]);
    expect([keyed.limiterOf('a').tryTake(2), keyed.waitMs('a'), keyed.size]).to.deep.equal([
      true,
      100,
      1,
    ]);
  });

  it('refuses what is no limiter', async () => {
    expect(codeOf(() => new KeyedLimiter(5 as never))).to.equal('EINVAL');
    const keyed = new KeyedLimiter(() => ({}) as RateLimiter);
    expect(codeOf(() => keyed.tryTake('a'))).to.equal('EINVAL');
    expect(await rejectionOf(keyed.take('a'))).to.equal('EINVAL');
    expect(keyed.size).to.equal(0);
  });
});
