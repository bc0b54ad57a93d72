import * as peer from 'async-mutex';
import { expect } from 'chai';
import fc from 'fast-check';
import { useFakeTimers } from 'sinon';
import * as own from '../../../lib/compat/async-mutex/index.ts';
import { Kcont, Kernel, VirtualClock } from '../../../lib/index.ts';
import { Lab, codeOf, rejectionOf, settled, soak } from '../../support/lab.ts';
import { describeMutex } from '../../support/mutex-lock.ts';

const { E_ALREADY_LOCKED, E_CANCELED, E_TIMEOUT, Mutex, Semaphore } = own;

/** The part of both libraries that is compared. */
interface Library {
  readonly Mutex: new (cancelError?: Error) => own.MutexInterface;
  readonly Semaphore: new (value: number, cancelError?: Error) => own.SemaphoreInterface;
  readonly withTimeout: own.WithTimeout;
  readonly tryAcquire: own.TryAcquire;
}

/** A call of a random program. */
interface Step {
  readonly kind: string;
  readonly weight: number;
  readonly priority: number;
  readonly value: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    'acquire',
    'acquire',
    'run',
    'unlock',
    'release',
    'releaser',
    'releaser',
    'set',
    'cancel',
    'turn',
  ),
  weight: fc.constantFrom(1, 1, 2, 3),
  priority: fc.constantFrom(0, 0, -1, 1, 2.5, -100, 1e6),
  value: fc.integer({ min: -2, max: 4 }),
});

/** Plays a program, and returns what happened, in order. */
async function play(
  semaphore: own.SemaphoreInterface,
  program: readonly Step[],
): Promise<readonly string[]> {
  const log: string[] = [];
  const releasers: (() => void)[] = [];
  for (const [index, { kind, weight, priority, value }] of program.entries()) {
    const failed = (error: Error): void => void log.push(`${index} ${error.message}`);
    if (kind === 'acquire') {
      semaphore.acquire(weight, priority).then(([before, release]) => {
        log.push(`${index} got ${weight} of ${before}`);
        releasers.push(release);
      }, failed);
    } else if (kind === 'run') {
      semaphore
        .runExclusive((before) => log.push(`${index} ran at ${before}`), weight, priority)
        .catch(failed);
    } else if (kind === 'unlock') {
      void semaphore.waitForUnlock(weight, priority).then(() => log.push(`${index} unlocked`));
    } else if (kind === 'release') semaphore.release(weight);
    else if (kind === 'releaser') {
      const release = releasers.shift();
      release?.();
      release?.();
    } else if (kind === 'set') semaphore.setValue(value);
    else if (kind === 'cancel') {
      semaphore.cancel();
      // async-mutex tells those who wait for an unlock only when something is released.
      semaphore.setValue(semaphore.getValue());
    } else await settled();
    log.push(`${semaphore.getValue()} ${semaphore.isLocked()}`);
  }
  await settled();
  return log;
}

