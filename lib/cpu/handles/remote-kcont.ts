/*
 * The operations on a continuation whose state is in a control block, on any CPU: schedule, touch, stop
 * and so on. Each is one change of the block's word, made on the calling thread. A schedule also files
 * an entry on the target CPU; remote-entry.ts has what happens to entries.
 */

import type { Cpu } from '../../core/cpu.ts';
import { EBUSY, EINVAL, KcontError } from '../../base/errors.ts';
import type { Kcont } from '../../core/kcont.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { callSettled } from '../../core/invoke.ts';
import { DESTROYED, label } from '../../core/schedule.ts';
import {
  DEAD,
  HALTING,
  INVOKING,
  PENDING,
  QUEUED,
  RUNNING,
  SCHEDULED,
  UNREF,
  WAITED,
  acked,
  scheduled,
  stopped,
} from '../../core/state.ts';
import { CLONED, tagOf } from '../messages/value-tags.ts';
import {
  ANY,
  ARG,
  ARG_TAG,
  ARG_VERSION,
  BITS,
  BUSY,
  CPU,
  DEADLINE,
  DELAY,
  GONE,
  HALTERS,
  HANDLE,
  LOCK,
  LOCK_GENERATION,
  LOCK_SIDE,
  LOCK_VERSION,
  RAN,
  RUN,
  SEQ,
  TIED,
  WAITERS,
  askToStop,
  generationOf,
  nextGeneration,
  readWord,
} from '../memory/control-block.ts';
import {
  attachLock,
  isSharedIn,
  pinLock,
  readLock,
  unpinLock,
  type WrittenLock,
} from '../memory/block-lock.ts';
import type { Sender, Sent } from '../messages/tokens.ts';
import { RELOCK } from '../messages/inbox.ts';
import { locked } from '../threads/cpu-module.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { EntryHost } from './entry-host.ts';
import { INTENT, SEQUENCE } from '../memory/shared-memory.ts';

/** The operations that callers on this CPU may perform on a continuation that several CPUs know. */
export abstract class RemoteKcont implements Sender {
  readonly cpu: CpuContext;
  readonly host: EntryHost;
  readonly kc: Kcont<unknown>;
  /** The index of its control block, and its handle number: the block is still its own if it has both. */
  readonly block: number;
  readonly handle: number;
  /** The last version of its lock that this CPU has seen. */
  lockVersion: number;
  /** The name of its posted argument, for messages; 0 if the argument was not posted. */
  posted = 0;
  /** A bit for each CPU that has been sent its definition: see handle-sync.ts. */
  told = 0;
  /** The version of the argument that this CPU has; -1 if it has no argument. */
  version: number;
  /** The trace context of a job, if its caller has one. */
  carrier: Readonly<Record<string, string>> | undefined = undefined;
  #sent: Sent | undefined = undefined;

  constructor(host: EntryHost, kc: Kcont<unknown>, block: number, handle: number, version: number) {
    this.cpu = host.context;
    this.host = host;
    this.kc = kc;
    this.block = block;
    this.handle = handle;
    this.version = version;
    this.lockVersion = host.context.memory.words[block + LOCK_VERSION] as number;
  }

  /** Keeps the locks in an argument or a result that this CPU has sent to other CPUs. */
  keep(sent: Sent): void {
    if (this.#sent === undefined) this.#sent = sent;
    else this.#sent.adopt(sent);
  }

  /** Lets go of these locks: the value has been read, or will never be read. */
  endSent(): void {
    this.#sent?.end();
    this.#sent = undefined;
  }

  get bits(): number {
    const { memory } = this.cpu;
    const word = readWord(memory, this.block);
    return memory.words[this.block + HANDLE] === this.handle ? word & BITS : GONE;
  }

  get deadline(): number {
    if ((this.bits & PENDING) === 0) return NaN;
    const { memory } = this.cpu;
    return this.cpu.localMs(memory.floats[(this.block + DEADLINE) >> 1] as number);
  }

  get index(): number | undefined {
    const { words } = this.cpu.memory;
    const index = words[this.block + ((this.bits & RUNNING) === 0 ? CPU : RAN)];
    return index === ANY ? undefined : index;
  }

  /** Releases what this object holds: its block is being reused. */
  dropped(): void {
    if (this.version >= 0) this.version = -1;
    this.endSent();
  }

  schedule(delayMs: number, cpu: Cpu | null, busy: number, anew: boolean): number {
    const { block } = this;
    const { memory, slot } = this.cpu;
    const { words, floats } = memory;
    const delayed = delayMs > 0;
    const target = this.host.placement.place(this, cpu, delayed);
    try {
      this.host.handleSync.prepare(this, target);
    } catch (error) {
      if (error instanceof KcontError && error.code === 'EINVAL') return EINVAL;
      throw error;
    }
    const deadline = delayed ? this.cpu.sharedMs() + delayMs : 0;
    const forbidden = anew ? busy & ~INVOKING : busy;
    const seq = (Atomics.add(words, SEQUENCE, 1) + 1) | 0;
    words[slot + INTENT] = block;
    let word: number;
    let next: number;
    let silent = false;
    for (;;) {
      word = readWord(memory, block);
      if (words[block + HANDLE] !== this.handle || (word & DEAD) !== 0)
        return this.#refuse(DESTROYED);
      if ((word & forbidden) !== 0) return this.#refuse(EBUSY);
      next = nextGeneration(word, scheduled(word, delayed));
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      // No call and no loop until BUSY is cleared: see control-block.ts.
      silent =
        delayed &&
        (word & PENDING) !== 0 &&
        words[block + CPU] === target &&
        (floats[(block + DEADLINE) >> 1] as number) <= deadline;
      words[block + CPU] = target;
      words[block + TIED] = target;
      words[block + SEQ] = seq;
      floats[(block + DEADLINE) >> 1] = deadline;
      floats[(block + DELAY) >> 1] = delayMs;
      if (Atomics.compareExchange(words, block, word | BUSY, next) === (word | BUSY)) break;
    }
    this.host.alive.count(word, next);
    this.host.submission.submit(this, target, generationOf(next), seq, silent);
    words[slot + INTENT] = 0;
    return 0;
  }

  #refuse(errno: number): number {
    this.cpu.memory.words[this.cpu.slot + INTENT] = 0;
    return errno;
  }

