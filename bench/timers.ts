// The drop-in beside what it replaces: kcont/timers and node:timers, doing the same.
//
// A continuation, kept and armed again, is the floor: what the drop-in could cost if it did not have to
// make a timer for each call, with a number, a context, and a place among the callbacks of a turn.

import { AsyncResource } from 'node:async_hooks';
import * as node from 'node:timers';
import * as front from '../lib/compat/timers/index.ts';
import type { HostImmediate, HostTimeout } from '../lib/compat/timers/index.ts';
import { Kcont } from '../lib/index.ts';
import { armTimeouts, drained, planFor, type TimerFunctions } from './expire.ts';
import { costs, sized, type Bench, type Case, type Effort, type Role } from './harness/bench.ts';
import { bareCalls } from './harness/floors.ts';
import { kept } from './heap.ts';
import { FAR_MS, expectNoneFired, neverDue, ownQueue, pendingKconts } from './harness/pending.ts';
import { Random, Round, permutation } from './harness/random.ts';
import { expectSame, expectTrue, timed, timedOnThreads } from './harness/timed.ts';

const NODE = 'node:timers';
const DELAY_MS = 30_000;
/** Delays of one in random order: a power of two of them. */
const DELAYS = 4096;

interface Api extends TimerFunctions {
  setImmediate(callback: () => void): HostImmediate;
}

/** Each with its part in the report. */
const apis: readonly { role: Role; name: string; api: Api }[] = [
  { role: 'kcont', name: 'kcont/timers', api: front },
  { role: 'peer', name: NODE, api: node as unknown as Api },
];

const BARE = 'an immediate in an async context';

/** The continuation that stands for the floor. */
const CONTINUATION = 'a continuation, kept';

/** Armed and cleared before it is due, with the delays of a table. */
function setAndClear(name: string, delays: readonly number[]): Case {
  const kc = new Kcont(ownQueue(), null, neverDue, null);
  const mask = delays.length - 1;
  return {
    name,
    metrics: costs('ns', { against: NODE, atLeast: 1 }),
    sides: () => [
      ...apis.map(({ role, name: side, api: { setTimeout, clearTimeout } }) =>
        timed(role, side, {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              clearTimeout(setTimeout(neverDue, delays[i & mask] as number));
            }
          },
          check: expectNoneFired,
        }),
      ),
      timed('floor', CONTINUATION, {
        run(ops) {
          for (let i = 0; i < ops; i++) {
            kc.schedule(delays[i & mask]);
            kc.stop();
          }
        },
        check: () => expectTrue('the last one is idle', !kc.busy),
      }),
    ],
  };
}

/** All of them armed, each with a delay of its own, then all of them cleared. */
function manyDelays(effort: Effort): Case {
  const count = sized(effort, 50_000);
  const delays = Array.from(permutation(count), (at) => 10_000 + at);
  return {
    name: 'set and clear, 50 k at once with as many delays',
    metrics: costs('ns', { against: NODE, atLeast: 1 }),
    sides: () =>
      apis.map(({ role, name, api: { setTimeout, clearTimeout } }) => {
        const timeouts: HostTimeout[] = [];
        return timed(role, name, {
          batch: count,
          run(ops) {
            for (let done = 0; done < ops; done += count) {
              for (let i = 0; i < count; i++) {
                timeouts[i] = setTimeout(neverDue, delays[i] as number);
              }
              for (let i = 0; i < count; i++) clearTimeout(timeouts[i] as HostTimeout);
            }
          },
          check: expectNoneFired,
        });
      }),
  };
}

/** Random ones of many are refreshed. */
function refresh(effort: Effort): Case {
  const count = sized(effort, 100_000);
  return {
    name: 'refresh, 100 k pending',
    collect: 'round',
    metrics: costs('ns'),
    sides() {
      const round = new Round(count);
      const kcs = pendingKconts(ownQueue(), count, FAR_MS);
      return [
        ...apis.map(({ role, name, api: { setTimeout } }) => {
          const timeouts = Array.from({ length: count }, () => setTimeout(neverDue, FAR_MS));
          return timed(role, name, {
            run(ops) {
              for (let i = 0; i < ops; i++) (timeouts[round.next()] as HostTimeout).refresh();
            },
            check: expectNoneFired,
          });
        }),
        timed('floor', CONTINUATION, {
          run(ops) {
            for (let i = 0; i < ops; i++) (kcs[round.next()] as Kcont<null>).touch();
          },
          check: expectNoneFired,
        }),
      ];
    },
  };
}

