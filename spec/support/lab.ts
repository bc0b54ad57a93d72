// Helpers of nearly every spec: a kernel on a clock that stands still, a list of what ran, and promises
// that the spec settles.
import { Kcont, KcontError, Kernel, VirtualClock } from '../../lib/index.ts';
import type { KcontOptions, Lock, Workqueue } from '../../lib/index.ts';

/** How often a random spec is repeated: 1 in the suite, more for a soak. */
export const soak: number = Math.max(1, Number(process.env['KCONT_SOAK'] ?? 1));

/** A promise and the two ways to settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** Creates a promise that is settled from outside. */
export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Lets every promise that can settle do so: one turn of the event loop. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Resolves when a continuation of `wq`, scheduled now for `ms`, runs. */
export function elapse(wq: Workqueue, ms: number): Promise<void> {
  return new Promise((resolve) => {
    new Kcont(wq, null, resolve, undefined).schedule(ms);
  });
}

/** The code of the KcontError that a call throws; `none` if it returns. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof KcontError ? error.code : String(error);
  }
  return 'none';
}

/** The code of the KcontError that a promise rejects with; `none` if it resolves. */
export async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof KcontError ? error.code : String(error);
  }
  return 'none';
}

/** The predicates of a handle. */
export interface Predicates {
  readonly pending: boolean;
  readonly expired: boolean;
  readonly invoking: boolean;
  readonly active: boolean;
  readonly busy: boolean;
  readonly running: boolean;
}

/** The predicates of a handle in one word: a letter for each that is true, a dash for each that is not. */
export function bitsOf(kc: Predicates): string {
  return (
    (kc.pending ? 'p' : '-') +
    (kc.expired ? 'e' : '-') +
    (kc.invoking ? 'i' : '-') +
    (kc.active ? 'a' : '-') +
    (kc.busy ? 'b' : '-') +
    (kc.running ? 'r' : '-')
  );
}

/** One kernel, its clock, and what happened in it. */
export class Lab {
  readonly clock: VirtualClock = new VirtualClock();
  readonly ran: string[] = [];
  readonly errors: unknown[] = [];
  readonly kernel: Kernel = new Kernel({
    clock: this.clock,
    onError: (error): void => {
      this.errors.push(error);
    },
  });
  readonly wq: Kernel['wq'] = this.kernel.wq;
  readonly #runs = new Map<Kcont<string>, Deferred<void>>();

  /** The codes of the errors reported so far, or their messages. */
  get reported(): string[] {
    return this.errors.map((error) =>
      error instanceof KcontError ? error.code : (error as Error).message,
    );
  }

  /** A continuation that records its argument and calls `body`. */
  sync(
    name: string,
    options: {
      wq?: Workqueue;
      lock?: Lock | null;
      body?: (kc: Kcont<string>) => void;
      options?: KcontOptions;
    } = {},
  ): Kcont<string> {
    return new Kcont<string>(
      options.wq ?? this.wq.prihigh,
      options.lock ?? null,
      (arg, kc) => {
        this.ran.push(arg);
        options.body?.(kc);
      },
      name,
      options.options,
    );
  }

  /** A continuation that records its argument and runs until {@link Lab.end} or {@link Lab.fail}. */
  async(
    name: string,
    options: {
      wq?: Workqueue;
      lock?: Lock | null;
      body?: (kc: Kcont<string>) => void;
      options?: KcontOptions;
    } = {},
  ): Kcont<string> {
    return new Kcont<string>(
      options.wq ?? this.wq.prihigh,
      options.lock ?? null,
      (arg, kc) => {
        this.ran.push(arg);
        const run = deferred();
        this.#runs.set(kc, run);
        options.body?.(kc);
        return run.promise;
      },
      name,
      options.options,
    );
  }

  /** Lets the run in flight of `kc` succeed, and everything that waits for it happen. */
  async end(kc: Kcont<string>): Promise<void> {
    this.#run(kc).resolve();
    await settled();
  }

  /** Lets the run in flight of `kc` end with an error. */
  async fail(kc: Kcont<string>, error: unknown): Promise<void> {
    this.#run(kc).reject(error);
    await settled();
  }

  /** Returns what ran since the last call of this method. */
  take(): string[] {
    return this.ran.splice(0);
  }

  #run(kc: Kcont<string>): Deferred<void> {
    const run = this.#runs.get(kc);
    if (run === undefined) throw new Error('no run in flight');
    this.#runs.delete(kc);
    return run;
  }
}
