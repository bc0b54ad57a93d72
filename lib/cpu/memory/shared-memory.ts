/*
 * The memory that all CPUs of a kernel share: one SharedArrayBuffer that can grow.
 *
 *   unit 0        next free unit | number of slots | number of public CPUs
 *   unit 1        the last sequence number
 *   unit 2        whether CPU 0 keeps the process alive | phase of the shutdown
 *   unit 3        the last slab of control blocks
 *   per slot      (a slot per CPU) four units, each a cache line:
 *                   inbox     head of this CPU's inbox                    written by all
 *                   sleep     sleep word, state, epoch                    written by all, rarely
 *                   own       counters and load                           written by this CPU
 *                   returns   its messages, given back by other CPUs      written by all
 *   then          units allocated in slabs and never freed: control blocks, messages, JSON slots
 *
 * A unit is 64 bytes, a cache line. Everything is addressed by the index of its first 32-bit word. The
 * views have a fixed length, because an access to a view that tracks the length of the buffer costs 40
 * ns instead of 3; `reach` replaces the views when an index is beyond their end. Memory that is mapped
 * and never touched costs nothing.
 *
 * Source: grouping words by their writers follows per-CPU data in kernels (Linux, percpu.h).
 */

import { KcontError } from '../../base/errors.ts';

/** The size of a unit, in 32-bit words. */
export const UNIT = 16;
/** The maximum size of the buffer, in bytes. This reserves address space, not memory. */
const MOST_BYTES = 2 ** 30;
/** When more bytes than this are in use, memory is no longer given to what only saves time. */
const AMPLE_BYTES: number = MOST_BYTES / 4;
/** The buffer grows by multiples of this, in bytes. */
const STEP_BYTES = 2 ** 20;
/** The size of a slab, in units. */
export const SLAB_UNITS = 64;

const BUMP = 0;
const SLOTS = 1;
const PUBLIC = 2;
/** The word of the last sequence number taken. */
export const SEQUENCE: number = UNIT;
/** The word that is 1 while CPU 0 keeps the process alive. */
export const KEEP: number = 2 * UNIT;
/** The word of the kernel's shutdown phase, as in state.ts. */
export const PHASE: number = 2 * UNIT + 1;

/** The word of the last slab of control blocks; each slab has a link to the one before. */
export const SLABS: number = 3 * UNIT;

const FIRST_SLOT = 4 * UNIT;
const SLOT = 4 * UNIT;

// Words of a slot, counted from its first word.

/** The newest message in the inbox; 0 if it is empty. */
export const INBOX = 0;
/** AWAKE, ASLEEP or WOKEN, and the number of times it has slept. */
export const SLEEP: number = UNIT;
/** The state: DOWN, STARTING, UP or STOPPING. */
export const STATE: number = UNIT + 1;
/** The number of threads that have been this CPU. */
export const EPOCH: number = UNIT + 2;
/** How many continuations it has made scheduled or running, and how many it has made idle again. */
export const BEGUN: number = 2 * UNIT;
export const ENDED: number = 2 * UNIT + 1;
/** The block that this CPU is scheduling, until its entry is filed; 0 if there is none. */
export const INTENT: number = 2 * UNIT + 2;
/** The number of continuations that are runnable or running there. */
export const BACKLOG: number = 2 * UNIT + 3;
/** The number of jobs it has sent and has no result of yet. */
export const HOLDS: number = 2 * UNIT + 5;
/** How often it has emptied its inbox. */
export const TAKES: number = 2 * UNIT + 4;
/** Its CPU number in the lock arena, plus 1; 0 if it has not joined the arena. */
export const LOCK_CPU: number = UNIT + 3;
/** When its current pass began: a 64-bit float, in ms on the shared clock. */
export const AWAKE_SINCE: number = 2 * UNIT + 6;
/** When its next timer is due: a 64-bit float, in ms on the shared clock. */
export const WAKES_AT: number = 2 * UNIT + 8;
/** The messages that other CPUs have read and given back. */
export const RETURNS: number = 3 * UNIT;
/** When it was woken by another CPU: a 64-bit float, in ms on the shared clock. */
export const WOKEN_AT: number = 3 * UNIT + 2;

