// Calls of debounced and throttled functions, nearly all of which only put off what is to come.

import lodash from 'lodash';
import pDebounce from 'p-debounce';
import { Kernel } from '../lib/index.ts';
import { debounce, debounceAsync, throttle } from '../lib/limits/index.ts';
import { costs, sized, type Bench, type Case, type Effort } from './harness/bench.ts';
import { clockRead } from './harness/floors.ts';
import { expectSame, timed } from './harness/timed.ts';

const LODASH = 'lodash';
const P_DEBOUNCE = 'p-debounce';
const FAR_MS = 60_000;

interface Waiting {
  (n: number): unknown;
  cancel(): void;
}

/** One function that is called in a burst. */
function calls(
  name: string,
  make: (func: (n: number) => void) => Waiting,
  theirs: (func: (n: number) => void) => Waiting,
): Case {
  return {
    name,
    metrics: costs('ns', { against: LODASH, atLeast: 2 }),
    sides() {
      let invoked = 0;
      const count = (): void => void invoked++;
      const sides = [
        { role: 'kcont', name: 'kcont', call: make(count) },
        { role: 'peer', name: LODASH, call: theirs(count) },
      ] as const;
      return [
        ...sides.map(({ role, name: side, call }) =>
          timed(role, side, {
            before: () => void (invoked = 0),
            after: () => call.cancel(),
            run(ops) {
              for (let i = 0; i < ops; i++) call(i);
            },
            check: () => {
              if (invoked > 1) throw new Error(`invoked ${invoked} times`);
            },
          }),
        ),
        clockRead(),
      ];
    },
  };
}

/** A function for each key, and a call for each of them in turn. */
function keys(effort: Effort): Case {
  const count = sized(effort, 10_000, 100);
  return {
    name: 'debounce by key, 10 k keys',
    metrics: costs('ns', { against: LODASH, atLeast: 1 }),
    sides() {
      const nothing = (n: number): void => void n;
      const wq = new Kernel().wq.softclock;
      const ours = debounce(nothing, FAR_MS, { wq, keyBy: (n) => n });
      const map = new Map<number, Waiting>();
      return [
        timed('kcont', 'kcont', {
          after: () => ours.cancel(),
          run(ops) {
            for (let i = 0; i < ops; i++) ours(i % count);
          },
          check: (ops) => expectSame('keys', ours.size, Math.min(ops, count)),
        }),
        timed('peer', LODASH, {
          after: () => {
            for (const call of map.values()) call.cancel();
            map.clear();
          },
          run(ops) {
            for (let i = 0; i < ops; i++) {
              const key = i % count;
              let call = map.get(key);
              if (call === undefined) map.set(key, (call = lodash.debounce(nothing, FAR_MS)));
              call(key);
            }
          },
          check: (ops) => expectSame('keys', map.size, Math.min(ops, count)),
        }),
      ];
    },
  };
}

/** A promise for each call. */
function async(): Case {
  const burst = 1000;
  return {
    name: 'debounceAsync, 1 k calls for each run',
    metrics: costs('ns', { against: P_DEBOUNCE, atLeast: 2 }),
    sides() {
      const wq = new Kernel().wq.prihigh;
      const one = async (n: number): Promise<number> => n;
      const ours = debounceAsync(one, 1, { wq });
      const theirs = pDebounce(one, 1);
      const side = (
        role: 'kcont' | 'peer',
        name: string,
        call: (n: number) => Promise<number>,
      ): ReturnType<typeof timed> => {
        let last = 0;
        return timed(role, name, {
          batch: burst,
          async run(ops) {
            for (let done = 0; done < ops; done += burst) {
              const results: Promise<number>[] = [];
              for (let i = 0; i < burst; i++) results.push(call(i));
              last = (await Promise.all(results)).at(-1) ?? NaN;
            }
          },
          check: () => expectSame('the last result', last, burst - 1),
        });
      };
      return [side('kcont', 'kcont', ours), side('peer', P_DEBOUNCE, theirs)];
    },
  };
}

export const bench: Bench = {
  name: 'debounce',
  about: 'Calls of debounced and throttled functions while they wait. The time for each call.',
  cases: (effort) => {
    const wq = new Kernel().wq.softclock;
    return [
      calls(
        'debounce',
        (func) => debounce(func, FAR_MS, { wq }),
        (func) => lodash.debounce(func, FAR_MS),
      ),
      calls(
        'debounce with a limit',
        (func) => debounce(func, FAR_MS, { wq, maxWaitMs: 2 * FAR_MS }),
        (func) => lodash.debounce(func, FAR_MS, { maxWait: 2 * FAR_MS }),
      ),
      calls(
        'throttle',
        (func) => throttle(func, FAR_MS, { wq }),
        (func) => lodash.throttle(func, FAR_MS),
      ),
      keys(effort),
      async(),
    ];
  },
};