/** From when all are due until all are called. */
function expire(effort: Effort): Case {
  const spreadMs = sized(effort, 1000, 50);
  const plan = planFor(effort, sized(effort, 100_000), spreadMs, spreadMs);
  return {
    name: 'expire, 100 k over 1 s',
    rounds: 7,
    metrics: costs('ns'),
    sides: () => [
      ...apis.map(({ role, name, api }) =>
        drained(role as 'kcont' | 'peer', name, armTimeouts(api), plan),
      ),
      bareCalls(sized(effort, 100_000)),
    ],
  };
}

/** So many immediates in one callback, until all are called. */
function immediates(effort: Effort, name: string, count: number): Case {
  const burst = sized(effort, count);
  return {
    name: `setImmediate, ${name}`,
    metrics: costs('ns'),
    sides: () =>
      apis.map(({ role, name: side, api: { setImmediate } }) => {
        let called = 0;
        return timed(role, side, {
          batch: burst,
          async run(ops) {
            called = 0;
            for (let done = 0; done < ops; done += burst) {
              await new Promise<void>((resolve) => {
                const until = done + burst;
                const call = (): void => {
                  if (++called === until) resolve();
                };
                for (let i = 0; i < burst; i++) setImmediate(call);
              });
            }
          },
          check: (ops) => expectSame('immediates called', called, ops),
        });
      }),
  };
}

/**
 * Each callback sets the next one, so that each has a turn of the event loop for itself. The floor is what
 * an API of its own has to do: keep the async context of the call, and enter it from an immediate.
 */
function chain(name: string, set: (api: Api, callback: () => void) => void, floor?: Api): Case {
  const sides = [
    ...apis,
    ...(floor === undefined ? [] : [{ role: 'floor', name: BARE, api: floor } as const]),
  ];
  return {
    name: `${name}, each set by the one before`,
    metrics: [
      { name: '', unit: 'ns', goals: [{ against: NODE, atMost: 1.2 }], asPart: true },
      { name: 'CPU time', unit: 'ns', goals: [], asPart: true },
    ],
    sides: () =>
      sides.map(({ role, name: side, api }) => {
        let called = 0;
        return timedOnThreads(role, side, {
          run(ops) {
            called = 0;
            return new Promise<void>((resolve) => {
              const call = (): void => {
                if (++called === ops) resolve();
                else set(api, call);
              };
              set(api, call);
            });
          },
          check: (ops) => expectSame('callbacks called', called, ops),
        });
      }),
  };
}

/** The callback of an immediate of Node in the async context of the call. */
const inContext: Api = {
  ...(node as unknown as Api),
  setImmediate(callback) {
    const resource = new AsyncResource('Immediate');
    return node.setImmediate(() => resource.runInAsyncScope(callback));
  },
};

function heap(effort: Effort): Case {
  const count = sized(effort, 200_000);
  return {
    name: 'heap for each pending timer',
    rounds: 5,
    metrics: [{ name: '', unit: 'B', goals: [], asPart: true }],
    sides: () =>
      apis.map(({ role, name, api: { setTimeout, clearTimeout } }) =>
        kept(role, name, count, () => setTimeout(neverDue, FAR_MS), clearTimeout),
      ),
  };
}

export const bench: Bench = {
  name: 'timers',
  about: 'kcont/timers in the place of node:timers: the same calls of both.',
  cases(effort) {
    const next = new Random();
    const random = Array.from({ length: DELAYS }, () => 1 + next.below(60_000));
    return [
      setAndClear('set and clear, one delay', [DELAY_MS]),
      setAndClear('set and clear, random delays up to 60 s', random),
      manyDelays(effort),
      refresh(effort),
      expire(effort),
      immediates(effort, 'one alone', 1),
      immediates(effort, 'bursts of 1,000', 1000),
      chain('setImmediate', (api, callback) => void api.setImmediate(callback), inContext),
      chain('setTimeout of 0', (api, callback) => void api.setTimeout(callback, 0)),
      heap(effort),
    ];
  },
};
