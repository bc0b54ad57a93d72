/*
 * The CPU of this thread: the dispatcher's link to the other CPUs.
 *
 *   schedule on another CPU:   control block --> message in its inbox --> wake it, if it sleeps
 *   its next pass:             take: file the continuation of each message in its wheel or run queue
 *                              dispatch them like local continuations
 *                              sleep: set the SLEEP word, then check the inbox once more
 *
 * A CPU is awake from the start of a pass until a pass ends with nothing runnable. Only a sleeping CPU
 * has to be woken, and only the first sender wakes it. No message is overlooked: the CPU sets its SLEEP
 * word and then checks its inbox, while a sender pushes its message and then checks that word
 * (Dekker's argument).
 *
 * Its parts. Each knows only those in its own column and to its right:
 *
 *   LocalCpu --> Receiver --> JobCaller, HandleSync    --> HandleTable --> entries --> CpuContext
 *                             Submission, RemoteErrors                     Placement
 *                             RemoteScheduling                             KeepAlive
 *
 * An entry calls parts to its left through the interface EntryHost, which this class implements.
 */

import type { Cpu, CpuState } from '../core/cpu.ts';
import type { CpuLink } from '../core/cpu-link.ts';
import type { RunOptions } from '../core/one-shot.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Phase } from '../core/state.ts';
import type { CloseGuide, CloseReport, LocalClose } from '../core/shutdown.ts';
import type { Workqueue } from '../core/workqueue.ts';
import type { CpuContext } from './cpu-context.ts';
import { stateOf } from './cpu-status.ts';
import { HandleTable } from './handles/handle-table.ts';
import { RemoteScheduling } from './handles/remote-scheduling.ts';
import { Submission } from './handles/submission.ts';
import { JobCaller, type KillableCpus } from './jobs/job-caller.ts';
import type { JobHost } from './jobs/job-runner.ts';
import { KeepAlive, type Keeper } from './keep-alive.ts';
import { HandleSync } from './messages/handle-sync.ts';
import { RemoteErrors } from './messages/remote-errors.ts';
import { readRestart, readStop } from './options.ts';
import { Placement } from './placement.ts';
import { Receiver, type Recipients } from './receiver.ts';

/** Starts and stops the threads. Only CPU 0 has one. */
export interface Supervision extends Keeper {
  readonly reserve: KillableCpus;
  stop(index: number, options: { graceMs?: number }): Promise<void>;
  restart(index: number, options: { graceMs?: number }): Promise<void>;
  drain(local: () => Promise<void>): Promise<void>;
  close(graceMs: number, local: LocalClose): Promise<CloseReport>;
}

/** The CPU of this thread, and its link to all others. */
export class LocalCpu implements CpuLink, JobHost, Recipients {
  readonly context: CpuContext;
  readonly here: Cpu;
  readonly alive: KeepAlive;
  readonly placement: Placement;
  readonly handles: HandleTable;
  readonly jobs: JobCaller;
  readonly remoteErrors: RemoteErrors;
  readonly handleSync: HandleSync;
  readonly submission: Submission;
  readonly remoteScheduling: RemoteScheduling;
  /** How this thread closes if it is not CPU 0. */
  closeGuide: CloseGuide = {};
  supervision: Supervision | null = null;
  readonly #receiver: Receiver;

  constructor(context: CpuContext) {
    this.context = context;
    this.here = context.here;
    this.alive = new KeepAlive(context);
    this.placement = new Placement(context);
    this.handles = new HandleTable(context, this);
    this.jobs = new JobCaller(context, this.handles, this.placement, this.alive);
    this.remoteErrors = new RemoteErrors(context, this.handles);
    this.handleSync = new HandleSync(context, this);
    this.submission = new Submission(context, this.placement, this.handleSync, () => this.take());
    this.remoteScheduling = new RemoteScheduling(context, this.handles);
    this.#receiver = new Receiver(context, this);
  }

  /** Makes this CPU 0, which starts and stops the threads of the others. */
  supervise(supervision: Supervision): void {
    this.supervision = supervision;
    this.alive.keeper = supervision;
    this.jobs.killable = supervision.reserve;
  }

  // Called by the dispatcher.

  wake(): void {
    this.context.setAwake();
    this.take();
    // Here too, because a busy CPU may never sleep.
    this.alive.check();
  }

  take(): boolean {
    return this.#receiver.take();
  }

  sleep(): boolean {
    const { inbox, ports } = this.context;
    this.alive.check();
    this.placement.publish(this.handles.load);
    this.context.setAsleep();
    if (!inbox.waiting) return false;
    ports.setAwake();
    return true;
  }

  get phase(): Phase {
    return this.context.phase;
  }

  adopt(kc: Kcont<unknown>): void {
    this.placement.adopt(kc);
  }

  run(
    wq: Workqueue,
    func: (...args: never[]) => unknown,
    options: RunOptions,
  ): Promise<unknown> | null {
    return this.jobs.run(wq, func, options);
  }

  // Called when threads end.

  /**
   * Hands over everything that is scheduled here and has not been entered: to other CPUs, or to the next
   * thread of this CPU.
   */
  retire(): void {
    this.submission.retire(this.handles);
  }

  /**
   * Handles the death of another CPU. Entries that wait for something from it have to ask again. The
   * dead CPU may have been the sender that was to wake this one, so this CPU also requests a pass.
   */
  lookAgain(): void {
    for (const entry of this.handles) entry.resumeIfAside();
    this.context.dispatcher.request();
    this.context.later(() => {
      // The dead CPU may have sent messages before.
      this.take();
      this.jobs.rejectLostArguments();
    });
  }

  // CPUs.

  known(): Kcont<unknown>[] {
    return Array.from(this.handles, ({ kc }) => kc);
  }

  stateOf(index: number): CpuState {
    return stateOf(this.context.memory, index);
  }

  lagOf(index: number): number {
    return this.context.lagOf(index);
  }

  drain(local: () => Promise<void>): Promise<void> {
    return this.supervision?.drain(local) ?? local();
  }

  close(graceMs: number, local: LocalClose): Promise<CloseReport> {
    return this.supervision?.close(graceMs, local) ?? local(this.closeGuide);
  }

  async stop(index: number, options?: { graceMs?: number }): Promise<void> {
    return (this.supervision as Supervision).stop(index, readStop(options));
  }

  async restart(index: number, options?: { graceMs?: number }): Promise<void> {
    return (this.supervision as Supervision).restart(index, readRestart(options));
  }
}
