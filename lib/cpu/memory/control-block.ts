/*
 * The control block: the state of one continuation that more than one CPU knows.
 *
 *   line 1   word | handle | cpu | seq | deadline | delay | ran | waiters | halters | known | tied | run
 *   line 2   function, workqueue, argument, lock, home
 *
 *   word     31 ............... 9   8      7 ... 0
 *            generation            BUSY   the bits of state.ts, PENDING to UNREF
 *
 * Every schedule, and every stop that withdraws something, takes a new generation. An entry in a CPU's
 * wheel or run queue carries the generation and the sequence number it was filed under. An entry is
 * entered only if its sequence number is still current and a compareExchange of the word finds its
 * generation unchanged. Otherwise it is stale, and the CPU that holds it discards it. Therefore
 * `stop` is one compareExchange, on the calling thread.
 *
 * A thread that changes more than the word sets BUSY first, and clears it at the end of this critical
 * section; other threads wait for that, some tens of ns. The section contains no call and no loop. V8
 * checks for termination only at the entry of functions and at the end of loops, so a thread is never
 * terminated inside it. If BUSY nevertheless stays set (because of a debugger or a suspended thread),
 * a waiter clears it after `BUSY_TIMEOUT_MS`. The thread that had set it leaves the section by
 * compareExchange, so it notices that and starts again.
 *
 * A freed block is reused for another handle, with another number in `handle`; the generations continue.
 * A thread that has read the word, and then finds in `handle` the number of the handle that it means,
 * may compareExchange that word.
 *
 * Source: sequence counts and cmpxchg loops of kernels; the generation is Treiber's tag (1986).
 */

import { KcontError } from '../../base/errors.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import {
  DEAD,
  EXPIRED,
  HALTING,
  INVOKING,
  PENDING,
  QUEUED,
  RUNNING,
  UNREF,
} from '../../core/state.ts';
import { MOVED } from '../messages/value-tags.ts';
import type { Memory } from './shared-memory.ts';

// Words of a block. The first, at 0, is the state word.
/** Counts the handles that have used this block. */
export const HANDLE = 1;
/** The CPU on which it is PENDING or QUEUED; ANY: the CPU that enters it first. */
export const CPU = 2;
export const SEQ = 3;
/** The deadline, a 64-bit float, in ms on the shared clock. */
export const DEADLINE = 4;
/** The last delay, a 64-bit float, in ms. */
export const DELAY = 6;
/** The CPU on which it runs or ran last. Initially the CPU that made it. */
export const RAN = 8;
/** A bit for each CPU that has to be told when the run settles. */
export const WAITERS = 9;
/** A bit for each CPU on which a halt waits. */
export const HALTERS = 10;
/** A bit for each CPU that knows this handle. */
export const KNOWN = 11;
/** The CPU that strong affinity ties it to; ANY before it is tied. */
export const TIED = 12;
/** Counts the runs, in steps of 2. The lowest bit: the run in flight has been asked to stop. */
export const RUN = 13;

/** The CPU that made the handle, and frees the block. */
export const HOME = 16;
/** The index of the function among the functions of the CPU module, sorted by name. */
export const FUNCTION = 17;
/** Priority, flags and shares of the workqueue, affinity and kind: see packSpec. */
export const SPEC = 18;
export const MAX_ACTIVE = 19;
export const PATIENCE = 20;
export const SLACK = 21;
/** How the argument is transmitted: see value-tags.ts. */
export const ARG_TAG = 22;
export const ARG_VERSION = 23;
/** A 64-bit float: an argument that is a number, or where the argument is. */
export const ARG = 24;
/** The index of the lock in the lock arena; 0 if there is no lock. */
export const LOCK = 26;
/** The kind and the side of the lock, packed. */
export const LOCK_SIDE = 27;
export const LOCK_GENERATION = 28;
/** Counts the changes of the lock. */
export const LOCK_VERSION = 29;
/** The index of its JSON slot (json-slot.ts); 0 if it has none. It is kept when the block is reused. */
export const JSON_SLOT = 30;

/** The size of a block, in units of 64 bytes. */
export const BLOCK_UNITS = 2;
/** A block has 2^SHIFT words. Tables of blocks are indexed by the block's word index shifted right. */
export const BLOCK_SHIFT = 5;

/** Value of CPU and TIED: the CPU that enters it first. */
export const ANY = -1;