describe('kcont/async-mutex beside async-mutex', () => {
  it('does the same in random programs on a semaphore', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: -1, max: 4 }),
        async (program, value) => {
          const theirs = await play(new peer.Semaphore(value), program);
          expect(await play(new Semaphore(value), program)).to.deep.equal(theirs);
        },
      ),
      { numRuns: 300 * soak },
    );
  });

  it('does the same in random programs on a mutex', async () => {
    const playMutex = async (
      mutex: own.MutexInterface,
      program: readonly Step[],
    ): Promise<readonly string[]> => {
      const log: string[] = [];
      const events: string[] = [];
      for (const [index, { kind, priority }] of program.entries()) {
        const failed = (error: Error): void => void events.push(`${index} ${error.message}`);
        if (kind === 'acquire') {
          mutex.acquire(priority).then(() => events.push(`${index} got`), failed);
        } else if (kind === 'run') {
          mutex.runExclusive(() => events.push(`${index} ran`), priority).catch(failed);
        } else if (kind === 'unlock') {
          void mutex.waitForUnlock(priority).then(() => events.push(`${index} unlocked`));
        } else if (kind === 'cancel') mutex.cancel();
        else if (kind === 'turn') await settled();
        else mutex.release();
        const isLocked = mutex.isLocked();
        await settled();
        // Promises of async-mutex take other rounds of microtasks, so the order within a step may differ.
        log.push(`${isLocked}: ${events.splice(0).toSorted().join(', ')}`);
      }
      return log;
    };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (program) => {
        const theirs = await playMutex(new peer.Mutex(), program);
        expect(await playMutex(new Mutex(), program)).to.deep.equal(theirs);
      }),
      { numRuns: 300 * soak },
    );
  });

  it('times out at the same time', async () => {
    const clock = useFakeTimers();
    try {
      const program = async ({
        Mutex: Made,
        withTimeout,
        tryAcquire,
      }: Library): Promise<string[]> => {
        const log: string[] = [];
        const begin = clock.now;
        const at = (what: string) => () => void log.push(`${clock.now - begin}: ${what}`);
        const failed = (what: string) => (error: Error) => at(`${what} ${error.message}`)();
        const mutex = new Made();
        const timed = withTimeout(mutex, 100);
        const release = await timed.acquire();
        timed.acquire().then(at('acquire'), failed('acquire'));
        timed.runExclusive(at('ran')).catch(failed('run'));
        timed.waitForUnlock().then(at('unlocked'), failed('unlock'));
        tryAcquire(mutex).acquire().catch(failed('try'));
        tryAcquire(mutex, new Error('own')).waitForUnlock().catch(failed('try'));
        await clock.tickAsync(150);
        release();
        await clock.tickAsync(50);
        at(`${timed.isLocked()}`)();
        await withTimeout(mutex, 5).runExclusive(at('free'));
        return log;
      };
      expect((await program(own)).toSorted()).to.deep.equal((await program(peer)).toSorted());
    } finally {
      clock.restore();
    }
  });

  it('throws for weights that are not positive, as it does', async () => {
    for (const { Semaphore: Made, withTimeout } of [own, peer as Library]) {
      for (const made of [new Made(1), withTimeout(new Made(1), 5)]) {
        for (const weight of [0, -1]) {
          const message = `invalid weight ${weight}: must be positive`;
          expect(() => made.acquire(weight)).to.throw(message);
          expect(() => made.waitForUnlock(weight)).to.throw(message);
          expect(() => new Made(1).release(weight)).to.throw(message);
          expect(await rejectionOf(made.runExclusive(() => 1, weight))).to.include(message);
        }
      }
    }
  });
});

// As a lock of kcont; a mutex that is not locked is not held.
describeMutex('Mutex of kcont/async-mutex', () => new Mutex());

