import { expect } from 'chai';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  Scope,
  SpinLock,
  VirtualClock,
  type Workqueue,
} from '../../lib/index.ts';
import { createPrivate } from '../../lib/core/workqueue-registry.ts';
import { codeOf, deferred, Lab, rejectionOf, settled } from '../support/lab.ts';

describe('Kernel.acquire', () => {
  it('returns the same workqueue for the same criteria, and another one for others', () => {
    const { kernel } = new Lab();
    const onError = (): void => {};
    const a = kernel.acquire(50);
    expect(kernel.acquire(50)).to.equal(a);
    expect(kernel.acquire(50, {})).to.equal(a);
    expect(kernel.acquire(50, { maxActive: Infinity, perCpu: false })).to.equal(a);
    const others = [
      kernel.acquire(51),
      kernel.acquire(50, { maxActive: 3 }),
      kernel.acquire(50, { maxActive: 4 }),
      kernel.acquire(50, { perCpu: true }),
      kernel.acquire(50, { patienceMs: 7 }),
      kernel.acquire(50, { onError }),
    ];
    expect(new Set([a, ...others]).size).to.equal(7);
    expect(kernel.acquire(50, { maxActive: 3 })).to.equal(others[1]);
    expect(kernel.acquire(50, { onError })).to.equal(others[5]);
  });

  it('creates a workqueue for each name, which is shown in all reports', async () => {
    const clock = new VirtualClock();
    const own = new Kernel({ clock });
    const a = own.acquire(50, { name: 'a', maxActive: 1 });
    const b = own.acquire(50, { name: 'b', maxActive: 1 });
    const unnamed = own.acquire(50, { maxActive: 1 });
    expect([a, b, unnamed].map(({ name }) => name)).to.deep.equal(['a', 'b', 'pri50']);
    expect(own.acquire(50, { name: 'a', maxActive: 1 })).to.equal(a);
    expect(own.acquire(50, { name: 'pri50', maxActive: 1 })).to.equal(unnamed);
    expect(own.acquire(50, { name: 'a', maxActive: 2 })).to.not.equal(a);
    expect(own.acquire(215, { name: 'softnet' })).to.equal(own.wq.softnet);
    const ran: string[] = [];
    for (const queue of [a, b, unnamed]) {
      void queue.run(() => {
        ran.push(queue.name);
        return new Promise<void>(() => undefined);
      });
    }
    clock.tick(0);
    expect(ran).to.deep.equal(['a', 'b', 'pri50']);
    expect(a.stats().name).to.equal('a');
    expect(own.inspect().workqueues.map(({ name }) => name)).to.include.members(['a', 'b']);
    const closing = own.close({ graceMs: 0 });
    await clock.advance(200);
    expect((await closing).unfinished.map(({ wq }) => wq)).to.deep.equal(['a', 'b', 'pri50']);
  });

  it('creates a named workqueue first and an unnamed one after it', () => {
    const own = new Kernel({ clock: new VirtualClock() });
    expect(own.acquire(50, { name: 'pri50' })).to.equal(own.acquire(50));
  });

  it('returns the predefined workqueue for its priority alone', () => {
    const { kernel, wq } = new Lab();
    expect(kernel.acquire(127)).to.equal(wq.prihigh);
    expect(kernel.acquire(127, { maxActive: 2 })).to.not.equal(wq.prihigh);
  });

  it('finds a workqueue among many without a search', () => {
    const { kernel, wq } = new Lab();
    const made = Array.from({ length: 1000 }, (_, i) =>
      kernel.acquire(50, { name: `tenant ${i}` }),
    );
    let searches = 0;
    const { queues } = wq.softclock._dispatcher;
    queues[Symbol.iterator] = () => {
      searches++;
      return queues.values();
    };
    expect(kernel.acquire(50, { name: 'tenant 999' })).to.equal(made[999]);
    expect(made).to.not.include(kernel.acquire(50, { name: 'tenant 1000' }));
    expect(kernel.acquire(127)).to.equal(wq.prihigh);
    expect(searches).to.equal(0);
  });

  it('returns another workqueue for another onError, shed or shares', () => {
    const { kernel } = new Lab();
    const [one, other] = [(): void => {}, (): void => {}];
    const options = [
      {},
      { onError: one },
      { onError: other },
      { shed: {} },
      { shed: { targetMs: 7 } },
      { shares: 1 },
      { name: '=' },
    ];
    const made = options.map((given) => kernel.acquire(50, given));
    expect(new Set(made).size).to.equal(options.length);
    expect(options.map((given) => kernel.acquire(50, given))).to.deep.equal(made);
  });

  it('returns a new workqueue when the one before has been freed', () => {
    const { kernel } = new Lab();
    const before = kernel.acquire(50, { name: 'a' });
    before.release();
    const after = kernel.acquire(50, { name: 'a' });
    expect(after).to.not.equal(before);
    expect(kernel.acquire(50, { name: 'a' })).to.equal(after);
  });

  it('never returns a workqueue of another kernel', () => {
    expect(new Lab().kernel.acquire(50)).to.not.equal(new Lab().kernel.acquire(50));
  });

  it('refuses invalid criteria', () => {
    const { kernel } = new Lab();
    for (const bad of [-1, 224, 0.5, NaN, Infinity]) {
      expect(
        codeOf(() => kernel.acquire(bad)),
        String(bad),
      ).to.equal('EINVAL');
    }
    for (const bad of [0, -1, 1.5, NaN]) {
      expect(
        codeOf(() => kernel.acquire(50, { maxActive: bad })),
        String(bad),
      ).to.equal('EINVAL');
    }
    for (const bad of [-1, NaN]) {
      expect(
        codeOf(() => kernel.acquire(50, { patienceMs: bad })),
        String(bad),
      ).to.equal('EINVAL');
    }
  });

  it('tells which priorities take synchronous functions only', () => {
    const { kernel } = new Lab();
    expect(kernel.acquire(191).fast).to.equal(false);
    expect(kernel.acquire(192).fast).to.equal(true);
  });
});

