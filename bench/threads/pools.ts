// The ways to have a function run on one other thread and get its result: kcont, and the pools that
// run on this machine. Each has one thread beside the main one, which is what two cores carry.

import { Worker } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { Kernel, type Workqueue } from '../../lib/index.ts';
import { Cpu } from '../../lib/cpu/index.ts';
import type { Role, Side } from '../harness/bench.ts';
import { bursts, expectSame, timedOnThreads } from '../harness/timed.ts';
import {
  load,
  type PiscinaModule,
  type PiscinaOptions,
  type PiscinaPool,
  type WorkerpoolModule,
} from './peer.ts';

/** This file is .ts or .js, and so are those beside it. */
const ending = import.meta.url.slice(-3);

/** What the other thread runs. */
export type WorkFile = keyof typeof WORKERPOOL_FILES | 'move-work' | 'piscina-move-worker';

const WORKERPOOL_FILES = {
  work: 'workerpool-worker',
  'image-work': 'workerpool-image-worker',
} as const;

function beside(name: string): URL {
  return new URL(`./${name}${ending}`, import.meta.url);
}

/** Said in each report. */
export const ONE_THREAD = 'One worker thread beside the main one for each side.';

/** A kernel with one CPU besides this thread. It ends with the process. */
export interface OneCpu<Funcs> {
  readonly kernel: Kernel;
  readonly cpu: Cpu;
  /** A workqueue with a queue per CPU, of asynchronous functions. */
  readonly percpu: Workqueue;
  /** The functions that can run there. */
  readonly funcs: Funcs;
}

/** Starts it. */
export async function startOneCpu<Funcs>(file: WorkFile = 'work'): Promise<OneCpu<Funcs>> {
  const kernel = new Kernel();
  const funcs = await kernel.startCpus<Funcs>({ module: beside(file), count: 1 });
  const percpu = kernel.acquire(kernel.wq.prihigh.priority, { perCpu: true });
  const [, cpu] = kernel.cpus;
  if (!(cpu instanceof Cpu)) throw new Error('there is no CPU 1');
  return { kernel, cpu, percpu, funcs };
}

/** How a pool is asked for a run. */
export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly transfer?: readonly ArrayBuffer[];
}

/** A pool with one thread. */
export interface Pool {
  readonly name: string;
  run(func: string, arg: unknown, options?: RunOptions): Promise<unknown>;
}

export const PISCINA = 'piscina';
export const PISCINA_MANY = 'piscina, 100 tasks per worker';
export const TINYPOOL = 'tinypool';
export const WORKERPOOL = 'workerpool';

/** Starts piscina, with other options than the usual ones where they are given. */
export async function startPiscina(
  file: WorkFile,
  name: string = PISCINA,
  options: Partial<PiscinaOptions> = {},
): Promise<Pool> {
  const { default: Piscina } = await load<PiscinaModule>('piscina');
  return ofFamily(name, new Piscina({ ...usual(file), ...options }));
}

async function startTinypool(file: WorkFile): Promise<Pool> {
  const { default: Tinypool } = await load<PiscinaModule>('tinypool');
  return ofFamily(TINYPOOL, new Tinypool(usual(file)));
}

function usual(file: WorkFile): PiscinaOptions {
  const filename = beside(file).href;
  return { filename, minThreads: 1, maxThreads: 1, idleTimeout: 2 ** 31 - 1 };
}

function ofFamily(name: string, pool: PiscinaPool): Pool {
  return {
    name,
    run: (func, arg, { signal = null, transfer = [] } = {}) =>
      pool.run(arg, { name: func, signal, transferList: transfer }),
  };
}

async function startWorkerpool(file: keyof typeof WORKERPOOL_FILES): Promise<Pool> {
  const { default: workerpool } = await load<WorkerpoolModule>('workerpool');
  const pool = workerpool.pool(fileURLToPath(beside(WORKERPOOL_FILES[file])), {
    workerType: 'thread',
    minWorkers: 1,
    maxWorkers: 1,
  });
  return {
    name: WORKERPOOL,
    run: async (func, arg, { transfer = [] } = {}) => await pool.exec(func, [arg], { transfer }),
  };
}

type Start = (file: keyof typeof WORKERPOOL_FILES) => Promise<Pool>;

/** In the order of the report. */
const STARTS: readonly (readonly [string, Start])[] = [
  [PISCINA, (file) => startPiscina(file)],
  [PISCINA_MANY, (file) => startPiscina(file, PISCINA_MANY, { concurrentTasksPerWorker: 100 })],
  [TINYPOOL, startTinypool],
  [WORKERPOOL, startWorkerpool],
];

/** Starts the pools of these names, but for those that do not run here. */
export async function startPools(
  file: keyof typeof WORKERPOOL_FILES,
  ...names: readonly string[]
): Promise<Pool[]> {
  const pools: Pool[] = [];
  for (const [name, start] of STARTS) {
    if (names.includes(name)) pools.push(...(await ifItRuns(name, () => start(file))));
  }
  return pools;
}

/** Starts a pool and tries it. If it does not run here, that is said, and it is left out. */
export async function ifItRuns(name: string, start: () => Promise<Pool>): Promise<Pool[]> {
  try {
    const pool = await start();
    expectSame('echo(42)', (await pool.run('echo', 42)) as number, 42);
    return [pool];
  } catch (error) {
    console.error(`left out: ${name} does not run here: ${String(error)}`);
    return [];
  }
}

/** A thread that sends back what it gets, and nothing else. It ends with the process. */
export class BareThread {
  readonly #worker = new Worker(beside('echo-thread'));
  #answered: (value: unknown) => void = () => undefined;

  constructor() {
    this.#worker.on('message', (value) => this.#answered(value));
  }

  /** One round trip. */
  echo(value: unknown): Promise<unknown> {
    return new Promise((resolve) => {
      this.#answered = resolve;
      this.#worker.postMessage(value);
    });
  }

  /** So many at once, and their sum. */
  echoAll(count: number): Promise<number> {
    return new Promise((resolve) => {
      let left = count;
      let sum = 0;
      this.#answered = (value) => {
        sum += value as number;
        if (--left === 0) resolve(sum);
      };
      for (let i = 0; i < count; i++) this.#worker.postMessage(i);
    });
  }
}

/** The sum of 0 … count − 1. */
export function sumBelow(count: number): number {
  return (count * (count - 1)) / 2;
}

/** A side whose operation is a run that returns the number it is given; so many of them at once. */
export function inBursts(
  role: Role,
  name: string,
  count: number,
  run: (value: number) => Promise<unknown>,
): Side {
  return timedOnThreads(role, name, bursts(count, run, sumBelow(count)));
}

/**
 * The same with a rolling window: each run that ends begins the next one, so that so many are always in
 * flight.
 */
export function inWindow(
  role: Role,
  name: string,
  count: number,
  run: (value: number) => Promise<unknown>,
): Side {
  let sum = 0;
  return timedOnThreads(role, name, {
    batch: count,
    async run(ops) {
      let next = 0;
      sum = 0;
      const one = async (): Promise<void> => {
        while (next < ops) {
          const result = await run(next++);
          sum += result as number;
        }
      };
      await Promise.all(Array.from({ length: count }, one));
    },
    check: (ops) => expectSame('the sum of the results', sum, sumBelow(ops)),
  });
}