  touch(): boolean {
    const { cpu, block } = this;
    const { memory } = cpu;
    const { words, floats } = memory;
    const now = cpu.sharedMs();
    for (;;) {
      const word = readWord(memory, block);
      if ((word & PENDING) === 0 || words[block + HANDLE] !== this.handle) return false;
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      const deadline = now + (floats[(block + DELAY) >> 1] as number);
      if (deadline > (floats[(block + DEADLINE) >> 1] as number)) {
        floats[(block + DEADLINE) >> 1] = deadline;
      }
      if (Atomics.compareExchange(words, block, word | BUSY, word) === (word | BUSY)) return true;
    }
  }

  stop(): number {
    const { cpu, block, kc } = this;
    const { memory } = cpu;
    const { words } = memory;
    let word: number;
    let next: number;
    let run: number;
    do {
      word = readWord(memory, block);
      if (words[block + HANDLE] !== this.handle) return GONE;
      run = Atomics.load(words, block + RUN);
      next = stopped(word);
      if ((word & SCHEDULED) !== 0) next = nextGeneration(word, next);
      else if (next === word && (word & RUNNING) === 0) break;
    } while (Atomics.compareExchange(words, block, word, next) !== word);
    if ((word & RUNNING) !== 0) askToStop(memory, block, run);
    this.host.alive.count(word, next);
    if ((kc._state & SCHEDULED) !== 0) kc._wq._dispatcher.withdraw(kc);
    return word & BITS;
  }

