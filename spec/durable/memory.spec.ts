import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kernel, KcontError, VirtualClock } from '../../lib/index.ts';
import { durable, memory, type Durable } from '../../lib/durable/index.ts';
import type { BackendNode, ScheduleRequest } from '../../lib/durable/backend.ts';
import { conform, type Cluster } from './conformance.suite.ts';

/** A cluster in memory, on a virtual clock. */
function cluster(): Promise<Cluster> {
  const clock = new VirtualClock();
  const backend = memory();
  const nodes: Durable[] = [];
  let isOver = false;
  const pass = async (): Promise<void> => {
    await clock.advance(1);
    // Functions of the suite wait for immediates of the host.
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    const state = { isSettled: false };
    const done = (): void => {
      state.isSettled = true;
    };
    promise.then(done, done);
    while (!state.isSettled) await pass();
    return promise;
  };
  return Promise.resolve({
    async node(name, options) {
      const jobs = await durable({
        backend,
        node: name,
        kernel: new Kernel({ clock }),
        ...options,
      });
      nodes.push(jobs);
      return jobs;
    },
    async until(condition) {
      while (!(await condition())) {
        if (isOver) throw new Error('the cluster has ended');
        await pass();
      }
    },
    settled,
    async end() {
      isOver = true;
      for (const jobs of nodes) await settled(jobs.close({ graceMs: 0 }));
    },
  });
}

conform('memory()', cluster);

/** How a scheduled run leaves the backend. */
const LEAVING: Record<string, (node: BackendNode) => Promise<unknown>> = {
  stopped: (node) => node.stop('x', undefined),
  moved: (node) => node.schedule(request('x', 3000), false, undefined),
  'touched, and stopped': async (node) => {
    await node.touch('x', undefined);
    await node.stop('x', undefined);
  },
};

function request(id: string, delayMs: number): ScheduleRequest {
  return {
    id,
    handler: 'f',
    arg: undefined,
    priority: 0,
    lock: null,
    node: null,
    affinity: 'none',
    delayMs,
    everyMs: 0,
    catchUp: false,
    crashLimit: 5,
  };
}

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

describe('memory()', () => {
  it('refuses nodes whose kernels have different clocks', async () => {
    const backend = memory();
    const first = await durable({
      backend,
      node: 'a',
      kernel: new Kernel({ clock: new VirtualClock() }),
    });
    const other = durable({
      backend,
      node: 'b',
      kernel: new Kernel({ clock: new VirtualClock() }),
    });
    const error = await other.catch((thrown: unknown) => thrown);
    expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
    await first.close();
  });

  for (const [what, take] of Object.entries(LEAVING)) {
    it(`forgets at once what is ${what}, however late it would have been due`, async () => {
      const kernel = new Kernel({ clock: new VirtualClock() });
      const node = await memory().open({
        node: 'a',
        kernel,
        concurrency: 1,
        run: () => Promise.resolve({ kind: 'done' }),
        report: () => undefined,
      });
      await node.schedule(request('first', 1000), false, undefined);
      const schedule = (): WeakRef<ScheduleRequest> => {
        const later = request('x', 2000);
        void node.schedule(later, false, undefined);
        return new WeakRef(later);
      };
      const refs: WeakRef<ScheduleRequest>[] = [];
      for (let i = 0; i < 3; i++) {
        refs.push(schedule());
        await take(node);
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
      gc();
      expect(refs.map((ref) => ref.deref()?.id)).to.deep.equal([undefined, undefined, undefined]);
      await node.close();
    });
  }

  it('runs at the very millisecond on a virtual clock', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const jobs = await durable({ backend: memory(), kernel });
    const times: number[] = [];
    jobs.define('look', () => void times.push(kernel.now()));
    for (const ms of [5, 1, 3, 86_400_000]) {
      await jobs.kcont(`x:${ms}`, 'look', null).schedule(ms);
    }
    await clock.advance(86_400_000);
    expect(times).to.deep.equal([1, 3, 5, 86_400_000]);
    await jobs.close();
  });

  it('skips periods that were missed, or catches up with them', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const jobs = await durable({ backend: memory(), kernel });
    const times: string[] = [];
    jobs.define('look', (arg: string) => {
      times.push(`${arg} ${kernel.now()}`);
      // The clock jumps, as after the sleep of a machine.
      if (kernel.now() === 10)
        return new Promise((resolve) => void kernel.wq.prilow.run(resolve, { delayMs: 25 }));
      return undefined;
    });
    await jobs.kcont('s', 'look', 'skip').every(10);
    await jobs.kcont('c', 'look', 'catch').every(10, { catchUp: true });
    await clock.advance(40);
    expect(times).to.deep.equal([
      'skip 10',
      'catch 10',
      'catch 35',
      'catch 35',
      'skip 40',
      'catch 40',
    ]);
    await jobs.close();
  });
});
