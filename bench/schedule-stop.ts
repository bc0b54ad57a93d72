// schedule + stop of a timer that does not fire, against setTimeout + clearTimeout.

import { AsyncLocalStorage } from 'node:async_hooks';
import { Kcont, wq } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort } from './harness/bench.ts';
import { bareStore, clockRead } from './harness/floors.ts';
import { Random, permutation } from './harness/random.ts';
import { expectSame, expectTrue, sink, timed } from './harness/timed.ts';

const DELAY_MS = 30_000;
/** Delays of one in random order: a power of two of them. */
const DELAYS = 4096;
const DISTINCT = 50_000;

let fired = 0;
const fire = (): void => void fired++;

function expectNoneFired(): void {
  expectSame('functions entered', fired, 0);
}

/** The same delay every time. */
function fixed(): Case {
  const kc = new Kcont(wq.softclock, null, fire, null);
  let stopped = 0;
  return {
    name: 'one handle, fixed delay',
    metrics: costs('ns', { against: 'setTimeout + clearTimeout', atLeast: 10 }),
    sides: () => [
      timed('kcont', 'kcont', {
        run(ops) {
          stopped = 0;
          for (let i = 0; i < ops; i++) {
            if (kc.schedule(DELAY_MS) && !kc.stop()) stopped++;
          }
        },
        check(ops) {
          expectSame('timers armed and stopped', stopped, ops);
          expectTrue('the last one is idle', !kc.busy);
          expectNoneFired();
        },
      }),
      timed('peer', 'setTimeout + clearTimeout', {
        run(ops) {
          for (let i = 0; i < ops; i++) clearTimeout(setTimeout(fire, DELAY_MS));
        },
        check: expectNoneFired,
      }),
      bareStore(),
      clockRead(),
    ],
  };
}

/** In a server that keeps a store per request, Node has more to do for everything it makes. */
function inRequest(): Case {
  const storage = new AsyncLocalStorage<object>();
  const test = fixed();
  return {
    ...test,
    name: `${test.name}, an AsyncLocalStorage in use`,
    metrics: costs('ns'),
    sides(effort) {
      storage.enterWith({});
      return test.sides(effort);
    },
  };
}

/** While other timers of that delay are pending, Node keeps their list, which it else makes anew. */
function amongOthers(): Case {
  const test = fixed();
  return {
    ...test,
    name: `${test.name}, another one of that delay pending`,
    metrics: costs('ns'),
    sides(effort) {
      setInterval(() => undefined, DELAY_MS).unref();
      const other = new Kcont(wq.softclock, null, (_, kc) => void kc.reset(DELAY_MS), null);
      other.unref().schedule(DELAY_MS);
      return test.sides(effort);
    },
  };
}

/** Another delay every time. */
function random(): Case {
  const kc = new Kcont(wq.softclock, null, fire, null);
  const next = new Random();
  const delays = Array.from({ length: DELAYS }, () => 1 + next.below(60_000));
  let stopped = 0;
  return {
    name: 'one handle, random delays up to 60 s',
    metrics: costs('ns', { against: 'setTimeout + clearTimeout', atLeast: 10 }),
    sides: () => [
      timed('kcont', 'kcont', {
        run(ops) {
          stopped = 0;
          for (let i = 0; i < ops; i++) {
            if (kc.schedule(delays[i & (DELAYS - 1)]) && !kc.stop()) stopped++;
          }
        },
        check(ops) {
          expectSame('timers armed and stopped', stopped, ops);
          expectNoneFired();
        },
      }),
      timed('peer', 'setTimeout + clearTimeout', {
        run(ops) {
          for (let i = 0; i < ops; i++) {
            clearTimeout(setTimeout(fire, delays[i & (DELAYS - 1)] as number));
          }
        },
        check: expectNoneFired,
      }),
      bareStore(),
      clockRead(),
    ],
  };
}

/** All of them armed, each with a delay of its own, then all of them stopped. */
function distinct(effort: Effort): Case {
  const count = sized(effort, DISTINCT);
  const delays = Array.from(permutation(count), (at) => 10_000 + at);
  const kcs = delays.map(() => new Kcont(wq.softclock, null, fire, null));
  const timeouts: (NodeJS.Timeout | undefined)[] = delays.map(() => undefined);
  let stopped = 0;
  return {
    name: '50 k handles, 50 k distinct delays',
    metrics: costs('ns', { against: 'setTimeout + clearTimeout', atLeast: 20 }),
    sides: () => [
      timed('kcont', 'kcont', {
        batch: count,
        run(ops) {
          stopped = 0;
          for (let done = 0; done < ops; done += count) {
            for (let i = 0; i < count; i++) (kcs[i] as Kcont<null>).schedule(delays[i]);
            for (let i = 0; i < count; i++) {
              const kc = kcs[i] as Kcont<null>;
              if (kc.pending && !kc.stop()) stopped++;
            }
          }
        },
        check(ops) {
          expectSame('timers armed and stopped', stopped, ops);
          expectNoneFired();
        },
      }),
      timed('peer', 'setTimeout + clearTimeout', {
        batch: count,
        run(ops) {
          for (let done = 0; done < ops; done += count) {
            for (let i = 0; i < count; i++) timeouts[i] = setTimeout(fire, delays[i] as number);
            for (let i = 0; i < count; i++) clearTimeout(timeouts[i]);
          }
          sink(timeouts);
        },
        check: expectNoneFired,
      }),
      bareStore(count),
      clockRead(),
    ],
  };
}

export const bench: Bench = {
  name: 'schedule-stop',
  about: 'A timer is armed and stopped before it is due. The time for the pair.',
  cases: (effort) => [fixed(), amongOthers(), random(), distinct(effort), inRequest()],
};
