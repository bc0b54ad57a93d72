// Everything that waits with the same AbortSignal joins one group, which has one listener.
import { getEventListeners } from 'node:events';
import { expect } from 'chai';
import PQueue from 'p-queue';
import { describe, it } from 'mocha';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { TaskController, TaskSignal, createScheduler } from '../../lib/compat/scheduler/index.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { join, leave, type AbortMember } from '../../lib/base/abort-listeners.ts';
import { Kcont, Mutex, RMLock, RWLock } from '../../lib/index.ts';
import { deferred, Lab, settled } from '../support/lab.ts';

const MANY = 100;
const REASON = new Error('enough');

function listeners(signal: AbortSignal): number {
  return getEventListeners(signal, 'abort').length;
}

/** Something that waits with a signal, and how the wait ends without an abort. */
interface Waiting {
  wait(signal: AbortSignal): Promise<unknown>;
  end(): Promise<void>;
}

const entrances: Record<string, (lab: Lab) => Waiting> = {
  'run, queued': ({ wq, clock }) => ({
    wait: (signal) => wq.prilow.run(() => 1, { signal }),
    end: () => clock.advance(0),
  }),
  'run, delayed': ({ wq, clock }) => ({
    wait: (signal) => wq.prilow.run(() => 1, { signal, delayMs: 5 }),
    end: () => clock.advance(5),
  }),
  'Mutex.enter': () => {
    const lock = new Mutex();
    lock.tryEnter();
    return {
      wait: (signal) => lock.enter({ signal }).then(() => lock.exit()),
      end: async () => lock.exit(),
    };
  },
  'Mutex.hold': () => {
    const lock = new Mutex();
    lock.tryEnter();
    return {
      wait: (signal) => lock.hold({ signal }).then((held) => held[Symbol.dispose]()),
      end: async () => lock.exit(),
    };
  },
  'Mutex.run': () => {
    const lock = new Mutex();
    lock.tryEnter();
    return {
      wait: (signal) => lock.run(() => 1, { signal }),
      end: async () => lock.exit(),
    };
  },
  'RWLock.read.enter': () => {
    const { read, write } = new RWLock();
    write.tryEnter();
    return {
      wait: (signal) => read.enter({ signal }).then(() => read.exit()),
      end: async () => write.exit(),
    };
  },
  'RMLock.write.enter': () => {
    const { read, write } = new RMLock();
    read.tryEnter();
    return {
      wait: (signal) => write.enter({ signal }).then(() => write.exit()),
      end: async () => read.exit(),
    };
  },
  'Workqueue.drain': ({ wq, clock }) => {
    new Kcont(wq.prilow, null, () => {}, null).schedule();
    return { wait: (signal) => wq.prilow.drain({ signal }), end: () => clock.advance(0) };
  },
  'Pipeline.drain': ({ kernel, clock }) => {
    const line = pipeline<number>()
      .stage('one', (n) => n, { wq: 'softclock' })
      .start({ kernel });
    line.push(1);
    return { wait: (signal) => line.drain({ signal }), end: () => clock.advance(0) };
  },
  'Executor.drain': ({ wq, clock }) => {
    const executor = createExecutor(wq.prilow, { autoStart: false });
    void executor.run(() => 1);
    return {
      wait: (signal) => executor.drain({ signal }),
      end: async () => {
        executor.start();
        await clock.advance(0);
      },
    };
  },
  'Kernel.drain': ({ kernel, wq, clock }) => {
    new Kcont(wq.prilow, null, () => {}, null).schedule();
    return { wait: (signal) => kernel.drain({ signal }), end: () => clock.advance(0) };
  },
  'an item of a pipeline': ({ kernel, clock }) => {
    const line = pipeline<number>()
      .stage('one', (n) => n, { wq: 'softclock' })
      .start({ kernel });
    return { wait: (signal) => line.run(1, { signal }), end: () => clock.advance(0) };
  },
  'a passage through a pipeline': ({ kernel, clock }) => {
    const gate = deferred();
    const line = pipeline<number>()
      .stage('one', (n) => n)
      .start({ kernel });
    async function* source(): AsyncGenerator<number> {
      yield 1;
      await gate.promise;
    }
    return {
      wait: (signal) => line.pump(source(), () => {}, { signal }),
      end: async () => {
        gate.resolve();
        await clock.advance(0);
      },
    };
  },
  'scheduler.postTask': ({ kernel, clock }) => {
    const scheduler = createScheduler(kernel);
    return {
      wait: (signal) => scheduler.postTask(() => 1, { signal }),
      end: () => clock.advance(0),
    };
  },
  'scheduler.postTask, delayed': ({ kernel, clock }) => {
    const scheduler = createScheduler(kernel);
    return {
      wait: (signal) => scheduler.postTask(() => 1, { signal, delay: 5 }),
      end: () => clock.advance(5),
    };
  },
  'locks.request': ({ kernel, clock }) => {
    const locks = createLocks(kernel);
    const gate = deferred();
    void locks.request('name', () => gate.promise);
    return {
      wait: (signal) => locks.request('name', { signal }, () => 1),
      end: async () => {
        gate.resolve();
        await clock.advance(0);
      },
    };
  },
  'an executor': ({ wq, clock }) => {
    const executor = createExecutor(wq.prilow, { autoStart: false });
    return {
      wait: (signal) => executor.run(() => 1, { signal }),
      end: async () => {
        executor.start();
        await clock.advance(0);
      },
    };
  },
  'timers/promises setTimeout': ({ kernel, clock }) => {
    const { promises } = createTimers(kernel);
    return {
      wait: (signal) =>
        promises.setTimeout(5, 1, { signal }).catch((error: Error) => {
          throw error.cause as Error;
        }),
      end: () => clock.advance(5),
    };
  },
  'timers/promises setImmediate': ({ kernel, clock }) => {
    const { promises } = createTimers(kernel);
    return {
      wait: (signal) =>
        promises.setImmediate(1, { signal }).catch((error: Error) => {
          throw error.cause as Error;
        }),
      end: () => clock.advance(0),
    };
  },
};

