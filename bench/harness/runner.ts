// Runs one case in this process: warms up all sides, then round by round measures each of them,
// beginning with another one every time.

import type { Case, Effort, Figures, Metric, Comparison, Result, Side, Verdict } from './bench.ts';
import { ratio, spread } from './stats.ts';

/** Only some of the sides. */
export type Wanted = (side: Side) => boolean;

export async function runCase(
  bench: string,
  test: Case,
  effort: Effort,
  wanted: Wanted = () => true,
): Promise<Result[]> {
  const sides = (await test.sides(effort)).filter(wanted);
  for (const side of sides) await side.warm?.(effort);
  const samples = await measure(sides, test, effort);
  return test.metrics.map((metric, index) => {
    const figures = sides.map((side, at) =>
      figuresOf(
        side,
        (samples[at] as (readonly number[])[]).map((sample) => sample[index] as number),
      ),
    );
    const comparisons = test.compare?.(metric, figures) ?? comparePeers(metric, figures);
    const { name, unit } = metric;
    return { bench, case: test.name, metric: name, unit, sides: figures, comparisons };
  });
}

/** All samples, by side. */
async function measure(
  sides: readonly Side[],
  { rounds: most = Infinity, collect = 'side' }: Case,
  effort: Effort,
): Promise<(readonly number[])[][]> {
  const samples: (readonly number[])[][] = sides.map(() => []);
  const rounds = Math.min(most, effort.rounds);
  for (let round = 0; round < rounds; round++) {
    if (collect === 'round') gc?.();
    for (let turn = 0; turn < sides.length; turn++) {
      const at = (round + turn) % sides.length;
      const side = sides[at] as Side;
      await side.before?.();
      if (collect === 'side') gc?.();
      (samples[at] as (readonly number[])[]).push(await side.sample());
      await side.after?.();
    }
  }
  return samples;
}

function figuresOf(side: Side, samples: readonly number[]): Figures {
  const { role, name, at } = side;
  return { role, name, ...(at === undefined ? {} : { at }), samples, ...spread(samples) };
}

/**
 * For `compare`: kcont beside its peers, and beside what it may cost at most, in the metric's unit. By
 * name of the metric.
 */
export function besideLimits(
  limits: Readonly<Record<string, number>>,
): (metric: Metric, figures: readonly Figures[]) => Comparison[] {
  return (metric, figures) => {
    const limit = limits[metric.name];
    const kcont = figures.find(({ role }) => role === 'kcont');
    const found = comparePeers(metric, figures);
    if (limit === undefined || kcont === undefined) return found;
    const name = `at most ${limit} ${metric.unit}, that being 1`;
    const samples = kcont.samples.map(() => limit);
    const asPart = { ...metric, goals: [{ against: name, atMost: 1 }] };
    return [...found, compare(kcont.samples, { name, samples }, asPart)];
  };
}

/** kcont beside each of its peers. */
export function comparePeers(metric: Metric, figures: readonly Figures[]): Comparison[] {
  const kcont = figures.find(({ role }) => role === 'kcont');
  if (kcont === undefined) return [];
  return figures
    .filter(({ role }) => role === 'peer')
    .map((peer) => compare(kcont.samples, peer, metric));
}

/** A ratio is judged to the places it is shown with. */
const PER_RATIO = 100;

/** Holds kcont's samples against a peer's. */
export function compare(
  kcont: readonly number[],
  peer: { readonly name: string; readonly samples: readonly number[] },
  { goals, asPart = false }: Metric,
): Comparison {
  const against = peer.name;
  // All of a metric's comparisons look in one direction.
  const smaller = asPart || goals.some((goal) => 'atMost' in goal);
  const { median, q1, q3 } = smaller ? ratio(kcont, peer.samples) : ratio(peer.samples, kcont);
  const shown = Math.round(median * PER_RATIO) / PER_RATIO;
  const found = { against, ratio: median, q1, q3 };
  const goal = goals.find((one) => one.against === against);
  if (goal === undefined) return { ...found, goal: '', verdict: '' };
  if ('atLeast' in goal) {
    const { atLeast } = goal;
    return { ...found, goal: `>= ${atLeast}`, verdict: judge(shown >= atLeast, q3 >= atLeast) };
  }
  const { atMost } = goal;
  return { ...found, goal: `<= ${atMost}`, verdict: judge(shown <= atMost, q1 <= atMost) };
}

/** By the median; failing that, by the better quartile of the rounds. */
export function judge(byMedian: boolean, byQuartile: boolean): Verdict {
  return byMedian ? 'met' : byQuartile ? 'within spread' : 'missed';
}
