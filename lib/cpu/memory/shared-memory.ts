/*
 * The memory that all CPUs of a kernel share: one SharedArrayBuffer that can grow.
 *
 *   unit 0        next free unit | slots | how many CPUs are public
 *   unit 1        the last sequence number
 *   unit 2        whether CPU 0 keeps the process alive | how far its shutdown has come
 *   unit 3        the last slab of control blocks
 *   per slot      four units, each a cache line:
 *                   inbox     head of the inbox for this CPU           written by all
 *                   sleep     asleep, state, epoch                    written by all, rarely
 *                   own       what only this CPU writes
 *                   returns   its inbox nodes, given back by others    written by all
 *   then          units handed out in slabs, never taken back: control blocks, inbox nodes, texts
 *
 * A unit is 64 bytes, a cache line. Places are named by the index of their first 32-bit word. Views
 * have a fixed length, since those that follow the buffer's own length cost 40 ns an access where
 * these cost 3; `reach` makes them anew when a place beyond them is named. What is mapped and not
 * touched costs no memory.
 *
 * Source: the layout by who writes is that of per-CPU data in kernels (Linux, percpu.h).
 */

import { KcontError } from '../../base/errors.ts';

/** 32-bit words in a unit. */
export const UNIT = 16;
/** What the buffer may grow to, in bytes: address space, not memory. */
const MOST_BYTES = 2 ** 30;
/** Beyond this it is for what cannot be done without, in bytes. */
const AMPLE_BYTES: number = MOST_BYTES / 4;
/** By how many bytes it grows at least. */
const STEP_BYTES = 2 ** 20;
/** Units in a slab. */
export const SLAB_UNITS = 64;

const BUMP = 0;
const SLOTS = 1;
const PUBLIC = 2;
/** Word: the last sequence number given. */
export const SEQUENCE: number = UNIT;
/** Word: 1: CPU 0 keeps the process alive. */
export const KEEP: number = 2 * UNIT;
/** Word: how far the shutdown of the kernel has come, as in state.ts. */
export const PHASE: number = 2 * UNIT + 1;

/** Word: the last slab of control blocks; each one leads to the one before. */
export const SLABS: number = 3 * UNIT;

const FIRST_SLOT = 4 * UNIT;
const SLOT = 4 * UNIT;

/** Words of a slot, from its first. */
export const INBOX = 0;
/** Whether it has to be woken, AWAKE, ASLEEP or WOKEN, and how often it has slept. */
export const SLEEP: number = UNIT;
/** One of the states below. */
export const STATE: number = UNIT + 1;
/** Counts the threads that have been this CPU. */
export const EPOCH: number = UNIT + 2;
/** How many continuations it has made scheduled or running, and how many it has ended. */
export const BEGUN: number = 2 * UNIT;
export const ENDED: number = 2 * UNIT + 1;
/** The block whose entry is being filed; 0: none. */
export const INTENT: number = 2 * UNIT + 2;
/** Continuations that are runnable or running there. */
export const BACKLOG: number = 2 * UNIT + 3;
/** Jobs it has sent and has no result of. */
export const HOLDS: number = 2 * UNIT + 5;
/** How often it has taken its inbox. */
export const TAKES: number = 2 * UNIT + 4;
/** Which CPU it is for the locks, plus 1; 0: it has not joined them. */
export const LOCK_CPU: number = UNIT + 3;
/** As a 64-bit float: since when it is awake, in shared ms. */
export const AWAKE_SINCE: number = 2 * UNIT + 6;
/** As a 64-bit float: when its next timer is due, in shared ms. */
export const WAKES_AT: number = 2 * UNIT + 8;
export const RETURNS: number = 3 * UNIT;
/** As a 64-bit float: when it was rung for, in shared ms. */
export const WOKEN_AT: number = 3 * UNIT + 2;

export const AWAKE = 0;
export const ASLEEP = 1;
export const WOKEN = 2;
/** What the number of sleeps is counted in. */
export const SLEEPS = 4;

/** Whether a CPU has to be woken, of the word SLEEP. */
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

  /** How many CPUs there can be. */
  get slots(): number {
    return this.words[SLOTS] as number;
  }

  /** How many CPUs work can be sent to. */
  get publicCpus(): number {
    return this.words[PUBLIC] as number;
  }

  /** The first word of a CPU's slot. */
  slot(cpu: number): number {
    return FIRST_SLOT + cpu * SLOT;
  }

  /** The first word of so many fresh units, an even number, all of them zero. */
  grab(units: number): number {
    const word = Atomics.add(this.words, BUMP, units) * UNIT;
    const end = (word + units * UNIT) * 4;
    if (end > this.buffer.byteLength) this.#grow(end);
    this.reach(word + units * UNIT - 1);
    return word;
  }

  /** Whether there is memory for what only makes things faster. */
  get isAmple(): boolean {
    return (this.words[BUMP] as number) * UNIT * 4 < AMPLE_BYTES;
  }

  /** Sees to it that a word that exists is within the views. */
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
      // Another CPU has grown it meanwhile, and farther.
      if (this.buffer.byteLength < bytes) throw error;
    }
  }

  #view(): void {
    const { buffer } = this;
    // Whole steps, so that all three end at the same place.
    const bytes = buffer.byteLength;
    this.words = new Int32Array(buffer, 0, bytes / 4);
    this.floats = new Float64Array(buffer, 0, bytes / 8);
    this.bytes = Buffer.from(buffer, 0, bytes);
  }
}
