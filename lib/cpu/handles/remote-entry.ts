/*
 * What one CPU knows of a continuation whose state is in a control block: its entry. A `Kcont` with the
 * REMOTE bit delegates to this object. The Kcont itself is in this CPU's wheel or run queue; this object
 * notes the generation, sequence number and deadline under which it was filed.
 *
 *      CPU 0                            shared                            CPU 2
 *   Kcont --- RemoteEntry ---+                            +--- RemoteEntry --- Kcont (made there)
 *                            |      +-----------------+   |
 *                            +----> | word, deadline… | <-+        in CPU 2's wheel or run queue
 *                                   +-----------------+
 *
 * The state word decides. An entry in a wheel or a run queue is only a hint, which is checked against
 * the word when its turn comes. So a call on any CPU takes effect at once, and a stop need not be
 * announced to other CPUs.
 *
 * The bits of the entry are in the `_state` of its Kcont. PENDING: it is in this CPU's wheel. QUEUED: it
 * is in this CPU's run queue, or set aside. RUNNING: it runs here. If only the deadline was moved
 * outward, the entry finds that out at its old time, and is filed again under its old number.
 */

import { ADMITTED, ASIDE, STALE, type Admission, type RemoteState } from '../../core/cpu-link.ts';
import { fileTimer, makeRunnable, reinsertTimer } from '../../core/schedule.ts';
import { DEAD, PENDING, RUNNING, SCHEDULED, entered, expired, settled } from '../../core/state.ts';
import { CLONED, inline } from '../messages/value-tags.ts';
import {
  ARG,
  ARG_TAG,
  ARG_VERSION,
  BUSY,
  DEADLINE,
  HANDLE,
  RAN,
  RUN,
  SEQ,
  TIED,
  WAITERS,
  generationOf,
  isAskedToStop,
  isBound,
  readWord,
} from '../memory/control-block.ts';
import { SETTLED } from '../messages/inbox.ts';
import { SEQUENCE } from '../memory/shared-memory.ts';
import { RemoteKcont } from './remote-kcont.ts';

/** A continuation that more than one CPU knows, and its entry on this one. */
export class RemoteEntry extends RemoteKcont implements RemoteState {
  /** The generation, sequence number and deadline under which the entry was filed. */
  #generation = -1;
  #seq = 0;
  #deadline = 0;

  /** Adopts the entry that is already in this CPU's lists as the one that the word asks for. */
  assume(word: number, seq: number, deadline: number): void {
    this.#generation = generationOf(word);
    this.#seq = seq;
    this.#deadline = deadline;
  }

