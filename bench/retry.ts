// Retries: functions that succeed at once, and functions that fail first.

import { setMaxListeners } from 'node:events';
import pRetry from 'p-retry';
import { Kernel } from '../lib/index.ts';
import { retry } from '../lib/retry/index.ts';
import {
  costs,
  sized,
  type Bench,
  type Case,
  type Effort,
  type Role,
  type Side,
} from './harness/bench.ts';
import { soon } from './harness/floors.ts';
import { bursts, timed } from './harness/timed.ts';

const PEER = 'p-retry';
const MANY = 1000;
/** One error for all: the trace of a new one costs more than the rest, and is deeper in a pass. */
const failure = new Error('no');

/** When a function fails: when it is called, or after an await, as one that waits for I/O. */
type Moment = 'at once' | 'later';

/** A function that fails so often. */
function make(failures: number, moment: Moment): () => Promise<number> {
  let left = failures;
  const next = (): number => {
    if (left-- > 0) throw failure;
    return 1;
  };
  if (moment === 'at once') return async () => next();
  return async () => {
    await soon;
    return next();
  };
}

/** The functions of `count` retries, called from an immediate for each attempt, without anything that retries them. */
function bareAttempts(count: number, failures: number, moment: Moment): Side {
  return timed('floor', 'the attempts alone, from immediates', {
    batch: count,
    async run(ops) {
      for (let done = 0; done < ops; done += count) {
        const funcs = Array.from({ length: count }, () => make(failures, moment));
        for (let attempt = 0; attempt <= failures; attempt++) {
          const turn = (resolve: (all: unknown) => void): void => {
            resolve(Promise.all(funcs.map((func) => func().catch(() => undefined))));
          };
          await new Promise((resolve) => void setImmediate(turn, resolve));
        }
      }
    },
  });
}

/** A thousand at a time, each of which fails so often. */
function failing(effort: Effort, name: string, failures: number, moment: Moment): Case {
  const count = sized(effort, MANY);
  return {
    name,
    metrics: costs('ns', { against: PEER, atLeast: failures === 0 ? 1 : 2 }),
    sides: () => {
      const wq = new Kernel().wq.prihigh;
      const own = { wq, backoff: { baseMs: 1, factor: 1, jitter: 'none' } } as const;
      const theirs = { minTimeout: 1, maxTimeout: 1 };
      const side = (
        role: Role,
        title: string,
        run: () => Promise<number>,
      ): ReturnType<typeof timed> => timed(role, title, bursts(count, run, count));
      return [
        side('kcont', 'kcont', () => retry(make(failures, moment), own)),
        side('peer', PEER, () => pRetry(make(failures, moment), theirs)),
        bareAttempts(count, failures, moment),
      ];
    },
  };
}

/** A thousand at a time that wait, and are stopped before their next attempt. */
function stopped(effort: Effort): Case {
  const count = sized(effort, MANY);
  const fail = async (): Promise<never> => {
    throw failure;
  };
  const reason = new Error('stopped');
  return {
    name: 'wait 1 s, stopped by one signal, 1 k at a time',
    metrics: costs('ns', { against: PEER, atLeast: 2 }),
    sides: () => {
      const wq = new Kernel().wq.prihigh;
      const side = (
        role: Role,
        name: string,
        run: (signal: AbortSignal) => Promise<unknown>,
      ): ReturnType<typeof timed> => {
        let rejected = 0;
        return timed(role, name, {
          batch: count,
          async run(ops) {
            rejected = 0;
            for (let done = 0; done < ops; done += count) {
              const controller = new AbortController();
              setMaxListeners(0, controller.signal);
              const runs = Array.from({ length: count }, () =>
                run(controller.signal).catch((error: unknown) => {
                  if (error === reason) rejected++;
                }),
              );
              await new Promise((resolve) => void setTimeout(resolve, 2));
              controller.abort(reason);
              await Promise.all(runs);
            }
          },
          check(ops) {
            if (rejected !== ops) throw new Error(`${rejected} of ${ops} were stopped`);
          },
        });
      };
      const backoff = { baseMs: 1000, jitter: 'none' } as const;
      return [
        side('kcont', 'kcont', (signal) => retry(fail, { wq, backoff, signal })),
        side('peer', PEER, (signal) => pRetry(fail, { minTimeout: 1000, signal })),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'retry',
  about: 'A function is called until it succeeds. The time for each result.',
  cases: (effort) => [
    failing(effort, 'no failure, 1 k at a time', 0, 'at once'),
    failing(effort, 'three failures with waits of 1 ms, 1 k at a time', 3, 'at once'),
    failing(effort, 'three failures after an await, waits of 1 ms, 1 k at a time', 3, 'later'),
    stopped(effort),
  ],
};
