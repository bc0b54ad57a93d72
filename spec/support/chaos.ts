// Chaos: a cluster of processes on PostgreSQL runs continuations while processes are killed and suspended,
// connections are cut, and one process has a wrong clock. What it has recorded is judged afterwards.

import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { Kernel } from '../../lib/index.ts';
import {
  durable,
  type BackendNode,
  type DurableBackend,
  type DurableKcont,
} from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';
import { NodeProcess, Proxy, createLog, judge, readLog, type Verdict } from './chaos-cluster.ts';
import type { Work } from './chaos-node.ts';
import type { OwnServer } from './own-server.ts';
import { DATABASE_URL, dropSchema, newSchema, withClient } from './database.ts';

/** What one round does. */
export interface ChaosPlan {
  readonly seed: number;
  readonly nodes: number;
  readonly jobs: number;
  readonly locks: number;
  /** The faults, in this order. */
  readonly faults: readonly Fault[];
  /** The server of the cluster; by default the one of DATABASE_URL, which must not be restarted. */
  readonly server?: OwnServer;
}

/**
 * `kill`: SIGKILL, and a new process. `suspend`: SIGSTOP for longer than the liveness limit. `cut`: the proxy
 * ends all connections of one process. `server`: the server ends all connections of the cluster. `restart`: the
 * server is restarted. `crash`: it is ended without a checkpoint, and recovers.
 */
export type Fault = 'kill' | 'suspend' | 'cut' | 'server' | 'restart' | 'crash';

/** The result of a round. */
export interface ChaosReport extends Verdict {
  readonly scheduled: number;
  readonly stopped: number;
  /** Those that need not end: `cancel` has failed, or was too late to withdraw the run in flight. */
  readonly unknown: number;
  readonly refused: number;
  readonly ms: number;
}

const LIVENESS_MS = 1000;
/** How long it may take until all has been run, or a statement succeeds again, in ms. */
const LONGEST_MS = 60_000;

/** A small pseudo-random generator: mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Runs one round. */
export async function chaos(plan: ChaosPlan): Promise<ChaosReport> {
  const random = randomFrom(plan.seed);
  const schema = newSchema();
  const startMs = performance.now();
  const url = plan.server?.url ?? DATABASE_URL;
  if (url === undefined) throw new Error('there is no server');
  const proxies = await Promise.all(Array.from({ length: plan.nodes }, () => Proxy.start(url)));
  const all: NodeProcess[] = [];
  const start = (index: number): NodeProcess => {
    const node = new NodeProcess({
      url: (proxies[index] as Proxy).url,
      schema,
      node: `n${index}`,
      livenessMs: LIVENESS_MS,
      // The clock of one process is an hour fast.
      shiftMs: index === 0 ? 3_600_000 : 0,
    });
    all.push(node);
    return node;
  };
  const backend = withoutRuns(graphile({ connectionString: url, schema }));
  const jobs = await durable({ backend, node: 'scheduler', kernel: new Kernel() });
  const scheduler = new Scheduler(url, schema);
  try {
    await createLog(schema, url);
    await withClient(
      (client) => client.query(`create table ${schema}.marks (id text primary key)`),
      url,
    );
    const nodes = plan.faults.length === 0 ? [] : proxies.map((_, index) => start(index));
    await Promise.all(nodes.map(({ ready }) => ready));
    jobs.define<Work>('work', { crashLimit: 100 }, () => undefined);
    // Every third one is bound to a node; the others may run on any.
    const nodeOf = (i: number): string | null => (i % 3 === 0 ? `n${i % plan.nodes}` : null);
    const kc = (i: number, forMs: number) => {
      const lock = `l${i % plan.locks}`;
      const node = nodeOf(i);
      return jobs.kcont(
        `x${i}`,
        'work',
        { lock, forMs },
        node === null ? { lock } : { lock, node },
      );
    };
    const groupOf = (id: string, lock: string): string =>
      `${lock} ${nodeOf(Number(id.slice(1))) ?? 'any'}`;
    const order: string[] = [];
    const stopped = new Set<string>();
    const unknown = new Set<string>();
    const scheduling = (async () => {
      for (let i = 0; i < plan.jobs; i++) {
        const one = kc(i, 2 + Math.floor(random() * 30));
        await scheduler.schedule(one);
        order.push(one.id);
        if (random() < 0.1) {
          const answer = await one.cancel().catch(() => undefined);
          // A run in flight that was stopped is not begun again if its node dies.
          if (answer === undefined || answer.running) unknown.add(one.id);
          else if (answer.withdrawn) stopped.add(one.id);
        }
      }
    })();
    // It is awaited after the faults.
    scheduling.catch(() => undefined);
    for (const fault of plan.faults) {
      await sleep(300 + random() * 400);
      const index = Math.floor(random() * plan.nodes);
      await inject(fault, index, { nodes, proxies, start, url, server: plan.server });
    }
    await scheduling;
    const ids = order.filter((id) => !stopped.has(id) && !unknown.has(id));
    const limitMs = performance.now() + LONGEST_MS;
    for (;;) {
      const ended = new Set((await readLog(schema, url)).filter(isEnd).map(({ id }) => id));
      if (ids.every((id) => ended.has(id)) || performance.now() > limitMs) break;
      await sleep(50);
    }
    // Whoever was cut off would write now, if it could.
    await sleep(LIVENESS_MS / 2);
    const refused = all.flatMap(({ messages }) => messages).filter(isRefusal).length;
    const verdict = judge(await readLog(schema, url), order, stopped, groupOf);
    return {
      ...verdict,
      lost: verdict.lost.filter((id) => !unknown.has(id)),
      scheduled: order.length,
      stopped: stopped.size,
      unknown: unknown.size,
      refused,
      ms: Math.round(performance.now() - startMs),
    };
  } finally {
    await Promise.all(all.map((node) => node.kill()));
    for (const proxy of proxies) proxy.stop();
    await scheduler.end();
    await jobs.close({ graceMs: 0 });
    await dropSchema(schema, url);
  }
}

