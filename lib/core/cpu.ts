import type { Kcont } from './kcont.ts';
import type { Kernel } from './kernel.ts';
import type { RunOptions } from './one-shot.ts';
import type { BaseLock } from '../locks/lock.ts';
import type { CloseReport, LocalClose } from './shutdown.ts';
import type { Phase } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { KcontError, traceFrom, type Caller } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';

/**
 * What a CPU is doing.
 *
 * - `'up'`: it runs continuations
 * - `'starting'`: its thread has been made, and loads the module
 * - `'stopping'`: it takes nothing more, and finishes what runs
 * - `'down'`: it has no thread; what has to run there waits
 *
 * @public
 */
export type CpuState = 'up' | 'starting' | 'stopping' | 'down';

/**
 * An event loop that runs continuations.
 *
 * @remarks
 * The thread that made the kernel is CPU 0: `kernel.cpus[0]`. Others are worker threads, started by
 * {@link Kernel.startCpus}. Each thread has objects of its own for them, `kernel.cpus`.
 *
 * @public
 */
export class Cpu {
  /** 0 for the thread that made the kernel. */
  readonly index: number;
  /** The kernel it belongs to. */
  readonly kernel: Kernel;
  /** @internal */
  _machine: CpuLink | null = null;

  private constructor(kernel: Kernel, index: number) {
    this.kernel = kernel;
    this.index = index;
  }

  /**
   * How a kernel makes one.
   * @internal
   */
  static _make(kernel: Kernel, index: number): Cpu {
    return new Cpu(kernel, index);
  }

  /** What it is doing, as of now; `'up'` for a CPU 0 that has started no others. */
  get state(): CpuState {
    return this._machine?.stateOf(this.index) ?? 'up';
  }

  /**
   * For how long it has not come to what it should do, in ms: a function blocks it. 0: it keeps up.
   */
  get lagMs(): number {
    return this._machine?.lagOf(this.index) ?? 0;
  }

  /**
   * Ends its thread: what runs there may finish, what is queued stays or goes elsewhere.
   *
   * @remarks
   * Continuations whose affinity is strong wait for {@link Cpu.restart}; the others go to another CPU. When
   * the grace is over, the signals of functions that run are aborted, with KcontError ECPUDIED as their
   * reason; a tenth of a second later the thread ends, and half a second later it is ended.
   *
   * Calls that meet join: the shortest grace counts, and the last call says whether a thread follows.
   *
   * @param options - `graceMs`: how long what runs may take to finish, 0 and more ms, default 5000;
   * what then still runs is ended with the thread
   * @returns a promise, fulfilled when the thread has ended
   * @throws KcontError ENOTSUP for CPU 0, and on any other CPU than 0; EINVAL for a grace out of range
   */
  stop(options?: { graceMs?: number }): Promise<void> {
    return this.#control(Cpu.prototype.stop).stop(this.index, options);
  }

  /**
   * Ends its thread, if it has one, and starts another. One that is starting already is waited for.
   *
   * @param options - as for {@link Cpu.stop}
   * @returns a promise, fulfilled when the CPU is up again; rejected with KcontError ECPUDIED when
   * its thread could not be started, and then it is tried again, or when it was stopped meanwhile;
   * ETIMEDOUT when it has not imported the module in time; ESHUTDOWN when the kernel is closed
   * @throws as {@link Cpu.stop}
   */
  restart(options?: { graceMs?: number }): Promise<void> {
    return this.#control(Cpu.prototype.restart).restart(this.index, options);
  }

  #control(caller: Caller): CpuLink {
    if (this._machine === null || this.index === 0 || this._machine.here.index !== 0) {
      const what = 'a CPU is stopped and restarted by CPU 0, which is never stopped itself';
      throw traceFrom(caller, new KcontError('ENOTSUP', what));
    }
    return this._machine;
  }
}

defineInspect(
  Cpu,
  ({ index, state }) => `Cpu ${index} { ${state} }`,
  ({ index, state }) => ({ index, state }),
);

