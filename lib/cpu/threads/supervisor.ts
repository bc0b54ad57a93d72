/*
 * The supervisor, on CPU 0, of the threads of the other CPUs: it starts and ends them (lifecycle.ts has
 * the states), recovers the work of dead threads (recovery.ts), emits events, and closes all CPUs.
 *
 * A CPU whose event loop has not run for `blockedMs` is reported as blocked, and is not chosen for new
 * work. Its work stays there, because it may only be slow.
 *
 * A kernel closes in this order:
 *
 *   1. No more threads are started, and work for CPUs without a thread is withdrawn.
 *   2. Every CPU refuses new work and finishes what it has. It stays until all other CPUs have finished
 *      too, because they may wait for each other.
 *   3. Then, or when the grace period is over, each CPU reports and ends.
 *   4. What is left in the control blocks is in no CPU's report, and is added (close-report.ts).
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { HostClock, microtask } from '../../time/host-clock.ts';
import { exponentialMs } from '../../base/backoff.ts';
import type { Cpu, CpuEvent, StartCpusOptions } from '../../core/cpu.ts';
import { KcontError, invalid } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import { Kernel } from '../../core/kernel.ts';
import type { CloseReport, LocalClose } from '../../core/shutdown.ts';
import { CLOSED, GRACE, QUEUED, RUNNING } from '../../core/state.ts';
import { ANY, readWord } from '../memory/control-block.ts';
import { allBlocks } from '../memory/block-allocator.ts';
import { LeftOver } from './close-report.ts';
import { Lifecycle, type LifeCalls } from './lifecycle.ts';
import type { LocalCpu, Supervision } from '../local-cpu.ts';
import { DOWN, PHASE, STATE, STOPPING } from '../memory/shared-memory.ts';
import { lossByClose, lossByDeath, recover, recoverLocksOf } from './recovery.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';
import { Reserve } from './reserve.ts';
import { Thread } from './worker.ts';

const BLOCKED_MS = 1000;
const BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 30_000;
const GRACE_MS = 5000;
/** How often a drain checks for work, in ms. */
const DRAIN_MS = 2;
/** The shortest interval between two checks for blocked CPUs, in ms. */
const WATCH_MS = 50;
/** The default time limit for a start, in ms. */
export const START_MS = 30_000;

/** What the supervisor remembers of a CPU for its events. */
interface Watched {
  /** How long the CPU has been blocked, as last reported, in ms; 0 if it is not blocked. */
  blockedMs: number;
  /** The number of locks that its last thread held when it ended. */
  heldLocks: number;
}

export class Supervisor implements Supervision {
  readonly reserve: Reserve;
  readonly #localCpu: LocalCpu;
  readonly #options: StartCpusOptions;
  readonly #lives: Lifecycle[] = [];
  readonly #watched = new Map<Lifecycle, Watched>();
  /** A port that keeps the process alive while it is referenced. */
  readonly #keeper: MessagePort;
  /** A kernel of its own for timers: on real time, and not closed with the kernel. */
  readonly #clock = new Kernel({ clock: new HostClock(false) });
  readonly #watch: Kcont<null>;
  readonly #calls: LifeCalls;
  readonly #leftOver: LeftOver;
  /** The kernel is closing, or the start was given up. */
  #closing = false;
  /** All CPUs have finished, or the grace period is over: what is left is reported, not recovered. */
  #isOver = false;

  constructor(localCpu: LocalCpu, url: string, options: StartCpusOptions) {
    this.#localCpu = localCpu;
    this.#options = options;
    this.#leftOver = new LeftOver(localCpu.context.memory, localCpu.handles, localCpu.jobs);
    const { port1 } = new MessageChannel();
    port1.on('message', () => undefined);
    port1.unref();
    this.#keeper = port1;
    this.#watch = this.#timer(() => this.#look());
    this.#calls = this.#callsOf(url);
    this.reserve = new Reserve();
  }

