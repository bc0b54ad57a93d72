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
 */

import { commonMs, microtask } from '../time/host-clock.ts';
import type { Cpu, CpuState } from '../core/cpu.ts';
import type { CpuLink } from '../core/cpu-link.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import { callSettled } from '../core/invoke.ts';
import type { RunOptions } from '../core/one-shot.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { QUEUED, RUNNING, SCHEDULED, WAITED, type Phase } from '../core/state.ts';
import type { CloseGuide, CloseReport, LocalClose } from '../core/shutdown.ts';
import type { Workqueue } from '../core/workqueue.ts';
import { RemoteScheduling } from './handles/remote-scheduling.ts';
import { Ports } from './messages/ports.ts';
import { ANY, HOME, WAITERS, isBound } from './memory/control-block.ts';
import { HandleTable } from './handles/handle-table.ts';
import type { CpuModule } from './threads/cpu-module.ts';
import { readRestart, readStop } from './options.ts';
import { lagOf, stateOf } from './cpu-status.ts';
import { HandleSync } from './messages/handle-sync.ts';
import { RemoteErrors } from './messages/remote-errors.ts';
import { JobCaller } from './jobs/job-caller.ts';
import { KeepAlive } from './keep-alive.ts';
import {
  ABORT,
  DEFINE,
  ENTRY,
  FAILED,
  FORGET,
  FREE,
  Inbox,
  NEED,
  RELOCK,
  RESULT,
  SETTLED,
  type Message,
} from './messages/inbox.ts';
import {
  AWAKE_SINCE,
  LOCK_CPU,
  PHASE,
  STATE,
  STOPPING,
  WAKES_AT,
  type Memory,
} from './memory/shared-memory.ts';
import { Placement } from './placement.ts';
import type { RemoteKcont } from './handles/remote-kcont.ts';
import type { Reserve } from './threads/reserve.ts';
import type { Arena } from './locks/arena.ts';

/** Starts and stops the threads. Only CPU 0 has one. */
export interface Supervision {
  stop(index: number, options: { graceMs?: number }): Promise<void>;
  restart(index: number, options: { graceMs?: number }): Promise<void>;
  /** The CPUs for jobs with `kill`: each runs one job at a time, and its thread can be ended. */
  readonly reserve: Reserve;
  /** Calls a function after a delay. */
  later(delayMs: number, callback: () => void): void;
  /** Sets whether the process is kept alive. */
  keep(alive: boolean): void;
  drain(local: () => Promise<void>): Promise<void>;
  close(graceMs: number, local: LocalClose): Promise<CloseReport>;
}

/** The CPU of this thread, and its link to all others. */
export class LocalCpu implements CpuLink {
  readonly kernel: Kernel;
  readonly here: Cpu;
  readonly index: number;
  readonly memory: Memory;
  readonly dispatcher: Dispatcher;
  readonly inbox: Inbox;
  readonly ports: Ports;
  readonly module: CpuModule;
  /** The first word of this CPU's slot. */
  readonly slot: number;
  readonly remoteScheduling: RemoteScheduling;
  readonly handles: HandleTable;
  readonly jobs: JobCaller;
  readonly remoteErrors: RemoteErrors;
  readonly placement: Placement;
  readonly alive: KeepAlive;
  readonly handleSync: HandleSync;
  supervision: Supervision | null = null;
  /** How this thread closes if it is not CPU 0. */
  closeGuide: CloseGuide = {};
  /** Reads the orders that CPU 0 has sent to this thread. Does nothing on CPU 0. */
  refresh: () => void = () => undefined;
  /**
   * Lower and upper bound of the difference between the shared clock and this CPU's clock. It is not
   * known exactly, because the two clocks cannot be read at the same moment.
   */
  readonly #leastShiftMs: number;
  readonly #mostShiftMs: number;
  readonly #read: (message: Message) => void;
  /** This CPU enters nothing any more that another CPU may enter. */
  #retired = false;
  /** The inbox is being read. */
  #taking = false;

  /** The locks that all CPUs share. */
  readonly arena: Arena;

  constructor(kernel: Kernel, here: Cpu, memory: Memory, module: CpuModule, arena: Arena) {
    this.arena = arena;
    this.kernel = kernel;
    this.here = here;
    this.index = here.index;
    this.memory = memory;
    this.module = module;
    this.dispatcher = kernel.wq.softclock._dispatcher;
    this.slot = memory.slot(here.index);
    memory.words[this.slot + LOCK_CPU] = arena.cpu + 1;
    this.inbox = new Inbox(memory, here.index);
    this.ports = new Ports(memory, here.index, {
      nowMs: () => this.sharedMs(),
      woken: () => this.dispatcher.request(),
      refresh: () => this.refresh(),
    });
    this.remoteScheduling = new RemoteScheduling(this);
    this.handles = new HandleTable(this);
    this.jobs = new JobCaller(this);
    this.remoteErrors = new RemoteErrors(this);
    this.placement = new Placement(this);
    this.alive = new KeepAlive(this);
    this.handleSync = new HandleSync(this);
    const { clock } = this.dispatcher;
    const before = clock.now;
    const common = commonMs();
    const after = clock.now;
    this.#leastShiftMs = common - after;
    this.#mostShiftMs = common - before;
    this.#read = (message) => this.#receive(message);
  }