/** The CPU is running a pass, and need not be woken. */
export const AWAKE = 0;
/** The CPU has to be woken. */
export const ASLEEP = 1;
/** Another CPU is waking it, or has done so. */
export const WOKEN = 2;
/** One sleep, in the word SLEEP. */
export const SLEEPS = 4;

/** Extracts AWAKE, ASLEEP or WOKEN from a word SLEEP. */
export function sleepOf(word: number): number {
  return word & (SLEEPS - 1);
}

/** States of a CPU. */
export const DOWN = 0;
export const STARTING = 1;
export const UP = 2;
export const STOPPING = 3;

/** SharedArrayBuffer of ES2024. */
interface GrowableBuffer extends SharedArrayBuffer {
  grow(bytes: number): void;
  readonly maxByteLength: number;
}

type GrowableConstructor = new (
  bytes: number,
  options: { maxByteLength: number },
) => SharedArrayBuffer;

/** One thread's views of the shared memory. */
export class Memory {
  readonly buffer: SharedArrayBuffer;
  words!: Int32Array<SharedArrayBuffer>;
  floats!: Float64Array<SharedArrayBuffer>;
  bytes!: Buffer<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#view();
  }

  /** Makes the memory of a kernel. */
  static make(slots: number, publicCpus: number): Memory {
    const Growable = SharedArrayBuffer as unknown as GrowableConstructor;
    const memory = new Memory(new Growable(STEP_BYTES, { maxByteLength: MOST_BYTES }));
    const { words } = memory;
    words[BUMP] = (FIRST_SLOT + slots * SLOT) / UNIT;
    words[SLOTS] = slots;
    words[PUBLIC] = publicCpus;
    for (let cpu = 0; cpu < slots; cpu++) words[memory.slot(cpu) + SLEEP] = ASLEEP;
    return memory;
  }

  /** The number of slots: the most CPUs that there can be. */
  get slots(): number {
    return this.words[SLOTS] as number;
  }

  /** The number of CPUs in `kernel.cpus`, CPU 0 included. */
  get publicCpus(): number {
    return this.words[PUBLIC] as number;
  }

  /** The first word of a CPU's slot. */
  slot(cpu: number): number {
    return FIRST_SLOT + cpu * SLOT;
  }

  /** Allocates units, an even number of them, and returns the index of the first word. They are zero. */
  grab(units: number): number {
    const word = Atomics.add(this.words, BUMP, units) * UNIT;
    const end = (word + units * UNIT) * 4;
    if (end > this.buffer.byteLength) this.#grow(end);
    this.reach(word + units * UNIT - 1);
    return word;
  }

  /** Whether there is enough memory left to use some of it only to save time. */
  get isAmple(): boolean {
    return (this.words[BUMP] as number) * UNIT * 4 < AMPLE_BYTES;
  }

  /** Replaces the views if a word that exists is beyond their end. */
  reach(word: number): void {
    if (word >= this.words.length) this.#view();
  }

  #grow(bytes: number): void {
    const wanted = Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
    if (wanted > MOST_BYTES) {
      throw new KcontError('ENOMEM', `the memory shared by CPUs is full: ${MOST_BYTES} bytes`);
    }
    try {
      (this.buffer as GrowableBuffer).grow(wanted);
    } catch (error) {
      // No error if another CPU has grown it beyond that meanwhile.
      if (this.buffer.byteLength < bytes) throw error;
    }
  }

  #view(): void {
    const { buffer } = this;
    // The length is a multiple of STEP_BYTES, so all three views end at the same place.
    const bytes = buffer.byteLength;
    this.words = new Int32Array(buffer, 0, bytes / 4);
    this.floats = new Float64Array(buffer, 0, bytes / 8);
    this.bytes = Buffer.from(buffer, 0, bytes);
  }
}
