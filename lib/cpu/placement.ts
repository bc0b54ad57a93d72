/*
 * Placement: which CPU a continuation runs on.
 *
 *   CPU named in `schedule`          that CPU, whether it is up or not
 *   affinity strong                  the CPU that was named last; if none ever was, the one chosen when it was
 *                                    first scheduled
 *   affinity weak                    the CPU it ran on last, unless that is blocked or far behind
 *   no affinity, queue per CPU       this CPU
 *   no affinity, with a lock         the home CPU of the lock, so that its users are in one order
 *   no affinity, other workqueues    with a delay or a posted argument, the least loaded CPU; otherwise up to
 *                                    four CPUs get an entry, the first to dispatch it enters it, and the other
 *                                    entries become stale
 *   no CPU is up to be chosen        the first CPU that is up looks for such work
 *
 * CPU 0 is never chosen, because it handles I/O. The load of a CPU is the backlog that it published at
 * the end of its last pass, plus what this CPU has sent to it since.
 */

import type { Cpu } from '../core/cpu.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Lock } from '../locks/lock.ts';
import { ANY_CPU } from '../core/state.ts';
import { isSharedIn, numberOf } from './memory/block-lock.ts';
import { ANY, SPEC, TIED, affinityOf, isPerCpu } from './memory/control-block.ts';
import type { CpuContext } from './cpu-context.ts';
import { ASLEEP, BACKLOG, SLEEP, STATE, TAKES, UP, sleepOf } from './memory/shared-memory.ts';
import { LINE } from './locks/arena.ts';
import type { SharedLock } from './locks/shared-lock.ts';

const WEAK = 1;
const STRONG = 2;

/** How many CPUs get an entry for work that any CPU may run. */
const CHOICES = 4;
/** A CPU that has been blocked for longer than this is behind, in ms. */
const BEHIND_MS = 20;
/** A CPU with over this many more runnable continuations than the least loaded CPU is behind. */
const BEHIND = 32;
/** One in so many silent messages wakes its CPU. */
const FLOOD = 1024;

/** What a choice depends on. */
interface Placeable {
  /** The index of its control block. */
  readonly block: number;
  /** The CPU on which it ran last, or the CPU that made it. */
  readonly ran: number;
  /** The name of its posted argument, which is on its way to one CPU; 0 if there is none. */
  readonly posted: number;
}

/** Chooses CPUs for what one CPU schedules. */
export class Placement {
  readonly #cpu: CpuContext;
  /** How much this CPU has sent to each CPU since that one last emptied its inbox. */
  readonly #sent: number[];
  readonly #takes: number[];
  #silent = 0;
  #turn = 0;

  constructor(cpu: CpuContext) {
    this.#cpu = cpu;
    const { slots } = cpu.memory;
    this.#sent = Array.from({ length: slots }, () => 0);
    this.#takes = Array.from({ length: slots }, () => 0);
  }

  /** Whether there are other CPUs to choose from. */
  get hasOthers(): boolean {
    return this.#cpu.memory.publicCpus > 1;
  }

