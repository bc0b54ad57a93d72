// How durable continuations on PostgreSQL slow down with what is pending, and with the number of locks that have work.
// Needs DATABASE_URL: without it the cases have no sides.

import { FAR_MS, PEER, US_PER_MS, addAll, bothSides, endToEnd, type Measure } from './durable.ts';
import type { Bench, Case, Comparison, Effort, Figures, Metric } from './harness/bench.ts';
import { compare } from './harness/runner.ts';
import { expectSame } from './harness/timed.ts';

const PENDING = [1000, 10_000, 100_000];
const LOCKS = [10, 100, 1000];
const QUICK = [10, 100];
const ROUNDS = 4;
const JOBS = 1000;
const GOAL = { against: PEER, atLeast: 0.9 };

/** All are scheduled for the same moment; then the time from the first call to the last counts. */
function backlog(jobs: number, locks: number): Measure {
  return async (queue, ran) => {
    const add = (i: number, delayMs: number) => queue.add(i, `lock:${i % locks}`, delayMs);
    // How long that takes is found out with a tenth of them, which are moved afterwards.
    const begin = performance.now();
    await addAll(jobs / 10, (i) => add(i, FAR_MS));
    const now = performance.now();
    const dueMs = now + Math.max((now - begin) * 25, 500);
    await addAll(jobs, (i) => add(i, Math.max(dueMs - performance.now(), 0)));
    if (performance.now() > dueMs) throw new Error('some were due before all had been scheduled');
    await ran.until(jobs);
    expectSame('runs', ran.count, jobs);
    return [((performance.now() - ran.firstMs) / jobs) * US_PER_MS];
  };
}

/** At the largest population. */
function atLast(metric: Metric, figures: readonly Figures[]): Comparison[] {
  const last = Math.max(...figures.map(({ at = 0 }) => at));
  const [kcont, peer] = figures.filter(({ at }) => at === last);
  if (kcont === undefined || peer === undefined) return [];
  return [compare(kcont.samples, peer, metric)];
}

function makeCase(
  name: string,
  sizes: readonly number[],
  sidesAt: (at: number) => ReturnType<typeof bothSides>,
): Case {
  return {
    name,
    metrics: [{ name: '', unit: 'µs', goals: [GOAL] }],
    rounds: ROUNDS,
    collect: 'round',
    compare: atLast,
    sides: () => sizes.flatMap(sidesAt),
  };
}

function cases({ quick }: Effort): readonly Case[] {
  const jobs = quick ? 30 : JOBS;
  return [
    makeCase('schedule and run, beside so many pending', quick ? QUICK : PENDING, (pending) =>
      bothSides(pending, endToEnd(jobs, 100), pending),
    ),
    makeCase(
      'work off 1,000 that are due at once, with so many locks',
      quick ? QUICK : LOCKS,
      (locks) => bothSides(0, backlog(jobs, locks), locks),
    ),
  ];
}

export const bench: Bench = {
  name: 'durable-growth',
  about:
    'Durable continuations on PostgreSQL beside graphile-worker 0.17, with up to 100,000 pending and up to 1,000 locks that have work.',
  cases,
};
