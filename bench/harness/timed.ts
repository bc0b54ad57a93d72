// A side whose work is a loop that can be made longer: how long it takes, per operation.

import type { Effort, Role, Side } from './bench.ts';
import { Stopwatch } from './stopwatch.ts';

export interface Work {
  /** A run is a whole number of these many operations. Default 1. */
  readonly batch?: number;
  before?(): void | Promise<void>;
  after?(): void | Promise<void>;
  /** Does so many operations. */
  run(ops: number): void | Promise<void>;
  /** Throws unless exactly these many operations have just been done. */
  check?(ops: number): void;
}

const NS_PER_MS = 1e6;
const MOST_OPS = 1e8;

/**
 * A side that costs so many ns for each operation. What is large is made by a function, when it is
 * clear that the side is wanted. `at`: for a curve, how many are alive.
 */
export function timed(role: Role, name: string, made: Work | (() => Work), at?: number): Side {
  return side(role, name, made, ({ ns }) => [ns], at);
}

/** What goes through the system's scheduler varies more, and its code is called less often. */
const LONGER = 4;

/**
 * The same for work on several threads. Two figures: the time that went by, and the CPU time of all
 * threads.
 */
export function timedOnThreads(role: Role, name: string, made: Work | (() => Work)): Side {
  const once = side(role, name, made, ({ elapsedNs, cpuNs }) => [elapsedNs, cpuNs]);
  return {
    ...once,
    warm: (effort) =>
      once.warm?.({
        ...effort,
        targetMs: effort.targetMs * LONGER,
        warmMs: effort.warmMs * LONGER,
      }),
  };
}

function side(
  role: Role,
  name: string,
  made: Work | (() => Work),
  read: (watch: Stopwatch) => number[],
  at?: number,
): Side {
  let work: Work;
  let ops: number;

  /** The figures of one run, the time first. */
  async function once(): Promise<number[]> {
    const watch = new Stopwatch();
    const running = work.run(ops);
    if (running !== undefined) await running;
    const figures = read(watch);
    work.check?.(ops);
    return figures;
  }

  /** Finds how many operations a run needs, and lets the compiler finish with them. */
  async function warm({ targetMs, warmMs }: Effort): Promise<void> {
    work = typeof made === 'function' ? made() : made;
    const { batch = 1 } = work;
    ops = batch;
    await work.before?.();
    const begin = performance.now();
    for (;;) {
      const [ns = NaN] = await once();
      const ms = ns / NS_PER_MS;
      const enough = ms >= targetMs * 0.8 || ops >= MOST_OPS;
      if (enough && performance.now() - begin >= warmMs) break;
      const grow = enough ? 1 : Math.min(8, Math.max(1.1, targetMs / Math.max(ms, 1e-3)));
      ops = Math.min(Math.ceil((ops * grow) / batch) * batch, Math.max(MOST_OPS, batch));
    }
    await work.after?.();
  }

  return {
    role,
    name,
    ...(at === undefined ? {} : { at }),
    before: () => work.before?.(),
    after: () => work.after?.(),
    warm,
    sample: async () => (await once()).map((ns) => ns / ops),
  };
}

/** Work whose operation is a run that returns a number: so many at once, whose sum is known. */
export function bursts(
  count: number,
  run: (index: number) => Promise<unknown>,
  expected: number,
): Work {
  let sum = 0;
  return {
    batch: count,
    async run(ops) {
      sum = 0;
      for (let done = 0; done < ops; done += count) {
        const results = await Promise.all(Array.from({ length: count }, (_, i) => run(i)));
        for (const result of results) sum += result as number;
      }
    },
    check: (ops) => expectSame('the sum of the results', sum, (ops / count) * expected),
  };
}

const drain: { value: unknown } = { value: undefined };

/** Takes a value so that the compiler cannot do without what made it. */
export function sink(value: unknown): void {
  drain.value = value;
}

/** Throws unless two numbers are the same. */
export function expectSame(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, got ${got}`);
}

/** Throws unless something holds. */
export function expectTrue(what: string, holds: boolean): void {
  if (!holds) throw new Error(what);
}
