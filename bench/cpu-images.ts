// Work that is worth a thread: pictures are made small. And what is urgent meanwhile.
//
// The codec is jimp: all of it is JavaScript, so the work is done on the thread that is asked for it,
// whoever asks. sharp would do it in libuv's threads, whichever pool had called it, and needs a binary
// for the platform.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Case, Effort, Role, Side } from './harness/bench.ts';
import { quantile } from './harness/stats.ts';
import { expectSame, expectTrue, timedOnThreads } from './harness/timed.ts';
import type * as images from './threads/image-work.ts';
import type { PiscinaQueue } from './threads/peer.ts';
import {
  ONE_THREAD,
  PISCINA,
  TINYPOOL,
  WORKERPOOL,
  ifItRuns,
  startOneCpu,
  startPiscina,
  startPools,
} from './threads/pools.ts';

/** The picture, and what becomes of it. */
interface Load {
  readonly image: Uint8Array<ArrayBuffer>;
  readonly width: number;
  /** What the codec makes of it on this thread. */
  readonly expected: Uint8Array;
}

/** Loaded by those who run it, not by those who ask what benches there are. */
function codec(): Promise<typeof images> {
  return import('./threads/image-work.ts');
}

async function load(width: number, height: number, small: number): Promise<Load> {
  const { draw, thumbnail } = await codec();
  const image = await draw(width, height);
  return { image, width: small, expected: await thumbnail({ image, width: small }) };
}

function check(found: Uint8Array, { expected }: Load): void {
  expectTrue('the thumbnail is the expected one', Buffer.compare(found, expected) === 0);
}

/** How a side makes one thumbnail. The picture is its own copy, which it may give away. */
type Resize = (order: images.Order & { image: Uint8Array<ArrayBuffer> }) => Promise<unknown>;

const AT_ONCE = 4;

/** So many thumbnails, as many of them asked for at once. */
function resizing(role: Role, name: string, from: Load, quick: boolean, resize: Resize): Side {
  const count = quick ? 2 : AT_ONCE;
  let results: unknown[] = [];
  const side = timedOnThreads(role, name, {
    batch: count,
    async run(ops) {
      results = [];
      for (let done = 0; done < ops; done += count) {
        const orders = Array.from({ length: count }, () => ({
          image: from.image.slice(),
          width: from.width,
        }));
        results.push(...(await Promise.all(orders.map(resize))));
      }
    },
    check(ops) {
      expectSame('thumbnails', results.length, ops);
      for (const result of results) check(result as Uint8Array, from);
    },
  });
  return { ...side, sample: async () => (await side.sample()).map((ns) => ns / 1e6) };
}

function thumbnails({ quick }: Effort): Case {
  return {
    name: 'a JPEG of 320 x 240 to 80 x 60, four asked for at once',
    rounds: 9,
    metrics: [
      { name: '', unit: 'ms', goals: [{ against: PISCINA, atMost: 1.05 }], asPart: true },
      {
        name: 'CPU time of all threads',
        unit: 'ms',
        goals: [{ against: PISCINA, atMost: 1.05 }],
        asPart: true,
      },
    ],
    async sides() {
      const { thumbnail } = await codec();
      const from = await (quick ? load(64, 48, 16) : load(320, 240, 80));
      const { kernel, cpu, funcs } = await startOneCpu<typeof images>('image-work');
      // One at a time, as the pools do it: what is decoded takes room.
      const wq = kernel.acquire(kernel.wq.prilow.priority, { perCpu: true, maxActive: 1 });
      const resize = (role: Role, name: string, call: Resize): Side =>
        resizing(role, name, from, quick, call);
      return [
        resize('kcont', 'kcont', (arg) =>
          wq.run(funcs.thumbnail, { arg, cpu, transfer: [arg.image.buffer] }),
        ),
        ...(await startPools('image-work', PISCINA, TINYPOOL, WORKERPOOL)).map(({ name, run }) =>
          resize('peer', name, (arg) => run('thumbnail', arg, { transfer: [arg.image.buffer] })),
        ),
        resize('floor', 'on the calling thread itself', thumbnail),
      ];
    },
  };
}

const URGENT_EVERY_MS = 15;
const CROWD = 20;
const ITEMS = 60;
const PISCINA_QUEUE = 'piscina with a taskQueue by priority';

/** The `queueOptionsSymbol` of piscina: a property of a task that its queue can see. */
const QUEUE_OPTIONS: unique symbol = Symbol.for('Piscina.queueOptions');

