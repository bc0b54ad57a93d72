// Periodic tasks: made and stopped, and runs of many that are due at once.

import { Cron } from 'croner';
import { SimpleIntervalJob, Task, ToadScheduler } from 'toad-scheduler';
import { Kcont, Kernel, VirtualClock } from '../lib/index.ts';
import { cron, every } from '../lib/periodic/index.ts';
import { costs, sized, type Bench, type Case, type Effort } from './harness/bench.ts';
import { expectSame, expectTrue, sink, timed } from './harness/timed.ts';

const nothing = (): void => undefined;
const INTERVAL = 'setInterval';
const CRONER = 'croner';
const TOAD = 'toad-scheduler';

/** So long that it does not expire: below the longest delay of Node's timers, 2^31 ms. */
const FAR_MS = 2e9;

/**
 * Made and stopped, as for a connection. On each side one more lives, as those of other connections do: without any,
 * each full garbage collection discards the code that was compiled for them.
 */
function madeEvery(): Case {
  return {
    name: 'every: made and stopped, random periods',
    metrics: costs('ns', { against: INTERVAL, atLeast: 1 }, { against: TOAD, atLeast: 2 }),
    sides() {
      const scheduler = new ToadScheduler();
      const wq = new Kernel().wq.prihigh;
      const period = (i: number): number => 1000 + ((i * 7919) % 60_000);
      const lives = every(FAR_MS, nothing, { wq });
      const livesToo = setInterval(nothing, FAR_MS).unref();
      lives.unref();
      const other = new SimpleIntervalJob({ milliseconds: FAR_MS }, new Task('lives', nothing));
      scheduler.addSimpleIntervalJob(other);
      return [
        timed('kcont', 'kcont', {
          run(ops) {
            for (let i = 0; i < ops; i++) every(period(i), nothing, { wq }).stop();
          },
          check: () => {
            expectSame('pending', wq.kernel.inspect().pending, 1);
            expectTrue('the others live', lives.state === 'waiting' && !livesToo.hasRef());
          },
        }),
        timed('floor', 'a continuation made, scheduled and stopped, and a clock read', {
          run(ops) {
            let sum = 0;
            for (let i = 0; i < ops; i++) {
              const kc = new Kcont(wq, null, nothing, null);
              kc.schedule(period(i));
              kc.stop();
              sum += performance.now();
            }
            sink(sum);
          },
        }),
        timed('peer', INTERVAL, {
          run(ops) {
            for (let i = 0; i < ops; i++) clearInterval(setInterval(nothing, period(i)));
          },
        }),
        timed('peer', TOAD, {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              const task = new Task('task', nothing);
              const job = new SimpleIntervalJob({ milliseconds: period(i) }, task);
              scheduler.addSimpleIntervalJob(job);
              job.stop();
            }
          },
        }),
      ];
    },
  };
}

const daily = (i: number): string => `${i % 60} ${Math.floor(i / 60) % 24} * * *`;

/** Created and stopped. kcont reads an expression once and remembers 256 of them. */
function madeCron(name: string, expressionOf: (i: number) => string): Case {
  return {
    name,
    metrics: costs('ns', { against: CRONER, atLeast: 1 }),
    sides() {
      const wq = new Kernel().wq.prihigh;
      return [
        timed('kcont', 'kcont', {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              cron(expressionOf(i), nothing, { wq, timeZone: 'Europe/Berlin' }).stop();
            }
          },
        }),
        timed('peer', CRONER, {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              new Cron(expressionOf(i), { timezone: 'Europe/Berlin' }, nothing).stop();
            }
          },
        }),
      ];
    },
  };
}

/** How much a run costs beside that of a bare continuation: on a clock that need not be waited for. */
function runs(effort: Effort): Case {
  const count = sized(effort, 1000, 100);
  return {
    name: 'every: a run, 1 k tasks',
    metrics: costs('ns'),
    sides() {
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      let ran = 0;
      const tasks = Array.from({ length: count }, () =>
        every(1000, () => void ran++, { wq: wq.prihigh }),
      );
      return [
        timed('kcont', 'kcont', {
          batch: count,
          run(ops) {
            ran = 0;
            clock.tick((ops / count) * 1000);
          },
          check(ops) {
            expectSame('runs', ran, ops);
            expectSame('tasks', tasks.length, count);
          },
        }),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'periodic',
  about: 'Tasks that run at a fixed rate or by a cron expression.',
  cases: (effort) => [
    madeEvery(),
    madeCron('cron: made and stopped', () => '30 2 * * *'),
    madeCron('cron: made and stopped, 1,440 expressions', daily),
    runs(effort),
  ],
};
