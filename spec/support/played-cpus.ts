// Several CPUs simulated by one thread: the spec decides when they wake, so that it can produce every order
// of events; and a CPU can die between any two stores.

import { Arena, MUTEX, RM, RW, SPIN, type Waker, type Kind } from '../../lib/cpu/locks/arena.ts';
import { ThreadGate } from '../../lib/cpu/locks/thread-gate.ts';
import { SharedMutex } from '../../lib/cpu/locks/shared-mutex.ts';
import { recover } from '../../lib/cpu/locks/recover.ts';
import { SharedRMLock, SharedRWLock } from '../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/locks/shared-spin-lock.ts';
import type { Lock } from '../../lib/index.ts';

/** Both sides of a lock, or the same lock twice. */
export interface Sides {
  readonly read: Lock;
  readonly write: Lock;
}

/** A SpinLock is a Mutex that may not be held for longer than a turn. */
export const KINDS: readonly Kind[] = [MUTEX, RW, RM];
export const NAMES: Readonly<Record<Kind, string>> = {
  [MUTEX]: 'SharedMutex',
  [SPIN]: 'SharedSpinLock',
  [RW]: 'SharedRWLock',
  [RM]: 'SharedRMLock',
};

export function sidesOf(gate: ThreadGate): Sides {
  switch (gate.kind) {
    case MUTEX: {
      const lock = new SharedMutex(gate);
      return { read: lock, write: lock };
    }
    case SPIN: {
      const lock = new SharedSpinLock(gate);
      return { read: lock, write: lock };
    }
    case RW:
      return new SharedRWLock(gate);
    case RM:
      return new SharedRMLock(gate);
  }
}

/** The error that simulates the death of a thread. */
export class Died extends Error {}

const STEPS = ['load', 'store', 'exchange', 'compareExchange', 'or', 'and', 'add', 'sub'] as const;

const whole = Object.fromEntries(STEPS.map((name) => [name, Atomics[name]]));

/** Calls a function, and at each of its steps on shared memory another one, with the step's number. */
function atEachStep(call: () => void, before: (nth: number) => void): void {
  let steps = 0;
  const changed = Object.fromEntries(
    Object.entries(whole).map(([name, step]) => [
      name,
      (...args: unknown[]) => {
        Object.assign(Atomics, whole);
        try {
          before(steps++);
        } finally {
          Object.assign(Atomics, changed);
        }
        return (step as (...args: unknown[]) => number)(...args);
      },
    ]),
  );
  Object.assign(Atomics, changed);
  try {
    call();
  } finally {
    Object.assign(Atomics, whole);
  }
}

/**
 * Calls a function on one CPU. After a number of steps on shared memory, another CPU does something
 * before the function continues, and something more after each of the next steps.
 *
 * @returns false: the function needed fewer steps, and the other CPU did nothing
 */
export function interleave(
  steps: number,
  call: () => void,
  ...between: readonly (() => void)[]
): boolean {
  let came = false;
  atEachStep(call, (nth) => {
    came ||= nth === steps;
    between[nth - steps]?.();
  });
  return came;
}

/**
 * Calls a function that dies after a number of steps on shared memory.
 *
 * @param between - what another CPU does a number of steps before that
 * @returns false: the function needed fewer steps, and did not die
 */
export function dieAfter(
  steps: number,
  call: () => void,
  between: () => void = () => undefined,
  before: number = 0,
): boolean {
  let died = false;
  try {
    atEachStep(call, (nth) => {
      if (nth === steps - before) between();
      if (nth < steps) return;
      died = true;
      throw new Died('dead');
    });
  } catch (error) {
    if (!(error instanceof Died)) throw error;
  }
  // The error may have been caught by a promise.
  return died;
}

/** Used for CPUs that do not communicate. */
export const quietBell: Bell = { ring: () => undefined, keepAlive: () => undefined };

/** Memory for the wake words and at least one lock of any kind. */
const BYTES = 2 ** 13;

export class PlayedCpus {
  readonly arenas: readonly Arena[];
  /** The gates of the last lock that was created, one per CPU. */
  gates: Gate[] = [];
  readonly #dead = new Set<number>();
  /** CPUs that have been woken and have not reacted yet. */
  readonly rung: Set<number> = new Set();
  /** Whether a CPU has to stay alive because it waits to be woken. */
  readonly keptAlive: boolean[];

  constructor(count: number) {
    const buffer = Arena.layOut(BYTES);
    this.keptAlive = Array.from({ length: count }, () => false);
    this.arenas = this.keptAlive.map((_, i) =>
      Arena.play(buffer, {
        cpu: i + 1,
        waker: {
          wake: (cpu) => void this.woken.add(cpu - 1),
          keepAlive: (on) => void (this.keptAlive[i] = on),
        },
      }),
    );
  }

  /** Makes a lock, and returns each CPU's object for it. */
  lock(kind: Kind): Sides[] {
    const [first] = this.arenas as [Arena];
    const at = first.allocate(kind);
    this.gates = this.arenas.map((arena) => new ThreadGate(arena, at, kind));
    return this.gates.map(sidesOf);
  }

  /** A CPU reacts to being woken. */
  hear(cpu: number): void {
    if (this.woken.delete(cpu) && !this.#dead.has(cpu)) this.arenas[cpu]?.look();
  }

  /** Lets all CPUs react until none is woken any more. */
  settle(): void {
    while (this.woken.size > 0) for (const cpu of this.woken) this.hear(cpu);
  }

  /** A CPU is dead, and another one recovers its state. */
  bury(cpu: number, by: number): number {
    this.#dead.add(cpu);
    this.rung.delete(cpu);
    // Its waiters are gone with it.
    const turnstile = this.gates[cpu]?.turnstile;
    for (const waiter of turnstile ?? []) turnstile?.remove(waiter);
    return recover(cpu + 1, this.arenas[by]);
  }
}
