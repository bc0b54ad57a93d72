import type { Clock } from '../time/clock.ts';
import { KcontError, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { hostClock } from '../time/host-clock.ts';
import { Cpu, startCpus, type StartCpusOptions } from './cpu.ts';
import { type CpuLink } from './cpu-link.ts';
import { Dispatcher } from './dispatcher.ts';
import { inPass } from './in-pass.ts';
import { inheritedIn, type InheritedPriority } from './inherited.ts';
import type { OnError } from './invoke.ts';
import { Kcont } from './kcont.ts';
import { untilAborted } from '../base/abort-listeners.ts';
import { nothing } from '../base/nothing.ts';
import { observing } from './observer.ts';
import type { FastWorkqueue } from './fast-workqueue.ts';
import {
  FINITE_MS,
  FLAG,
  FUNCTION,
  OPTIONS,
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
import { Shedder, type ShedOptions } from './shedder.ts';
import { close, drained, type CloseReport, type LocalClose } from './shutdown.ts';
import { Workqueue, drainBy, type WorkqueueOptions, type WorkqueueStats } from './workqueue.ts';
import { criteriaFor, findOrMake, shedSettings } from './workqueue-registry.ts';

/**
 * Optional settings of a kernel.
 *
 * @public
 */
export interface KernelOptions {
  /** Its clock: the host's clock by default, or a {@link VirtualClock} in tests. */
  clock?: Clock;
  /**
   * Called with the errors of functions whose workqueue has no `onError`. By default they become
   * uncaught exceptions.
   */
  onError?: OnError;
  /**
   * A pass yields to I/O after this many ms: more than 0, default 2. After that time it may still enter
   * one eighth as many functions as it has entered so far, at least 1 and at most 32.
   */
  budgetMs?: number;
  /**
   * Refuses runs on the predefined workqueues, lowest priority first, while earlier ones wait for too long,
   * with {@link ShedError}. Default: no run is refused because of load.
   */
  shed?: ShedOptions;
  /**
   * Whether it looks for mistakes in its use, and knows the holders of locks. Needs `import 'kcont/observe'`. Makes
   * everything slower. Default false; true if the environment variable KCONT_DEBUG is 1.
   */
  debug?: boolean;
}

/**
 * The predefined workqueues, highest priority first.
 *
 * @remarks
 * The four `soft…` ones take synchronous functions only; the others also take asynchronous functions.
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
 * The result of {@link Kernel.inspect}.
 *
 * @public
 */
export interface KernelReport {
  /** Number of timers that are PENDING. */
  readonly pending: number;
  /** Number of continuations that are runnable and have not been entered. */
  readonly queued: number;
  /** Number of functions that have been entered and have not settled. */
  readonly running: number;
  /** Whether `close` has been called. */
  readonly closed: boolean;
  /** The statistics of each workqueue, highest priority first. */
  readonly workqueues: readonly WorkqueueStats[];
  /** The continuations that are scheduled and have inherited a priority. */
  readonly inherited: readonly InheritedPriority[];
}

/**
 * How much waits on a workqueue, in the result of {@link Kernel.load}.
 *
 * @public
 */
export interface WorkqueueLoad {
  /** The workqueue's name. */
  readonly name: string;
  /** Its priority. */
  readonly priority: number;
  /** Number of continuations that are runnable and have not been entered. */
  readonly queued: number;
  /** Number of functions that have been entered and have not settled. */
  readonly running: number;
  /**
   * For how many ms the oldest run that waits for the CPU or for a place within `maxActive` has waited. It
   * is 0 until the run has been passed over by two passes. Null without the option `shed`.
   */
  readonly waitMs: number | null;
  /** Whether runs are refused while the wait is above the target. */
  readonly shedding: boolean;
  /** Number of runs refused so far. */
  readonly shed: number;
}

const KERNEL = optionsOf<KernelOptions>('Kernel', {
  clock: kindOf('a VirtualClock', (value) => typeof (value as Clock | null)?._drive === 'function'),
  onError: FUNCTION,
  budgetMs: numberOf('a number > 0', Number.MIN_VALUE, Infinity),
  shed: OPTIONS,
  debug: FLAG,
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
 * Most programs use the process-wide {@link kernel}. Tests create their own, with a
 * {@link VirtualClock}; kernels are independent of each other.
 *
 * @public
 */
export class Kernel {
  /** The predefined workqueues. */
  readonly wq: PredefinedWorkqueues;
  /** @internal */
  _cpus: readonly Cpu[];
  /**
   * Set while its other CPUs are being started.
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
   * Creates a kernel.
   *
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid option, ENOTSUP for `debug` without `kcont/observe`
   */
  constructor(options?: KernelOptions) {
    const {
      clock = hostClock,
      onError,
      budgetMs = BUDGET_MS,
      shed,
      debug = false,
    } = readOptions(options, KERNEL, Kernel);
    const settings = shedSettings(shed, Kernel);
    if (debug && observing.debug === null) {
      const what = "debug needs kcont/observe: import 'kcont/observe' first";
      throw traceFrom(Kernel, new KcontError('ENOTSUP', what));
    }
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
    if (settings !== undefined) {
      const shedder = new Shedder(this.#dispatcher, settings);
      // The first one created has the highest priority.
      for (const queue of [...this.#dispatcher.queues].toReversed()) {
        queue._backlog = shedder.add(queue.name);
      }
    }
    this.#dispatcher.kept = new Kcont(this.wq.softclock, null, nothing, null);
    if (debug) observing.debug?.(this);
  }

  /**
   * Returns the workqueue with this priority and these options, and creates it if necessary.
   *
   * @remarks
   * Equal requests return the same workqueue: two callers that ask for a `maxActive` of 4 at the same
   * priority share this limit. Callers that pass different names get separate workqueues.
   *
   * @param priority - 0 … 223; 192 and above take synchronous functions only
   * @param options - optional settings
   * @returns a workqueue, to be released with its `release`; its continuations keep it alive
   * @throws KcontError EINVAL for an invalid priority or option
   */
  acquire(priority: number, options?: WorkqueueOptions): Workqueue {
    const criteria = criteriaFor(priority, options, Kernel.prototype.acquire);
    return findOrMake(this.#dispatcher, criteria)._acquire();
  }

  /** Whether {@link Kernel.close} has been called. */
  get closed(): boolean {
    return this.#dispatcher.closed;
  }

  /** Its CPUs, each an event loop; `cpus[0]` is the thread that created the kernel. */
  get cpus(): readonly Cpu[] {
    return this._cpus;
  }

  /**
   * Starts worker threads as further CPUs of this kernel. Needs `import 'kcont/cpu'`.
   *
   * @remarks
   * Every CPU, including this one, imports the module. The functions that it exports can run on any CPU,
   * through `run` and continuations; all other functions run on the CPU on which they were created.
   *
   * @param options - the module, the number of CPUs, and how CPUs that fail are handled
   * @returns a promise of the module's exports, fulfilled when all CPUs are up. Rejected with KcontError
   * ENOTSUP without `kcont/cpu`, on a VirtualClock, for TypeScript where Node cannot run it, and on any
   * thread but that of CPU 0; EINVAL for an invalid option; EBUSY if CPUs have been started before;
   * ESHUTDOWN if the kernel is closed, also before all CPUs are up; ECPUDIED if a thread could not be
   * started; ETIMEDOUT if the module was not imported in time; with the reason of the signal; and with
   * what the module throws. If it is rejected, all threads that it started have ended
   */
  startCpus<M = Record<string, unknown>>(options: StartCpusOptions): Promise<M> {
    return startCpus(this, options) as Promise<M>;
  }

  /**
   * Returns the monotonic time in ms: `performance.now()`, or the virtual clock's time.
   *
   * @remarks
   * While fake timers are installed, it follows their time, starting from the value it had before.
   */
  now(): number {
    return this.#dispatcher.clock.now;
  }

  /**
   * Waits until no continuation is queued or running on any workqueue.
   *
   * @remarks
   * PENDING timers are not waited for.
   *
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise, rejected with the signal's reason when aborted, and with KcontError EINVAL for
   * an invalid option
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    const wait = (signal: AbortSignal | undefined): Promise<void> => {
      const local = (): Promise<void> => drained(this.#dispatcher.queues, signal);
      const { cpuLink } = this.#dispatcher;
      return cpuLink === null ? local() : untilAborted(cpuLink.drain(local), signal);
    };
    return drainBy(wait, options, Kernel.prototype.drain);
  }

  /**
   * Shuts the kernel down in an orderly way.
   *
   * @remarks
   * Queued functions run, by priority, and running functions finish; both are granted locks. PENDING
   * timers are stopped, except those that a running function may be waiting for, or that limit its time:
   * promises of `kcont/timers/promises`; timers of `kcont/timers` that were set while an asynchronous
   * function was running; deadlines of `kcont/signal`, of retries and of the items of pipelines; and waits
   * for a rate limit of `kcont/limits`. When the last run has settled or the grace is over, these promises
   * and waits are rejected, the deadlines of `kcont/signal` aborted, and the other timers cleared.
   *
   * When the grace is over, what is still queued is withdrawn and reported by name, and running functions
   * are aborted. Those that have not settled 100 ms later are reported too.
   *
   * {@link Kernel.closed} is true from the call on. During the grace, `schedule` and `reset` return
   * false, so that functions which reschedule themselves need no special code. Promises
   * of results that will not come, from `run` or a drop-in API, are rejected with KcontError ESHUTDOWN.
   * A run that settles in the same tick in which the grace ends has finished in time.
   *
   * @param options - optional settings: `graceMs`, how long to wait, 0 ms or more, default 5000;
   * aborted runs get 100 ms more to settle
   * @returns a promise of a report of what did not finish; every call returns the same promise, with the
   * grace of the first call
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

  /**
   * Returns how much waits on each workqueue, highest priority first: for health checks, and to refuse work
   * before it begins.
   */
  load(): WorkqueueLoad[] {
    return [...this.#dispatcher.queues]
      .map((queue) => {
        const { name, priority, queued, running } = queue.stats();
        const backlog = queue._backlog;
        const waitMs = backlog?.waitMs() ?? null;
        const shedding = backlog?.shedding ?? false;
        return { name, priority, queued, running, waitMs, shedding, shed: backlog?.shed ?? 0 };
      })
      .toSorted((a, b) => b.priority - a.priority);
  }

  /** Returns the number of timers, queued continuations and runs, and each workqueue's statistics. */
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
      inherited: inheritedIn(this.#dispatcher),
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
 * Returns the CPU on which the calling code runs.
 *
 * @remarks
 * A thread that has created several kernels is CPU 0 of each of them. A function gets the CPU of the
 * kernel that entered it, until its first `await`; after that its kernel is not known.
 *
 * @returns the CPU of this thread, if a kernel started the thread; otherwise CPU 0 of the kernel whose
 * function is on the stack, or of the process-wide kernel if there is no such function
 *
 * @public
 */
export function curcpu(): Cpu {
  return (inPass.dispatcher?.kernel ?? kernel)._cpu;
}
