// What it costs that timers expire: from the moment they are all due until all are entered.
//
// Both sides are on the host's clock. The timers are armed, then the thread sleeps, outside the event
// loop, until the last one is due; so what is measured is the work, none of the waiting. Beside it,
// the CPU time of timers that expire as time goes by, with the loop's wake-ups, the same for both.

import { setImmediate as turn } from 'node:timers/promises';
import type { HostTimeout } from '../lib/compat/timers/index.ts';
import { Kcont } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { Bare, bareCalls } from './harness/floors.ts';
import { ownQueue } from './harness/pending.ts';
import { permutation } from './harness/random.ts';
import { stall } from './harness/stall.ts';
import { Stopwatch } from './harness/stopwatch.ts';
import { expectSame, expectTrue } from './harness/timed.ts';

/** The first timer is due so long after arming began: none is due before all are armed. */
const HEAD_START_MS = 1000;
const HEAD_START_QUICK_MS = 300;
const NS_PER_US = 1000;

/** Which timers there are, and up to when they are waited for. */
export interface Plan {
  readonly delays: readonly number[];
  readonly windowMs: number;
  /** How many are due within the window. */
  readonly due: number;
}

export function planFor(
  { quick }: Effort,
  count: number,
  spreadMs: number,
  windowMs: number,
): Plan {
  const headStartMs = quick ? HEAD_START_QUICK_MS : HEAD_START_MS;
  const delays = Array.from(permutation(count), (at) => headStartMs + 1 + (at % spreadMs));
  const lastMs = headStartMs + windowMs;
  return { delays, windowMs: lastMs, due: delays.filter((ms) => ms <= lastMs).length };
}

/** Notes who is entered, in which order, and when the last one is. */
class Log {
  entered = 0;
  inOrder = true;
  readonly finished: Promise<void>;
  #finish: () => void = () => undefined;
  #latestMs = 0;
  readonly #due: number;

