import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import { beforeEach, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, RWLock, VirtualClock } from '../../lib/index.ts';
import { nothing } from '../../lib/base/nothing.ts';
import type { Lock, Workqueue } from '../../lib/index.ts';
import { Mutex as AsyncMutex } from '../../lib/compat/async-mutex/index.ts';
import { TICKS_PER_MS } from '../../lib/time/timing-wheel.ts';
import { SharedMutex } from '../../lib/cpu/index.ts';
import { Condition, KeyedLocks, Semaphore } from '../../lib/sync.ts';
import type { Turnstile } from '../../lib/locks/turnstile.ts';
import { waitersOf } from '../../lib/locks/lock.ts';
import { createPrivate } from '../../lib/core/workqueue-registry.ts';
import { deferred, settled, type Deferred } from '../support/lab.ts';

describe('inheritance of priorities', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let ran: string[];
  let lock: Mutex;

  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    ran = [];
    lock = new Mutex();
  });

  function note(name: string): () => void {
    return () => void ran.push(name);
  }

  /** Schedules a continuation that notes when it is entered. */
  function job(wq: Workqueue, name: string, on: Lock | null = null, delayMs = 0): Kcont<null> {
    const kc = new Kcont(wq, on, note(name), null, { name });
    kc.schedule(delayMs);
    return kc;
  }

  /** Schedules an asynchronous function that holds a lock. */
  function holder(wq: Workqueue, on: Lock | null, func: () => Promise<unknown>): Kcont<null> {
    const kc = new Kcont<null>(wq, on, func, null, { name: 'holder' });
    kc.schedule();
    return kc;
  }

  /** Runs a function that notes when it is entered. */
  function part(wq: Workqueue, name: string, delayMs = 0, on: Lock | null = null): Promise<void> {
    return wq.run(note(name), { name, delayMs, lock: on });
  }

  function inherited(): string[] {
    return kernel.inspect().inherited.map(({ name, inherited: level }) => `${name} ${level}`);
  }

  /** A workqueue of which one function may be in flight, and is until it is freed. */
  async function occupied(): Promise<{ one: Workqueue; free: Deferred<void> }> {
    const one = kernel.acquire(103, { maxActive: 1, name: 'one' });
    const free = deferred();
    holder(one, null, () => free.promise);
    await clock.advance(0);
    return { one, free };
  }

  /** Three priorities: the lowest one holds a lock that the highest one wants, and the middle one is busy. */
  function invert(): void {
    const { prihigh, primedhigh } = kernel.wq;
    const low = kernel.acquire(90, { patienceMs: Infinity });
    let left = 200;
    const middle = new Kcont(
      primedhigh,
      null,
      (_, kc) => {
        if (ran.at(-1) !== 'middle') ran.push('middle');
        if (--left > 0) kc.reset();
      },
      null,
    );
    holder(low, lock, async () => {
      middle.schedule();
      job(prihigh, 'high', lock);
      await part(low, 'part');
      ran.push('holder');
    });
  }

  it('lets what the holder awaits go before the middle priority', async () => {
    invert();
    await clock.advance(0);
    // In virtual time, all that is runnable runs before a promise can settle.
    expect(ran).to.deep.equal(['part', 'middle', 'holder', 'high']);
  });

  it('lets the highest priority go before the middle one on the host', async function () {
    this.timeout(60_000);
    kernel = new Kernel({ budgetMs: 1e-6 });
    invert();
    await kernel.drain();
    expect(ran.filter((name) => name !== 'middle')).to.deep.equal(['part', 'holder', 'high']);
    expect(ran.at(-1)).to.equal('middle');
  });

  it('takes effect when a timer of the holder expires', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    holder(prilow, lock, async () => {
      await part(prilow, 'part', 10);
    });
    await clock.advance(5);
    job(prihigh, 'high', lock);
    await clock.advance(1);
    expect(kernel.inspect().inherited).to.deep.equal([
      { name: 'part', workqueue: 'prilow', priority: 103, inherited: 127 },
    ]);
    job(primedhigh, 'middle', null, 4);
    job(prihigh, 'before', null, 4);
    await clock.advance(4);
    expect(ran).to.deep.equal(['before', 'part', 'middle', 'high']);
    expect(inherited()).to.deep.equal([]);
  });

  it('takes effect when timers expire in a batch, after a stall, unless it has ended before', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const other = new Mutex();
    holder(prilow, lock, () => Promise.all([part(prilow, 'b', 200), part(prilow, 'a', 100)]));
    holder(prilow, other, () => part(prilow, 'low', 50));
    job(primedhigh, 'middle', null, 10);
    await clock.advance(0);
    job(prihigh, 'high', lock);
    const late = job(prihigh, 'late', other);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['b 127', 'a 127', 'low 127']);
    late.stop();
    const { collector, wheel } = prilow._dispatcher;
    collector.collect(wheel.tick + 1000 * TICKS_PER_MS);
    await clock.advance(0);
    expect(ran).to.deep.equal(['b', 'a', 'middle', 'low', 'high']);
  });

  it('puts an entry behind those of the higher priority that are runnable already', async () => {
    const { prihigh, prilow } = kernel.wq;
    holder(prilow, lock, async () => {
      job(prihigh, 'high', lock);
      job(prihigh, 'a');
      job(prihigh, 'b');
      job(prilow, 'low');
      await part(prilow, 'part');
    });
    await clock.advance(0);
    expect(ran).to.deep.equal(['a', 'b', 'part', 'low', 'high']);
  });

  for (const when of ['before', 'after'] as const) {
    it(`goes before the turns of workqueues with shares that were acquired ${when} it inherited`, async () => {
      const { prihigh, primedhigh, prilow } = kernel.wq;
      const acquire = (): Workqueue => kernel.acquire(127, { name: 'shared', shares: 3 });
      const shared = when === 'before' ? acquire() : null;
      holder(prilow, lock, async () => {
        job(prihigh, 'high', lock);
        job(prihigh, 'a');
        const parts = [part(prilow, 'first'), part(prilow, 'second')];
        const late = shared ?? acquire();
        for (const name of ['b', 'c', 'd']) job(late, name);
        job(primedhigh, 'middle');
        await Promise.all(parts);
        ran.push('holder');
      });
      await clock.advance(0);
      expect(ran.slice(0, 2)).to.deep.equal(['first', 'second']);
      expect(ran.slice(2, 6)).to.have.members(['a', 'b', 'c', 'd']);
      expect(ran.slice(6)).to.deep.equal(['middle', 'holder', 'high']);
      expect(inherited()).to.deep.equal([]);
    });
  }

  it('goes before the turns also if the workqueue with shares is acquired while it is runnable', async () => {
    const { softnet, prihigh, prilow } = kernel.wq;
    const acquire = (): void => {
      const late = kernel.acquire(127, { name: 'late', shares: 3 });
      job(late, 'late');
      expect(inherited()).to.deep.equal(['first 127', 'second 127']);
    };
    const urgent = new Kcont(softnet, null, acquire, null);
    holder(prilow, lock, async () => {
      job(prihigh, 'high', lock);
      new Kcont(prihigh, null, () => void urgent.schedule(), null).schedule();
      await Promise.all([part(prilow, 'first'), part(prilow, 'second')]);
    });
    await clock.advance(0);
    expect(ran).to.deep.equal(['first', 'second', 'late', 'high']);
  });

  it('leaves nothing in the turns of its workqueue when it is entered', async () => {
    const shared = kernel.acquire(103, { name: 'shared', shares: 2 });
    const free = deferred();
    holder(shared, lock, async () => {
      job(kernel.wq.prihigh, 'high', lock);
      const asynchronous = shared.run(() => {
        ran.push('part');
        return free.promise;
      });
      job(shared, 'a');
      job(kernel.wq.prilow, 'b');
      await asynchronous;
    });
    await clock.advance(0);
    expect(ran[0]).to.equal('part');
    expect(ran.slice(1)).to.have.members(['a', 'b']);
    // Only that which waits for the lock.
    expect(kernel.inspect().queued).to.equal(1);
    free.resolve();
    await clock.advance(0);
    expect(ran.at(-1)).to.equal('high');
  });

  it('leaves the turns when what it has inherited ends before it is entered', async () => {
    const { prihigh, prilow } = kernel.wq;
    const shared = kernel.acquire(103, { name: 'shared', shares: 2 });
    const gate = deferred();
    holder(shared, lock, async () => {
      const high = job(prihigh, 'high', lock);
      const parts = [part(shared, 'a'), part(prilow, 'b')];
      high.stop();
      job(prilow, 'c');
      job(shared, 'd');
      await Promise.all([...parts, gate.promise]);
    });
    await clock.advance(0);
    expect(ran.toSorted()).to.deep.equal(['a', 'b', 'c', 'd']);
    expect([
      ran.indexOf('a') < ran.indexOf('d'),
      ran.indexOf('b') < ran.indexOf('c'),
    ]).to.deep.equal([true, true]);
    gate.resolve();
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
  });

  it('keeps the order of those that have inherited nothing', async () => {
    const { prihigh, prilow } = kernel.wq;
    holder(prilow, lock, async () => {
      job(prihigh, 'high', lock);
      job(prilow, 'a');
      const first = part(prilow, 'first');
      job(prilow, 'b');
      const second = part(prilow, 'second');
      job(prilow, 'c');
      await Promise.all([first, second]);
    });
    await clock.advance(0);
    expect(ran).to.deep.equal(['first', 'second', 'a', 'b', 'c', 'high']);
  });

  it('follows a chain of locks, and of runs that are in flight', async () => {
    const { prihigh, primedhigh, primedlow, prilow } = kernel.wq;
    const inner = new Mutex();
    const entered = deferred();
    holder(prilow, inner, async () => {
      // A run in flight that awaits another one.
      await prilow.run(
        async () => {
          await part(prilow, 'innermost', 20);
        },
        { name: 'outer part' },
      );
    });
    await clock.advance(1);
    holder(primedlow, lock, async () => {
      await inner.enter({ priority: primedlow.priority });
      ran.push('entered');
      inner.exit();
      entered.resolve();
    });
    await clock.advance(1);
    void inner.enter({ priority: primedhigh.priority }).then(() => {
      ran.push('other');
      inner.exit();
    });
    expect(inherited()).to.deep.equal(['innermost 119']);
    job(prihigh, 'high', lock);
    await clock.advance(1);
    expect(inherited()).to.deep.equal(['innermost 127']);
    await clock.advance(20);
    await entered.promise;
    await clock.advance(0);
    expect(ran).to.deep.equal(['innermost', 'entered', 'other', 'high']);
  });

  it('lets a run go before lower waiters of its lock, and behind those of its new priority', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const inner = new Mutex();
    inner.tryEnter();
    holder(prilow, lock, async () => {
      await part(prilow, 'part', 0, inner);
    });
    await clock.advance(0);
    job(primedhigh, 'lower', inner);
    job(prihigh, 'equal', inner);
    await clock.advance(0);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    job(prihigh, 'later', inner);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['part 127']);
    inner.exit();
    await clock.advance(0);
    expect(ran).to.deep.equal(['equal', 'part', 'later', 'lower', 'high']);
  });

  describe('ends', () => {
    it('when the waiter is stopped: an entry goes back to its old place', async () => {
      const { softnet, prihigh, prilow } = kernel.wq;
      const high = new Kcont(prihigh, lock, note('high'), null);
      const stopper = new Kcont(softnet, null, () => void high.stop(), null);
      holder(prilow, lock, async () => {
        high.schedule();
        job(prihigh, 'busy', null);
        const first = new Kcont(prihigh, null, () => void stopper.schedule(), null);
        first.schedule();
        job(prilow, 'a');
        await part(prilow, 'part');
      });
      await clock.advance(0);
      expect(ran).to.deep.equal(['busy', 'a', 'part']);
    });

    it('when the signal of the waiter is aborted', async () => {
      const { prilow } = kernel.wq;
      const controller = new AbortController();
      holder(prilow, lock, async () => {
        await part(prilow, 'part', 10);
      });
      await clock.advance(0);
      const waits = lock.enter({ signal: controller.signal }).catch(note('aborted'));
      expect(inherited()).to.deep.equal(['part 127']);
      controller.abort();
      expect(inherited()).to.deep.equal([]);
      await waits;
      job(kernel.wq.primedhigh, 'middle', null, 10);
      await clock.advance(10);
      expect(ran).to.deep.equal(['aborted', 'middle', 'part']);
    });

    it('when the lock is released before the entry is entered', async () => {
      const { prihigh, prilow } = kernel.wq;
      const released = deferred();
      holder(prilow, lock, async () => {
        void part(prilow, 'part', 10);
        void part(prilow, 'over', 1);
        await released.promise;
      });
      await clock.advance(0);
      job(prihigh, 'high', lock);
      await clock.advance(1);
      expect(inherited()).to.deep.equal(['part 127']);
      released.resolve();
      await clock.advance(0);
      expect(ran).to.deep.equal(['over', 'high']);
      expect(inherited()).to.deep.equal([]);
    });

    it('at the next lower priority that still waits', async () => {
      const { primedhigh, prilow } = kernel.wq;
      const controller = new AbortController();
      holder(prilow, lock, async () => {
        await part(prilow, 'part', 10);
      });
      await clock.advance(0);
      lock.enter({ signal: controller.signal }).catch(note('aborted'));
      const other = job(primedhigh, 'other', lock);
      await clock.advance(0);
      expect(inherited()).to.deep.equal(['part 127']);
      controller.abort();
      expect(inherited()).to.deep.equal(['part 119']);
      other.stop();
      expect(inherited()).to.deep.equal([]);
      await clock.advance(10);
      expect(ran).to.deep.equal(['aborted', 'part']);
    });
  });

  it('is that of all readers that a writer waits for', async () => {
    const { prihigh, prilow } = kernel.wq;
    const both = new RWLock();
    for (const name of ['a', 'b']) {
      holder(prilow, both.read, async () => {
        await part(prilow, name, 10);
      });
    }
    await clock.advance(0);
    const write = job(prihigh, 'write', both.write);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['a 127', 'b 127']);
    write.stop();
    expect(inherited()).to.deep.equal([]);
  });

  it('lets a reader that has inherited a priority pass a writer that waits', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const both = new RWLock();
    both.read.tryEnter();
    job(primedhigh, 'write', both.write);
    await clock.advance(0);
    holder(prilow, lock, async () => {
      await part(prilow, 'read', 0, both.read);
      await part(prilow, 'again', 0, both.read);
    });
    await clock.advance(0);
    expect(ran).to.deep.equal([]);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(ran).to.deep.equal(['read']);
    both.read.exit();
    await clock.advance(0);
    expect(ran).to.deep.equal(['read', 'write', 'again', 'high']);
  });

  it('is lost by all that a reader has passed it on to, if that lets it go at once', async () => {
    const { prihigh, prilow } = kernel.wq;
    const { read, write } = new RWLock();
    const gate = deferred();
    // Holds the read side, and awaits a run that wants the lock of the function below.
    holder(prilow, read, () => part(prilow, 'part', 0, lock));
    lock.tryEnter();
    await clock.advance(0);
    void write.enter({ priority: 103 }).then(() => write.exit());
    const code = lock.run(
      async () => {
        await read.enter({ priority: 103 });
        await gate.promise;
        read.exit();
      },
      { priority: 111 },
    );
    job(prihigh, 'high', lock);
    void lock.enter({ priority: 111 }).then(() => lock.exit());
    await clock.advance(0);
    lock.exit();
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
    gate.resolve();
    await code;
    await clock.advance(0);
    expect(ran).to.deep.equal(['high', 'part']);
  });

  it('is that of all holders of a semaphore, until the waiter has got its unit', async () => {
    const { prihigh, prilow } = kernel.wq;
    const units = new Semaphore(2);
    const free = deferred();
    holder(prilow, units, async () => {
      void part(prilow, 'a', 20);
      await free.promise;
    });
    holder(prilow, units.ofWeight(1), async () => {
      await part(prilow, 'b', 20);
    });
    await clock.advance(0);
    job(prihigh, 'high', units);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['a 127', 'b 127']);
    free.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['high']);
    expect(inherited()).to.deep.equal([]);
  });

  it('lets an entry go first among those that wait for maxActive, whose limit is kept', async () => {
    const { prihigh } = kernel.wq;
    const { one, free } = await occupied();
    const low = kernel.wq.prilow;
    for (const name of ['a', 'b']) job(one, name);
    await clock.advance(0);
    const inner = new AbortController();
    holder(low, lock, async () => {
      await Promise.all([part(one, 'first'), part(one, 'second')]);
    });
    await clock.advance(0);
    job(one, 'c');
    await clock.advance(0);
    lock.enter({ signal: inner.signal }).then(note('code'), note('aborted'));
    expect(inherited()).to.deep.equal(['first 127', 'second 127']);
    inner.abort();
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(ran).to.deep.equal(['aborted']);
    free.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['aborted', 'first', 'second', 'a', 'b', 'c', 'high']);
  });

  it('lets an entry go first that has inherited a priority before it reaches the limit', async () => {
    const one = kernel.acquire(103, { maxActive: 1, name: 'one' });
    const free = deferred();
    holder(one, null, () => free.promise);
    holder(kernel.wq.prilow, lock, async () => {
      await part(one, 'timer', 10);
    });
    await clock.advance(0);
    for (const name of ['a', 'b']) job(one, name);
    job(kernel.wq.prihigh, 'high', lock);
    await clock.advance(10);
    job(one, 'c');
    await clock.advance(0);
    free.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['timer', 'a', 'b', 'c', 'high']);
  });

  it('is higher when somebody of a higher priority comes while the entry has been moved already', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const wants = (priority: number): void =>
      void lock.enter({ priority }).then(() => {
        ran.push(`got at ${priority}`);
        lock.exit();
      });
    const urge = (): void => {
      job(primedhigh, 'middle');
      wants(111);
      wants(127);
    };
    holder(prilow, lock, async () => {
      new Kcont(prihigh, null, urge, null).schedule();
      await part(prilow, 'part');
    });
    job(prilow, 'other');
    await clock.advance(0);
    expect(ran).to.deep.equal(['part', 'middle', 'other', 'got at 127', 'got at 111']);
  });

  it('moves one that has been granted its lock and is not entered yet, and moves it back', async () => {
    const { primedhigh, primedlow, prilow } = kernel.wq;
    for (const isAborted of [false, true]) {
      ran.length = 0;
      const other = new Mutex();
      other.tryEnter();
      const held = new Mutex();
      holder(prilow, held, () => part(prilow, 'part', 0, other));
      await clock.advance(0);
      other.exit();
      job(primedhigh, 'middle');
      const controller = new AbortController();
      const { signal } = controller;
      const entering = held.enter({ priority: 127, signal }).then(note('got'), note('aborted'));
      expect(inherited()).to.deep.equal(['part 127']);
      if (isAborted) {
        void other.enter({ priority: primedlow.priority }).then(() => {
          ran.push('code');
          other.exit();
        });
        controller.abort();
        expect(inherited()).to.deep.equal([]);
      }
      await clock.advance(0);
      await entering;
      expect(ran).to.deep.equal(
        isAborted ? ['middle', 'aborted', 'code', 'part'] : ['part', 'middle', 'got'],
      );
    }
  });

  it('grants no lock for a priority that is about to be lost: all are moved first', async () => {
    const { prilow } = kernel.wq;
    const other = new Mutex();
    other.tryEnter();
    holder(prilow, lock, async () => {
      const waits = part(prilow, 'part', 0, other);
      await other.enter({ priority: 20 });
      ran.push('code');
      other.exit();
      await waits;
    });
    await clock.advance(0);
    const controller = new AbortController();
    const { signal } = controller;
    const high = lock.enter({ priority: 127, signal }).catch(note('aborted'));
    expect(Array.from(other._turnstile ?? [], (one) => one._priority)).to.deep.equal([127, 127]);
    // The part is next, and has not been dispatched yet.
    other.exit();
    controller.abort();
    await clock.advance(0);
    await high;
    expect(ran).to.deep.equal(['part', 'aborted', 'code']);
  });

  it('lets those go first that have inherited the highest priority, each in their order', async () => {
    const { one, free } = await occupied();
    const other = new Mutex();
    holder(kernel.wq.prilow, lock, () => Promise.all([part(one, 'a'), part(one, 'b')]));
    holder(kernel.wq.prilow, other, () => part(one, 'c'));
    await clock.advance(0);
    job(one, 'last');
    void lock.enter({ priority: 111 }).then(() => lock.exit());
    void other.enter({ priority: 119 }).then(() => other.exit());
    free.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['c', 'a', 'b', 'last']);
  });

  it('counts only among those of the same limit', async () => {
    const { prilow } = kernel.wq;
    const ones = ['one', 'two'].map((name) => kernel.acquire(103, { maxActive: 1, name }));
    const [one, two] = ones as [Workqueue, Workqueue];
    // Shares the limit of the first.
    const urgent = createPrivate(one, 'urgent', 111, one);
    const gates = ones.map((wq) => {
      const gate = deferred();
      holder(wq, null, () => gate.promise);
      return gate;
    });
    await clock.advance(0);
    job(one, 'a');
    job(two, 'b');
    holder(prilow, lock, () =>
      Promise.all([part(two, 'of two'), part(urgent, 'urgent'), part(one, 'of one')]),
    );
    await clock.advance(0);
    job(kernel.wq.prihigh, 'high', lock);
    await clock.advance(0);
    gates[0]?.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['urgent', 'of one', 'a']);
    gates[1]?.resolve();
    await clock.advance(0);
    expect(ran.slice(3)).to.deep.equal(['of two', 'b', 'high']);
    urgent.release();
  });

  it('moves an entry that has its turn within maxActive, and has not been entered', async () => {
    const { one, free } = await occupied();
    holder(kernel.wq.prilow, lock, () => part(one, 'part'));
    await clock.advance(0);
    job(kernel.wq.primedlow, 'between');
    free.resolve();
    await settled();
    void lock.enter().then(() => lock.exit());
    expect(inherited()).to.deep.equal(['part 127']);
    await clock.advance(0);
    expect(ran).to.deep.equal(['part', 'between']);
  });

  it('gives an entry that waits for its lock back its place in the run queue', async () => {
    const { prihigh, prilow } = kernel.wq;
    const inner = new Mutex();
    inner.tryEnter();
    holder(prilow, lock, async () => {
      const high = job(prihigh, 'high', lock);
      new Kcont(prihigh, null, () => void ender.schedule(), null).schedule();
      const ender = new Kcont(prihigh, null, () => void high.stop(), null);
      job(prilow, 'a', inner);
      await part(prilow, 'part', 0, inner);
    });
    await clock.advance(0);
    inner.exit();
    await clock.advance(0);
    expect(ran).to.deep.equal(['a', 'part']);
    expect(inherited()).to.deep.equal([]);
  });

  describe('that ends while the entry is being set aside, because maxActive is reached,', () => {
    let one: Workqueue;
    let gate: Deferred<void>;

    beforeEach(() => {
      // The lock is released on behalf of the holder, which then cannot.
      kernel = new Kernel({ clock, onError: nothing });
      one = kernel.acquire(103, { maxActive: 1, name: 'one' });
      gate = deferred();
    });

    it('gives it back its place among those that wait for that', async () => {
      const { prihigh, prilow } = kernel.wq;
      holder(prilow, lock, () => part(one, 'part', 0, lock));
      await clock.advance(0);
      holder(one, null, () => gate.promise);
      await clock.advance(0);
      job(one, 'a');
      await clock.advance(0);
      for (const name of ['high', 'behind']) job(prihigh, name, lock);
      await clock.advance(0);
      expect(inherited()).to.deep.equal(['part 127']);
      lock.exit();
      await clock.advance(0);
      expect(inherited()).to.deep.equal([]);
      gate.resolve();
      await clock.advance(0);
      expect(ran).to.deep.equal(['high', 'behind', 'part', 'a']);
    });

    it('gives it back its place in the run queue, if it has not been reached there', async () => {
      const { prihigh, prilow } = kernel.wq;
      const urgent = createPrivate(one, 'urgent', 127, one);
      const free = new Kcont(prihigh, null, () => lock.exit(), null);
      holder(prilow, lock, async () => {
        job(prihigh, 'high', lock);
        const later = (): void => {
          job(prihigh, 'behind', lock);
          holder(urgent, null, () => gate.promise);
          free.schedule();
        };
        new Kcont(prihigh, null, later, null).schedule();
        job(prilow, 'a');
        const parts = part(one, 'part', 0, lock);
        job(one, 'b');
        await parts;
      });
      await clock.advance(0);
      expect(ran).to.deep.equal(['high', 'behind', 'a']);
      expect(inherited()).to.deep.equal([]);
      gate.resolve();
      await clock.advance(0);
      expect(ran.slice(3)).to.deep.equal(['part', 'b']);
      urgent.release();
    });
  });

  it('gives an entry back its place among those that wait for maxActive', async () => {
    const { one, free } = await occupied();
    job(one, 'a');
    holder(kernel.wq.prilow, lock, async () => {
      await part(one, 'part');
    });
    await clock.advance(0);
    job(one, 'b');
    await clock.advance(0);
    const controller = new AbortController();
    lock.enter({ signal: controller.signal }).catch(note('aborted'));
    controller.abort();
    free.resolve();
    await clock.advance(0);
    expect(ran).to.deep.equal(['aborted', 'a', 'part', 'b']);
  });

  it('is known of a function that run() of a lock has called, before its first await', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    const units = new Semaphore(1);
    const mutexRun = lock.run(async () => {
      await part(prilow, 'a', 1);
      await part(prilow, 'b', 1);
    });
    const unitsRun = units.run(() => part(prilow, 'c', 1));
    await clock.advance(0);
    job(prihigh, 'high', lock);
    job(prihigh, 'high too', units);
    job(primedhigh, 'middle', null, 1);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['a 127', 'c 127']);
    await clock.advance(1);
    expect(ran).to.deep.equal(['a', 'c', 'middle', 'high too']);
    expect(inherited()).to.deep.equal([]);
    await clock.advance(1);
    await Promise.all([mutexRun, unitsRun]);
    await clock.advance(0);
    expect(ran.slice(4)).to.deep.equal(['b', 'high']);
  });

  it('ends when the function that run() of a lock has called throws', async () => {
    const { prihigh, prilow } = kernel.wq;
    const units = new Semaphore(1);
    const fail = (name: string) => (): void => {
      void part(prilow, name, 10);
      throw new Error(name);
    };
    const failed = [lock.run(fail('a')), units.run(fail('b')), lock.run(nothing)];
    const results = Promise.allSettled(failed);
    await clock.advance(0);
    expect((await results).map(({ status }) => status)).to.deep.equal([
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    lock.tryEnter();
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect([inherited(), units.held]).to.deep.equal([[], false]);
  });

  it('is that of a function that gives way', async () => {
    const { prihigh, primedhigh, prilow } = kernel.wq;
    holder(prilow, lock, async () => {
      job(primedhigh, 'middle');
      job(prihigh, 'high', lock);
      await prilow.yield();
      ran.push('holder');
    });
    await clock.advance(0);
    expect(ran).to.deep.equal(['holder', 'high', 'middle']);
  });

  it('is not passed on by those of the same or a lower priority', async () => {
    const { primedlow, prilow } = kernel.wq;
    holder(primedlow, lock, async () => {
      await part(primedlow, 'part', 10);
    });
    await clock.advance(0);
    job(primedlow, 'same', lock);
    job(prilow, 'low', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
  });

  it('is only for what the function of that run has begun to await', async () => {
    const { softnet, prihigh, prilow } = kernel.wq;
    let entries = 0;
    const twice = new Kcont<null>(
      prilow,
      lock,
      // It is asynchronous the second time only.
      (): void | Promise<void> => {
        const run = part(prilow, `part ${++entries}`, 10);
        return entries === 1 ? undefined : run;
      },
      null,
    );
    twice.schedule();
    await clock.advance(0);
    twice.schedule();
    await clock.advance(0);
    const sync = new Kcont(softnet, null, () => void part(prilow, 'of softnet', 10), null);
    sync.schedule();
    const other = new Kcont(prilow, new Mutex(), () => void part(prilow, 'of sync', 10), null);
    other.schedule();
    holder(prilow, null, async () => undefined);
    await clock.advance(0);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['part 2 127']);
    await clock.advance(10);
    await clock.advance(0);
    expect(ran).to.deep.equal(['part 2', 'part 1', 'of softnet', 'of sync', 'high']);
  });

  it('ends for a run whose signal is aborted, and when the kernel closes', async () => {
    const { prihigh, prilow } = kernel.wq;
    const controller = new AbortController();
    const { signal } = controller;
    holder(prilow, lock, async () => {
      const aborted = prilow.run(note('never'), { name: 'aborted', delayMs: 10, signal });
      const closed = part(prilow, 'closed', 10);
      await Promise.all([aborted.catch(note('aborted')), closed.catch(note('closed'))]);
    });
    await clock.advance(0);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['aborted 127', 'closed 127']);
    controller.abort();
    expect(inherited()).to.deep.equal(['closed 127']);
    const closing = kernel.close();
    expect(inherited()).to.deep.equal([]);
    await clock.advance(0);
    await closing;
    expect(ran).to.deep.equal(['aborted', 'closed', 'high']);
  });

  it('is not passed on to the holder of a lock that the function has replaced', async () => {
    const { prihigh, prilow } = kernel.wq;
    const free = deferred();
    const other = new Mutex();
    const kc = holder(prilow, lock, async () => {
      void part(prilow, 'part', 10);
      await free.promise;
      other.tryEnter();
      kc.setLock(other)?.exit();
      await deferred().promise;
    });
    await clock.advance(0);
    free.resolve();
    await clock.advance(0);
    lock.tryEnter();
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
  });

  it('is not passed on to or by a lock between threads', async () => {
    const { prihigh, prilow } = kernel.wq;
    const shared = new SharedMutex();
    shared.tryEnter();
    holder(prilow, lock, () =>
      Promise.all([part(prilow, 'timer', 10), part(prilow, 'part', 0, shared)]),
    );
    await clock.advance(0);
    job(prihigh, 'waits', shared);
    await clock.advance(0);
    expect(inherited()).to.deep.equal([]);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['timer 127']);
    shared.exit();
    await clock.advance(10);
    expect(ran).to.have.members(['timer', 'waits', 'part', 'high']);
  });

  it('is not for those whom the holder notifies: they wait for themselves', async () => {
    const { prihigh, prilow } = kernel.wq;
    const changed = new Condition(lock);
    const free = deferred();
    const waits = lock.run(() => changed.wait({ priority: 103 }));
    await clock.advance(0);
    holder(prilow, lock, async () => {
      void part(prilow, 'part', 10);
      changed.notify();
      await free.promise;
    });
    await clock.advance(0);
    job(prihigh, 'high', lock);
    await clock.advance(0);
    expect(inherited()).to.deep.equal(['part 127']);
    expect(Array.from(lock._turnstile ?? [], (one) => one._priority)).to.deep.equal([127, 103]);
    free.resolve();
    await clock.advance(0);
    await waits;
    expect(ran).to.deep.equal(['high']);
  });

  it('keeps the patience of an entry at a priority that no workqueue has', async () => {
    kernel = new Kernel({ budgetMs: 1e-6 });
    const low = kernel.acquire(90, { patienceMs: 0 });
    const patient = kernel.acquire(90, { patienceMs: Infinity });
    let left = 100_000;
    const busy = new Kcont<null>(
      kernel.wq.prihigh,
      null,
      (_, kc) => {
        if (left-- > 0 && ran.length === 0) kc.reset();
        else ran.push('busy');
      },
      null,
    );
    holder(low, lock, async () => {
      busy.schedule();
      const parts = [part(patient, 'patient'), part(low, 'part')];
      void lock.enter({ priority: 120 }).then(() => lock.exit());
      await Promise.all(parts);
    });
    await kernel.drain();
    expect(ran).to.deep.equal(['part', 'busy', 'patient']);
  });

  describe('while an even higher priority is busy', () => {
    let controller: AbortController;
    let high: Workqueue;
    let low: Workqueue;

    /** Lets `busy` go on until so many others have been entered, which are served because they starve. */
    async function starve(others: number, inside: Mutex | null): Promise<void> {
      kernel = new Kernel({ budgetMs: 1e-6 });
      high = kernel.acquire(127, { patienceMs: 0 });
      low = kernel.acquire(90, { patienceMs: 0 });
      controller = new AbortController();
      const { signal } = controller;
      const over = deferred();
      const busy = new Kcont<null>(
        kernel.wq.softnet,
        null,
        (_, kc) => (ran.length < others ? void kc.reset() : over.resolve()),
        null,
      );
      holder(low, lock, async () => {
        busy.schedule();
        for (const name of ['x', 'y', 'z']) job(high, name);
        lock.enter({ signal }).then(() => lock.exit(), note('aborted'));
        await part(low, 'part', 0, inside);
      });
      await over.promise;
    }

    it('is entered at its own place, if its own priority is served there', async () => {
      await starve(4, null);
      await kernel.drain();
      expect(ran).to.deep.equal(['x', 'part', 'y', 'z']);
    });

    it('waits for its lock from there, and keeps that place when it loses the priority', async () => {
      const inside = new Mutex();
      inside.tryEnter();
      await starve(3, inside);
      expect(ran).to.deep.equal(['x', 'y', 'z']);
      expect(inherited()).to.deep.equal(['part 127']);
      controller.abort();
      job(low, 'later', inside);
      inside.exit();
      await kernel.drain();
      expect(ran).to.deep.equal(['x', 'y', 'z', 'aborted', 'part', 'later']);
    });
  });

  it('keeps nothing of a kernel that is dropped while its runs await each other', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const leave = async (): Promise<WeakRef<object>[]> => {
      const dropped = new VirtualClock();
      const { wq } = new Kernel({ clock: dropped });
      const held = new Mutex();
      const never = (): Promise<void> => new Promise(nothing);
      holder(wq.prilow, held, () =>
        Promise.all([wq.prilow.run(nothing, { delayMs: 10 }), wq.prilow.run(never)]),
      );
      await dropped.advance(0);
      return [new WeakRef(wq.prilow.kernel), new WeakRef(held)];
    };
    const left = await leave();
    // What a WeakRef returns is kept until the end of the turn.
    for (let round = 0; round < 10 && left.some((one) => one.deref() !== undefined); round++) {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      gc();
    }
    expect(left.map((one) => one.deref())).to.deep.equal([undefined, undefined]);
  });

  it('is passed on only where it makes a difference: a long chain of locks costs no more per lock', async () => {
    let looks = 0;
    class Counted extends Mutex {
      override get _whole(): object {
        looks++;
        return this;
      }
    }
    const { prihigh, prilow } = kernel.wq;
    const costOf = async (count: number): Promise<number> => {
      const locks = Array.from({ length: count + 1 }, () => new Counted());
      locks.at(-1)?.tryEnter();
      looks = 0;
      for (let at = count - 1; at >= 0; at--) {
        const next = locks[at + 1] as Counted;
        const pass = async (): Promise<void> => {
          await next.enter({ priority: 103 });
          next.exit();
        };
        void prilow.run(pass, { lock: locks[at] as Counted });
      }
      await clock.advance(0);
      job(prihigh, 'high', locks[0]);
      const low = job(prilow, 'low', locks[0]);
      await clock.advance(0);
      low.stop();
      expect(waitersOf(locks.at(-1) as Counted)).to.equal(1);
      locks.at(-1)?.exit();
      await clock.advance(0);
      return looks / count;
    };
    const [short, long] = [await costOf(10), await costOf(1000)];
    expect(ran).to.deep.equal(['high', 'high']);
    expect(long).to.be.at.most(short * 1.5);
  });

  describe('at a priority that is any number, as in kcont/async-mutex,', () => {
    const cases: [priority: number, low: number, order: string[]][] = [
      [Infinity, 90, ['part', 'high', 'middle']],
      [1000, 90, ['part', 'high', 'middle']],
      [0.5, 90, ['high', 'part', 'middle']],
      [-0.5, 90, ['high', 'middle', 'part']],
      [-1000, 90, ['high', 'middle', 'part']],
      [-Infinity, 90, ['high', 'middle', 'part']],
      [NaN, 90, ['high', 'middle', 'part']],
    ];
    for (const [priority, low, order] of cases) {
      it(`is rounded down, and limited to those that there are: ${priority}`, async () => {
        const mutex = new AsyncMutex();
        const wq = kernel.acquire(low);
        holder(wq, mutex, async () => {
          void mutex.acquire(priority).then((release) => release());
          await part(wq, 'part');
        });
        job(kernel.wq.prihigh, 'high');
        await clock.advance(0);
        ran = [];
        const gate = deferred();
        const done = mutex.run(() => {
          void mutex.acquire(priority).then((release) => release());
          job(kernel.acquire(126), 'middle');
          job(kernel.wq.prihigh, 'high');
          void part(wq, 'part').then(() => gate.resolve());
          return gate.promise;
        });
        await clock.advance(0);
        await done;
        expect(ran).to.deep.equal(order);
        expect(inherited()).to.deep.equal([]);
      });
    }
  });

  describe('through the lock of a key', () => {
    it('is passed on whichever lock of the key holder and waiter have', async () => {
      const keys = new KeyedLocks<string>();
      const [one, two] = [keys.of('key'), keys.of('key')];
      const { prihigh, primedhigh, prilow } = kernel.wq;
      holder(prilow, one, async () => {
        job(prihigh, 'high', two);
        job(primedhigh, 'middle');
        await part(prilow, 'part');
      });
      await clock.advance(0);
      expect(ran).to.deep.equal(['part', 'middle', 'high']);
      expect(keys.size).to.equal(0);
    });

    it('ends with the run, also if the key has been out of use in between', async () => {
      const keys = new KeyedLocks<string>();
      const [one, two] = [keys.of('key'), keys.of('key')];
      const { prihigh, prilow } = kernel.wq;
      const gate = deferred();
      holder(prilow, one, async () => {
        void part(prilow, 'part', 50);
        one.exit();
        await gate.promise;
        await one.enter();
      });
      await clock.advance(0);
      expect(keys.size).to.equal(0);
      gate.resolve();
      await settled();
      job(prihigh, 'high', two);
      await clock.advance(50);
      expect(ran).to.deep.equal(['high', 'part']);
      expect(inherited()).to.deep.equal([]);
    });
  });

  it('does not run what is withdrawn while a place within maxActive is free', async () => {
    const { one, free } = await occupied();
    const controller = new AbortController();
    const { signal } = controller;
    const done = lock.run(() =>
      Promise.all([
        part(one, 'a'),
        one.run(note('withdrawn'), { signal }).catch(note('aborted')),
        part(one, 'b'),
      ]),
    );
    await clock.advance(0);
    const entered = lock.enter().then(() => lock.exit());
    free.resolve();
    await settled();
    controller.abort();
    await clock.advance(0);
    await Promise.all([done, entered]);
    expect(ran).to.deep.equal(['a', 'b', 'aborted']);
    expect(one.stats()).to.deep.include({ queued: 0, running: 0, entered: 3 });
    job(one, 'later');
    await clock.advance(0);
    expect(ran.at(-1)).to.equal('later');
  });

  it('lets an entry not pass a higher priority that waits for the same limit', async () => {
    const one = kernel.acquire(103, { maxActive: 1, name: 'one' });
    const urgent = createPrivate(one, 'urgent', 107, one);
    for (const [priority, order] of [
      [105, ['urgent', 'later', 'part', 'plain']],
      [107, ['urgent', 'part', 'later', 'plain']],
      [111, ['part', 'urgent', 'later', 'plain']],
    ] as const) {
      ran = [];
      const free = deferred();
      holder(one, null, () => free.promise);
      await clock.advance(0);
      job(one, 'plain');
      await clock.advance(0);
      const done = lock.run(() => part(one, 'part'));
      await clock.advance(0);
      job(urgent, 'urgent');
      await clock.advance(0);
      const entered = lock.enter({ priority }).then(() => lock.exit());
      job(urgent, 'later');
      await clock.advance(0);
      free.resolve();
      await clock.advance(0);
      await Promise.all([done, entered]);
      expect(ran, String(priority)).to.deep.equal(order);
    }
    urgent.release();
  });

  it('leaves no listener on the signal of a reader that is granted its lock at once', async () => {
    const { read, write } = new RWLock();
    read.tryEnter();
    void write.enter().then(() => write.exit());
    const { signal } = new AbortController();
    const done = lock.run(async () => {
      void lock.enter({ priority: 150 }).then(() => lock.exit());
      await read.enter({ priority: 103, signal });
      ran.push('reader');
    });
    await done;
    expect(ran).to.deep.equal(['reader']);
    expect(getEventListeners(signal, 'abort')).to.deep.equal([]);
    read.exit();
    read.exit();
    await settled();
    expect(write.held).to.equal(false);
  });

  describe('with a great number', () => {
    /** The locks of which something is read are counted: whatever is moved or followed reads them. */
    class Counted extends Mutex {
      looks = 0;
      override get _whole(): object {
        this.looks++;
        return this;
      }
    }

    it('of runs that begin one by one while somebody waits: none of the others is moved again', async () => {
      const costOf = async (count: number): Promise<number> => {
        const inner = new Counted();
        const done = lock.run(() => {
          void lock.enter().then(() => lock.exit());
          const { prilow } = kernel.wq;
          return Promise.all(
            Array.from({ length: count }, () => prilow.run(nothing, { lock: inner })),
          );
        });
        await settled();
        expect(inherited().length).to.equal(count);
        const { looks } = inner;
        await clock.advance(0);
        await done;
        return looks / count;
      };
      expect(await costOf(100)).to.equal(await costOf(10));
    });

    it('of runs whose timers expire one by one: none of the others is looked at', async () => {
      const { prihigh, prilow } = kernel.wq;
      holder(prilow, lock, () =>
        Promise.all(
          Array.from({ length: 10 }, (_, at) =>
            prilow.run(() => prilow.run(note(`${at}`), { delayMs: 5 }), { delayMs: at }),
          ),
        ),
      );
      await clock.advance(0);
      job(prihigh, 'high', lock);
      await clock.advance(0);
      let looks = 0;
      const awaited = Array.from(prilow._dispatcher.runq.inherited);
      expect(awaited.length).to.equal(11);
      for (const one of awaited) {
        const { kc } = one;
        Object.defineProperty(one, 'kc', { get: () => (looks++, kc) });
      }
      await clock.advance(1);
      const first = looks;
      await clock.advance(1);
      expect(looks - first).to.equal(first);
      await clock.advance(20);
      expect(ran).to.deep.equal([...Array.from({ length: 10 }, (_, at) => `${at}`), 'high']);
    });

    it('of holders: a waiter that changes nothing for them looks at none', async () => {
      let looks = 0;
      class CountedSemaphore extends Semaphore {
        override get _turnstile(): Turnstile | null {
          looks++;
          return super._turnstile;
        }
        override set _turnstile(turnstile: Turnstile) {
          super._turnstile = turnstile;
        }
      }
      const costOf = async (count: number): Promise<number> => {
        const units = new CountedSemaphore(count);
        const { prilow } = kernel.wq;
        const gate = deferred();
        const all = Array.from({ length: count }, () =>
          prilow.run(() => Promise.all([gate.promise, prilow.run(nothing, { delayMs: 5 })]), {
            lock: units,
          }),
        );
        all.push(prilow.run(() => gate.promise, { lock: units }) as never);
        const other = new AbortController();
        const { signal } = other;
        await clock.advance(0);
        looks = 0;
        void units.enter({ priority: 103 }).then(() => units.exit());
        units.enter({ priority: 103, signal }).catch(nothing);
        other.abort();
        await settled();
        const before = looks;
        gate.resolve();
        await clock.advance(5);
        await Promise.all(all);
        return before;
      };
      expect(await costOf(100)).to.equal(await costOf(10));
    });

    it('of waiters that have inherited a priority: one that leaves looks at few of the others', async () => {
      const inner = new Mutex();
      const { prihigh, prilow } = kernel.wq;
      holder(prilow, inner, () => part(prilow, 'inner', 50));
      await clock.advance(0);
      const controllers = Array.from({ length: 1000 }, () => new AbortController());
      holder(prilow, lock, () =>
        Promise.allSettled(controllers.map(({ signal }) => inner.enter({ priority: 103, signal }))),
      );
      await clock.advance(0);
      job(prihigh, 'high', lock);
      await clock.advance(0);
      const turnstile = inner._turnstile as Turnstile;
      const highest = turnstile.highest.bind(turnstile);
      let looks = 0;
      turnstile.highest = (priorityOf, most) =>
        highest((waiter) => (looks++, priorityOf(waiter)), most);
      for (const controller of controllers) controller.abort();
      expect(looks).to.be.below(30 * controllers.length);
      await clock.advance(50);
      expect(ran).to.deep.equal(['high', 'inner']);
    });

    it('of holders that a waiter waits for: all are reached', async function () {
      this.timeout(30_000);
      // More than can be arguments of one call.
      const count = 130_000;
      const { read, write } = new RWLock();
      const { prilow } = kernel.wq;
      const all = Array.from({ length: count }, () =>
        prilow.run(() => prilow.run(nothing, { delayMs: 5 }), { lock: read }),
      );
      await clock.advance(0);
      const done = lock.run(() => write.enter({ priority: 103 }).then(() => write.exit()));
      await settled();
      const entered = lock.enter().then(() => lock.exit());
      expect(prilow._dispatcher.runq.inherited.size).to.equal(count);
      await clock.advance(5);
      await Promise.all([...all, done, entered]);
      expect(prilow._dispatcher.runq.inherited.size).to.equal(0);
    });
  });

  describe('in a deadlock', () => {
    it('comes to an end, and is lost when the waiter from outside has left', async () => {
      const { prihigh, prilow, primedlow } = kernel.wq;
      const other = new Mutex();
      other.tryEnter();
      const controller = new AbortController();
      const { signal } = controller;
      holder(prilow, lock, async () => {
        void part(prilow, 'a', 50);
        await other.enter({ priority: 103, signal }).catch(note('aborted'));
      });
      await clock.advance(0);
      holder(primedlow, other, async () => {
        void part(primedlow, 'b', 50);
        await lock.enter({ priority: 111 });
        ran.push('entered');
        lock.exit();
      });
      await clock.advance(0);
      other.exit();
      await clock.advance(0);
      expect(inherited()).to.deep.equal(['a 111']);
      const high = job(prihigh, 'high', lock);
      await clock.advance(0);
      expect(inherited()).to.deep.equal(['a 127', 'b 127']);
      high.stop();
      expect(inherited()).to.deep.equal(['a 111']);
      high.schedule();
      await clock.advance(0);
      controller.abort();
      await clock.advance(0);
      expect(ran).to.deep.equal(['aborted', 'high', 'entered']);
      expect(inherited()).to.deep.equal([]);
    });
  });
});
