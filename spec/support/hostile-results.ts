// Values that a user's function may return and throw, and all places that call one.
import { Kcont, RWLock } from '../../lib/index.ts';
import type { Kernel, KcontFunction, Mutex } from '../../lib/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { retry } from '../../lib/retry/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';

/** A user's function. */
export type Func = () => unknown;

/** Such a function, as the function of a continuation. */
export function asKcont(func: Func): KcontFunction<null> {
  return func;
}

/** How a call ended: `fulfilled`, or the error as formatted by `textOf`. */
export type Ending = string;

/** Formats a thrown value, even if its getters throw. */
export function textOf(error: unknown): string {
  try {
    if (error instanceof Error) return error.message;
    return typeof error === 'object' && error !== null ? 'an object' : String(error);
  } catch {
    return `unreadable ${typeof error}`;
  }
}

/** A kernel that collects what its functions throw, and a lock that they take. */
export interface Place {
  readonly kernel: Kernel;
  readonly lock: Mutex;
  /** The errors passed to `onError` of the kernel. */
  readonly errors: unknown[];
}

/** A place that calls a user's function. Returns a promise of its end; undefined: it has not ended. */
export type Entrance = (place: Place, func: Func) => Promise<Ending>;

const endingOf = (promise: Promise<unknown>): Promise<Ending> =>
  promise.then(() => 'fulfilled', textOf);

/** All such places. The lock is taken wherever possible. */
export const ENTRANCES: Readonly<Record<string, Entrance>> = {
  'a Kcont': ({ kernel, lock, errors }, func) => {
    const kc = new Kcont(kernel.wq.prihigh, lock, asKcont(func), null, { name: func.name });
    kc.schedule();
    return kernel.wq.prihigh
      .drain()
      .then(() => (errors.length === 0 ? 'fulfilled' : textOf(errors.pop())));
  },
  'Workqueue.run': ({ kernel, lock }, func) => endingOf(kernel.wq.prihigh.run(func, { lock })),
  'Workqueue.run with an argument': ({ kernel, lock }, func) =>
    endingOf(kernel.wq.prihigh.run(func, { lock, arg: 1 })),
  'Workqueue.run with one side of an RWLock': async ({ kernel }, func) => {
    const { write } = new RWLock();
    const ending = await endingOf(kernel.wq.prihigh.run(func, { lock: write }));
    return write.held ? 'the lock is held' : ending;
  },
  'Mutex.run': ({ lock }, func) => endingOf(lock.run(func)),
  'Mutex.hold': ({ lock }, func) =>
    endingOf(
      (async () => {
        using held = await lock.hold();
        void held;
        await func();
      })(),
    ),
  'a stage of a pipeline': ({ kernel, lock }, func) =>
    endingOf(pipeline<number>().stage('stage', func, { lock }).start({ kernel }).run(1)),
  'scheduler.postTask': ({ kernel }, func) => endingOf(createScheduler(kernel).postTask(func)),
  'executor.run': ({ kernel }, func) => endingOf(createExecutor(kernel.wq.prihigh).run(func)),
  'executor.run with a lock': ({ kernel, lock }, func) =>
    endingOf(createExecutor(kernel.wq.prihigh).run(func, { lock })),
  retry: ({ kernel, lock }, func) =>
    endingOf(retry(func, { wq: kernel.wq.prihigh, lock, attempts: 1 })),
  'locks.request': ({ kernel }, func) => endingOf(createLocks(kernel).request('name', func)),
};

/** The places that `await` the result, which does not read the `then` of a Promise. */
export const AWAITING: ReadonlySet<string> = new Set(['Mutex.run', 'Mutex.hold']);
