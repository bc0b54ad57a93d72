/*
 * Inbox between CPUs: one inbox per CPU, into which every CPU pushes without a lock.
 *
 *   inbox of CPU 2 --> message 9 --> message 7 --> message 4        pushed by compareExchange of the head
 *                                                          taken all at once by exchange with 0,
 *   taken:  message 4, message 7, message 9                         and read in reverse: the order of pushing
 *
 * The order of an inbox is the order of the pushes, whoever made them: what was sent later, knowing
 * of an earlier message, is behind it. An inbox is never full, and it outlives the thread that reads it
 * and those that write to it: a CPU that is started again finds its inbox.
 *
 * A message is half a unit. Its home is the CPU that made it, which has a list of free ones; whoever has
 * read a message gives it back to its home, again by pushing, a chain at a time.
 *
 * Nobody waits for anybody: a push is repeated only if another one came between. Pushing and taking
 * all knows no ABA. What it costs is part of every figure of the benches `cpu-invoke` and `cpu-stop`.
 *
 * Instead of a ring for each pair of CPUs: those need memory by the square of the CPUs, a way out
 * when they are full, and sequence numbers to tell in which order two senders wrote; and what stands
 * in the overflow of a thread dies with it.
 *
 * Source: Treiber, Coping with parallelism (1986); Linux's llist.h for taking all and reversing.
 */

import { INBOX, RETURNS, SLAB_UNITS, UNIT, type Memory } from '../memory/shared-memory.ts';

/** Words of a message. */
const MESSAGE_WORDS = UNIT / 2;
const NEXT = 0;
/** Kind, sender, home: a byte each. */
const HEAD = 1;
const BLOCK = 2;
const HANDLE = 3;
const GENERATION = 4;
const SEQ = 5;
const VALUE = 3;

/** A continuation is to be filed: QUEUED or PENDING. */
export const ENTRY = 1;
/** A run has settled, for which somebody there waits. */
export const SETTLED = 2;
/** A handle was destroyed, or a job has ended: its home may use the block again. */
export const FREE = 4;
/** A handle has gone: nothing need be kept of it. */
export const FORGET = 5;
/** The run of a job there is to be aborted. */
export const ABORT = 6;
/** Whether the process is to be kept alive has to be looked at. */
export const KEEPER = 7;
/** What a CPU has to know of a handle comes by port. */
export const DEFINE = 8;
/** Somebody has to know more of a handle. */
export const NEED = 9;
/** A job has its result; or a function has failed. By port, unless it is a plain value. */
export const RESULT = 10;
export const FAILED = 11;
/** The lock of a handle was changed. */
export const RELOCK = 12;

/** What a message says. One object, filled in anew for each message. */
export interface Message {
  kind: number;
  from: number;
  block: number;
  handle: number;
  generation: number;
  seq: number;
  /** A number, or what names a message that came by port. */
  value: number;
}

