/*
 * CPU 0 looks after the threads.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { StartCpusOptions } from '../cpu.ts';
import type { CloseReport } from '../shutdown.ts';
import type { CpuMachine, Supervision } from './machine.ts';
import { Thread } from './threads.ts';

export class Supervisor implements Supervision {
  readonly #machine: CpuMachine;
  readonly #options: StartCpusOptions;
  readonly #url: string;
  readonly #threads = new Map<number, Thread>();
  /** Keeps the process alive, while it is referenced. */
  readonly #keeper: MessagePort;

  constructor(machine: CpuMachine, url: string, options: StartCpusOptions) {
    this.#machine = machine;
    this.#url = url;
    this.#options = options;
    const { port1 } = new MessageChannel();
    port1.on('message', () => undefined);
    port1.unref();
    this.#keeper = port1;
  }

  keep(alive: boolean): void {
    if (alive) this.#keeper.ref();
    else this.#keeper.unref();
  }

  /** Starts all CPUs. */
  async start(): Promise<void> {
    const { publicCpus } = this.#machine.memory;
    const cpus = Array.from({ length: publicCpus - 1 }, (_, i) => i + 1);
    await Promise.all(cpus.map((index) => this.#start(index).up));
  }

  #start(index: number): Thread {
    const { resourceLimits } = this.#options;
    const others = [...this.#threads.values()];
    const thread = new Thread(this.#machine, index, this.#url, resourceLimits, others);
    this.#threads.set(index, thread);
    return thread;
  }

  /** Ends all threads at once. */
  async abandon(): Promise<void> {
    await Promise.all([...this.#threads.values()].map((thread) => thread.terminate()));
    this.#keeper.close();
  }

  async close(graceMs: number, local: () => Promise<CloseReport>): Promise<CloseReport> {
    const threads = [...this.#threads.values()];
    const [own, ...others] = await Promise.all([
      local(),
      ...threads.map((thread) => thread.close(graceMs)),
    ]);
    await this.abandon();
    const reports = [own, ...others.filter((report) => report !== undefined)];
    return {
      withdrawn: reports.flatMap((report) => report?.withdrawn ?? []),
      unfinished: reports.flatMap((report) => report?.unfinished ?? []),
    };
  }

  async stop(): Promise<void> {
    await Promise.resolve();
  }

  async restart(): Promise<void> {
    await Promise.resolve();
  }
}
