// The cost of an operation on a random one of 1 k … 4 M live timers, and of the memory accesses
// that it cannot do without.

import { Kcont, Kernel } from '../lib/index.ts';
import {
  costs,
  type Bench,
  type Case,
  type Comparison,
  type Effort,
  type Figures,
} from './harness/bench.ts';
import { Bare } from './harness/floors.ts';
import { expectNoneFired, neverDue } from './harness/pending.ts';
import { Random, Round } from './harness/random.ts';
import { judge } from './harness/runner.ts';
import { ratio } from './harness/stats.ts';
import { expectSame, timed, type Work } from './harness/timed.ts';

const SIZES = [1000, 10_000, 100_000, 1_000_000, 4_000_000];
const SIZES_QUICK = [50, 100, 200, 500, 1000];
/** Which sizes the goal is about. */
const FROM = 0;
const TO = 3;
const MOST_GROWTH = 2;
const FLOOR = { touch: 'a bare field store', rearm: 'a move between bare lists' };
const LISTS = 256;

const random = new Random();
/** 10 to 70 min. */
const anyDelay = (): number => 600_000 + random.below(3_600_000);

function kcontsAt(size: number): { kcs: Kcont<null>[]; round: Round } {
  const { wq } = new Kernel();
  const kcs = Array.from({ length: size }, () => {
    const kc = new Kcont<null>(wq.softclock, null, neverDue, null);
    kc.schedule(anyDelay());
    return kc;
  });
  return { kcs, round: new Round(size) };
}

function timeoutsAt(size: number): { timeouts: NodeJS.Timeout[]; round: Round } {
  const timeouts = Array.from({ length: size }, () => setTimeout(neverDue, anyDelay()));
  return { timeouts, round: new Round(size) };
}

/**
 * How many times as much as the floor the cost grows, from the first of the goal's sizes to the last.
 * The floor grows by the memory accesses that miss the caches and by nothing else.
 */
function growth(floor: string, sizes: readonly number[]) {
  return (_: unknown, figures: readonly Figures[]): Comparison[] => {
    const samplesOf = (name: string, which: number): readonly number[] =>
      figures.find((side) => side.name === name && side.at === sizes[which])?.samples ?? [];
    const grows = (name: string): number[] =>
      samplesOf(name, TO).map((ns, i) => ns / (samplesOf(name, FROM)[i] ?? NaN));
    const beyond = ratio(grows('kcont'), grows(floor));
    const [from, to] = [sizes[FROM], sizes[TO]].map((size) => size?.toLocaleString('en-US'));
    return [
      {
        against: `growth from ${from} to ${to}, that of ${floor} being 1`,
        ratio: beyond.median,
        q1: beyond.q1,
        q3: beyond.q3,
        goal: `<= ${MOST_GROWTH}`,
        verdict: judge(beyond.median <= MOST_GROWTH, beyond.q1 <= MOST_GROWTH),
      },
    ];
  };
}

function touching(sizes: readonly number[]): Case {
  return {
    name: 'touch a random one',
    rounds: 7,
    collect: 'round',
    metrics: costs('ns'),
    compare: growth(FLOOR.touch, sizes),
    sides: () =>
      sizes.flatMap((at) => [
        timed('kcont', 'kcont', () => touchKconts(at), at),
        timed('peer', 'refresh()', () => refreshTimeouts(at), at),
        timed('floor', FLOOR.touch, () => storeBare(at), at),
      ]),
  };
}

function touchKconts(size: number): Work {
  const { kcs, round } = kcontsAt(size);
  let touched = 0;
  return {
    run(ops) {
      touched = 0;
      for (let i = 0; i < ops; i++) if ((kcs[round.next()] as Kcont<null>).touch()) touched++;
    },
    check: (ops) => expectSame('timers touched', touched, ops),
  };
}

function refreshTimeouts(size: number): Work {
  const { timeouts, round } = timeoutsAt(size);
  return {
    run(ops) {
      for (let i = 0; i < ops; i++) (timeouts[round.next()] as NodeJS.Timeout).refresh();
    },
    check: expectNoneFired,
  };
}

function storeBare(size: number): Work {
  const bare = Array.from({ length: size }, () => new Bare());
  const round = new Round(size);
  return {
    run(ops) {
      for (let i = 0; i < ops; i++) {
        const object = bare[round.next()] as Bare;
        object.due = object.delay + i;
      }
    },
  };
}

function rearming(sizes: readonly number[]): Case {
  return {
    name: 'stop and schedule a random one',
    rounds: 7,
    collect: 'round',
    metrics: costs('ns'),
    compare: growth(FLOOR.rearm, sizes),
    sides: () =>
      sizes.flatMap((at) => [
        timed('kcont', 'kcont', () => rearmKconts(at), at),
        timed('peer', 'clearTimeout + setTimeout', () => rearmTimeouts(at), at),
        timed('floor', FLOOR.rearm, () => moveBare(at), at),
      ]),
  };
}

function rearmKconts(size: number): Work {
  const { kcs, round } = kcontsAt(size);
  let stopped = 0;
  return {
    run(ops) {
      stopped = 0;
      for (let i = 0; i < ops; i++) {
        const kc = kcs[round.next()] as Kcont<null>;
        if (!kc.stop() && kc.schedule(anyDelay())) stopped++;
      }
    },
    check: (ops) => expectSame('timers stopped and armed', stopped, ops),
  };
}

function rearmTimeouts(size: number): Work {
  const { timeouts, round } = timeoutsAt(size);
  return {
    run(ops) {
      for (let i = 0; i < ops; i++) {
        const which = round.next();
        clearTimeout(timeouts[which]);
        timeouts[which] = setTimeout(neverDue, anyDelay());
      }
    },
    check: expectNoneFired,
  };
}

function moveBare(size: number): Work {
  const round = new Round(size);
  const lists = Array.from({ length: LISTS }, () => new Bare());
  const bare = Array.from({ length: size }, () => {
    const object = new Bare();
    append(lists[random.below(LISTS)] as Bare, object);
    return object;
  });
  return {
    run(ops) {
      for (let i = 0; i < ops; i++) {
        const object = bare[round.next()] as Bare;
        object.prev.next = object.next;
        object.next.prev = object.prev;
        object.due = anyDelay();
        append(lists[object.due % LISTS] as Bare, object);
      }
    },
  };
}

function append(head: Bare, object: Bare): void {
  const tail = head.prev;
  object.prev = tail;
  object.next = head;
  tail.next = object;
  head.prev = object;
}

export const bench: Bench = {
  name: 'growth',
  about: 'One operation on a random one of 1 k to 4 M live timers.',
  cases({ quick }: Effort) {
    const sizes = quick ? SIZES_QUICK : SIZES;
    return [touching(sizes), rearming(sizes)];
  },
};
