// I/O callbacks at the highest rate: a socket with always something to read, a few bytes at a time.
//
// What a touch costs in a callback is much less than the callback, and part of it may come later: in
// a microtask, in the check phase. So short stretches with and without it alternate, and the median
// of the differences is the figure.

import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Effort, Role, Side } from './bench.ts';
import { median } from './stats.ts';
import { Stopwatch } from './stopwatch.ts';

const CHUNK_BYTES = 65_536;
const READ_BYTES = 16;
const CALLBACKS = 2000;
const PAIRS = 40;

/** Calls a function over and over, from where it is called back. */
export interface Source {
  run(times: number, work: () => void): Promise<void>;
}

/** A socket that is read 16 bytes at a time. */
export class SocketReads implements Source {
  readonly #server: Server;
  #socket: Socket | undefined = undefined;
  #work: () => void = () => undefined;
  #left = 0;
  #done: () => void = () => undefined;

  constructor() {
    this.#server = createServer((socket) => {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const fill = (): void => {
        while (socket.write(chunk));
      };
      socket.on('drain', fill).on('error', () => undefined);
      fill();
    });
  }

  async #connect(): Promise<Socket> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const socket = connect({
      port: address.port,
      host: '127.0.0.1',
      onread: { buffer: Buffer.alloc(READ_BYTES), callback: () => this.#read() },
    });
    await once(socket, 'connect');
    return socket;
  }

  /** The next one has to be asked for only if this one said no. */
  #read(): boolean {
    // What was on its way when reading stopped.
    if (this.#left === 0) return false;
    this.#work();
    if (--this.#left > 0) return true;
    this.#socket?.pause();
    this.#done();
    return false;
  }

  async run(times: number, work: () => void): Promise<void> {
    this.#socket ??= await this.#connect();
    this.#work = work;
    this.#left = times;
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#socket?.resume();
    });
  }
}

/** One call in each turn of the event loop. */
export const turns: Source = {
  run(times, work) {
    return new Promise((resolve) => {
      let left = times;
      const turn = (): void => {
        work();
        if (--left > 0) setImmediate(turn);
        else resolve();
      };
      setImmediate(turn);
    });
  },
};

export interface CallbackWork {
  /** Operations that one call of `work` does. */
  readonly perCall: number;
  work(): void;
  /** Throws unless `work` has been done in these many calls since the last check. */
  check?(calls: number): void;
}

/** What some work adds to a callback, in ns for each operation. */
export function inCallbacks(source: Source, role: Role, name: string, side: CallbackWork): Side {
  let pairs = PAIRS;
  let calls = CALLBACKS;
  const nothing = (): void => undefined;

  async function stretch(work: () => void): Promise<number> {
    const watch = new Stopwatch();
    await source.run(calls, work);
    return watch.ns;
  }

  async function sample(): Promise<readonly number[]> {
    const differences: number[] = [];
    for (let i = 0; i < pairs; i++) {
      const without = await stretch(nothing);
      differences.push((await stretch(side.work)) - without);
    }
    side.check?.(calls * pairs);
    return [median(differences) / calls / side.perCall];
  }

  return {
    role,
    name,
    async warm({ quick }: Effort) {
      if (quick) [pairs, calls] = [2, 50];
      await sample();
    },
    sample,
  };
}
