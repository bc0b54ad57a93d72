// Semaphores, a lock for each key, and the API of async-mutex, beside async-mutex.

import * as asyncMutex from 'async-mutex';
import * as ours from '../lib/compat/async-mutex/index.ts';
import { KeyedLocks, Semaphore } from '../lib/sync.ts';
import { costs, type Bench, type Case, type Role } from './harness/bench.ts';
import { soon } from './harness/floors.ts';
import { bursts, expectTrue, timed } from './harness/timed.ts';

const PEER = 'async-mutex';
const CROWD = 100;
const KEYS = 1000;
const LATE_MS = 60_000;

type Side = ReturnType<typeof timed>;

/** Calls one after the other, each awaited. */
function oneByOne(role: Role, name: string, call: () => Promise<unknown>): Side {
  return timed(role, name, {
    async run(ops) {
      for (let i = 0; i < ops; i++) await call();
    },
  });
}

/** Many calls at a time. */
function crowd(role: Role, name: string, call: () => Promise<number>): Side {
  return timed(role, name, bursts(CROWD, call, CROWD));
}

async function stay(): Promise<number> {
  await soon;
  return 1;
}

/** Free units, by code. */
function enterExit(): Case {
  return {
    name: 'Semaphore: await enter, exit',
    metrics: costs('ns', { against: PEER, atLeast: 1 }),
    sides: () => {
      const semaphore = new Semaphore(4);
      const theirs = new asyncMutex.Semaphore(4);
      return [
        oneByOne('kcont', 'kcont', async () => {
          await semaphore.enter();
          semaphore.exit();
        }),
        oneByOne('floor', 'kcont, 2 units', async () => {
          await semaphore.enter({ weight: 2 });
          semaphore.exit(2);
        }),
        oneByOne('peer', PEER, async () => {
          const [, release] = await theirs.acquire();
          release();
        }),
        oneByOne('peer', `${PEER}, 2 units`, async () => {
          const [, release] = await theirs.acquire(2);
          release();
        }),
      ];
    },
  };
}

/** A hundred at once, four at a time. */
function contended(): Case {
  return {
    name: 'Semaphore of 4: run an async function, 100 at a time',
    metrics: costs('ns', { against: PEER, atLeast: 1 }),
    sides: () => {
      const semaphore = new Semaphore(4);
      const replaced = new ours.Semaphore(4);
      const theirs = new asyncMutex.Semaphore(4);
      return [
        crowd('kcont', 'kcont', () => semaphore.run(stay)),
        crowd('floor', 'kcont/async-mutex', () => replaced.runExclusive(stay)),
        crowd('peer', PEER, () => theirs.runExclusive(stay)),
      ];
    },
  };
}

/** The drop-in. */
function dropIn(): Case {
  return {
    name: 'kcont/async-mutex: runExclusive of an async function, 100 at a time',
    metrics: costs('ns', { against: PEER, atLeast: 1 }),
    sides: () => {
      const mutex = new ours.Mutex();
      const theirs = new asyncMutex.Mutex();
      return [
        crowd('kcont', 'kcont', () => mutex.runExclusive(stay)),
        crowd('peer', PEER, () => theirs.runExclusive(stay)),
      ];
    },
  };
}

/** A lock that nobody has, with a timeout. */
function freeWithTimeout(): Case {
  return {
    name: 'kcont/async-mutex: withTimeout, runExclusive, free',
    metrics: costs('ns', { against: PEER, atLeast: 2 }),
    sides: () => {
      const mutex = ours.withTimeout(new ours.Mutex(), LATE_MS);
      const theirs = asyncMutex.withTimeout(new asyncMutex.Mutex(), LATE_MS);
      return [
        oneByOne('kcont', 'kcont', () => mutex.runExclusive(() => 1)),
        oneByOne('peer', PEER, () => theirs.runExclusive(() => 1)),
      ];
    },
  };
}

/** Each waits, and has a timer meanwhile. */
function waitWithTimeout(): Case {
  return {
    name: 'kcont/async-mutex: withTimeout, runExclusive, 100 at a time',
    metrics: costs('ns', { against: PEER, atLeast: 2 }),
    sides: () => {
      const mutex = ours.withTimeout(new ours.Mutex(), LATE_MS);
      const theirs = asyncMutex.withTimeout(new asyncMutex.Mutex(), LATE_MS);
      return [
        crowd('kcont', 'kcont', () => mutex.runExclusive(stay)),
        crowd('peer', PEER, () => theirs.runExclusive(stay)),
      ];
    },
  };
}

/** Each call has a key of its own: nobody waits, and each lock is made and freed. */
function keyed(): Case {
  return {
    name: 'KeyedLocks: run an async function, 1 k keys',
    metrics: costs('ns', { against: `a Map with ${PEER}`, atLeast: 1 }),
    sides: () => {
      const locks = new KeyedLocks<number>();
      const theirs = new Map<number, { mutex: asyncMutex.Mutex; users: number }>();
      let key = 0;
      const freed = (): void => expectTrue('all keys are free', locks.size + theirs.size === 0);
      const inMap = async (): Promise<number> => {
        const own = key++ % KEYS;
        let found = theirs.get(own);
        if (found === undefined) {
          theirs.set(own, (found = { mutex: new asyncMutex.Mutex(), users: 0 }));
        }
        found.users++;
        try {
          return await found.mutex.runExclusive(stay);
        } finally {
          if (--found.users === 0) theirs.delete(own);
        }
      };
      const ofKeys = bursts(CROWD, () => locks.run(key++ % KEYS, stay), CROWD);
      const ofMap = bursts(CROWD, inMap, CROWD);
      return [
        timed('kcont', 'kcont', { ...ofKeys, after: freed }),
        timed('peer', `a Map with ${PEER}`, { ...ofMap, after: freed }),
      ];
    },
  };
}

export const bench: Bench = {
  name: 'sync',
  about: 'Semaphores, locks per key, and the API of async-mutex. The time for each call.',
  cases: () => [enterExit(), contended(), dropIn(), freeWithTimeout(), waitWithTimeout(), keyed()],
};
