// schedule(0) until the function is entered, in bursts: from the first call until the last entry.

import { AsyncLocalStorage } from 'node:async_hooks';
import fastq from 'fastq';
import PQueue from 'p-queue';
import { Kcont, Kernel, type Workqueue } from '../lib/index.ts';
import {
  costs,
  sized,
  type Bench,
  type Case,
  type Comparison,
  type Effort,
  type Figures,
  type Goal,
  type Metric,
  type Role,
  type Side,
} from './harness/bench.ts';
import { BareDispatcher, BareJob } from './harness/bare-dispatcher.ts';
import { bareCalls } from './harness/floors.ts';
import { compare, comparePeers } from './harness/runner.ts';
import { expectSame, expectTrue, timed, type Work } from './harness/timed.ts';

const SET_IMMEDIATE = 'setImmediate';
const P_QUEUE = 'p-queue';
const BARE_DISPATCHER = 'a bare dispatcher';
/** Its synchronous workers call each other: a longer burst is too deep for the stack. */
const FASTQ_DEEPEST = 1000;

/** One job of a burst. */
interface Job {
  readonly at: number;
  /** 0 is the highest. */
  readonly priority: number;
}

/** Where all jobs of all sides end up. */
class Burst {
  readonly jobs: readonly Job[];
  readonly #ranked: boolean;
  #entered = 0;
  #inOrder = true;
  #latest = -1;
  #finish: () => void = () => undefined;

  /** Jobs of these many priorities; `ranked`: they are to be entered by priority. */
  constructor(size: number, priorities: number, ranked: boolean) {
    this.jobs = Array.from({ length: size }, (_, at) => ({
      at,
      priority: (at * 5) % priorities,
    }));
    this.#ranked = ranked;
  }