/** The inbox of one CPU. */
export class Inbox {
  readonly #memory: Memory;
  readonly #here: number;
  /** The first of my free messages; 0: none. */
  #free = 0;
  /** The first of the messages that were taken and not read: reading one before it threw. 0: none. */
  #unread = 0;
  /** Chains of read messages to be given back: first and last, by home. */
  readonly #first: number[];
  readonly #last: number[];
  /** A bit for each home with a chain. */
  #homes = 0;
  readonly #message: Message = {
    kind: 0,
    from: 0,
    block: 0,
    handle: 0,
    generation: 0,
    seq: 0,
    value: 0,
  };

  constructor(memory: Memory, here: number) {
    this.#memory = memory;
    this.#here = here;
    this.#first = Array.from({ length: memory.slots }, () => 0);
    this.#last = Array.from({ length: memory.slots }, () => 0);
  }

  /** Whether there is inbox. */
  get waiting(): boolean {
    const { words } = this.#memory;
    return this.#unread !== 0 || words[this.#memory.slot(this.#here) + INBOX] !== 0;
  }

  /** Sends a message. */
  send(
    to: number,
    kind: number,
    block: number,
    handle: number,
    generation: number,
    seq: number,
    value: number,
  ): void {
    const message = this.#free === 0 ? this.#restock() : this.#free;
    const memory = this.#memory;
    const { words } = memory;
    this.#free = words[message + NEXT] as number;
    const here = this.#here;
    words[message + HEAD] = kind | (here << 8) | (here << 16);
    words[message + BLOCK] = block;
    words[message + HANDLE] = handle;
    words[message + GENERATION] = generation;
    words[message + SEQ] = seq;
    memory.floats[(message >> 1) + VALUE] = value;
    push(words, memory.slot(to) + INBOX, message, message);
  }

  /**
   * Takes all that is there, in order. The message handed over is good until the next one. If `read`
   * throws, so does this; what comes after that message is read by the next call.
   */
  take(read: (message: Message) => void): void {
    try {
      while (this.#unread !== 0) this.#readNext(read);
      this.#unread = this.#takeAll();
      while (this.#unread !== 0) this.#readNext(read);
    } finally {
      this.#flush();
    }
  }

  /** Empties the inbox. Returns the oldest message; each leads to the next one. */
  #takeAll(): number {
    const memory = this.#memory;
    const inbox = memory.slot(this.#here) + INBOX;
    let newest = Atomics.exchange(memory.words, inbox, 0);
    memory.reach(newest);
    let next = 0;
    while (newest !== 0) {
      // The views may have to be made anew: a sender may have grown the memory.
      const before = memory.words[newest + NEXT] as number;
      memory.words[newest + NEXT] = next;
      next = newest;
      newest = before;
      memory.reach(newest);
    }
    return next;
  }

  #readNext(read: (message: Message) => void): void {
    const message = this.#message;
    const { words, floats } = this.#memory;
    const at = this.#unread;
    this.#unread = words[at + NEXT] as number;
    const head = words[at + HEAD] as number;
    message.kind = head & 255;
    message.from = (head >> 8) & 255;
    message.block = words[at + BLOCK] as number;
    message.handle = words[at + HANDLE] as number;
    message.generation = words[at + GENERATION] as number;
    message.seq = words[at + SEQ] as number;
    message.value = floats[(at >> 1) + VALUE] as number;
    this.#giveBack(at, (head >> 16) & 255);
    read(message);
  }

  #giveBack(message: number, home: number): void {
    const { words } = this.#memory;
    if (home === this.#here) {
      words[message + NEXT] = this.#free;
      this.#free = message;
      return;
    }
    const bit = 1 << home;
    if ((this.#homes & bit) === 0) {
      this.#homes |= bit;
      this.#last[home] = message;
      words[message + NEXT] = 0;
    } else words[message + NEXT] = this.#first[home] as number;
    this.#first[home] = message;
  }

  #flush(): void {
    const memory = this.#memory;
    while (this.#homes !== 0) {
      const home = 31 - Math.clz32(this.#homes);
      this.#homes &= ~(1 << home);
      const returns = memory.slot(home) + RETURNS;
      push(memory.words, returns, this.#first[home] as number, this.#last[home] as number);
    }
  }

  /** Gets free messages: those given back, or new ones. */
  #restock(): number {
    const memory = this.#memory;
    const returned = Atomics.exchange(memory.words, memory.slot(this.#here) + RETURNS, 0);
    if (returned !== 0) return returned;
    const slab = memory.grab(SLAB_UNITS);
    const { words } = memory;
    const count = (SLAB_UNITS * UNIT) / MESSAGE_WORDS;
    for (let i = 0; i < count - 1; i++)
      words[slab + i * MESSAGE_WORDS + NEXT] = slab + (i + 1) * MESSAGE_WORDS;
    return slab;
  }
}

/** Pushes a chain of messages. */
function push(
  words: Int32Array<SharedArrayBuffer>,
  head: number,
  first: number,
  last: number,
): void {
  let before = words[head] as number;
  for (;;) {
    words[last + NEXT] = before;
    const found = Atomics.compareExchange(words, head, before, first);
    if (found === before) return;
    before = found;
  }
}