describe('an AbortSignal with many members', () => {
  for (const [name, entrance] of Object.entries(entrances)) {
    it(`has one listener, and notifies members in the order in which they joined: ${name}`, async () => {
      const lab = new Lab();
      const { wait } = entrance(lab);
      const controller = new AbortController();
      const { signal } = controller;
      const told: string[] = [];
      for (let i = 0; i < MANY; i++) {
        wait(signal).then(
          () => told.push(`${i} fulfilled`),
          (reason: unknown) => told.push(reason === REASON ? `${i}` : String(reason)),
        );
      }
      await settled();
      expect(listeners(signal)).to.equal(1);
      controller.abort(REASON);
      await settled();
      expect(told).to.deep.equal(Array.from({ length: MANY }, (_, i) => `${i}`));
      expect(listeners(signal)).to.equal(0);
      expect(lab.reported).to.deep.equal([]);
    });

    it(`has no listener when all members have ended: ${name}`, async () => {
      const { wait, end } = entrance(new Lab());
      const { signal } = new AbortController();
      const all = Promise.all(Array.from({ length: MANY }, () => wait(signal)));
      await settled();
      await end();
      await all;
      await settled();
      expect(listeners(signal)).to.equal(0);
    });

    it(`ignores events while it is not aborted: ${name}`, async () => {
      const { wait } = entrance(new Lab());
      const controller = new AbortController();
      const { signal } = controller;
      const told: unknown[] = [];
      void wait(signal).then(
        () => told.push('fulfilled'),
        (reason: unknown) => told.push(reason),
      );
      await settled();
      for (const _ of [1, 2]) signal.dispatchEvent(new Event('abort'));
      await settled();
      expect(told).to.deep.equal([]);
      expect(listeners(signal)).to.equal(1);
      controller.abort(REASON);
      await settled();
      expect(told).to.deep.equal([REASON]);
    });

    it(`takes effect immediately if it is already aborted: ${name}`, async () => {
      const { wait } = entrance(new Lab());
      const signal = AbortSignal.abort(REASON);
      const reason: unknown = await wait(signal).catch((error: unknown) => error);
      expect(reason).to.equal(REASON);
      expect(listeners(signal)).to.equal(0);
    });

    it(`takes effect as a part of AbortSignal.any: ${name}`, async () => {
      const { wait } = entrance(new Lab());
      const controller = new AbortController();
      const both = AbortSignal.any([controller.signal, new AbortController().signal]);
      const reasons = Promise.all([0, 1].map(() => wait(both).catch((error: unknown) => error)));
      await settled();
      expect(listeners(both)).to.equal(1);
      controller.abort(REASON);
      expect(await reasons).to.deep.equal([REASON, REASON]);
    });
  }

  it('destroys the remaining continuations in the order in which they were created', () => {
    const { wq, clock, ran } = new Lab();
    const controller = new AbortController();
    const { signal } = controller;
    const kcs = Array.from(
      { length: MANY },
      (_, i) => new Kcont(wq.prilow, null, () => void ran.push(`${i}`), null, { signal }),
    );
    for (const kc of kcs) kc.schedule();
    expect(listeners(signal)).to.equal(1);
    kcs[0]?.destroy();
    kcs[7]?.destroy();
    expect(listeners(signal)).to.equal(1);
    controller.abort();
    expect(kcs.every(({ destroyed }) => destroyed)).to.equal(true);
    clock.tick(0);
    expect(ran).to.deep.equal([]);
    const late = new Kcont(wq.prilow, null, () => {}, null, { signal });
    expect([late.destroyed, listeners(signal)]).to.deep.equal([true, 0]);
  });

  it('aborts a pipeline that was started with it', async () => {
    const { kernel } = new Lab();
    const controller = new AbortController();
    const { signal } = controller;
    const plan = pipeline<number>().stage('one', (n) => n);
    const lines = Array.from({ length: MANY }, () => plan.start({ kernel, signal }));
    expect(listeners(signal)).to.equal(1);
    await lines[0]?.close();
    controller.abort(REASON);
    const results = lines.map((line) => line.run(1).catch((error: Error) => error.message));
    expect(new Set(await Promise.all(results)).size).to.equal(1);
    expect(listeners(signal)).to.equal(0);
  });

  it('takes effect as a part of a TaskSignal', async () => {
    const { kernel } = new Lab();
    const scheduler = createScheduler(kernel);
    const controller = new TaskController();
    const signal = TaskSignal.any([controller.signal], { priority: 'background' });
    const tasks = Array.from({ length: MANY }, () =>
      scheduler.postTask(() => 1, { signal }).catch((error: unknown) => error),
    );
    expect(listeners(signal)).to.equal(1);
    controller.abort(REASON);
    expect(new Set(await Promise.all(tasks))).to.deep.equal(new Set([REASON]));
  });

  it('has no listener after an executor is cleared, or its run withdrawn by a closed kernel', async () => {
    const { kernel, wq } = new Lab();
    const executor = createExecutor(wq.prilow, { autoStart: false });
    const { signal } = new AbortController();
    void executor.run(() => 1, { signal }).catch(() => {});
    expect(listeners(signal)).to.equal(1);
    executor.queue.clear();
    expect(listeners(signal)).to.equal(0);
    const withdrawn = executor.run(() => 1, { signal }).catch((error: Error) => error.message);
    void kernel.close({ graceMs: 0 });
    expect(await withdrawn).to.equal('the kernel is closed');
    expect(listeners(signal)).to.equal(0);
  });

  it('reaches the functions of an executor through a signal of their own', async () => {
    const { wq, clock } = new Lab();
    const executor = createExecutor(wq.prilow);
    expect(executor.queue).to.be.an.instanceOf(PQueue);
    const controller = new AbortController();
    const told: unknown[] = [];
    const run = executor
      .run(
        (signal) =>
          new Promise<void>((resolve) => {
            signal.addEventListener('abort', () => {
              told.push(signal.reason);
              resolve();
            });
          }),
        { signal: controller.signal },
      )
      .catch((error: unknown) => error);
    await clock.advance(0);
    controller.abort(REASON);
    expect(await run).to.equal(REASON);
    expect(told).to.deep.equal([REASON]);
  });
});

