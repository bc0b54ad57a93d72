// A TCP echo server with ten thousand connections and three timers each, in a process of its own.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type {
  ClientReply,
  ClientRequest,
  Kind,
  ServerReply,
  ServerRequest,
} from './echo/protocol.ts';
import type { Bench, Effort, Goal, Role, Side } from './harness/bench.ts';
import { expectSame, expectTrue } from './harness/timed.ts';

const ending = import.meta.url.slice(-3);
const CONNECTIONS = 10_000;
const PER_SECOND = 10_000;
const WARM_MS = 3000;
const MEASURED_MS = 5000;
const REFRESH = 'setTimeout, refresh()';

/** File descriptors that are not connections. */
const SPARE_FILES = 200;

interface Report {
  readonly userLimits?: { readonly open_files?: { readonly soft?: number | string } };
}

/** As many as there may be open files. */
function connectionsFor({ quick }: Effort): number {
  if (quick) return 20;
  const report = process.report.getReport() as Report;
  const limit = Number(report.userLimits?.open_files?.soft);
  return Number.isFinite(limit) ? Math.min(CONNECTIONS, limit - SPARE_FILES) : CONNECTIONS;
}

/** A process that answers requests, one at a time. */
class Helper<Request extends string, Reply> {
  readonly #child: ChildProcess;

  constructor(file: string, args: readonly (string | number)[]) {
    const path = fileURLToPath(new URL(`./echo/${file}${ending}`, import.meta.url));
    const profiling = process.execArgv.filter((flag) => flag.startsWith('--cpu-prof'));
    this.#child = fork(path, args.map(String), { execArgv: ['--expose-gc', ...profiling] });
  }

  /** The next thing it says. */
  async reply(): Promise<Reply> {
    const ended = new AbortController();
    const said = once(this.#child, 'message', { signal: ended.signal });
    const gone = once(this.#child, 'exit', { signal: ended.signal }).then(() => {
      throw new Error('a process of the echo bench ended too early');
    });
    try {
      const [message] = (await Promise.race([said, gone])) as [Reply];
      return message;
    } finally {
      ended.abort();
      await Promise.allSettled([said, gone]);
    }
  }

  ask(request: Request): Promise<Reply> {
    this.#child.send(request);
    return this.reply();
  }

  tell(request: Request): void {
    this.#child.send(request);
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }
}

function pick<Reply extends object, Key extends string>(
  reply: Reply,
  key: Key,
): Extract<Reply, Record<Key, unknown>> {
  if (!(key in reply)) throw new Error(`expected ${key}, got ${JSON.stringify(reply)}`);
  return reply as Extract<Reply, Record<Key, unknown>>;
}

/** CPU µs for a message, p99 of an echo in µs, bytes of heap for a connection. */
async function measure(kind: Kind, effort: Effort): Promise<readonly number[]> {
  const connections = connectionsFor(effort);
  const rate = effort.quick ? 500 : PER_SECOND;
  const server = new Helper<ServerRequest, ServerReply>('server', [kind]);
  const { port } = pick(await server.reply(), 'port');
  const empty = pick(await server.ask('heap'), 'heapUsed').heapUsed;
  const client = new Helper<ClientRequest, ClientReply>('client', [port, connections, rate]);
  try {
    expectSame('connections', pick(await client.reply(), 'connected').connected, connections);
    // The kernel connects before the server accepts.
    let full = pick(await server.ask('heap'), 'heapUsed');
    while (full.connections < connections) full = pick(await server.ask('heap'), 'heapUsed');
    const heapUsed = full.heapUsed - empty;
    client.tell('start');
    await sleep(effort.quick ? 50 : WARM_MS);
    client.tell('mark');
    const before = pick(await server.ask('mark'), 'cpuUs');
    await sleep(effort.quick ? 300 : MEASURED_MS);
    const after = pick(await server.ask('mark'), 'cpuUs');
    const seen = pick(await client.ask('stop'), 'sent');
    const { counts } = pick(await server.ask('mark'), 'cpuUs');
    expectSame('messages that arrived', counts.messages, seen.sent);
    expectSame('echoes that came back', seen.echoed, seen.sentForEcho);
    expectSame('acknowledgements that came back', seen.acked, counts.acks);
    expectTrue('one-way messages are acknowledged', counts.acks > 0);
    expectSame('live connections closed as idle', counts.idle, 0);
    const messages = after.counts.messages - before.counts.messages;
    return [(after.cpuUs - before.cpuUs) / messages, seen.p99Us, heapUsed / connections];
  } finally {
    await client.end();
    await server.end();
  }
}

function side(role: Role, name: string, kind: Kind, effort: Effort): Side {
  return { role, name, sample: () => measure(kind, effort) };
}

function goals(atMost: number): readonly Goal[] {
  return [{ against: REFRESH, atMost }];
}

export const bench: Bench = {
  name: 'echo-server',
  about: 'A TCP echo server: 10 k connections, three timers each, 10 k messages a second.',
  cases: (effort) => [
    {
      name: '10 k connections, 10 k messages a second',
      rounds: effort.quick ? 1 : 5,
      metrics: [
        { name: 'CPU for a message', unit: 'µs', goals: goals(0.8) },
        { name: 'p99 of an echo', unit: 'µs', goals: goals(1) },
        { name: 'heap for a connection', unit: 'B', goals: goals(0.8) },
      ],
      sides: () => [
        side('kcont', 'kcont', 'kcont', effort),
        side('peer', REFRESH, 'refresh', effort),
        side('peer', 'setTimeout, clear and set', 'clear-set', effort),
        side('floor', 'sockets without timers', 'none', effort),
      ],
    },
  ],
};
