import { inspect } from 'node:util';
import { expect } from 'chai';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  Scope,
  VirtualClock,
  curcpu,
  kernel as processWide,
  wq,
} from '../../lib/index.ts';
import type { Task } from '../../lib/core/one-shot.ts';
import { makeRunnableNext, reinsertTimer } from '../../lib/core/schedule.ts';
import { makeOwn } from '../../lib/core/own-kcont.ts';
import { LIMIT, TASK } from '../../lib/core/state.ts';

const code = (f: () => unknown): string => {
  try {
    f();
    return 'no error';
  } catch (error) {
    return error instanceof KcontError ? error.code : String(error);
  }
};

describe('Kernel', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let ran: string[];
  const make = (name: string, at = kernel.wq.softclock): Kcont<string> =>
    new Kcont(at, null, (arg) => void ran.push(arg), name, { name });

  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    ran = [];
  });

  it('has one CPU, which is up and has no lag, before others are started', () => {
    const cpus = new Kernel().cpus.map(({ index, state, lagMs }) => ({ index, state, lagMs }));
    expect(cpus).to.deep.equal([{ index: 0, state: 'up', lagMs: 0 }]);
  });

  it('does not reinsert a timer whose new deadline has passed too', () => {
    const still = new VirtualClock();
    const kc = new Kcont(new Kernel({ clock: still }).wq.softclock, null, () => undefined, null);
    kc.schedule(5);
    expect(reinsertTimer(kc, still.now)).to.equal(false);
    expect(kc.deadline).to.equal(5);
  });

  it('refuses invalid options', () => {
    expect([
      code(() => new Kernel({ clock: {} as VirtualClock })),
      code(() => new Kernel({ onError: 1 as never })),
      code(() => new Kernel({ budgetMs: 0 })),
      code(() => new Kernel({ budgetMs: NaN })),
    ]).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL']);
  });

  it('has eight predefined workqueues, highest priority first', () => {
    expect(
      Object.entries(kernel.wq).map(([name, queue]) => [
        name,
        queue.name,
        queue.priority,
        queue.fast,
      ]),
    ).to.deep.equal([
      ['softserial', 'softserial', 223, true],
      ['softnet', 'softnet', 215, true],
      ['softbio', 'softbio', 207, true],
      ['softclock', 'softclock', 199, true],
      ['prihigh', 'prihigh', 127, false],
      ['primedhigh', 'primedhigh', 119, false],
      ['primedlow', 'primedlow', 111, false],
      ['prilow', 'prilow', 103, false],
    ]);
    expect(wq).to.equal(processWide.wq);
    expect(curcpu()).to.equal(processWide.cpus[0]);
    expect(curcpu().index).to.equal(0);
  });

  it('is the kernel whose CPU a function sees, from entry until the first await', async () => {
    const virtual = new VirtualClock();
    const inner = new Kernel({ clock: virtual });
    const outer = new Kernel();
    const seen: unknown[] = [];
    const note = (): void => {
      seen.push([processWide, outer, inner].indexOf(curcpu().kernel));
    };
    await outer.wq.prilow.run(async () => {
      note();
      void inner.wq.prilow.run(note);
      virtual.tick(1);
      note();
      await new Promise(setImmediate);
      note();
    });
    await processWide.wq.prilow.run(note);
    note();
    expect(seen).to.deep.equal([1, 2, 1, 0, 0, 0]);
  });

  it('is independent of other kernels', () => {
    const other = new Kernel({ clock: new VirtualClock() });
    make('mine').schedule(5);
    new Kcont(other.wq.softclock, null, () => void ran.push('theirs'), null).schedule(1);
    clock.tick(10);
    expect(ran).to.deep.equal(['mine']);
  });

  it('drains: waits for what is queued and running, but not for timers', async () => {
    make('timer').schedule(1000);
    const slow = new Kcont(
      kernel.wq.prilow,
      null,
      async () => {
        ran.push('in');
        await Promise.resolve();
        ran.push('out');
      },
      null,
    );
    slow.schedule();
    const drained = kernel.drain().then(() => ran.push('drained'));
    await clock.advance(1);
    await drained;
    expect(ran).to.deep.equal(['in', 'out', 'drained']);
    await kernel.drain();
  });

  it('drains with a signal that is never aborted', async () => {
    make('a').schedule();
    const drained = kernel.drain({ signal: new AbortController().signal });
    clock.tick(0);
    await drained;
    expect(ran).to.deep.equal(['a']);
  });

  it('stops waiting for a drain when its signal is aborted', async () => {
    const never = new Kcont(kernel.wq.prilow, null, () => new Promise<void>(() => undefined), null);
    never.schedule();
    clock.tick(0);
    const controller = new AbortController();
    const drained = kernel.drain({ signal: controller.signal });
    controller.abort(new Error('enough'));
    expect(await drained.catch((error: Error) => error.message)).to.equal('enough');
    expect(
      await kernel.drain({ signal: controller.signal }).catch((error: Error) => error.message),
    ).to.equal('enough');
  });

  it('closes in order and reports what did not finish', async () => {
    const lock = new Mutex();
    make('idle timer').schedule(1000);
    new Kcont(kernel.wq.prihigh, lock, () => new Promise<void>(() => undefined), null, {
      name: 'stuck',
    }).schedule();
    new Kcont(kernel.wq.prihigh, lock, () => undefined, null, {
      name: 'behind the lock',
    }).schedule();
    const limited = kernel.acquire(50, { maxActive: 1 });
    const settle: (() => void)[] = [];
    new Kcont(
      limited,
      null,
      () => new Promise<void>((resolve) => void settle.push(resolve)),
      null,
      { name: 'slow' },
    ).schedule();
    new Kcont(limited, null, () => void ran.push('second'), null, { name: 'second' }).schedule();
    const twice = new Kcont(
      kernel.wq.prilow,
      null,
      (_, kc) => {
        if (kc.ack()) kc.schedule();
        return new Promise<void>(() => undefined);
      },
      null,
      { name: 'twice' },
    );
    twice.schedule();
    const aborted = kernel.wq.prilow.run(
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
      { name: 'cooperative' },
    );
    const late = kernel.wq.prilow.run(() => 1, { delayMs: 500, name: 'late' });
    const waiting = kernel.wq.prilow.run(() => 1, { lock, name: 'waiting' });
    const failures = Promise.all(
      [aborted, late, waiting].map((job) => job.catch((error: KcontError) => error.code)),
    );
    const otherClock = new VirtualClock();
    const elsewhere = new Kernel({ clock: otherClock });
    new Kcont(elsewhere.wq.prilow, lock, () => undefined, null, { name: 'theirs' }).schedule();
    clock.tick(0);
    otherClock.tick(0);
    void lock.enter();

    const closed = kernel.close({ graceMs: 100 });
    expect(kernel.close()).to.equal(closed);
    expect(make('new').schedule()).to.equal(false);
    settle[0]!();
    await clock.advance(50);
    expect(ran).to.deep.equal(['second']);
    await clock.advance(200);
    const { withdrawn, unfinished } = await closed;
    expect([...withdrawn].toSorted()).to.deep.equal(['idle timer', 'late']);
    expect(
      unfinished.map(({ name, wq: queue, state }) => `${name} ${queue} ${state}`).toSorted(),
    ).to.deep.equal([
      'behind the lock prihigh queued',
      'stuck prihigh running',
      'twice prilow queued',
      'twice prilow running',
      'waiting prilow queued',
    ]);
    expect(await failures).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN', 'ESHUTDOWN']);
    expect(kernel.inspect()).to.include({ pending: 0, queued: 0, running: 2, closed: true });
  });

  it('closes with more timers in the grace than a call takes arguments', async () => {
    for (let i = 0; i < 150_000; i++) {
      makeOwn(LIMIT, kernel.wq.softclock, null, () => undefined, null, {}).schedule(1000);
    }
    const closed = kernel.close({ graceMs: 0 });
    await clock.advance(200);
    expect((await closed).withdrawn).to.have.length(150_000);
  });

  it('reports what was runnable, and what waited for maxActive, when the grace is over', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    const limited = kernel.acquire(50, { maxActive: 1 });
    const never = (): Promise<void> => new Promise(() => undefined);
    new Kcont(kernel.wq.prihigh, lock, () => void ran.push('too late'), null, {
      name: 'heir',
    }).schedule();
    new Kcont(limited, null, never, null, { name: 'first' }).schedule();
    new Kcont(limited, null, never, null, { name: 'no room' }).schedule();
    clock.tick(0);
    const closed = kernel.close({ graceMs: 10 });
    clock.tick(10);
    lock.exit();
    // A job that a drop-in API has deferred to the next pass is reported too.
    makeRunnableNext(make('next pass'));
    await new Promise((resolve) => void setImmediate(resolve));
    await clock.advance(100);
    expect((await closed).unfinished.map(({ name, state }) => `${name} ${state}`)).to.deep.equal([
      'heir queued',
      'next pass queued',
      'no room queued',
      'first running',
    ]);
    expect(ran).to.deep.equal([]);
  });

  it('closes immediately when nothing is left, and refuses an invalid grace', async () => {
    expect(await kernel.close({ graceMs: -1 }).catch((error: KcontError) => error.code)).to.equal(
      'EINVAL',
    );
    make('a').schedule();
    const closed = kernel.close();
    await clock.advance(0);
    expect(await closed).to.deep.equal({ withdrawn: [], unfinished: [] });
    expect(ran).to.deep.equal(['a']);
  });

  it('is closed from the call of close on, even for tasks that the call aborts', async () => {
    const seen = [kernel.closed];
    await kernel.close({ graceMs: NaN }).catch(() => void seen.push(kernel.closed));
    const asker: Task = { _abort: () => void seen.push(kernel.closed) };
    const kc = new Kcont(kernel.wq.prilow, null, () => undefined, asker);
    kc._state |= TASK;
    kc.schedule(1000);
    const closing = kernel.close();
    seen.push(kernel.closed);
    await clock.advance(0);
    await closing;
    expect([...seen, kernel.closed]).to.deep.equal([false, false, true, true, true]);
  });

  it('reports its figures, as an object and in one line', () => {
    make('a').schedule(10);
    make('b').schedule();
    const { workqueues, ...figures } = kernel.inspect();
    expect(figures).to.deep.equal({
      pending: 1,
      queued: 1,
      running: 0,
      closed: false,
      inherited: [],
    });
    expect(workqueues[3]).to.deep.equal({
      name: 'softclock',
      priority: 199,
      shares: null,
      queued: 1,
      running: 0,
      entered: 0,
      failed: 0,
    });
    expect(inspect(kernel)).to.equal('Kernel { 1 pending, 1 queued, 0 running }');
    expect(inspect(kernel.wq.softclock)).to.equal(
      'Workqueue softclock { priority 199, 1 queued, 0 running, 0 entered }',
    );
  });

  it('counts the function that calls inspect among those running', () => {
    let running = 0;
    const asks = new Kcont(
      kernel.wq.softnet,
      null,
      () => void ({ running } = kernel.inspect()),
      null,
    );
    asks.schedule();
    clock.tick(0);
    expect(running).to.equal(1);
  });

  it('shows a continuation and a scope in one line', () => {
    const scope = new Scope();
    const lock = new Mutex();
    const kc = new Kcont(kernel.wq.softclock, lock, function closeIdle() {}, null, { scope });
    expect(inspect(kc)).to.equal('Kcont closeIdle { IDLE, softclock, free lock }');
    kc.schedule(30_000);
    lock.tryEnter();
    expect(inspect(kc)).to.equal(
      'Kcont closeIdle { PENDING, due in 30000 ms, softclock, held lock }',
    );
    expect(inspect(scope)).to.equal('Scope { 1 continuations, 1 busy }');
    scope[Symbol.dispose]();
    expect(inspect(kc)).to.equal('Kcont closeIdle { DESTROYED, softclock, held lock }');
    expect(inspect(scope)).to.equal('Scope { disposed }');
    expect(inspect(new Kcont(kernel.wq.softclock, null, () => undefined, null))).to.equal(
      'Kcont (anonymous) { IDLE, softclock }',
    );
  });
});