  #callsOf(url: string): LifeCalls {
    const {
      backoffMs = BACKOFF_MS,
      longestBackoffMs = LONGEST_BACKOFF_MS,
      timeoutMs = START_MS,
      resourceLimits,
    } = this.#options;
    const localCpu = this.#localCpu;
    return {
      url,
      timeoutMs,
      backoffMs: (failures) => exponentialMs(backoffMs, 2, Math.max(failures, 1), longestBackoffMs),
      nowMs: () => localCpu.context.kernel.now(),
      timer: (callback) => this.#timer(callback),
      make: (index, calls) =>
        new Thread(localCpu.context, index, url, resourceLimits, this.#threads(), calls),
      made: (index) => localCpu.handleSync.retell(index),
      up: (life) => this.#say('up', life),
      stopping: (index) => this.#setState(index, STOPPING),
      ended: (life, thread, cause, wasEnded) => this.#ended(life, thread, cause, wasEnded),
      say: (life, error) => this.#say(error === undefined ? 'stopped' : 'died', life, error),
    };
  }

  #timer(callback: () => void): Kcont<null> {
    return new Kcont(this.#clock.wq.softclock, null, callback, null, { ref: false });
  }

  later(delayMs: number, callback: () => void): void {
    if (!this.#closing) this.#timer(callback).schedule(delayMs);
  }

  keep(alive: boolean): void {
    if (alive) this.#keeper.ref();
    else this.#keeper.unref();
  }

  /** Starts all CPUs. */
  async start(cpus: readonly Cpu[]): Promise<void> {
    await Promise.all(cpus.map((cpu) => this.#add(cpu, false).start()));
    this.#watch.schedule(this.#watchMs);
  }

  /** Adds the CPUs of the reserve. */
  addReserve(cpus: readonly Cpu[]): void {
    for (const cpu of cpus) this.reserve.add(this.#add(cpu, true));
  }

  #add(cpu: Cpu, isReserve: boolean): Lifecycle {
    const life = new Lifecycle(cpu, isReserve, this.#calls);
    this.#lives.push(life);
    this.#watched.set(life, { blockedMs: 0, heldLocks: 0 });
    return life;
  }

  #threads(): Thread[] {
    return this.#lives.flatMap(({ thread }) => thread ?? []);
  }

  /** Handles the end of a thread, whatever the reason. */
  #ended(life: Lifecycle, thread: Thread | null, cause: unknown, wasEnded: boolean): void {
    const { index } = life.cpu;
    const localCpu = this.#localCpu;
    this.#setState(index, DOWN);
    // Results that it has sent are read first: this thread attaches the locks in them, and only then
    // are the dead thread's references released.
    localCpu.take();
    (this.#watched.get(life) as Watched).heldLocks = recoverLocksOf(localCpu.context, index);
    localCpu.handleSync.untell(index);
    localCpu.context.ports.disconnect(index);
    recover(localCpu, index, this.#lossOf(index, thread, cause, wasEnded));
    // Only now, so that the other CPUs find CPU 0 as the home of the dead CPU's blocks.
    for (const other of this.#threads()) other.gone(index);
    localCpu.lookAgain();
    if (!this.#closing) return;
    const { report } = thread ?? {};
    if (report !== undefined) this.#leftOver.add(report);
    else if (this.#isOver && thread?.wasUp === true) this.#leftOver.addCpu(index);
    this.#withdrawStranded();
  }

  /** Returns the reporter of runs that have ended with a thread. */
  #lossOf(
    index: number,
    thread: Thread | null,
    cause: unknown,
    wasEnded: boolean,
  ): (entry: RemoteEntry) => void {
    if (!this.#closing) return lossByDeath(this.#localCpu, index, cause, wasEnded);
    const isReported = thread?.report !== undefined;
    const tell = this.#isOver ? lossByClose() : lossByDeath(this.#localCpu, index, cause, wasEnded);
    return (entry) => {
      if (!isReported) this.#leftOver.addRun(index, entry);
      tell(entry);
    };
  }

  /** Withdraws the work of CPUs without a thread, which will never run: the kernel closes. */
  #withdrawStranded(): void {
    const withThread = new Set(this.#threads().map(({ index }) => index));
    const isPublic = this.#lives.some(({ isReserve, thread }) => !isReserve && thread !== null);
    this.#leftOver.withdraw((cpu) => (cpu === ANY ? !isPublic : cpu > 0 && !withThread.has(cpu)));
  }

  #setState(index: number, state: number): void {
    const { memory } = this.#localCpu.context;
    Atomics.store(memory.words, memory.slot(index) + STATE, state);
  }

  #say(type: CpuEvent['type'], life: Lifecycle, error?: unknown): void {
    const { onEvent } = this.#options;
    if (onEvent === undefined || this.#closing || life.isReserve) return;
    const watched = this.#watched.get(life) as Watched;
    const heldLocks = type === 'died' || type === 'stopped' ? watched.heldLocks : 0;
    const event = { type, cpu: life.cpu, lagMs: watched.blockedMs, heldLocks };
    microtask(() => onEvent(error === undefined ? event : { ...event, error }));
  }

  get #blockedAfterMs(): number {
    return this.#options.blockedMs ?? BLOCKED_MS;
  }

  get #watchMs(): number {
    return Math.max(WATCH_MS, this.#blockedAfterMs / 4);
  }

  /** Checks which CPUs have become blocked or unblocked. */
  #look(): void {
    for (const [life, watched] of this.#watched) {
      const lagMs = this.#localCpu.lagOf(life.cpu.index);
      if (lagMs >= this.#blockedAfterMs) {
        const isNew = watched.blockedMs === 0;
        watched.blockedMs = lagMs;
        if (isNew) this.#say('blocked', life);
      } else if (watched.blockedMs > 0) {
        this.#say('unblocked', life);
        watched.blockedMs = 0;
      }
    }
    if (!this.#closing) this.#watch.reset(this.#watchMs);
  }

  async stop(index: number, options: { graceMs?: number }): Promise<void> {
    await this.#lifeOf(index).stop(graceOf(options));
  }

  async restart(index: number, options: { graceMs?: number }): Promise<void> {
    await this.#lifeOf(index).restart(graceOf(options));
  }

  #lifeOf(index: number): Lifecycle {
    return this.#lives.find(({ cpu }) => cpu.index === index) as Lifecycle;
  }

  async drain(local: () => Promise<void>): Promise<void> {
    for (;;) {
      await local();
      await Promise.all(this.#threads().map((thread) => thread.drain()));
      if (this.#isOver || !this.#hasWork()) return;
      // The work is on its way between CPUs, or waits for a CPU that is down.
      await new Promise<void>((resolve) => void this.#timer(resolve).schedule(DRAIN_MS));
    }
  }

  #hasWork(): boolean {
    const { memory } = this.#localCpu.context;
    for (const block of allBlocks(memory)) {
      if ((readWord(memory, block) & (QUEUED | RUNNING)) !== 0) return true;
    }
    return false;
  }

  /** Gives up the start: terminates all threads. */
  async abandon(reason: KcontError): Promise<void> {
    this.#shut(reason);
    this.#isOver = true;
    await Promise.all(this.#lives.map((life) => life.kill()));
    this.#letGo();
  }

  /** Starts no more threads. */
  #shut(reason: KcontError): void {
    this.#closing = true;
    this.#watch.destroy();
    this.reserve.close(reason);
    for (const life of this.#lives) life.shut(reason);
  }

  #letGo(): void {
    this.#localCpu.context.ports.close();
    this.#keeper.close();
  }

  async close(graceMs: number, local: LocalClose): Promise<CloseReport> {
    const localCpu = this.#localCpu;
    const { words } = localCpu.context.memory;
    const reason = new KcontError('ESHUTDOWN', 'the kernel is closed');
    Atomics.store(words, PHASE, GRACE);
    this.#shut(reason);
    for (const life of this.#lives) life.close(graceMs);
    this.#withdrawStranded();
    const own = await local({ finished: (drained) => this.drain(drained) });
    this.#isOver = true;
    await Promise.all(this.#lives.map((life) => life.finish()));
    // The last messages of the threads.
    localCpu.take();
    this.#leftOver.withdraw(() => true);
    localCpu.jobs.abandon(reason);
    Atomics.store(localCpu.context.memory.words, PHASE, CLOSED);
    this.#letGo();
    return this.#leftOver.with(own);
  }
}

function graceOf({ graceMs = GRACE_MS }: { graceMs?: number }): number {
  if (graceMs >= 0 && graceMs < 2 ** 53) return graceMs;
  throw invalid('graceMs', 'a finite number >= 0', graceMs);
}
