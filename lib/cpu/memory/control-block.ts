/*
 * The control block: the state of one continuation that more than one CPU knows.
 *
 *   line 1   word | handle | cpu | seq | deadline | delay | run | last | waiters | halters | ...
 *   line 2   what it is: function, workqueue, argument, home
 *
 *   word     31 ............... 9   8      7 ... 0
 *            generation            BUSY   the bits of state.ts, PENDING to UNREF
 *
 * Every schedule, and every stop that withdraws something, takes a new generation. What stands in
 * some CPU's queue carries the generation and the sequence number it was filed under, and is entered
 * only by a compareExchange of the word that still has them: stale entries fall out by themselves,
 * wherever they are. So `stop` is one compareExchange, on the thread that calls it.
 *
 * Who changes more than the word sets BUSY first, and all others wait for it to go: some tens of ns.
 * Between the two there is no call and no loop, so a thread that is ended is not ended there: V8
 * looks for that at the entry of functions and at the end of loops. Should BUSY stay all the same (a
 * debugger, a suspended thread), a waiter breaks it after `PATIENCE_MS`; whoever had set it finds
 * that out, for it leaves by compareExchange too, and begins again.
 *
 * A block is used again for another handle, under another number in `handle`; generations go on.
 * Whoever reads the word first and then finds its own number there may compareExchange that word.
 *
 * Source: sequence counts and cmpxchg loops of kernels; the generation is Treiber's tag (1986).
 */

import { KcontError } from '../../base/errors.ts';
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
/** Where it is PENDING or QUEUED; ANY: wherever it is taken first. */
export const CPU = 2;
export const SEQ = 3;
/** As a 64-bit float, in shared ms. */
export const DEADLINE = 4;
/** As a 64-bit float: the last delay, in ms. */
export const DELAY = 6;
/** Where it runs, or ran last; -1: it never has. */
export const RAN = 8;
/** Bit per CPU: is told when the run settles. */
export const WAITERS = 9;
/** Bit per CPU: a halt waits there. */
export const HALTERS = 10;
/** Bit per CPU: knows this handle. */
export const KNOWN = 11;
/** The CPU that strong affinity ties it to; -1: none so far. */
export const TIED = 12;

/** The CPU that made it, and frees it. */
export const HOME = 16;
/** Index of the function, in the order of their names. */
export const FUNCTION = 17;
/** Priority, flags of the workqueue, affinity, kind. */
export const SPEC = 18;
export const MAX_ACTIVE = 19;
export const PATIENCE = 20;
export const SLACK = 21;
/** How the argument is carried: see argument.ts. */
export const ARG_TAG = 22;
export const ARG_VERSION = 23;
/** As a 64-bit float: a number, or where the argument is. */
export const ARG = 24;
/** Where the lock is in the arena of the locks; 0: there is none. */
export const LOCK = 26;
/** Its kind, and which side of it. */
export const LOCK_SIDE = 27;
export const LOCK_GENERATION = 28;
/** Counts the changes of lock. */
export const LOCK_VERSION = 29;
/** Where its text is: see text.ts; 0: it has none. Kept when the block is used again. */
export const JSON_SLOT = 30;

/** Units of a block. */
export const BLOCK_UNITS = 2;
/** 2^SHIFT words are a block: tables by block are indexed by its place shifted right. */
export const BLOCK_SHIFT = 5;

/** Wherever it is taken first. */
export const ANY = -1;

export const BUSY = 256;
/** One generation. */
const GENERATION = 512;
const FLAGS: number = GENERATION - 1;
/** What state.ts knows of. */
export const BITS: number = BUSY - 1;

/** How long a thread may stay in its section before it is taken for gone, in ms. */
const PATIENCE_MS = 500;
/** The same, when a thread has ended. */
const RESCUE_MS = 20;
/** How often to look before sleeping. */
const SPINS = 2000;

/** The generation of a word. */
export function generationOf(word: number): number {
  return word >>> 9;
}

/** A word with other flags, of which those count that state.ts knows of, in the next generation. */
export function nextGeneration(word: number, flags: number): number {
  return ((word & ~FLAGS) + GENERATION) | (flags & BITS);
}

/** The word of a block, when nobody is in its section. */
export function readWord(memory: Memory, block: number): number {
  const word = Atomics.load(memory.words, block);
  return (word & BUSY) === 0 ? word : waitWord(memory, block);
}

/** The same, of a block in whose section a thread may have ended. */
export function rescueWord(memory: Memory, block: number): number {
  const word = Atomics.load(memory.words, block);
  return (word & BUSY) === 0 ? word : waitWord(memory, block, RESCUE_MS);
}

function waitWord(memory: Memory, block: number, patienceMs: number = PATIENCE_MS): number {
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

/** Whether a continuation with these bits keeps the process alive. */
export function isCounted(word: number): boolean {
  return (word & (PENDING | QUEUED | RUNNING)) !== 0 && (word & UNREF) === 0;
}

/** For a handle that was destroyed, or whose block is used by another one. */
export const GONE: number = DEAD;

/** What a handle carries of its bits when it is made known. */
export const CARRIED: number =
  PENDING | EXPIRED | INVOKING | QUEUED | RUNNING | HALTING | UNREF | DEAD;

/** Kinds of what a block stands for. */
export const HANDLE_KIND = 0;
export const JOB_KIND = 1;

/** What a block says of its workqueue and of itself, in one word. */
export function packSpec(
  priority: number,
  perCpu: boolean,
  affinity: number,
  kind: number,
): number {
  return priority | (perCpu ? 256 : 0) | (affinity << 9) | (kind << 11);
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

/** Whether a block is of a job whose argument was moved to the CPU that is to run it. */
export function isBound({ words }: Memory, block: number): boolean {
  return words[block + ARG_TAG] === MOVED;
}

/** Affinities, as they are packed. */
export const AFFINITIES = ['none', 'weak', 'strong'] as const;

/** The error for a handle that was destroyed. */
export function gone(name: string): KcontError {
  return new KcontError('EINVAL', `${name || '(anonymous)'} was destroyed`);
}
