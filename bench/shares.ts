// Shares: two workqueues of one priority, and the keys of a pipeline, that take turns.

import PQueue from 'p-queue';
import { Kcont, Kernel, PRI_PRILOW, type Workqueue } from '../lib/index.ts';
import { pipeline, type KeyByOptions } from '../lib/pipeline/index.ts';
import { costs, sized, type Bench, type Case, type Effort } from './harness/bench.ts';
import { bareCalls } from './harness/floors.ts';
import { expectSame, expectTrue, timed, type Work } from './harness/timed.ts';

const FIRST_COME = 'kcont, first come first served';
const ROUND_ROBIN = 'p-queue, one for each key, round robin';
const MANY = 1000;

/** Jobs of two workqueues, in bursts, in turn. */
function jobs(count: number, acquire: (kernel: Kernel) => [Workqueue, Workqueue]): () => Work {
  return () => {
    const queues = acquire(new Kernel());
    let finish = (): void => undefined;
    let left = 0;
    let entered = 0;
    const enter = (): void => {
      entered++;
      if (--left === 0) finish();
    };
    const kcs = Array.from(
      { length: count },
      (_, i) => new Kcont(queues[i % 2] as Workqueue, null, enter, null),
    );
    return {
      batch: count,
      async run(ops) {
        entered = 0;
        for (let done = 0; done < ops; done += count) {
          left = count;
          const finished = new Promise<void>((resolve) => (finish = resolve));
          for (const kc of kcs) kc.schedule();
          await finished;
        }
      },
      check: (ops) => expectSame('functions called', entered, ops),
    };
  };
}

function workqueues(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: 'two workqueues, shares 3 : 1: run soon, entered; bursts of 1 k',
    metrics: costs('ns', { against: FIRST_COME, atLeast: 0.1 }),
    sides: () => [
      timed(
        'kcont',
        'kcont',
        jobs(count, (kernel) => [
          kernel.acquire(PRI_PRILOW, { name: 'a', shares: 3 }),
          kernel.acquire(PRI_PRILOW, { name: 'b', shares: 1 }),
        ]),
      ),
      timed(
        'peer',
        FIRST_COME,
        jobs(count, (kernel) => [
          kernel.acquire(PRI_PRILOW, { name: 'a' }),
          kernel.acquire(PRI_PRILOW, { name: 'b' }),
        ]),
      ),
      bareCalls(count),
    ],
  };
}

/** Adds an item for each of these keys, and says when one is added and done. Fulfilled when all are done. */
type Adder = (
  keys: readonly number[],
  done: (key: number) => void,
  added?: (key: number) => void,
) => Promise<void>;

function throughPipeline(options: KeyByOptions<number>, limit: number): Adder {
  const line = pipeline<number>('bench')
    .keyBy((key) => key, options)
    .stage('work', async (key) => key, { limit })
    .start({ kernel: new Kernel() });
  return async (keys, done, added) => {
    for (const key of keys) {
      added?.(key);
      line.push(key, () => done(key));
    }
    await line.drain();
  };
}

/** A queue for each key, whose first task waits in a common one: so keys take turns there. */
function throughQueues(limit: number): Adder {
  const common = new PQueue({ concurrency: limit });
  return async (keys, done, added) => {
    const queues = new Map<number, PQueue>();
    const all = keys.map((key) => {
      added?.(key);
      let queue = queues.get(key);
      if (queue === undefined) queues.set(key, (queue = new PQueue({ concurrency: 1 })));
      return queue.add(() => common.add(async () => done(key)));
    });
    await Promise.all(all);
  };
}

const ADDERS = [
  { role: 'kcont', name: 'kcont', make: (limit: number) => throughPipeline({ fair: true }, limit) },
  { role: 'peer', name: FIRST_COME, make: (limit: number) => throughPipeline({}, limit) },
  { role: 'peer', name: ROUND_ROBIN, make: throughQueues },
] as const;

/** Items of a hundred keys. */
function throughput(effort: Effort): Case {
  const count = sized(effort, 10_000);
  const keys = Array.from({ length: count }, (_, i) => i % 100);
  return {
    name: 'keys of a pipeline, fair: 10 k items of 100 keys',
    metrics: costs(
      'ns',
      { against: FIRST_COME, atLeast: 0.7 },
      { against: ROUND_ROBIN, atLeast: 0.5 },
    ),
    sides: () =>
      ADDERS.map(({ role, name, make }) => {
        const add = make(16);
        let done = 0;
        return timed(role, name, {
          batch: count,
          async run(ops) {
            done = 0;
            for (let i = 0; i < ops; i += count) await add(keys, () => done++);
          },
          check: (ops) => expectSame('items done', done, ops),
        });
      }),
  };
}

/** One item behind the flood of another key: when it is done. */
function behindFlood(effort: Effort): Case {
  const count = sized(effort, 10_000);
  const keys = [...Array.from({ length: count }, () => 0), 1];
  return {
    name: 'one item behind 10 k of another key: from its call until it is done',
    metrics: costs('µs', { against: FIRST_COME, atLeast: 10 }),
    sides: () =>
      ADDERS.map(({ role, name, make }) => {
        const add = make(1);
        const once = async (): Promise<number> => {
          let calledMs = 0;
          let doneMs = 0;
          let before = 0;
          await add(
            keys,
            (key) => {
              if (key === 1) doneMs = performance.now();
              else if (doneMs === 0) before++;
            },
            (key) => {
              if (key === 1) calledMs = performance.now();
            },
          );
          expectTrue('the item was done', doneMs > 0);
          if (role === 'kcont') expectTrue('it waited for one round', before < 3);
          return (doneMs - calledMs) * 1000;
        };
        return {
          role,
          name,
          async warm() {
            for (let i = 0; i < 5; i++) await once();
          },
          async sample() {
            return [await once()];
          },
        };
      }),
  };
}

export const bench: Bench = {
  name: 'shares',
  about:
    'What turns cost. Two workqueues of one priority with shares, beside two without: with shares, the clock is read ' +
    'before and after each function. The keys of a pipeline with `fair`, beside the same pipeline without, and a ' +
    'p-queue for each key whose tasks go through a common one. And when one item is done that comes behind many of ' +
    'another key.',
  cases: (effort) => [workqueues(effort), throughput(effort), behindFlood(effort)],
};
