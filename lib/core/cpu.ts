import type { CpuLink } from './cpu-link.ts';
import type { Kernel } from './kernel.ts';
import { KcontError, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';

/**
 * The state of a CPU.
 *
 * - `'up'`: it runs continuations
 * - `'starting'`: its thread has been created and is loading the module
 * - `'stopping'`: it accepts no more work and finishes what is running
 * - `'down'`: it has no thread; continuations that have to run there wait
 *
 * @public
 */
export type CpuState = 'up' | 'starting' | 'stopping' | 'down';

/**
 * An event loop that runs continuations.
 *
 * @remarks
 * The thread that created the kernel is CPU 0: `kernel.cpus[0]`. The others are worker threads, started
 * by {@link Kernel.startCpus}. Each thread has its own `Cpu` objects, in `kernel.cpus`.
 *
 * @public
 */
export class Cpu {
  /** Its number; 0 for the thread that created the kernel. */
  readonly index: number;
  /** The kernel it belongs to. */
  readonly kernel: Kernel;
  /** @internal */
  _link: CpuLink | null = null;

  private constructor(kernel: Kernel, index: number) {
    this.kernel = kernel;
    this.index = index;
  }

  /**
   * Creates a CPU object; called by the kernel.
   * @internal
   */
  static _make(kernel: Kernel, index: number): Cpu {
    return new Cpu(kernel, index);
  }

  /** Its current state; `'up'` for a CPU 0 that has not started other CPUs. */
  get state(): CpuState {
    return this._link?.stateOf(this.index) ?? 'up';
  }

  /**
   * How long its event loop has been blocked, in ms; 0 if it is not blocked.
   */
  get lagMs(): number {
    return this._link?.lagOf(this.index) ?? 0;
  }

  /**
   * Stops its thread after the functions that are running have finished.
   *
   * @remarks
   * Queued continuations with strong affinity wait for {@link Cpu.restart}; the others move to another
   * CPU. When the grace is over, the signals of the functions that still run are aborted, with KcontError
   * ECPUDIED as their reason; 0.1 s later the thread exits, and 0.5 s after that it is terminated.
   *
   * Overlapping calls of `stop` and `restart` are merged: the shortest grace applies, and the last call
   * decides whether a new thread is started.
   *
   * @param options - optional settings: `graceMs`, how long running functions may take to finish, in
   * ms, 0 or more, default 5000
   * @returns a promise, fulfilled when the thread has ended
   * @throws KcontError ENOTSUP for CPU 0, and when not called on CPU 0; EINVAL for an invalid grace
   */
  stop(options?: { graceMs?: number }): Promise<void> {
    return this.#control(Cpu.prototype.stop).stop(this.index, options);
  }

  /**
   * Stops its thread, if it has one, and starts a new one.
   *
   * @remarks
   * If a thread is already starting, this waits for it.
   *
   * @param options - as for {@link Cpu.stop}
   * @returns a promise, fulfilled when the CPU is up again. Rejected with KcontError ECPUDIED if its
   * thread could not be started, which is then retried, or if it was stopped meanwhile; ETIMEDOUT if it
   * did not import the module in time; ESHUTDOWN if the kernel is closed
   * @throws as {@link Cpu.stop}
   */
  restart(options?: { graceMs?: number }): Promise<void> {
    return this.#control(Cpu.prototype.restart).restart(this.index, options);
  }

  #control(caller: Caller): CpuLink {
    if (this._link === null || this.index === 0 || this._link.here.index !== 0) {
      const what = 'only CPU 0 can stop and restart CPUs, and not itself';
      throw traceFrom(caller, new KcontError('ENOTSUP', what));
    }
    return this._link;
  }
}

defineInspect(
  Cpu,
  ({ index, state }) => `Cpu ${index} { ${state} }`,
  ({ index, state }) => ({ index, state }),
);

/**
 * A lifecycle event of a CPU.
 *
 * - `'up'`: it now runs continuations
 * - `'died'`: its thread has ended by itself, could not be created, or was terminated because its import took
 *   too long; `error` tells why
 * - `'stopped'`: its thread has been ended by `stop` or `restart`
 * - `'blocked'`: its event loop has been blocked for `lagMs`
 * - `'unblocked'`: its event loop runs again, after it was blocked for `lagMs`
 *
 * @public
 */
export interface CpuEvent {
  /** What happened. */
  readonly type: 'up' | 'died' | 'stopped' | 'blocked' | 'unblocked';
  /** The CPU. */
  readonly cpu: Cpu;
  /** How long it has been blocked, in ms; 0 for the other events. */
  readonly lagMs: number;
  /**
   * How many shared locks it held when its thread ended; 0 for the other events. They have been
   * released, and the data they protect may be inconsistent.
   */
  readonly heldLocks: number;
  /**
   * Why it died: KcontError ECPUDIED, whose `cause` is what was thrown, an Error with the exit code, or
   * KcontError ETIMEDOUT.
   */
  readonly error?: unknown;
}

/**
 * Settings of {@link Kernel.startCpus}.
 *
 * @public
 */
export interface StartCpusOptions {
  /** The CPU module: a file URL, or an absolute path. */
  module: URL | string;
  /** The number of CPUs to start, 1 … 15. Default: one less than the machine has, at least 1. */
  count?: number;
  /** Called on CPU lifecycle events. What it throws becomes an uncaught exception. */
  onEvent?: (event: CpuEvent) => void;
  /** After how many ms a blocked CPU is reported. Default 1000. */
  blockedMs?: number;
  /** Delay before a CPU that died is restarted, in ms; doubled each time. Default 100. */
  backoffMs?: number;
  /** The longest such delay, in ms. Default 30000. */
  longestBackoffMs?: number;
  /**
   * How long each thread may take to import the module, also on later starts, in ms, more than 0;
   * Infinity: no limit. A thread that takes longer is terminated. Default 30000, which is much longer
   * than an import takes on a busy machine and shorter than most services wait for another to start.
   */
  timeoutMs?: number;
  /** If aborted before all CPUs are up, the start fails and its threads are ended. */
  signal?: AbortSignal;
  /** Memory limits of each thread, as in `node:worker_threads`. */
  resourceLimits?: CpuLimits;
}

/**
 * Memory limits of a thread, in MB.
 *
 * @public
 */
export interface CpuLimits {
  /** Limit of the main heap. */
  maxOldGenerationSizeMb?: number;
  /** Limit of the heap for recent objects. */
  maxYoungGenerationSizeMb?: number;
  /** Limit of the memory for generated code. */
  codeRangeSizeMb?: number;
  /** Limit of the stack. */
  stackSizeMb?: number;
}

type StartCpus = (kernel: Kernel, options: StartCpusOptions) => Promise<unknown>;

let start: StartCpus = () =>
  Promise.reject(new KcontError('ENOTSUP', "startCpus needs kcont/cpu: import 'kcont/cpu' first"));

/**
 * Registers the implementation in `kcont/cpu`, which the core does not import.
 *
 * @internal
 */
export function registerCpuStarter(starter: StartCpus): void {
  start = starter;
}

/**
 * Starts CPUs with the registered implementation.
 *
 * @internal
 */
export function startCpus(kernel: Kernel, options: StartCpusOptions): Promise<unknown> {
  return start(kernel, options);
}