describe('the members of a signal', () => {
  class Group {
    readonly controller: AbortController = new AbortController();
    readonly signal: AbortSignal = this.controller.signal;
    readonly told: string[] = [];

    member(name: string, body: () => void = () => {}): AbortMember {
      const member = {
        _abort: (reason: unknown): void => {
          this.told.push(`${name} ${String(reason)}`);
          body();
        },
      };
      join(this.signal, member);
      return member;
    }
  }

  it('are notified even if one of them throws, which is an uncaught exception', async () => {
    const group = new Group();
    const thrown: unknown[] = [];
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error));
    try {
      group.member('a', () => {
        throw REASON;
      });
      group.member('b', () => {
        throw REASON;
      });
      group.member('c');
      group.controller.abort('now');
      expect(group.told).to.deep.equal(['a now', 'b now', 'c now']);
      await settled();
      expect(thrown).to.deep.equal([REASON, REASON]);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const other of others) process.on('uncaughtException', other);
    }
  });

  it('are not notified after they have left, even during a notification', () => {
    const group = new Group();
    group.member('a', () => leave(group.signal, c));
    const b = group.member('b');
    const c = group.member('c');
    group.member('d', () => leave(group.signal, e));
    const e = group.member('e');
    leave(group.signal, b);
    leave(group.signal, b);
    group.controller.abort('now');
    expect(group.told).to.deep.equal(['a now', 'd now']);
    expect(listeners(group.signal)).to.equal(0);
    leave(group.signal, b);
    leave(new AbortController().signal, b);
  });

  it('may leave and join in any order', () => {
    const group = new Group();
    const [a, b] = [group.member('a'), group.member('b')];
    leave(group.signal, a);
    expect(listeners(group.signal)).to.equal(1);
    const c = group.member('c');
    leave(group.signal, b);
    leave(group.signal, c);
    expect(listeners(group.signal)).to.equal(0);
    group.member('d');
    group.member('e');
    expect(listeners(group.signal)).to.equal(1);
    group.controller.abort('now');
    expect(group.told).to.deep.equal(['d now', 'e now']);
  });

  it('are notified even if another listener stops the event', () => {
    const group = new Group();
    group.signal.addEventListener('abort', (event) => event.stopImmediatePropagation());
    group.member('a');
    group.controller.abort('now');
    expect(group.told).to.deep.equal(['a now']);
  });

  it('are not notified by an event that a program dispatches, before or after the abort', () => {
    const group = new Group();
    group.member('a');
    const dispatch = (): boolean => group.signal.dispatchEvent(new Event('abort'));
    dispatch();
    group.member('b');
    dispatch();
    expect(group.told).to.deep.equal([]);
    expect(listeners(group.signal)).to.equal(1);
    group.controller.abort('now');
    dispatch();
    expect(group.told).to.deep.equal(['a now', 'b now']);
    expect(listeners(group.signal)).to.equal(0);
  });

  it('join and leave at the same cost, whatever their number', () => {
    const group = new Group();
    const member = (): AbortMember => ({ _abort: () => {} });
    const many = Array.from({ length: 200_000 }, member);
    for (const one of many) join(group.signal, one);
    for (const one of many) leave(group.signal, one);
    expect(listeners(group.signal)).to.equal(0);
  }).timeout(10_000);

  it('can be collected with the signal, and the signal with them', async () => {
    const { wq, clock } = new Lab();
    const refs: WeakRef<object>[] = [];
    const { signal: kept } = new AbortController();
    await (async () => {
      const controller = new AbortController();
      const { signal } = controller;
      const kc = new Kcont(wq.prilow, null, () => {}, null, { signal });
      const destroyed = new Kcont(wq.prilow, null, () => {}, null, { signal: kept });
      destroyed.destroy();
      refs.push(new WeakRef(signal), new WeakRef(kc), new WeakRef(destroyed));
      const abort = new AbortController();
      const run = wq.prilow.run(() => 1, { signal: kept });
      const aborted = new Mutex();
      aborted.tryEnter();
      const entering = aborted.enter({ signal: abort.signal }).catch(() => {});
      abort.abort();
      await entering;
      refs.push(new WeakRef(abort.signal), new WeakRef(aborted));
      clock.tick(0);
      await run;
    })();
    for (let i = 0; i < 10 && refs.some((ref) => ref.deref() !== undefined); i++) {
      await settled();
      (globalThis as { gc?: () => void }).gc?.();
    }
    expect(refs.map((ref) => ref.deref() === undefined)).to.deep.equal(refs.map(() => true));
    expect(listeners(kept)).to.equal(0);
  });
});