  ack(): boolean {
    const word = this.#change(
      (bits) => (bits & (RUNNING | INVOKING | QUEUED)) === (RUNNING | INVOKING),
      acked,
    );
    return word !== null && (word & DEAD) === 0;
  }

  destroy(): boolean {
    const { cpu, block, kc } = this;
    const { memory } = cpu;
    const { words } = memory;
    let word: number;
    let next: number;
    let run: number;
    do {
      word = readWord(memory, block);
      if (words[block + HANDLE] !== this.handle || (word & DEAD) !== 0) return false;
      run = Atomics.load(words, block + RUN);
      next = nextGeneration(word, stopped(word) | DEAD);
    } while (Atomics.compareExchange(words, block, word, next) !== word);
    if ((word & RUNNING) !== 0) askToStop(memory, block, run);
    this.host.alive.count(word, next);
    if ((kc._state & SCHEDULED) !== 0) kc._wq._dispatcher.withdraw(kc);
    if ((word & RUNNING) === 0) this.host.handles.release(block, this.handle);
    return true;
  }

  setRef(ref: boolean): void {
    this.#change(
      (bits) => ((bits & UNREF) === 0) !== ref,
      (bits) => bits ^ UNREF,
    );
  }

  /** Changes the bits if `allow` accepts them. Returns the old word; null if they were not accepted. */
  #change(allow: (bits: number) => boolean, change: (bits: number) => number): number | null {
    const { cpu, block } = this;
    const { memory } = cpu;
    for (;;) {
      const word = readWord(memory, block);
      if (memory.words[block + HANDLE] !== this.handle || !allow(word & BITS)) return null;
      const next = (word & ~BITS) | change(word & BITS);
      if (Atomics.compareExchange(memory.words, block, word, next) !== word) continue;
      this.host.alive.count(word, next);
      return word;
    }
  }

  setArg(arg: unknown): void {
    const { cpu, block } = this;
    const { memory } = cpu;
    const { words, floats } = memory;
    const tag = tagOf(arg);
    if (tag === CLONED) this.host.handles.probe(arg, label(this.kc));
    const value = typeof arg === 'number' ? arg : 0;
    for (;;) {
      const word = readWord(memory, block);
      if (words[block + HANDLE] !== this.handle) return;
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      const version = (words[block + ARG_VERSION] as number) + 1;
      words[block + ARG_VERSION] = version;
      words[block + ARG_TAG] = tag;
      floats[(block + ARG) >> 1] = value;
      this.version = version;
      if (Atomics.compareExchange(words, block, word | BUSY, word) === (word | BUSY)) break;
    }
    this.told = 0;
    // A CPU that has yet to read an older argument will ask for this one.
    this.endSent();
  }

  setLock(lock: BaseLock | null): void {
    const { cpu, block, kc } = this;
    const { memory, arena } = cpu;
    const { words } = memory;
    if (lock !== null && !isSharedIn(arena, lock)) throw new KcontError('EINVAL', locked(kc.name));
    const { at, side, generation } = pinLock(lock);
    let before: WrittenLock;
    for (;;) {
      const word = readWord(memory, block);
      before = readLock(memory, block);
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      words[block + LOCK] = at;
      words[block + LOCK_SIDE] = side;
      words[block + LOCK_GENERATION] = generation;
      this.lockVersion = (words[block + LOCK_VERSION] as number) + 1;
      words[block + LOCK_VERSION] = this.lockVersion;
      if (Atomics.compareExchange(words, block, word | BUSY, word) === (word | BUSY)) break;
    }
    unpinLock(arena, before);
    this.#tellLock(words[block + CPU] as number);
  }

  /** Updates a lock that was changed on another CPU. Returns the old lock; undefined if it is unchanged. */
  syncLock(): BaseLock | null | undefined {
    const { cpu, block, kc } = this;
    const version = cpu.memory.words[block + LOCK_VERSION] as number;
    if (version === this.lockVersion || (kc._state & RUNNING) !== 0) return undefined;
    const old = kc._lock;
    kc._lock = attachLock(cpu.arena, readLock(cpu.memory, block));
    this.lockVersion = version;
    return old;
  }

  setHalting(halting: boolean): void {
    const { cpu, block } = this;
    const { memory } = cpu;
    const { words } = memory;
    const bit = 1 << cpu.index;
    for (;;) {
      const word = readWord(memory, block);
      if (words[block + HANDLE] !== this.handle) return;
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      const before = words[block + HALTERS] as number;
      const halters = halting ? before | bit : before & ~bit;
      words[block + HALTERS] = halters;
      const next = halters === 0 ? word & ~HALTING : word | HALTING;
      if (Atomics.compareExchange(words, block, word | BUSY, next) === (word | BUSY)) return;
    }
  }

  awaitSettle(): void {
    const { cpu, block } = this;
    Atomics.or(cpu.memory.words, block + WAITERS, 1 << cpu.index);
    // It may have settled before the bit was set, and then nobody will tell this CPU.
    if ((this.bits & RUNNING) === 0) this.callSettled();
  }

  /** Has the settled callbacks called on this CPU. */
  callSettled(): void {
    this.cpu.later(() => callSettled(this.cpu.dispatcher, this.kc));
  }

  /** Handles the end of a run on another CPU: what waited here for it goes on. */
  settledElsewhere(): void {
    this.resumeIfAside();
    if ((this.kc._extras?.settled.length ?? 0) > 0) this.callSettled();
  }

  /** Puts the entry back into the run queue if it was set aside. */
  resumeIfAside(): void {
    const { kc } = this;
    if ((kc._state & (QUEUED | WAITED | RUNNING)) !== (QUEUED | WAITED)) return;
    // It is in no list: it waits neither for a lock nor for room, and is not in the run queue.
    if (kc._next === kc) this.cpu.dispatcher.resume(kc);
  }

  /** Tells another CPU that the lock was changed here: the entry there may wait for the old lock. */
  #tellLock(cpu: number): void {
    // A continuation with a lock has an entry on one CPU only.
    if (cpu === this.cpu.index || (this.bits & QUEUED) === 0) return;
    this.cpu.send(cpu, RELOCK, this.block, this.handle);
  }

  /** Handles a change of the lock on another CPU. */
  relocked(): void {
    const old = this.syncLock();
    if (old === undefined || old === null) return;
    const { kc } = this;
    if ((kc._state & (QUEUED | WAITED)) === (QUEUED | WAITED)) kc._wq._requeue(kc, old);
  }

  /** Sets the CPU that is to run it; false if it is not scheduled any more. */
  moveTo(cpu: number): boolean {
    const { block } = this;
    const { memory } = this.cpu;
    const { words } = memory;
    for (;;) {
      const word = readWord(memory, block);
      if ((word & SCHEDULED) === 0 || words[block + HANDLE] !== this.handle) return false;
      if (Atomics.compareExchange(words, block, word, word | BUSY) !== word) continue;
      words[block + CPU] = cpu;
      if (Atomics.compareExchange(words, block, word | BUSY, word) === (word | BUSY)) return true;
    }
  }

  /** The CPU on which it ran last, or the CPU that made it. */
  get ran(): number {
    return this.cpu.memory.words[this.block + RAN] ?? ANY;
  }

  /** Files an entry on this CPU. */
  abstract file(generation: number, seq: number): void;
}
