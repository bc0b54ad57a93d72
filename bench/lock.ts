// Locks: taken by the dispatcher, by awaiting code, and by a hundred at once.

import { Mutex as AsyncMutex } from 'async-mutex';
import PQueue from 'p-queue';
import { Kcont, Kernel, Mutex } from '../lib/index.ts';
import {
  costs,
  sized,
  type Bench,
  type Case,
  type Effort,
  type Goal,
  type Side,
} from './harness/bench.ts';
import { awaited, bareCalls, soon } from './harness/floors.ts';
import { expectSame, expectTrue, timed } from './harness/timed.ts';

const ASYNC_MUTEX = 'async-mutex';
const P_QUEUE = 'p-queue, concurrency 1';
const SAME = 'of the same priority';
const MANY = 1000;
const CROWD = 100;

function goals(atLeast: number): Goal[] {
  return [
    { against: ASYNC_MUTEX, atLeast },
    { against: P_QUEUE, atLeast },
  ];
}

/** Whatever has a lock: no two are inside at once, and each is counted. */
class Room {
  inside = 0;
  most = 0;
  left = 0;

  enter(): void {
    if (++this.inside > this.most) this.most = this.inside;
  }

  leave(): void {
    this.inside--;
    this.left++;
  }

  /** Sync work under the lock. */
  readonly pass = (): void => {
    this.enter();
    this.leave();
  };

  /** Async work under the lock. */
  readonly stay = async (): Promise<void> => {
    this.enter();
    await soon;
    this.leave();
  };

  check(ops: number): void {
    expectSame('runs under the lock', this.left, ops);
    expectSame('the most inside at once', this.most, 1);
    this.left = 0;
    this.most = 0;
  }
}

/** A thousand of them, each with a lock of its own. */
function uncontended(effort: Effort): Case {
  const count = sized(effort, MANY);
  return {
    name: 'uncontended: run soon, lock taken, entered, released; bursts of 1 k',
    metrics: costs('ns', ...goals(20)),
    sides() {
      const room = new Room();
      const { wq } = new Kernel();
      let finish = (): void => undefined;
      let entered = 0;
      const enter = (lock: Mutex): void => {
        room.pass();
        if (!lock.held) throw new Error('entered without the lock');
        if (++entered === count) finish();
      };
      const kcs = Array.from({ length: count }, () => {
        const lock = new Mutex();
        return new Kcont(wq.softnet, lock, enter, lock);
      });
      const mutexes = Array.from({ length: count }, () => new AsyncMutex());
      const queues = Array.from({ length: count }, () => new PQueue({ concurrency: 1 }));
      return [
        timed('kcont', 'kcont', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              entered = 0;
              const finished = new Promise<void>((resolve) => (finish = resolve));
              for (const kc of kcs) kc.schedule();
              await finished;
            }
          },
          check(ops) {
            room.check(ops);
            expectTrue('all locks are free', !kcs.some(({ lock }) => lock?.held === true));
          },
        }),
        timed('peer', ASYNC_MUTEX, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(mutexes.map((mutex) => mutex.runExclusive(room.pass)));
            }
          },
          check(ops) {
            room.check(ops);
            expectTrue('all locks are free', !mutexes.some((mutex) => mutex.isLocked()));
          },
        }),
        timed('peer', P_QUEUE, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(queues.map((queue) => queue.add(room.pass)));
            }
          },
          check: (ops) => room.check(ops),
        }),
        bareCalls(count),
      ];
    },
  };
}

/** By awaiting code, nobody else wants it. */
function enterExit(): Case {
  return {
    name: 'await enter, exit',
    metrics: costs('ns', { against: ASYNC_MUTEX, atLeast: 3 }),
    sides() {
      const room = new Room();
      const lock = new Mutex();
      const mutex = new AsyncMutex();
      return [
        timed('kcont', 'kcont', {
          async run(ops) {
            for (let i = 0; i < ops; i++) {
              await lock.enter();
              room.pass();
              lock.exit();
            }
          },
          check(ops) {
            room.check(ops);
            expectTrue('the lock is free', !lock.held);
          },
        }),
        timed('peer', ASYNC_MUTEX, {
          async run(ops) {
            for (let i = 0; i < ops; i++) {
              const release = await mutex.acquire();
              room.pass();
              release();
            }
          },
          check: (ops) => room.check(ops),
        }),
        awaited(),
      ];
    },
  };
}

