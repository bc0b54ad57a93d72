// Functions on another thread with a result, one after the other.

import {
  sized,
  type Bench,
  type Case,
  type Effort,
  type Metric,
  type Side,
} from './harness/bench.ts';
import { expectSame, timedOnThreads } from './harness/timed.ts';
import {
  BareThread,
  ONE_THREAD,
  PISCINA,
  TINYPOOL,
  WORKERPOOL,
  ifItRuns,
  startOneCpu,
  startPiscina,
  startPools,
} from './threads/pools.ts';
import type * as moveWork from './threads/move-work.ts';
import type * as work from './threads/work.ts';

/** At most so much of what piscina costs. */
function metrics(atMost: number): readonly Metric[] {
  return [
    { name: '', unit: 'µs', goals: [{ against: PISCINA, atMost }], asPart: true },
    { name: 'CPU time of all threads', unit: 'µs', goals: [], asPart: true },
  ];
}
/** What is copied by a few words of shared memory, and what has to be sent as a message. */
const SHARED = 0.7;
const SENT = 1;

const MOVED_BYTES = 20e6;

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

function trips<T>(name: string, atMost: number, shape: Shape<T>): Case {
  return {
    name,
    metrics: metrics(atMost),
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

/** Moves these bytes there and back. */
type Move = (bytes: Uint8Array<ArrayBuffer>, moved: ArrayBuffer) => Promise<unknown>;

/** A side that gives a buffer away and gets it back, each time with another first byte. */
function moving(role: Side['role'], name: string, size: number, move: Move): Side {
  let bytes = new Uint8Array(size);
  const side = timedOnThreads(role, name, {
    async run(ops) {
      for (let i = 0; i < ops; i++) {
        const sent = bytes;
        sent[0] = i & 0xff;
        bytes = (await move(sent, sent.buffer)) as Uint8Array<ArrayBuffer>;
        expectSame('bytes left here', sent.byteLength, 0);
      }
    },
    check(ops) {
      expectSame('bytes back', bytes.byteLength, size);
      expectSame('the first byte', bytes[0] ?? -1, (ops - 1) & 0xff);
    },
  });
  return { ...side, sample: async () => (await side.sample()).map((ns) => ns / 1000) };
}

function moves(effort: Effort): Case {
  const bytes = sized(effort, MOVED_BYTES);
  return {
    name: '20 MB moved there and back',
    metrics: metrics(SENT),
    async sides() {
      const { cpu, percpu, funcs } = await startOneCpu<typeof moveWork>('move-work');
      const pools = await ifItRuns(PISCINA, () => startPiscina('piscina-move-worker'));
      return [
        moving('kcont', 'kcont', bytes, (arg, moved) =>
          percpu.run(funcs.moveBack, { arg, cpu, transfer: [moved] }),
        ),
        ...pools.map(({ name, run }) =>
          moving('peer', name, bytes, (arg, moved) => run('moveBack', arg, { transfer: [moved] })),
        ),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-round-trip',
  about: `A function runs on another thread and its result comes back, one at a time. ${ONE_THREAD}`,
  cases: (effort) => [
    trips<number>('a number there and back', SHARED, {
      make: (value) => value,
      read: (value) => value,
    }),
    trips<{ id: number; path: string; tags: readonly string[] }>(
      'a small object there and back',
      SHARED,
      {
        make: (id) => ({ id, path: '/img/large.jpg', tags: ['a', 'b', 'c'] }),
        read: ({ id }) => id,
      },
    ),
    trips<Map<string, number>>('a Map there and back', SENT, {
      make: (id) => new Map([['id', id]]),
      read: (map) => map.get('id') ?? NaN,
    }),
    trips<Date>('a Date there and back', SENT, {
      make: (ms) => new Date(ms),
      read: (date) => date.getTime(),
    }),
    moves(effort),
  ],
};
