// The library keeps no function, argument, result or error of finished work alive: each way in which
// work starts and ends, with no references left outside the library.

import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { KcontPQueue } from '../../lib/compat/p-queue/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler, TaskController } from '../../lib/compat/scheduler/index.ts';
import { createDeadline } from '../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { Kcont, Kernel, Mutex, RWLock, Scope, type Workqueue } from '../../lib/index.ts';

/** Watches a value, and returns it. */
type Watch = <V extends object>(what: string, value: V) => V;
/** Uses watched values, and resolves when the work has ended. */
type Case = (watch: Watch) => unknown;

/** A kernel that ignores errors: errors are watched like other values. */
const kernel = new Kernel({ onError: () => undefined });
const { wq } = kernel;
const timers = createTimers(kernel);
const plainTimers = createTimers(new Kernel());

function payload(): { bytes: Uint8Array } {
  return { bytes: new Uint8Array(64) };
}

/** A function that keeps a value alive. */
function using(watch: Watch, what = 'the function'): () => unknown {
  const held = watch(`what ${what} uses`, payload());
  return watch(what, () => held.bytes.length);
}

/** The same, as a callback with an argument. */
function taking(watch: Watch): (arg: object) => void {
  const used = using(watch);
  return watch('the callback', () => void used());
}

/** A continuation whose function and argument are watched. */
function watched(
  watch: Watch,
  queue: Workqueue = wq.softclock,
  func: (held: object, arg: object, kc: Kcont<object>) => unknown = () => undefined,
  options = {},
  lock: Mutex | null = null,
): Kcont<object> {
  const held = watch('what the function uses', payload());
  const run = watch('the function', (arg: object, kc: Kcont<object>): void => {
    return func(held, arg, kc) as undefined;
  });
  return watch(
    'the handle',
    new Kcont<object>(queue, lock, run, watch('the argument', payload()), options),
  );
}

async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await turn();
}

const ignore = (value?: unknown): undefined => void value;
const signal = new AbortController().signal;
const scope = new Scope();
const mutex = new Mutex();

