// Several CPUs, simulated by one thread. They are woken when the spec says so, so that the spec
// determines the order of events, and a CPU can die between any two stores.

import { Arena, MUTEX, RM, RW, SPIN, type Waker, type Kind } from '../../lib/cpu/locks/arena.ts';
import { ThreadGate } from '../../lib/cpu/locks/thread-gate.ts';
import { SharedMutex } from '../../lib/cpu/locks/shared-mutex.ts';
import { recover } from '../../lib/cpu/locks/recover.ts';
import { SharedRMLock, SharedRWLock } from '../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/locks/shared-spin-lock.ts';
import type { Lock } from '../../lib/index.ts';

/** Both sides of a lock, or the same one twice. */
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

/** The error by which a simulated thread dies. */
export class Died extends Error {}

const STEPS = ['load', 'store', 'exchange', 'compareExchange', 'or', 'and', 'add', 'sub'] as const;

const whole = Object.fromEntries(STEPS.map((name) => [name, Atomics[name]]));

/** Calls a function, and before each of its steps on shared memory another one, with the step's number. */
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
 * Calls a function on one CPU, and when it has taken so many steps on shared memory lets another CPU
 * do something before it goes on; and something more after each of the next steps.
 *
 * @returns false: it needed fewer steps, and the other CPU did nothing
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
 * Calls a function until it has taken so many steps on shared memory, and then no more of it.
 *
 * @param between - what another CPU does so many steps before it dies
 * @returns false: it needed fewer steps, and did not die
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
  // A promise may have kept the error for itself.
  return died;
}

/** A waker for CPUs that need not wake each other. */
export const silentWaker: Waker = { wake: () => undefined, keepAlive: () => undefined };

/** Enough bytes for the futexes and at least one lock of any kind. */
const BYTES = 2 ** 13;

export class PlayedCpus {
  readonly arenas: readonly Arena[];
  /** The gates to the lock that was made last, one per CPU. */
  gates: ThreadGate[] = [];
  readonly #dead = new Set<number>();
  /** CPUs that were woken and have not looked yet. */
  readonly woken: Set<number> = new Set();
  /** Whether each CPU has to stay alive to be woken. */
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

  /** Lets a CPU that was woken look again. */
  hear(cpu: number): void {
    if (this.woken.delete(cpu) && !this.#dead.has(cpu)) this.arenas[cpu]?.look();
  }

  /** Lets CPUs that were woken look again, until there are no more. */
  settle(): void {
    while (this.woken.size > 0) for (const cpu of this.woken) this.hear(cpu);
  }

  /** Kills a CPU, and lets another one recover its locks. */
  bury(cpu: number, by: number): number {
    this.#dead.add(cpu);
    this.woken.delete(cpu);
    // The waiters on that CPU are gone with it.
    const turnstile = this.gates[cpu]?.turnstile;
    for (const waiter of turnstile ?? []) turnstile?.remove(waiter);
    return recover(cpu + 1, this.arenas[by]);
  }
}
