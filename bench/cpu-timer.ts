// Timers on another thread, from this one.

import { MessagePort, Worker } from 'node:worker_threads';
import { Kcont } from '../lib/index.ts';
import { sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { besideLimits } from './harness/runner.ts';
import { expectSame, expectTrue } from './harness/timed.ts';
import { bursts, type Burst } from './threads/bursts.ts';
import { ONE_THREAD, startOneCpu } from './threads/pools.ts';
import type * as work from './threads/work.ts';

const MANY = 1000;
const ARMED_MS = 60_000;
const LATER_MS = 90_000;
const EARLIER_MS = 30_000;
/** A deadline that `schedule` moves later takes a note that nobody is woken for, but for one in so many. */
const NOTES_PER_BELL = 1024;
const ending = import.meta.url.slice(-3);

/** Messages that this thread has posted through ports: door-bells among them. */
const posted: { count: number } = { count: 0 };

function countMessages(): void {
  const { postMessage } = MessagePort.prototype;
  MessagePort.prototype.postMessage = function (this: MessagePort, ...args) {
    posted.count++;
    postMessage.apply(this, args);
  };
}

/** What is done to timers that are pending, or not yet. */
interface Deed {
  readonly name: string;
  /** Whether they are pending before. */
  readonly armed: boolean;
  /** What it may cost on the calling thread, in ns. */
  readonly limit: number;
  /** How many messages it may take for one; Infinity: any number. */
  readonly messages: number;
  readonly act: (kc: Kcont<number>, cpu: OneCpuOfWork['cpu']) => boolean;
  /** When it is due afterwards; NaN: it is not pending. */
  readonly delayMs: number;
  /** What a bare thread is sent; negative: clear. */
  readonly order: number;
}

type OneCpuOfWork = Awaited<ReturnType<typeof startOneCpu<typeof work>>>;

const DEEDS: readonly Deed[] = [
  {
    name: 'arm',
    armed: false,
    limit: 650,
    messages: Infinity,
    act: (kc, cpu) => kc.schedule(ARMED_MS, cpu),
    delayMs: ARMED_MS,
    order: ARMED_MS,
  },
  {
    name: 'move later by touch()',
    armed: true,
    limit: 270,
    messages: 0,
    act: (kc) => kc.touch(),
    delayMs: ARMED_MS,
    order: ARMED_MS,
  },
  {
    name: 'move later by schedule()',
    armed: true,
    limit: 270,
    messages: 1 / NOTES_PER_BELL,
    act: (kc, cpu) => kc.schedule(LATER_MS, cpu),
    delayMs: LATER_MS,
    order: LATER_MS,
  },
  {
    name: 'move earlier',
    armed: true,
    limit: 650,
    messages: Infinity,
    act: (kc, cpu) => kc.schedule(EARLIER_MS, cpu),
    delayMs: EARLIER_MS,
    order: EARLIER_MS,
  },
  {
    name: 'stop',
    armed: true,
    limit: 500,
    messages: 0,
    act: (kc) => !kc.stop(),
    delayMs: NaN,
    order: -1,
  },
];

function kcont({ cpu, percpu, funcs, kernel }: OneCpuOfWork, count: number, deed: Deed): Side {
  const kcs = Array.from({ length: count }, (_, i) => new Kcont(percpu, null, funcs.enter, i));
  const settle = async (): Promise<void> => {
    // Behind them in the inbox: they have been filed.
    await percpu.run(funcs.echo, { arg: 0, cpu });
  };
  let before = 0;
  return bursts('kcont', 'kcont', {
    count,
    async prepare() {
      for (const kc of kcs) {
        kc.stop();
        if (deed.armed) kc.schedule(ARMED_MS, cpu);
      }
      await settle();
      posted.count = 0;
      before = kernel.now();
    },
    run() {
      let done = 0;
      for (const kc of kcs) if (deed.act(kc, cpu)) done++;
      expectSame(`timers on which this was done: ${deed.name}`, done, count);
      const most = deed.messages === 0 ? 0 : Math.ceil(count * deed.messages);
      expectTrue(`${posted.count} messages, at most ${most}`, posted.count <= most);
    },
    settle,
    finish() {
      const after = kernel.now();
      for (const kc of kcs) {
        if (Number.isNaN(deed.delayMs)) expectTrue('it is stopped', !kc.pending);
        else {
          const due = kc.deadline - deed.delayMs;
          expectTrue(`the deadline is right: ${deed.name}`, due > before - 1 && due < after + 1);
        }
      }
    },
    async end() {
      const { entered } = await percpu.run(funcs.taken, { cpu });
      expectSame('entered too early', entered, 0);
    },
  });
}

/** A message for each, and setTimeout over there. */
function messages(count: number, { armed, order, name }: Deed): Side {
  const worker = new Worker(new URL(`./threads/timer-thread${ending}`, import.meta.url));
  let answered: (size: number) => void = () => undefined;
  worker.on('message', (size: number) => answered(size));
  const armedThere = (): Promise<number> => {
    const answer = new Promise<number>((resolve) => (answered = resolve));
    worker.postMessage(null);
    return answer;
  };
  let size = 0;
  const burst: Burst = {
    count,
    async prepare() {
      for (let i = 0; i < count; i++) worker.postMessage([i, armed ? ARMED_MS : -1]);
      expectSame('timers armed before', await armedThere(), armed ? count : 0);
    },
    run() {
      for (let i = 0; i < count; i++) worker.postMessage([i, order]);
    },
    async settle() {
      size = await armedThere();
    },
    finish: () => expectSame(`timers armed after: ${name}`, size, order < 0 ? 0 : count),
  };
  return bursts('peer', 'a message, and setTimeout there', burst);
}

function timers(effort: Effort, deed: Deed): Case {
  const count = sized(effort, MANY, 100);
  const calls = 'on the calling thread';
  return {
    name: deed.name,
    metrics: [
      { name: calls, unit: 'ns', goals: [] },
      { name: 'until it is known there', unit: 'ns', goals: [] },
    ],
    compare: besideLimits({ [calls]: deed.limit }),
    async sides() {
      const one = await startOneCpu<typeof work>();
      countMessages();
      return [kcont(one, count, deed), messages(count, deed)];
    },
  };
}

export const bench: Bench = {
  name: 'cpu-timer',
  about: `A timer on another thread, which this one arms, moves and stops. ${ONE_THREAD}`,
  cases: (effort) => DEEDS.map((deed) => timers(effort, deed)),
};
