/*
 * The ports between CPUs. They wake sleeping CPUs, and carry values that do not fit into shared memory.
 *
 *   CPU 0 <--port--> CPU 1          port message 0: a wake-up, check your inbox
 *     ^ \           /  ^            port message [n, value]: a posted value, which an inbox message
 *     |   \       /    |                                     refers to by its name n
 *     +---- CPU 2 -----+
 *
 * Only a sleeping CPU is woken, and only the first sender wakes it. A value is posted before the inbox
 * message that names it, so it has arrived when that message is read. It is then taken from the port at
 * once, even if the event loop has not delivered it yet.
 *
 * A posted value wakes its CPU too. If the CPU was asleep, the value replaces the wake-up, and one port
 * message is enough. For this the word SLEEP of a CPU counts its sleeps:
 *
 *   sender     reads: asleep, 7th sleep   posts [n, value]   7 asleep -> 7 woken   message   wake
 *   CPU 1      7 asleep . . . . . . . . . . . . . . . . . .  7 woken . .  the value wakes it: 7 awake
 *   or         7 asleep . . . . . .  the value wakes it, inbox is empty, 8 asleep . . . . .  8 woken
 *
 * If the CPU is still in the same sleep after the post, the value has yet to wake it, and no wake-up is
 * needed. If it has woken and sleeps again, the compareExchange fails, and the sender wakes it after
 * pushing the message. The word must not be set before the post: while a large value is being copied,
 * no other sender would wake the CPU. A CPU that takes a port message requests a pass, because that
 * message may have been the one that was to wake it.
 *
 * A CPU with a new thread has new ports. CPU 0 sends them to the other CPUs before that thread begins,
 * through the parent port of each worker. A CPU that finds that its port leads to an earlier thread, or
 * that a value is missing, reads its parent port at once, without waiting for the event loop.
 *
 * A port message that cannot be deserialized (its nesting is too deep for this stack, memory is short,
 * or a buffer is gone) has arrived all the same, and may have been a wake-up. Its name is unknown. But
 * names increase, so it lies between the names of the messages before and after it. From this, a CPU
 * that claims that value can tell that it is broken and not merely late.
 *
 * Ports do not keep a thread alive.
 */

import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import {
  ASLEEP,
  AWAKE,
  EPOCH,
  WOKEN,
  WOKEN_AT,
  SLEEP,
  SLEEPS,
  sleepOf,
  type Memory,
} from '../memory/shared-memory.ts';

/** Functions that the ports of a CPU call. */
export interface PortCalls {
  /** The time on the shared clock, in ms. */
  nowMs(): number;
  /** A port message has arrived, which may have been a wake-up. */
  woken(): void;
  /** Reads the orders that CPU 0 has sent. */
  refresh(): void;
}

/** Values that have arrived through a port and have not been claimed yet. */
class Arrivals {
  /** The values by their names. */
  readonly values = new Map<number, unknown>();
  /** For each port message that could not be read: the names between which its name lies. */
  #broken: { after: number; before: number }[] = [];
  #last = 0;

  keep(message: unknown): void {
    if (!Array.isArray(message)) return;
    const [name, value] = message as [number, unknown];
    this.values.set(name, value);
    this.#last = name;
    for (const range of this.#broken) range.before = Math.min(range.before, name);
  }

  keepBroken(): void {
    this.#broken.push({ after: this.#last, before: Infinity });
  }

  /** Removes an unreadable message that may have had this name. Returns whether there was one. */
  takeBroken(name: number): boolean {
    const at = this.#broken.findIndex(({ after, before }) => name > after && name < before);
    if (at !== -1) this.#broken.splice(at, 1);
    return at !== -1;
  }
}

/** The ports of one CPU. */
export class Ports {
  readonly #memory: Memory;
  readonly #here: number;
  readonly #calls: PortCalls;
  readonly #ports: (MessagePort | undefined)[] = [];
  /** The epoch of the thread that each port leads to. */
  readonly #epochs: number[] = [];
  /** Values that have not been claimed yet, by sender. */
  readonly #arrivals: (Arrivals | undefined)[] = [];
  /** The last name given to a value. Successive threads of one CPU use different ranges of names. */
  #last: number;

  constructor(memory: Memory, here: number, calls: PortCalls) {
    this.#memory = memory;
    this.#here = here;
    this.#last = this.#epochOf(here) * 2 ** 32;
    this.#calls = calls;
  }

  /** Says that this CPU is awake: nobody has to wake it. */
  setAwake(): void {
    this.#say(AWAKE);
  }

  /** Says that this CPU sleeps from now on: the next sender has to wake it. */
  setAsleep(): void {
    this.#say(ASLEEP + SLEEPS);
  }