describe('a lock and a signal', () => {
  it('that is granted and aborted in one tick is held if and only if the promise is fulfilled', async () => {
    for (const first of ['granted', 'aborted']) {
      const lock = new Mutex();
      lock.tryEnter();
      const controller = new AbortController();
      const entered = lock.enter({ signal: controller.signal }).then(
        () => true,
        () => false,
      );
      if (first === 'granted') lock.exit();
      controller.abort();
      if (first === 'aborted') lock.exit();
      const isHeld = await entered;
      expect([isHeld, lock.held]).to.deep.equal([first === 'granted', first === 'granted']);
    }
  });

  it('aborted for many waiters grants the lock to none of them', async () => {
    const lock = new RWLock();
    lock.read.tryEnter();
    const controller = new AbortController();
    const { signal } = controller;
    const how: string[] = [];
    const note = (name: string, entering: Promise<void>): void =>
      void entering.then(
        () => how.push(`${name} in`),
        () => how.push(`${name} gave up`),
      );
    note('writer', lock.write.enter({ signal }));
    note('reader', lock.read.enter({ signal }));
    note('another', lock.read.enter());
    controller.abort();
    await settled();
    expect(how.toSorted()).to.deep.equal(['another in', 'reader gave up', 'writer gave up']);
    lock.read.exit();
    lock.read.exit();
    expect(lock.read.held).to.equal(false);
  });

  it('aborted for the holder too: waiters with the same signal do not get the lock', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    const controller = new AbortController();
    controller.signal.addEventListener('abort', () => lock.exit());
    const entering = lock.enter({ signal: controller.signal }).catch((error: unknown) => error);
    controller.abort(REASON);
    expect(await entering).to.equal(REASON);
    expect(lock.held).to.equal(false);
  });
});
