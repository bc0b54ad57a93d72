// What touches cost later: timers that are moved on have to be looked at when their old deadline
// comes, or every half second. And how late a touched timer is.

import { setTimeout as sleep } from 'node:timers/promises';
import { Kcont } from '../lib/index.ts';
import { costs, sized, type Case, type Effort, type Role, type Side } from './harness/bench.ts';
import { fastTimer, type FastTimer } from './harness/fast-timers.ts';
import { ownQueue } from './harness/pending.ts';
import { permutation } from './harness/random.ts';
import { median } from './harness/stats.ts';
import { expectSame, expectTrue } from './harness/timed.ts';

/** Many timers of one kind. */
interface Timers {
  touch(at: number): void;
  stop(): void;
}

interface Kind {
  readonly role: Role;
  readonly name: string;
  arm(count: number, delayMs: number, fire: (at: number) => void): Timers;
}

const KINDS: readonly Kind[] = [
  {
    role: 'kcont',
    name: 'kcont',
    arm(count, delayMs, fire) {
      const wq = ownQueue();
      const kcs = Array.from({ length: count }, (_, at) => {
        const kc = new Kcont(wq, null, fire, at);
        kc.schedule(delayMs);
        return kc;
      });
      return {
        touch: (at) => void (kcs[at] as Kcont<number>).touch(),
        stop: () => kcs.forEach((kc) => kc.stop()),
      };
    },
  },
  {
    role: 'peer',
    name: 'refresh()',
    arm(count, delayMs, fire) {
      const timeouts = Array.from({ length: count }, (_, at) => setTimeout(fire, delayMs, at));
      return {
        touch: (at) => void (timeouts[at] as NodeJS.Timeout).refresh(),
        stop: () => timeouts.forEach((timeout) => clearTimeout(timeout)),
      };
    },
  },
  {
    role: 'peer',
    name: "undici's fast timer",
    arm(count, delayMs, fire) {
      const timers = Array.from({ length: count }, (_, at) => fastTimer(fire, delayMs, at));
      return {
        touch: (at) => (timers[at] as FastTimer<number>).refresh(),
        stop: () => timers.forEach((timer) => timer.clear()),
      };
    },
  },
  {
    role: 'floor',
    name: 'a loop that touches nothing',
    arm: () => ({ touch: () => undefined, stop: () => undefined }),
  },
];

const TURN_MS = 10;
const IDLE_MS = 3000;

/** Every timer is touched once a second, in turns of 10 ms, for so long that each is due twice. */
function kept({ role, name, arm }: Kind, effort: Effort): Side {
  const count = sized(effort, 100_000);
  const lastsMs = effort.quick ? 40 : 2 * IDLE_MS;
  const slice = Math.ceil((count * TURN_MS) / 1000);
  const order = permutation(count);
  let timers: Timers | undefined;
  let fired = 0;
  return {
    role,
    name,
    before() {
      timers = arm(count, IDLE_MS, () => void fired++);
    },
    async sample() {
      const begin = performance.now();
      const cpu = process.cpuUsage();
      let touched = 0;
      for (let turn = 0; turn < lastsMs / TURN_MS;) {
        // Late turns are made up for, so that the rate is the same for all.
        const due = Math.min(performance.now() - begin, lastsMs) / TURN_MS;
        for (; turn < due; turn++) {
          for (let i = 0; i < slice; i++) timers?.touch(order[touched++ % count] as number);
        }
        await sleep(TURN_MS);
      }
      const { user, system } = process.cpuUsage(cpu);
      expectSame('timers fired', fired, 0);
      return [((user + system) * 1000) / touched];
    },
    after() {
      timers?.stop();
      timers = undefined;
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

/** Timers are touched at odd moments; how far from their last touch + delay do they fire? */
function late({ role, name, arm }: Kind, effort: Effort): Side {
  const delayMs = effort.quick ? 500 : 1500;
  return {
    role,
    name,
    async sample() {
      const lates: number[] = [];
      const deadlines: number[] = [];
      const timers = arm(LATE_COUNT, delayMs, (at) => {
        lates.push(performance.now() - (deadlines[at] as number));
      });
      for (let at = 0; at < LATE_COUNT; at++) {
        await sleep(1 + (at % 3));
        deadlines[at] = performance.now() + delayMs;
        timers.touch(at);
      }
      const latest = Math.max(...deadlines) + 2000;
      while (lates.length < LATE_COUNT && performance.now() < latest) await sleep(1);
      expectSame('timers fired', lates.length, LATE_COUNT);
      if (role === 'kcont') expectTrue('none is early', Math.min(...lates) >= 0);
      return [median(lates.map((ms) => Math.abs(ms)))];
    },
  };
}

export function lateness(effort: Effort): Case {
  return {
    name: 'how far from its deadline a touched timer of 1.5 s fires',
    rounds: effort.quick ? 1 : 2,
    metrics: costs('ms', { against: "undici's fast timer", atLeast: 10 }),
    sides: () => KINDS.filter(({ role }) => role !== 'floor').map((kind) => late(kind, effort)),
  };
}