  /** The time on the shared clock. A deadline computed from it is not early on any CPU. */
  sharedMs(): number {
    return this.dispatcher.clock.now + this.#mostShiftMs;
  }

  /** Converts a time of the shared clock to this CPU's clock. The result may be late, but not early. */
  localMs(sharedMs: number): number {
    return sharedMs - this.#leastShiftMs;
  }

  // Called by the dispatcher.

  wake(): void {
    this.memory.floats[(this.slot + AWAKE_SINCE) >> 1] = this.sharedMs();
    this.ports.setAwake();
    this.take();
    // Here too, because a busy CPU may never sleep.
    this.alive.check();
  }

  take(): boolean {
    if (!this.inbox.waiting || this.#taking) return false;
    this.#taking = true;
    this.placement.taken();
    try {
      do this.inbox.take(this.#read);
      while (this.inbox.waiting);
    } finally {
      this.#taking = false;
    }
    return true;
  }

  sleep(): boolean {
    this.alive.check();
    const { floats } = this.memory;
    const next = this.dispatcher.wheel.nextTick();
    this.placement.publish();
    floats[(this.slot + WAKES_AT) >> 1] = next - this.dispatcher.clock._phase + this.#mostShiftMs;
    this.ports.setAsleep();
    if (!this.inbox.waiting) return false;
    this.ports.setAwake();
    return true;
  }

  /** The phase of the kernel's shutdown, which is the same for all CPUs. */
  get phase(): Phase {
    return Atomics.load(this.memory.words, PHASE) as Phase;
  }

  /** Whether this CPU has been told to stop: it leaves queued work to other CPUs or to its next thread. */
  get isStopping(): boolean {
    return this.memory.words[this.slot + STATE] === STOPPING;
  }

  /** Leaves everything that is scheduled here and not entered to other CPUs or to the next thread. */
  retire(): void {
    this.#retired = true;
    for (const { kc, block } of this.handles) {
      if ((kc._state & SCHEDULED) === 0 || isBound(this.memory, block)) continue;
      this.dispatcher.withdraw(kc);
    }
  }

  // Handles.

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

  /** Files an entry on its target CPU. `silent`: the target need not be woken for it. */
  submit(
    entry: RemoteKcont,
    target: number,
    generation: number,
    seq: number,
    silent: boolean,
  ): void {
    if (target === ANY) {
      const cpus = this.placement.candidates();
      this.placement.rotate();
      for (const cpu of cpus) this.#submitTo(cpu, entry, generation, seq);
      const sleeper = this.placement.sleeper(cpus);
      if (sleeper !== undefined) this.wakeCpu(sleeper);
      return;
    }
    if (target === this.index) {
      this.#fileHere(entry, generation, seq);
      return;
    }
    this.#submitTo(target, entry, generation, seq);
    if (!silent || this.placement.isFlooding()) this.wakeCpu(target);
  }

  #fileHere(entry: RemoteKcont, generation: number, seq: number): void {
    this.take();
    if (!this.#retired) entry.file(generation, seq);
  }

  #submitTo(target: number, entry: RemoteKcont, generation: number, seq: number): void {
    if (target === this.index) {
      this.#fileHere(entry, generation, seq);
      return;
    }
    // If that fails now, the target asks for it later.
    if ((entry.told & (1 << target)) === 0) this.handleSync.tell(entry, target);
    this.placement.sent(target);
    const { block, handle, posted } = entry;
    this.inbox.send(target, ENTRY, block, handle, generation, seq, posted);
  }

  /** Sends a message to a CPU and wakes it. */
  send(to: number, kind: number, block: number, handle: number, generation = 0, value = 0): void {
    this.inbox.send(to, kind, block, handle, generation, 0, value);
    this.wakeCpu(to);
  }

  /** Wakes a CPU, if it sleeps. */
  wakeCpu(to: number): void {
    this.ports.wake(to);
  }

  /** Handles one message. An error is reported with the handle the message is about; other messages go on. */
  #receive(message: Message): void {
    const { block, handle } = message;
    try {
      this.#carryOut(message);
    } catch (error) {
      this.later(() => this.remoteErrors.mishap(block, handle, error));
    }
  }

