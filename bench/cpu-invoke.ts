// Functions on another thread, many of them in flight: how long one takes, end to end.

import { Kcont } from '../lib/index.ts';
import { sized, type Bench, type Case, type Effort, type Metric } from './harness/bench.ts';
import { expectSame, timedOnThreads } from './harness/timed.ts';
import {
  BareThread,
  ONE_THREAD,
  PISCINA,
  PISCINA_MANY,
  TINYPOOL,
  WORKERPOOL,
  inBursts,
  inWindow,
  startOneCpu,
  startPools,
  sumBelow,
} from './threads/pools.ts';
import type * as work from './threads/work.ts';

const MANY = 10_000;
const RUNS = 1000;
const POOLS = [PISCINA, PISCINA_MANY, TINYPOOL, WORKERPOOL];

const INVOCATIONS: readonly Metric[] = [
  { name: '', unit: 'ns', goals: [{ against: PISCINA, atLeast: 30 }] },
  { name: 'CPU time of all threads', unit: 'ns', goals: [] },
];

const RESULTS: readonly Metric[] = [
  { name: '', unit: 'ns', goals: [] },
  { name: 'CPU time of all threads', unit: 'ns', goals: [] },
];

/** Messages to a bare thread, and back. */
function bare(count: number) {
  const thread = new BareThread();
  let sum = 0;
  return timedOnThreads('floor', 'a message there and back', {
    batch: count,
    async run(ops) {
      sum = 0;
      for (let done = 0; done < ops; done += count) sum += await thread.echoAll(count);
    },
    check: (ops) => expectSame('the sum of the answers', sum, (ops / count) * sumBelow(count)),
  });
}

/** Handles made once, each with a number; all scheduled there, until all have been entered. */
function continuations(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: 'schedule there until entered there, bursts of 10 k',
    metrics: INVOCATIONS,
    async sides() {
      const { cpu, percpu, funcs } = await startOneCpu<typeof work>();
      const kcs = Array.from({ length: count }, (_, i) => new Kcont(percpu, null, funcs.enter, i));
      let entered = 0;
      let sum = 0;
      return [
        timedOnThreads('kcont', 'kcont', {
          batch: count,
          async run(ops) {
            entered = 0;
            sum = 0;
            for (let done = 0; done < ops; done += count) {
              for (const kc of kcs) kc.schedule(0, cpu);
              // Of the same priority, so behind all of them.
              const found = await percpu.run(funcs.taken, { cpu });
              entered += found.entered;
              sum += found.sum;
            }
          },
          check(ops) {
            expectSame('entered there', entered, ops);
            expectSame('the sum of what was passed', sum, (ops / count) * sumBelow(count));
          },
        }),
        ...(await startPools('work', ...POOLS)).map(({ name, run }) =>
          inBursts('peer', name, count, (value) => run('echo', value)),
        ),
        bare(count),
      ];
    },
  };
}

/** How runs come: all at once and again when all have ended, or each when another has ended. */
const ARRIVALS = [
  { shape: 'in bursts of 1 k', side: inBursts },
  { shape: 'in a rolling window of 1 k', side: inWindow },
] as const;
type Arrival = (typeof ARRIVALS)[number];

function results(
  effort: Effort,
  func: 'echo' | 'echoLater',
  kind: string,
  { shape, side }: Arrival,
): Case {
  const count = sized(effort, RUNS);
  return {
    name: `run ${kind} function there, with its result, ${shape}`,
    metrics: RESULTS,
    async sides() {
      const { cpu, percpu, funcs } = await startOneCpu<typeof work>();
      const { [func]: called } = funcs;
      return [
        side('kcont', 'kcont', count, (arg) => percpu.run<number, number>(called, { arg, cpu })),
        ...(await startPools('work', ...POOLS)).map(({ name, run }) =>
          side('peer', name, count, (value) => run(func, value)),
        ),
        bare(count),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-invoke',
  about: `A function runs on another thread, many in flight: the time for each. ${ONE_THREAD}`,
  cases: (effort) => [
    continuations(effort),
    ...ARRIVALS.flatMap((arrival) => [
      results(effort, 'echo', 'a sync', arrival),
      results(effort, 'echoLater', 'an async', arrival),
    ]),
  ],
};
