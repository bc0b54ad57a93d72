/*
 * Which CPU a continuation runs on.
 *
 *   named in `schedule`         that one, up or not
 *   strong                      the one it was first scheduled on, or that was named last
 *   weak                        the one where it ran last, unless that is blocked or far behind
 *   none, queue per CPU         this one
 *   none, with a lock           the home of that lock: there all who have it are in one order
 *   none, other queues          the next one available: entries go to up to four CPUs, and whichever
 *                               comes to it first enters it; the other entries are stale then
 *   to be chosen, and none up   whichever is up first: it looks for what is there for any of them
 *
 * CPU 0 is not among those chosen: it is where I/O comes in. How far behind a CPU is, is what it has
 * said at the end of its last pass, plus what this CPU has sent it since.
 */

import type { Cpu } from '../core/cpu.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Lock } from '../locks/lock.ts';
import { ANY_CPU } from '../core/state.ts';
import { isSharedIn, numberOf } from './memory/block-lock.ts';
import { ANY, SPEC, TIED, affinityOf, isPerCpu } from './memory/control-block.ts';
import type { LocalCpu } from './local-cpu.ts';
import { ASLEEP, BACKLOG, SLEEP, STATE, TAKES, UP, sleepOf } from './memory/shared-memory.ts';
import type { RemoteKcont } from './handles/remote-kcont.ts';
import { LINE } from './locks/arena.ts';
import type { SharedLock } from './locks/shared-lock.ts';

const WEAK = 1;
const STRONG = 2;

/** To so many CPUs goes what any of them may run. */
const CHOICES = 4;
/** A CPU that has not come to its work for so long is behind, in ms. */
const BEHIND_MS = 20;
/** So many more runnable than elsewhere, and a CPU is behind. */
const BEHIND = 32;
/** So many messages that nobody is woken for, and one is. */
const FLOOD = 1024;

/** Chooses CPUs, for one of them. */
export class Placement {
  readonly #localCpu: LocalCpu;
  /** Sent to each CPU since it last took its inbox, as far as is known. */
  readonly #sent: number[];
  readonly #takes: number[];
  #silent = 0;
  #turn = 0;

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
    const { slots } = localCpu.memory;
    this.#sent = Array.from({ length: slots }, () => 0);
    this.#takes = Array.from({ length: slots }, () => 0);
  }

  /** Whether there is another CPU that could be chosen. */
  get hasOthers(): boolean {
    return this.#localCpu.memory.publicCpus > 1;
  }

  /** A continuation has been made. */
  adopt(kc: Kcont<unknown>): void {
    const { module } = this.#localCpu;
    if (kc._wq.perCpu && kc.affinity === 'none') return;
    const isFree = kc._lock === null || isSharedIn(this.#localCpu.arena, kc._lock);
    if (isFree && module.indexOf(kc._func) !== undefined) kc._state |= ANY_CPU;
  }

  /** Where an entry goes. */
  place(entry: RemoteKcont, cpu: Cpu | null, delayed: boolean): number {
    const localCpu = this.#localCpu;
    const { words } = localCpu.memory;
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
    if (isPerCpu(spec)) return localCpu.index;
    const lock = numberOf(localCpu.memory, entry.block);
    if (lock !== 0) return this.#homeOf(lock);
    return delayed || entry.posted !== 0 ? this.choose() : ANY;
  }

  #chooseFor(spec: number): number {
    return isPerCpu(spec) && this.#localCpu.index !== 0 ? this.#localCpu.index : this.choose();
  }

  /** Where all go that have this lock, on workqueues without a queue per CPU: it keeps their order. */
  #homeOf(lock: number): number {
    return 1 + (lock % (this.#localCpu.memory.publicCpus - 1));
  }

  /** The CPU for a job: that of its lock, or the one that has the least to do, or ANY. */
  chooseFor(lock: Lock | null): number {
    if (lock === null) return this.choose();
    return this.#homeOf((lock as SharedLock)._gate.at / LINE);
  }

  /** The CPU that has the least to do; ANY: none is up. */
  choose(): number {
    const { memory } = this.#localCpu;
    const { publicCpus } = memory;
    this.#turn++;
    let best = ANY;
    let least = Infinity;
    for (let i = 0; i < publicCpus - 1; i++) {
      const cpu = 1 + ((this.#turn + i) % (publicCpus - 1));
      if (memory.words[memory.slot(cpu) + STATE] !== UP) continue;
      const load = this.#loadOf(cpu) + (this.#localCpu.lagOf(cpu) > BEHIND_MS ? 1e6 : 0);
      if (load >= least) continue;
      least = load;
      best = cpu;
    }
    return best;
  }

  /**
   * Those who may take what any CPU may run: all that are up, or a few of them in turn. Empty: the next
   * one that is up finds it by itself, for it says so before it looks.
   */
  candidates(): readonly number[] {
    const { memory } = this.#localCpu;
    const others = memory.publicCpus - 1;
    const found: number[] = [];
    for (let i = 1; i <= others && found.length < CHOICES; i++) {
      const cpu = 1 + ((this.#turn + i) % others);
      if (Atomics.load(memory.words, memory.slot(cpu) + STATE) === UP) found.push(cpu);
    }
    return found;
  }

  /** A bit for each CPU that work can be sent to, and for this one. */
  get all(): number {
    return 2 ** this.#localCpu.memory.publicCpus - 1;
  }

  /** The next candidates begin with the next CPU. */
  rotate(): void {
    this.#turn++;
  }

  /** The first that sleeps of those who have been sent something; undefined: all will look by themselves. */
  sleeper(cpus: readonly number[]): number | undefined {
    const { memory } = this.#localCpu;
    const wordOf = (cpu: number): number => Atomics.load(memory.words, memory.slot(cpu) + SLEEP);
    return cpus.find((cpu) => sleepOf(wordOf(cpu)) === ASLEEP);
  }

  /** Something has been sent to a CPU. */
  sent(cpu: number): void {
    this.#sent[cpu]!++;
  }

  /** A message was sent that nobody need be woken for: whether it is time to wake all the same. */
  isFlooding(): boolean {
    this.#silent = (this.#silent + 1) % FLOOD;
    return this.#silent === 0;
  }

  /** Whether a CPU is measurably behind others. */
  isBehind(cpu: number): boolean {
    const localCpu = this.#localCpu;
    const { memory } = localCpu;
    if (cpu === localCpu.index) return false;
    if (memory.words[memory.slot(cpu) + STATE] !== UP || localCpu.lagOf(cpu) > BEHIND_MS)
      return true;
    const best = this.choose();
    return best !== ANY && this.#loadOf(cpu) > this.#loadOf(best) + BEHIND;
  }

  #loadOf(cpu: number): number {
    const { memory } = this.#localCpu;
    const slot = memory.slot(cpu);
    const takes = memory.words[slot + TAKES] as number;
    if (takes !== this.#takes[cpu]) {
      this.#takes[cpu] = takes;
      this.#sent[cpu] = 0;
    }
    return (memory.words[slot + BACKLOG] as number) + (this.#sent[cpu] as number);
  }

  /** This CPU has taken its inbox. */
  taken(): void {
    const { memory, slot } = this.#localCpu;
    memory.words[slot + TAKES]!++;
  }

  /** Says what this CPU has to do. */
  publish(): void {
    const { memory, slot, handles } = this.#localCpu;
    memory.words[slot + BACKLOG] = handles.load;
  }
}