/** A backend whose node schedules, but runs nothing. */
function withoutRuns(backend: DurableBackend): DurableBackend {
  return {
    caps: backend.caps,
    async open(host) {
      const node = await backend.open(host);
      const methods = ['schedule', 'stop', 'touch', 'ack', 'state', 'drain'] as const;
      const others = ['parked', 'release', 'cron', 'pause', 'close'] as const;
      const bound = [...methods, ...others].map((name) => [
        name,
        (...args: never[]): unknown => Reflect.apply(node[name], node, args),
      ]);
      return { ...(Object.fromEntries(bound) as BackendNode), handle: () => undefined };
    },
  };
}

function isEnd({ event }: { event: string }): boolean {
  return event === 'end';
}

function isRefusal(message: unknown): boolean {
  return typeof message === 'object' && message !== null && 'refused' in message;
}

/**
 * Schedules in transactions together with a mark. If the connection is lost, the mark says whether a transaction
 * was committed, so that nothing is scheduled twice.
 */
class Scheduler {
  readonly #url: string;
  readonly #schema: string;
  #client: Client | undefined = undefined;

  constructor(url: string, schema: string) {
    this.#url = url;
    this.#schema = schema;
  }

  async schedule(kc: DurableKcont<Work>): Promise<void> {
    const limitMs = performance.now() + LONGEST_MS;
    for (;;) {
      try {
        await this.#try(kc);
        return;
      } catch (error) {
        if (performance.now() > limitMs) throw error;
        await this.end();
        await sleep(20);
      }
    }
  }

  async #try(kc: DurableKcont<Work>): Promise<void> {
    if (this.#client === undefined) {
      this.#client = new Client({ connectionString: this.#url });
      this.#client.on('error', () => undefined);
      await this.#client.connect();
    }
    const client = this.#client;
    await client.query('begin');
    const { rowCount } = await client.query(
      `insert into ${this.#schema}.marks (id) values ($1) on conflict do nothing`,
      [kc.id],
    );
    if (rowCount === 1) await kc.schedule(0, { client });
    await client.query('commit');
  }

  async end(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => undefined);
  }
}

interface Cluster {
  readonly nodes: NodeProcess[];
  readonly proxies: readonly Proxy[];
  readonly url: string;
  readonly server: OwnServer | undefined;
  start(index: number): NodeProcess;
}

async function inject(fault: Fault, index: number, cluster: Cluster): Promise<void> {
  const { nodes, proxies, url, server } = cluster;
  const node = nodes[index] as NodeProcess;
  if (fault === 'kill') {
    await node.kill();
    nodes[index] = cluster.start(index);
    await nodes[index].ready;
  } else if (fault === 'suspend') {
    node.signal('SIGSTOP');
    await sleep(LIVENESS_MS * 2.5);
    node.signal('SIGCONT');
  } else if (fault === 'cut') {
    (proxies[index] as Proxy).cut();
  } else if (fault === 'server') {
    await withClient(
      (client) =>
        client.query(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and application_name like 'kcont:%'`),
      url,
    );
  } else {
    if (server === undefined) throw new Error(`${fault} needs a server of its own`);
    await server.restart(fault === 'crash' ? 'immediate' : 'fast');
  }
}

/** Whether a round has broken a promise. */
export function isBroken(report: ChaosReport): boolean {
  const { lost, twoHolders, outOfOrder, stoppedButRan, begunTwice } = report;
  return [lost, twoHolders, outOfOrder, stoppedButRan, begunTwice].some(({ length }) => length > 0);
}
