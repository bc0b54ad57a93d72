import { createConnection, type Socket } from 'node:net';
import { real } from '../../base/host-functions.ts';
import type { Line, ProcessLine, Wanted } from '../socket/protocol.ts';
import { VERSION } from '../socket/protocol.ts';
import { findSockets, type SocketName } from '../socket/socket-path.ts';
import { clean } from './text.ts';

/** The longest line that is accepted, in characters. */
const LONGEST_LINE = 2 ** 22;

/**
 * Something to be told to the user in one line. The command ends with this exit code.
 *
 * @internal
 */
export class Failure extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Which processes are meant. @internal */
export interface Target {
  /** Undefined: all that answer. */
  readonly pid: number | undefined;
  readonly timeoutMs: number;
}

/**
 * A connection to a process.
 *
 * @internal
 */
export class Connection {
  readonly name: SocketName;
  readonly #socket: Socket;
  readonly #timeoutMs: number;

  private constructor(name: SocketName, socket: Socket, timeoutMs: number) {
    this.name = name;
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.setEncoding('utf8');
  }

  /** Connects; resolves to null if nobody answers there. */
  static open(name: SocketName, timeoutMs: number): Promise<Connection | null> {
    const socket = createConnection(name.path);
    return new Promise((resolve) => {
      // Also between two requests, an error must not end this process.
      socket.on('error', () => resolve(null));
      socket.once('connect', () => resolve(new Connection(name, socket, timeoutMs)));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  /**
   * Sends a request and calls a function with each line of the answer, without the last.
   *
   * @param late - called if there is no answer for a while; without it, that is a failure
   */
  ask(get: Wanted, take: (line: Line) => void, late?: (ms: number) => void): Promise<void> {
    const socket = this.#socket;
    const { pid } = this.name;
    return new Promise((resolve, reject) => {
      let received = '';
      let silentMs = 0;
      const end = (failure?: Failure): void => {
        real.clearTimeout(timer);
        socket.off('data', read);
        socket.off('close', closed);
        if (failure === undefined) resolve();
        else {
          socket.destroy();
          reject(failure);
        }
      };
      const read = (text: string): void => {
        silentMs = 0;
        received += text;
        const lines = received.split('\n');
        received = lines.pop() as string;
        if (received.length > LONGEST_LINE)
          end(new Failure(`process ${pid} does not answer as kcont does`));
        for (const json of lines) {
          const line = parse(json);
          if (line === undefined) end(new Failure(`process ${pid} does not answer as kcont does`));
          else if (line.type === 'error')
            end(new Failure(`process ${pid} refused: ${clean(line.message)}`));
          else if (line.type === 'end') end();
          else take(line);
        }
      };
      const closed = (): void => end(new Failure(`process ${pid} has closed its socket`));
      const look = (): void => {
        silentMs += LOOK_MS;
        if (silentMs >= this.#timeoutMs && late === undefined) {
          const cause = 'its event loop is blocked';
          end(new Failure(`process ${pid} has not answered for ${silentMs} ms: ${cause}`));
          return;
        }
        if (silentMs >= LATE_MS) late?.(silentMs);
        timer = real.setTimeout(look, LOOK_MS);
      };
      let timer = real.setTimeout(look, LOOK_MS);
      socket.on('data', read);
      socket.on('close', closed);
      if (socket.destroyed) closed();
      else socket.write(`${JSON.stringify({ kcont: VERSION, get })}\n`);
    });
  }
}

/** How often to look whether there is an answer, in ms. */
const LOOK_MS = 100;
/** After which time without an answer that is told, in ms. */
const LATE_MS = 1000;

function parse(json: string): Line | undefined {
  try {
    const line = JSON.parse(json) as Line | null;
    return typeof line?.type === 'string' ? line : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Connects to the processes that are meant.
 *
 * @returns at least one connection
 * @throws Failure if none answers
 *
 * @internal
 */
export async function connect({ pid, timeoutMs }: Target): Promise<Connection[]> {
  const found = findSockets().filter((name) => pid === undefined || name.pid === pid);
  const opened = await Promise.all(found.map((name) => Connection.open(name, timeoutMs)));
  const connections = opened.filter((connection) => connection !== null);
  if (connections.length > 0) return connections;
  const who = pid === undefined ? 'no process answers' : `process ${pid} does not answer`;
  const how = 'it has to call observe({ socket: true }) of kcont/observe, as the same user';
  throw new Failure(`${who}: ${how}`);
}

/** One line about a process. @internal */
export function titleOf({ pid, thread, title, node }: ProcessLine): string {
  const where = thread === 0 ? '' : `, thread ${thread}`;
  return `process ${pid}${where}: ${title}, Node ${node}`;
}
