/*
 * What keeps the process alive, whichever CPU it is on.
 *
 * Whoever makes a continuation scheduled or running, where it was neither, counts it as begun, and
 * whoever ends that counts it as ended, each in a word that only its own CPU writes. While the sums
 * differ, CPU 0 keeps a port referenced. Each word only grows, so two equal readings of all of them
 * are what there was between the two.
 *
 * A CPU that has ended something looks at the sums when it goes to sleep, and tells CPU 0 if they are
 * equal. One that begins something while nothing is kept alive tells CPU 0 at once.
 *
 * Source: counting messages to detect termination, Mattern (1987).
 */

import { isCounted, readWord } from './memory/control-block.ts';
import { allBlocks } from './memory/block-allocator.ts';
import { KEEPER } from './messages/inbox.ts';
import { BEGUN, ENDED, HOLDS, KEEP } from './memory/shared-memory.ts';
import type { LocalCpu } from './local-cpu.ts';

/** Between two counts, in ms. */
const RECOUNT_MS = 50;

/** One CPU's part in keeping the process alive. */
export class KeepAlive {
  readonly #localCpu: LocalCpu;
  /** Something has ended since this was last looked at. */
  #ended = false;
  /** By how much the count was off when it was last looked at. */
  #off = 0;
  /** CPU 0: the process is kept alive. */
  #keeping = false;

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
  }

  /** Another CPU says that it has to be looked at. */
  told(): void {
    this.#ended = true;
    this.check();
  }

  /** The word of a continuation has changed: counts what keeps the process alive. */
  count(before: number, after: number): void {
    const was = isCounted(before);
    if (was === isCounted(after)) return;
    if (was) this.#end();
    else this.#begin();
  }

  #begin(): void {
    const { words } = this.#localCpu.memory;
    words[this.#localCpu.slot + BEGUN]!++;
    if (this.#localCpu.index === 0) {
      if (!this.#keeping) this.#keep(true);
    } else if (Atomics.load(words, KEEP) === 0) this.#localCpu.send(0, KEEPER, 0, 0);
  }

  #end(): void {
    this.#localCpu.memory.words[this.#localCpu.slot + ENDED]!++;
    if (this.#ended) return;
    this.#ended = true;
    this.#localCpu.dispatcher.request();
  }

  /** Somebody here waits for a result: `by` 1, or does so no longer: `by` -1. */
  hold(by: 1 | -1): void {
    this.#localCpu.memory.words[this.#localCpu.slot + HOLDS]! += by;
    if (by === 1) this.#begin();
    else this.#end();
  }

  /** Looks whether anything is left that keeps the process alive, if something has ended. */
  check(): void {
    if (!this.#ended) return;
    this.#ended = false;
    if (this.#localCpu.index === 0) this.#keep(!this.isIdle());
    else if (Atomics.load(this.#localCpu.memory.words, KEEP) === 1 && this.isIdle()) {
      this.#localCpu.send(0, KEEPER, 0, 0);
    }
  }

  #keep(alive: boolean): void {
    if (alive === this.#keeping) return;
    this.#keeping = alive;
    Atomics.store(this.#localCpu.memory.words, KEEP, alive ? 1 : 0);
    // Something may have begun before it could see that it has to say so.
    if (!alive && !this.isIdle()) this.#keep(true);
    else this.#localCpu.supervision?.keep(alive);
  }

  /**
   * A thread may have ended between a change of a word and its counting: counts what there is. Twice
   * the same, some time apart, it is believed.
   */
  recount(): void {
    this.#off = NaN;
    this.#checkCount();
  }

  /** True: the count is right, as far as can be told. */
  #checkCount(): void {
    const before = this.#sums();
    let counted = 0;
    for (let cpu = 0; cpu < this.#localCpu.memory.slots; cpu++) {
      counted += this.#localCpu.memory.words[this.#localCpu.memory.slot(cpu) + HOLDS] as number;
    }
    for (const block of allBlocks(this.#localCpu.memory)) {
      if (isCounted(readWord(this.#localCpu.memory, block))) counted++;
    }
    const after = this.#sums();
    const moved = before.begun !== after.begun || before.ended !== after.ended;
    const off = moved ? NaN : (counted - (after.begun - after.ended)) | 0;
    if (off === 0 && this.#off === 0) return;
    if (off === this.#off) this.#localCpu.memory.words[this.#localCpu.slot + BEGUN]! += off;
    this.#off = off;
    this.#localCpu.supervision?.later(RECOUNT_MS, () => this.#checkCount());
    this.#ended = true;
    this.#localCpu.dispatcher.request();
  }

  /** Whether nothing is scheduled or running that keeps the process alive. */
  isIdle(): boolean {
    for (;;) {
      const first = this.#sums();
      const second = this.#sums();
      // Each word only grows, so two equal readings are what there was between them.
      if (first.begun === second.begun && first.ended === second.ended) {
        return first.begun === first.ended;
      }
    }
  }

  #sums(): { begun: number; ended: number } {
    const { memory } = this.#localCpu;
    let begun = 0;
    let ended = 0;
    for (let cpu = 0; cpu < memory.slots; cpu++) {
      begun = (begun + Atomics.load(memory.words, memory.slot(cpu) + BEGUN)) | 0;
      ended = (ended + Atomics.load(memory.words, memory.slot(cpu) + ENDED)) | 0;
    }
    return { begun, ended };
  }
}
