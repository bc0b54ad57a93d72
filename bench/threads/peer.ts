// The pools, by what is used of them. Their own declarations do not compile under this project's
// strictness (piscina's) or without the library of the DOM (tinypool's and workerpool's).

/** What piscina and tinypool have in common, who are of one family. */
export interface PiscinaPool {
  run(task: unknown, options: PiscinaRun): Promise<unknown>;
}

export interface PiscinaRun {
  readonly name: string;
  readonly transferList: readonly object[];
  readonly signal: AbortSignal | null;
}

export interface PiscinaOptions {
  readonly filename: string;
  readonly minThreads: number;
  readonly maxThreads: number;
  readonly idleTimeout: number;
  readonly concurrentTasksPerWorker?: number;
  readonly taskQueue?: PiscinaQueue;
}

/** A queue of the user's own for piscina: `taskQueue`. */
export interface PiscinaQueue {
  readonly size: number;
  shift(): object | null;
  push(task: object): void;
  remove(task: object): void;
}

export interface PiscinaModule {
  readonly default: {
    new (options: PiscinaOptions): PiscinaPool;
    /** Makes a result move instead of being copied. */
    move(value: object): unknown;
  };
}

export interface WorkerpoolModule {
  readonly default: {
    pool(
      script: string,
      options: {
        readonly workerType: 'thread';
        readonly minWorkers: number;
        readonly maxWorkers: number;
      },
    ): {
      exec(
        func: string,
        args: readonly unknown[],
        options: { readonly transfer: readonly object[] },
      ): PromiseLike<unknown>;
    };
    worker(funcs: Readonly<Record<string, unknown>>): void;
  };
}

/** Loads a package as something of a known shape. */
export async function load<M>(name: string): Promise<M> {
  return (await import(name)) as M;
}
