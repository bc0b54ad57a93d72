// Durable continuations on PostgreSQL, beside graphile-worker itself with the same settings. Needs
// DATABASE_URL: without it the cases have no sides.

import {
  Logger,
  makeWorkerUtils,
  runMigrations,
  runTaskList,
  type WorkerPool,
  type WorkerUtils,
} from 'graphile-worker';
import { Client, Pool } from 'pg';
import { Kernel } from '../lib/index.ts';
import { durable, type Durable } from '../lib/durable/index.ts';
import { graphile } from '../lib/durable/graphile/index.ts';
import {
  sized,
  type Bench,
  type Case,
  type Effort,
  type Role,
  type Side,
} from './harness/bench.ts';
import { expectSame } from './harness/timed.ts';

/** Without it there is nothing to measure. */
export const url: string | undefined = process.env['DATABASE_URL'];
const CONCURRENCY = 10;
const AT_ONCE = 16;
const CONNECTIONS = CONCURRENCY + 12;
const ROUNDS = 5;
export const FAR_MS = 1e9;
const quiet = new Logger(() => () => undefined);
export const PEER = 'graphile-worker';

/** What both sides can do. */
export interface Queue {
  add(id: number, lock: string, delayMs: number): Promise<unknown>;
  close(): Promise<unknown>;
}

export type Open = (schema: string, ran: () => void) => Promise<Queue>;

export async function openKcont(schema: string, ran: () => void): Promise<Queue> {
  // As many connections for operations as the peer has in all.
  const pool = new Pool({ connectionString: url as string, max: CONNECTIONS });
  pool.on('error', () => undefined);
  const backend = graphile({ pool, schema });
  const jobs: Durable = await durable({
    backend,
    node: 'bench',
    kernel: new Kernel(),
    concurrency: CONCURRENCY,
  });
  jobs.define<number>('work', ran);
  return {
    add: (id, lock, delayMs) => jobs.kcont(`job:${id}`, 'work', id, { lock }).schedule(delayMs),
    async close() {
      await jobs.close();
      await pool.end();
    },
  };
}

export async function openPeer(schema: string, ran: () => void): Promise<Queue> {
  const pgPool = new Pool({ connectionString: url as string, max: CONNECTIONS });
  pgPool.on('error', () => undefined).on('connect', () => undefined);
  const options = { pgPool, schema: `${schema}_worker`, logger: quiet };
  await runMigrations(options);
  const utils: WorkerUtils = await makeWorkerUtils(options);
  const pool: WorkerPool = runTaskList(
    {
      ...options,
      concurrency: CONCURRENCY,
      noHandleSignals: true,
      gracefulShutdownAbortTimeout: 1,
    },
    { work: ran },
    pgPool,
  );
  return {
    add: (id, queueName, delayMs) =>
      utils.addJob(
        'work',
        { arg: id },
        {
          queueName,
          jobKey: `job:${id}`,
          ...(delayMs === 0 ? {} : { runAt: new Date(Date.now() + delayMs) }),
        },
      ),
    async close() {
      await pool.gracefulShutdown();
      await utils.release();
      await pgPool.end();
    },
  };
}