/**
 * Something happened to a CPU that its owner may want to know.
 *
 * - `'up'`: it runs continuations from now on
 * - `'died'`: its thread has ended by itself; `error` says how
 * - `'stopped'`: its thread has been ended by `stop`, `restart` or `kill`
 * - `'blocked'`: it has not come to its work for `lagMs`
 * - `'unblocked'`: it works again, after so many ms
 *
 * @public
 */
export interface CpuEvent {
  /** What happened. */
  readonly type: 'up' | 'died' | 'stopped' | 'blocked' | 'unblocked';
  /** To which CPU. */
  readonly cpu: Cpu;
  /** For how long it has been blocked, in ms; 0 for the other events. */
  readonly lagMs: number;
  /**
   * How many locks between CPUs it held when its thread ended; 0 for the other events. They are free
   * now, and what they protect may be half done.
   */
  readonly heldLocks: number;
  /** Why it died: KcontError ECPUDIED, whose `cause` is what the thread threw. */
  readonly error?: unknown;
}

/**
 * How CPUs are started.
 *
 * @public
 */
export interface StartCpusOptions {
  /** The CPU module: a file URL, or an absolute path. */
  module: URL | string;
  /** How many, 1 … 15. Default: one less than the machine has, and at least 1. */
  count?: number;
  /** Told what happens to CPUs. What it throws is an uncaught exception. */
  onEvent?: (event: CpuEvent) => void;
  /** After how many ms a CPU that does not come to its work is reported as blocked. Default 1000. */
  blockedMs?: number;
  /** How long to wait before a CPU that died is started again, in ms; doubled each time. Default 100. */
  backoffMs?: number;
  /** The longest such wait, in ms. Default 30000. */
  longestBackoffMs?: number;
  /**
   * How long each thread may take to import the module, now and whenever it is started again, in ms, more
   * than 0; Infinity: no limit. A thread that takes longer is ended. Default 30000: much longer than an
   * import takes on a busy machine, and shorter than most wait for a service to be up.
   */
  timeoutMs?: number;
  /** Aborted before all CPUs are up: the start is given up, and its threads are ended. */
  signal?: AbortSignal;
  /** Limits of each thread's memory, as those of `node:worker_threads`. */
  resourceLimits?: CpuLimits;
}

/**
 * Limits of a thread's memory, each in MB.
 *
 * @public
 */
export interface CpuLimits {
  /** Of the main heap. */
  maxOldGenerationSizeMb?: number;
  /** Of the heap for recent objects. */
  maxYoungGenerationSizeMb?: number;
  /** Of generated code. */
  codeRangeSizeMb?: number;
  /** Of the stack. */
  stackSizeMb?: number;
}

type StartCpus = (kernel: Kernel, options: StartCpusOptions) => Promise<unknown>;

let start: StartCpus = () =>
  Promise.reject(new KcontError('ENOTSUP', "startCpus needs kcont/cpu: import 'kcont/cpu' first"));

/**
 * How `kcont/cpu` makes itself known, without being known to the core.
 *
 * @internal
 */
export function registerCpuStarter(starter: StartCpus): void {
  start = starter;
}

/**
 * Starts CPUs.
 *
 * @internal
 */
export function startCpus(kernel: Kernel, options: StartCpusOptions): Promise<unknown> {
  return start(kernel, options);
}

/**
 * Where the state of a continuation is that more than one CPU knows. All of it is as of now, and
 * true for all CPUs.
 *
 * @internal
 */
export interface RemoteState {
  /** State bits. */
  readonly bits: number;
  /** On the clock of this CPU; NaN: not PENDING. */
  readonly deadline: number;
  /** `busy`: the bits that forbid it; `anew`: as `reset` does. An errno, or DESTROYED. */
  schedule(delayMs: number, cpu: Cpu | null, busy: number, anew: boolean): number;
  touch(): boolean;
  /** Stops it. Returns the bits before. */
  stop(): number;
  ack(): boolean;
  /** Stops it for good. False: it was already. */
  destroy(): boolean;
  /** Whether it keeps the process alive. */
  setRef(ref: boolean): void;
  setArg(arg: unknown): void;
  /** Throws for a lock that is not for all CPUs. */
  setLock(lock: BaseLock | null): void;
  /** Refuses to be scheduled while some halt waits. */
  setHalting(halting: boolean): void;
  /** Its settled callbacks are to be called here, wherever it runs. */
  awaitSettle(): void;

