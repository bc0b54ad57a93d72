// touch() of pending timers, against the three ways there are to move a deadline.

import type { Kcont } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { SocketReads, inCallbacks, turns, type Source } from './harness/callbacks.ts';
import { fastTimer, type FastTimer } from './harness/fast-timers.ts';
import { Bare, bareStore, clockRead } from './harness/floors.ts';
import {
  FAR_MS,
  expectNoneFired,
  neverDue,
  ownQueue,
  pendingKconts,
  pendingTimeouts,
} from './harness/pending.ts';
import { Round } from './harness/random.ts';
import { expectSame, timed } from './harness/timed.ts';
import { lateness, upkeep } from './touch-upkeep.ts';

const REFRESH = 'refresh()';
const CLEAR_SET = 'clearTimeout + setTimeout';
const FAST = "undici's fast timer";

/** In one go. */
function burst(name: string, count: number): Case {
  return {
    name: `burst, ${name} pending`,
    collect: 'round',
    metrics: costs('ns', { against: REFRESH, atLeast: 4 }, { against: CLEAR_SET, atLeast: 15 }),
    sides() {
      const round = new Round(count);
      const kcs = pendingKconts(ownQueue(), count, FAR_MS);
      const timeouts = pendingTimeouts(count, FAR_MS);
      let touched = 0;
      return [
        timed('kcont', 'kcont', {
          run(ops) {
            touched = 0;
            for (let i = 0; i < ops; i++) if ((kcs[round.next()] as Kcont<null>).touch()) touched++;
          },
          check(ops) {
            expectSame('timers touched', touched, ops);
            expectNoneFired();
          },
        }),
        timed('peer', REFRESH, {
          run(ops) {
            for (let i = 0; i < ops; i++) (timeouts[round.next()] as NodeJS.Timeout).refresh();
          },
          check: expectNoneFired,
        }),
        timed('peer', CLEAR_SET, {
          run(ops) {
            for (let i = 0; i < ops; i++) {
              const at = round.next();
              clearTimeout(timeouts[at]);
              timeouts[at] = setTimeout(neverDue, FAR_MS);
            }
          },
          check: expectNoneFired,
        }),
        bareStore(count),
        clockRead(),
      ];
    },
  };
}

interface Callbacks {
  readonly source: Source;
  /** Pending ones, and how many of them are touched at all. */
  readonly count: number;
  readonly busy: number;
  /** Touches in each callback. */
  readonly perCall: number;
}

/** A few touches in each of many callbacks. */
function callbacks(name: string, { source, count, busy, perCall }: Callbacks): Case {
  return {
    name,
    collect: 'round',
    metrics: costs('ns', { against: REFRESH, atLeast: 4 }, { against: CLEAR_SET, atLeast: 15 }),
    sides() {
      const round = new Round(busy);
      const kcs = pendingKconts(ownQueue(), count, FAR_MS);
      const timeouts = pendingTimeouts(count, FAR_MS);
      const bare = Array.from({ length: count }, () => new Bare());
      let touched = 0;
      let stores = 0;
      let x = 0;
      return [
        inCallbacks(source, 'kcont', 'kcont', {
          perCall,
          work() {
            for (let i = 0; i < perCall; i++) {
              if ((kcs[round.next()] as Kcont<null>).touch()) touched++;
            }
          },
          check(calls) {
            expectSame('timers touched', touched, calls * perCall);
            touched = 0;
            expectNoneFired();
          },
        }),
        inCallbacks(source, 'peer', REFRESH, {
          perCall,
          work() {
            for (let i = 0; i < perCall; i++) (timeouts[round.next()] as NodeJS.Timeout).refresh();
          },
          check: expectNoneFired,
        }),
        inCallbacks(source, 'peer', CLEAR_SET, {
          perCall,
          work() {
            for (let i = 0; i < perCall; i++) {
              const at = round.next();
              clearTimeout(timeouts[at]);
              timeouts[at] = setTimeout(neverDue, FAR_MS);
            }
          },
          check: expectNoneFired,
        }),
        inCallbacks(source, 'floor', 'a bare field store', {
          perCall,
          work() {
            stores++;
            for (let i = 0; i < perCall; i++) {
              const object = bare[round.next()] as Bare;
              object.due = object.delay + stores;
            }
          },
        }),
        inCallbacks(source, 'floor', 'one clock read', {
          perCall,
          work() {
            for (let i = 0; i < perCall; i++) x += performance.now();
          },
          check: () => expectSame('a sum', Number.isNaN(x) ? 1 : 0, 0),
        }),
        inCallbacks(source, 'floor', 'nothing: the error of the method', {
          perCall,
          work: () => undefined,
        }),
      ];
    },
  };
}

/** undici's timers are exact to half a second; a touch is a store, and each tick looks at all. */
function fast(effort: Effort): Case {
  const count = sized(effort, 100_000);
  return {
    name: "burst, 100 k pending, beside undici's fast timers",
    collect: 'round',
    metrics: costs('ns', { against: FAST, atLeast: 1 }),
    sides(): Side[] {
      const round = new Round(count);
      const kcs = pendingKconts(ownQueue(), count, FAR_MS);
      const timers = Array.from({ length: count }, () => fastTimer(neverDue, FAR_MS, null));
      let touched = 0;
      return [
        timed('kcont', 'kcont', {
          run(ops) {
            touched = 0;
            for (let i = 0; i < ops; i++) if ((kcs[round.next()] as Kcont<null>).touch()) touched++;
          },
          check: (ops) => expectSame('timers touched', touched, ops),
        }),
        timed('peer', FAST, {
          run(ops) {
            for (let i = 0; i < ops; i++) (timers[round.next()] as FastTimer<null>).refresh();
          },
          check: expectNoneFired,
        }),
        bareStore(count),
        clockRead(),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'touch',
  about: 'The deadline of a pending timer moves to now + its delay; random ones of many.',
  cases: (effort) => {
    const many = sized(effort, 100_000);
    const reads = new SocketReads();
    return [
      burst('100 k', many),
      burst('1 M', sized(effort, 1_000_000)),
      callbacks('one in each I/O callback, 100 k pending', {
        source: reads,
        count: many,
        busy: many,
        perCall: 1,
      }),
      callbacks('eight in each I/O callback, 100 k pending', {
        source: reads,
        count: many,
        busy: many,
        perCall: 8,
      }),
      callbacks('one in each I/O callback, 1 k busy ones of 100 k pending', {
        source: reads,
        count: many,
        busy: sized(effort, 1000, 100),
        perCall: 1,
      }),
      callbacks('one in each turn of the loop, 1 k busy ones of 100 k pending', {
        source: turns,
        count: many,
        busy: sized(effort, 1000, 100),
        perCall: 1,
      }),
      fast(effort),
      upkeep(effort),
      lateness(effort),
    ];
  },
};