/** Calls `add` for each number, some at a time. */
export async function addAll(count: number, add: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await add(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function sql(text: string): Promise<void> {
  const client = new Client({ connectionString: url as string });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

/** Jobs in the far future, which a bench has to go around. */
function pendingJobs(schema: string, count: number): Promise<void> {
  return sql(`select count(*) from ${schema}_worker.add_jobs(array(
    select row('work', '{}', null, now() + interval '10 days', null, 'far:' || i, null, null)
      ::${schema}_worker.job_spec
    from generate_series(1, ${count}) i))`);
}

/** The runs of a side. */
export interface Ran {
  readonly count: number;
  /** When the first of them began, by performance.now. */
  readonly firstMs: number;
  /** Fulfilled when so many have begun. */
  until(count: number): Promise<void>;
}

/** Returns a figure for each metric. */
export type Measure = (queue: Queue, ran: Ran) => Promise<readonly number[]>;

/** One side, in a new schema for each round. */
export function side(
  role: Role,
  name: string,
  open: Open,
  pending: number,
  measure: Measure,
  at?: number,
): Side {
  const schema = `kcont_bench_${process.pid}_${role}`;
  const ran = {
    firstMs: 0,
    count: 0,
    waiting: new Map<number, () => void>(),
    until(count: number): Promise<void> {
      if (ran.count >= count) return Promise.resolve();
      return new Promise((resolve) => void ran.waiting.set(count, resolve));
    },
  };
  let queue: Queue;
  return {
    role,
    name,
    ...(at === undefined ? {} : { at }),
    async before() {
      ran.count = 0;
      ran.waiting.clear();
      queue = await open(schema, () => {
        if (ran.count === 0) ran.firstMs = performance.now();
        ran.waiting.get(++ran.count)?.();
      });
      if (pending > 0) await pendingJobs(schema, pending);
      await sql('analyze');
    },
    async sample() {
      return await measure(queue, ran);
    },
    async after() {
      await queue.close();
      await sql(`drop schema if exists ${schema} cascade`);
      await sql(`drop schema if exists ${schema}_worker cascade`);
    },
  };
}

const SIDES = [
  ['kcont', 'kcont/durable', openKcont],
  ['peer', PEER, openPeer],
] as const;

/** Both sides, with so many jobs pending in the far future. */
export function bothSides(pending: number, measure: Measure, at?: number): readonly Side[] {
  if (url === undefined) return [];
  return SIDES.map(([role, name, open]) => side(role, name, open, pending, measure, at));
}

/** Nine tenths of the throughput is 10/9 of the time. */
const GOAL = { against: PEER, atLeast: 0.9 };

/** Figures are in the unit of their metric. */
export const US_PER_MS = 1000;

/** Schedules and runs many: the time for each, in µs. */
export function endToEnd(many: number, locks: number): Measure {
  return async (queue, ran) => {
    const begin = performance.now();
    await addAll(many, (i) => queue.add(i, `lock:${i % locks}`, 0));
    await ran.until(many);
    expectSame('runs', ran.count, many);
    return [((performance.now() - begin) / many) * US_PER_MS];
  };
}

/** How long some calls took, in ms: the median, and the 95th percentile. */
function spreadOf(delays: readonly number[]): readonly number[] {
  const sorted = delays.toSorted((a, b) => a - b);
  return [0.5, 0.95].map((part) => sorted[Math.floor(part * sorted.length)] ?? NaN);
}

/** How long it takes from `schedule` to the call, one after the other. */
function latency(probes: number): Measure {
  return async (queue, ran) => {
    const delays: number[] = [];
    for (let i = 0; i < probes; i++) {
      const begin = performance.now();
      await queue.add(i, `lock:${i}`, 0);
      await ran.until(i + 1);
      delays.push(performance.now() - begin);
    }
    return spreadOf(delays);
  };
}

/**
 * How long it takes while others are scheduled at a fixed rate, a quarter of what both sides can do. A call counts
 * for the oldest that has not been called, so those that overtake each other are averaged.
 */
function latencyUnderLoad(count: number): Measure {
  return async (queue, ran) => {
    const delays: number[] = [];
    const adding: Promise<unknown>[] = [];
    const begin = performance.now();
    for (let i = 0; i < count; i++) {
      const at = begin + i * LOAD_PERIOD_MS;
      await new Promise((resolve) => setTimeout(resolve, at - performance.now()));
      adding.push(queue.add(i, `lock:${i}`, 0));
      void ran.until(i + 1).then(() => delays.push(performance.now() - at));
    }
    await Promise.all(adding);
    await ran.until(count);
    expectSame('runs', ran.count, count);
    return spreadOf(delays);
  };
}

/** One in 25 ms: 40 per second. */
const LOAD_PERIOD_MS = 25;
const LATENCIES = ['the median', '95 %'].map((name) => ({
  name,
  unit: 'ms' as const,
  goals: [],
}));

function cases(effort: Effort): readonly Case[] {
  const many = sized(effort, 1500, 50);
  const throughput = [{ name: '', unit: 'µs' as const, goals: [GOAL] }];
  const usual = { rounds: ROUNDS, collect: 'round' as const };
  return [
    {
      ...usual,
      name: `schedule far ahead, ${AT_ONCE} at a time`,
      metrics: throughput,
      sides: () =>
        bothSides(0, async (queue) => {
          const begin = performance.now();
          await addAll(many, (i) => queue.add(i, `lock:${i % 100}`, FAR_MS));
          return [((performance.now() - begin) / many) * US_PER_MS];
        }),
    },
    {
      ...usual,
      name: 'schedule and run, 100 locks',
      metrics: throughput,
      sides: () => bothSides(0, endToEnd(many, 100)),
    },
    {
      ...usual,
      name: 'from schedule to the call, idle',
      metrics: LATENCIES,
      sides: () => bothSides(0, latency(sized(effort, 100, 5))),
    },
    {
      ...usual,
      name: 'from schedule to the call, 40 others per second',
      metrics: LATENCIES,
      sides: () => bothSides(0, latencyUnderLoad(sized(effort, 160, 10))),
    },
  ];
}

export const bench: Bench = {
  name: 'durable',
  about:
    'Durable continuations on PostgreSQL, beside graphile-worker 0.17 with the same concurrency and as many connections, in new schemas for each round.',
  cases,
};
