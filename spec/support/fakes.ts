// Fake timers of test libraries behind one interface.

import { mock } from 'node:test';
import sinon from 'sinon';

/** Fakes of one kind. */
export interface Kind {
  readonly name: string;
  /** Whether `setImmediate` is faked too. */
  readonly immediates: boolean;
  install(): Installed;
}

export interface Installed {
  tick(ms: number): void;
  runAll(): void;
  restore(): void;
}

type Method = 'setTimeout' | 'clearTimeout' | 'setImmediate' | 'Date' | 'performance' | 'hrtime';
type Api = 'setTimeout' | 'setInterval' | 'setImmediate' | 'Date';

export function ofSinon(toFake: Method[] | undefined): Kind {
  return {
    name: `sinon's ${toFake?.join(', ') ?? 'all'}`,
    immediates: toFake?.includes('setImmediate') ?? true,
    install() {
      const clock = sinon.useFakeTimers(toFake === undefined ? undefined : { toFake });
      return {
        tick: (ms) => void clock.tick(ms),
        runAll: () => void clock.runAll(),
        restore: () => clock.restore(),
      };
    },
  };
}

export function ofNode(apis: Api[], now = 0): Kind {
  return {
    name: `node:test's ${apis.join(', ')}${now === 0 ? '' : ` from ${now}`}`,
    immediates: apis.includes('setImmediate'),
    install() {
      mock.timers.enable({ apis, now });
      return {
        tick: (ms) => mock.timers.tick(ms),
        runAll: () => mock.timers.runAll(),
        restore: () => mock.timers.reset(),
      };
    },
  };
}

/** Replaces only globals, as hand-written fakes in a test do. */
export function byHand(): Kind {
  return {
    name: 'a setTimeout that a test has written',
    immediates: false,
    install() {
      const { setTimeout: before, clearTimeout: clearBefore } = globalThis;
      const set = new Map<number, { at: number; func: () => void }>();
      let now = 0;
      let ids = 0;
      const tick = (ms: number): void => {
        const end = now + ms;
        for (;;) {
          const due = [...set].filter(([, { at }]) => at <= end);
          const next = due.toSorted(([a, x], [b, y]) => x.at - y.at || a - b)[0];
          if (next === undefined) break;
          set.delete(next[0]);
          now = next[1].at;
          next[1].func();
        }
        now = end;
      };
      Object.assign(globalThis, {
        setTimeout(func: () => void, ms: number): number {
          set.set(++ids, { at: now + ms, func });
          return ids;
        },
        clearTimeout: (id: number) => void set.delete(id),
      });
      return {
        tick,
        runAll: () => {
          while (set.size > 0) tick(Math.max(...[...set.values()].map(({ at }) => at)) - now);
        },
        restore: () => Object.assign(globalThis, { setTimeout: before, clearTimeout: clearBefore }),
      };
    },
  };
}

/** Kinds whose `setTimeout` is a fake. */
export const kinds: readonly Kind[] = [
  ofSinon(undefined),
  ofSinon(['setTimeout']),
  ofSinon(['setTimeout', 'clearTimeout']),
  ofSinon(['setTimeout', 'clearTimeout', 'Date']),
  ofSinon(['setTimeout', 'clearTimeout', 'setImmediate']),
  ofSinon(['setTimeout', 'clearTimeout', 'performance']),
  ofSinon(['setTimeout', 'clearTimeout', 'setImmediate', 'Date', 'performance', 'hrtime']),
  ofNode(['setTimeout']),
  ofNode(['setTimeout', 'setImmediate']),
  ofNode(['setTimeout', 'Date']),
  ofNode(['setTimeout', 'Date'], 1e12),
  ofNode(['setTimeout', 'setInterval', 'setImmediate', 'Date']),
  byHand(),
];
