/*
 * The threads of the CPUs, as CPU 0 sees them: made, connected to each other, ended.
 */

import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { CpuLimits } from '../cpu.ts';
import { KcontError } from '../errors.ts';
import type { CloseReport } from '../shutdown.ts';
import { unwireError } from './faults.ts';
import type { Answer, Joining, Order } from './join.ts';
import type { CpuMachine } from './machine.ts';
import { DOWN, EPOCH, STARTING, STATE } from './memory.ts';

/** The worker's file: this one's neighbour, with the same ending. */
const ENTRY_URL: URL = new URL(
  import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js',
  import.meta.url,
);

/** Options of Node that say what the main thread runs, and mean nothing to another one. */
const MAIN_ONLY = /^(?:-e|-p|-pe|--eval|--print|--input-type)(?:=|$)/;

/** How a thread ended. */
export interface Ending {
  readonly code: number;
  /** What it threw, if that ended it. */
  readonly error: unknown;
}

/** One thread that is a CPU. */
export class Thread {
  readonly index: number;
  /** Fulfilled when it is up; rejected when it never will be. */
  readonly up: Promise<void>;
  /** Fulfilled when it has ended. */
  readonly ended: Promise<Ending>;
  readonly #worker: Worker;
  #report: ((report: CloseReport) => void) | undefined = undefined;

  constructor(
    machine: CpuMachine,
    index: number,
    url: string,
    limits: CpuLimits | undefined,
    others: Iterable<Thread>,
  ) {
    this.index = index;
    const { memory } = machine;
    const { words } = memory;
    const slot = memory.slot(index);
    words[slot + EPOCH]!++;
    Atomics.store(words, slot + STATE, STARTING);
    const ports: (MessagePort | null)[] = Array.from({ length: memory.slots }, () => null);
    const mine = new MessageChannel();
    machine.bells.connect(index, mine.port1);
    ports[0] = mine.port2;
    for (const other of others) {
      const channel = new MessageChannel();
      other.#order({ type: 'port', cpu: index, port: channel.port1 }, [channel.port1]);
      ports[other.index] = channel.port2;
    }
    const workerData: Joining = {
      kcontCpu: true,
      index,
      buffer: memory.buffer,
      module: url,
      names: machine.module.names,
      cpus: memory.publicCpus,
      ports,
    };
    this.#worker = new Worker(ENTRY_URL, {
      name: `kcont CPU ${index}`,
      workerData,
      execArgv: ownExecArgv(),
      transferList: ports.filter((port) => port !== null),
      ...(limits === undefined ? {} : { resourceLimits: limits }),
    });
    let failure: unknown;
    this.ended = new Promise((resolve) => {
      this.#worker.on('error', (error: unknown) => (failure ??= error));
      this.#worker.once('exit', (code: number) => resolve({ code, error: failure }));
    });
    this.up = new Promise((resolve, reject) => {
      this.#worker.on('message', (answer: Answer) => {
        if (answer.type === 'up') {
          this.#worker.unref();
          resolve();
        } else if (answer.type === 'failed') failure = unwireError(answer.error);
        else this.#report?.(answer.report);
      });
      void this.ended.then(({ code, error }) => {
        const why = error === undefined ? `its thread ended with code ${code}` : describe(error);
        const failed = new KcontError('ECPUDIED', `CPU ${index} could not be started: ${why}`);
        reject(Object.assign(failed, { cause: error }));
      });
    });
    // Whoever starts it looks at that; a later end is the supervisor's.
    this.up.catch(() => undefined);
  }

  #order(order: Order, transfer: MessagePort[] = []): void {
    this.#worker.postMessage(order, transfer);
  }

  /** Another CPU has lost its thread. */
  gone(cpu: number): void {
    this.#order({ type: 'gone', cpu });
  }

  /** Lets it finish what runs, and end. What did not finish, if it came to say so. */
  async close(graceMs: number): Promise<CloseReport | undefined> {
    let report: CloseReport | undefined;
    const reported = new Promise<void>((resolve) => {
      this.#report = (said) => {
        report = said;
        resolve();
      };
    });
    this.#worker.ref();
    this.#order({ type: 'close', graceMs });
    await Promise.race([reported, this.ended]);
    await this.ended;
    return report;
  }

  /** Ends it, whatever it does. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
    await this.ended;
  }
}

/** What this process was started with, as far as it concerns every thread. */
function ownExecArgv(): string[] {
  const args: string[] = [];
  for (let i = 0; i < process.execArgv.length; i++) {
    const arg = process.execArgv[i] as string;
    if (!MAIN_ONLY.test(arg)) args.push(arg);
    else if (/^(?:-e|-p|-pe|--eval|--print|--input-type)$/.test(arg)) i++;
  }
  return args;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** A CPU that has no thread. */
export function isDown(machine: CpuMachine, index: number): boolean {
  const { memory } = machine;
  return memory.words[memory.slot(index) + STATE] === DOWN;
}