describe('Semaphore of kcont/async-mutex', () => {
  it('looks once at all calls of waitForUnlock that want the same', () => {
    const semaphore = new Semaphore(0);
    let looks = 0;
    const resolved: string[] = [];
    const wait = (name: string, weight: number, priority: number): (() => void) | null =>
      semaphore._untilUnlocked(weight, priority, () => resolved.push(name));
    const ends = [2, 1, 2, 0, 1].map((priority, i) => wait(`${i}`, 1, priority));
    for (let i = 0; i < 1000; i++) wait('heavy', 3, 0);
    ends[1]?.();
    ends[3]?.();
    let value = 0;
    Object.defineProperty(semaphore, 'value', {
      get() {
        looks++;
        return value;
      },
    });
    semaphore._changed();
    // The heavy ones, those of priority 2, and the one of priority 1.
    expect([looks, resolved]).to.deep.equal([3, []]);
    value = 1;
    semaphore._changed();
    expect(resolved).to.deep.equal(['0', '2', '4']);
    value = 3;
    semaphore._changed();
    expect([resolved.length, semaphore._isAwaited]).to.deep.equal([1003, false]);
  });

  it('takes fractions, and infinitely many', async () => {
    const half = new Semaphore(1);
    const [, release] = await half.acquire(0.5);
    await half.acquire(0.5);
    expect([half.getValue(), half.isLocked()]).to.deep.equal([0, true]);
    release();
    await half.waitForUnlock(0.5);
    expect(half.getValue()).to.equal(0.5);
    const endless = new Semaphore(Infinity);
    const lab = new Lab();
    const kc = lab.sync('kc', { lock: endless });
    await endless.runExclusive(() => kc.schedule(), 1000);
    lab.clock.tick(0);
    expect([endless.getValue(), lab.take(), lab.reported]).to.deep.equal([Infinity, ['kc'], []]);
  });

  it('limits continuations and calls together, which wait in one queue', async () => {
    const lab = new Lab();
    const semaphore = new Semaphore(1);
    const [, release] = await semaphore.acquire();
    const kc = lab.async('kc', { lock: semaphore });
    kc.schedule();
    lab.clock.tick(0);
    void semaphore.runExclusive((value) => lab.ran.push(`call at ${value}`));
    void semaphore.runExclusive(() => lab.ran.push('urgent call'), 1, 1);
    release();
    lab.clock.tick(0);
    await settled();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['urgent call', 'kc']);
    await lab.end(kc);
    expect(lab.take()).to.deep.equal(['call at 1']);
    expect(semaphore.getValue()).to.equal(1);
  });

  for (const priority of [Infinity, 1000, 0.5]) {
    it(`goes to a continuation whose patience is over, behind calls of priority ${priority}`, async () => {
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const semaphore = new Semaphore(1);
      const ran: string[] = [];
      const controller = new AbortController();
      const { signal } = controller;
      const call = async (): Promise<void> => {
        while (!signal.aborted) {
          const [, release] = await semaphore.acquire(1, priority);
          await wq.prihigh.run(() => {}, { delayMs: 20 });
          release();
        }
      };
      const calls = [call(), call()];
      await clock.advance(5);
      new Kcont(wq.prilow, semaphore, () => void ran.push('low'), null).schedule();
      for (let i = 0; i < 10; i++) await clock.advance(20);
      expect(ran).to.deep.equal(['low']);
      controller.abort();
      await clock.advance(40);
      await Promise.all(calls);
      expect(semaphore.isLocked()).to.equal(false);
    });
  }

  it('is also a semaphore of kcont', async () => {
    const semaphore = new Semaphore(3);
    await semaphore.enter({ weight: 2 });
    expect([semaphore.value, semaphore.capacity, semaphore.held]).to.deep.equal([1, 3, true]);
    semaphore.setValue(4);
    expect([semaphore.value, semaphore.capacity]).to.deep.equal([4, 6]);
    semaphore.exit(2);
    semaphore.release(5);
    expect([semaphore.value, semaphore.capacity, semaphore.held]).to.deep.equal([11, 11, false]);
  });

  it('tells those who wait for an unlock, also when somebody before them leaves', async () => {
    const lab = new Lab();
    const semaphore = new Semaphore(1);
    const abort = new AbortController();
    const entered = rejectionOf(semaphore.enter({ weight: 2, signal: abort.signal }));
    void semaphore.waitForUnlock().then(() => lab.ran.push('after the abort'));
    await settled();
    expect(lab.take()).to.deep.equal([]);
    abort.abort(new Error('aborted'));
    expect(await entered).to.equal('Error: aborted');
    await settled();
    expect(lab.take()).to.deep.equal(['after the abort']);
    const canceled = rejectionOf(semaphore.acquire(2));
    void semaphore.waitForUnlock().then(() => lab.ran.push('after cancel'));
    semaphore.cancel();
    await canceled;
    await settled();
    expect(lab.take()).to.deep.equal(['after cancel']);
  });
});

describe('cancel of kcont/async-mutex', () => {
  it('rejects all calls in their order, and grants nothing meanwhile', async () => {
    const lab = new Lab();
    const semaphore = new Semaphore(1, new Error('own'));
    const note = (name: string) => (error: Error) => void lab.ran.push(`${name} ${error.message}`);
    semaphore.acquire(2, -1).catch(note('low'));
    semaphore.acquire(1, -2).catch(note('fits'));
    semaphore.acquire(2).catch(note('default'));
    semaphore.cancel();
    semaphore.cancel();
    await settled();
    expect(lab.take()).to.deep.equal(['default own', 'low own', 'fits own']);
    expect(semaphore.getValue()).to.equal(1);
  });

  it('leaves continuations and calls of enter waiting, and lets them in', async () => {
    const lab = new Lab();
    const semaphore = new Semaphore(2);
    const canceled = rejectionOf(semaphore.acquire(3));
    const kc = lab.sync('kc', { lock: semaphore });
    kc.schedule();
    lab.clock.tick(0);
    void semaphore.enter().then(() => lab.ran.push('code'));
    await settled();
    expect(lab.take()).to.deep.equal([]);
    semaphore.cancel();
    expect(await canceled).to.equal(String(E_CANCELED));
    lab.clock.tick(0);
    await settled();
    expect(lab.take().toSorted()).to.deep.equal(['code', 'kc']);
  });

  it('does nothing if nobody has ever waited', () => {
    const mutex = new Mutex();
    mutex.cancel();
    expect(mutex.isLocked()).to.equal(false);
  });
});

