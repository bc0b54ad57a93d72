import { createHistogram } from 'node:perf_hooks';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { LogHistogram } from '../../lib/observe/histogram.ts';
import { codeOf } from '../support/lab.ts';

const PERCENTILES = [1, 25, 50, 90, 99, 100];

function filled(values: readonly number[]): LogHistogram {
  const histogram = new LogHistogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

describe('LogHistogram', () => {
  it('agrees with a sorted list, and with a histogram of Node', () => {
    const value = fc.oneof(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      fc.constantFrom(63, 64, 65, 127, 128, 129, 255, 256, 2 ** 20 - 1, 2 ** 20, 2 ** 31 - 1),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 200 }), (values) => {
        const histogram = filled(values);
        const nodes = createHistogram();
        for (const one of values) nodes.record(one);
        const sorted = values.toSorted((a, b) => a - b);
        expect(histogram.count).to.equal(nodes.count);
        expect(histogram.min).to.equal(sorted[0]);
        expect(histogram.max).to.equal(sorted.at(-1));
        expect(histogram.mean / nodes.mean).to.be.closeTo(1, 0.002);
        for (const percentile of PERCENTILES) {
          const exact = sorted[Math.ceil((percentile / 100) * sorted.length) - 1] as number;
          const found = histogram.percentile(percentile);
          expect(found).to.be.at.least(exact);
          expect(found - exact).to.be.at.most(exact / 64);
        }
        expect([...histogram.percentiles.keys()].at(-1)).to.equal(100);
        expect(histogram.percentiles.get(100)).to.equal(histogram.max);
      }),
    );
  });

  it('counts fractions as the nearest integer, and limits what it cannot count', () => {
    const histogram = filled([0.4, 1.5, -3, 2 ** 40, Infinity]);
    expect([histogram.count, histogram.min, histogram.max]).to.deep.equal([5, 0, 2 ** 31 - 1]);
    expect(histogram.percentile(60)).to.equal(2);
  });

  it('has the deviation', () => {
    expect(filled([2, 4, 4, 4, 5, 5, 7, 9]).stddev).to.equal(2);
  });

  it('is empty at first, and after reset', () => {
    const histogram = filled([5]);
    histogram.reset();
    for (const empty of [histogram, new LogHistogram()]) {
      expect([empty.count, empty.min, empty.max, empty.percentile(50)]).to.deep.equal([
        0,
        2 ** 63,
        0,
        0,
      ]);
      expect([empty.mean, empty.stddev]).to.deep.equal([NaN, NaN]);
      expect([...empty.percentiles]).to.deep.equal([[100, 0]]);
    }
  });

  it('refuses percentiles that are none', () => {
    for (const wrong of [0, -1, 101, NaN]) {
      expect(codeOf(() => new LogHistogram().percentile(wrong))).to.equal('EINVAL');
    }
  });
});
