/*
 * CPU 0 looks after the threads of the others.
 *
 *            start                 up                    stop
 *   DOWN ------------> STARTING --------> UP ------------------------> STOPPING
 *     ^ ^                 |                |  thread ends by itself        |  finished, or the
 *     | |   never came up |                v                              v  grace is over
 *     | +-----------------+---------- recover its work <------------------+
 *     |                                    |
 *     +--- wait: 100 ms, 200 ms, ... ------+   not after a stop
 *
 * A thread that has been up for a while and dies is started again after the shortest wait. Whatever
 * is asked of it meanwhile waits, or goes elsewhere: see recovery.ts.
 *
 * A CPU is blocked when it does not come to its work: nothing is moved away from it, since it may
 * only be slow, but it is said, and it is not chosen for new work.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { join, leave, type AbortMember } from '../abort-listeners.ts';
import { HostClock, microtask } from '../clock/host.ts';
import type { Cpu, CpuEvent, StartCpusOptions } from '../cpu.ts';
import { KcontError, invalid, show } from '../errors.ts';
import { Kcont } from '../kcont.ts';
import { Kernel } from '../kernel.ts';
import type { CloseReport } from '../shutdown.ts';
import { QUEUED, RUNNING } from '../state.ts';
import { readWord } from './block.ts';
import { allBlocks } from './block-slabs.ts';
import type { CpuMachine, Supervision } from './machine.ts';
import { DOWN, STATE, STOPPING } from './memory.ts';
import { recover, recoverLocksOf } from './recovery.ts';
import { Thread, type Ending } from './threads.ts';

const BLOCKED_MS = 1000;
const BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 30_000;
const GRACE_MS = 5000;
/** What has been up for so long is started again without delay, when it dies. */
const STEADY_MS = 10_000;
/** How long a thread that has been told to end may take for it, beyond its grace. */
const END_MS = 500;
/** Between two looks of a drain, in ms. */
const DRAIN_MS = 2;
/** How often to look for CPUs that are blocked, at most. */
const WATCH_MS = 50;

/** One CPU besides CPU 0. */
interface Seat {
  readonly cpu: Cpu;
  thread: Thread | null;
  /** Starts without a steady time since. */
  failures: number;
  upSinceMs: number;
  /** It is to be down until it is restarted. */
  stopped: boolean;
  /** It is blocked, and that has been said. */
  blockedMs: number;
  restart: Kcont<null> | null;
  /** Its thread is made when it is needed. */
  isReserve: boolean;
  /** How many locks its last thread held when it ended. */
  heldLocks: number;
}

/** Who waits for a CPU of the reserve. */
interface Borrower extends AbortMember {
  readonly take: (cpu: Cpu) => void;
}

export class Supervisor implements Supervision {
  readonly #machine: CpuMachine;
  readonly #options: StartCpusOptions;
  readonly #url: string;
  readonly #seats = new Map<number, Seat>();
  /** CPUs of the reserve that nobody has borrowed, and those who wait for one. */
  readonly #idle: Cpu[] = [];
  readonly #borrowers: Set<Borrower> = new Set();
  /** Keeps the process alive, while it is referenced. */
  readonly #keeper: MessagePort;
  /** Goes on when the kernel is being closed. */
  /** Threads live in real time. */
  readonly #clock = new Kernel({ clock: new HostClock(false) });
  readonly #watch: Kcont<null>;
  #closing = false;

