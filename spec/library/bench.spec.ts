// Checks that the benches work: their arithmetic, and two of them in the short mode. Specs do not check
// what they measure.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Case, Result, Side } from '../../bench/harness/bench.ts';
import { QUICK, costs } from '../../bench/harness/bench.ts';
import { Round, permutation } from '../../bench/harness/random.ts';
import { runCase } from '../../bench/harness/runner.ts';
import { median, quantile, ratio, spread } from '../../bench/harness/stats.ts';
import { barChart } from '../../bench/harness/bar-chart.ts';
import { lineChart } from '../../bench/harness/line-chart.ts';
import { block, digits, summary, withUnit } from '../../bench/harness/table.ts';
import { timed } from '../../bench/harness/timed.ts';
import { findBench, names } from '../../bench/suite.ts';

describe('the statistics of the benches', () => {
  it('use the middle of an odd number, and the mean of the middle two of an even one', () => {
    expect(median([3, 1, 2])).to.equal(2);
    expect(median([4, 1, 2, 3])).to.equal(2.5);
    expect(median([7])).to.equal(7);
    expect(median([])).to.deep.equal(NaN);
  });

  it('interpolate quartiles', () => {
    expect(spread([5, 1, 2, 4, 3])).to.deep.equal({ median: 3, q1: 2, q3: 4 });
    expect(quantile([0, 10], 0.25)).to.equal(2.5);
    expect(quantile([1, 2, 3], 1)).to.equal(3);
  });

  it('do not reorder their input', () => {
    const samples = [3, 1, 2];
    spread(samples);
    expect(samples).to.deep.equal([3, 1, 2]);
  });

  it('use the ratio of medians, and its spread from the ratios of each round', () => {
    // The second round was ten times as slow for both: its ratio is like the others.
    expect(ratio([20, 200, 22], [10, 100, 11])).to.deep.equal({ median: 2, q1: 2, q3: 2 });
  });

  it('draw every number of a permutation once', () => {
    expect([...permutation(100)].toSorted((a, b) => a - b)).to.deep.equal([...Array(100).keys()]);
    const round = new Round(3);
    const drawn = Array.from({ length: 6 }, () => round.next());
    expect(drawn.slice(3)).to.deep.equal(drawn.slice(0, 3));
  });
});

describe('a case', () => {
  /** A side with fixed figures that records when it is asked for them. */
  function fixed(role: Side['role'], name: string, value: number, log: string[]): Side {
    return {
      role,
      name,
      before: () => void log.push(`before ${name}`),
      after: () => void log.push(`after ${name}`),
      sample: () => {
        log.push(name);
        return [value];
      },
    };
  }

  it('alternates its sides, and starts each round with another one', async () => {
    const log: string[] = [];
    const test: Case = {
      name: 'a case',
      metrics: costs('ns'),
      sides: () => [fixed('kcont', 'kcont', 1, log), fixed('peer', 'peer', 2, log)],
    };
    await runCase('some', test, QUICK);
    const order = log.filter((line) => !line.includes(' ')).join(', ');
    expect(order).to.equal('kcont, peer, peer, kcont');
    expect(log.slice(0, 3)).to.deep.equal(['before kcont', 'kcont', 'after kcont']);
  });

  it('compares kcont with the goals', async () => {
    const test: Case = {
      name: 'a case',
      metrics: costs('ns', { against: 'fast', atLeast: 3 }, { against: 'slow', atLeast: 3 }),
      sides: () => [
        fixed('kcont', 'kcont', 10, []),
        fixed('peer', 'fast', 20, []),
        fixed('peer', 'slow', 40, []),
        fixed('floor', 'nothing', 1, []),
      ],
    };
    const [result] = await runCase('some', test, QUICK);
    expect(
      result?.comparisons.map(({ against, ratio: by, goal, verdict }) => {
        return { against, by, goal, verdict };
      }),
    ).to.deep.equal([
      { against: 'fast', by: 2, goal: '>= 3', verdict: 'missed' },
      { against: 'slow', by: 4, goal: '>= 3', verdict: 'met' },
    ]);
    expect(summary([result as Result])).to.include('1 missed, 1 met');
  });

  it('reports the cost of kcont relative to a peer where less is the goal', async () => {
    const test: Case = {
      name: 'a case',
      metrics: costs('B', { against: 'peer', atMost: 0.8 }),
      sides: () => [fixed('kcont', 'kcont', 60, []), fixed('peer', 'peer', 100, [])],
    };
    const [result] = await runCase('some', test, QUICK);
    expect(result?.comparisons[0]).to.include({ ratio: 0.6, goal: '<= 0.8', verdict: 'met' });
  });

  it('is rejected if a side has not done its work', async () => {
    const lazy = timed('kcont', 'kcont', {
      run: () => undefined,
      check: (ops) => expect(0, 'operations').to.equal(ops),
    });
    const test: Case = { name: 'a case', metrics: costs('ns'), sides: () => [lazy] };
    const error: unknown = await runCase('some', test, QUICK).catch((reason: unknown) => reason);
    expect(String(error)).to.include('operations');
  });
});

