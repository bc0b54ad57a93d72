// A second thread for specs of locks: it executes commands and replies when they are done.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { toHandle, type Passable } from '../../lib/cpu/locks/structured-clone.ts';
import { recover } from '../../lib/cpu/locks/recover.ts';
import type { Answer, Given, Order } from './lock-worker.ts';

type Told = Order extends infer O ? (O extends Order ? Omit<O, 'id'> : never) : never;

export class Peer {
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #told = 0;

  constructor(locks: readonly Passable[], memory: SharedArrayBuffer) {
    const handles = locks.map(toHandle);
    const given: Given = { handles, memory };
    const entry = new URL(`./lock-worker${import.meta.url.slice(-3)}`, import.meta.url);
    this.#worker = new Worker(entry, { workerData: given });
    this.#exited = once(this.#worker, 'exit');
    this.#worker.on('message', ({ id, result }: Answer) => this.#waiting.get(id)?.(result));
  }

  /** Sends a command; resolves when it is done. */
  tell(order: Told): Promise<unknown> {
    const id = ++this.#told;
    return new Promise((resolve, reject) => {
      this.#worker.once('error', reject);
      this.#waiting.set(id, (result) => {
        this.#worker.off('error', reject);
        this.#waiting.delete(id);
        resolve(result);
      });
      this.#worker.postMessage({ id, ...order });
    });
  }

  /** Its CPU index. */
  async cpu(): Promise<number> {
    return (await this.tell({ do: 'cpu', lock: 0 })) as number;
  }

  /** Lets it end by itself. */
  async quit(): Promise<void> {
    const cpu = await this.cpu();
    await this.tell({ do: 'quit', lock: 0 });
    await this.#exited;
    recover(cpu);
  }

  /** Terminates it, whatever it is doing; `cpu`: its index, which it may be unable to report. */
  async kill(cpu: number): Promise<number> {
    await this.#worker.terminate();
    await this.#exited;
    return recover(cpu);
  }
}
