// Several CPUs played by one thread: their bells ring when the spec says so, so that every order of
// events can be had at will; and a CPU can die between any two stores.

import { Arena, MUTEX, RM, RW, SPIN, type Bell, type Kind } from '../../lib/cpu/shared-arena.ts';
import { Gate } from '../../lib/cpu/shared-gate.ts';
import { SharedMutex } from '../../lib/cpu/shared-mutex.ts';
import { recover } from '../../lib/cpu/shared-recover.ts';
import { SharedRMLock, SharedRWLock } from '../../lib/cpu/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/shared-spin-lock.ts';
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

export function sidesOf(gate: Gate): Sides {
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

/** The error of a thread that is no more. */
export class Died extends Error {}

const STEPS = ['load', 'store', 'exchange', 'compareExchange', 'or', 'and', 'add', 'sub'] as const;

/**
 * Calls a function until it has taken so many steps on shared memory, and then no more of it.
 *
 * @returns whether it died: false if it needed fewer steps
 */
export function dieAfter(steps: number, call: () => void): boolean {
  const whole = Object.fromEntries(STEPS.map((name) => [name, Atomics[name]]));
  let left = steps;
  for (const name of STEPS) {
    const step = Atomics[name] as (...args: unknown[]) => number;
    Object.assign(Atomics, {
      [name]: (...args: unknown[]) => {
        if (left-- <= 0) throw new Died('dead');
        return step(...args);
      },
    });
  }
  try {
    call();
  } catch (error) {
    if (!(error instanceof Died)) throw error;
  } finally {
    Object.assign(Atomics, whole);
  }
  // A promise may have kept the error for itself.
  return left < 0;
}

/** For CPUs that have nothing to say to each other. */
export const quietBell: Bell = { ring: () => undefined, keepAlive: () => undefined };

export class PlayedCpus {
  readonly arenas: readonly Arena[];
  readonly #dead = new Set<number>();
  /** Bells that have rung and were not heard. */
  readonly rung: Set<number> = new Set();
  /** Whether a CPU has to stay alive for its bell. */
  readonly keptAlive: boolean[];

  constructor(count: number) {
    const { buffer } = Arena.create(2 ** 16);
    this.keptAlive = Array.from({ length: count }, () => false);
    this.arenas = this.keptAlive.map((_, i) =>
      Arena.play(buffer, {
        cpu: i + 1,
        bell: {
          ring: (cpu) => void this.rung.add(cpu - 1),
          keepAlive: (on) => void (this.keptAlive[i] = on),
        },
      }),
    );
  }

  /** One lock, as each CPU sees it. */
  lock(kind: Kind): Sides[] {
    const [first] = this.arenas as [Arena];
    const at = first.allocate(kind);
    return this.arenas.map((arena) => sidesOf(new Gate(arena, at, kind)));
  }

  /** A CPU hears its bell. */
  hear(cpu: number): void {
    if (this.rung.delete(cpu) && !this.#dead.has(cpu)) this.arenas[cpu]?.look();
  }

  /** All hear until all is quiet. */
  settle(): void {
    while (this.rung.size > 0) for (const cpu of this.rung) this.hear(cpu);
  }

  /** A CPU is dead, and another one puts in order what it has left. */
  bury(cpu: number, by: number): number {
    this.#dead.add(cpu);
    this.rung.delete(cpu);
    return recover(cpu + 1, this.arenas[by]);
  }
}