  #carryOut(message: Message): void {
    const { block, handle, from } = message;
    this.memory.reach(block + 31);
    switch (message.kind) {
      case ENTRY:
        if (!this.#retired || isBound(this.memory, block)) this.handles.filed(message);
        break;
      case SETTLED: {
        const entry = this.handles.find(block, handle);
        if (entry !== undefined) this.#settled(entry);
        break;
      }
      case FREE:
        this.handles.reclaim(block, handle);
        break;
      case FORGET:
        this.handles.forget(block, handle);
        break;
      case DEFINE:
        this.handleSync.define(message);
        break;
      case NEED:
        this.handleSync.answer(block, handle, from);
        break;
      case ABORT:
        this.jobs.aborted(block, handle, this.ports.claim(from, message.value));
        break;
      case RESULT:
        this.jobs.ended(message);
        break;
      case RELOCK:
        this.#relocked(block, handle);
        break;
      case FAILED:
        this.remoteErrors.reported(block, handle, this.ports.claim(from, message.value));
        break;
      default:
        this.alive.told();
    }
  }

  /** Calls a function in a microtask, so that no user code runs while the inbox is read. */
  later(callback: () => void): void {
    microtask(callback);
  }

  // Events of handles.

  /** Tells the CPUs that wait for it that a run has settled here. */
  tellWaiters(entry: RemoteKcont): void {
    const { block, handle } = entry;
    let waiters = Atomics.exchange(this.memory.words, block + WAITERS, 0) & ~(1 << this.index);
    while (waiters !== 0) {
      const cpu = 31 - Math.clz32(waiters);
      waiters &= ~(1 << cpu);
      this.send(cpu, SETTLED, block, handle);
    }
  }

  /** Handles the end of a run on another CPU: what waited here for it goes on. */
  #settled(entry: RemoteKcont): void {
    this.resumeIfAside(entry.kc);
    if ((entry.kc._extras?.settled.length ?? 0) > 0) this.callSettled(entry);
  }

  /** Tells another CPU that the lock was changed here: the entry there may wait for the old lock. */
  tellLock(entry: RemoteKcont, cpu: number): void {
    // A continuation with a lock has an entry on one CPU only.
    if (cpu === this.index || (entry.bits & QUEUED) === 0) return;
    this.send(cpu, RELOCK, entry.block, entry.handle);
  }

  #relocked(block: number, handle: number): void {
    const entry = this.handles.find(block, handle);
    const old = entry?.syncLock();
    if (entry === undefined || old === undefined || old === null) return;
    const { kc } = entry;
    if ((kc._state & (QUEUED | WAITED)) === (QUEUED | WAITED)) kc._wq._requeue(kc, old);
  }

  /** Handles the end of a run whose thread has died as if it had settled on another CPU. */
  settledAt(entry: RemoteKcont): void {
    this.#settled(entry);
  }

  callSettled(entry: RemoteKcont): void {
    const { kc } = entry;
    this.later(() => callSettled(this.dispatcher, kc));
  }

  /** Puts an entry that was set aside back into the run queue. */
  resumeIfAside(kc: Kcont<unknown>): void {
    if ((kc._state & (QUEUED | WAITED | RUNNING)) !== (QUEUED | WAITED)) return;
    // It is in no list: it waits neither for a lock nor for room, and is not in the run queue.
    if (kc._next === kc) this.dispatcher.resume(kc);
  }

  /**
   * Handles the death of another CPU. Entries that wait for something from it have to ask again. The
   * dead CPU may have been the sender that was to wake this one, so this CPU also requests a pass.
   */
  lookAgain(): void {
    for (const { kc } of this.handles) this.resumeIfAside(kc);
    this.dispatcher.request();
    this.later(() => {
      // The dead CPU may have sent messages before.
      this.take();
      this.jobs.rejectLostArguments();
    });
  }

  /** Frees the block of a handle that was destroyed or of a job that has ended. */
  free(block: number, handle: number): void {
    const home = this.memory.words[block + HOME] as number;
    if (home === this.index) this.handles.reclaim(block, handle);
    else this.send(home, FREE, block, handle);
  }

  /** Asks the home of a handle for the argument and the name, which are not in its block. */
  need(entry: RemoteKcont): void {
    const home = this.memory.words[entry.block + HOME] as number;
    if (home === this.index) this.handleSync.answer(entry.block, entry.handle, home);
    else this.send(home, NEED, entry.block, entry.handle);
  }

  fail(entry: RemoteKcont, error: unknown): boolean {
    return this.remoteErrors.failed(entry, error);
  }

  // CPUs.

  stateOf(index: number): CpuState {
    return stateOf(this.memory, index);
  }

  lagOf(index: number): number {
    return index === this.index ? 0 : lagOf(this.memory, index, this.sharedMs());
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
