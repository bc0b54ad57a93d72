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

const url = process.env['DATABASE_URL'];
const CONCURRENCY = 10;
const AT_ONCE = 16;
const CONNECTIONS = CONCURRENCY + 12;
const ROUNDS = 5;
const FAR_MS = 1e9;
const quiet = new Logger(() => () => undefined);
const PEER = 'graphile-worker';

/** What both sides can do. */
interface Queue {
  add(id: number, lock: string, delayMs: number): Promise<unknown>;
  close(): Promise<unknown>;
}

type Open = (schema: string, ran: () => void) => Promise<Queue>;

async function openKcont(schema: string, ran: () => void): Promise<Queue> {
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

async function openPeer(schema: string, ran: () => void): Promise<Queue> {
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
async function addAll(count: number, add: (i: number) => Promise<unknown>): Promise<void> {
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

/** One side, in a new schema for each round. */
function side(
  role: Role,
  name: string,
  open: Open,
  pending: number,
  measure: (
    queue: Queue,
    ran: { count: number; until(count: number): Promise<void> },
  ) => Promise<number>,
): Side {
  const schema = `kcont_bench_${process.pid}_${role}`;
  const ran = {
    count: 0,
    wanted: Infinity,
    enough: () => undefined as void,
    until(count: number): Promise<void> {
      if (ran.count >= count) return Promise.resolve();
      ran.wanted = count;
      return new Promise((resolve) => {
        ran.enough = resolve;
      });
    },
  };
  let queue: Queue;
  return {
    role,
    name,
    async before() {
      ran.count = 0;
      queue = await open(schema, () => {
        if (++ran.count === ran.wanted) ran.enough();
      });
      if (pending > 0) await pendingJobs(schema, pending);
      await sql('analyze');
    },
    async sample() {
      return [await measure(queue, ran)];
    },
    async after() {
      await queue.close();
      await sql(`drop schema if exists ${schema} cascade`);
      await sql(`drop schema if exists ${schema}_worker cascade`);
    },
  };
}

function makeCase(
  name: string,
  unit: 'µs' | 'ms',
  pending: number,
  measure: Parameters<typeof side>[4],
): Case {
  return {
    name,
    // Nine tenths of the throughput is 10/9 of the time.
    metrics: [{ name: '', unit, goals: [{ against: PEER, atLeast: 0.9 }] }],
    rounds: ROUNDS,
    collect: 'round',
    sides: () =>
      url === undefined
        ? []
        : [
            side('kcont', 'kcont/durable', openKcont, pending, measure),
            side('peer', PEER, openPeer, pending, measure),
          ],
  };
}

/** Figures are in the unit of their case. */
const US_PER_MS = 1000;

function cases(effort: Effort): readonly Case[] {
  const many = sized(effort, 1500, 50);
  const few = sized(effort, 100, 5);
  const endToEnd: (locks: number) => Parameters<typeof side>[4] = (locks) => async (queue, ran) => {
    const begin = performance.now();
    await addAll(many, (i) => queue.add(i, `lock:${i % locks}`, 0));
    await ran.until(many);
    expectSame('runs', ran.count, many);
    return ((performance.now() - begin) / many) * US_PER_MS;
  };
  return [
    makeCase(`schedule far ahead, ${AT_ONCE} at a time`, 'µs', 0, async (queue) => {
      const begin = performance.now();
      await addAll(many, (i) => queue.add(i, `lock:${i % 100}`, FAR_MS));
      return ((performance.now() - begin) / many) * US_PER_MS;
    }),
    makeCase('schedule and run, 100 locks', 'µs', 0, endToEnd(100)),
    makeCase('schedule and run, 1,000 locks', 'µs', 0, endToEnd(1000)),
    makeCase(
      'schedule and run, 100 locks, 100,000 pending',
      'µs',
      sized(effort, 100_000, 100),
      endToEnd(100),
    ),
    makeCase('from schedule to the call, idle', 'ms', 0, async (queue, ran) => {
      const begin = performance.now();
      for (let i = 0; i < few; i++) {
        await queue.add(i, `lock:${i}`, 0);
        await ran.until(i + 1);
      }
      return (performance.now() - begin) / few;
    }),
  ];
}

export const bench: Bench = {
  name: 'durable',
  about:
    'Durable continuations on PostgreSQL, beside graphile-worker 0.17 with the same concurrency, in new schemas for each round.',
  cases,
};
