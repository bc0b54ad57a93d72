import { expect } from 'chai';
import type { Clock } from '../../lib/time/clock.ts';
import { Kcont, Kernel } from '../../lib/index.ts';
import { ClockSampler } from '../../lib/time/clock-sampling.ts';
import { TICKS_PER_MS } from '../../lib/time/timing-wheel.ts';
import { burn } from '../support/busy.ts';

/** The number of calls before estimates begin; the first call cannot be dense. */
const DENSE = 13;

/** A clock that counts its readings, each of which takes a given time. */
class Counted implements Clock {
  readonly _phase = 0;
  _samples = true;
  readonly _turns = true;
  nowMs = 1000;
  stepMs = 0;
  readings = 0;

  get now(): number {
    this.readings++;
    return (this.nowMs += this.stepMs);
  }

  _drive(): never {
    throw new Error('not driven');
  }

  _raise(): never {
    throw new Error('not raised');
  }

  _drain(): never {
    throw new Error('not drained');
  }

  _escaping(): never {
    throw new Error('nothing escapes');
  }
}

describe('the clock sampler', () => {
  let clock: Counted;
  let restarted: string[];
  let sampler: ClockSampler<string>;

  beforeEach(() => {
    clock = new Counted();
    restarted = [];
    sampler = new ClockSampler(clock, (name, nowMs) => void restarted.push(`${name}@${nowMs}`));
  });

  /** Returns the due ticks of calls with a delay of 10 ms, in ms. */
  const burst = (calls: number): number[] =>
    Array.from(
      { length: calls },
      (_, i) => sampler.dueInTicks(`t${i}`, 10 * TICKS_PER_MS) / TICKS_PER_MS,
    );
  const endOfCallback = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

  it('reads the clock at every call outside a dense burst', () => {
    clock.stepMs = 0.01;
    burst(100);
    expect(clock.readings).to.equal(100);
  });

  it('reads the clock once per sixteen calls in a dense burst', () => {
    clock.stepMs = 0.0001;
    burst(DENSE + 160);
    expect(clock.readings).to.equal(DENSE + 10);
  });

  it('is never early: an estimate counts from the last reading plus a margin', () => {
    clock.nowMs = 999.98;
    expect(burst(DENSE - 1)).to.deep.equal(Array.from({ length: DENSE - 1 }, () => 1010));
    expect(burst(4)).to.deep.equal([1010.125, 1010.125, 1010.125, 1010.125]);
  });

  it('keeps the order of the calls: a reading counts from no earlier than the estimates before it', () => {
    clock.nowMs = 999.98;
    burst(DENSE + 15);
    expect(burst(1)).to.deep.equal([1010.125]);
    expect(sampler.dueIn('a', 9.95) / TICKS_PER_MS).to.equal(1010);
    clock.nowMs = 999.985;
    burst(14);
    clock.nowMs += 0.04;
    expect(burst(2)).to.deep.equal([1010.125, 1010.125]);
  });

  it('reconciles estimates at the end of the callback', async () => {
    burst(DENSE);
    burst(2);
    clock.nowMs += 50;
    await endOfCallback();
    expect(restarted).to.deep.equal(['t0@1050', 't1@1050']);
    expect(burst(1)).to.deep.equal([1060]);
  });

  it('reconciles estimates at the next reading', () => {
    burst(DENSE);
    burst(15);
    clock.nowMs += 50;
    burst(1);
    expect(restarted.length).to.equal(15);
    expect(restarted[14]).to.equal('t14@1050');
  });

  it('does not take the few calls of one callback for a burst', async () => {
    burst(DENSE - 1);
    await endOfCallback();
    clock.nowMs += 1;
    burst(DENSE - 1);
    expect(clock.readings).to.equal(2 * (DENSE - 1));
  });

  it('keeps estimates if little time has passed', async () => {
    burst(DENSE + 4);
    clock.nowMs += 0.03;
    await endOfCallback();
    expect(restarted).to.deep.equal([]);
  });

  it('ends a burst with the callback, even without an estimate', async () => {
    burst(DENSE);
    await endOfCallback();
    clock.nowMs += 100;
    const before = clock.readings;
    expect(burst(1)).to.deep.equal([1110]);
    expect(clock.readings).to.equal(before + 1);
  });

  it('always reads a clock that is cheap to read', () => {
    clock._samples = false;
    burst(100);
    expect(clock.readings).to.equal(100);
  });

  it('reads the clock again in a burst when the global setTimeout has been replaced, and estimates while it stays', () => {
    const { setTimeout: before } = globalThis;
    const counts: number[] = [];
    const count = (): void => void counts.push(clock.readings);
    try {
      burst(DENSE + 2);
      count();
      globalThis.setTimeout = (() => 0) as unknown as typeof setTimeout;
      burst(1);
      count();
      burst(15);
      count();
      globalThis.setTimeout = (() => 1) as unknown as typeof setTimeout;
      burst(1);
      count();
    } finally {
      globalThis.setTimeout = before;
    }
    expect(counts).to.deep.equal([DENSE, DENSE + 1, DENSE + 1, DENSE + 2]);
  });

  it('returns the current tick, or that of the last reading in a burst', () => {
    burst(DENSE);
    clock.nowMs += 5;
    const tickMs = (): number => sampler.tick() / TICKS_PER_MS;
    expect(tickMs()).to.equal(1000);
    expect(Array.from({ length: 15 }, tickMs)[14]).to.equal(1005);
  });

  it('accepts delays that are not small integers, inside and outside a burst', () => {
    const dueMs = (name: string, delayMs: number): number =>
      sampler.dueIn(name, delayMs) / TICKS_PER_MS;
    expect([dueMs('a', 0.5), dueMs('b', 0.3)]).to.deep.equal([1000.5, 1000.375]);
    burst(DENSE);
    expect(dueMs('c', 2 ** 40)).to.equal(2 ** 40 + 1000.125);
    expect([dueMs('d', 0.5), dueMs('e', 0.3)]).to.deep.equal([1000.625, 1000.375]);
  });
});

describe('timers scheduled in a dense burst', () => {
  it('are never early when the callback blocks right after them', async () => {
    const kernel = new Kernel();
    const early: number[] = [];
    let left = 40;
    await new Promise<void>((resolve) => {
      const entered = (dueMs: number): void => {
        if (performance.now() < dueMs) early.push(dueMs);
        if (--left === 0) resolve();
      };
      const dueMs = performance.now() + 5;
      for (let i = 0; i < 40; i++) new Kcont(kernel.wq.softclock, null, entered, dueMs).schedule(5);
      burn(30);
    });
    expect(early).to.deep.equal([]);
    await kernel.close();
  });

  it('do not run if they were stopped before the callback ended', async () => {
    const kernel = new Kernel();
    let ran = 0;
    const kcs = Array.from(
      { length: 40 },
      () => new Kcont(kernel.wq.softclock, null, () => void ran++, null),
    );
    for (const kc of kcs) kc.schedule(1);
    for (const kc of kcs) kc.stop();
    burn(5);
    await kernel.wq.prilow.run(() => undefined, { delayMs: 10 });
    expect(ran).to.equal(0);
    await kernel.close();
  });
});
