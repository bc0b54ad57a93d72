/*
 * Keeps the process alive while any CPU has a continuation that is scheduled or running.
 *
 * A CPU that makes an idle continuation scheduled or running increments its own BEGUN word; a CPU that
 * makes it idle again increments its own ENDED word. Only its own CPU writes these words. While the
 * sums over all CPUs differ, CPU 0 keeps a port referenced. The words only grow, so if two successive
 * readings of all of them are equal, they were all valid at one moment between the two readings.
 *
 * A CPU that has ended something compares the sums when it goes to sleep, and notifies CPU 0 if they
 * are equal. A CPU that begins something while CPU 0 keeps nothing alive notifies CPU 0 at once.
 *
 * Source: counting messages to detect termination, Mattern (1987).
 */

import { isCounted, readWord } from './memory/control-block.ts';
import { allBlocks } from './memory/block-allocator.ts';
import { KEEPER } from './messages/inbox.ts';
import { BEGUN, ENDED, HOLDS, KEEP } from './memory/shared-memory.ts';
import type { CpuContext } from './cpu-context.ts';

/** Time between two counts, in ms. */
const RECOUNT_MS = 50;

/** Keeps the process alive. Only CPU 0 has one. */
export interface Keeper {
  /** Sets whether the process is kept alive. */
  keep(alive: boolean): void;
  /** Calls a function after a delay. */
  later(delayMs: number, callback: () => void): void;
}

/** Counts what keeps the process alive, for one CPU. */
export class KeepAlive {
  readonly #cpu: CpuContext;
  keeper: Keeper | null = null;
  /** Something has ended since the last check. */
  #ended = false;
  /** The error of the count at the last recount; NaN if it is unknown. */
  #off = 0;
  /** On CPU 0: whether it keeps the process alive. */
  #keeping = false;

  constructor(cpu: CpuContext) {
    this.#cpu = cpu;
  }

  /** Handles a KEEPER message: another CPU asks for a check. */
  told(): void {
    this.#ended = true;
    this.check();
  }

  /** Updates the count after a change of a continuation's state word. */
  count(before: number, after: number): void {
    const was = isCounted(before);
    if (was === isCounted(after)) return;
    if (was) this.#end();
    else this.#begin();
  }

  #begin(): void {
    const { words } = this.#cpu.memory;
    words[this.#cpu.slot + BEGUN]!++;
    if (this.#cpu.index === 0) {
      if (!this.#keeping) this.#keep(true);
    } else if (Atomics.load(words, KEEP) === 0) this.#cpu.send(0, KEEPER, 0, 0);
  }

  #end(): void {
    this.#cpu.memory.words[this.#cpu.slot + ENDED]!++;
    if (this.#ended) return;
    this.#ended = true;
    this.#cpu.dispatcher.request();
  }

  /** Counts a caller on this CPU that waits for a result (`by` 1) or has stopped waiting (`by` -1). */
  hold(by: 1 | -1): void {
    this.#cpu.memory.words[this.#cpu.slot + HOLDS]! += by;
    if (by === 1) this.#begin();
    else this.#end();
  }

  /** If something has ended since the last check, checks whether anything still keeps the process alive. */
  check(): void {
    if (!this.#ended) return;
    this.#ended = false;
    if (this.#cpu.index === 0) this.#keep(!this.isIdle());
    else if (Atomics.load(this.#cpu.memory.words, KEEP) === 1 && this.isIdle()) {
      this.#cpu.send(0, KEEPER, 0, 0);
    }
  }

  #keep(alive: boolean): void {
    if (alive === this.#keeping) return;
    this.#keeping = alive;
    Atomics.store(this.#cpu.memory.words, KEEP, alive ? 1 : 0);
    // Another CPU may have begun something before it could see KEEP 0, and so has sent no message.
    if (!alive && !this.isIdle()) this.#keep(true);
    else this.keeper?.keep(alive);
  }

  /**
   * Counts everything again, because a thread may have died between changing a state word and counting
   * the change. An error of the count is corrected when two counts, some time apart, find the same.
   */
  recount(): void {
    this.#off = NaN;
    this.#checkCount();
  }

  /** Compares the count with the control blocks. Repeats that later until two results agree. */
  #checkCount(): void {
    const before = this.#sums();
    let counted = 0;
    for (let cpu = 0; cpu < this.#cpu.memory.slots; cpu++) {
      counted += this.#cpu.memory.words[this.#cpu.memory.slot(cpu) + HOLDS] as number;
    }
    for (const block of allBlocks(this.#cpu.memory)) {
      if (isCounted(readWord(this.#cpu.memory, block))) counted++;
    }
    const after = this.#sums();
    const moved = before.begun !== after.begun || before.ended !== after.ended;
    const off = moved ? NaN : (counted - (after.begun - after.ended)) | 0;
    if (off === 0 && this.#off === 0) return;
    if (off === this.#off) this.#cpu.memory.words[this.#cpu.slot + BEGUN]! += off;
    this.#off = off;
    this.keeper?.later(RECOUNT_MS, () => this.#checkCount());
    this.#ended = true;
    this.#cpu.dispatcher.request();
  }

  /** Whether no CPU has a scheduled or running continuation that keeps the process alive. */
  isIdle(): boolean {
    for (;;) {
      const first = this.#sums();
      const second = this.#sums();
      // Each word only grows, so two equal readings were valid at one moment between them.
      if (first.begun === second.begun && first.ended === second.ended) {
        return first.begun === first.ended;
      }
    }
  }

  #sums(): { begun: number; ended: number } {
    const { memory } = this.#cpu;
    let begun = 0;
    let ended = 0;
    for (let cpu = 0; cpu < memory.slots; cpu++) {
      begun = (begun + Atomics.load(memory.words, memory.slot(cpu) + BEGUN)) | 0;
      ended = (ended + Atomics.load(memory.words, memory.slot(cpu) + ENDED)) | 0;
    }
    return { begun, ended };
  }
}
