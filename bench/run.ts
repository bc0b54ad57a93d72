// One-shot functions with a result: Workqueue.run.

import { setMaxListeners } from 'node:events';
import pLimit from 'p-limit';
import PQueue from 'p-queue';
import { Kernel } from '../lib/index.ts';
import {
  costs,
  sized,
  type Bench,
  type Case,
  type Effort,
  type Role,
  type Side,
} from './harness/bench.ts';
import { awaited, soon } from './harness/floors.ts';
import { bursts, expectSame, timed } from './harness/timed.ts';

const MANY = 1000;

type RunOnce = (func: () => number | Promise<number>) => Promise<number | void>;

function runners(): readonly { role: 'kcont' | 'peer'; name: string; run: RunOnce }[] {
  const { prihigh } = new Kernel().wq;
  const queue = new PQueue();
  const limit = pLimit(MANY);
  return [
    { role: 'kcont', name: 'kcont', run: (func) => prihigh.run<number>(func) },
    { role: 'peer', name: 'p-queue', run: (func) => queue.add(func as () => Promise<number>) },
    { role: 'peer', name: 'p-limit', run: (func) => limit(func) },
  ];
}

/** A thousand at a time, and all of their results. */
function atOnce(
  effort: Effort,
  kind: string,
  make: (value: number) => () => number | Promise<number>,
): Case {
  const count = sized(effort, MANY);
  const funcs = Array.from({ length: count }, (_, value) => make(value));
  const expected = (count * (count - 1)) / 2;
  return {
    name: `${kind} functions, 1 k at a time`,
    metrics: costs('ns', { against: 'p-queue', atLeast: 3 }, { against: 'p-limit', atLeast: 3 }),
    sides: () => [
      ...runners().map(({ role, name, run }) =>
        timed(
          role,
          name,
          bursts(count, (i) => run(funcs[i] as () => number), expected),
        ),
      ),
      awaited(),
    ],
  };
}

/** A thousand at a time that one signal may abort: that of a shutdown. */
function withSignal(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: 'with one signal, 1 k at a time',
    metrics: costs('ns'),
    sides: () => {
      const { prihigh } = new Kernel().wq;
      const queue = new PQueue();
      const { signal } = new AbortController();
      setMaxListeners(0, signal);
      const options = { signal };
      const one = (): number => 1;
      const side = (role: Role, name: string, run: () => Promise<number>): Side =>
        timed(role, name, bursts(count, run, count));
      return [
        side('kcont', 'kcont', () => prihigh.run(one, options)),
        side('peer', 'p-queue', () => queue.add(async () => 1, options)),
        side('floor', 'kcont without a signal', () => prihigh.run(one)),
      ];
    },
  };
}

/** One after the other: kcont waits for the loop to turn, the others for microtasks. */
function sequential(): Case {
  return {
    name: 'sync functions, one after the other',
    metrics: costs('ns'),
    sides: () => [
      ...runners().map(({ role, name, run }): Side => {
        let sum = 0;
        const one = (): number => 1;
        return timed(role, name, {
          async run(ops) {
            sum = 0;
            for (let i = 0; i < ops; i++) sum += (await run(one)) ?? NaN;
          },
          check: (ops) => expectSame('the sum of the results', sum, ops),
        });
      }),
      timed('floor', 'a turn of the loop', {
        async run(ops) {
          for (let i = 0; i < ops; i++) await new Promise((resolve) => void setImmediate(resolve));
        },
      }),
    ],
  };
}

export const bench: Bench = {
  name: 'run',
  about: 'Workqueue.run: a function runs once and its result comes back. The time for each.',
  cases: (effort) => [
    atOnce(effort, 'sync', (value) => () => value),
    atOnce(effort, 'async', (value) => async () => {
      await soon;
      return value;
    }),
    withSignal(effort),
    sequential(),
  ],
};
