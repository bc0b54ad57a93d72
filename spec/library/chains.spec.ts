// How many functions run between two I/O callbacks if each one schedules the next.
import { once } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import { expect } from 'chai';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { Kcont, Kernel, Mutex } from '../../lib/index.ts';
import { HandClock } from '../support/hand-clock.ts';

const BUDGET_MS = 2;
/** A chain is ended if there is no I/O callback for this long. */
const FROZEN = 300 * BUDGET_MS;

const nothing = Promise.resolve();

/** A chain of functions that each call `work()` and continue while it is true, `runs` times. */
type Chain = (kernel: Kernel, work: () => boolean, runs: number) => unknown;

const selfReset =
  (queue: 'softnet' | 'prihigh', lock: Mutex | null = null): Chain =>
  ({ wq }, work) =>
    new Kcont(wq[queue], lock, (_, kc) => void (work() && kc.reset()), null).schedule();

const asyncReset =
  (lock: Mutex | null, when: 'before' | 'after'): Chain =>
  ({ wq }, work) => {
    const again = async (_: null, kc: Kcont<null>): Promise<void> => {
      const goesOn = work();
      if (when === 'before' && goesOn) kc.reset();
      await nothing;
      if (when === 'after' && goesOn) kc.reset();
    };
    new Kcont(wq.prihigh, lock, again, null).schedule();
  };

/** Each function waits for the one before. */
const loop =
  (make: (kernel: Kernel) => (func: () => boolean) => Promise<unknown>): Chain =>
  async (kernel, work) => {
    const run = make(kernel);
    const link = { goesOn: true };
    while (link.goesOn) await run(() => (link.goesOn = work()));
  };

const chains: Record<string, Chain> = {
  'a function that resets its handle': selfReset('softnet'),
  'one that holds a lock': selfReset('prihigh', new Mutex()),
  'an asynchronous one that resets its handle': asyncReset(null, 'before'),
  'one that does so after an await': asyncReset(null, 'after'),
  'one that does so after an await, and holds a lock': asyncReset(new Mutex(), 'after'),
  'two that schedule each other': ({ wq }, work) => {
    const a = new Kcont(wq.softnet, null, () => void (work() && b.schedule()), null);
    const b = new Kcont(wq.softbio, null, () => void (work() && a.schedule()), null);
    a.schedule();
  },
  'two asynchronous ones that schedule each other': ({ wq }, work) => {
    const hop = (other: () => Kcont<null>) => async (): Promise<void> => {
      await nothing;
      if (work()) other().schedule();
    };
    const a: Kcont<null> = new Kcont(
      wq.prilow,
      null,
      hop(() => b),
      null,
    );
    const b: Kcont<null> = new Kcont(
      wq.prilow,
      null,
      hop(() => a),
      null,
    );
    a.schedule();
  },
  'one that is thrown out of each time': ({ wq }, work) => {
    const again = (_: null, kc: Kcont<null>): never => {
      if (work()) kc.reset();
      throw new Error('each time');
    };
    new Kcont(wq.softnet, null, again, null).schedule();
  },
  'one that is thrown out of each time, behind an asynchronous one': ({ wq }, work) => {
    const again = (_: null, kc: Kcont<null>): never => {
      if (work()) kc.reset();
      throw new Error('each time');
    };
    const kc = new Kcont(wq.prilow, null, again, null);
    new Kcont(
      wq.prihigh,
      null,
      async () => void nothing.then(() => kc.schedule()),
      null,
    ).schedule();
  },
  'many that wait for room': (kernel, work, runs) => {
    const one = kernel.acquire(50, { maxActive: 1 });
    for (let i = 0; i < runs; i++) {
      new Kcont(
        one,
        null,
        async () => {
          work();
          await nothing;
        },
        null,
      ).schedule();
    }
  },
  'many that wait for a lock': ({ wq }, work, runs) => {
    const lock = new Mutex();
    for (let i = 0; i < runs; i++) {
      new Kcont(wq.prilow, lock, async () => void work(), null).schedule();
    }
  },
  'wq.run in a loop': loop(
    ({ wq }) =>
      (func) =>
        wq.prihigh.run(func),
  ),
  'wq.run in a loop, asynchronous': loop(
    ({ wq }) =>
      (func) =>
        wq.prihigh.run(async () => {
          await nothing;
          return func();
        }),
  ),
  'wq.run in a loop, with a lock': loop(({ wq }) => {
    const lock = new Mutex();
    return (func) => wq.prilow.run(async () => func(), { lock });
  }),
  'a pipeline’s items one after another': loop((kernel) => {
    const { wq } = kernel;
    const line = pipeline<() => boolean>()
      .stage('first', async (func: () => boolean) => func(), { wq: wq.prihigh })
      .stage('second', (goesOn: boolean) => goesOn, { wq: wq.prilow })
      .start({ kernel });
    return (func) => line.run(func);
  }),
  'scheduler.postTask in a loop': loop((kernel) => {
    const scheduler = createScheduler(kernel);
    return (func) => scheduler.postTask(async () => func());
  }),
  'scheduler.yield in a loop': loop((kernel) => {
    const scheduler = createScheduler(kernel);
    return async (func) => {
      await scheduler.yield();
      func();
    };
  }),
  'an executor in a loop': loop(({ wq }) => {
    const executor = createExecutor(wq.prihigh, { concurrency: 1 });
    return (func) => executor.run(async () => func());
  }),
  'locks.request in a loop': loop((kernel) => {
    const locks = createLocks(kernel);
    return (func) => locks.request('name', async () => func());
  }),
  'timers that are due together': (kernel, work, runs) => {
    const { setTimeout } = createTimers(kernel);
    for (let i = 0; i < runs; i++) setTimeout(() => void work(), 1);
  },
};

