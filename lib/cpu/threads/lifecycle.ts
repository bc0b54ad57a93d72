/*
 * The lifecycle of a CPU other than CPU 0. It has at most one thread at a time, for any requests in any
 * order.
 *
 *                     timer                up
 *        +--- BACKOFF -------> STARTING ---------> UP
 *        |       ^  ^             | |               | |
 *        |       |  +-- died -----+ | stop,         | +---- died ----> BACKOFF
 *  stop, |       |                  | close,        |
 *  close |       |                  | timed out     | stop, restart, close
 *        |       | timed out        v               v
 *        |       +------------- ENDING <------- STOPPING
 *        v                          | ended   grace over, reported |
 *      DOWN <-----------------------+------------------------------+ ended
 *        |                          |
 *        +--- start --> STARTING <--+ if another thread is to follow
 *
 *   DOWN      there is no thread, and no one wants one
 *   STARTING  a thread imports the CPU module, within `timeoutMs`
 *   UP        the thread runs continuations
 *   STOPPING  the thread was told to finish what runs, within its grace period
 *   ENDING    the grace period is over, or there was none; a thread that does not end within END_MS is
 *             terminated
 *   BACKOFF   the thread has ended by itself, or has not imported the module in time; another one is made
 *             after a wait
 *
 * Requests join what is under way. A restart while a thread is ending or starting waits for the next
 * `up`, as all other requests do. A second stop can shorten the grace period, but not extend it. The
 * last request decides whether another thread follows. Each state has at most one time limit, so one
 * timer is enough. Only the event `ended` leads from a state with a thread to one without, so there are
 * never two threads.
 *
 * What a thread leaves behind when it ends is handled by supervisor.ts and recovery.ts.
 */

import { microtask } from '../../time/host-clock.ts';
import type { Cpu } from '../../core/cpu.ts';
import { KcontError, show } from '../../base/errors.ts';
import type { Kcont } from '../../core/kcont.ts';
import type { Ending, Thread, ThreadCalls } from './worker.ts';

/** How long a thread may take to end after its grace period, in ms. */
const END_MS = 500;
/** When a CPU dies that has been up for longer than this, in ms, the shortest backoff is used. */
const STEADY_MS = 10_000;

/** A state of the diagram above. */
export type Phase = 'down' | 'starting' | 'up' | 'stopping' | 'ending' | 'backoff';

/** The functions of the supervisor that a lifecycle calls. */
export interface LifeCalls {
  /** How long a thread may take to import the module, in ms. */
  readonly timeoutMs: number;
  /** The URL of the CPU module. */
  readonly url: string;
  /** How long to wait after a number of failures in a row, in ms. */
  backoffMs(failures: number): number;
  nowMs(): number;
  /** Makes a timer that does not keep the process alive. */
  timer(callback: () => void): Kcont<null>;
  /** Makes a thread. May throw. */
  make(index: number, calls: ThreadCalls): Thread;
  /** The thread has been made. */
  made(index: number): void;
  /** The CPU is up. */
  up(life: Lifecycle): void;
  /** The CPU is to accept no more work. */
  stopping(index: number): void;
  /** The thread has ended by itself, or because it `wasEnded`. A thread of null could not be made. */
  ended(life: Lifecycle, thread: Thread | null, cause: unknown, wasEnded: boolean): void;
  /** The thread has ended, and the CPU has entered its next state. */
  say(life: Lifecycle, error: KcontError | undefined): void;
}

/** A caller that waits for a CPU to be up. */
interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** The lifecycle of one CPU. */
export class Lifecycle {
  readonly cpu: Cpu;
  /** Whether it is a CPU of the reserve: its thread is made on demand, and not restarted when it dies. */
  readonly isReserve: boolean;
  thread: Thread | null = null;
  readonly #calls: LifeCalls;
  readonly #timer: Kcont<null>;
  #phase: Phase = 'down';
  /** When the grace period ends, on the clock of the kernel. */
  #graceEndMs = 0;
  /** Another thread is to follow the one that is ending. */
  #follows = false;
  /** The thread was asked to end. */
  #asked = false;
  /** The thread was terminated, and has not ended by itself. */
  #wasEnded = false;
  /** Why it was terminated, if it has exceeded a time limit. */
  #fault: KcontError | undefined = undefined;
  /** Why no more threads are made; undefined while they are. */
  #shut: KcontError | undefined = undefined;
  /** The number of threads that have died since the last one that was up for STEADY_MS. */
  #failures = 0;
  /** When the current thread came up; Infinity if it has not been up. */
  #upSinceMs = Infinity;
  readonly #starts: Waiter[] = [];
  readonly #ends: (() => void)[] = [];