  constructor(machine: CpuMachine, url: string, options: StartCpusOptions) {
    this.#machine = machine;
    this.#url = url;
    this.#options = options;
    const { port1 } = new MessageChannel();
    port1.on('message', () => undefined);
    port1.unref();
    this.#keeper = port1;
    this.#watch = this.#timer(() => this.#look());
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
    await Promise.all(cpus.map((cpu) => this.#start(this.#sit(cpu))));
    this.#watch.schedule(this.#watchMs);
  }

  /** CPUs whose threads are made when they are needed. */
  reserve(cpus: readonly Cpu[]): void {
    for (const cpu of cpus) this.#sit(cpu).isReserve = true;
    this.#idle.push(...cpus);
  }

  async borrow(signal: AbortSignal | undefined): Promise<Cpu> {
    const cpu = this.#idle.pop() ?? (await this.#waitForIdle(signal));
    const seat = this.#seats.get(cpu.index) as Seat;
    try {
      if (this.#closing) throw new KcontError('ESHUTDOWN', 'the kernel is closed');
      if (seat.thread === null) await this.#start(seat);
      signal?.throwIfAborted();
      return cpu;
    } catch (error) {
      this.giveBack(cpu);
      throw error;
    }
  }

  #waitForIdle(signal: AbortSignal | undefined): Promise<Cpu> {
    return new Promise((resolve, reject) => {
      const borrower: Borrower = {
        take: (cpu) => {
          if (signal !== undefined) leave(signal, borrower);
          resolve(cpu);
        },
        _abort: (reason) => {
          this.#borrowers.delete(borrower);
          reject(reason);
        },
      };
      this.#borrowers.add(borrower);
      if (signal !== undefined) join(signal, borrower);
    });
  }

  giveBack(cpu: Cpu): void {
    const { stopped, thread } = this.#seats.get(cpu.index) as Seat;
    // Killed: only when that is over can it have another thread.
    if (stopped && thread !== null) void thread.ended.then(() => this.#offer(cpu));
    else this.#offer(cpu);
  }

  #offer(cpu: Cpu): void {
    const [next] = this.#borrowers;
    if (next === undefined) this.#idle.push(cpu);
    else {
      this.#borrowers.delete(next);
      next.take(cpu);
    }
  }

  kill(cpu: Cpu): void {
    const seat = this.#seats.get(cpu.index) as Seat;
    seat.stopped = true;
    void seat.thread?.terminate();
  }

  #sit(cpu: Cpu): Seat {
    const seat: Seat = {
      cpu,
      thread: null,
      failures: 0,
      upSinceMs: 0,
      stopped: false,
      blockedMs: 0,
      restart: null,
      isReserve: false,
      heldLocks: 0,
    };
    this.#seats.set(cpu.index, seat);
    return seat;
  }

  /** Starts a CPU's thread. Fulfilled when it is up. */
  async #start(seat: Seat): Promise<void> {
    const { index } = seat.cpu;
    seat.restart?.destroy();
    seat.restart = null;
    seat.stopped = false;
    const others = this.#threads();
    const { resourceLimits } = this.#options;
    const thread = new Thread(this.#machine, index, this.#url, resourceLimits, others);
    seat.thread = thread;
    this.#machine.definitions.retell(index);
    void thread.ended.then((ending) => this.#ended(seat, thread, ending));
    await thread.up;
    seat.upSinceMs = this.#machine.kernel.now();
    this.#say('up', seat);
  }

  #threads(): Thread[] {
    return Array.from(this.#seats.values(), ({ thread }) => thread).filter(
      (thread) => thread !== null,
    );
  }

  /** A thread has ended, for whatever reason. */
  #ended(seat: Seat, thread: Thread, { code, error }: Ending): void {
    const { index } = seat.cpu;
    if (seat.thread === thread) seat.thread = null;
    this.#setState(index, DOWN);
    // Locks in results that it has sent are attached here before its own references go.
    this.#machine.take();
    seat.heldLocks = recoverLocksOf(this.#machine, index);
    if (this.#closing) return;
    const cause = error ?? new Error(`its thread ended with code ${code}`);
    this.#machine.definitions.untell(index);
    this.#machine.bells.disconnect(index);
    recover(this.#machine, index, cause);
    // Then they find what was made there with CPU 0.
    for (const other of this.#threads()) other.gone(index);
    this.#machine.lookAgain();
    if (seat.stopped) {
      this.#say('stopped', seat);
      return;
    }
    const steady = seat.upSinceMs > 0 && this.#machine.kernel.now() - seat.upSinceMs > STEADY_MS;
    seat.failures = steady ? 0 : seat.failures + 1;
    seat.upSinceMs = 0;
    if (seat.isReserve) return;
    const { backoffMs = BACKOFF_MS, longestBackoffMs = LONGEST_BACKOFF_MS } = this.#options;
    const waitMs = Math.min(backoffMs * 2 ** Math.max(0, seat.failures - 1), longestBackoffMs);
    seat.restart = this.#timer(() => void this.#start(seat).catch(() => undefined));
    seat.restart.schedule(waitMs);
    const what = `CPU ${index} died: ${cause instanceof Error ? cause.message : show(cause)}`;
    this.#say('died', seat, Object.assign(new KcontError('ECPUDIED', what), { cause }));
  }

  #setState(index: number, state: number): void {
    const { memory } = this.#machine;
    Atomics.store(memory.words, memory.slot(index) + STATE, state);
  }

  #say(type: CpuEvent['type'], seat: Seat, error?: unknown): void {
    const { onEvent } = this.#options;
    if (onEvent === undefined || this.#closing || seat.isReserve) return;
    const heldLocks = type === 'died' || type === 'stopped' ? seat.heldLocks : 0;
    const event = { type, cpu: seat.cpu, lagMs: seat.blockedMs, heldLocks };
    microtask(() => onEvent(error === undefined ? event : { ...event, error }));
  }

  get #blockedAfterMs(): number {
    return this.#options.blockedMs ?? BLOCKED_MS;
  }

  get #watchMs(): number {
    return Math.max(WATCH_MS, this.#blockedAfterMs / 4);
  }

  /** Looks for CPUs that are blocked, or are so no longer. */
  #look(): void {
    for (const seat of this.#seats.values()) {
      const lagMs = this.#machine.lagOf(seat.cpu.index);
      if (lagMs >= this.#blockedAfterMs) {
        const isNew = seat.blockedMs === 0;
        seat.blockedMs = lagMs;
        if (isNew) this.#say('blocked', seat);
      } else if (seat.blockedMs > 0) {
        this.#say('unblocked', seat);
        seat.blockedMs = 0;
      }
    }
    if (!this.#closing) this.#watch.reset(this.#watchMs);
  }

  async stop(index: number, options: { graceMs?: number }): Promise<void> {
    const { graceMs = GRACE_MS } = options;
    if (!(graceMs >= 0 && graceMs < 2 ** 53)) {
      throw invalid('graceMs', 'a finite number >= 0', graceMs);
    }
    const seat = this.#seats.get(index) as Seat;
    seat.stopped = true;
    seat.restart?.destroy();
    seat.restart = null;
    const { thread } = seat;
    if (thread === null) return;
    this.#setState(index, STOPPING);
    const timeOut = this.#timer(() => void thread.terminate());
    timeOut.schedule(graceMs + END_MS);
    await thread.stop(graceMs, () => void timeOut.reset(END_MS));
    timeOut.destroy();
  }

  async restart(index: number, options: { graceMs?: number }): Promise<void> {
    await this.stop(index, options);
    if (this.#closing) throw new KcontError('ESHUTDOWN', 'the kernel is closed');
    await this.#start(this.#seats.get(index) as Seat);
  }

  async drain(local: () => Promise<void>): Promise<void> {
    for (;;) {
      await local();
      await Promise.all(this.#threads().map((thread) => thread.drain()));
      if (!this.#hasWork()) return;
      // On its way between CPUs, or left for a CPU that is down.
      await new Promise<void>((resolve) => {
        this.later(DRAIN_MS, resolve);
      });
    }
  }

  #hasWork(): boolean {
    const { memory } = this.#machine;
    for (const block of allBlocks(memory)) {
      if ((readWord(memory, block) & (QUEUED | RUNNING)) !== 0) return true;
    }
    return false;
  }

  /** Nothing of ours is left there once it has reported: what else keeps its loop alive is ended. */
  async #closeThread(thread: Thread, graceMs: number): Promise<CloseReport | undefined> {
    const timeOut = this.#timer(() => void thread.terminate());
    const report = await thread.close(graceMs, () => void timeOut.schedule(END_MS));
    timeOut.destroy();
    return report;
  }

  /** Ends all threads at once. */
  async abandon(): Promise<void> {
    this.#closing = true;
    this.#watch.destroy();
    for (const seat of this.#seats.values()) seat.restart?.destroy();
    await Promise.all(this.#threads().map((thread) => thread.terminate()));
    this.#machine.bells.close();
    this.#keeper.close();
  }

  async close(graceMs: number, local: () => Promise<CloseReport>): Promise<CloseReport> {
    this.#closing = true;
    const timeOut = this.#timer(() => void this.abandon());
    timeOut.schedule(graceMs + END_MS);
    const [own, ...others] = await Promise.all([
      local(),
      ...this.#threads().map((thread) => this.#closeThread(thread, graceMs)),
    ]);
    timeOut.destroy();
    await this.abandon();
    this.#machine.jobs.abandon(new KcontError('ESHUTDOWN', 'the kernel is closed'));
    const reports = [own, ...others.filter((report) => report !== undefined)];
    return {
      withdrawn: reports.flatMap(({ withdrawn }) => withdrawn),
      unfinished: reports.flatMap(({ unfinished }) => unfinished),
    };
  }
}