/** Two arrays, the urgent ones first: what one gives piscina, which has no priorities itself. */
class TwoLevels implements PiscinaQueue {
  readonly #urgent: object[] = [];
  readonly #others: object[] = [];

  get size(): number {
    return this.#urgent.length + this.#others.length;
  }

  #levelOf(task: object): object[] {
    const { [QUEUE_OPTIONS]: options } = task as { readonly [QUEUE_OPTIONS]: object | null };
    return options === null ? this.#others : this.#urgent;
  }

  push(task: object): void {
    this.#levelOf(task).push(task);
  }

  shift(): object | null {
    return this.#urgent.shift() ?? this.#others.shift() ?? null;
  }

  remove(task: object): void {
    const level = this.#levelOf(task);
    const at = level.indexOf(task);
    if (at !== -1) level.splice(at, 1);
  }
}

/** What is urgent, with what piscina's queue sees of it and no thread gets. */
interface Urgent {
  readonly value: number;
  readonly [QUEUE_OPTIONS]: object;
}

/** What a side is asked for while it is flooded. */
interface Flooded {
  resize(order: images.Order): Promise<unknown>;
  urgent(item: Urgent): Promise<unknown>;
}

/** How long urgent items take while there is always a crowd of thumbnails to be made. */
function flooded(role: Role, name: string, from: Load, quick: boolean, side: Flooded): Side {
  const crowd = quick ? 3 : CROWD;
  const items = quick ? 3 : ITEMS;

  async function sample(): Promise<readonly number[]> {
    const flood = { over: false, made: 0 };
    const keepUp = async (): Promise<void> => {
      while (!flood.over) {
        check((await side.resize({ image: from.image, width: from.width })) as Uint8Array, from);
        flood.made++;
      }
    };
    const crowds = Array.from({ length: crowd }, keepUp);
    const waits: number[] = [];
    const urgents: Promise<void>[] = [];
    const one = async (value: number): Promise<void> => {
      const begin = performance.now();
      const back = (await side.urgent({ value, [QUEUE_OPTIONS]: {} })) as Urgent;
      expectSame('what came back', back.value, value);
      waits.push(performance.now() - begin);
    };
    for (let value = 0; value < items; value++) {
      await sleep(quick ? 1 : URGENT_EVERY_MS);
      urgents.push(one(value));
    }
    await Promise.all(urgents);
    flood.over = true;
    await Promise.all(crowds);
    expectSame('urgent items', waits.length, items);
    expectTrue('the flood went on', flood.made >= crowd);
    return [quantile(waits, 0.5), quantile(waits, 0.99)];
  }

  return { role, name, warm: async () => void (await sample()), sample };
}

function urgent({ quick }: Effort): Case {
  return {
    name: 'an urgent item, with 20 thumbnails of low priority always asked for',
    rounds: 3,
    metrics: [
      { name: 'median', unit: 'ms', goals: [], asPart: true },
      { name: 'p99', unit: 'ms', goals: [{ against: PISCINA, atMost: 0.2 }], asPart: true },
    ],
    async sides() {
      const from = await (quick ? load(32, 24, 8) : load(160, 120, 40));
      const { kernel, cpu, percpu, funcs } = await startOneCpu<typeof images>('image-work');
      const low = kernel.acquire(kernel.wq.prilow.priority, { perCpu: true, maxActive: 1 });
      // Flooded with what takes a millisecond, piscina keeps an urgent item for minutes, once in some ten
      // hurried runs: it is measured at full length only.
      const fifo = quick ? [] : await ifItRuns(PISCINA, () => startPiscina('image-work'));
      const queued = quick
        ? []
        : await ifItRuns(PISCINA_QUEUE, () =>
            startPiscina('image-work', PISCINA_QUEUE, { taskQueue: new TwoLevels() }),
          );
      return [
        flooded('kcont', 'kcont', from, quick, {
          resize: (arg) => low.run(funcs.thumbnail, { arg, cpu }),
          urgent: (arg) => percpu.run(funcs.echo<Urgent>, { arg, cpu }),
        }),
        ...[...fifo, ...queued].map(({ name, run }) =>
          flooded('peer', name, from, quick, {
            resize: (order) => run('thumbnail', order),
            urgent: (item) => run('echo', item),
          }),
        ),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-images',
  about: `Pictures are made small on another thread by jimp, a codec in JavaScript. ${ONE_THREAD}`,
  cases: (effort) => [thumbnails(effort), urgent(effort)],
};
