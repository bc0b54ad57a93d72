// No promise is resolved twice. Node reports this by the event `multipleResolves`, up to Node 25.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler, TaskController } from '../../lib/compat/scheduler/index.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { Kcont, Kernel, Mutex } from '../../lib/index.ts';

const nothing = (): undefined => undefined;
const turn = (): Promise<void> => sleep(1);

const cases: Record<string, (kernel: Kernel) => Promise<unknown>> = {
  'a run that is aborted': async ({ wq }) => {
    const before = new AbortController();
    const runs = [
      wq.prihigh.run(nothing, { signal: before.signal, delayMs: 60_000 }).catch(nothing),
    ];
    const during = new AbortController();
    runs.push(wq.prihigh.run(() => sleep(2), { signal: during.signal }).then(nothing, nothing));
    await turn();
    before.abort();
    during.abort();
    await Promise.all(runs);
  },
  'a lock with a waiter': async () => {
    const mutex = new Mutex();
    await mutex.enter();
    const controller = new AbortController();
    const waiting = mutex.enter({ signal: controller.signal }).catch(nothing);
    controller.abort();
    mutex.exit();
    await waiting;
  },
  'a lock that is stolen': async (kernel) => {
    const locks = createLocks(kernel);
    await locks
      .request('name', async () => {
        await locks.request('name', { steal: true }, turn);
      })
      .catch(nothing);
  },
  'a task that is aborted': async (kernel) => {
    const scheduler = createScheduler(kernel);
    const controller = new TaskController();
    const tasks = [
      scheduler.postTask(nothing, { delay: 60_000, signal: controller.signal }).catch(nothing),
      scheduler.postTask(() => sleep(5), { signal: controller.signal }).catch(nothing),
    ];
    await turn();
    controller.abort();
    await Promise.all(tasks);
  },
  'a pipeline that closes within its grace period, and one that does not': async (kernel) => {
    for (const graceMs of [60_000, 1]) {
      const line = pipeline('line')
        .stage('sleep', () => sleep(10))
        .start({ kernel });
      const running = line.run(1).catch(nothing);
      await line.close({ graceMs });
      await running;
    }
  },
  'a continuation that is halted': async ({ wq }) => {
    const kc = new Kcont(wq.prihigh, null, () => sleep(5), null);
    kc.schedule();
    while (!kc.running) await turn();
    await Promise.all([kc.halt(), kc.halt()]);
  },
  'a drain that is aborted': async (kernel) => {
    const running = kernel.wq.prihigh.run(() => sleep(5));
    const controller = new AbortController();
    const draining = kernel.drain({ signal: controller.signal }).catch(nothing);
    controller.abort();
    await Promise.all([draining, running]);
  },
  'promises of timers': async (kernel) => {
    const { promises } = createTimers(kernel);
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = promises.setTimeout(60_000, 'value', { signal }).catch(nothing);
    await promises.setTimeout(1, 'value', { signal });
    await promises.setImmediate('value', { signal });
    for await (const value of promises.setInterval(1, 'value')) {
      // More than one period passes.
      await sleep(5);
      if (value === 'value') break;
    }
    controller.abort();
    await waiting;
    const pending = promises.setTimeout(60_000).catch(nothing);
    const interval = promises.setInterval(60_000).next().catch(nothing);
    await kernel.close();
    await Promise.all([pending, interval]);
  },
  'a kernel that closes within its grace period, and one that does not': async (kernel) => {
    for (const [one, graceMs] of [[new Kernel(), 60_000] as const, [kernel, 1] as const]) {
      const running = one.wq.prihigh.run(() => sleep(10)).catch(nothing);
      await turn();
      await one.close({ graceMs });
      await running;
    }
  },
};

describe('no promise is resolved twice', () => {
  const twice: unknown[] = [];
  const note = (type: string): void => void twice.push(type);

  for (const [title, run] of Object.entries(cases)) {
    it(`by ${title}`, async () => {
      twice.length = 0;
      process.on('multipleResolves', note);
      try {
        const kernel = new Kernel();
        await run(kernel);
        // The second resolution may come later.
        await sleep(15);
        await kernel.close();
      } finally {
        process.off('multipleResolves', note);
      }
      expect(twice).to.deep.equal([]);
    });
  }
});
