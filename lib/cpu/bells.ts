/*
 * The ports between CPUs: door-bells, and the way for what does not fit into shared memory.
 *
 *   CPU 0 <--port--> CPU 1          a message 0: look into your inbox
 *     ^ \           /  ^            a message [n, value]: the value that a note calls n
 *     |   \       /    |
 *     +---- CPU 2 -----+
 *
 * A bell is rung for a sleeping CPU only, by the first of those who have something for it. A value is
 * posted before the note that names it, so it has arrived when the note is read: it is then taken
 * from the port at once, whether or not the event loop has come to it.
 *
 * A CPU that has a new thread has new ports. CPU 0 sends them to the others before that thread begins,
 * by the port that every worker has; whoever finds that its port is that of an earlier thread, or that
 * a value is missing, reads those messages at once, wherever the event loop is.
 *
 * Ports do not keep a thread alive.
 */

import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { EPOCH, type Memory } from './memory.ts';

/** The ports of one CPU. */
export class Bells {
  readonly #memory: Memory;
  readonly #ports: (MessagePort | undefined)[] = [];
  /** Which of a CPU's threads each port leads to. */
  readonly #epochs: number[] = [];
  /** Reads what CPU 0 has sent. */
  readonly #refresh: () => void;
  /** Values that came before the notes that name them, by sender. */
  readonly #values: (Map<number, unknown> | undefined)[] = [];
  readonly #rung: () => void;
  /** Names of values: no two threads that are the same CPU one after the other use the same. */
  #last: number;

  constructor(memory: Memory, here: number, rung: () => void, refresh: () => void) {
    this.#memory = memory;
    this.#last = this.#epochOf(here) * 2 ** 32;
    this.#rung = rung;
    this.#refresh = refresh;
  }

  #epochOf(cpu: number): number {
    return this.#memory.words[this.#memory.slot(cpu) + EPOCH] as number;
  }

  #portTo(cpu: number): MessagePort | undefined {
    if (this.#epochs[cpu] !== this.#epochOf(cpu)) this.#refresh();
    return this.#ports[cpu];
  }

  /** The port to a CPU, which may have been another thread before. */
  connect(cpu: number, port: MessagePort, epoch: number): void {
    this.disconnect(cpu);
    this.#ports[cpu] = port;
    this.#epochs[cpu] = epoch;
    const values = (this.#values[cpu] ??= new Map<number, unknown>());
    port.on('message', (message: unknown) => {
      keep(values, message);
      this.#rung();
    });
    port.unref();
  }

  /** There is nobody at the other end any more. Values that have come can still be claimed. */
  disconnect(cpu: number): void {
    const port = this.#ports[cpu];
    if (port === undefined) return;
    this.#ports[cpu] = undefined;
    const values = this.#values[cpu] as Map<number, unknown>;
    for (
      let got = receiveMessageOnPort(port);
      got !== undefined;
      got = receiveMessageOnPort(port)
    ) {
      keep(values, got.message);
    }
    port.close();
  }

  /** Closes all ports. */
  close(): void {
    for (const cpu of this.#ports.keys()) this.disconnect(cpu);
  }

  /** Wakes a CPU. */
  ring(cpu: number): void {
    this.#portTo(cpu)?.postMessage(0);
  }

  /**
   * Posts a value, and wakes. Returns what a note calls it; 0: nobody is at the other end.
   *
   * Throws what `postMessage` throws for a value that cannot be cloned.
   */
  post(cpu: number, value: unknown, transfer?: readonly object[]): number {
    const port = this.#portTo(cpu);
    if (port === undefined) return 0;
    const name = this.#last + 1;
    port.postMessage([name, value], transfer as never);
    return (this.#last = name);
  }

  /** Takes the value that a note names: in an array of its own, or undefined if it never came. */
  claim(cpu: number, name: number): [unknown] | undefined {
    const found = this.#find(cpu, name);
    if (found !== undefined || this.#epochs[cpu] === this.#epochOf(cpu)) return found;
    this.#refresh();
    return this.#find(cpu, name);
  }

  #find(cpu: number, name: number): [unknown] | undefined {
    const values = this.#values[cpu];
    if (values === undefined) return undefined;
    while (!values.has(name)) {
      const port = this.#ports[cpu];
      const received = port === undefined ? undefined : receiveMessageOnPort(port);
      if (received === undefined) return undefined;
      keep(values, received.message);
    }
    const value = values.get(name);
    values.delete(name);
    return [value];
  }
}

function keep(values: Map<number, unknown>, message: unknown): void {
  if (message === 0) return;
  const [name, value] = message as [number, unknown];
  values.set(name, value);
}
