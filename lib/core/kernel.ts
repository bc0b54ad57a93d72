import type { Clock } from '../time/clock.ts';
import { defineInspect } from '../base/inspect.ts';
import { hostClock } from '../time/host-clock.ts';
import { Cpu, startCpus, type CpuLink, type StartCpusOptions } from './cpu.ts';
import { Dispatcher, kernelInPass } from './dispatcher.ts';
import type { OnError } from './invoke.ts';
import type { FastWorkqueue } from './fast-workqueue.ts';
import {
  FINITE_MS,
  FUNCTION,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import {
  PRI_PRIHIGH,
  PRI_PRILOW,
  PRI_PRIMEDHIGH,
  PRI_PRIMEDLOW,
  PRI_SOFTBIO,
  PRI_SOFTCLOCK,
  PRI_SOFTNET,
  PRI_SOFTSERIAL,
} from '../base/priorities.ts';
import { close, drained, type CloseReport, type LocalClose } from './shutdown.ts';
import {
  Workqueue,
  criteriaFor,
  drainBy,
  findOrMake,
  type WorkqueueOptions,
  type WorkqueueStats,
} from './workqueue.ts';

/**
 * How a kernel is made.
 *
 * @public
 */
export interface KernelOptions {
  /** Its time: the host's, by default, or a {@link VirtualClock} in tests. */
  clock?: Clock;
  /** Takes the errors of functions whose workqueue does not; by default they are uncaught exceptions. */
  onError?: OnError;
  /**
   * After how many ms a pass yields to I/O, more than 0. Default 2. An eighth as many functions as it
   * has entered by then may follow, 1 at least and 32 at most.
   */
  budgetMs?: number;
}

/**
 * The predefined workqueues, highest priority first.
 *
 * @remarks
 * The four `soft…` ones take synchronous functions only; the others take asynchronous ones too.
 *
 * @public
 */
export interface PredefinedWorkqueues {
  /** Priority 223, synchronous functions only. */
  readonly softserial: FastWorkqueue;
  /** Priority 215, synchronous functions only: protocol work. */
  readonly softnet: FastWorkqueue;
  /** Priority 207, synchronous functions only: completed I/O. */
  readonly softbio: FastWorkqueue;
  /** Priority 199, synchronous functions only: timers. */
  readonly softclock: FastWorkqueue;
  /** Priority 127. */
  readonly prihigh: Workqueue;
  /** Priority 119. */
  readonly primedhigh: Workqueue;
  /** Priority 111. */
  readonly primedlow: Workqueue;
  /** Priority 103: bulk work. */
  readonly prilow: Workqueue;
}

/**
 * What {@link Kernel.inspect} tells.
 *
 * @public
 */
export interface KernelReport {
  /** Timers that run. */
  readonly pending: number;
  /** Runnable and not entered. */
  readonly queued: number;
  /** Entered and not settled. */
  readonly running: number;
  /** Whether it has been closed. */
  readonly closed: boolean;
  /** Each workqueue's figures, highest priority first. */
  readonly workqueues: readonly WorkqueueStats[];
}

const KERNEL = optionsOf<KernelOptions>('Kernel', {
  clock: kindOf('a VirtualClock', (value) => typeof (value as Clock | null)?._drive === 'function'),
  onError: FUNCTION,
  budgetMs: numberOf('a number > 0', Number.MIN_VALUE, Infinity),
});
const CLOSE = optionsOf<{ graceMs?: number }>('close', { graceMs: FINITE_MS });

/** Default budget of a pass, in ms. */
const BUDGET_MS = 2;
/** Default grace of `close`, in ms. */
const GRACE_MS = 5000;

/**
 * One clock, its CPUs and its workqueues.
 *
 * @remarks
 * Most programs use the process-wide {@link kernel}. Make another one for tests, with a
 * {@link VirtualClock}; kernels never meet.
 *
 * @public
 */
export class Kernel {
  /** The predefined workqueues. */
  readonly wq: PredefinedWorkqueues;
  /** @internal */
  _cpus: readonly Cpu[];
  /**
   * Its other CPUs are being started.
   * @internal
   */
  _starting: Pick<CpuLink, 'close'> | null = null;
  /**
   * The CPU of this thread.
   * @internal
   */
  _cpu: Cpu;
  readonly #dispatcher: Dispatcher;
  #closing: Promise<CloseReport> | undefined = undefined;

  /**
   * Makes a kernel.
   *
   * @param options - clock, error handler, budget
   * @throws KcontError EINVAL for an option that is not what it has to be
   */
  constructor(options?: KernelOptions) {
    const {
      clock = hostClock,
      onError,
      budgetMs = BUDGET_MS,
    } = readOptions(options, KERNEL, Kernel);
    this.#dispatcher = new Dispatcher(this, clock, budgetMs, onError);
    this._cpu = Cpu._make(this, 0);
    this._cpus = [this._cpu];
    const predefined = (name: string, priority: number): Workqueue =>
      Workqueue._make(this.#dispatcher, criteriaFor(priority), name);
    const soft = (name: string, priority: number): FastWorkqueue =>
      predefined(name, priority) as FastWorkqueue;
    this.wq = {
      softserial: soft('softserial', PRI_SOFTSERIAL),
      softnet: soft('softnet', PRI_SOFTNET),
      softbio: soft('softbio', PRI_SOFTBIO),
      softclock: soft('softclock', PRI_SOFTCLOCK),
      prihigh: predefined('prihigh', PRI_PRIHIGH),
      primedhigh: predefined('primedhigh', PRI_PRIMEDHIGH),
      primedlow: predefined('primedlow', PRI_PRIMEDLOW),
      prilow: predefined('prilow', PRI_PRILOW),
    };
  }

  /**
   * The workqueue for these criteria: the same one whoever asks for the same.
   *
   * @remarks
   * So two that ask for a `maxActive` of 4 at one priority share the four places. Give each a `name` to
   * have one for each.
   *
   * @param priority - 0 … 223; from 192 on for synchronous functions only
   * @param options - what else is asked for
   * @returns a workqueue, to be given back by its `release`; each continuation made on it keeps it
   * @throws KcontError EINVAL for criteria out of range
   */
  acquire(priority: number, options?: WorkqueueOptions): Workqueue {
    const criteria = criteriaFor(priority, options, Kernel.prototype.acquire);
    return findOrMake(this.#dispatcher, criteria)._acquire();
  }

  /** Whether it has been closed: true from the call of {@link Kernel.close} on. */
  get closed(): boolean {
    return this.#dispatcher.closed;
  }

  /** Its event loops; `cpus[0]` is the thread that made it. */
  get cpus(): readonly Cpu[] {
    return this._cpus;
  }

  /**
   * Starts worker threads as further CPUs of this kernel. Needs `import 'kcont/cpu'`.
   *
   * @remarks
   * Every CPU, this one included, imports the module. The functions it exports can run on any CPU, by
   * `run` and by continuations; all others run on the CPU that they were made on.
   *
   * @param options - the module, how many CPUs, and what becomes of CPUs that fail
   * @returns a promise of what the module exports, fulfilled when all of them are up; rejected with
   * KcontError ENOTSUP without `kcont/cpu`, on a VirtualClock, for TypeScript where Node cannot run
   * it, and on any thread but that of CPU 0; EINVAL for an option that is not what it has to be; EBUSY when CPUs
   * have been started before; ESHUTDOWN when the kernel is closed, also before all are up; ECPUDIED when a
   * thread could not be started; ETIMEDOUT when the module was not imported in time; with the reason of the
   * signal; and with what the module throws. When it is rejected, no thread of it is left
   */
  startCpus<M = Record<string, unknown>>(options: StartCpusOptions): Promise<M> {
    return startCpus(this, options) as Promise<M>;
  }

  /**
   * Milliseconds, monotonic: `performance.now()`, or the virtual clock's time. Under fake timers, theirs,
   * from where it was.
   */
  now(): number {
    return this.#dispatcher.clock.now;
  }

  /**
   * Waits until nothing is queued or running on any workqueue. PENDING timers do not count.
   *
   * @param options - a signal to give up waiting
   * @returns a promise, fulfilled then; rejected with the signal's reason, and with KcontError EINVAL for
   * an option that is not what it has to be
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    const local = (): Promise<void> => drained(this.#dispatcher.queues);
    const wait = (): Promise<void> => this.#dispatcher.cpuLink?.drain(local) ?? local();
    return drainBy(wait, options, Kernel.prototype.drain);
  }

  /**
   * Shuts down in order: refuses to schedule, stops the timers that are PENDING, finishes what is
   * queued and running by priority; when the grace is over aborts the rest and reports it by name.
   *
   * @remarks
   * From the call on, {@link Kernel.closed} is true. During the grace, what is in flight is served to
   * its end: locks are granted to it, and timers of `kcont/timers/promises` and deadlines stay armed, and
   * may be armed, until the last run has settled; then they are rejected and aborted. `schedule` and
   * `reset` return false, so that a function which schedules again need not know of it. Whoever waits
   * for a result that will not come, of `run` or of a front, gets KcontError ESHUTDOWN. What settles in
   * the very tick in which the grace is over has finished in time.
   *
   * @param options - `graceMs`: how long to wait, 0 and more ms, default 5000; what is aborted then
   * may take 100 ms more to settle
   * @returns a promise of what did not finish; the same one for every call, with the grace of the first
   */
  close(options?: { graceMs?: number }): Promise<CloseReport> {
    let graceMs: number;
    try {
      ({ graceMs = GRACE_MS } = readOptions(options, CLOSE, Kernel.prototype.close));
    } catch (error) {
      return Promise.reject(error);
    }
    const local: LocalClose = (guide) => close(this.#dispatcher, graceMs, guide);
    const others = this.#dispatcher.cpuLink ?? this._starting;
    return (this.#closing ??= others?.close(graceMs, local) ?? local());
  }

  /** What it has to do, and has done. */
  inspect(): KernelReport {
    const workqueues = [...this.#dispatcher.queues]
      .map((queue) => queue.stats())
      .toSorted((a, b) => b.priority - a.priority);
    let queued = 0;
    let running = 0;
    for (const stats of workqueues) {
      queued += stats.queued;
      running += stats.running;
    }
    return {
      pending: this.#dispatcher.wheel.count,
      queued,
      running,
      closed: this.#dispatcher.closed,
      workqueues,
    };
  }
}

defineInspect(
  Kernel,
  (kernel) => {
    const { pending, queued, running, closed } = kernel.inspect();
    return `Kernel { ${pending} pending, ${queued} queued, ${running} running${closed ? ', closed' : ''} }`;
  },
  (kernel) => kernel.inspect(),
);

/**
 * The process-wide kernel, on the host's clock.
 *
 * @public
 */
export const kernel: Kernel = new Kernel();

/**
 * The workqueues of the process-wide kernel.
 *
 * @public
 */
export const wq: PredefinedWorkqueues = kernel.wq;

/**
 * The CPU this code runs on.
 *
 * @remarks
 * A thread that has made several kernels is CPU 0 of each. A function that one of them has entered gets
 * that kernel's, until its first `await`: whose function goes on after it, nobody can tell.
 *
 * @returns in a thread that a kernel has started, its CPU; else CPU 0 of the kernel whose function is
 * on the stack, and of the process-wide kernel where none is
 *
 * @public
 */
export function curcpu(): Cpu {
  return (kernelInPass() ?? kernel)._cpu;
}