  #say(change: number): void {
    const { words } = this.#memory;
    const at = this.#memory.slot(this.#here) + SLEEP;
    const word = words[at] as number;
    const next = (word - sleepOf(word) + change) | 0;
    if (next !== word) Atomics.store(words, at, next);
  }

  #epochOf(cpu: number): number {
    return this.#memory.words[this.#memory.slot(cpu) + EPOCH] as number;
  }

  #portTo(cpu: number): MessagePort | undefined {
    if (this.#epochs[cpu] !== this.#epochOf(cpu)) this.#calls.refresh();
    return this.#ports[cpu];
  }

  /** Sets the port to a CPU. Replaces the port to its previous thread, if there is one. */
  connect(cpu: number, port: MessagePort, epoch: number): void {
    if (this.#ports[cpu] !== undefined) {
      this.disconnect(cpu);
      this.#calls.woken();
    }
    this.#ports[cpu] = port;
    this.#epochs[cpu] = epoch;
    const arrivals = (this.#arrivals[cpu] ??= new Arrivals());
    port.on('message', (message: unknown) => {
      arrivals.keep(message);
      this.#calls.woken();
    });
    port.on('messageerror', () => {
      arrivals.keepBroken();
      this.#calls.woken();
    });
    port.unref();
  }

  /** Closes the port to a CPU whose thread has ended. Values that have arrived can still be claimed. */
  disconnect(cpu: number): void {
    const port = this.#ports[cpu];
    if (port === undefined) return;
    this.#ports[cpu] = undefined;
    const arrivals = this.#arrivals[cpu] as Arrivals;
    while (receive(port, arrivals));
    port.close();
  }

  /** Closes all ports. */
  close(): void {
    for (const cpu of this.#ports.keys()) this.disconnect(cpu);
  }

  /** Wakes a CPU, if it sleeps. */
  wake(cpu: number): void {
    const { words } = this.#memory;
    const word = Atomics.load(words, this.#memory.slot(cpu) + SLEEP);
    if (sleepOf(word) !== ASLEEP || !this.#isFirst(cpu, word)) return;
    if (cpu === this.#here) this.#calls.woken();
    else this.#portTo(cpu)?.postMessage(0);
  }

  /** Marks a CPU as woken if it is still in the same sleep and no other sender has woken it. */
  #isFirst(cpu: number, word: number): boolean {
    const { words, floats } = this.#memory;
    const slot = this.#memory.slot(cpu);
    const next = word - ASLEEP + WOKEN;
    if (Atomics.compareExchange(words, slot + SLEEP, word, next) !== word) return false;
    floats[(slot + WOKEN_AT) >> 1] = this.#calls.nowMs();
    return true;
  }

  /**
   * Posts a value, which also wakes the CPU. Returns the name of the value; 0 if that CPU has no thread.
   *
   * Throws what `postMessage` throws for a value that cannot be cloned.
   */
  post(cpu: number, value: unknown, transfer?: readonly object[]): number {
    const port = this.#portTo(cpu);
    if (port === undefined) return 0;
    // The name is taken before the post, because a getter in the value may post another one.
    const name = ++this.#last;
    const word = Atomics.load(this.#memory.words, this.#memory.slot(cpu) + SLEEP);
    port.postMessage([name, value], transfer as never);
    if (sleepOf(word) === ASLEEP) this.#isFirst(cpu, word);
    return name;
  }

  /** Takes the value with this name. Returns it in an array; undefined if it has not arrived. */
  claim(cpu: number, name: number): [unknown] | undefined {
    const found = this.#find(cpu, name);
    if (found !== undefined || this.#epochs[cpu] === this.#epochOf(cpu)) return found;
    this.#calls.refresh();
    return this.#find(cpu, name);
  }

  /** Whether a value that could not be claimed has arrived and cannot be read on this CPU. */
  isBroken(cpu: number, name: number): boolean {
    return this.#arrivals[cpu]?.takeBroken(name) ?? false;
  }

  #find(cpu: number, name: number): [unknown] | undefined {
    const arrivals = this.#arrivals[cpu];
    if (arrivals === undefined) return undefined;
    const { values } = arrivals;
    while (!values.has(name)) {
      const port = this.#ports[cpu];
      if (port === undefined || !receive(port, arrivals)) return undefined;
      // The event loop will not deliver this message any more, and it may have been a wake-up.
      this.#calls.woken();
    }
    const value = values.get(name);
    values.delete(name);
    return [value];
  }
}

/** Takes one message from a port; false if there is none. */
function receive(port: MessagePort, arrivals: Arrivals): boolean {
  try {
    const received = receiveMessageOnPort(port);
    if (received === undefined) return false;
    arrivals.keep(received.message);
  } catch {
    arrivals.keepBroken();
  }
  return true;
}
