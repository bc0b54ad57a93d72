// An HTTP server that gets twice as many requests as it can handle, a tenth of them urgent: how long urgent
// ones take beside the same server without load, and how much of its capacity goes into answers in time.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type {
  Bench,
  Comparison,
  Effort,
  Figures,
  Goal,
  Metric,
  Role,
  Side,
} from './harness/bench.ts';
import { compare, comparePeers } from './harness/runner.ts';
import { expectTrue } from './harness/timed.ts';
import type { ClientReply, Kind, Order, ServerReply } from './shed/protocol.ts';

const ending = import.meta.url.slice(-3);
const UNLOADED = 'the same server, not overloaded';
const URGENT = 0.1;
/** So few that none waits for another. */
const FEW_PER_SECOND = 20;
const P99 = 'p99 of an urgent answer';

function start(file: string, argument: string): ChildProcess {
  const path = fileURLToPath(new URL(`./shed/${file}${ending}`, import.meta.url));
  return fork(path, [argument], { execArgv: [] });
}

async function send(order: Order): Promise<ClientReply> {
  const client = start('client', JSON.stringify(order));
  const gone = once(client, 'exit');
  const [reply] = (await once(client, 'message')) as [ClientReply];
  await gone;
  expectTrue('some requests were answered in time', reply.inTime > 0);
  return reply;
}

/** Runs one server, whose capacity is measured first; `measure` returns the figures. */
async function serve(
  kind: Kind,
  { quick }: Effort,
  measure: (port: number, capacity: ClientReply, forMs: number) => Promise<readonly number[]>,
): Promise<readonly number[]> {
  const server = start('server', kind);
  const gone = once(server, 'exit');
  try {
    const [{ port }] = (await once(server, 'message')) as [ServerReply];
    const atOnce = { port, perSecond: 0, urgent: 0 };
    await send({ ...atOnce, forMs: quick ? 50 : 500 });
    const capacity = await send({ ...atOnce, forMs: quick ? 100 : 1000 });
    return await measure(port, capacity, quick ? 300 : 5000);
  } finally {
    if (server.connected) server.disconnect();
    await gone;
  }
}

/** Twice what it can do: p99 of an urgent answer, and the time for each answer that came in time. */
function overloaded(role: Role, name: string, kind: Kind, effort: Effort): Side {
  return {
    role,
    name,
    sample: () =>
      serve(kind, effort, async (port, { inTime: could, tookMs }, forMs) => {
        const perSecond = (2 * could * 1000) / tookMs;
        const { urgentP99Ms, inTime } = await send({ port, perSecond, urgent: URGENT, forMs });
        return [urgentP99Ms, forMs / inTime];
      }),
  };
}

/** p99 of an urgent answer when there is nothing else, and the time for each answer at its capacity. */
function unloaded(effort: Effort): Side {
  return {
    role: 'floor',
    name: UNLOADED,
    sample: () =>
      serve('shed', effort, async (port, { inTime, tookMs }, forMs) => {
        const few = { port, perSecond: FEW_PER_SECOND, urgent: 1, forMs };
        return [(await send(few)).urgentP99Ms, tookMs / inTime];
      }),
  };
}

/** Beside the peers, how kcont compares with a server that has all it can do and no more. */
function besideUnloaded(metric: Metric, sides: readonly Figures[]): Comparison[] {
  const found = comparePeers(metric, sides);
  const kcont = sides.find(({ role }) => role === 'kcont');
  const floor = sides.find(({ role }) => role === 'floor');
  if (kcont === undefined || floor === undefined) return found;
  const goal: Goal = { against: UNLOADED, atMost: metric.name === P99 ? 2 : 1 / 0.9 };
  return [...found, compare(kcont.samples, floor, { ...metric, goals: [goal] })];
}

export const bench: Bench = {
  name: 'shed-server',
  about:
    'An HTTP server with 2 ms of work for each request, which gets twice as many as it can handle, a tenth of ' +
    'them urgent. An answer after more than 500 ms does not count.',
  cases: (effort) => [
    {
      name: 'twice the capacity',
      rounds: effort.quick ? 1 : 3,
      compare: besideUnloaded,
      metrics: [
        { name: P99, unit: 'ms', goals: [], asPart: true },
        { name: 'time for an answer in time', unit: 'ms', goals: [], asPart: true },
      ],
      sides: () => [
        overloaded('kcont', 'kcont with shed', 'shed', effort),
        overloaded('peer', 'kcont without shed', 'kcont', effort),
        overloaded('peer', 'p-queue with priorities', 'p-queue', effort),
        unloaded(effort),
      ],
    },
  ],
};
