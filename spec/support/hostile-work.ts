/* oxlint-disable unicorn/no-thenable -- that is what is tried */
// A CPU module whose functions throw, return and are aborted with unusual values.
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { Kcont } from '../../lib/index.ts';
import { curcpu, transfer } from '../../lib/cpu/index.ts';
import { HOSTILE, deep, prepare, recipes } from './hostile.ts';

function make(what: string): unknown {
  return (HOSTILE[what] as () => unknown)();
}

export function ping(): string {
  return 'pong';
}

export function echo(value: unknown): unknown {
  return value;
}

export function throwing(what: string): never {
  throw make(what);
}

export async function rejecting(what: string): Promise<never> {
  await Promise.resolve();
  throw make(what);
}

export function returning(what: string): unknown {
  return make(what);
}

export async function fulfilling(what: string): Promise<unknown> {
  await Promise.resolve();
  return { what: make(what) };
}

/** Whether a value has a `then`: one that never calls back would stay in flight forever. */
function isThenable(value: unknown): boolean {
  try {
    return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
  } catch {
    return false;
  }
}

/** Throws, returns, or resolves with one of many random values. */
export function drawn({ seed, how }: { seed: number; how: number }): unknown {
  const [recipe] = fc.sample(recipes, { seed, numRuns: 1 });
  const value = prepare(recipe as never);
  if (how === 0) throw value;
  return how === 1 && !isThenable(value) ? value : Promise.resolve({ value });
}

/** Thenable results. */
export const THENABLES: Readonly<Record<string, () => unknown>> = {
  'a then that throws': () => ({
    then: () => {
      throw new Error('then');
    },
  }),
  'a then that cannot be read': () =>
    Object.defineProperty({}, 'then', {
      get: () => {
        throw new Error('get then');
      },
    }),
  'calls back twice': () => ({
    then: (done: (value: unknown) => void, fail: (error: unknown) => void) => {
      done('first');
      done('second');
      fail(new Error('third'));
    },
  }),
  'fails, then throws': () => ({
    then: (_: unknown, fail: (error: unknown) => void) => {
      fail(new TypeError('failed'));
      throw new Error('thrown');
    },
  }),
  'a promise with a then of its own': () =>
    Object.assign(Promise.resolve('own'), {
      then: (done: (value: unknown) => void) => {
        done(1);
        done(2);
      },
    }),
  'a promise whose constructor throws': () =>
    Object.defineProperty(Promise.resolve(1), 'constructor', {
      get: () => {
        throw new Error('constructor');
      },
    }),
  'a function that has a then': () =>
    Object.assign(() => 1, { then: (done: (value: unknown) => void) => done('from a function') }),
  'a thenable of a thenable': () => ({
    then: (done: (value: unknown) => void) =>
      done({ then: (inner: (value: unknown) => void) => inner('inner') }),
  }),
};

/** A promise whose `then` has another value at the second read. */
export function readsThenTwice(asynchronous: boolean): unknown {
  let reads = 0;
  const promise = asynchronous ? Promise.resolve('kept') : { text: 'kept' };
  return Object.defineProperty(promise, 'then', {
    get: () => {
      const { then } = Promise.prototype;
      const told = (done: (value: unknown) => void): void => done(`${reads} reads`);
      return ++reads === 1 ? (asynchronous ? then : told) : undefined;
    },
  });
}

export function thenable(what: string): unknown {
  return (THENABLES[what] as () => unknown)();
}

/** A thenable that never settles; reports that it has begun. */
export function neverSettles(began: Int32Array): unknown {
  Atomics.store(began, 0, 1);
  return { then: () => undefined };
}

export function deepResult(levels: number): unknown {
  return deep(levels);
}

export function noted(): void {}

/** Runs a continuation on CPU 0 with a deeply nested argument. Returns what happened to it. */
export async function tellDeep(levels: number): Promise<string> {
  const { kernel } = curcpu();
  const errors: Error[] = [];
  const onError = (error: unknown): void => void errors.push(error as Error);
  const queue = kernel.acquire(127, { perCpu: true, onError });
  let kc: Kcont<unknown> | undefined;
  try {
    kc = new Kcont<unknown>(queue, null, noted, deep(levels));
    kc.schedule(0, kernel.cpus[0] ?? null);
    while (kc.busy) await sleep(0);
    if (kc.expired) return 'ran';
    // It was stopped; the message about that arrives later.
    while (errors.length === 0) await sleep(0);
    // After two replies of CPU 0, all its other messages about it have arrived.
    for (let i = 0; i < 2; i++) await queue.run(noted, { cpu: kernel.cpus[0] ?? null });
    return errors.map(({ message }) => message).join(', and ');
  } catch (error) {
    return (error as Error).message;
  } finally {
    kc?.destroy();
    queue.release();
  }
}

/** Blocks the whole thread until it is terminated. */
export function block(words: Int32Array): void {
  Atomics.store(words, 0, 1);
  Atomics.wait(words, 1, 0);
}

/** The workqueues of this CPU with runs in flight. */
export function runningHere(): string[] {
  const { workqueues } = curcpu().kernel.inspect();
  return workqueues
    .filter(({ running }) => running > 0)
    .map(({ name, running }) => `${name} ${running}`);
}

const frame: Uint8Array<ArrayBuffer> = new Uint8Array(1024);

/** The second time, nothing is left to be moved. */
export function movesOneFrame(): unknown {
  return transfer(frame, [frame.buffer]);
}

export function movesNonsense(): unknown {
  return transfer({}, 'nothing' as never);
}

/** The reason of its signal: its type and message. */
export function reasonSeen(began: Int32Array, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      const reason = signal.reason as unknown;
      resolve({ reason, isError: reason instanceof Error, isDom: reason instanceof DOMException });
    });
    Atomics.store(began, 0, 1);
  });
}

/** A continuation's function that fails with a value. */
export function failing({ what }: { what: string }): never {
  throw make(what);
}