/** A hundred at once want one lock, and hold it across an await. */
function contended(effort: Effort): Case {
  const count = sized(effort, CROWD);
  return {
    name: 'contended by 100: run an async function with the lock held',
    metrics: costs('ns', ...goals(3)),
    sides() {
      const room = new Room();
      const lock = new Mutex();
      const mutex = new AsyncMutex();
      const queue = new PQueue({ concurrency: 1 });
      const hundred = Array.from({ length: count });
      return [
        timed('kcont', 'kcont', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(hundred.map(() => lock.run(room.stay)));
            }
          },
          check: (ops) => room.check(ops),
        }),
        timed('peer', ASYNC_MUTEX, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(hundred.map(() => mutex.runExclusive(room.stay)));
            }
          },
          check: (ops) => room.check(ops),
        }),
        timed('peer', P_QUEUE, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(hundred.map(() => queue.add(room.stay)));
            }
          },
          check: (ops) => room.check(ops),
        }),
        awaited(),
      ];
    },
  };
}

/** The same for a hundred continuations with one lock. */
function crowd(effort: Effort): Case {
  const count = sized(effort, CROWD);
  return {
    name: 'contended by 100 continuations with an async function each',
    metrics: costs('ns', ...goals(3)),
    sides() {
      const room = new Room();
      const { wq } = new Kernel();
      const lock = new Mutex();
      const kcs = Array.from({ length: count }, () => new Kcont(wq.prihigh, lock, room.stay, null));
      const mutex = new AsyncMutex();
      const queue = new PQueue({ concurrency: 1 });
      const hundred = Array.from({ length: count });
      return [
        timed('kcont', 'kcont', {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              for (const kc of kcs) kc.schedule();
              await wq.prihigh.drain();
            }
          },
          check: (ops) => room.check(ops),
        }),
        timed('peer', ASYNC_MUTEX, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              await Promise.all(hundred.map(() => mutex.runExclusive(room.stay)));
            }
          },
          check: (ops) => room.check(ops),
        }),
        timed('peer', P_QUEUE, {
          batch: count,
          async run(ops) {
            for (let done = 0; done < ops; done += count) {
              for (let i = 0; i < count; i++) void queue.add(room.stay);
              await queue.onIdle();
            }
          },
          check: (ops) => room.check(ops),
        }),
        awaited(),
      ];
    },
  };
}

/** Holders of a lock that await another run, while one of priority `high` waits for the lock. */
function holders(
  count: number,
  role: Side['role'],
  title: string,
  high: 'prihigh' | 'prilow',
  isLocked: boolean,
): Side {
  let ran = 0;
  const { wq } = new Kernel();
  const pass = (): void => void ran++;
  const all = Array.from({ length: count }, () => {
    const lock = isLocked ? new Mutex() : null;
    const waiter = new Kcont(wq[high], lock, pass, null);
    const part = async (): Promise<void> => {
      waiter.schedule();
      await wq.prilow.run(pass);
    };
    return new Kcont(wq.prilow, lock, part, null);
  });
  return timed(role, title, {
    batch: count,
    async run(ops) {
      for (let done = 0; done < ops; done += count) {
        for (const holder of all) holder.schedule();
        await wq.prilow.drain();
        await wq[high].drain();
      }
    },
    check(ops) {
      expectSame('runs', ran, 2 * ops);
      ran = 0;
    },
  });
}

/** A holder awaits another run, and somebody waits for its lock: the run is moved to the priority of the waiter. */
function inverted(effort: Effort): Case {
  const count = sized(effort, CROWD);
  return {
    name: 'a holder awaits a run, while one of higher priority waits',
    metrics: costs('ns', { against: SAME, atMost: 1.5 }),
    sides: () => [
      holders(count, 'kcont', 'kcont', 'prihigh', true),
      holders(count, 'peer', SAME, 'prilow', true),
      holders(count, 'floor', 'without a lock', 'prihigh', false),
    ],
  };
}

export const bench: Bench = {
  name: 'lock',
  about: 'A mutex: by the dispatcher, by code that awaits it, and with a hundred who want it.',
  cases: (effort) => [
    uncontended(effort),
    enterExit(),
    contended(effort),
    crowd(effort),
    inverted(effort),
  ],
};