/** How many functions there are, and how long each takes, in ms. */
interface Pace {
  readonly runs: number;
  readonly tookMs: (nth: number) => number;
}

const paces: Record<string, Pace> = {
  quick: { runs: 800, tookMs: () => 0.01 },
  slow: { runs: 40, tookMs: () => 10 },
  'slow after five': { runs: 40, tookMs: (nth) => (nth < 5 ? 0.01 : 10) },
  'slow after three hundred': { runs: 400, tookMs: (nth) => (nth < 300 ? 0.001 : 10) },
  mixed: { runs: 120, tookMs: (nth) => [0.01, 0.01, 1, 0, 0.4, 3][(nth * 7) % 6] as number },
};

/** Runs a chain, and returns how long the functions took between two I/O callbacks in each turn. */
async function turnsOf(chain: Chain, { runs, tookMs }: Pace): Promise<number[][]> {
  const clock = new HandClock();
  const kernel = new Kernel({ clock, budgetMs: BUDGET_MS, onError: () => undefined });
  const turns: number[][] = [[]];
  let ran = 0;
  const { port1, port2 } = new MessageChannel();
  const over = new Promise<void>((resolve) => {
    port1.on('message', () => {
      const frozen = (turns.at(-1) as number[]).length > FROZEN;
      if (frozen || ran >= runs) return resolve();
      turns.push([]);
      // A port hands over what its own listener posts in the same turn.
      setImmediate(() => port2.postMessage(null));
    });
  });
  const work = (): boolean => {
    const ms = tookMs(ran++);
    (turns.at(-1) as number[]).push(ms);
    clock.pass(ms);
    return ran < runs && (turns.at(-1) as number[]).length <= FROZEN;
  };
  chain(kernel, work, runs);
  // A timer is due.
  clock.pass(3);
  port2.postMessage(null);
  await over;
  port1.close();
  await once(port2, 'close');
  await kernel.close();
  return turns;
}

/** The number of functions that a turn may run: those within the budget, and an eighth more. */
function most(tookMs: readonly number[]): number {
  let spentMs = 0;
  const within = tookMs.findIndex((ms) => (spentMs += ms) >= BUDGET_MS) + 1;
  if (within === 0) return tookMs.length;
  return within + Math.min(Math.max(within >> 3, 1), 32);
}

describe('between two I/O callbacks, within the budget and an eighth more, runs', function () {
  this.timeout(60_000);

  for (const [title, chain] of Object.entries(chains)) {
    for (const [name, pace] of Object.entries(paces)) {
      it(`${title}: ${name}`, async () => {
        const turns = await turnsOf(chain, pace);
        const tooMany = turns.filter((tookMs) => tookMs.length > most(tookMs));
        expect(tooMany.map(({ length }) => length)).to.deep.equal([]);
        expect(turns.flat()).to.have.lengthOf.at.least(pace.runs);
      });
    }
  }
});
