// A side whose operation is timed on the calling thread alone, in bursts: what leads up to a burst and
// what cleans up after it does not count.

import type { Effort, Role, Side } from '../harness/bench.ts';
import { median } from '../harness/stats.ts';

/** A burst of so many operations. */
export interface Burst {
  readonly count: number;
  /** Before the bursts of a round, and after them: checks that all was done, and nothing else. */
  begin?(): void | Promise<void>;
  end?(): void | Promise<void>;
  /** Before and after each burst, untimed. */
  prepare?(): void | Promise<void>;
  finish?(): void | Promise<void>;
  /** The operations. */
  run(): void;
  /** Until what they have led to is done on the other thread: counts for the second figure. */
  settle?(): Promise<void>;
}

/** Bursts in one round; the figure of a round is their median. */
const BURSTS = 25;
/** Rounds before it is measured, for the compiler. */
const WARM_ROUNDS = 8;
const NS_PER_MS = 1e6;

/**
 * Makes one. Its figures, in ns for each operation: what the calling thread spends; and, with
 * `settle`, how long it takes until the other thread is done with it.
 */
export function bursts(role: Role, name: string, burst: Burst): Side {
  const { count } = burst;

  async function round(times: number): Promise<number[]> {
    const calls: number[] = [];
    const all: number[] = [];
    await burst.begin?.();
    for (let i = 0; i < times; i++) {
      await burst.prepare?.();
      const begin = performance.now();
      burst.run();
      const called = performance.now();
      await burst.settle?.();
      const settled = performance.now();
      calls.push(((called - begin) * NS_PER_MS) / count);
      all.push(((settled - begin) * NS_PER_MS) / count);
      await burst.finish?.();
    }
    await burst.end?.();
    return [median(calls), median(all)];
  }

  return {
    role,
    name,
    async warm({ quick }: Effort) {
      for (let i = 0; i < (quick ? 1 : WARM_ROUNDS); i++) await round(BURSTS);
    },
    sample: () => round(BURSTS),
  };
}
