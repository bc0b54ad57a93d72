// How late timers are while the loop is otherwise idle: the time from the true deadline, by the exact clock, until
// the function is entered. Beside it, Node's timers, which may be early, and what the host allows.

import { Kcont } from '../lib/index.ts';
import { type Bench, type Case, type Effort, type Metric, type Side } from './harness/bench.ts';
import { ownQueue } from './harness/pending.ts';
import { Random } from './harness/random.ts';
import { besideLimits } from './harness/runner.ts';
import { quantile } from './harness/stats.ts';
import { expectTrue } from './harness/timed.ts';

const US_PER_MS = 1000;
const CHAIN_DELAYS_MS = [1, 5, 20] as const;
/** How long a chain lasts, at least in so many links. */
const CHAIN_MS = 1000;
const LEAST_LINKS = 100;
const RANDOM_COUNT = 2000;
const RANDOM_SPREAD_MS = 3000;
/** The first of many timers is due when all have been armed. */
const HEAD_START_MS = 20;

/** Calls a function after a delay. */
type Arm = (func: () => void, delayMs: number) => void;

function armKconts(): Arm {
  const wq = ownQueue();
  return (func, delayMs) => void new Kcont(wq, null, func, null).schedule(delayMs);
}

/**
 * What the host allows: it sleeps for whole ms, and oversleeps. Timers of Node that are armed again for the rest
 * when they are early, first for the ms that may end before the deadline.
 */
function armFloor(): Arm {
  return (func, delayMs) => {
    const deadline = performance.now() + delayMs;
    const look = (): void => {
      const left = deadline - performance.now();
      if (left <= 0) func();
      else setTimeout(look, Math.max(1, Math.ceil(left - 0.1)));
    };
    look();
  };
}

const KINDS: readonly (readonly [Side['role'], string, () => Arm])[] = [
  ['kcont', 'kcont', armKconts],
  ['peer', 'setTimeout', () => (func, delayMs) => void setTimeout(func, delayMs)],
  ['floor', 'setTimeout, armed again while early', armFloor],
];

/** One after the other, each armed by the one before. */
function chain(arm: Arm, delayMs: number, links: number): Promise<number[]> {
  return new Promise((resolve) => {
    const late: number[] = [];
    const next = (): void => {
      const deadline = performance.now() + delayMs;
      arm(() => {
        late.push(performance.now() - deadline);
        if (late.length === links) resolve(late);
        else next();
      }, delayMs);
    };
    next();
  });
}

/** All armed at once, each with a delay of its own that is not a whole number of ms. */
function atRandom(arm: Arm, count: number, spreadMs: number): Promise<number[]> {
  return new Promise((resolve) => {
    const random = new Random();
    const late: number[] = [];
    for (let i = 0; i < count; i++) {
      const delayMs = HEAD_START_MS + random.below(spreadMs * US_PER_MS) / US_PER_MS;
      const deadline = performance.now() + delayMs;
      arm(() => {
        late.push(performance.now() - deadline);
        if (late.length === count) resolve(late);
      }, delayMs);
    }
  });
}

const METRICS: readonly Metric[] = [
  { name: 'p50', unit: 'µs', goals: [] },
  { name: 'p90', unit: 'µs', goals: [] },
  { name: 'the earliest', unit: 'µs', goals: [] },
  { name: 'CPU for a timer', unit: 'µs', goals: [] },
];

function caseOf(
  name: string,
  limits: Readonly<Record<string, number>>,
  measure: (arm: Arm) => Promise<number[]>,
): Case {
  const compare = besideLimits(limits);
  return {
    name,
    rounds: 5,
    metrics: METRICS,
    // Ratios of times that may be negative say nothing.
    compare: (metric, figures) => compare(metric, figures).filter(({ goal }) => goal !== ''),
    sides: () =>
      KINDS.map(([role, side, kind]) => {
        const arm = kind();
        return {
          role,
          name: side,
          async sample() {
            const cpu = process.cpuUsage();
            const late = await measure(arm);
            const { user, system } = process.cpuUsage(cpu);
            const earliest = Math.min(...late);
            if (role === 'kcont') expectTrue('no timer is early', earliest >= 0);
            const lateUs = [quantile(late, 0.5), quantile(late, 0.9), earliest].map(
              (ms) => ms * US_PER_MS,
            );
            return [...lateUs, (user + system) / late.length];
          },
        };
      }),
  };
}

function chains({ quick }: Effort): Case[] {
  return CHAIN_DELAYS_MS.map((delayMs) => {
    const links = quick ? 5 : Math.max(LEAST_LINKS, CHAIN_MS / delayMs);
    return caseOf(`a chain of ${delayMs} ms`, { p50: 400, p90: 600 }, (arm) =>
      chain(arm, delayMs, links),
    );
  });
}

function scattered({ quick }: Effort): Case {
  const part = quick ? 100 : 1;
  return caseOf('2,000 at random times within 3 s', { p50: 600 }, (arm) =>
    atRandom(arm, RANDOM_COUNT / part, RANDOM_SPREAD_MS / part),
  );
}

export const bench: Bench = {
  name: 'lateness',
  about: 'How long after its deadline a timer is called, on a loop that is otherwise idle.',
  cases: (effort) => [...chains(effort), scattered(effort)],
};