describe('Workqueue', () => {
  describe('release()', () => {
    it('frees it when the last acquire is released', () => {
      const { kernel } = new Lab();
      const a = kernel.acquire(50);
      kernel.acquire(50);
      a.release();
      expect(kernel.acquire(50)).to.equal(a);
      a.release();
      a.release();
      expect(kernel.acquire(50)).to.not.equal(a);
    });

    it('does not free it before its last continuation is destroyed', () => {
      const lab = new Lab();
      const a = lab.kernel.acquire(50);
      const kc = lab.sync('a', { wq: a });
      a.release();
      expect(lab.kernel.acquire(50)).to.equal(a);
      a.release();
      kc.schedule(5);
      lab.clock.tick(5);
      expect(lab.take()).to.deep.equal(['a']);
      kc.destroy();
      kc.destroy();
      expect(lab.kernel.acquire(50)).to.not.equal(a);
    });

    it('fails with EINVAL if called too often', () => {
      const lab = new Lab();
      const a = lab.kernel.acquire(50);
      const kc = lab.sync('a', { wq: a });
      a.release();
      expect(codeOf(() => a.release())).to.equal('EINVAL');
      kc.schedule(0);
      lab.clock.tick(0);
      expect(lab.take(), 'the reference of the continuation is its own').to.deep.equal(['a']);
    });

    /** Each starts a long run, and releases everything except that run. */
    const ways: Record<string, (lab: Lab, wq: Workqueue, run: Promise<void>) => void> = {
      'whose continuation is destroyed': (lab, wq, run) => {
        const kc = new Kcont(wq, null, () => run, null, { name: 'last' });
        kc.schedule();
        lab.clock.tick(0);
        kc.destroy();
      },
      'whose continuation has destroyed itself': (lab, wq, run) => {
        const body = (_: null, kc: Kcont<null>): Promise<void> => {
          kc.destroy();
          return run;
        };
        new Kcont(wq, null, body, null, { name: 'last' }).schedule();
        lab.clock.tick(0);
      },
      'whose scope is disposed': (lab, wq, run) => {
        using scope = new Scope();
        new Kcont(wq, null, () => run, null, { name: 'last', scope }).schedule();
        lab.clock.tick(0);
      },
      'whose signal is aborted': (lab, wq, run) => {
        const hangUp = new AbortController();
        const { signal } = hangUp;
        new Kcont(wq, null, () => run, null, { name: 'last', signal }).schedule();
        lab.clock.tick(0);
        hangUp.abort();
      },
      'of run': (lab, wq, run) => {
        void wq.run(() => run, { name: 'last' }).catch(() => undefined);
        lab.clock.tick(0);
      },
    };
    for (const [way, begin] of Object.entries(ways)) {
      it(`frees it only when the last run has settled, ${way}`, async () => {
        const lab = new Lab();
        const wq = lab.kernel.acquire(42, { maxActive: 1 });
        const run = deferred();
        begin(lab, wq, run.promise);
        wq.release();
        expect(lab.kernel.inspect()).to.include({ queued: 0, running: 1 });
        const same = lab.kernel.acquire(42, { maxActive: 1 });
        expect(same, 'its limit still counts').to.equal(wq);
        same.release();
        let drained = false;
        void lab.kernel.drain().then(() => (drained = true));
        await settled();
        expect(drained).to.equal(false);
        run.resolve();
        await settled();
        expect(drained).to.equal(true);
        expect(lab.kernel.inspect().workqueues.map(({ name }) => name)).to.not.include('pri42');
        expect(lab.kernel.acquire(42, { maxActive: 1 })).to.not.equal(wq);
        expect(codeOf(() => wq.release())).to.equal('EINVAL');
      });

      it(`is waited for and reported by close while a run is in flight, ${way}`, async () => {
        for (const graceMs of [0, 1000]) {
          const lab = new Lab();
          const wq = lab.kernel.acquire(42);
          const run = deferred();
          begin(lab, wq, run.promise);
          wq.release();
          const closing = lab.kernel.close({ graceMs });
          await lab.clock.advance(500);
          run.resolve();
          await lab.clock.advance(2000);
          const left = (await closing).unfinished.map(({ name, wq: at }) => `${name} on ${at}`);
          expect(left).to.deep.equal(graceMs === 0 ? ['last on pri42'] : []);
        }
      });
    }

    it('of a private workqueue leaves its limit to the workqueues that share it', async () => {
      const lab = new Lab();
      const low = createPrivate(lab.wq.prilow, 'low', 40, 1);
      const high = createPrivate(lab.wq.prilow, 'high', 60, low);
      const last = lab.async('last', { wq: high });
      const next = lab.async('next', { wq: low });
      last.schedule();
      lab.clock.tick(0);
      last.destroy();
      high.release();
      next.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['last']);
      await lab.end(last);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['next']);
      expect([low._available, low._sharing?.length]).to.deep.equal([0, 1]);
    });

    it('never frees a predefined workqueue', () => {
      const lab = new Lab();
      const a = lab.kernel.acquire(127);
      a.release();
      expect(lab.kernel.acquire(127)).to.equal(lab.wq.prihigh);
      lab.sync('a', { wq: a }).schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
    });
  });

  describe('by priority', () => {
    it('is dispatched strictly: the highest level first, first in first out within it', () => {
      const lab = new Lab();
      const levels = [0, 50, 103, 111, 119, 127, 128, 191, 192, 199, 207, 215, 223];
      for (const priority of levels) {
        for (const nth of [1, 2]) {
          lab.sync(`${priority}.${nth}`, { wq: lab.kernel.acquire(priority) }).schedule(0);
        }
      }
      lab.clock.tick(0);
      const expected = levels.toReversed().flatMap((level) => [`${level}.1`, `${level}.2`]);
      expect(lab.take()).to.deep.equal(expected);
    });

    it('goes to higher priorities that arrive in between before it continues', () => {
      const lab = new Lab();
      const high = lab.sync('high', { wq: lab.wq.softnet });
      const first = lab.sync('first', { wq: lab.wq.prilow, body: () => high.schedule(0) });
      const second = lab.sync('second', { wq: lab.wq.prilow });
      first.schedule(0);
      second.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['first', 'high', 'second']);
    });

    it('keeps the order of two workqueues of one priority', () => {
      const lab = new Lab();
      const one = lab.kernel.acquire(50);
      const two = lab.kernel.acquire(50, { maxActive: 9 });
      lab.sync('a', { wq: one }).schedule(0);
      lab.sync('b', { wq: two }).schedule(0);
      lab.sync('c', { wq: one }).schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'b', 'c']);
    });

    it('orders timers and jobs by when they became runnable', () => {
      const lab = new Lab();
      lab.sync('timer at 5', { body: () => lab.sync('job of 5').schedule(0) }).schedule(5);
      lab.sync('another at 5').schedule(5);
      lab.sync('timer at 3').schedule(3);
      lab.clock.tick(10);
      expect(lab.take()).to.deep.equal(['timer at 3', 'timer at 5', 'another at 5', 'job of 5']);
    });
  });

  describe('with maxActive', () => {
    it('has at most so many async runs in flight, in order', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 2 });
      const kcs = ['a', 'b', 'c', 'd'].map((name) => lab.async(name, { wq }));
      for (const kc of kcs) kc.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'b']);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
      const [a, b, c] = kcs;
      if (a === undefined || b === undefined || c === undefined) throw new Error('three');
      await lab.end(b);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['c']);
      await lab.fail(a, new Error('boom'));
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['d']);
      expect(lab.reported).to.deep.equal(['boom']);
    });

    it('does not hold up other workqueues of its priority', () => {
      const lab = new Lab();
      const one = lab.kernel.acquire(50, { maxActive: 1 });
      lab.async('a', { wq: one }).schedule(0);
      lab.async('b', { wq: one }).schedule(0);
      lab.sync('c', { wq: lab.kernel.acquire(50) }).schedule(0);
      lab.sync('d', { wq: lab.kernel.acquire(40) }).schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'c', 'd']);
    });

    it('does not count sync functions that have returned', () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      for (const name of ['a', 'b', 'c']) lab.sync(name, { wq }).schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'b', 'c']);
    });

    const leave: [name: string, leave: (kc: ReturnType<Lab['sync']>) => void][] = [
      ['stopped', (kc) => kc.stop()],
      ['destroyed', (kc) => kc.destroy()],
      ['reset to later', (kc) => kc.reset(1000)],
    ];
    for (const [how, go] of leave) {
      it(`lets the next one run if the one that was resumed is ${how}`, async () => {
        const lab = new Lab();
        const wq = lab.kernel.acquire(50, { maxActive: 1 });
        const first = lab.async('first', { wq });
        const second = lab.async('second', { wq });
        const third = lab.async('third', { wq });
        for (const kc of [first, second, third]) kc.schedule(0);
        lab.clock.tick(0);
        await lab.end(first);
        go(second);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['first', 'third']);
      });
    }

    it('lets the next one run if the one that was resumed finds its lock busy', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const lock = new Mutex();
      const first = lab.async('first', { wq });
      const second = lab.sync('second', { wq, lock });
      const third = lab.async('third', { wq });
      for (const kc of [first, second, third]) kc.schedule(0);
      lab.clock.tick(0);
      lock.tryEnter();
      await lab.end(first);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['first', 'third']);
      lock.exit();
      lab.clock.tick(0);
      expect(lab.take(), 'no room').to.deep.equal([]);
      expect(lock.held).to.equal(false);
      await lab.end(third);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['second']);
    });

    it('enters a continuation once, even if its lock was changed while it waited', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const old = new Mutex();
      const fresh = new Mutex();
      const busy = lab.async('busy', { wq });
      const first = lab.sync('first', { wq, lock: old });
      const second = lab.sync('second', { wq });
      for (const kc of [busy, first, second]) kc.schedule(0);
      lab.clock.tick(0);
      old.tryEnter();
      expect(first.setLock(fresh)).to.equal(old);
      old.exit();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['busy']);
      await lab.end(busy);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['first', 'second']);
      expect([old.held, fresh.held]).to.deep.equal([false, false]);
    });

    it('enters a continuation that waited for its lock and then for maxActive', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const lock = new Mutex();
      lock.tryEnter();
      const locked = lab.sync('locked', { wq, lock });
      locked.schedule(0);
      lab.clock.tick(0);
      lock.exit();
      locked.stop();
      const busy = lab.async('busy', { wq });
      busy.schedule(0);
      locked.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['busy']);
      await lab.end(busy);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['locked']);
    });

    it('does not reserve a lock for a continuation that waits for maxActive', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const lock = new Mutex();
      lock.tryEnter();
      const locked = lab.sync('locked', { wq, lock });
      locked.schedule(0);
      lab.clock.tick(0);
      const busy = lab.async('busy', { wq });
      busy.schedule(0);
      lab.clock.tick(0);
      // The run in flight needs the lock itself: if the lock were reserved, neither could continue.
      void lock.enter({ priority: 20 }).then(() => lab.ran.push('code'));
      lock.exit();
      lab.clock.tick(0);
      await settled();
      expect(lab.take()).to.deep.equal(['busy', 'code']);
      lock.exit();
      await lab.end(busy);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['locked']);
    });
  });

  describe('for synchronous functions only', () => {
    it('reports an async function as ENOTSUP, and tracks it until it settles', async () => {
      const lab = new Lab();
      const kc = lab.async('a', { wq: lab.wq.softnet });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(kc.running).to.equal(true);
      kc.reset(0);
      lab.clock.tick(0);
      expect(lab.take(), 'no overlap').to.deep.equal(['a']);
      kc.stop();
      await lab.end(kc);
      expect(kc.running).to.equal(false);
      expect(lab.reported).to.deep.equal(['ENOTSUP']);
    });
  });

  describe('onError', () => {
    it('of the workqueue takes precedence over that of the kernel', () => {
      const lab = new Lab();
      const seen: unknown[] = [];
      const wq = lab.kernel.acquire(50, {
        onError: (error, kc) => {
          seen.push((error as Error).message, kc.name);
        },
      });
      const boom = (): void => {
        throw new Error('boom');
      };
      lab.sync('a', { wq, body: boom, options: { name: 'mine' } }).schedule(0);
      lab.sync('b', { body: boom }).schedule(0);
      lab.clock.tick(0);
      expect(seen).to.deep.equal(['boom', 'mine']);
      expect(lab.reported).to.deep.equal(['boom']);
    });
  });

  describe('stats()', () => {
    it('counts what is queued, running, entered and failed', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const one = lab.async('a', { wq });
      const two = lab.async('b', { wq });
      const figures = (): number[] => {
        const { queued, running, entered, failed } = wq.stats();
        return [queued, running, entered, failed];
      };
      expect(wq.stats().priority).to.equal(50);
      expect(wq.stats().name).to.equal(wq.name);
      expect(figures()).to.deep.equal([0, 0, 0, 0]);
      one.schedule(5);
      two.schedule(0);
      expect(figures(), 'a pending one is not queued').to.deep.equal([1, 0, 0, 0]);
      lab.clock.tick(10);
      expect(figures()).to.deep.equal([1, 1, 1, 0]);
      await lab.fail(two, new Error('boom'));
      expect(figures()).to.deep.equal([1, 0, 1, 1]);
      lab.clock.tick(0);
      expect(figures()).to.deep.equal([0, 1, 2, 1]);
      one.reset(0);
      expect(figures()).to.deep.equal([1, 1, 2, 1]);
      one.stop();
      expect(figures()).to.deep.equal([0, 1, 2, 1]);
      await lab.end(one);
      expect(figures()).to.deep.equal([0, 0, 2, 1]);
    });

    it('counts a continuation that waits for its lock as queued', () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const kc = lab.sync('a', { lock });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(lab.wq.prihigh.stats().queued).to.equal(1);
      kc.stop();
      expect(lab.wq.prihigh.stats().queued).to.equal(0);
    });
  });

  describe('drain()', () => {
    it('resolves immediately if nothing is queued or running, apart from timers', async () => {
      const lab = new Lab();
      lab.sync('a').schedule(1000);
      await lab.wq.prihigh.drain();
    });

    it('waits for what is queued, what waits for a lock, and what runs', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const slow = lab.async('slow');
      const locked = lab.sync('locked', { lock });
      slow.schedule(0);
      locked.schedule(0);
      let drained = false;
      void lab.wq.prihigh.drain().then(() => (drained = true));
      await settled();
      expect(drained).to.equal(false);
      lab.clock.tick(0);
      await lab.end(slow);
      expect(drained).to.equal(false);
      lock.exit();
      lab.clock.tick(0);
      await settled();
      expect(drained).to.equal(true);
    });

    it('resolves when what was queued is stopped', async () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(0);
      const drained = lab.wq.prihigh.drain();
      kc.stop();
      await drained;
    });

    it('does not wait for other workqueues; that of the kernel waits for all', async () => {
      const lab = new Lab();
      const other = lab.async('other', { wq: lab.wq.prilow });
      other.schedule(0);
      lab.clock.tick(0);
      await lab.wq.prihigh.drain();
      let drained = false;
      void lab.kernel.drain().then(() => (drained = true));
      await settled();
      expect(drained).to.equal(false);
      await lab.end(other);
      await settled();
      expect(drained).to.equal(true);
    });
  });

  describe('run()', () => {
    it('returns what the function returns, at its priority', async () => {
      const lab = new Lab();
      const low = lab.wq.prilow.run(() => {
        lab.ran.push('low');
        return 1;
      });
      const high = lab.wq.prihigh.run(() => {
        lab.ran.push('high');
        return Promise.resolve('2');
      });
      await settled();
      expect(lab.take(), 'outside of tick').to.deep.equal([]);
      lab.clock.tick(0);
      expect(await low).to.equal(1);
      expect(await high).to.equal('2');
      expect(lab.take()).to.deep.equal(['high', 'low']);
    });

    it('waits for a delay', async () => {
      const lab = new Lab();
      const result = lab.wq.prihigh.run(() => lab.clock.now, { delayMs: 25 });
      lab.clock.tick(100);
      expect(await result).to.equal(25);
    });

    it('rejects with what the function throws or rejects with, and reports it nowhere else', async () => {
      const lab = new Lab();
      const thrown = lab.wq.prihigh.run(() => {
        throw new Error('thrown');
      });
      const rejected = lab.wq.prihigh.run(() => Promise.reject(new Error('rejected')));
      const answers = [rejectionOf(thrown), rejectionOf(rejected)];
      lab.clock.tick(0);
      expect(await Promise.all(answers)).to.deep.equal(['Error: thrown', 'Error: rejected']);
      expect(lab.errors).to.deep.equal([]);
    });

    it('takes the lock before the function, and holds it until the function settles', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const gate = deferred();
      lock.tryEnter();
      const result = lab.wq.prihigh.run(
        async () => {
          lab.ran.push('entered');
          await gate.promise;
        },
        { lock },
      );
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal([]);
      lock.exit();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['entered']);
      expect(lock.held).to.equal(true);
      gate.resolve();
      await result;
      await settled();
      expect(lock.held).to.equal(false);
    });

    it('has released the lock when its result arrives', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const sync = lab.wq.prihigh.run(() => undefined, { lock });
      lab.clock.tick(0);
      await sync;
      expect(lock.held, 'a sync function').to.equal(false);
      const async = lab.wq.prihigh.run(() => Promise.resolve(), { lock });
      lab.clock.tick(0);
      await async;
      expect(lock.held, 'an async function').to.equal(false);
      const failing = lab.wq.prihigh.run(() => Promise.reject(new Error('boom')), { lock });
      const failure = rejectionOf(failing);
      lab.clock.tick(0);
      await failure;
      expect(lock.held, 'an async function that fails').to.equal(false);
    });

    it('rejects immediately with the reason if aborted while queued, and never runs', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const reason = new Error('no more');
      for (const options of [{}, { delayMs: 10 }, { lock }]) {
        const abort = new AbortController();
        const result = lab.wq.prihigh.run(() => lab.ran.push('ran'), {
          ...options,
          signal: abort.signal,
        });
        if ('lock' in options) lab.clock.tick(0);
        let got: unknown = null;
        result.then(undefined, (error: unknown) => (got = error));
        abort.abort(reason);
        await settled();
        expect(got).to.equal(reason);
      }
      lock.exit();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
      expect(lab.wq.prihigh.stats().queued).to.equal(0);
    });

    it('rejects if aborted before the call, and never runs', async () => {
      const lab = new Lab();
      const result = lab.wq.prihigh.run(() => lab.ran.push('ran'), {
        signal: AbortSignal.abort(new Error('too late')),
      });
      expect(await rejectionOf(result)).to.equal('Error: too late');
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
    });

    it('aborts only the signal of the run if aborted while running', async () => {
      const lab = new Lab();
      const abort = new AbortController();
      const signals: AbortSignal[] = [];
      const gate = deferred();
      const func = async (signal: AbortSignal): Promise<string> => {
        signals.push(signal);
        await gate.promise;
        return signal.aborted ? `aborted: ${String(signal.reason)}` : 'went on';
      };
      const mine = lab.wq.prihigh.run(func, { signal: abort.signal });
      const other = lab.wq.prihigh.run(func);
      lab.clock.tick(0);
      expect(signals.map((signal) => signal.aborted)).to.deep.equal([false, false]);
      abort.abort('enough');
      expect(signals.map((signal) => signal.aborted)).to.deep.equal([true, false]);
      gate.resolve();
      expect(await mine).to.equal('aborted: enough');
      expect(await other).to.equal('went on');
    });

    it('rejects with the errors of the constructor and schedule', async () => {
      const lab = new Lab();
      const { prihigh } = lab.wq;
      expect(await rejectionOf(prihigh.run(() => 1, { delayMs: -1 }))).to.equal('EINVAL');
      const cpu = lab.kernel.cpus[0] ?? null;
      expect(await rejectionOf(prihigh.run(() => 1, { cpu }))).to.equal('ENOENT');
      const closed = lab.kernel.close();
      expect(await rejectionOf(prihigh.run(() => 1))).to.equal('ESHUTDOWN');
      await lab.clock.advance(10_000);
      await closed;
    });

    it('rejects an async function with a SpinLock with EPERM, and holds the lock until it settles', async () => {
      const lab = new Lab();
      const lock = new SpinLock();
      const ended = deferred();
      const run = rejectionOf(lab.wq.prilow.run(() => ended.promise, { lock }));
      await lab.clock.advance(0);
      expect([await run, lock.held, lab.wq.prilow.stats().failed]).to.deep.equal([
        'EPERM',
        true,
        1,
      ]);
      ended.resolve();
      await lab.clock.advance(0);
      expect([lock.held, lab.reported]).to.deep.equal([false, []]);
    });

    it('rejects an async function on a workqueue for synchronous functions with ENOTSUP', async () => {
      const lab = new Lab();
      const lock = new SpinLock();
      const sync = lab.wq.softnet.run(() => 'fine', { lock });
      const softnet: Workqueue = lab.wq.softnet;
      const async = rejectionOf(softnet.run(() => Promise.resolve('late')));
      lab.clock.tick(0);
      expect(await sync).to.equal('fine');
      expect(await async).to.equal('ENOTSUP');
    });

    it('keeps its workqueue from being freed until it settles', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(42);
      const result = wq.run(() => 1, { delayMs: 10 });
      wq.release();
      expect(lab.kernel.acquire(42)).to.equal(wq);
      wq.release();
      lab.clock.tick(10);
      await result;
      await settled();
      expect(lab.kernel.acquire(42)).to.not.equal(wq);
    });
  });
});

describe('KcontError', () => {
  it('is an Error with a stable code', () => {
    const lab = new Lab();
    try {
      lab.sync('a').schedule(-1);
      expect.fail('it throws');
    } catch (error) {
      expect(error).to.be.instanceOf(KcontError).and.instanceOf(Error);
      expect((error as KcontError).code).to.equal('EINVAL');
      expect((error as KcontError).message)
        .to.contain('delayMs')
        .and.contain('-1');
    }
  });
});
