// Chaos: a cluster of processes on PostgreSQL runs continuations while processes are killed and suspended,
// connections are cut, and one process has a wrong clock. What it has recorded is judged afterwards.

import { setTimeout as sleep } from 'node:timers/promises';
import { Kernel } from '../../lib/index.ts';
import { durable, type BackendNode, type DurableBackend } from '../../lib/durable/index.ts';
import { graphile } from '../../lib/durable/graphile/index.ts';
import { NodeProcess, Proxy, createLog, judge, readLog, type Verdict } from './chaos-cluster.ts';
import type { Work } from './chaos-node.ts';
import { DATABASE_URL, dropSchema, newSchema, withClient } from './database.ts';

/** What one round does. */
export interface ChaosPlan {
  readonly seed: number;
  readonly nodes: number;
  readonly jobs: number;
  readonly locks: number;
  /** The faults, in this order. */
  readonly faults: readonly Fault[];
}

/**
 * `kill`: SIGKILL, and a new process. `suspend`: SIGSTOP for longer than the liveness limit. `cut`: the proxy
 * ends all connections of one process. `server`: the server ends all connections of the cluster, as when
 * it is restarted.
 */
export type Fault = 'kill' | 'suspend' | 'cut' | 'server';

/** The result of a round. */
export interface ChaosReport extends Verdict {
  readonly scheduled: number;
  readonly stopped: number;
  readonly refused: number;
  readonly ms: number;
}

const LIVENESS_MS = 1000;

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
  const proxies = await Promise.all(Array.from({ length: plan.nodes }, () => Proxy.start()));
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
  const backend = withoutRuns(graphile({ connectionString: DATABASE_URL as string, schema }));
  const jobs = await durable({ backend, node: 'scheduler', kernel: new Kernel() });
  try {
    await createLog(schema);
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
    const scheduling = (async () => {
      for (let i = 0; i < plan.jobs; i++) {
        const one = kc(i, 2 + Math.floor(random() * 30));
        await one.schedule();
        order.push(one.id);
        if (random() < 0.1) {
          const { withdrawn, running } = await one.cancel();
          if (withdrawn && !running) stopped.add(one.id);
        }
      }
    })();
    for (const fault of plan.faults) {
      await sleep(300 + random() * 400);
      const index = Math.floor(random() * plan.nodes);
      await inject(fault, index, nodes, proxies, start);
    }
    await scheduling;
    const ids = order.filter((id) => !stopped.has(id));
    const limitMs = performance.now() + 60_000;
    for (;;) {
      const ended = new Set((await readLog(schema)).filter(isEnd).map(({ id }) => id));
      if (ids.every((id) => ended.has(id)) || performance.now() > limitMs) break;
      await sleep(50);
    }
    // Whoever was cut off would write now, if it could.
    await sleep(LIVENESS_MS / 2);
    const refused = all.flatMap(({ messages }) => messages).filter(isRefusal).length;
    return {
      ...judge(await readLog(schema), order, stopped, groupOf),
      scheduled: order.length,
      stopped: stopped.size,
      refused,
      ms: Math.round(performance.now() - startMs),
    };
  } finally {
    await Promise.all(all.map((node) => node.kill()));
    for (const proxy of proxies) proxy.stop();
    await jobs.close({ graceMs: 0 });
    await dropSchema(schema);
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

async function inject(
  fault: Fault,
  index: number,
  nodes: NodeProcess[],
  proxies: readonly Proxy[],
  start: (index: number) => NodeProcess,
): Promise<void> {
  const node = nodes[index] as NodeProcess;
  if (fault === 'kill') {
    await node.kill();
    nodes[index] = start(index);
    await nodes[index].ready;
  } else if (fault === 'suspend') {
    node.signal('SIGSTOP');
    await sleep(LIVENESS_MS * 2.5);
    node.signal('SIGCONT');
  } else if (fault === 'cut') {
    (proxies[index] as Proxy).cut();
  } else {
    await withClient((client) =>
      client.query(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and application_name like 'kcont:%'`),
    );
  }
}

/** Whether a round has broken a promise. */
export function isBroken(report: ChaosReport): boolean {
  const { lost, twoHolders, outOfOrder, stoppedButRan, begunTwice } = report;
  return [lost, twoHolders, outOfOrder, stoppedButRan, begunTwice].some(({ length }) => length > 0);
}
