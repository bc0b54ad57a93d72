import { availableParallelism } from 'node:os';
import { join, leave, type AbortMember } from '../../base/abort-listeners.ts';
import { HostClock } from '../../time/host-clock.ts';
import { Cpu, type StartCpusOptions } from '../../core/cpu.ts';
import { type CpuLink } from '../../core/cpu-link.ts';
import { KcontError, traceFrom, type Caller } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import { Kernel } from '../../core/kernel.ts';
import type { CloseReport, LocalClose } from '../../core/shutdown.ts';
import { race } from '../../base/race.ts';
import { CpuModule, moduleUrl } from './cpu-module.ts';
import { MOST, readStart } from '../options.ts';
import { CpuContext } from '../cpu-context.ts';
import { LocalCpu } from '../local-cpu.ts';
import { Memory, STATE, UP } from '../memory/shared-memory.ts';
import { Arena } from '../locks/arena.ts';
import { START_MS, Supervisor } from './supervisor.ts';
import { nothing } from '../../base/nothing.ts';

/** Starts the CPUs of a kernel. */
export async function startCpus(kernel: Kernel, given: StartCpusOptions): Promise<unknown> {
  const caller = Kernel.prototype.startCpus;
  const options = readStart(given, caller);
  const { dispatcher, url, count } = check(kernel, options, caller);
  const { signal, timeoutMs = START_MS } = options;
  signal?.throwIfAborted();
  const start = new Start(signal);
  // Set before the first await, so that a second start is refused.
  kernel._starting = start;
  try {
    const module = await start.load(url, timeoutMs);
    const memory = Memory.make(2 * count + 1, count + 1);
    const cpu0 = kernel._cpu;
    const context = new CpuContext(kernel, cpu0, memory, module, Arena.home());
    const localCpu = new LocalCpu(context);
    memory.words[context.slot + STATE] = UP;
    const others = Array.from({ length: count }, (_, i) => Cpu._make(kernel, i + 1));
    const cpus = [cpu0, ...others];
    for (const cpu of cpus) cpu._link = localCpu;
    const supervisor = new Supervisor(localCpu, url, options);
    localCpu.supervise(supervisor);
    try {
      await start.unlessRefused(supervisor.start(others));
    } catch (error) {
      await supervisor.abandon(new KcontError('ECPUDIED', 'the start was given up'));
      cpu0._link = null;
      throw error;
    }
    const reserve = Array.from({ length: count }, (_, i) => Cpu._make(kernel, count + 1 + i));
    for (const cpu of reserve) cpu._link = localCpu;
    supervisor.addReserve(reserve);
    kernel._cpus = cpus;
    dispatcher.cpuLink = localCpu;
    return module.namespace;
  } finally {
    kernel._starting = null;
    start.end();
  }
}

/** A start in progress. Its signal, a close of the kernel, or a module that hangs may refuse it. */
class Start implements Pick<CpuLink, 'close'>, AbortMember {
  readonly #signal: AbortSignal | undefined;
  readonly #refused: Promise<never>;
  readonly #ended: Promise<void>;
  #refuse: (reason: unknown) => void = nothing;
  #resolve: () => void = nothing;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.#refused = new Promise((_, reject) => {
      this.#refuse = reject;
    });
    this.#refused.catch(nothing);
    this.#ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    if (signal !== undefined) join(signal, this);
  }

  _abort(reason: unknown): void {
    this.#refuse(reason);
  }

  /** Imports the CPU module on CPU 0. An import that hangs cannot be ended, but it is not waited for. */
  async load(url: string, timeoutMs: number): Promise<CpuModule> {
    const what = `the CPU module ${url} was not imported on CPU 0 within ${timeoutMs} ms (does it await startCpus at its top level?)`;
    const tooLate = (): void => this.#refuse(new KcontError('ETIMEDOUT', what));
    // The time limit needs a kernel on real time that nobody closes.
    const { softclock } = new Kernel({ clock: new HostClock(false) }).wq;
    const limit = new Kcont(softclock, null, tooLate, null);
    if (timeoutMs < Infinity) limit.schedule(timeoutMs);
    try {
      return await this.unlessRefused(CpuModule.load(url));
    } finally {
      limit.destroy();
    }
  }

  /** Waits for a promise; rejected if the start is refused first. */
  unlessRefused<T>(promise: Promise<T>): Promise<T> {
    return race([promise, this.#refused]);
  }

  /** Refuses the start, because the kernel closes. Fulfilled when the start has been undone. */
  async close(_: number, local: LocalClose): Promise<CloseReport> {
    this.#refuse(new KcontError('ESHUTDOWN', 'the kernel was closed before its CPUs were up'));
    const [report] = await Promise.all([local(), this.#ended]);
    return report;
  }

  /** The start has succeeded or failed. */
  end(): void {
    if (this.#signal !== undefined) leave(this.#signal, this);
    this.#resolve();
  }
}

function check(
  kernel: Kernel,
  options: StartCpusOptions,
  caller: Caller,
): { dispatcher: Kernel['wq']['softclock']['_dispatcher']; url: string; count: number } {
  const { count = Math.min(MOST, Math.max(1, availableParallelism() - 1)), module } = options;
  const dispatcher = kernel.wq.softclock._dispatcher;
  try {
    const url = moduleUrl(module);
    if (!(dispatcher.clock instanceof HostClock)) {
      throw new KcontError('ENOTSUP', 'a kernel on a VirtualClock has no other CPUs');
    }
    if (kernel._cpu.index !== 0) {
      throw new KcontError('ENOTSUP', 'CPUs are started by CPU 0');
    }
    if (dispatcher.closed) throw new KcontError('ESHUTDOWN', 'the kernel is closed');
    if (dispatcher.cpuLink !== null || kernel._starting !== null) {
      throw new KcontError('EBUSY', 'the CPUs of this kernel have been started before');
    }
    return { dispatcher, url, count };
  } catch (error) {
    throw traceFrom(caller, error);
  }
}
