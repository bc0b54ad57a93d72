// Rate limits that are not reached, and one whose callers wait.

import Bottleneck from 'bottleneck';
import PQueue from 'p-queue';
import pThrottle from 'p-throttle';
import { Kernel } from '../lib/index.ts';
import { SlidingWindow, TokenBucket, type RateLimiter } from '../lib/limits/index.ts';
import { costs, type Bench, type Case, type Role } from './harness/bench.ts';
import { bursts, timed } from './harness/timed.ts';

const PEER = 'p-throttle';
const P_QUEUE = 'p-queue, intervalCap';
const BOTTLENECK = 'bottleneck';
const MANY = 1000;

/** A function behind a limit that lets everything pass. */
function passing(): Case {
  return {
    name: 'run, not limited, 1 k at a time',
    metrics: costs(
      'ns',
      { against: PEER, atLeast: 1 },
      { against: P_QUEUE, atLeast: 1 },
      { against: BOTTLENECK, atLeast: 2 },
    ),
    sides: () => {
      const { kernel } = new Kernel().wq.prihigh;
      const one = async (): Promise<number> => 1;
      const queue = new PQueue({ interval: 1000, intervalCap: 1e9 });
      const bottleneck = new Bottleneck({
        reservoir: 1e9,
        reservoirRefreshInterval: 1000,
        reservoirRefreshAmount: 1e9,
      });
      const most = { limit: 1e9, windowMs: 1 };
      const theirs = pThrottle({ limit: 1e9, interval: 1 })(one);
      const side = (
        role: Role,
        name: string,
        run: () => Promise<number>,
      ): ReturnType<typeof timed> => timed(role, name, bursts(MANY, run, MANY));
      const bucket = new TokenBucket({ ratePerSecond: 1e12, burst: 1e9, kernel });
      const window = new SlidingWindow({ ...most, kernel });
      return [
        side('kcont', 'kcont', () => bucket.run(one)),
        side('floor', 'kcont, sliding window', () => window.run(one)),
        side('peer', PEER, () => theirs()),
        side('peer', P_QUEUE, () => queue.add(one)),
        side('peer', BOTTLENECK, () => bottleneck.schedule(one)),
      ];
    },
  };
}

/** A hundred may pass in a ms: the rest waits. */
function waiting(): Case {
  return {
    // The shortest interval of bottleneck is 250 ms.
    name: 'run, 100 in a ms, 1 k at a time',
    metrics: costs('ns', { against: PEER, atLeast: 1 }, { against: P_QUEUE, atLeast: 1 }),
    sides: () => {
      const { kernel } = new Kernel().wq.prihigh;
      const one = async (): Promise<number> => 1;
      const window = new SlidingWindow({ limit: 100, windowMs: 1, kernel });
      const theirs = pThrottle({ limit: 100, interval: 1, strict: true })(one);
      const queue = new PQueue({ interval: 1, intervalCap: 100 });
      return [
        timed(
          'kcont',
          'kcont',
          bursts(MANY, () => window.run(one), MANY),
        ),
        timed(
          'peer',
          PEER,
          bursts(MANY, () => theirs(), MANY),
        ),
        timed(
          'peer',
          P_QUEUE,
          bursts(MANY, () => queue.add(one), MANY),
        ),
      ];
    },
  };
}

/** What an HTTP server does for each request. */
function tryTake(): Case {
  return {
    name: 'tryTake',
    metrics: costs('ns'),
    sides: () => {
      const { kernel } = new Kernel().wq.prihigh;
      const side = (role: Role, name: string, limiter: RateLimiter): ReturnType<typeof timed> => {
        let taken = 0;
        return timed(role, name, {
          run(ops) {
            taken = 0;
            for (let i = 0; i < ops; i++) if (limiter.tryTake()) taken++;
          },
          check(ops) {
            if (taken !== ops) throw new Error(`${taken} of ${ops} were taken`);
          },
        });
      };
      return [
        side('kcont', 'kcont', new TokenBucket({ ratePerSecond: 1e12, burst: 1e9, kernel })),
        side('floor', 'sliding window', new SlidingWindow({ limit: 1e9, windowMs: 1, kernel })),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'rate-limit',
  about: 'Functions behind a rate limit. The time for each.',
  cases: () => [passing(), waiting(), tryTake()],
};
