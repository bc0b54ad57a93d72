// Storms: races between threads, provoked many times. Each takes a seed and a size, throws if a guarantee
// is violated, and reports what it has done. `npm run storm` runs them for a long time.
import { inspect, isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import { Kcont } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import { SharedMutex } from '../../lib/cpu/index.ts';
import { startTestKernel, type TestKernel } from './cpus.ts';
import { GATE, OPEN, WORDS, randomFrom } from './cpu-work.ts';
import { ThreadWatch } from './threads.ts';

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

function turn(): Promise<void> {
  return new Promise(setImmediate);
}

/** How a storm is run. */
export interface Storm {
  readonly name: string;
  readonly cpus: number;
  /** The size in the suite. */
  readonly short: number;
  /** The size for `npm run storm`. */
  readonly long: number;
  run(testKernel: TestKernel, size: number, seed: number): Promise<string>;
}

const stopAgainstEntry: Storm = {
  name: 'stop against entry',
  cpus: 1,
  short: 6_000,
  long: 400_000,
  async run({ queue, work, cpus, kernel }, size, seed) {
    const random = randomFrom(seed);
    const HANDLES = 16;
    const cpu = cpus[1] as Cpu;
    const counts = shared(HANDLES);
    const kcs = Array.from(
      { length: HANDLES },
      (_, at) => new Kcont(queue, null, work.count, { counts, at }),
    );
    const expected = kcs.map(() => 0);
    let withdrawn = 0;
    let spins = 0;
    for (let round = 0; round < size; round++) {
      const at = round % HANDLES;
      const kc = kcs[at] as Kcont<unknown>;
      while (!kc.schedule(0, cpu)) await turn();
      for (let left = random() % 4096; left > 0; left--) spins++;
      if (kc.stop()) expected[at]!++;
      else {
        withdrawn++;
        expect(Atomics.load(counts, at), `entries of handle ${at}`).to.equal(expected[at]);
      }
      if (round % 64 === 0) await turn();
    }
    await kernel.drain();
    expect(Array.from(counts)).to.deep.equal(expected);
    for (const kc of kcs) kc.destroy();
    return `${size} rounds, ${withdrawn} withdrawn, ${size - withdrawn} entered, ${spins} spins`;
  },
};

async function meddling(
  { queue, work, cpus, kernel }: TestKernel,
  size: number,
  seed: number,
  delayMs: number,
): Promise<{ scheduled: number; cancelled: number; entries: number }> {
  const HANDLES = 12;
  const inside = shared(HANDLES);
  const entries = shared(HANDLES);
  const overlaps = shared(HANDLES);
  const kcs = Array.from(
    { length: HANDLES },
    (_, at) => new Kcont<unknown>(queue, null, work.tally, { inside, entries, overlaps, at }),
  );
  // A continuation that is passed on has its state in shared memory.
  const told = await Promise.all(
    cpus.map((cpu, index) =>
      queue.run(work.meddle, { arg: { kcs, rounds: size, seed: seed + index, delayMs }, cpu }),
    ),
  );
  let scheduled = 0;
  let cancelled = 0;
  for (const part of told) {
    scheduled += part.scheduled;
    cancelled += part.cancelled;
  }
  if (delayMs > 0) for (const kc of kcs) cancelled += kc.cancel() & 1;
  await kernel.drain();
  expect(Array.from(overlaps), 'overlaps').to.deep.equal(kcs.map(() => 0));
  expect(
    kcs.filter((kc) => kc.busy),
    'busy in the end',
  ).to.deep.equal([]);
  for (const kc of kcs) kc.destroy();
  return { scheduled, cancelled, entries: entries.reduce((sum, n) => sum + n, 0) };
}

const threeThreads: Storm = {
  name: 'three threads schedule and stop the same handles',
  cpus: 2,
  short: 4_000,
  long: 300_000,
  async run(testKernel, size, seed) {
    const { scheduled, cancelled, entries } = await meddling(testKernel, size, seed, 0);
    expect(entries + cancelled, 'entered or withdrawn').to.equal(scheduled);
    return `${scheduled} scheduled = ${entries} entered + ${cancelled} withdrawn`;
  },
};

const threeThreadsTimers: Storm = {
  name: 'three threads schedule and stop the same timers',
  cpus: 2,
  short: 4_000,
  long: 300_000,
  async run(testKernel, size, seed) {
    const { scheduled, cancelled, entries } = await meddling(testKernel, size, seed, 3);
    expect(entries + cancelled, 'entered or withdrawn').to.be.at.most(scheduled);
    return `${scheduled} scheduled, ${entries} entered, ${cancelled} withdrawn`;
  },
};

const ordered: Storm = {
  name: 'order per workqueue and CPU, from three threads',
  cpus: 2,
  short: 30,
  long: 2_000,
  async run({ queue, work, cpus, kernel }, size) {
    const PER_SENDER = 40;
    const target = cpus[1] as Cpu;
    for (let round = 0; round < size; round++) {
      const log = shared(1 + PER_SENDER * 3);
      const parts = cpus.map((_, sender) =>
        Array.from(
          { length: PER_SENDER },
          (__, i) => new Kcont(queue, null, work.write, { log, what: sender * 1000 + i }),
        ),
      );
      await Promise.all(
        cpus.map((cpu, sender) =>
          queue.run(work.scheduleAll, {
            arg: { kcs: parts[sender] as Kcont<unknown>[], cpu: 1 },
            cpu,
          }),
        ),
      );
      await kernel.drain();
      const said = Array.from(log.subarray(1));
      for (const sender of cpus.keys()) {
        const own = said.filter((what) => Math.floor(what / 1000) === sender);
        expect(own, `sender ${sender}`).to.deep.equal(
          Array.from({ length: PER_SENDER }, (_, i) => sender * 1000 + i),
        );
      }
      for (const kc of parts.flat()) kc.destroy();
    }
    return `${size} rounds of ${PER_SENDER} each on CPU ${target.index}`;
  },
};

const lockOrder: Storm = {
  name: 'order per workqueue, lock and CPU while another CPU contends for the lock',
  cpus: 2,
  short: 6,
  long: 300,
  async run({ queue, work, cpus, kernel }, size, seed) {
    const random = randomFrom(seed);
    const EACH = 40;
    for (let round = 0; round < size; round++) {
      const lock = new SharedMutex();
      const log = shared(1 + 2 * EACH);
      const inside = shared(1);
      const contended = queue.run(work.contend, {
        arg: { lock, inside, times: 10 },
        cpu: cpus[2] ?? null,
      });
      const kcs = [1, 1].flatMap((index, part) =>
        Array.from({ length: EACH }, (_, i) => {
          const func = random() % 4 === 0 ? work.inLockLong : work.inLock;
          return new Kcont(queue, lock, func, { log, inside, what: part * EACH + i });
        }).map((kc) => ({ kc, index })),
      );
      for (const { kc, index } of kcs) {
        kc.schedule(0, cpus[index] ?? null);
        if (random() % 16 === 0) await turn();
      }
      expect(await contended, 'overlaps').to.equal(0);
      await kernel.drain();
      expect(Array.from(log.subarray(1))).to.deep.equal(kcs.map((_, i) => i));
      for (const { kc } of kcs) kc.destroy();
    }
    return `${size} rounds of ${2 * EACH} in one lock`;
  },
};

const death: Storm = {
  name: 'a CPU dies with 5000 queued, 500 timers and a lock held',
  cpus: 1,
  short: 1,
  long: 20,
  async run({ queue, work, cpus, event, kernel }, size) {
    const cpu = cpus[1] as Cpu;
    for (let round = 0; round < size; round++) {
      const words = shared(WORDS);
      const log = shared(6000);
      const timed = shared(600);
      const queued = Array.from(
        { length: 5000 },
        (_, what) => new Kcont(queue, null, work.write, { log, what }, { affinity: 'strong' }),
      );
      const timers = Array.from(
        { length: 500 },
        (_, what) =>
          new Kcont(queue, null, work.write, { log: timed, what }, { affinity: 'strong' }),
      );
      const up = event('up');
      const lock = new SharedMutex();
      const died = queue
        .run(work.grab, { arg: { lock, words }, cpu })
        .catch((error: unknown) => error);
      while (Atomics.load(words, GATE) === 0) await turn();
      for (const kc of queued) kc.schedule(0, cpu);
      for (const [i, kc] of timers.entries()) kc.schedule(100 + (i >> 3), cpu);
      const waited = lock.enter();
      Atomics.store(words, OPEN, 1);
      Atomics.notify(words, OPEN);
      expect(await died).to.include({ code: 'ECPUDIED' });
      await waited;
      lock.exit();
      await up;
      await kernel.drain();
      while (Atomics.load(timed, 0) < 500) await turn();
      expect(Array.from(log.subarray(1, 5001))).to.deep.equal(queued.map((_, i) => i));
      expect(Array.from(timed.subarray(1, 501))).to.deep.equal(timers.map((_, i) => i));
      for (const kc of [...queued, ...timers]) kc.destroy();
    }
    return `${size} deaths, 5500 of 5500 ran in order after each, the lock was handed on`;
  },
};

const blocked: Storm = {
  name: 'stops while a CPU is blocked for 500 ms',
  cpus: 1,
  short: 1,
  long: 20,
  async run({ queue, work, cpus, kernel }, size) {
    const cpu = cpus[1] as Cpu;
    const HANDLES = 500;
    let slowestMs = 0;
    for (let round = 0; round < size; round++) {
      const words = shared(WORDS);
      const counts = shared(HANDLES);
      const kcs = Array.from(
        { length: HANDLES },
        (_, at) => new Kcont(queue, null, work.count, { counts, at }),
      );
      void queue.run(work.hog, { arg: { words, ms: 500 }, cpu });
      while (Atomics.load(words, GATE) === 0) await turn();
      for (const [i, kc] of kcs.entries()) kc.schedule(i % 2 === 0 ? 0 : 5, cpu);
      const since = performance.now();
      const verdicts = kcs.filter((kc) => kc.stop());
      slowestMs = Math.max(slowestMs, performance.now() - since);
      expect(verdicts).to.deep.equal([]);
      await kernel.drain();
      expect(counts.every((entries) => entries === 0)).to.equal(true);
      for (const kc of kcs) kc.destroy();
    }
    return `${size} times ${HANDLES} stops, at most ${slowestMs.toFixed(2)} ms for all of them`;
  },
};

const chaos: Storm = {
  name: 'CPUs die at random while three threads schedule and stop',
  cpus: 2,
  short: 4,
  long: 120,
  async run({ queue, wq, work, cpus, kernel, errors }, size, seed) {
    const random = randomFrom(seed);
    const HANDLES = 12;
    const counts = shared(HANDLES);
    let deaths = 0;
    let settledRuns = 0;
    for (let round = 0; round < size; round++) {
      const kcs = Array.from({ length: HANDLES }, (_, at) => {
        const affinity = (['strong', 'weak', 'none'] as const)[random() % 3] ?? 'none';
        return new Kcont<unknown>(queue, null, work.count, { counts, at }, { affinity });
      });
      const runs: Promise<unknown>[] = [];
      const follow = (run: Promise<unknown>): void => {
        runs.push(
          run.then(
            () => undefined,
            (error: unknown) => error,
          ),
        );
      };
      for (const [index, cpu] of cpus.entries()) {
        const told = { kcs, rounds: 600, seed: seed + round * 3 + index, delayMs: 2 };
        follow(queue.run(work.meddle, { arg: told, cpu }));
      }
      for (let i = 0; i < 40; i++) {
        follow(wq.prilow.run(work.increment, { arg: i }));
        follow(wq.prilow.run(work.echo, { arg: [i] }));
        const cpu = cpus[1 + (random() % 2)] ?? null;
        const other = random() % 3;
        follow(queue.run(work.runOn, { arg: { cpu: other, value: i }, cpu }));
        follow(queue.run(work.delegate, { arg: { counts, at: 0, cpu: other }, cpu }));
        if (random() % 20 === 0) {
          deaths++;
          follow(queue.run(work.exit, { arg: 0, cpu: cpus[1 + (random() % 2)] ?? null }));
        }
        if (random() % 4 === 0) await turn();
      }
      for (const error of await Promise.all(runs)) {
        settledRuns++;
        if (error !== undefined) expect(error).to.include({ code: 'ECPUDIED' });
      }
      for (const kc of kcs) kc.stop();
      await kernel.drain();
      expect(
        kcs.filter((kc) => kc.busy),
        'busy in the end',
      ).to.deep.equal([]);
      for (const kc of kcs) kc.destroy();
      for (const error of errors.splice(0)) expect(error).to.include({ code: 'ECPUDIED' });
    }
    for (const cpu of cpus) expect(await queue.run(work.increment, { arg: 1, cpu })).to.equal(2);
    return `${size} rounds, ${deaths} deaths, ${settledRuns} runs settled`;
  },
};

const values: Storm = {
  name: 'values of all sizes go both ways between CPUs that sleep in between',
  cpus: 2,
  short: 200,
  long: 15_000,
  async run({ queue, work, cpus }, size, seed) {
    const random = randomFrom(seed);
    const made: ((n: number) => unknown)[] = [
      (n) => n,
      (n) => ({ n, path: '/img/large.jpg', tags: ['a', 'b'] }),
      (n) => new Map([[n, n]]),
      (n) => ({ n, text: 'x'.repeat(n % 3000) }),
    ];
    for (let round = 0; round < size; round++) {
      const trips = Array.from({ length: 1 + (random() % 3) }, async (_, i) => {
        const value = made[random() % made.length]?.(round + i);
        const by = 1 + (random() % 2);
        const arg = { cpu: random() % 3, value };
        const back = queue.run(work.runOn, { arg, cpu: cpus[by] ?? null });
        expect(await back).to.deep.equal({ value, by });
      });
      let timer: NodeJS.Timeout | undefined;
      const lost = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nobody woke in round ${round}`)), 20_000);
      });
      await Promise.race([Promise.all(trips), lost]);
      clearTimeout(timer);
      const pause = random() % 4;
      if (pause === 1) await turn();
      if (pause === 2) await new Promise((resolve) => void setTimeout(resolve, random() % 3));
    }
    return `${size} rounds, no wake-up was lost`;
  },
};

/** The possible outcomes of a run while CPUs start and stop. */
const COMINGS_CODES = ['none', 'ECPUDIED', 'ESHUTDOWN', 'given up'];

/** A kernel whose CPUs start and stop, and all requests to it. */
class Comings {
  readonly outcomes = new Map<string, number>();
  readonly #testKernel: TestKernel;
  readonly #random: () => number;
  readonly #kills: boolean;
  readonly #open = new Map<number, string>();
  readonly #kcs: Kcont<unknown>[];
  #asked = 0;

  constructor(testKernel: TestKernel, random: () => number, kills: boolean) {
    this.#testKernel = testKernel;
    this.#random = random;
    this.#kills = kills;
    const { queue, wq, work } = testKernel;
    const counts = shared(9);
    const one = (at: number): Kcont<unknown> => {
      const affinity = (['strong', 'weak', 'none'] as const)[at % 3] ?? 'none';
      const on = at < 6 ? queue : wq.prilow;
      return new Kcont<unknown>(on, null, work.count, { counts, at }, { affinity });
    };
    this.#kcs = Array.from({ length: 9 }, (_, at) => one(at));
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random() % from.length] as T;
  }

  /** Checks that a promise settles with a permitted outcome. */
  #follow(what: string, promise: Promise<unknown>, expected?: unknown): void {
    const id = this.#asked++;
    this.#open.set(id, what);
    const end = (outcome: string): void => {
      this.#open.delete(id);
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    };
    promise.then(
      (value) => {
        const isRight = expected === undefined || isDeepStrictEqual(value, expected);
        end(isRight ? 'none' : `${what} became ${inspect(value)}`);
      },
      (error: unknown) => {
        const { code, message } = error as { code?: string; message: string };
        end(message === 'given up' ? message : (code ?? String(error)));
      },
    );
  }

  get #cpu(): Cpu {
    return this.#testKernel.cpus[1 + (this.#random() % (this.#testKernel.cpus.length - 1))] as Cpu;
  }

  /** A value, its transfer list, and the expected result. */
  #value(): { arg: unknown; transfer: readonly object[] } {
    const n = this.#random();
    const bytes = new ArrayBuffer(n % 100);
    switch (n % 5) {
      case 0:
        return { arg: n, transfer: [] };
      case 1:
        return { arg: { n, tags: ['a'] }, transfer: [] };
      case 2:
        return { arg: new Map([[n, n]]), transfer: [] };
      case 3:
        return { arg: bytes, transfer: [bytes] };
      default:
        return { arg: { bytes, text: 'x'.repeat(n % 2000) }, transfer: [bytes] };
    }
  }

  #run(): void {
    const { queue, wq, work } = this.#testKernel;
    const { arg, transfer } = this.#value();
    const expected = structuredClone(arg);
    const named = this.#random() % 2 === 0;
    const on = named ? queue : wq.prilow;
    const controller = new AbortController();
    const delayMs = this.#random() % 4 === 0 ? this.#random() % 5 : 0;
    const options = { arg, transfer, delayMs, signal: controller.signal };
    const cpu = named ? this.#cpu : null;
    this.#follow('echo', on.run(work.echo, { ...options, cpu }), expected);
    if (this.#random() % 4 === 0) {
      const abort = (): void => controller.abort(new Error('given up'));
      if (this.#random() % 2 === 0) abort();
      else setTimeout(abort, this.#random() % 10);
    }
  }

  /** Makes a random request. */
  step(): void {
    const { queue, wq, work } = this.#testKernel;
    const random = this.#random;
    const cpu = this.#cpu;
    const graceMs = this.#pick([0, 1, 20, 1000]);
    switch (random() % 24) {
      case 0:
      case 1:
        this.#follow('restart', cpu.restart({ graceMs }));
        return;
      case 2:
        this.#follow('stop', cpu.stop({ graceMs }));
        return;
      case 3:
        this.#follow('exit', queue.run(work.exit, { arg: 0, cpu }));
        return;
      case 4:
        this.#follow('crash', queue.run(work.crash, { arg: 'storm', cpu }));
        return;
      case 5:
        this.#follow('linger', queue.run(work.linger, { arg: random() % 30, cpu }));
        return;
      case 6:
        this.#follow('untilAborted', queue.run(work.untilAborted, { arg: null, cpu }));
        return;
      case 7:
        this.#follow('burn', wq.prilow.run(work.burn, { arg: random() % 20 }));
        return;
      case 8: {
        if (!this.#kills) return;
        const { signal } = { signal: AbortSignal.timeout(random() % 60) };
        const killed = wq.prilow.run(work.burn, { arg: 1e6, kill: true, signal });
        this.#follow(
          'kill',
          killed.catch(() => undefined),
        );
        return;
      }
      case 9:
        this.#follow('halt', this.#pick(this.#kcs).halt());
        return;
      case 10:
      case 11: {
        const arg = { cpu: random() % 3, value: random() };
        this.#follow('runOn', queue.run(work.runOn, { arg, cpu }));
        return;
      }
      case 12:
      case 13:
      case 14:
      case 15: {
        const kc = this.#pick(this.#kcs);
        const on = kc.wq.perCpu && random() % 2 === 0 ? cpu : null;
        if (random() % 2 === 0) kc.schedule(random() % 5, on);
        else kc.reset(random() % 5, on);
        return;
      }
      case 16:
        this.#pick(this.#kcs).stop();
        return;
      default:
        this.#run();
    }
  }

  /** Waits until some CPU has run a function; restarts one if none is up. */
  async someCpuIsUp(): Promise<void> {
    const { cpus, queue, work } = this.#testKernel;
    const up = cpus.find(({ index, state }) => index > 0 && state === 'up');
    const isUp =
      up === undefined ? this.#cpu.restart() : queue.run(work.where, { cpu: up, signal: soon() });
    await isUp.catch(() => undefined);
  }

  /** Closes the kernel, and checks that nothing is left. */
  async end(): Promise<void> {
    this.#follow('drain', this.#testKernel.kernel.drain());
    const closed = this.#testKernel.kernel.close({ graceMs: this.#pick([0, 5, 200]) });
    this.#follow('close', closed);
    for (let i = 0; i < 5; i++) this.step();
    await inTime(closed, 'the kernel did not close');
    await inTime(this.#settled(), () => `not settled: ${[...this.#open.values()].join(', ')}`);
    for (const outcome of this.outcomes.keys()) expect(outcome).to.be.oneOf(COMINGS_CODES);
    expect(this.#kcs.filter((kc) => kc.busy)).to.deep.equal([]);
  }

  async #settled(): Promise<void> {
    while (this.#open.size > 0) await turn();
  }
}

/** A CPU that was up may be stopped before it has run anything. */
function soon(): AbortSignal {
  return AbortSignal.timeout(500);
}

/** Waits for a promise; fails after a minute. */
async function inTime<T>(promise: Promise<T>, what: string | (() => string)): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = (): void => reject(new Error(typeof what === 'string' ? what : what()));
    timer = setTimeout(fail, 60_000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const comings: Storm = {
  name: 'CPUs come and go at random, and are asked for much meanwhile',
  cpus: 1,
  short: 2,
  long: 150,
  async run(_, size, seed) {
    const random = randomFrom(seed);
    const outcomes = new Map<string, number>();
    let made = 0;
    for (let round = 0; round < size; round++) {
      const watch = new ThreadWatch();
      const count = 1 + (random() % 2);
      const kills = random() % 2 === 0;
      watch.begin();
      const testKernel = await startTestKernel(count, { longestBackoffMs: 20 });
      const asked = new Comings(testKernel, random, kills);
      for (let i = 60; i > 0; i--) {
        asked.step();
        expect(watch.count, 'threads at once').to.be.at.most(kills ? 2 * count : count);
        const pause = random() % 8;
        if (pause < 2) await turn();
        if (pause === 2) await new Promise((resolve) => void setTimeout(resolve, random() % 60));
        if (pause === 3) await asked.someCpuIsUp();
      }
      await asked.end();
      expect(watch.count, 'threads left').to.equal(0);
      watch.end();
      made += watch.made;
      for (const [outcome, n] of asked.outcomes)
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + n);
    }
    const said = [...outcomes].map(([outcome, n]) => `${n} ${outcome}`).join(', ');
    return `${size} kernels, ${made} threads; ${said}`;
  },
};

export const storms: readonly Storm[] = [
  stopAgainstEntry,
  threeThreads,
  threeThreadsTimers,
  values,
  ordered,
  lockOrder,
  death,
  chaos,
  blocked,
  comings,
];
