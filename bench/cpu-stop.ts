// Taking back what is to run on another thread.

import { BLOCK_UNITS } from '../lib/cpu/memory/control-block.ts';
import { UNIT } from '../lib/cpu/memory/shared-memory.ts';
import { Kcont } from '../lib/index.ts';
import { sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { besideLimits } from './harness/runner.ts';
import { expectSame, expectTrue, sink } from './harness/timed.ts';
import { bursts } from './threads/bursts.ts';
import {
  ONE_THREAD,
  PISCINA,
  TINYPOOL,
  startOneCpu,
  startPools,
  type OneCpu,
  type Pool,
} from './threads/pools.ts';
import type * as work from './threads/work.ts';

const MANY = 1000;
const FAR_MS = 60_000;
/** Words of a control block. */
const BLOCK = BLOCK_UNITS * UNIT;

/** Holds the other thread, or tells that it is held. */
class Gate {
  readonly words = new Int32Array(new SharedArrayBuffer(8));

  shut(): void {
    this.words.fill(0);
  }

  /** Until the other thread is there. */
  await(): void {
    Atomics.wait(this.words, 1, 0);
  }

  open(): void {
    Atomics.store(this.words, 0, 1);
    Atomics.notify(this.words, 0);
  }
}

/** One compareExchange for each of as many blocks. */
function compareExchanges(count: number): Side {
  const words = new Int32Array(new SharedArrayBuffer(count * BLOCK * 4));
  let word = 0;
  return bursts('floor', 'one Atomics.compareExchange', {
    count,
    run() {
      let changed = 0;
      for (let i = 0; i < count; i++) {
        if (Atomics.compareExchange(words, i * BLOCK, word, word + 1) === word) changed++;
      }
      word++;
      expectSame('words changed', changed, count);
    },
  });
}

/** Handles, and how they come to wait there. */
function kcont({ cpu, percpu, funcs }: OneCpu<typeof work>, count: number, delayMs: number): Side {
  const gate = new Gate();
  const kcs = Array.from({ length: count }, (_, i) => new Kcont(percpu, null, funcs.enter, i));
  const held = delayMs === 0;
  let parked: Promise<unknown> = Promise.resolve();
  return bursts('kcont', 'kcont: stop()', {
    count,
    begin() {
      if (!held) return;
      gate.shut();
      parked = percpu.run(funcs.park, { arg: gate.words, cpu });
      gate.await();
    },
    async prepare() {
      for (const kc of kcs) kc.schedule(delayMs, cpu);
      // Behind them in the inbox: they have been filed.
      if (!held) await percpu.run(funcs.echo, { arg: 0, cpu });
    },
    run() {
      let entered = 0;
      for (const kc of kcs) if (kc.stop()) entered++;
      expectSame('entered before they were stopped', entered, 0);
    },
    finish: () => expectTrue('none is busy', !kcs.some(({ busy }) => busy)),
    async end() {
      gate.open();
      await parked;
      const { entered } = await percpu.run(funcs.taken, { cpu });
      expectSame('entered after they were stopped', entered, 0);
    },
  });
}

/** Tasks behind one that holds the thread, each with a signal. */
function aborted(pool: Pool, count: number): Side {
  const gate = new Gate();
  let parked: Promise<unknown> = Promise.resolve();
  let controllers: AbortController[] = [];
  let tasks: Promise<unknown>[] = [];
  let rejected = 0;
  return bursts('peer', `${pool.name}: abort()`, {
    count,
    begin() {
      gate.shut();
      parked = pool.run('park', gate.words);
      gate.await();
    },
    prepare() {
      rejected = 0;
      controllers = Array.from({ length: count }, () => new AbortController());
      tasks = controllers.map(async ({ signal }, i) => {
        await pool.run('enter', i, { signal }).catch(() => rejected++);
      });
    },
    run() {
      for (const controller of controllers) controller.abort();
    },
    async finish() {
      await Promise.all(tasks);
      expectSame('tasks rejected', rejected, count);
    },
    async end() {
      gate.open();
      await parked;
      const { entered } = (await pool.run('taken', null)) as ReturnType<typeof work.taken>;
      expectSame('entered after they were aborted', entered, 0);
    },
  });
}

const STOPS: Pick<Case, 'metrics' | 'compare'> = {
  metrics: [{ name: '', unit: 'ns', goals: [] }],
  compare: besideLimits({ '': 500 }),
};

function queued(effort: Effort): Case {
  const count = sized(effort, MANY, 100);
  return {
    ...STOPS,
    name: 'queued on a thread that is blocked',
    sides: async () => [
      kcont(await startOneCpu<typeof work>(), count, 0),
      ...(await startPools('work', PISCINA, TINYPOOL)).map((pool) => aborted(pool, count)),
      compareExchanges(count),
    ],
  };
}

function pending(effort: Effort): Case {
  const count = sized(effort, MANY, 100);
  return {
    ...STOPS,
    name: "pending on another thread's wheel",
    sides: async () => [
      kcont(await startOneCpu<typeof work>(), count, FAR_MS),
      compareExchanges(count),
    ],
  };
}

/** One run at a time: entered there; aborted; over; and the next one has run. */
function inFlight(
  role: Side['role'],
  name: string,
  run: (gate: Int32Array, signal: AbortSignal) => Promise<unknown>,
  next: () => Promise<unknown>,
  times: number,
): Side {
  const gate = new Gate();
  async function once(): Promise<number> {
    gate.shut();
    const controller = new AbortController();
    const over = run(gate.words, controller.signal).catch(sink);
    gate.await();
    const begin = performance.now();
    controller.abort();
    await over;
    expectSame('what the next one returns', (await next()) as number, 42);
    return performance.now() - begin;
  }
  return {
    role,
    name,
    async warm() {
      await once();
    },
    async sample() {
      let ms = 0;
      for (let i = 0; i < times; i++) ms += await once();
      return [ms / times];
    },
  };
}

function running({ quick }: Effort): Case {
  return {
    name: 'running: abort until the thread has run the next one',
    metrics: [{ name: '', unit: 'ms', goals: [] }],
    async sides() {
      const { cpu, percpu, funcs } = await startOneCpu<typeof work>();
      return [
        inFlight(
          'kcont',
          "kcont: the function's signal",
          (arg, signal) => percpu.run(funcs.untilAborted, { arg, cpu, signal }),
          () => percpu.run(funcs.echo<number>, { arg: 42, cpu }),
          quick ? 1 : 50,
        ),
        ...(await startPools('work', PISCINA, TINYPOOL)).map((pool) =>
          inFlight(
            'peer',
            `${pool.name}: the thread is killed`,
            (gate, signal) => pool.run('untilAborted', gate, { signal }),
            () => pool.run('echo', 42),
            quick ? 1 : 3,
          ),
        ),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-stop',
  about: `What was sent to another thread is taken back, on the thread that has sent it. ${ONE_THREAD}`,
  cases: (effort) => [queued(effort), pending(effort), running(effort)],
};
