// Arguments, results, errors and abort reasons of other CPUs can be collected on both sides.
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import { closeAfterEach, startTestKernel } from '../support/cpus.ts';

describe('what has run on another CPU can be collected', () => {
  closeAfterEach();

  it("on the caller's CPU and on the other one", async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const watched: { what: string; ref: WeakRef<object> }[] = [];
    const watch = <V extends object>(what: string, value: V): V => {
      watched.push({ what, ref: new WeakRef(value) });
      return value;
    };
    const arg = (of: string): object =>
      watch(`the argument of ${of}`, { bytes: new Uint8Array(64) });
    const error = (what: string, reason: unknown): void => void watch(what, reason as Error);

    watch('a result', await queue.run(work.useAndReturn, { arg: arg('a run'), cpu }));
    await queue
      .run(work.useAndReject, { arg: arg('a run that rejects'), cpu })
      .catch((reason) => error('an error', reason));
    const abort = async (): Promise<void> => {
      const controller = new AbortController();
      const { signal } = controller;
      const running = queue
        .run(work.useUntilAborted, { arg: arg('an aborted run'), cpu, signal })
        .catch((reason) => error('what an aborted run rejects with', reason));
      await queue.run(work.where, { cpu, signal });
      controller.abort(watch('a reason', new Error('aborted')));
      await running;
    };
    await abort();
    // A handle that another CPU knows is kept alive until it is destroyed.
    const continuations = async (): Promise<void> => {
      const kc = watch('a handle', new Kcont<object>(queue, null, work.use, arg('a continuation')));
      kc.schedule(0, cpu);
      await queue.run(work.where, { cpu });
      await kc[Symbol.asyncDispose]();
    };
    await continuations();

    let there: [held: number, all: number];
    let here: string[] = [];
    let looks = 0;
    do {
      await turn();
      gc?.();
      here = watched.filter(({ ref }) => ref.deref() !== undefined).map(({ what }) => what);
      there = await queue.run(work.watchedHere, { cpu });
    } while (++looks < 30 && (here.length > 0 || there[0] > 0));
    expect(here).to.deep.equal([]);
    expect(there).to.deep.equal([0, 8]);
  });
});