/** A thread is changing several words of the block. */
export const BUSY = 256;
/** One generation. */
const GENERATION = 512;
const FLAGS: number = GENERATION - 1;
/** The bits of state.ts. */
export const BITS: number = BUSY - 1;

/** How long BUSY may stay set before a waiter clears it, in ms. */
const BUSY_TIMEOUT_MS = 500;
/** The same, after a thread has ended. */
const RESCUE_MS = 20;
/** How often a waiter reads the word before it sleeps. */
const SPINS = 2000;

/** The generation of a word. */
export function generationOf(word: number): number {
  return word >>> 9;
}

/** Returns a word of the next generation with the given state bits; other bits of `flags` are ignored. */
export function nextGeneration(word: number, flags: number): number {
  return ((word & ~FLAGS) + GENERATION) | (flags & BITS);
}

/** Reads the word of a block; waits while it is BUSY. */
export function readWord(memory: Memory, block: number): number {
  const word = Atomics.load(memory.words, block);
  return (word & BUSY) === 0 ? word : waitWord(memory, block);
}

/** Like `readWord`, but clears BUSY sooner, for blocks that a dead thread may have left BUSY. */
export function rescueWord(memory: Memory, block: number): number {
  const word = Atomics.load(memory.words, block);
  return (word & BUSY) === 0 ? word : waitWord(memory, block, RESCUE_MS);
}

function waitWord(memory: Memory, block: number, patienceMs: number = BUSY_TIMEOUT_MS): number {
  const { words } = memory;
  let word = 0;
  for (let spins = 0; spins < SPINS; spins++) {
    word = Atomics.load(words, block);
    if ((word & BUSY) === 0) return word;
  }
  for (let ms = 0; ms < patienceMs; ms++) {
    Atomics.wait(words, block, word, 1);
    word = Atomics.load(words, block);
    if ((word & BUSY) === 0) return word;
  }
  Atomics.compareExchange(words, block, word, word & ~BUSY);
  return readWord(memory, block);
}

/**
 * Asks a run to stop. `run` is the word RUN, read while the state word said that it was in flight: if another run
 * has begun since, its number differs, and it is not asked.
 */
export function askToStop({ words }: Memory, block: number, run: number): void {
  Atomics.compareExchange(words, block + RUN, run, run | 1);
}

/** Whether the run in flight has been asked to stop. */
export function isAskedToStop({ words }: Memory, block: number): boolean {
  return (
    (Atomics.load(words, block + RUN) & 1) !== 0 && (Atomics.load(words, block) & RUNNING) !== 0
  );
}

/** Whether a continuation with these bits keeps the process alive. */
export function isCounted(word: number): boolean {
  return (word & (PENDING | QUEUED | RUNNING)) !== 0 && (word & UNREF) === 0;
}

/** The bits of a handle that was destroyed, or whose block was reused. */
export const GONE: number = DEAD;

/** The bits of a local handle that are copied to its block when it is published. */
export const CARRIED: number =
  PENDING | EXPIRED | INVOKING | QUEUED | RUNNING | HALTING | UNREF | DEAD;

/** Kinds of blocks. */
export const HANDLE_KIND = 0;
export const JOB_KIND = 1;

/** Packs what the workqueue is, the affinity and the kind into one word. `shares` is 0 for a workqueue without. */
export function packSpec(
  { priority, perCpu, shares = 0 }: Pick<Workqueue, 'priority' | 'perCpu' | 'shares'>,
  affinity: number,
  kind: number,
): number {
  return priority | (perCpu ? 256 : 0) | (affinity << 9) | (kind << 11) | (shares << 12);
}

export function sharesOf(spec: number): number | undefined {
  return spec >> 12 || undefined;
}

export function priorityOf(spec: number): number {
  return spec & 255;
}

export function isPerCpu(spec: number): boolean {
  return (spec & 256) !== 0;
}

export function affinityOf(spec: number): number {
  return (spec >> 9) & 3;
}

export function kindOf(spec: number): number {
  return (spec >> 11) & 1;
}

/**
 * Whether the block belongs to a job whose argument has been moved to one CPU, so that only that
 * CPU can run it.
 */
export function isBound({ words }: Memory, block: number): boolean {
  return words[block + ARG_TAG] === MOVED;
}

/** Affinities, indexed by their packed numbers. */
export const AFFINITIES = ['none', 'weak', 'strong'] as const;

/** Makes the error for a handle that was destroyed. */
export function gone(name: string): KcontError {
  return new KcontError('EINVAL', `${name || '(anonymous)'} was destroyed`);
}
