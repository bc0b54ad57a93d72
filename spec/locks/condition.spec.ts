import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, Mutex, RWLock, type EnterOptions } from '../../lib/index.ts';
import { Condition } from '../../lib/sync.ts';
import { Lab, codeOf, rejectionOf, settled, soak } from '../support/lab.ts';

describe('Condition', () => {
  let lab: Lab;
  let lock: Mutex;
  let changed: Condition;
  beforeEach(() => {
    lab = new Lab();
    lock = new Mutex();
    changed = new Condition(lock);
  });

  /** Code that waits with the lock held, and releases it at the end. */
  async function waiter(name: string, options?: EnterOptions): Promise<void> {
    await lock.enter();
    await changed.wait(options).then(
      () => lab.ran.push(name),
      (error: unknown) => lab.ran.push(`${name}: ${String(error)}`),
    );
    expect(lock.held).to.equal(true);
    await settled();
    lock.exit();
  }

  it('releases the lock during the wait, and holds it afterwards', async () => {
    void waiter('a');
    await settled();
    expect([lock.held, changed.waiting]).to.deep.equal([false, 1]);
    await lock.enter();
    expect(changed.notify()).to.equal(1);
    await settled();
    expect([lab.take(), changed.waiting], 'the notifier has the lock').to.deep.equal([[], 0]);
    lock.exit();
    await settled();
    expect(lab.take()).to.deep.equal(['a']);
    await settled();
    expect(lock.held).to.equal(false);
  });

  it('wakes in the order of the waits, as many as it is told to', async () => {
    for (const name of ['a', 'b', 'c', 'd']) void waiter(name);
    await settled();
    expect([changed.notify(0), changed.notify(2), changed.waiting]).to.deep.equal([0, 2, 2]);
    for (let i = 0; i < 5; i++) await settled();
    expect(lab.take()).to.deep.equal(['a', 'b']);
    expect([changed.notifyAll(), changed.notifyAll(), changed.notify()]).to.deep.equal([2, 0, 0]);
    for (let i = 0; i < 5; i++) await settled();
    expect(lab.take()).to.deep.equal(['c', 'd']);
  });

  it('queues those it notifies for the lock at once, before code that comes later', async () => {
    void waiter('notified');
    await settled();
    await lock.enter();
    changed.notify();
    void lock.enter().then(() => {
      lab.ran.push('later');
      lock.exit();
    });
    lock.exit();
    for (let i = 0; i < 5; i++) await settled();
    expect(lab.take()).to.deep.equal(['notified', 'later']);
  });

  it('waits for the lock at the priority of the call', async () => {
    void waiter('low', { priority: 10 });
    void waiter('high', { priority: 200 });
    await settled();
    await lock.enter();
    changed.notifyAll();
    lock.exit();
    for (let i = 0; i < 5; i++) await settled();
    expect(lab.take()).to.deep.equal(['high', 'low']);
  });

  it('remembers nothing: a notification without a waiter is lost', async () => {
    expect(changed.notify()).to.equal(0);
    void waiter('a');
    await settled();
    expect([lab.take(), changed.waiting]).to.deep.equal([[], 1]);
  });

  it('loses no notification between the release of the lock and the wait', async () => {
    await lock.enter();
    // It gets the lock in the call of wait.
    void lock.enter().then(() => {
      changed.notify();
      lock.exit();
    });
    await changed.wait();
    expect(lock.held).to.equal(true);
  });

  describe('with a signal', () => {
    it('that is aborted takes the lock again before it rejects', async () => {
      const abort = new AbortController();
      void waiter('a', { signal: abort.signal });
      await settled();
      await lock.enter();
      abort.abort(new Error('too late'));
      await settled();
      expect([lab.take(), changed.waiting]).to.deep.equal([[], 0]);
      lock.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['a: Error: too late']);
    });

    it('that is aborted while it takes the lock again has been notified', async () => {
      const abort = new AbortController();
      void waiter('a', { signal: abort.signal });
      await settled();
      await lock.enter();
      changed.notify();
      abort.abort();
      lock.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('that is aborted again while it takes the lock after an abort rejects once', async () => {
      const abort = new AbortController();
      void waiter('a', { signal: abort.signal });
      void waiter('b');
      await settled();
      await lock.enter();
      abort.abort(new Error('first'));
      expect(changed.notify()).to.equal(1);
      lock.exit();
      for (let i = 0; i < 5; i++) await settled();
      expect(lab.take()).to.deep.equal(['a: Error: first', 'b']);
    });

    it('that is aborted, and not told yet, leaves the notification to the next', async () => {
      const abort = new AbortController();
      abort.signal.addEventListener('abort', () => changed.notify());
      void waiter('a', { signal: abort.signal });
      void waiter('b');
      await settled();
      abort.abort(new Error('aborted'));
      for (let i = 0; i < 5; i++) await settled();
      expect(lab.take().toSorted()).to.deep.equal(['a: Error: aborted', 'b']);
    });

    it('that is aborted already does not release the lock', async () => {
      await lock.enter();
      const other = lock.enter();
      const signal = AbortSignal.abort(new Error('before'));
      expect(await rejectionOf(changed.wait({ signal }))).to.equal('Error: before');
      expect(lock.held).to.equal(true);
      lock.exit();
      await other;
    });
  });

  describe('waitFor', () => {
    it('tests with the lock held, until it succeeds', async () => {
      let value = 0;
      const tests: string[] = [];
      const waiting = lock.run(async () => {
        await changed.waitFor(() => {
          tests.push(`${value} ${lock.held}`);
          return value === 2;
        });
        return 'done';
      });
      for (let i = 0; i < 3; i++) {
        await settled();
        await lock.run(() => {
          value++;
          changed.notify();
        });
      }
      expect(await waiting).to.equal('done');
      expect(tests).to.deep.equal(['0 true', '1 true', '2 true']);
      expect(lock.held).to.equal(false);
    });

    it('rejects with what the test throws, and holds the lock', async () => {
      await lock.enter();
      const failed = changed.waitFor(() => {
        throw new Error('test');
      });
      expect([await rejectionOf(failed), lock.held]).to.deep.equal(['Error: test', true]);
      expect(await rejectionOf(changed.waitFor(true as never))).to.equal('EINVAL');
    });
  });

  it('refuses a wait without the lock, and what is no lock', async () => {
    expect(await rejectionOf(changed.wait())).to.equal('EPERM');
    expect(await rejectionOf(changed.waitFor(() => false))).to.equal('EPERM');
    expect([changed.waiting, lock.held]).to.deep.equal([0, false]);
    for (const bad of [undefined, null, {}, new RWLock()]) {
      expect(codeOf(() => new Condition(bad as never))).to.equal('EINVAL');
    }
    for (const count of [-1, 1.5, NaN, Infinity, '1']) {
      expect(codeOf(() => changed.notify(count as never))).to.equal('EINVAL');
    }
    expect(changed.lock).to.equal(lock);
  });

  it('is waited for by the function of a continuation, whose lock it releases meanwhile', async () => {
    const take = new Kcont(
      lab.wq.prilow,
      lock,
      async () => {
        lab.ran.push('wait');
        await changed.wait();
        lab.ran.push('taken');
      },
      null,
    );
    const put = lab.sync('put', { lock, body: () => changed.notify() });
    take.schedule();
    await lab.clock.advance(0);
    put.schedule();
    await lab.clock.advance(0);
    expect(lab.take()).to.deep.equal(['wait', 'put', 'taken']);
    expect([lock.held, lab.reported]).to.deep.equal([false, []]);
  });

  it('works with every kind of lock', async () => {
    const { write } = new RWLock();
    const condition = new Condition(write);
    await write.enter();
    const waited = condition.wait();
    expect(write.held).to.equal(false);
    condition.notify();
    await waited;
    expect(write.held).to.equal(true);
  });

  it('makes a bounded queue that loses nothing and keeps the order', async () => {
    const programs = fc.array(fc.constantFrom('put', 'take'), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(programs, fc.integer({ min: 1, max: 3 }), async (program, most) => {
        const own = new Mutex();
        const notEmpty = new Condition(own);
        const notFull = new Condition(own);
        const items: number[] = [];
        const taken: number[] = [];
        let puts = 0;
        let takes = 0;
        const put = (item: number): Promise<void> =>
          own.run(async () => {
            await notFull.waitFor(() => items.length < most);
            items.push(item);
            expect(items.length).to.be.at.most(most);
            notEmpty.notify();
          });
        const take = (): Promise<void> =>
          own.run(async () => {
            await notEmpty.waitFor(() => items.length > 0);
            taken.push(items.shift() as number);
            notFull.notify();
          });
        const all: Promise<void>[] = [];
        for (const kind of program) {
          if (kind === 'put') all.push(put(puts++));
          else {
            takes++;
            all.push(take());
          }
          if (puts % 3 === 0) await settled();
        }
        while (takes < puts) {
          takes++;
          all.push(take());
        }
        while (puts < takes) all.push(put(puts++));
        await Promise.all(all);
        expect(taken.toSorted((a, b) => a - b)).to.deep.equal(
          Array.from({ length: puts }, (_, index) => index),
        );
        expect([own.held, notEmpty.waiting, notFull.waiting]).to.deep.equal([false, 0, 0]);
      }),
      { numRuns: 50 * soak },
    );
  });
});
