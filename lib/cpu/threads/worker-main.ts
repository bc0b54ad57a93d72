/*
 * The main program of a CPU's thread. It connects to the shared memory and to the other CPUs' ports,
 * imports the CPU module, and then runs what it finds in its inbox.
 *
 * Orders from CPU 0, through the parent port that every worker has:
 *
 *   port     another CPU has a new thread
 *   gone     a CPU has died; what it was told has to be told again to its next thread
 *   drain    answer when nothing is queued or running here
 *   stop     finish what runs, and leave the rest to other CPUs
 *   close    finish everything, and stay until all CPUs have finished
 *   over     all CPUs have finished, or the grace period is over: report, and end
 */

import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { Cpu } from '../../core/cpu.ts';
import { KcontError } from '../../base/errors.ts';
import { kernel } from '../../core/kernel.ts';
import type { CloseReport } from '../../core/shutdown.ts';
import { CpuModule } from './cpu-module.ts';
import { wireError } from '../messages/wire-error.ts';
import { CpuContext } from '../cpu-context.ts';
import { LocalCpu } from '../local-cpu.ts';
import { resumeWork } from './recovery.ts';
import { Arena } from '../locks/arena.ts';
import { LOCK_CPU, Memory, STARTING, STATE, UP } from '../memory/shared-memory.ts';

/** The `workerData` of a thread that becomes a CPU. */
export interface Joining {
  readonly kcontCpu: true;
  readonly index: number;
  readonly buffer: SharedArrayBuffer;
  readonly locks: SharedArrayBuffer;
  readonly module: string;
  readonly names: readonly string[];
  readonly cpus: number;
  /** By CPU: the port to its thread and the epoch of that thread; null if it has no thread. */
  readonly ports: readonly ({ readonly port: MessagePort; readonly epoch: number } | null)[];
}

/** A message from CPU 0 to a thread. */
export type Order =
  | {
      readonly type: 'port';
      readonly cpu: number;
      readonly port: MessagePort;
      readonly epoch: number;
    }
  | { readonly type: 'gone'; readonly cpu: number }
  | { readonly type: 'drain' }
  | { readonly type: 'close'; readonly graceMs: number }
  | { readonly type: 'stop'; readonly graceMs: number }
  | { readonly type: 'over' };

/** A message from a thread to CPU 0. */
export type Answer =
  | { readonly type: 'up' }
  | { readonly type: 'drained' }
  | { readonly type: 'failed'; readonly error: unknown }
  | { readonly type: 'closed'; readonly report: CloseReport };

/** Makes this thread a CPU. */
export async function becomeCpu(parent: MessagePort, joining: Joining): Promise<void> {
  const { index, ports } = joining;
  const answer = (message: Answer): void => parent.postMessage(message);
  const cpus = Array.from({ length: joining.cpus }, (_, cpu) => Cpu._make(kernel, cpu));
  kernel._cpus = cpus;
  kernel._cpu = cpus[index] ?? Cpu._make(kernel, index);
  try {
    // Before the import of the module, which may make locks.
    const arena = Arena.join(joining.locks);
    const memory = new Memory(joining.buffer);
    memory.words[memory.slot(index) + LOCK_CPU] = arena.cpu + 1;
    const module = await CpuModule.load(joining.module, joining.names);
    const context = new CpuContext(kernel, kernel._cpu, memory, module, arena);
    const localCpu = new LocalCpu(context);
    for (const [cpu, to] of ports.entries()) {
      if (to !== null) context.ports.connect(cpu, to.port, to.epoch);
    }
    for (const cpu of new Set([...cpus, kernel._cpu])) cpu._link = localCpu;
    context.dispatcher.cpuLink = localCpu;
    const end = new Ending(localCpu, answer, parent);
    const obey = (order: Order): void => carryOut(localCpu, order, answer, end);
    parent.on('message', obey);
    context.refresh = () => {
      for (let got = receiveMessageOnPort(parent); got !== undefined;) {
        obey(got.message as Order);
        got = receiveMessageOnPort(parent);
      }
    };
    Atomics.compareExchange(memory.words, context.slot + STATE, STARTING, UP);
    // First the work that was left here, then the messages with what it needs; only then a pass.
    resumeWork(localCpu);
    localCpu.wake();
    context.dispatcher.request();
    answer({ type: 'up' });
  } catch (error) {
    answer({ type: 'failed', error: wireError(error) });
    parent.close();
  }
}

function carryOut(
  localCpu: LocalCpu,
  order: Order,
  answer: (message: Answer) => void,
  end: Ending,
): void {
  switch (order.type) {
    case 'port':
      localCpu.context.ports.connect(order.cpu, order.port, order.epoch);
      localCpu.handleSync.retell(order.cpu);
      break;
    case 'gone':
      localCpu.handleSync.untell(order.cpu);
      localCpu.context.ports.disconnect(order.cpu);
      localCpu.lookAgain();
      break;
    case 'drain':
      localCpu.take();
      void kernel.drain().then(() => answer({ type: 'drained' }));
      break;
    case 'stop':
      end.stop(order.graceMs);
      break;
    case 'close':
      end.close(order.graceMs);
      break;
    case 'over':
      end.over();
  }
}

/** Ends the thread of a CPU. */
class Ending {
  over: () => void = () => undefined;
  readonly #localCpu: LocalCpu;
  readonly #answer: (message: Answer) => void;
  readonly #parent: MessagePort;
  readonly #isOver = new Promise<void>((resolve) => {
    this.over = resolve;
  });

  constructor(localCpu: LocalCpu, answer: (message: Answer) => void, parent: MessagePort) {
    this.#localCpu = localCpu;
    this.#answer = answer;
    this.#parent = parent;
  }

  /** Finishes what runs, and leaves the rest to other CPUs. */
  stop(graceMs: number): void {
    const localCpu = this.#localCpu;
    localCpu.take();
    localCpu.retire();
    const what = `CPU ${localCpu.context.index} is being stopped`;
    localCpu.closeGuide = {
      over: this.#isOver,
      reason: () => new KcontError('ECPUDIED', what),
    };
    this.#end(graceMs);
  }

  /** Finishes everything, and stays until all CPUs have finished. */
  close(graceMs: number): void {
    const over = this.#isOver;
    this.#localCpu.take();
    this.#localCpu.closeGuide = { over, finished: () => over };
    this.#end(graceMs);
  }

  #end(graceMs: number): void {
    void kernel.close({ graceMs }).then((report) => {
      this.#answer({ type: 'closed', report });
      this.#parent.close();
      this.#localCpu.context.ports.close();
    });
  }
}
