// Asynchronous functions, a thousand of them at a time, no more than sixteen in flight.

import pLimit from 'p-limit';
import PQueue from 'p-queue';
import { Kcont, Kernel } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort } from './harness/bench.ts';
import { awaited, soon } from './harness/floors.ts';
import { expectSame, expectTrue, timed } from './harness/timed.ts';

const MANY = 1000;
const AT_ONCE = 16;
const PRIORITY = 110;

/** Counts those in flight. */
class Flights {
  #now = 0;
  #most = 0;
  #landed = 0;

  /** Two awaits, as when something is read and something written. */
  readonly fly = async (): Promise<void> => {
    if (++this.#now > this.#most) this.#most = this.#now;
    await soon;
    await soon;
    this.#now--;
    this.#landed++;
  };

  check(ops: number): void {
    expectSame('functions settled', this.#landed, ops);
    expectTrue(`no more than ${AT_ONCE} at once`, this.#most <= AT_ONCE && this.#most > 1);
    this.#landed = 0;
    this.#most = 0;
  }
}

function limited(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: '1 k at a time, 16 in flight',
    metrics: costs('ns', { against: 'p-queue', atLeast: 4 }, { against: 'p-limit', atLeast: 4 }),
    sides() {
      const flights = new Flights();
      const wq = new Kernel().acquire(PRIORITY, { maxActive: AT_ONCE });
      const kcs = Array.from({ length: count }, () => new Kcont(wq, null, flights.fly, null));
      const queue = new PQueue({ concurrency: AT_ONCE });
      const limit = pLimit(AT_ONCE);
      const all = Array.from({ length: count });
      const check = (ops: number): void => flights.check(ops);
      return [
        timed('kcont', 'kcont', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              for (const kc of kcs) kc.schedule();
              await wq.drain();
            }
          },
          check,
        }),
        timed('peer', 'p-queue', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              for (let i = 0; i < count; i++) void queue.add(flights.fly);
              await queue.onIdle();
            }
          },
          check,
        }),
        timed('peer', 'p-limit', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(all.map(() => limit(flights.fly)));
            }
          },
          check,
        }),
        awaited(),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'async',
  about: 'Asynchronous functions with a limit: from the first until all have settled, for each.',
  cases: (effort) => [limited(effort)],
};
