// Functions on another thread with a result, one after the other.

import type { Bench, Case, Metric, Side } from './harness/bench.ts';
import { expectSame, timedOnThreads } from './harness/timed.ts';
import {
  BareThread,
  ONE_THREAD,
  PISCINA,
  TINYPOOL,
  WORKERPOOL,
  startOneCpu,
  startPools,
} from './threads/pools.ts';
import type * as work from './threads/work.ts';

const METRICS: readonly Metric[] = [
  { name: '', unit: 'µs', goals: [{ against: PISCINA, atMost: 0.7 }], asPart: true },
  { name: 'CPU time of all threads', unit: 'µs', goals: [], asPart: true },
];

/** A side that calls there and back, and gets what it has sent. */
function backAndForth<T>(
  role: Side['role'],
  name: string,
  call: (value: T) => Promise<unknown>,
  { make, read }: Shape<T>,
): Side {
  let sum = 0;
  const side = timedOnThreads(role, name, {
    async run(ops) {
      sum = 0;
      for (let i = 0; i < ops; i++) sum += read((await call(make(i))) as T);
    },
    check: (ops) => expectSame('the sum of the results', sum, (ops * (ops - 1)) / 2),
  });
  return { ...side, sample: async () => (await side.sample()).map((ns) => ns / 1000) };
}

interface Shape<T> {
  readonly make: (value: number) => T;
  readonly read: (sent: T) => number;
}

function trips<T>(name: string, shape: Shape<T>): Case {
  return {
    name,
    metrics: METRICS,
    async sides() {
      const { cpu, percpu, funcs } = await startOneCpu<typeof work>();
      const thread = new BareThread();
      return [
        backAndForth('kcont', 'kcont', (arg: T) => percpu.run(funcs.echo, { arg, cpu }), shape),
        ...(await startPools('work', PISCINA, TINYPOOL, WORKERPOOL)).map((pool) =>
          backAndForth('peer', pool.name, (value: T) => pool.run('echo', value), shape),
        ),
        backAndForth('floor', 'a message there and back', (value: T) => thread.echo(value), shape),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-round-trip',
  about: `A function runs on another thread and its result comes back, one at a time. ${ONE_THREAD}`,
  cases: () => [
    trips<number>('a number there and back', { make: (value) => value, read: (value) => value }),
    trips<{ id: number; path: string; tags: readonly string[] }>('a small object there and back', {
      make: (id) => ({ id, path: '/img/large.jpg', tags: ['a', 'b', 'c'] }),
      read: ({ id }) => id,
    }),
  ],
};