  /** Sets ANY_CPU on a new continuation that may run on any CPU. */
  adopt(kc: Kcont<unknown>): void {
    const { module } = this.#cpu;
    if (kc._wq.perCpu && kc.affinity === 'none') return;
    const isFree = kc._lock === null || isSharedIn(this.#cpu.arena, kc._lock);
    if (isFree && module.indexOf(kc._func) !== undefined) kc._state |= ANY_CPU;
  }

  /** Returns the target CPU of an entry, or ANY. */
  place(entry: Placeable, cpu: Cpu | null, delayed: boolean): number {
    const { index, memory } = this.#cpu;
    const { words } = memory;
    const spec = words[entry.block + SPEC] as number;
    const affinity = affinityOf(spec);
    if (affinity === STRONG) {
      const tied = words[entry.block + TIED] as number;
      return cpu?.index ?? (tied === ANY ? this.#chooseFor(spec) : tied);
    }
    if (cpu !== null) return cpu.index;
    if (affinity === WEAK) {
      const { ran } = entry;
      const usable = ran !== ANY && (isPerCpu(spec) || ran !== 0) && !this.isBehind(ran);
      return usable ? ran : this.#chooseFor(spec);
    }
    if (isPerCpu(spec)) return index;
    const lock = numberOf(memory, entry.block);
    if (lock !== 0) return this.#homeOf(lock);
    return delayed || entry.posted !== 0 ? this.choose() : ANY;
  }

  #chooseFor(spec: number): number {
    return isPerCpu(spec) && this.#cpu.index !== 0 ? this.#cpu.index : this.choose();
  }

  /** The CPU that runs all continuations with this lock, on workqueues without a queue per CPU. */
  #homeOf(lock: number): number {
    return 1 + (lock % (this.#cpu.memory.publicCpus - 1));
  }

  /** Chooses the CPU for a job: the home of its lock, else the least loaded CPU; ANY if no CPU is up. */
  chooseFor(lock: Lock | null): number {
    if (lock === null) return this.choose();
    return this.#homeOf((lock as SharedLock)._gate.at / LINE);
  }

  /** Chooses the least loaded CPU; ANY if no CPU is up. */
  choose(): number {
    const { memory } = this.#cpu;
    const { publicCpus } = memory;
    this.#turn++;
    let best = ANY;
    let least = Infinity;
    for (let i = 0; i < publicCpus - 1; i++) {
      const cpu = 1 + ((this.#turn + i) % (publicCpus - 1));
      if (memory.words[memory.slot(cpu) + STATE] !== UP) continue;
      const load = this.#loadOf(cpu) + (this.#cpu.lagOf(cpu) > BEHIND_MS ? 1e6 : 0);
      if (load >= least) continue;
      least = load;
      best = cpu;
    }
    return best;
  }

  /**
   * The CPUs that get an entry for work that any CPU may run: up to {@link CHOICES} of those that are
   * up, in turn. If the list is empty, the next CPU that is up finds the work by itself: it sets its
   * state to UP before it looks for work.
   */
  candidates(): readonly number[] {
    const { memory } = this.#cpu;
    const others = memory.publicCpus - 1;
    const found: number[] = [];
    for (let i = 1; i <= others && found.length < CHOICES; i++) {
      const cpu = 1 + ((this.#turn + i) % others);
      if (Atomics.load(memory.words, memory.slot(cpu) + STATE) === UP) found.push(cpu);
    }
    return found;
  }

  /** A bit for each CPU that work can be sent to, and for CPU 0. */
  get all(): number {
    return 2 ** this.#cpu.memory.publicCpus - 1;
  }

  /** Makes the next list of candidates begin with the next CPU. */
  rotate(): void {
    this.#turn++;
  }

  /** The first CPU of the list that sleeps and has to be woken; undefined if there is none. */
  sleeper(cpus: readonly number[]): number | undefined {
    const { memory } = this.#cpu;
    const wordOf = (cpu: number): number => Atomics.load(memory.words, memory.slot(cpu) + SLEEP);
    return cpus.find((cpu) => sleepOf(wordOf(cpu)) === ASLEEP);
  }

  /** Counts a message sent to a CPU. */
  sent(cpu: number): void {
    this.#sent[cpu]!++;
  }

  /** Counts a silent message. Returns whether its CPU should be woken all the same. */
  isFlooding(): boolean {
    this.#silent = (this.#silent + 1) % FLOOD;
    return this.#silent === 0;
  }

  /** Whether a CPU is blocked, or far behind the least loaded CPU. */
  isBehind(cpu: number): boolean {
    const { memory, index } = this.#cpu;
    if (cpu === index) return false;
    const isUp = memory.words[memory.slot(cpu) + STATE] === UP;
    if (!isUp || this.#cpu.lagOf(cpu) > BEHIND_MS) return true;
    const best = this.choose();
    return best !== ANY && this.#loadOf(cpu) > this.#loadOf(best) + BEHIND;
  }

  #loadOf(cpu: number): number {
    const { memory } = this.#cpu;
    const slot = memory.slot(cpu);
    const takes = memory.words[slot + TAKES] as number;
    if (takes !== this.#takes[cpu]) {
      this.#takes[cpu] = takes;
      this.#sent[cpu] = 0;
    }
    return (memory.words[slot + BACKLOG] as number) + (this.#sent[cpu] as number);
  }

  /** Counts that this CPU has emptied its inbox. */
  taken(): void {
    const { memory, slot } = this.#cpu;
    memory.words[slot + TAKES]!++;
  }

  /** Publishes the load of this CPU. */
  publish(load: number): void {
    const { memory, slot } = this.#cpu;
    memory.words[slot + BACKLOG] = load;
  }
}