const cases: Record<string, Case> = {
  'a job': (watch) => void watched(watch).schedule(),
  'a timer': (watch) => void watched(watch).schedule(1),
  'a timer that was the last of a burst': (watch) => {
    for (let i = 0; i < 40; i++) watched(watch).schedule(1);
  },
  'timers that were touched in a burst': (watch) => {
    const kc = watched(watch);
    kc.schedule(2);
    for (let i = 0; i < 40; i++) kc.touch();
  },
  'an asynchronous function': async (watch) => {
    const kc = watched(watch, wq.prihigh, async (held) => {
      await Promise.resolve();
      return watch('the result', { held });
    });
    kc.schedule();
    await until(() => !kc.busy);
  },
  'a function that throws': (watch) =>
    void watched(watch, wq.softclock, (held) => {
      throw watch('the error', Object.assign(new Error('thrown'), { held }));
    }).schedule(),
  'an asynchronous function that throws': async (watch) => {
    const kc = watched(watch, wq.prihigh, async (held) => {
      await Promise.resolve();
      throw watch('the error', Object.assign(new Error('thrown'), { held }));
    });
    kc.schedule();
    await until(() => !kc.busy);
  },
  'a continuation that was stopped': (watch) => {
    const kc = watched(watch);
    kc.schedule(60_000);
    kc.stop();
    kc.schedule();
    kc.stop();
  },
  'a continuation that was destroyed': (watch) => {
    const kc = watched(watch, wq.softclock, ignore, { scope, signal });
    kc.schedule(60_000);
    kc.destroy();
  },
  'a continuation destroyed by its signal': (watch) => {
    const controller = new AbortController();
    watched(watch, wq.softclock, ignore, { signal: controller.signal }).schedule(60_000);
    controller.abort(watch('the reason', payload()));
  },
  'a continuation not destroyed by its signal': async (watch) => {
    const controller = watch('the controller', new AbortController());
    watched(watch, wq.softclock, ignore, { signal: controller.signal }).schedule();
    await turns();
  },
  'a continuation that was halted in flight': async (watch) => {
    const kc = watched(watch, wq.prihigh, () => turn());
    kc.schedule();
    await until(() => kc.running);
    await kc.halt();
  },
  'a continuation that was drained': async (watch) => {
    const kc = watched(watch, wq.prihigh, () => turn());
    kc.schedule();
    await until(() => kc.running);
    await new Promise<void>((resolve) => kc.drainAsync(() => resolve()));
  },
  'a continuation with a lock': async (watch) => {
    const lock = watch('the lock', new Mutex());
    watched(watch, wq.prihigh, () => turn(), {}, lock).schedule();
    watched(watch, wq.prihigh, ignore, {}, lock).schedule();
    await turns(6);
  },
  'a continuation that carries a context': async (watch) => {
    watched(watch, wq.softclock, ignore, { context: 'create' }).schedule();
    watched(watch, wq.softclock, ignore, { context: 'schedule' }).schedule();
    await turns();
  },
  'a run': async (watch) => {
    const arg = watch('the argument', payload());
    const options = { arg, signal, lock: mutex };
    const run = (): object => watch('the result', payload());
    await wq.prihigh.run(watch('the function', run), options);
  },
  'a run that rejects': async (watch) => {
    await wq.prihigh
      .run(() => Promise.reject(watch('the error', new Error('rejected'))), { signal })
      .catch(ignore);
  },
  'a run that throws': async (watch) => {
    const run = (): never => {
      throw watch('the error', new Error('thrown'));
    };
    await wq.softbio.run(watch('the function', run)).catch(ignore);
  },
  'a run that was aborted before it began': async (watch) => {
    const controller = new AbortController();
    const options = { delayMs: 60_000, signal: controller.signal };
    const running = wq.prihigh.run(using(watch), options).catch(ignore);
    controller.abort(watch('the reason', payload()));
    await running;
  },
  'a run that was aborted in flight': async (watch) => {
    const controller = new AbortController();
    const aborted = (inner: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        inner.addEventListener('abort', () => reject(inner.reason as Error), { once: true });
      });
    const running = wq.prihigh
      .run(watch('the function', aborted), { signal: controller.signal })
      .catch(ignore);
    await turns();
    controller.abort(watch('the reason', payload()));
    await running;
  },
  'a waiter of a lock': async (watch) => {
    const lock = new Mutex();
    await lock.enter();
    const controller = new AbortController();
    const waiting = lock.enter({ signal: controller.signal }).catch(ignore);
    controller.abort(watch('the reason', payload()));
    await waiting;
    lock.exit();
    await lock.run(using(watch));
    const hold = watch('the hold', await lock.hold());
    hold[Symbol.dispose]();
  },
  'readers and writers': async (watch) => {
    const { read, write } = new RWLock();
    await read.enter();
    const writing = write.enter().then(using(watch));
    read.exit();
    await writing;
    write.exit();
  },
  'a scope': async (watch) => {
    const own = new Scope();
    watched(watch, wq.softclock, ignore, { scope: own }).schedule(60_000);
    own[Symbol.dispose]();
    await turns();
  },
  setTimeout: (watch) => void timers.setTimeout(taking(watch), 1, watch('an argument', payload())),
  'setTimeout of many': (watch) => {
    for (let i = 0; i < 20; i++) timers.setTimeout(using(watch), 1);
  },
  'setTimeout that was cleared': (watch) => {
    timers.clearTimeout(timers.setTimeout(taking(watch), 60_000, watch('an argument', payload())));
  },
  'setTimeout whose primitive was requested': (watch) => {
    const timer = watch('the timer', timers.setTimeout(using(watch), 60_000));
    timers.clearTimeout(+timer);
    void +timers.setTimeout(using(watch), 1);
  },
  'setTimeout that throws': (watch) => {
    timers.setTimeout(() => {
      throw watch('the error', new Error('thrown'));
    }, 1);
  },
  setInterval: async (watch) => {
    const used = using(watch);
    let calls = 0;
    const interval = watch(
      'the interval',
      timers.setInterval(() => void (used(), calls++), 1),
    );
    await until(() => calls > 1);
    timers.clearInterval(interval);
  },
  setImmediate: (watch) => {
    timers.setImmediate(taking(watch), watch('an argument', payload()));
    timers.clearImmediate(timers.setImmediate(using(watch)));
  },
  'setTimeout of another kernel': (watch) => void plainTimers.setTimeout(using(watch), 1),
  'timers/promises': async (watch) => {
    await timers.promises.setTimeout(1, watch('the value', payload()), { signal });
    await timers.promises.setImmediate(watch('the value of the immediate', payload()), { signal });
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const waiting = timers.promises.setTimeout(60_000, watch('a value', payload()), options);
    controller.abort(watch('the reason', payload()));
    await waiting.catch(ignore);
  },
  'an interval of timers/promises': async (watch) => {
    const values = timers.promises.setInterval(1, watch('the value', payload()), { signal });
    for await (const value of values) if (value.bytes.length > 0) break;
  },
  postTask: async (watch) => {
    const scheduler = createScheduler(kernel);
    const controller = new TaskController();
    await scheduler.postTask(using(watch), { signal: controller.signal });
    await scheduler.postTask(using(watch), { delay: 1 });
    const options = { signal: controller.signal, delay: 60_000 };
    const aborted = scheduler.postTask(using(watch), options).catch(ignore);
    controller.abort(watch('the reason', payload()));
    await aborted;
  },
  'a deadline': async (watch) => {
    const deadline = createDeadline(kernel);
    const passed = watch('the signal', deadline(1));
    passed.addEventListener('abort', using(watch, 'the listener'));
    await until(() => passed.aborted);
    const released = watch('the released signal', deadline(60_000));
    released.addEventListener('abort', using(watch, 'a listener'));
    released[Symbol.dispose]();
  },
  'a lock request': async (watch) => {
    const locks = createLocks(kernel);
    const controller = new AbortController();
    const options = { signal: controller.signal };
    await locks.request('a', watch('the options', options), using(watch));
    await locks.request('a', async () => {
      const waiting = locks.request('a', options, using(watch)).catch(ignore);
      controller.abort(watch('the reason', payload()));
      await waiting;
    });
  },
  'a queue': async (watch) => {
    const queue = new KcontPQueue({ concurrency: 1 });
    const task = (): Promise<object> => Promise.resolve(watch('the result', payload()));
    await queue.add(watch('the task', task), { signal });
    await queue.add(() => Promise.reject(watch('the error', new Error('rejected')))).catch(ignore);
    await queue.onIdle();
  },
  'a pipeline': async (watch) => {
    const line = pipeline<object>('line')
      .stage('wrap', (item) => Promise.resolve(watch('the result', { item })))
      .stage('fail', ({ item }) => {
        if (item instanceof Error) throw item;
        return item;
      })
      .start({ kernel, signal });
    await line.run(watch('the input', payload()));
    await line.run(watch('the error', new Error('an item'))).catch(ignore);
    await new Promise((resolve) => line.push(watch('a pushed input', payload()), resolve));
    for await (const result of line.through([watch('a streamed input', payload())])) ignore(result);
    await line.close();
  },
};

const refs: { what: string; ref: WeakRef<object> }[] = [];

/** Runs a case, and returns the values that are still alive afterwards. */
async function heldAfter(run: Case): Promise<string[]> {
  refs.length = 0;
  await run((what, value) => {
    refs.push({ what, ref: new WeakRef(value) });
    return value;
  });
  const held = (): string[] =>
    refs.filter(({ ref }) => ref.deref() !== undefined).map((it) => it.what);
  // Dereferencing a WeakRef keeps its target alive until the end of the turn.
  for (let i = 0; i < 30; i++) {
    await turns();
    gc?.();
    await turns();
    if (held().length === 0) return [];
  }
  return held();
}

describe('finished work is not kept alive', () => {
  for (const [title, run] of Object.entries(cases)) {
    it(title, async () => {
      expect(await heldAfter(run)).to.deep.equal([]);
      expect(refs).not.to.have.length(0);
    });
  }
});
