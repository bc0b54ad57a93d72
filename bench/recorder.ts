// The flight recorder: what one record costs. Bursts of jobs on a kernel that is recorded and on one that is only
// observed alternate; the difference, divided by the number of records, is the figure.

import { observe } from '../lib/observe/index.ts';
import { Kcont, Kernel } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { besideLimits } from './harness/runner.ts';
import { Stopwatch } from './harness/stopwatch.ts';
import { expectSame, sink } from './harness/timed.ts';

/** What a record may cost, in ns. */
const MOST_NS = 25;
/** schedule, enter, settle. */
const PER_JOB = 3;
/** How often the two kernels alternate in one sample. */
const TURNS = 8;

/** A kernel whose bursts can be timed. */
class Bursts {
  readonly kernel: Kernel = new Kernel();
  readonly #kcs: readonly Kcont<null>[];
  #left = 0;
  #finish: () => void = () => undefined;

  constructor(size: number) {
    const enter = (): void => {
      if (--this.#left === 0) this.#finish();
    };
    this.#kcs = Array.from(
      { length: size },
      () => new Kcont(this.kernel.wq.prilow, null, enter, null),
    );
  }

  get entered(): number {
    return this.kernel.wq.prilow.stats().entered;
  }

  /** The ns for a job, of so many bursts. */
  async time(count: number): Promise<number> {
    const watch = new Stopwatch();
    for (let n = 0; n < count; n++) {
      this.#left = this.#kcs.length;
      const finished = new Promise<void>((resolve) => (this.#finish = resolve));
      for (const kc of this.#kcs) kc.schedule();
      await finished;
    }
    return watch.ns / (count * this.#kcs.length);
  }
}

function recorded(size: number): Side {
  const one = new Bursts(size);
  const other = new Bursts(size);
  const { recording } = observe({ kernel: one.kernel, record: { onException: false } });
  // `observe` without anything to do still has the kernel observed.
  observe({ kernel: other.kernel }).stop();
  let count = 1;
  return {
    role: 'kcont',
    name: 'a record',
    async warm({ targetMs, warmMs }: Effort) {
      const untilMs = performance.now() + warmMs;
      for (;;) {
        const begin = performance.now();
        await one.time(count);
        await other.time(count);
        const ms = performance.now() - begin;
        if (ms >= targetMs / 2 && performance.now() >= untilMs) return;
        if (ms < targetMs / 2) count *= 2;
      }
    },
    async sample() {
      const { entered } = one;
      let ns = 0;
      for (let turn = 0; turn < TURNS; turn++) {
        ns += await one.time(count);
        ns -= await other.time(count);
      }
      expectSame('jobs', one.entered - entered, TURNS * count * size);
      const last = recording?.records({ limit: PER_JOB }) ?? [];
      expectSame('records', last.length, PER_JOB);
      expectSame('settled', Number(last.at(-1)?.kind === 'settle'), 1);
      return [ns / TURNS / PER_JOB];
    },
  };
}

/** The time that is read, and the memory that is written, for a job. */
function bare(): Side {
  const records = new Float64Array(new SharedArrayBuffer(2 ** 20));
  const words = new Int32Array(records.buffer);
  const ops = 1e6;
  return {
    role: 'floor',
    name: 'a quarter of a clock read, and three records stored, for each',
    sample() {
      const watch = new Stopwatch();
      let atMs = 0;
      for (let n = 0; n < ops; n++) {
        if ((n & 3) === 0) atMs = performance.now();
        for (let record = 0; record < PER_JOB; record++) {
          const at = (n * PER_JOB + record) & 16_383;
          records[at * 3] = atMs;
          words[at * 6 + 2] = n;
          words[at * 6 + 3] = n;
          words[at * 6 + 4] = record;
          words[at * 6 + 5] = n;
        }
      }
      const { ns } = watch;
      sink(records);
      return [ns / ops / PER_JOB];
    },
  };
}

function burst(effort: Effort, size: number): Case {
  return {
    name: `jobs in bursts of ${size.toLocaleString('en-US')}`,
    metrics: costs('ns'),
    compare: besideLimits({ '': MOST_NS }),
    sides: () => [recorded(sized(effort, size, 100)), bare()],
  };
}

export const bench: Bench = {
  name: 'recorder',
  about:
    'The flight recorder of kcont/observe: what a record adds to the cost of a job that is observed.',
  cases: (effort) => [burst(effort, 1000), burst(effort, 10)],
};