  // What the dispatcher asks, of an entry in its own lists.

  /** Its timer here is over: makes it QUEUED. False: this entry is stale, or the deadline moved. */
  expire(): boolean;
  /** What to do with it at the head of the run queue. */
  admit(): Admission;
  /** It is entered here and nowhere else. False: it is stale. */
  enter(): boolean;
  /** The run here has settled. */
  settle(): void;
  /** The function has failed here. False: that is to be reported here, too. */
  fail(error: unknown): boolean;
}

/**
 * Where the state of a continuation is that has the bit REMOTE.
 *
 * @internal
 */
export function remoteOf(kc: Kcont<unknown>): RemoteState {
  return kc._remote as RemoteState;
}

/** The entry is valid and may be entered. @internal */
export const ADMITTED = 0;
/** The entry is valid and waits for something: its run on another CPU, or its argument. @internal */
export const ASIDE = 1;
/** The entry is stale: it was stopped, or is scheduled elsewhere. @internal */
export const STALE = 2;

/** @internal */
export type Admission = typeof ADMITTED | typeof ASIDE | typeof STALE;

/**
 * Scheduling where there are other CPUs.
 *
 * @internal
 */
export interface RemoteScheduling {
  /** What forbids it: an errno, or DESTROYED; REMOTE_REQUIRED: nothing here, `schedule` has to be asked. */
  whyNot(kc: Kcont<unknown>, cpu: Cpu | null, busy: number): number;
  /**
   * Makes the state of a continuation known to all CPUs, if it is not, and schedules it. An errno.
   * `busy`: the bits that forbid it, as `reset` does; undefined: those that `schedule` minds.
   */
  schedule(kc: Kcont<unknown>, delayMs: number, cpu: Cpu | null, busy?: number): number;
  /** The error where only this CPU is being stopped; undefined: the kernel is closed. */
  stopped(kc: Kcont<unknown>): KcontError | undefined;
  /** Why a continuation cannot leave its CPU. */
  reason(kc: Kcont<unknown>): KcontError;
}

/**
 * What a dispatcher knows of the other CPUs.
 *
 * @internal
 */
export interface CpuLink {
  /** The CPU of this thread. */
  readonly here: Cpu;
  /** How far the shutdown of the kernel has come: it may be open where this CPU is being stopped. */
  readonly phase: Phase;
  /** A pass begins: others need not ring. Takes in what they have sent. */
  wake(): void;
  /** Takes in what other CPUs have sent. True: there was something. */
  take(): boolean;
  /** The pass is over and nothing is runnable: others have to ring. True: something came meanwhile. */
  sleep(): boolean;
  /** A continuation has been made: it may be one for any CPU. */
  adopt(kc: Kcont<unknown>): void;
  /** Schedules what has its state where all CPUs can see it. */
  readonly remoteScheduling: RemoteScheduling;
  /** Runs a function on another CPU; null: it is to run here. */
  run(
    wq: Workqueue,
    func: (...args: never[]) => unknown,
    options: RunOptions,
  ): Promise<unknown> | null;
  /** Waits for the other CPUs too, where this is CPU 0. `local`: for this one. */
  drain(local: () => Promise<void>): Promise<void>;
  /** Closes the other CPUs too, where this is CPU 0. `local`: closes this one. */
  close(graceMs: number, local: LocalClose): Promise<CloseReport>;
  stateOf(index: number): CpuState;
  lagOf(index: number): number;
  stop(index: number, options: { graceMs?: number } | undefined): Promise<void>;
  restart(index: number, options: { graceMs?: number } | undefined): Promise<void>;
}
