// An HTTP server driven past its capacity: whether it accepts and answers as steadily when its handlers
// work through kcont as when they work on plain promises, or with setImmediate between their steps.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Bench, Effort, Goal, Role, Side } from './harness/bench.ts';
import { expectSame, expectTrue } from './harness/timed.ts';
import type { ClientReply, Kind, ServerReply } from './overload/protocol.ts';

const ending = import.meta.url.slice(-3);
const CLIENTS = 200;
const MEASURED_MS = 4000;
const WARM_MS = 1000;
const PROMISES = 'plain promises';
const IMMEDIATE = 'setImmediate';

function start(file: string, ...args: readonly (string | number)[]): ChildProcess {
  const path = fileURLToPath(new URL(`./overload/${file}${ending}`, import.meta.url));
  const profiling = process.execArgv.filter((flag) => flag.startsWith('--cpu-prof'));
  return fork(path, args.map(String), { execArgv: profiling });
}

/** The next thing that a process says. */
async function reply<Reply>(child: ChildProcess): Promise<Reply> {
  const [message] = (await once(child, 'message')) as [Reply];
  return message;
}

async function flood(port: number, clients: number, forMs: number): Promise<ClientReply> {
  const client = start('client', port, clients, forMs);
  const gone = once(client, 'exit');
  const seen = await reply<ClientReply>(client);
  await gone;
  return seen;
}

/** ms for an answer, p99 of one in ms, the longest time without an accept in ms. */
async function measure(kind: Kind, { quick }: Effort): Promise<readonly number[]> {
  const server = start('server', kind);
  const gone = once(server, 'exit');
  try {
    const told = await reply<ServerReply>(server);
    const port = 'port' in told ? told.port : NaN;
    const clients = quick ? 8 : CLIENTS;
    await flood(port, clients, quick ? 20 : WARM_MS);
    server.send('mark');
    await reply(server);
    const seen = await flood(port, clients, quick ? 100 : MEASURED_MS);
    server.send('mark');
    const gaps = await reply<ServerReply>(server);
    if (!('gapMs' in gaps)) throw new Error('the server of the overload bench said its port twice');
    expectSame('connections', gaps.accepts, seen.answers);
    expectTrue('each client got an answer', seen.answers >= clients);
    return [seen.tookMs / seen.answers, seen.p99Ms, gaps.gapMs];
  } finally {
    if (server.connected) server.disconnect();
    await gone;
  }
}

function side(role: Role, name: string, kind: Kind, effort: Effort): Side {
  return { role, name, sample: () => measure(kind, effort) };
}

function goals(atMost: number): readonly Goal[] {
  return [
    { against: PROMISES, atMost },
    { against: IMMEDIATE, atMost },
  ];
}

export const bench: Bench = {
  name: 'overload-server',
  about:
    'An HTTP server past its capacity: 200 clients, a connection for each request of 1 ms of work.',
  cases: (effort) => [
    {
      name: '200 clients, a connection each time',
      rounds: effort.quick ? 1 : 5,
      metrics: [
        { name: 'time for an answer', unit: 'ms', goals: goals(1.1) },
        { name: 'p99 of an answer', unit: 'ms', goals: goals(1.25) },
        { name: 'longest time without an accept', unit: 'ms', goals: goals(1.25) },
      ],
      sides: () => [
        side('kcont', 'kcont', 'kcont', effort),
        side('peer', PROMISES, 'promises', effort),
        side('peer', IMMEDIATE, 'immediate', effort),
      ],
    },
  ],
};
