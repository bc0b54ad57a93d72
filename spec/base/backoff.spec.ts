import { expect } from 'chai';
import fc from 'fast-check';
import {
  Backoff,
  backoffOf,
  exponentialMs,
  retryAfterMsOf,
  type BackoffOptions,
} from '../../lib/base/backoff.ts';
import { codeOf } from '../support/lab.ts';

/** The first waits of a backoff. */
function waits(count: number, options: BackoffOptions): number[] {
  const backoff = new Backoff(options);
  let lastMs = 0;
  return Array.from({ length: count }, (_, i) => (lastMs = backoff.waitMs(i + 1, lastMs)));
}

const most = 1 - 2 ** -53;

describe('Backoff', () => {
  it('grows by its factor up to its maximum', () => {
    const options = { baseMs: 100, factor: 3, maxMs: 1000, jitter: 'none' } as const;
    expect(waits(5, options)).to.deep.equal([100, 300, 900, 1000, 1000]);
  });

  it('is constant with a factor of 1, and never longer than its maximum', () => {
    expect(waits(3, { baseMs: 50, factor: 1, jitter: 'none' })).to.deep.equal([50, 50, 50]);
    expect(waits(2, { baseMs: 500, maxMs: 60, jitter: 'none' })).to.deep.equal([60, 60]);
  });

  it('takes a random part of each wait with full jitter, which is the default', () => {
    const drawn = [0, 0.5, most];
    const random = (): number => drawn.shift() ?? 0;
    const [none, half, all = 0] = waits(3, { random });
    expect([none, half]).to.deep.equal([0, 100]);
    expect(all).to.be.within(399.9, 400);
  });

  it('draws from the last wait with decorrelated jitter', () => {
    const options = { baseMs: 100, maxMs: 1000, jitter: 'decorrelated' } as const;
    expect(waits(3, { ...options, random: () => 0 })).to.deep.equal([100, 100, 100]);
    expect(waits(4, { ...options, random: () => 0.5 })).to.deep.equal([200, 350, 575, 912.5]);
    expect(waits(5, { ...options, random: () => 0.5 })[4]).to.equal(1000);
  });

  it('begins and ends with other waits, if its user says so', () => {
    const backoff = new Backoff({ jitter: 'none' }, { baseMs: 1000, maxMs: 600_000 });
    expect([1, 2, 10_000].map((failed) => backoff.waitMs(failed, 0))).to.deep.equal([
      1000, 2000, 600_000,
    ]);
  });

  it('is always 0 with a first wait of 0, whatever the growth', () => {
    expect(exponentialMs(0, 2, 2000, 30_000)).to.equal(0);
    expect(exponentialMs(1, 2, 2000, 30_000)).to.equal(30_000);
  });

  it('stays within its limits, whatever is drawn', () => {
    const settings = fc.record({
      baseMs: fc.integer({ min: 0, max: 500 }),
      maxMs: fc.integer({ min: 0, max: 5000 }),
      factor: fc.constantFrom(1, 1.5, 2, 1e300),
      jitter: fc.constantFrom('none', 'full', 'decorrelated'),
    });
    const draws = fc.array(fc.constantFrom(0, 0.25, 0.5, most), { minLength: 20, maxLength: 20 });
    fc.assert(
      fc.property(settings, draws, (options, drawn) => {
        const random = (): number => drawn.shift() ?? 0;
        const least = options.jitter === 'full' ? 0 : Math.min(options.baseMs, options.maxMs);
        for (const wait of waits(20, { ...options, random })) {
          expect(wait).to.be.within(least, options.maxMs);
        }
      }),
    );
  });

  it('refuses random numbers that are none', () => {
    for (const bad of [1, -0.1, NaN, '0.5', undefined]) {
      const backoff = new Backoff({ random: () => bad as number });
      expect(codeOf(() => backoff.waitMs(1, 0))).to.equal('EINVAL');
    }
  });

  it('can be a function, whose result has to be a number of ms', () => {
    const wait = backoffOf((retry, error) => retry * (error as number));
    expect(wait(3, 7)).to.equal(21);
    for (const bad of [-1, NaN, Infinity, '5', undefined]) {
      expect(codeOf(() => backoffOf(() => bad as number)(1, null))).to.equal('EINVAL');
    }
  });
});

describe('retryAfterMs of an error', () => {
  it('is a number of ms of any size, and anything else counts as 0', () => {
    const refusing = {
      get retryAfterMs(): number {
        throw new Error('refused');
      },
    };
    for (const retryAfterMs of [250, 2 ** 53, Infinity]) {
      expect(retryAfterMsOf({ retryAfterMs })).to.equal(retryAfterMs);
    }
    for (const error of [null, undefined, 'text', {}, refusing]) {
      expect(retryAfterMsOf(error)).to.equal(0);
    }
    for (const retryAfterMs of [-1, NaN, '5', null]) {
      expect(retryAfterMsOf({ retryAfterMs })).to.equal(0);
    }
  });
});