  /** Entered by priority if they are to be, and first come first served within it. */
  enter(job: Job): void {
    const rank = this.#ranked ? job.priority * this.jobs.length + job.at : job.at;
    if (rank < this.#latest) this.#inOrder = false;
    this.#latest = rank;
    if (++this.#entered === this.jobs.length) this.#finish();
  }

  /** Hands out all jobs, and waits until all have been entered. */
  async once(add: () => void): Promise<void> {
    this.#entered = 0;
    this.#latest = -1;
    const finished = new Promise<void>((resolve) => (this.#finish = resolve));
    add();
    await finished;
  }

  get size(): number {
    return this.jobs.length;
  }

  check(): void {
    expectSame('jobs entered', this.#entered, this.size);
    expectTrue('jobs are entered in their order', this.#inOrder);
  }
}

/** A side that runs bursts; `prepare` returns what adds all jobs of one. */
function bursts(
  role: Role,
  name: string,
  { size, priorities }: { readonly size: number; readonly priorities: number },
  { ranked, prepare }: { ranked: boolean; prepare: (burst: Burst) => () => void },
): Side {
  const burst = new Burst(size, priorities, ranked);
  const add = prepare(burst);
  const work: Work = {
    batch: size,
    async run(ops) {
      for (let done = 0; done < ops; done += size) await burst.once(add);
    },
    check: () => burst.check(),
  };
  return timed(role, name, work);
}

interface Shape {
  readonly size: number;
  readonly priorities: number;
}

function kconts(shape: Shape): Side {
  const { wq } = new Kernel();
  const queues: readonly Workqueue[] = [
    wq.softserial,
    wq.softnet,
    wq.softbio,
    wq.softclock,
    wq.prihigh,
    wq.primedhigh,
    wq.primedlow,
    wq.prilow,
  ];
  return bursts('kcont', 'kcont', shape, {
    ranked: true,
    prepare(burst) {
      const enter = (job: Job): void => burst.enter(job);
      const kcs = burst.jobs.map(
        (job) => new Kcont(queues[job.priority] as Workqueue, null, enter, job),
      );
      return () => {
        for (const kc of kcs) kc.schedule();
      };
    },
  });
}

/** Those that know no priorities. */
function unranked(shape: Shape): Side[] {
  const ranked = false;
  return [
    bursts('peer', SET_IMMEDIATE, shape, {
      ranked,
      prepare(burst) {
        const enter = (job: Job): void => burst.enter(job);
        return () => {
          for (const job of burst.jobs) setImmediate(enter, job);
        };
      },
    }),
    bursts('peer', 'queueMicrotask', shape, {
      ranked,
      prepare: (burst) => () => {
        for (const job of burst.jobs) queueMicrotask(() => burst.enter(job));
      },
    }),
    bursts('peer', 'process.nextTick', shape, {
      ranked,
      prepare(burst) {
        const enter = (job: Job): void => burst.enter(job);
        return () => {
          for (const job of burst.jobs) process.nextTick(enter, job);
        };
      },
    }),
    ...(shape.size <= FASTQ_DEEPEST ? [fastQueue(shape)] : []),
  ];
}

function fastQueue(shape: Shape): Side {
  return bursts('peer', 'fastq', shape, {
    ranked: false,
    prepare(burst) {
      const queue = fastq<unknown, Job>((job, done) => {
        burst.enter(job);
        done(null);
      }, 1);
      return () => {
        queue.pause();
        for (const job of burst.jobs) queue.push(job);
        queue.resume();
      };
    },
  });
}

function pQueue(shape: Shape): Side {
  return bursts('peer', P_QUEUE, shape, {
    ranked: true,
    prepare(burst) {
      const queue = new PQueue({ concurrency: 1 });
      return () => {
        queue.pause();
        for (const job of burst.jobs) {
          void queue.add(() => burst.enter(job), { priority: -job.priority });
        }
        queue.start();
      };
    },
  });
}

/** The same jobs in a dispatcher that does nothing but dispatch. */
function bareDispatch(shape: Shape): Side {
  return bursts('floor', BARE_DISPATCHER, shape, {
    ranked: true,
    prepare(burst) {
      const dispatcher = new BareDispatcher<Job>();
      const enter = (job: Job): void => burst.enter(job);
      const jobs = burst.jobs.map((job) => new BareJob(job.priority, enter, job));
      return () => {
        for (const job of jobs) dispatcher.schedule(job);
      };
    },
  });
}

const COUNTS: Readonly<Record<number, string>> = {
  1: '1',
  10: '10',
  1000: '1 k',
  100_000: '100 k',
};

/** Beside the peers, what kcont costs in terms of a dispatcher that does nothing else. */
function besideFloor(metric: Metric, sides: readonly Figures[]): Comparison[] {
  const found = comparePeers(metric, sides);
  const kcont = sides.find(({ role }) => role === 'kcont');
  const floor = sides.find(({ name }) => name === BARE_DISPATCHER);
  if (kcont === undefined || floor === undefined) return found;
  const threefold: Goal = { against: BARE_DISPATCHER, atMost: 3 };
  return [...found, compare(kcont.samples, floor, { ...metric, goals: [threefold] })];
}

function shaped(effort: Effort, size: number, priorities: number, ...goals: Goal[]): Case {
  const shape: Shape = { size: sized(effort, size), priorities };
  const ranks = priorities === 1 ? 'one priority' : `${priorities} priorities`;
  return {
    name: `bursts of ${COUNTS[size]}, ${ranks}`,
    ...(size >= 100_000 ? { rounds: priorities === 1 ? 7 : 3 } : {}),
    metrics: costs('ns', ...goals),
    ...(size >= 1000 ? { compare: besideFloor } : {}),
    sides: () => [
      kconts(shape),
      ...unranked(shape),
      pQueue(shape),
      bareDispatch(shape),
      bareCalls(shape.size),
    ],
  };
}

/** In a server that keeps a store per request, Node has more to do for everything it makes. */
function inRequest(effort: Effort): Case {
  const storage = new AsyncLocalStorage<object>();
  const test = shaped(effort, 1000, 1);
  return {
    ...test,
    name: `${test.name}, an AsyncLocalStorage in use`,
    sides(how) {
      storage.enterWith({});
      return test.sides(how);
    },
  };
}

/** The cost of a job in bursts of these many, at eight priorities: that of a sorted array grows with the burst. */
const CURVE = [10_000, 100_000, 200_000] as const;
/** At the largest burst. */
const BESIDE_P_QUEUE = 500;

function curve(effort: Effort): Case[] {
  return CURVE.map((full): Case => {
    const shape: Shape = { size: sized(effort, full), priorities: 8 };
    const isLargest = full === CURVE.at(-1);
    return {
      name: `bursts of ${full / 1000} k, 8 priorities, beside a sorted array`,
      rounds: 3,
      metrics: costs('ns', ...(isLargest ? [{ against: P_QUEUE, atLeast: BESIDE_P_QUEUE }] : [])),
      sides: () => [kconts(shape), pQueue(shape)],
    };
  });
}

export const bench: Bench = {
  name: 'run-soon',
  about:
    'Jobs that run soon: from the first schedule() until the last function is entered, for each.',
  cases(effort) {
    const never: Goal = { against: SET_IMMEDIATE, atLeast: 1 };
    const twice: Goal = { against: SET_IMMEDIATE, atLeast: 2 };
    return [
      shaped(effort, 1, 1, never),
      shaped(effort, 10, 1, never),
      shaped(effort, 1000, 1, twice),
      shaped(effort, 100_000, 1, twice),
      shaped(effort, 10, 8, never),
      shaped(effort, 1000, 8, twice),
      inRequest(effort),
      shaped(effort, 100_000, 8, twice),
      ...curve(effort),
    ];
  },
};