  constructor(due: number) {
    this.#due = due;
    this.finished = new Promise((resolve) => (this.#finish = resolve));
  }

  enter(deadlineMs: number): void {
    if (deadlineMs < this.#latestMs) this.inOrder = false;
    else this.#latestMs = deadlineMs;
    if (++this.entered === this.#due) this.#finish();
  }
}

/** Timers that are armed. */
interface Armed {
  /** Called in a later turn, when it is certain when each of them is due. */
  note(): void;
  /** Stops those that are left. */
  stop(): void;
}

export type Arm = (delays: readonly number[], log: Log) => Armed;

function armed(kcs: readonly Kcont<number>[]): Armed {
  return {
    note: () => kcs.forEach((kc) => kc.setArg(Math.round(kc.deadline))),
    stop: () => kcs.forEach((kc) => kc.destroy()),
  };
}

function armKconts(): Arm {
  const wq = ownQueue();
  return (delays, log) => {
    const enter = (deadlineMs: number): void => log.enter(deadlineMs);
    const kcs = delays.map((delayMs) => {
      const kc = new Kcont(wq, null, enter, 0);
      kc.schedule(delayMs);
      return kc;
    });
    return armed(kcs);
  };
}

/** For one delay: all at one tick or two, though arming them takes longer than that. */
function armKcontsAtOnce(): Arm {
  const wq = ownQueue();
  return (delays, log) => {
    const enter = (deadlineMs: number): void => log.enter(deadlineMs);
    const atMs = wq.kernel.now() + (delays[0] ?? NaN);
    const kcs = delays.map(() => {
      const kc = new Kcont(wq, null, enter, 0);
      kc.schedule(atMs - wq.kernel.now());
      return kc;
    });
    return armed(kcs);
  };
}

const nodeTimers = globalThis as unknown as TimerFunctions;

/** A closure each: calls without arguments are the cheapest. */
export function armTimeouts({ setTimeout, clearTimeout }: TimerFunctions = nodeTimers): Arm {
  return (delays, log) => {
    // Node does not promise an order among different delays.
    const timeouts = delays.map((delayMs) => setTimeout(() => log.enter(0), delayMs));
    return {
      note: () => undefined,
      stop: () => timeouts.forEach((timeout) => clearTimeout(timeout)),
    };
  };
}

/** As Node has them, or a drop-in. */
export interface TimerFunctions {
  setTimeout(callback: () => void, delayMs: number): HostTimeout;
  clearTimeout(timeout: HostTimeout): void;
}

/** From when all are due until all are entered, for each. */
export function drained(role: 'kcont' | 'peer', name: string, arm: Arm, plan: Plan): Side {
  async function sample(): Promise<readonly number[]> {
    const log = new Log(plan.due);
    const timers = arm(plan.delays, log);
    const armedMs = performance.now();
    // The host's timer is armed by the pass that the first of them asked for.
    await turn();
    await turn();
    timers.note();
    // Timers that wait are old. The collector would else be on its way while they expire, and be
    // paid for by whichever stores more.
    gc?.();
    stall(armedMs + plan.windowMs + 2 - performance.now());
    expectSame('entered while stalled', log.entered, 0);
    const watch = new Stopwatch();
    await log.finished;
    const { ns } = watch;
    timers.stop();
    expectTrue('all are entered in the order of their deadlines', log.inOrder);
    expectTrue('each is entered once', log.entered <= plan.delays.length);
    return [ns / plan.due];
  }
  return { role, name, warm: async () => void (await sample()), sample };
}

/**
 * A list of objects as large as a handle, linked in the order of their deadlines: each is looked at
 * once, and called. They lie in memory as they were made, in no order, and it is this that costs.
 */
function inOrder({ delays, due }: Plan): Side {
  let called = 0;
  const func = (): void => void called++;
  return {
    role: 'floor',
    name: 'a list in that order, each called',
    async sample() {
      const timers = delays.map((delayMs) => Object.assign(new Bare(), { due: delayMs, func }));
      const [first, ...others] = timers.toSorted((a, b) => a.due - b.due);
      let last = (first as Bare).prev;
      for (const timer of others) last = last.next = timer;
      gc?.();
      called = 0;
      const watch = new Stopwatch();
      let timer = first as Bare;
      for (let i = 0; i < due; i++) {
        timer.state = 1;
        timer.func?.();
        timer = timer.next;
      }
      const { ns } = watch;
      expectSame('functions called', called, due);
      return [ns / due];
    },
  };
}

/** How often a case is measured, and its goal. */
interface Measure {
  readonly rounds: number;
  /** By how much it is to be cheaper than setTimeout. */
  readonly atLeast: number;
}

function afterStall(
  name: string,
  effort: Effort,
  plan: Plan,
  { rounds, atLeast }: Measure,
  kconts: Arm,
): Case {
  return {
    name,
    rounds,
    metrics: costs('ns', { against: 'setTimeout', atLeast }),
    sides: () => [
      drained('kcont', 'kcont', kconts, plan),
      drained('peer', 'setTimeout', armTimeouts(), plan),
      bareCalls(sized(effort, 100_000)),
      inOrder(plan),
    ],
  };
}

/** CPU time for each timer, while they expire as time goes by. */
function livedThrough(role: Side['role'], name: string, arm: Arm, plan: Plan): Side {
  return {
    role,
    name,
    async sample() {
      const log = new Log(plan.due);
      const timers = arm(plan.delays, log);
      await turn();
      timers.note();
      const cpu = process.cpuUsage();
      await log.finished;
      const { user, system } = process.cpuUsage(cpu);
      timers.stop();
      expectTrue('all are entered in the order of their deadlines', log.inOrder);
      return [((user + system) * NS_PER_US) / plan.due];
    },
  };
}

/** Wakes up every ms and does nothing else. */
const armNothing: Arm = ([firstMs = 0], log) => {
  const begin = performance.now();
  let due = 0;
  const interval = setInterval(() => {
    const elapsedMs = performance.now() - begin;
    for (; due < elapsedMs; due++) if (due >= firstMs) log.enter(due);
  }, 1);
  return { note: () => undefined, stop: () => clearInterval(interval) };
};

function asTimeGoesBy(effort: Effort): Case {
  const spreadMs = sized(effort, 1000, 50);
  const plan = planFor(effort, sized(effort, 100_000), spreadMs, spreadMs);
  const asMany = plan.delays.length / spreadMs;
  const wakeUps: Plan = { ...plan, delays: [plan.windowMs - spreadMs], due: spreadMs };
  const floor = livedThrough('floor', 'a loop that wakes up every ms', armNothing, wakeUps);
  return {
    name: '100 k over 1 s, as time goes by: CPU for each',
    rounds: 5,
    metrics: costs('ns'),
    sides: () => [
      livedThrough('kcont', 'kcont', armKconts(), plan),
      livedThrough('peer', 'setTimeout', armTimeouts(), plan),
      { ...floor, sample: async () => (await floor.sample()).map((ns) => ns / asMany) },
    ],
  };
}

export const bench: Bench = {
  name: 'expire',
  about: 'Timers that are all due: until the last one is entered. The time for each, no waiting.',
  cases(effort) {
    const count = sized(effort, 100_000);
    const second = sized(effort, 1000, 50);
    const minute = sized(effort, 60_000, 500);
    return [
      afterStall(
        '100 k at one tick',
        effort,
        planFor(effort, count, 1, 1),
        { rounds: 7, atLeast: 4 },
        armKcontsAtOnce(),
      ),
      // In random order neither side can cost less than a cache miss for each.
      afterStall(
        '100 k over 1 s',
        effort,
        planFor(effort, count, second, second),
        { rounds: 7, atLeast: 1.2 },
        armKconts(),
      ),
      afterStall(
        '100 k over 60 s: those of the first 6 s',
        effort,
        planFor(effort, count, minute, minute / 10),
        { rounds: 5, atLeast: 4 },
        armKconts(),
      ),
      asTimeGoesBy(effort),
    ];
  },
};
