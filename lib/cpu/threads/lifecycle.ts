/*
 * The life of one CPU besides CPU 0: one thread at a time, whatever is asked of it in whichever order.
 *
 *                     timer                up
 *        +--- BACKOFF -------> STARTING ---------> UP
 *        |       ^  ^             | |               | |
 *        |       |  +-- died -----+ |               | +---- died ----> BACKOFF
 *   stop |       |                  | stop          |
 *        |       |                  |               | stop, restart, close
 *        |       | died             v               v
 *        |       +------------- ENDING <------- STOPPING
 *        v                          | ended   grace over, reported |
 *      DOWN <-----------------------+------------------------------+ ended
 *        |                          |
 *        +--- start --> STARTING <--+ if one is to follow
 *
 *   DOWN      no thread, and none is wanted
 *   STARTING  a thread imports the CPU module; it has `timeoutMs` for that
 *   UP        it runs continuations
 *   STOPPING  it was told to finish what runs; it has its grace for that
 *   ENDING    the grace is over, or there was none; the thread ends by itself within END_MS, or is ended
 *   BACKOFF   the thread has ended by itself; another one is made when the wait is over
 *
 * Requests join what is under way: a restart while a thread is on its way to its end, or to being up,
 * waits for the next `up`, and so do all others; a second stop shortens the grace, and never extends it.
 * The last request says whether a thread follows. Each state has at most one time limit, so one timer is
 * enough. Only `ended` leads on from a state with a thread to one without: there is no other way to lose
 * it, hence never two of them.
 *
 * What a thread leaves behind when it ends is not looked at here: see supervisor.ts and recovery.ts.
 */

import { microtask } from '../../time/host-clock.ts';
import type { Cpu } from '../../core/cpu.ts';
import { KcontError, show } from '../../base/errors.ts';
import type { Kcont } from '../../core/kcont.ts';
import type { Ending, Thread, ThreadCalls } from './worker.ts';

/** How long a thread that has been told to end may take for it, beyond its grace. */
const END_MS = 500;
/** What has been up for so long is started again after the shortest wait, when it dies. */
const STEADY_MS = 10_000;

/** Where a CPU is in its life. */
export type Phase = 'down' | 'starting' | 'up' | 'stopping' | 'ending' | 'backoff';

/** What a life needs of the supervisor. */
export interface LifeCalls {
  /** How long a thread may take to import the module, in ms. */
  readonly timeoutMs: number;
  /** The URL of the CPU module. */
  readonly url: string;
  /** How long to wait after so many failures in a row, in ms. */
  backoffMs(failures: number): number;
  nowMs(): number;
  /** A timer that does not keep the process alive. */
  timer(callback: () => void): Kcont<null>;
  /** Makes a thread. May throw. */
  make(index: number, calls: ThreadCalls): Thread;
  /** It has been made. */
  made(index: number): void;
  /** It is up. */
  up(life: Lifecycle): void;
  /** It is to take nothing more. */
  stopping(index: number): void;
  /** Its thread has ended: by itself, or because it `wasEnded`. Null: it could not be made. */
  ended(life: Lifecycle, thread: Thread | null, cause: unknown, wasEnded: boolean): void;
  /** The same, when all that follows from it for the CPU's state has been done. */
  say(life: Lifecycle, error: KcontError | undefined): void;
}

/** Who waits for a CPU to be up. */
interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** The life of one CPU. */
export class Lifecycle {
  readonly cpu: Cpu;
  /** Its thread is made when it is needed, and not made again by itself. */
  readonly isReserve: boolean;
  thread: Thread | null = null;
  readonly #calls: LifeCalls;
  readonly #timer: Kcont<null>;
  #phase: Phase = 'down';
  /** When the time limit of STOPPING is, on the clock of the kernel. */
  #graceEndMs = 0;
  /** A thread follows the one that is on its way to its end. */
  #follows = false;
  /** The end of the thread was asked for. */
  #asked = false;
  /** The thread was ended, and has not ended by itself. */
  #wasEnded = false;
  /** Why it was ended, if that is its own fault. */
  #fault: KcontError | undefined = undefined;
  /** No thread is made any more. */
  #shut: KcontError | undefined = undefined;
  /** Threads that have died since it was last steady. */
  #failures = 0;
  /** Infinity: the present thread has not been up. */
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

  /** Fulfilled when it is up. Makes a thread if there is none. */
  start(): Promise<void> {
    if (this.#shut !== undefined) return Promise.reject(this.#shut);
    if (this.#phase === 'up') return Promise.resolve();
    const up = new Promise<void>((resolve, reject) => void this.#starts.push({ resolve, reject }));
    if (this.#phase === 'down' || this.#phase === 'backoff') this.#begin();
    else if (this.#phase !== 'starting') this.#follows = true;
    return up;
  }

  /** Ends its thread, if it has one that is not new, and makes another. Fulfilled when it is up. */
  restart(graceMs: number): Promise<void> {
    if (this.#shut === undefined) this.#finish(graceMs);
    return this.start();
  }

  /** Fulfilled when it has no thread. */
  stop(graceMs: number): Promise<void> {
    this.#leave(this.#stoppedEarly(), graceMs);
    return this.#end();
  }

  /** Ends its thread, whatever it does. Fulfilled when it has none. */
  kill(): Promise<void> {
    if (this.thread !== null) this.#terminate();
    this.#leave(this.#stoppedEarly(), 0);
    return this.#end();
  }

  /** The kernel closes: nothing is started any more. */
  shut(reason: KcontError): void {
    this.#shut = reason;
  }

  /** The kernel closes: what runs may finish. */
  close(graceMs: number): void {
    this.#leave(this.#shut ?? this.#stoppedEarly(), graceMs);
  }

  /** All CPUs have finished, or the grace is over. Fulfilled when it has no thread. */
  finish(): Promise<void> {
    if (this.#phase === 'stopping') this.#over();
    return this.#end();
  }

  #stoppedEarly(): KcontError {
    return new KcontError('ECPUDIED', `CPU ${this.cpu.index} was stopped before it was up`);
  }

  /** Nothing is to follow, and what waits for that is told so. */
  #leave(reason: KcontError, graceMs: number): void {
    this.#follows = false;
    this.#refuse(reason);
    if (this.#phase === 'backoff') this.#wait('down', Infinity);
    else if (this.#phase === 'starting') this.#terminate();
    else if (this.#phase === 'ending') this.#asked = true;
    else this.#finish(graceMs);
  }

  /** UP: to STOPPING. STOPPING: with a shorter grace, perhaps. */
  #finish(graceMs: number): void {
    const endMs = this.#calls.nowMs() + graceMs;
    if (this.#phase === 'up') {
      this.#asked = true;
      // While the kernel closes it goes on with what is queued; stopped, it leaves that to others.
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

  /** To STARTING. */
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
      // Who has asked for it waits for that by now.
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

  /** What keeps the thread from ending after its report is not ours. */
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

  /** STOPPING: to ENDING. */
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

  /** To ENDING, without a grace. */
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

  /** Enters a state, with its time limit. */
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
