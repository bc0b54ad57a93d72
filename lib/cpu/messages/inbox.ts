/*
 * Inboxes: each CPU has one, a lock-free list into which every CPU pushes messages.
 *
 *   inbox of CPU 2 --> message 9 --> message 7 --> message 4
 *                                            pushed by compareExchange of the head
 *   taken:  message 4, message 7, message 9  taken all at once by exchange with 0, and reversed
 *
 * Messages are read in the order in which they were pushed, whichever CPUs pushed them. So if a CPU
 * sends a message after it has seen the effect of an earlier one to the same CPU, they are read in
 * that order. An inbox is never full, and it outlives the threads that read it and write to it: a CPU
 * that is started again finds its inbox.
 *
 * A message is half a unit (32 bytes, see shared-memory.ts). Its home is the CPU that allocated it,
 * which keeps a list of free messages. A CPU that has read messages gives them back to their homes,
 * by pushing a chain of them at a time.
 *
 * No CPU waits for another: a push is repeated only if another push came in between. Since messages are
 * only pushed, or taken all at once, there is no ABA problem. The benches `cpu-invoke` and `cpu-stop`
 * include the cost of sending and reading messages.
 *
 * The alternative, a ring buffer for each pair of CPUs, needs memory quadratic in the number of CPUs, an
 * overflow list, and sequence numbers to order the messages of two senders; and the overflow list of a
 * thread is lost when the thread dies.
 *
 * Sources: Treiber, Coping with parallelism (1986); Linux's llist.h for taking all and reversing.
 */

import { INBOX, RETURNS, SLAB_UNITS, UNIT, type Memory } from '../memory/shared-memory.ts';

/** The size of a message, in words. */
const MESSAGE_WORDS = UNIT / 2;
const NEXT = 0;
/** Kind, sender, home: a byte each. */
const HEAD = 1;
const BLOCK = 2;
const HANDLE = 3;
const GENERATION = 4;
const SEQ = 5;
/** An index of floats, not of words: the words 6 and 7. */
const VALUE_FLOAT = 3;

/** A continuation, QUEUED or PENDING, is to be filed on this CPU. */
export const ENTRY = 1;
/** A run for which this CPU waits has settled. */
export const SETTLED = 2;
/** A handle was destroyed, or a job has ended: its home, this CPU, may reuse the block. */
export const FREE = 4;
/** A handle was destroyed: this CPU drops its entry. */
export const FORGET = 5;
/** The run of a job on this CPU is to be aborted. */
export const ABORT = 6;
/** CPU 0 must check whether to keep the process alive. */
export const KEEPER = 7;
/** The argument and the name of a handle have been posted through a port (see ports.ts). */
export const DEFINE = 8;
/** The sender needs the argument of a handle. */
export const NEED = 9;
/** A job has a result, or an error; it has been posted, unless it is inline or in the JSON slot. */
export const RESULT = 10;
/** A function of a handle of this CPU has thrown; the error has been posted. */
export const FAILED = 11;
/** The lock of a handle was changed. */
export const RELOCK = 12;
/** The trace context of a job has been posted. */
export const TRACE = 13;

/** The content of a message. An inbox reuses one object for all messages that it reads. */
export interface Message {
  kind: number;
  from: number;
  block: number;
  handle: number;
  generation: number;
  seq: number;
  /** A number, or the name of a posted value. */
  value: number;
}

/** The inbox of one CPU. */
export class Inbox {
  readonly #memory: Memory;
  readonly #here: number;
  /** The first free message of this CPU; 0 if there is none. */
  #free = 0;
  /** The first message that was taken and not read, because reading an earlier one threw; 0: none. */
  #unread = 0;
  /** Chains of read messages to be given back: the first and the last of each, by home. */
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

  /** Whether there are messages to read. */
  get waiting(): boolean {
    const { words } = this.#memory;
    return this.#unread !== 0 || words[this.#memory.slot(this.#here) + INBOX] !== 0;
  }

  /** Pushes a message into the inbox of a CPU. */
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
    memory.floats[(message >> 1) + VALUE_FLOAT] = value;
    push(words, memory.slot(to) + INBOX, message, message);
  }

  /**
   * Takes all messages and reads them in order. The object passed to `read` is reused for the next
   * message. If `read` throws, this throws the same, and the next call reads the remaining messages.
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

  /** Empties the inbox. Returns the oldest message, which is linked to the next one, and so on. */
  #takeAll(): number {
    const memory = this.#memory;
    const inbox = memory.slot(this.#here) + INBOX;
    let newest = Atomics.exchange(memory.words, inbox, 0);
    memory.reach(newest);
    let next = 0;
    while (newest !== 0) {
      // A sender may have grown the memory, so the views may have to be replaced: see reach.
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
    message.value = floats[(at >> 1) + VALUE_FLOAT] as number;
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

  /** Gets free messages: those that were given back, else a new slab. */
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

/** Pushes a chain of messages to a list. */
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