  /** Files the entry in this CPU's wheel or run queue, unless it is stale by now. */
  override file(generation: number, seq: number): void {
    const { cpu, kc, block } = this;
    const { memory } = cpu;
    const word = readWord(memory, block);
    if (!this.#is(word, generation, seq)) return;
    if ((kc._state & SCHEDULED) !== 0) {
      if (this.#isMine(word)) return;
      kc._wq._dispatcher.withdraw(kc);
    }
    this.#generation = generation;
    this.#seq = seq;
    if ((word & PENDING) !== 0) {
      this.#deadline = memory.floats[(block + DEADLINE) >> 1] as number;
      fileTimer(kc, cpu.localMs(this.#deadline));
    } else makeRunnable(kc);
  }

  /** Whether the word is the one under which this entry was filed. */
  #isMine(word: number): boolean {
    return this.#is(word, this.#generation, this.#seq);
  }

  #is(word: number, generation: number, seq: number): boolean {
    const { words } = this.cpu.memory;
    return (
      generationOf(word) === generation &&
      (word & SCHEDULED) !== 0 &&
      words[this.block + SEQ] === seq &&
      words[this.block + HANDLE] === this.handle
    );
  }

  get stopping(): boolean {
    const { memory } = this.cpu;
    return isAskedToStop(memory, this.block) && memory.words[this.block + HANDLE] === this.handle;
  }

  expire(): boolean {
    const { cpu, block, kc } = this;
    const { memory } = cpu;
    const { words, floats } = memory;
    const seq = (Atomics.add(words, SEQUENCE, 1) + 1) | 0;
    for (;;) {
      const word = readWord(memory, block);
      if (!this.#isMine(word)) {
        kc._state &= ~PENDING;
        return false;
      }
      const next = expired(word);
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      const deadline = floats[(block + DEADLINE) >> 1] as number;
      const over = deadline <= this.#deadline;
      if (over) words[block + SEQ] = seq;
      const after = over ? next : word;
      if (Atomics.compareExchange(words, block, word | BUSY, after) !== (word | BUSY)) continue;
      if (over) {
        this.#seq = seq;
        return true;
      }
      if (this.#reinsert(deadline)) return false;
    }
  }

  /** Files the entry again for a later deadline; false if that is over already. */
  #reinsert(deadline: number): boolean {
    this.#deadline = deadline;
    return reinsertTimer(this.kc, this.cpu.localMs(deadline));
  }

  admit(): Admission {
    const word = readWord(this.cpu.memory, this.block);
    if (!this.#isMine(word)) return STALE;
    // A CPU that is stopping enters only what is bound to its thread. All else stays aside until the
    // order to stop, which withdraws it, has been read.
    if (this.cpu.isStopping && !isBound(this.cpu.memory, this.block)) return ASIDE;
    this.syncLock()?._leave(this.kc);
    if ((word & RUNNING) !== 0) {
      // When that run settles, this CPU is told, unless the run settled before the bit was set.
      const { memory, index } = this.cpu;
      Atomics.or(memory.words, this.block + WAITERS, 1 << index);
      return (readWord(memory, this.block) & RUNNING) === 0 ? this.admit() : ASIDE;
    }
    return this.hasArg() ? ADMITTED : ASIDE;
  }

  enter(): boolean {
    const { cpu, block } = this;
    const { memory } = cpu;
    const { words, floats } = memory;
    const here = cpu.index;
    for (;;) {
      const word = readWord(memory, block);
      if (!this.#isMine(word) || (word & RUNNING) !== 0) return false;
      const next = entered(word);
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      words[block + RAN] = here;
      // With strong affinity and target ANY, the CPU that enters it first is the one it is tied to.
      words[block + TIED] = here;
      // A stop of the run before finds another number here (see RemoteKcont.stop).
      words[block + RUN] = ((words[block + RUN] as number) + 2) & ~1;
      const tag = words[block + ARG_TAG] as number;
      const version = words[block + ARG_VERSION] as number;
      const value = floats[(block + ARG) >> 1] as number;
      if (Atomics.compareExchange(words, block, word | BUSY, next) !== (word | BUSY)) continue;
      if (version !== this.version) this.receive(tag, value, version);
      return true;
    }
  }

  /** Takes the argument from the block when the function is entered. */
  protected receive(tag: number, value: number, version: number): void {
    if (tag >= CLONED) return;
    this.kc._arg = inline(tag, value);
    this.version = version;
  }

  /** Whether this CPU has the argument. If not, this asks for it. */
  protected hasArg(): boolean {
    const { memory } = this.cpu;
    const { words } = memory;
    if ((words[this.block + ARG_TAG] as number) < CLONED) return true;
    const version = words[this.block + ARG_VERSION] as number;
    if (version === this.version) return true;
    this.host.handleSync.need(this);
    return false;
  }

  /** Tells the CPUs that wait for it that a run has settled here. */
  tellWaiters(): void {
    const { cpu, block, handle } = this;
    let waiters = Atomics.exchange(cpu.memory.words, block + WAITERS, 0) & ~(1 << cpu.index);
    while (waiters !== 0) {
      const to = 31 - Math.clz32(waiters);
      waiters &= ~(1 << to);
      cpu.send(to, SETTLED, block, handle);
    }
  }

  settle(): void {
    const { cpu, block } = this;
    const { memory } = cpu;
    const { words } = memory;
    let word: number;
    let next: number;
    do {
      word = readWord(memory, block);
      next = settled(word);
    } while (Atomics.compareExchange(words, block, word, next) !== word);
    // The order matters: the process is kept alive until the waiting CPUs have been told.
    if (words[block + WAITERS] !== 0) this.tellWaiters();
    this.host.alive.count(word, next);
    if ((word & DEAD) !== 0) this.host.handles.release(block, this.handle);
  }

  fail(error: unknown): boolean {
    return this.host.remoteErrors.failed(this, error);
  }
}