describe('withTimeout of kcont/async-mutex', () => {
  let lab: Lab;
  let timeouts: own.Timeouts;
  beforeEach(() => {
    lab = new Lab();
    timeouts = own.createTimeouts(lab.kernel);
  });

  /** Records when a promise has settled. */
  function note(promise: Promise<unknown>, name: string): void {
    promise.then(
      () => lab.ran.push(`${lab.clock.now} ${name}`),
      (error: unknown) => lab.ran.push(`${lab.clock.now} ${name} ${String(error)}`),
    );
  }

  it('uses the clock of its kernel', async () => {
    const mutex = new Mutex();
    const timed = timeouts.withTimeout(mutex, 100);
    await timed.acquire();
    note(timed.acquire(), 'acquire');
    note(
      timed.runExclusive(() => 1),
      'run',
    );
    note(timed.waitForUnlock(), 'unlock');
    note(timeouts.tryAcquire(mutex).acquire(), 'try');
    await lab.clock.advance(99.9);
    expect(lab.take()).to.deep.equal([`0 try ${String(E_ALREADY_LOCKED)}`]);
    await lab.clock.advance(10);
    expect(lab.take().toSorted()).to.deep.equal(
      ['acquire', 'run', 'unlock'].map((name) => `100 ${name} ${String(E_TIMEOUT)}`),
    );
  });

  it('needs no timer for what can be locked at once, and leaves none behind', async () => {
    const semaphore = timeouts.withTimeout(new Semaphore(2), 100);
    const [value, release] = await semaphore.acquire(2);
    expect([value, lab.kernel.inspect()]).to.deep.equal([2, lab.kernel.inspect()]);
    const idle = JSON.stringify(lab.kernel.inspect());
    note(semaphore.acquire(), 'acquire');
    expect(JSON.stringify(lab.kernel.inspect())).not.to.equal(idle);
    release();
    await settled();
    expect(lab.take()).to.deep.equal(['0 acquire']);
    expect(JSON.stringify(lab.kernel.inspect())).to.equal(idle);
    semaphore.release();
    await semaphore.waitForUnlock(2);
    expect([semaphore.getValue(), semaphore.isLocked()]).to.deep.equal([2, false]);
    semaphore.setValue(0);
    expect(semaphore.isLocked()).to.equal(true);
    note(semaphore.acquire(), 'canceled');
    semaphore.cancel();
    await settled();
    expect(lab.take()).to.deep.equal([`0 canceled ${String(E_CANCELED)}`]);
  });

  it('leaves the queue when the time has passed: those behind do not wait for it', async () => {
    const semaphore = new Semaphore(1);
    note(timeouts.withTimeout(semaphore, 100).acquire(2), 'heavy');
    note(semaphore.acquire(), 'light');
    note(semaphore.waitForUnlock(1, 1), 'unlock');
    await lab.clock.advance(99);
    expect(lab.take()).to.deep.equal(['0 unlock']);
    await lab.clock.advance(1);
    expect(lab.take()).to.deep.equal([`100 heavy ${String(E_TIMEOUT)}`, '100 light']);
  });

  it('tells those who wait for an unlock after those whose time has passed as well', async () => {
    const semaphore = new Semaphore(1);
    const timed = timeouts.withTimeout(semaphore, 100);
    note(timed.acquire(2), 'heavy');
    note(timed.waitForUnlock(), 'timed unlock');
    note(semaphore.waitForUnlock(), 'unlock');
    await lab.clock.advance(100);
    expect(lab.take().toSorted()).to.deep.equal([
      `100 heavy ${String(E_TIMEOUT)}`,
      `100 timed unlock ${String(E_TIMEOUT)}`,
      '100 unlock',
    ]);
  });

  it('waits for as long as it is told to, and 1 ms for what is no delay', async () => {
    const mutex = new Mutex();
    await mutex.acquire();
    for (const [name, ms] of Object.entries({ NaN, '-1': -1, Infinity: Infinity, long: 2 ** 40 })) {
      note(timeouts.withTimeout(mutex, ms, new Error('own')).acquire(), name);
    }
    await lab.clock.advance(1);
    expect(lab.take()).to.deep.equal(['1 NaN Error: own', '1 -1 Error: own']);
    await lab.clock.advance(2 ** 40);
    expect(lab.take()).to.deep.equal([`${2 ** 40} long Error: own`]);
  });

  it('unlocks at once what a mutex of another make gives it too late', async () => {
    const log: string[] = [];
    for (const inner of [
      new peer.Mutex() as own.MutexInterface,
      timeouts.withTimeout(new Mutex(), 1000),
    ]) {
      const timed = timeouts.withTimeout(inner, 100);
      const release = await timed.acquire();
      note(timed.acquire(), 'acquire');
      note(timed.waitForUnlock(), 'unlock');
      await lab.clock.advance(100);
      release();
      await settled();
      log.push(
        ...lab
          .take()
          .map((line) => line.replace(/^\d+ /, ''))
          .toSorted(),
        `${inner.isLocked()}`,
      );
      timed.release();
      await timed.runExclusive(() => log.push('free'));
      await timed.waitForUnlock();
      const taken = await timed.acquire();
      const canceled = rejectionOf(timed.acquire());
      timed.cancel();
      log.push(await canceled);
      taken();
    }
    const failed = ['acquire', 'unlock'].map((name) => `${name} ${String(E_TIMEOUT)}`);
    const each = [...failed, 'false', 'free', String(E_CANCELED)];
    expect(log).to.deep.equal([...each, ...each]);
  });

  it('takes semaphores of another make, with their weights', async () => {
    const semaphore = new peer.Semaphore(3) as own.SemaphoreInterface;
    const timed = timeouts.withTimeout(semaphore, 100);
    const [value, release] = await timed.acquire(2);
    expect([value, timed.getValue()]).to.deep.equal([3, 1]);
    note(timed.acquire(2), 'acquire');
    note(timed.waitForUnlock(1), 'unlock');
    await lab.clock.advance(50);
    release();
    await settled();
    expect(lab.take().toSorted()).to.deep.equal(['50 acquire', '50 unlock']);
    timed.release(2);
    expect(semaphore.getValue()).to.equal(3);
  });

  it('rejects what waits when its kernel is closed, and what would have to wait then', async () => {
    const mutex = new Mutex();
    const timed = timeouts.withTimeout(mutex, 100);
    await timed.acquire();
    const waiting = rejectionOf(timed.acquire());
    await lab.kernel.close({ graceMs: 0 });
    expect(await waiting).to.equal('ESHUTDOWN');
    expect(await rejectionOf(timed.acquire())).to.equal('ESHUTDOWN');
    expect(await rejectionOf(timed.waitForUnlock())).to.equal('ESHUTDOWN');
    timed.release();
    // Nothing was left in the queue.
    expect(await timed.runExclusive(() => 'free')).to.equal('free');
  });

  it('rejects with its own error what cannot be locked at once, also when its kernel is closed', async () => {
    const mutex = new Mutex();
    const trying = timeouts.tryAcquire(mutex, new Error('taken'));
    await lab.kernel.close({ graceMs: 0 });
    await trying.acquire();
    for (const wait of [trying.acquire(), trying.waitForUnlock()]) {
      expect(await wait.catch(String)).to.equal('Error: taken');
    }
    trying.release();
    expect(await trying.runExclusive(() => 'free')).to.equal('free');
  });

  it('tells those who wait for an unlock when its kernel is closed', async () => {
    const semaphore = new Semaphore(1);
    const heavy = rejectionOf(timeouts.withTimeout(semaphore, 100).acquire(2));
    const unlocked = semaphore.waitForUnlock();
    await lab.kernel.close({ graceMs: 0 });
    expect(await heavy).to.equal('ESHUTDOWN');
    await unlocked;
  });

  it('passes the methods of a semaphore on', async () => {
    const semaphore = new Semaphore(3);
    const timed = timeouts.withTimeout(semaphore, 100);
    expect(await timed.runExclusive((value) => value - semaphore.getValue(), 2)).to.equal(2);
    timed.release(2);
    expect([semaphore.getValue(), timed.isLocked()]).to.deep.equal([5, false]);
    const failed = timed.runExclusive(() => {
      throw new Error('failed');
    });
    expect([await rejectionOf(failed), timed.getValue()]).to.deep.equal(['Error: failed', 5]);
  });

  it('keeps a limited number of idle timers', async () => {
    const mutex = new Mutex();
    const timed = timeouts.withTimeout(mutex, 100);
    await mutex.acquire();
    const waiting = Array.from({ length: 1100 }, () => rejectionOf(timed.acquire()));
    await lab.clock.advance(100);
    expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set([String(E_TIMEOUT)]));
  });

  it('refuses what is no kernel', () => {
    expect(codeOf(() => own.createTimeouts({} as never))).to.equal('EINVAL');
    expect(() => own.createTimeouts(new Kernel({ clock: new VirtualClock() }))).not.to.throw();
  });
});
