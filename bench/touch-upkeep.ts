// What touches cost later: timers that are moved on have to be looked at when their old deadline
// comes, or every half second. And how late a touched timer is.

import { setTimeout as sleep } from 'node:timers/promises';
import { Kcont } from '../lib/index.ts';
import { costs, sized, type Case, type Effort, type Role, type Side } from './harness/bench.ts';
import { fastTimer } from './harness/fast-timers.ts';
import { ownQueue } from './harness/pending.ts';
import { permutation } from './harness/random.ts';
import { median } from './harness/stats.ts';
import { expectSame, expectTrue } from './harness/timed.ts';

/** What can be touched. */
interface Timer {
  touch(): void;
  stop(): void;
}

type MakeTimer = (fire: () => void, delayMs: number) => Timer;

interface Kind {
  readonly role: Role;
  readonly name: string;
  make(): MakeTimer;
}

/** The ways to have a timer. Their methods are called through an object each: all the same. */
const KINDS: readonly Kind[] = [
  {
    role: 'kcont',
    name: 'kcont',
    make: () => {
      const wq = ownQueue();
      return (fire, delayMs) => {
        const kc = new Kcont(wq, null, fire, null);
        kc.schedule(delayMs);
        return { touch: () => void kc.touch(), stop: () => void kc.stop() };
      };
    },
  },
  {
    role: 'peer',
    name: 'refresh()',
    make: () => (fire, delayMs) => {
      const timeout = setTimeout(fire, delayMs);
      return { touch: () => void timeout.refresh(), stop: () => clearTimeout(timeout) };
    },
  },
  {
    role: 'peer',
    name: "undici's fast timer",
    make: () => (fire, delayMs) => {
      const timer = fastTimer(fire, delayMs);
      return { touch: () => timer.refresh(), stop: () => timer.clear() };
    },
  },
  {
    role: 'floor',
    name: 'a loop that touches nothing',
    make: () => () => ({ touch: () => undefined, stop: () => undefined }),
  },
];

const TURN_MS = 10;
const IDLE_MS = 3000;

/** Every timer is touched once a second, in turns of 10 ms, for so long that each is due twice. */
function kept({ role, name, make }: Kind, effort: Effort): Side {
  const count = sized(effort, 100_000);
  const lastsMs = effort.quick ? 40 : 2 * IDLE_MS;
  const slice = Math.ceil((count * TURN_MS) / 1000);
  const order = permutation(count);
  let timers: Timer[] = [];
  let fired = 0;
  return {
    role,
    name,
    before() {
      const timer = make();
      timers = Array.from({ length: count }, () => timer(() => void fired++, IDLE_MS));
    },
    async sample() {
      const begin = performance.now();
      const cpu = process.cpuUsage();
      let touched = 0;
      for (let turn = 0; performance.now() - begin < lastsMs; turn++) {
        // Late turns are made up for, so that the rate is the same for all.
        const due = Math.min((performance.now() - begin) / TURN_MS, lastsMs / TURN_MS);
        for (; turn < due; turn++) {
          for (let i = 0; i < slice; i++) {
            timers[order[touched++ % count] as number]?.touch();
          }
        }
        await sleep(TURN_MS - ((performance.now() - begin) % TURN_MS));
      }
      const { user, system } = process.cpuUsage(cpu);
      expectSame('timers fired', fired, 0);
      return [((user + system) * 1000) / touched];
    },
    after() {
      for (const timer of timers) timer.stop();
      timers = [];
    },
  };
}

export function upkeep(effort: Effort): Case {
  return {
    name: '100 k timers of 3 s, each touched once a second: CPU for a touch, all in all',
    rounds: 3,
    metrics: costs(
      'ns',
      { against: 'refresh()', atLeast: 1 },
      { against: "undici's fast timer", atLeast: 1 },
    ),
    sides: () => KINDS.map((kind) => kept(kind, effort)),
  };
}

const LATE_COUNT = 50;

/** Timers are touched at odd moments; how late after their last touch + delay do they fire? */
function late({ role, name, make }: Kind, effort: Effort): Side {
  const delayMs = effort.quick ? 500 : 1500;
  return {
    role,
    name,
    async sample() {
      const timer = make();
      const lates: number[] = [];
      const timers = Array.from({ length: LATE_COUNT }, () => {
        const deadline = { ms: performance.now() + delayMs };
        const fire = (): void => void lates.push(performance.now() - deadline.ms);
        return { deadline, timer: timer(fire, delayMs) };
      });
      for (const one of timers) {
        await sleep(1 + (lates.length % 3));
        one.deadline.ms = performance.now() + delayMs;
        one.timer.touch();
      }
      const latest = Math.max(...timers.map(({ deadline }) => deadline.ms)) + delayMs;
      while (lates.length < LATE_COUNT && performance.now() < latest + 2000) await sleep(1);
      expectSame('timers fired', lates.length, LATE_COUNT);
      if (role === 'kcont') expectTrue('none is early', Math.min(...lates) >= 0);
      return [median(lates.map((ms) => Math.abs(ms)))];
    },
  };
}

export function lateness(effort: Effort): Case {
  return {
    name: 'how far from its deadline a touched timer of 1.5 s fires',
    rounds: 2,
    metrics: costs('ms', { against: "undici's fast timer", atLeast: 10 }),
    sides: () => KINDS.filter(({ role }) => role !== 'floor').map((kind) => late(kind, effort)),
  };
}
