/*
 * What the core asks of the code that knows other CPUs, which `kcont/cpu` implements: the core imports
 * none of it.
 */

import type { KcontError } from '../base/errors.ts';
import type { BaseLock } from '../locks/lock.ts';
import type { Cpu, CpuState } from './cpu.ts';
import type { Kcont } from './kcont.ts';
import type { RunOptions } from './one-shot.ts';
import type { CloseReport, LocalClose } from './shutdown.ts';
import type { Phase } from './state.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * The state of a continuation that is shared between CPUs. It is always current, and the same for all
 * CPUs.
 *
 * @internal
 */
export interface RemoteState {
  /** State bits. */
  readonly bits: number;
  /** The deadline on the clock of this CPU; NaN: not PENDING. */
  readonly deadline: number;
  /** Whether the run in flight, on whichever CPU, has been asked to stop. */
  readonly stopping: boolean;
  /** The CPU on which it is scheduled or runs; undefined: none has been chosen. */
  readonly index: number | undefined;
  /** What the observer of the CPU that has sent this job wants that of this CPU to have; undefined: nothing. */
  readonly carrier: Readonly<Record<string, string>> | undefined;
  /**
   * Schedules it, and returns an errno or DESTROYED. `busy`: the state bits that forbid it. `anew`:
   * acts as `reset`.
   */
  schedule(delayMs: number, cpu: Cpu | null, busy: number, anew: boolean): number;
  touch(): boolean;
  /** Stops it and returns its previous bits. */
  stop(): number;
  ack(): boolean;
  /** Destroys it. False: it was destroyed already. */
  destroy(): boolean;
  /** Sets whether it keeps the process alive. */
  setRef(ref: boolean): void;
  setArg(arg: unknown): void;
  /** Changes the lock. Throws for a lock that is not shared between CPUs. */
  setLock(lock: BaseLock | null): void;
  /** Sets whether a halt is waiting; if so, `schedule` is refused. */
  setHalting(halting: boolean): void;
  /** Has its settled callbacks called on this CPU, wherever it runs. */
  awaitSettle(): void;

  // Called by the dispatcher, for an entry in its own lists.

  /** Makes it QUEUED after its timer expired here. False: the entry is stale or its deadline moved. */
  expire(): boolean;
  /** Tells what to do with it at the head of the run queue. */
  admit(): Admission;
  /** Claims the run for this CPU. False: the entry is stale. */
  enter(): boolean;
  /** Called when the run on this CPU has settled. */
  settle(): void;
  /** Called when the function has failed on this CPU. False: the error is to be reported here too. */
  fail(error: unknown): boolean;
}

/**
 * Returns the shared state of a continuation with the bit REMOTE.
 *
 * @internal
 */
export function remoteOf(kc: Kcont<unknown>): RemoteState {
  return kc._remote as RemoteState;
}

/** The entry is valid and may be entered. @internal */
export const ADMITTED = 0;
/** The entry is valid and waits for its run on another CPU or for its argument. @internal */
export const ASIDE = 1;
/** The entry is stale: it was stopped, or is scheduled elsewhere. @internal */
export const STALE = 2;

/** @internal */
export type Admission = typeof ADMITTED | typeof ASIDE | typeof STALE;

/**
 * Scheduling of continuations whose state is shared between CPUs.
 *
 * @internal
 */
export interface RemoteScheduling {
  /**
   * Returns what forbids scheduling: an errno or DESTROYED. REMOTE_REQUIRED: nothing on this CPU
   * forbids it; `schedule` has to decide.
   */
  whyNot(kc: Kcont<unknown>, cpu: Cpu | null, busy: number): number;
  /**
   * Shares the state of a continuation with all CPUs, if necessary, and schedules it; returns an errno.
   * `busy`: the state bits that forbid it for `reset`; undefined: those of `schedule`.
   */
  schedule(kc: Kcont<unknown>, delayMs: number, cpu: Cpu | null, busy?: number): number;
  /** Returns the error if only this CPU is being stopped; undefined: the kernel is closed. */
  stopped(kc: Kcont<unknown>): KcontError | undefined;
  /** Tells why a continuation cannot leave its CPU. */
  reason(kc: Kcont<unknown>): KcontError;
}

/**
 * A dispatcher's connection to the other CPUs.
 *
 * @internal
 */
export interface CpuLink {
  /** The CPU of this thread. */
  readonly here: Cpu;
  /** The shutdown phase of the kernel: it may be open while this CPU is being stopped. */
  readonly phase: Phase;
  /** Called when a pass begins: takes in messages; other CPUs need not wake this one meanwhile. */
  wake(): void;
  /** Takes in messages of other CPUs. True: there were some. */
  take(): boolean;
  /**
   * Called when the pass is over and nothing is runnable: from now on other CPUs have to wake this one.
   * True: a message has arrived meanwhile.
   */
  sleep(): boolean;
  /** Called for each new continuation, which may be able to run on any CPU. */
  adopt(kc: Kcont<unknown>): void;
  /** Schedules continuations whose state is shared between CPUs. */
  readonly remoteScheduling: RemoteScheduling;
  /** Runs a function on another CPU; null: it has to run on this one. */
  run(
    wq: Workqueue,
    func: (...args: never[]) => unknown,
    options: RunOptions,
  ): Promise<unknown> | null;
  /** Waits for this CPU, with `local`; on CPU 0, for the other CPUs too. */
  drain(local: () => Promise<void>): Promise<void>;
  /** Closes this CPU, with `local`; on CPU 0, the other CPUs too. */
  close(graceMs: number, local: LocalClose): Promise<CloseReport>;
  /** The continuations of which this CPU knows, and whose state is shared between CPUs. */
  known(): Iterable<Kcont<unknown>>;
  stateOf(index: number): CpuState;
  lagOf(index: number): number;
  stop(index: number, options: { graceMs?: number } | undefined): Promise<void>;
  restart(index: number, options: { graceMs?: number } | undefined): Promise<void>;
}
