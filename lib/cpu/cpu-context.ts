/*
 * What all parts of a CPU share: its number, its slot in the shared memory, its clock, and its ways to
 * the other CPUs.
 */

import { commonMs, microtask } from '../time/host-clock.ts';
import type { Cpu } from '../core/cpu.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import type { Kernel } from '../core/kernel.ts';
import type { Phase } from '../core/state.ts';
import { lagOf } from './cpu-status.ts';
import type { Arena } from './locks/arena.ts';
import {
  AWAKE_SINCE,
  LOCK_CPU,
  PHASE,
  STATE,
  STOPPING,
  WAKES_AT,
  type Memory,
} from './memory/shared-memory.ts';
import { Inbox } from './messages/inbox.ts';
import { Ports } from './messages/ports.ts';
import type { CpuModule } from './threads/cpu-module.ts';

/** The place of one CPU among the CPUs of its kernel. */
export class CpuContext {
  readonly kernel: Kernel;
  readonly here: Cpu;
  readonly index: number;
  readonly memory: Memory;
  readonly module: CpuModule;
  /** The locks that all CPUs share. */
  readonly arena: Arena;
  readonly dispatcher: Dispatcher;
  /** The first word of this CPU's slot. */
  readonly slot: number;
  readonly inbox: Inbox;
  readonly ports: Ports;
  /** Reads the orders that CPU 0 has sent to this thread. Does nothing on CPU 0. */
  refresh: () => void = () => undefined;
  /**
   * Lower and upper bound of the difference between the shared clock and this CPU's clock. It is not
   * known exactly, because the two clocks cannot be read at the same moment.
   */
  readonly #leastShiftMs: number;
  readonly #mostShiftMs: number;

  constructor(kernel: Kernel, here: Cpu, memory: Memory, module: CpuModule, arena: Arena) {
    this.kernel = kernel;
    this.here = here;
    this.index = here.index;
    this.memory = memory;
    this.module = module;
    this.arena = arena;
    this.dispatcher = kernel.wq.softclock._dispatcher;
    this.slot = memory.slot(here.index);
    memory.words[this.slot + LOCK_CPU] = arena.cpu + 1;
    this.inbox = new Inbox(memory, here.index);
    this.ports = new Ports(memory, here.index, {
      nowMs: () => this.sharedMs(),
      woken: () => this.dispatcher.request(),
      refresh: () => this.refresh(),
    });
    const { clock } = this.dispatcher;
    const before = clock.now;
    const common = commonMs();
    const after = clock.now;
    this.#leastShiftMs = common - after;
    this.#mostShiftMs = common - before;
  }

  /** The time on the shared clock. A deadline computed from it is not early on any CPU. */
  sharedMs(): number {
    return this.dispatcher.clock.now + this.#mostShiftMs;
  }

  /** Converts a time of the shared clock to this CPU's clock. The result may be late, but not early. */
  localMs(sharedMs: number): number {
    return sharedMs - this.#leastShiftMs;
  }

  /** The phase of the kernel's shutdown, which is the same for all CPUs. */
  get phase(): Phase {
    return Atomics.load(this.memory.words, PHASE) as Phase;
  }

  /** Whether this CPU has been told to stop: it leaves queued work to other CPUs or to its next thread. */
  get isStopping(): boolean {
    return this.memory.words[this.slot + STATE] === STOPPING;
  }

  /** Publishes that this CPU is awake. */
  setAwake(): void {
    this.memory.floats[(this.slot + AWAKE_SINCE) >> 1] = this.sharedMs();
    this.ports.setAwake();
  }

  /** Publishes that this CPU sleeps until its next timer is due, or another CPU wakes it. */
  setAsleep(): void {
    this.memory.floats[(this.slot + WAKES_AT) >> 1] =
      this.dispatcher.nextDueMs() + this.#mostShiftMs;
    this.ports.setAsleep();
  }

  /** How long a CPU's event loop has been blocked, in ms. */
  lagOf(index: number): number {
    return index === this.index ? 0 : lagOf(this.memory, index, this.sharedMs());
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

  /** Calls a function in a microtask, so that no user code runs while the inbox is read. */
  later(callback: () => void): void {
    microtask(callback);
  }
}
