/*
 * The threads of the other CPUs, on CPU 0: making them, connecting them to each other, ending them.
 */

import { MessageChannel, Worker, type MessagePort, type WorkerOptions } from 'node:worker_threads';
import { ENTRY_URL } from '../entry-url.ts';
import type { CpuLimits } from '../../core/cpu.ts';
import { race } from '../../base/race.ts';
import type { CloseReport } from '../../core/shutdown.ts';
import { unwireError } from '../messages/wire-error.ts';
import type { Answer, Joining, Order } from './worker-main.ts';
import type { CpuContext } from '../cpu-context.ts';
import { EPOCH, STARTING, STATE } from '../memory/shared-memory.ts';

/** How a thread ended. */
export interface Ending {
  readonly code: number;
  /** The uncaught error that ended it, if there was one. */
  readonly error: unknown;
}

/** The functions that are called on events of a thread. */
export interface ThreadCalls {
  /** The thread runs continuations from now on. */
  up(): void;
  /** The thread has reported what it has not finished: the library does nothing more there. */
  reported(): void;
  /** The thread has ended, whatever the reason. */
  ended(ending: Ending): void;
}

/** One thread that is a CPU. */
export class Thread {
  readonly index: number;
  /** A promise that is fulfilled when the thread has ended. */
  readonly ended: Promise<void>;
  /** The report of what the thread has not finished, once it has arrived. */
  report: CloseReport | undefined = undefined;
  /** Whether the CPU has been up with this thread. */
  wasUp = false;
  readonly #worker: Worker;
  readonly #drained: (() => void)[] = [];
  /** The number of requests that wait for an answer; while there are any, the process is kept alive. */
  #waits = 0;

  constructor(
    cpu: CpuContext,
    index: number,
    url: string,
    limits: CpuLimits | undefined,
    others: Iterable<Thread>,
    calls: ThreadCalls,
  ) {
    this.index = index;
    const { memory } = cpu;
    const { words } = memory;
    const slot = memory.slot(index);
    const epoch = (words[slot + EPOCH] as number) + 1;
    Atomics.store(words, slot + EPOCH, epoch);
    Atomics.store(words, slot + STATE, STARTING);
    const ports: Joining['ports'][number][] = Array.from({ length: memory.slots }, () => null);
    const epochOf = (other: number): number => words[memory.slot(other) + EPOCH] as number;
    const mine = new MessageChannel();
    cpu.ports.connect(index, mine.port1, epoch);
    ports[0] = { port: mine.port2, epoch: epochOf(0) };
    for (const other of others) {
      const channel = new MessageChannel();
      other.#order({ type: 'port', cpu: index, port: channel.port1, epoch }, [channel.port1]);
      ports[other.index] = { port: channel.port2, epoch: epochOf(other.index) };
    }
    const workerData: Joining = {
      kcontCpu: true,
      index,
      buffer: memory.buffer,
      locks: cpu.arena.buffer,
      module: url,
      names: cpu.module.names,
      cpus: memory.publicCpus,
      ports,
    };
    this.#worker = makeWorker({
      name: `kcont CPU ${index}`,
      workerData,
      transferList: ports.flatMap((to) => to?.port ?? []),
      ...(limits === undefined ? {} : { resourceLimits: limits }),
    });
    let failure: unknown;
    this.#worker.on('error', (error: unknown) => (failure ??= error));
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', (code: number) => {
        calls.ended({ code, error: failure });
        resolve();
      });
    });
    this.#worker.on('message', (answer: Answer) => {
      if (answer.type === 'up') {
        if (this.#waits === 0) this.#worker.unref();
        this.wasUp = true;
        calls.up();
      } else if (answer.type === 'failed') failure = unwireError(answer.error);
      else if (answer.type === 'drained') this.#drained.shift()?.();
      else {
        this.report = answer.report;
        calls.reported();
      }
    });
  }

  #order(order: Order, transfer: MessagePort[] = []): void {
    this.#worker.postMessage(order, transfer);
  }

  /** Tells the thread that another CPU has lost its thread. */
  gone(cpu: number): void {
    this.#order({ type: 'gone', cpu });
  }

  /** Tells the thread to end, or that its time is over. The process is kept alive until it has ended. */
  end(order: Order & { type: 'close' | 'stop' | 'over' }): void {
    this.#worker.ref();
    this.#waits++;
    this.#order(order);
  }

  /** Waits until nothing is queued or running on the thread, or it has ended. */
  async drain(): Promise<void> {
    const drained = new Promise<void>((resolve) => void this.#drained.push(resolve));
    this.#worker.ref();
    this.#waits++;
    this.#order({ type: 'drain' });
    await race([drained, this.ended]);
    if (--this.#waits === 0) this.#worker.unref();
  }

  /** Terminates the thread, whatever it is doing. */
  terminate(): void {
    this.#worker.ref();
    this.#waits++;
    void this.#worker.terminate();
  }
}

/**
 * Makes the worker. It inherits the Node options of this process. If they include `--input-type`, which
 * would be an error for a worker that runs a file, only those that load modules are passed on: Node
 * refuses options of the whole process, such as a heap size, where options are given.
 */
function makeWorker(options: WorkerOptions): Worker {
  const { execArgv } = process;
  if (!execArgv.some((arg) => arg.startsWith('--input-type')))
    return new Worker(ENTRY_URL, options);
  return new Worker(ENTRY_URL, { ...options, execArgv: loadingOptions(execArgv) });
}

/** The options that load modules or say how: `--import=x`, or `--import x` as two arguments. */
function loadingOptions(execArgv: readonly string[]): string[] {
  const option =
    /^(?:--(?:import|require|conditions|loader|experimental-loader)|-[rC])(?<value>=.*)?$/;
  return execArgv.flatMap((arg, at) => {
    const found = option.exec(arg);
    if (found === null) return [];
    const value = execArgv[at + 1];
    return found.groups?.['value'] !== undefined || value === undefined ? [arg] : [arg, value];
  });
}