describe('the tables and charts of the benches', () => {
  const result: Result = {
    bench: 'some',
    case: 'a case with <angles>',
    metric: '',
    unit: 'ns',
    sides: [1000, 10_000].flatMap((at) => [
      { role: 'kcont', name: 'kcont', at, samples: [5], median: 5, q1: 4, q3: 6 },
      { role: 'peer', name: 'peer', at, samples: [50], median: 50, q1: 40, q3: 60 },
    ]),
    comparisons: [
      { against: 'peer, 1,000', ratio: 10, q1: 9, q3: 11, goal: '>= 4', verdict: 'met' },
    ],
  };

  it('have three digits and a unit', () => {
    expect([1.234, 12.34, 123.4, 1234].map(digits)).to.deep.equal(['1.23', '12.3', '123', '1,234']);
    expect(withUnit(9999, 'ns')).to.equal('9,999 ns');
    expect(withUnit(12_340, 'ns')).to.equal('12.3 µs');
  });

  it('have a row for each side', () => {
    const lines = block(result);
    expect(lines).to.have.length(5);
    expect(lines[2]).to.match(/peer, 1,000 +50\.0 ns .*10\.0 x .*goal >= 4 x: met/);
  });

  it('are well-formed', () => {
    for (const draw of [barChart, lineChart]) {
      const svg = draw('some', 'about & about', [result], 'here');
      expect(svg).to.include('a case with &lt;angles&gt;').and.to.include('about &amp; about');
      expect(svg).not.to.match(/NaN|undefined|Infinity/);
      expect(svg.startsWith('<svg ') && svg.endsWith('</svg>\n')).to.equal(true);
    }
  });
});

describe('the suite', () => {
  it('has a bench under every name, each with cases of different names', async () => {
    for (const name of names) {
      const bench = await findBench(name);
      expect(bench.name).to.equal(name);
      const titles = bench.cases(QUICK).map((test) => test.name);
      expect(titles.length, name).to.be.greaterThan(0);
      expect(new Set(titles).size, name).to.equal(titles.length);
    }
  });

  it('runs in a short mode, and prints JSON', async function () {
    this.timeout(60_000);
    const main = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
    const args = [main, 'schedule-stop', 'lock', '--quick', '--json'];
    // Code of lib that a bench runs does not count as covered by a spec.
    const { NODE_V8_COVERAGE: _, ...env } = process.env;
    const { stdout } = await promisify(execFile)(process.execPath, args, { env });
    const { quick, results } = JSON.parse(stdout) as { quick: boolean; results: Result[] };
    expect(quick).to.equal(true);
    expect(new Set(results.map(({ bench }) => bench))).to.deep.equal(
      new Set(['schedule-stop', 'lock']),
    );
    for (const { sides } of results) {
      expect(sides.map(({ role }) => role)).to.include.members(['kcont', 'floor']);
      for (const side of sides) expect(side.median, side.name).to.be.greaterThan(0);
    }
  });
});