  constructor(cpu: Cpu, isReserve: boolean, calls: LifeCalls) {
    this.cpu = cpu;
    this.isReserve = isReserve;
    this.#calls = calls;
    this.#timer = calls.timer(() => this.#timedOut());
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Makes a thread if there is none. The promise is fulfilled when the CPU is up. */
  start(): Promise<void> {
    if (this.#shut !== undefined) return Promise.reject(this.#shut);
    if (this.#phase === 'up') return Promise.resolve();
    const up = new Promise<void>((resolve, reject) => void this.#starts.push({ resolve, reject }));
    if (this.#phase === 'down' || this.#phase === 'backoff') this.#begin();
    else if (this.#phase !== 'starting') this.#follows = true;
    return up;
  }

  /** Ends the thread unless it is still starting, and makes another. Fulfilled when the CPU is up. */
  restart(graceMs: number): Promise<void> {
    if (this.#shut === undefined) this.#finish(graceMs);
    return this.start();
  }

  /** Stops the thread. The promise is fulfilled when the CPU has no thread. */
  stop(graceMs: number): Promise<void> {
    this.#leave(this.#stoppedEarly(), graceMs);
    return this.#end();
  }

  /** Terminates the thread, whatever it is doing. Fulfilled when the CPU has no thread. */
  kill(): Promise<void> {
    if (this.thread !== null) this.#terminate();
    this.#leave(this.#stoppedEarly(), 0);
    return this.#end();
  }

  /** Makes the CPU start no more threads: the kernel closes. */
  shut(reason: KcontError): void {
    this.#shut = reason;
  }

  /** Lets the thread finish its work: the kernel closes. */
  close(graceMs: number): void {
    this.#leave(this.#shut ?? this.#stoppedEarly(), graceMs);
  }

  /** Ends the thread: all CPUs have finished, or the grace period is over. Fulfilled when it has ended. */
  finish(): Promise<void> {
    if (this.#phase === 'stopping') this.#over();
    return this.#end();
  }

  #stoppedEarly(): KcontError {
    return new KcontError('ECPUDIED', `CPU ${this.cpu.index} was stopped before it was up`);
  }

  /** Ends the thread with no other to follow, and rejects the callers that wait for the CPU to be up. */
  #leave(reason: KcontError, graceMs: number): void {
    this.#follows = false;
    this.#refuse(reason);
    if (this.#phase === 'backoff') this.#wait('down', Infinity);
    else if (this.#phase === 'starting') this.#terminate();
    else if (this.#phase === 'ending') this.#asked = true;
    else this.#finish(graceMs);
  }

  /** From UP to STOPPING. In STOPPING, shortens the grace period if the new one ends earlier. */
  #finish(graceMs: number): void {
    const endMs = this.#calls.nowMs() + graceMs;
    if (this.#phase === 'up') {
      this.#asked = true;
      // When the kernel closes, the thread also runs what is queued; a stop leaves that to other CPUs.
      if (this.#shut === undefined) this.#calls.stopping(this.cpu.index);
      this.thread?.end({ type: this.#shut === undefined ? 'stop' : 'close', graceMs });
    } else if (this.#phase !== 'stopping' || endMs >= this.#graceEndMs) return;
    this.#graceEndMs = endMs;
    this.#wait('stopping', graceMs);
  }

  #end(): Promise<void> {
    if (this.thread === null) return Promise.resolve();
    return new Promise((resolve) => void this.#ends.push(resolve));
  }

  /** Enters STARTING and makes a thread. */
  #begin(): void {
    this.#follows = false;
    this.#asked = false;
    this.#wasEnded = false;
    this.#fault = undefined;
    this.#upSinceMs = Infinity;
    this.#wait('starting', this.#calls.timeoutMs);
    try {
      const thread: Thread = this.#calls.make(this.cpu.index, {
        up: () => this.#isUp(thread),
        reported: () => this.#reported(thread),
        ended: (ending) => this.#ended(thread, ending),
      });
      this.thread = thread;
      this.#calls.made(this.cpu.index);
    } catch (error) {
      // In a microtask, because the caller of `start` has to get its promise first.
      microtask(() => this.#ended(null, { code: 1, error }));
    }
  }

  #isUp(thread: Thread): void {
    if (this.thread !== thread || this.#phase !== 'starting') return;
    this.#wait('up', Infinity);
    this.#upSinceMs = this.#calls.nowMs();
    for (const { resolve } of this.#starts.splice(0)) resolve();
    this.#calls.up(this);
  }

  /** Enters ENDING: after its report, only the user's own handles can keep the thread from ending. */
  #reported(thread: Thread): void {
    if (this.thread === thread && this.#phase === 'stopping') this.#wait('ending', END_MS);
  }

  #ended(thread: Thread | null, { code, error }: Ending): void {
    if (this.thread !== thread) return;
    const { index } = this.cpu;
    const wasStarting = this.#phase === 'starting';
    const asked = this.#asked;
    const cause = this.#fault ?? error ?? new Error(`its thread ended with code ${code}`);
    this.thread = null;
    this.#wait('down', Infinity);
    this.#calls.ended(this, thread, cause, this.#wasEnded);
    for (const resolve of this.#ends.splice(0)) resolve();
    if (asked) {
      this.#calls.say(this, undefined);
      if (this.#follows) this.#begin();
      return;
    }
    if (wasStarting) this.#refuse(this.#failedToStart(code, error));
    const steady = this.#calls.nowMs() - this.#upSinceMs > STEADY_MS;
    this.#failures = steady ? 0 : this.#failures + 1;
    if (this.#follows) this.#begin();
    else if (!this.isReserve && this.#shut === undefined) {
      this.#wait('backoff', this.#calls.backoffMs(this.#failures));
    }
    const what = `CPU ${index} died: ${cause instanceof Error ? cause.message : show(cause)}`;
    this.#calls.say(this, withCause(new KcontError('ECPUDIED', what), cause));
  }

  #timedOut(): void {
    if (this.#phase === 'backoff') this.#begin();
    else if (this.#phase === 'starting') {
      const { index } = this.cpu;
      const what = `CPU ${index} could not be started: it has not imported ${this.#calls.url} within ${this.#calls.timeoutMs} ms`;
      const fault = new KcontError('ETIMEDOUT', what);
      this.#terminate();
      this.#asked = false;
      this.#fault = fault;
      this.#refuse(fault);
    } else if (this.#phase === 'stopping') this.#over();
    else this.#terminate();
  }

  /** From STOPPING to ENDING. */
  #over(): void {
    this.thread?.end({ type: 'over' });
    this.#wait('ending', END_MS);
  }

  #failedToStart(code: number, error: unknown): KcontError {
    const why =
      error === undefined
        ? `its thread ended with code ${code} while it imported ${this.#calls.url}`
        : describe(error);
    const what = `CPU ${this.cpu.index} could not be started: ${why}`;
    return withCause(new KcontError('ECPUDIED', what), error);
  }

  /** Enters ENDING without a grace period. */
  #terminate(): void {
    this.#asked = true;
    this.#wasEnded = true;
    this.#calls.stopping(this.cpu.index);
    this.#wait('ending', Infinity);
    this.thread?.terminate();
  }

  #refuse(reason: KcontError): void {
    for (const { reject } of this.#starts.splice(0)) reject(reason);
  }

  /** Enters a state and sets its time limit. */
  #wait(phase: Phase, limitMs: number): void {
    this.#phase = phase;
    if (limitMs < Infinity) this.#timer.reset(limitMs);
    else this.#timer.stop();
  }
}

function withCause(error: KcontError, cause: unknown): KcontError {
  return Object.assign(error, { cause });
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : show(error);
}
