// A cluster of processes on PostgreSQL, a proxy between them and the database, and the checks of what they
// have recorded.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { NodeSettings } from './chaos-node.ts';
import { DATABASE_URL, withClient } from './database.ts';

const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const program = fileURLToPath(new URL(`chaos-node${ending}`, import.meta.url));

/** A node in a process of its own. */
export class NodeProcess {
  readonly messages: unknown[] = [];
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  readonly gone: Promise<unknown>;

  constructor(settings: NodeSettings) {
    this.child = fork(program, [JSON.stringify(settings)]);
    this.ready = once(this.child, 'message');
    this.gone = once(this.child, 'exit');
    this.child.on('message', (message) => this.messages.push(message));
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Ends the process at once, and waits until it is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.gone;
  }

  /** Waits for a message that fits. */
  async said(fits: (message: never) => boolean): Promise<void> {
    while (!this.messages.some((message) => fits(message as never))) {
      await once(this.child, 'message');
    }
  }
}

/** A TCP proxy in front of the database, which can cut all connections, or keep them open without passing anything on. */
export class Proxy {
  readonly #server: Server;
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  #isHeld = false;
  #isFull = false;

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer((socket) => {
      const isSilent = this.#isFull;
      const upstream = connect(Number(target.port || '5432'), target.hostname);
      for (const one of [socket, upstream]) {
        this.#sockets.add(one);
        one.on('error', () => undefined);
        one.on('close', () => {
          this.#sockets.delete(one);
          socket.destroy();
          upstream.destroy();
        });
      }
      socket.on('data', (data) => this.#isHeld || isSilent || upstream.write(data));
      upstream.on('data', (data) => this.#isHeld || socket.write(data));
    });
  }

  static async start(target: string = DATABASE_URL as string): Promise<Proxy> {
    const proxy = new Proxy(new URL(target));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    const url = new URL(this.#target);
    url.hostname = '127.0.0.1';
    url.port = String((this.#server.address() as AddressInfo).port);
    return url.href;
  }

  /** Passes nothing on any more; all connections stay open. */
  hold(): void {
    this.#isHeld = true;
  }

  /** Whether connections that are made from now on get no answer; the others stay as they are. */
  fill(isFull: boolean): void {
    this.#isFull = isFull;
  }

  /** How many sockets are open, of both sides. */
  get open(): number {
    return this.#sockets.size;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.#server.close();
    this.cut();
  }
}

/** Creates the table in which functions record what they do. */
export async function createLog(schema: string, url?: string): Promise<void> {
  await withClient(
    (client) =>
      client.query(`create table ${schema}.log (
      seq bigserial primary key, id text not null, run text not null, lock text not null,
      event text not null, at timestamptz not null default clock_timestamp())`),
    url,
  );
}

/** A line of the log. */
export interface Line {
  readonly id: string;
  readonly run: string;
  readonly lock: string;
  readonly event: 'begin' | 'end';
}

export async function readLog(schema: string, url?: string): Promise<Line[]> {
  const { rows } = await withClient(
    (client) => client.query<Line>(`select id, run, lock, event from ${schema}.log order by seq`),
    url,
  );
  return rows;
}

/** What was violated. */
export interface Verdict {
  /** Continuations that have never ended. */
  readonly lost: string[];
  /** Begins and ends between the begin and the end of another run with the same lock. */
  readonly twoHolders: string[];
  /** First begins of one lock that are not in the order in which they were scheduled. */
  readonly outOfOrder: string[];
  /** Continuations that began although `stop` had withdrawn them. */
  readonly stoppedButRan: string[];
  /** Continuations that began again although no node has died while it ran them. */
  readonly begunTwice: string[];
  /** How many began more than once, because a node died. */
  readonly begunAgain: number;
}

/** How many nodes had died while they ran this continuation: the last number in the name of a run. */
function crashesOf(run: string): number {
  return Number(run.split(' ').at(-1));
}

/**
 * Judges a log.
 *
 * @param order - the names in the order in which they were scheduled
 * @param stopped - those that `stop` has withdrawn
 * @param groupOf - within which group the order is promised: of a lock, or of a lock and a node
 */
export function judge(
  log: readonly Line[],
  order: readonly string[],
  stopped: ReadonlySet<string>,
  groupOf: (id: string, lock: string) => string = (_, lock) => lock,
): Verdict {
  const place = new Map(order.map((id, index) => [id, index]));
  const ended = new Set<string>();
  const begun = new Set<string>();
  const lastOf = new Map<string, number>();
  const twoHolders: string[] = [];
  const outOfOrder: string[] = [];
  const begunTwice: string[] = [];
  let begunAgain = 0;
  for (const [at, { id, run, lock, event }] of log.entries()) {
    if (event === 'end') {
      ended.add(id);
      // Nothing else of this lock may lie between the begin of this run and its end.
      for (let i = at - 1; i >= 0; i--) {
        const line = log[i] as Line;
        if (line.lock !== lock) continue;
        if (line.id === id && line.run === run && line.event === 'begin') break;
        twoHolders.push(`${id} and ${line.id}`);
      }
      continue;
    }
    if (begun.has(id)) {
      begunAgain++;
      if (crashesOf(run) === 0) begunTwice.push(id);
      continue;
    }
    begun.add(id);
    const mine = place.get(id) ?? -1;
    const group = groupOf(id, lock);
    if (mine < (lastOf.get(group) ?? -1)) outOfOrder.push(id);
    lastOf.set(group, mine);
  }
  return {
    lost: order.filter((id) => !stopped.has(id) && !ended.has(id)),
    twoHolders,
    outOfOrder,
    stoppedButRan: [...stopped].filter((id) => begun.has(id)),
    begunTwice,
    begunAgain,
  };
}
