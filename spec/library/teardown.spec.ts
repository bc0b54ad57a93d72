// Teardown is not an error: while an owner is destroyed or the kernel closes, the results of `schedule`
// and `reset` depend only on the state, and runs in flight are served until they settle.
import { expect } from 'chai';
import sinon from 'sinon';
import { HostClock } from '../../lib/time/host-clock.ts';
import { Kcont, KcontError, Kernel, Mutex, RWLock, Scope, VirtualClock } from '../../lib/index.ts';
import { createDeadline } from '../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { deferred, Lab, rejectionOf, settled, type Deferred } from '../support/lab.ts';
import {
  itObeysTeardown,
  type PhaseName,
  type Situation,
  type TeardownRig,
} from '../support/teardown.ts';

const PLAIN = 'plain code';
const IN_FLIGHT = 'a function in flight';
const ON_THE_STACK = 'a function on the stack';
const ITS_OWN = 'its own function';

/** A kernel on a clock that stands still. A run in flight keeps its grace from ending. */
class VirtualRig implements TeardownRig {
  readonly #lab = new Lab();
  readonly kernel = this.#lab.kernel;
  readonly #lock = new Mutex();
  readonly #gate = new Mutex();
  readonly #holds: Deferred<void>[] = [];
  #within: (() => void) | undefined = undefined;
  #closing: Promise<unknown> = Promise.resolve();
  readonly #others = new Map<string, Deferred<() => void>>();

  /** An asynchronous function that continues when it gets something to do, and ends with all others. */
  #inFlight(caller: string): Kcont<null> {
    const asked = deferred<() => void>();
    const hold = deferred();
    this.#others.set(caller, asked);
    this.#holds.push(hold);
    const func = async (): Promise<void> => {
      (await asked.promise)();
      await hold.promise;
    };
    return new Kcont(this.kernel.wq.prilow, null, func, null, { name: caller });
  }

  async bring(situation: Situation): Promise<Kcont<string>> {
    const lab = this.#lab;
    this.#inFlight(IN_FLIGHT).schedule();
    this.#gate.tryEnter();
    new Kcont(this.kernel.wq.prihigh, this.#gate, () => this.#within?.(), null).schedule();
    const runs = /running|acked/.test(situation);
    const lock = situation === 'queued' ? this.#lock : null;
    const asked = deferred<() => void>();
    this.#others.set(ITS_OWN, asked);
    const hold = deferred();
    this.#holds.push(hold);
    const body = async (): Promise<void> => {
      void asked.promise.then((ask) => ask());
      await hold.promise;
    };
    const kc = new Kcont(this.kernel.wq.prihigh, lock, body, situation);
    if (situation === 'queued') this.#lock.tryEnter();
    if (runs || situation === 'queued') kc.schedule();
    lab.clock.tick(0);
    if (situation.startsWith('acked')) kc.ack();
    if (situation.endsWith('pending')) kc.schedule(1000);
    if (situation.startsWith('destroyed')) kc.destroy();
    return kc;
  }

  async enter(phase: PhaseName): Promise<void> {
    if (phase === 'open') return;
    this.#closing = this.kernel.close({ graceMs: 100 });
    await settled();
    if (phase === 'closed') await this.#lab.clock.advance(1000);
  }

  async call(caller: string, ask: () => void): Promise<void> {
    if (caller === PLAIN) ask();
    else if (caller === ON_THE_STACK) {
      this.#within = ask;
      this.#gate.exit();
      this.#lab.clock.tick(0);
      this.#within = undefined;
    } else {
      this.#others.get(caller)?.resolve(ask);
      await settled();
    }
  }

  async end(): Promise<void> {
    for (const hold of this.#holds) hold.resolve();
    if (this.#lock.held) this.#lock.exit();
    for (const asked of this.#others.values()) asked.resolve(() => undefined);
    await this.#lab.clock.advance(10_000);
    await this.#closing;
    expect(this.#lab.errors).to.deep.equal([]);
  }
}

describe('the result of schedule and reset', () => {
  itObeysTeardown(() => Promise.resolve(new VirtualRig()), {
    open: [PLAIN, IN_FLIGHT, ON_THE_STACK],
    'in the grace': [PLAIN, IN_FLIGHT, ON_THE_STACK],
    closed: [PLAIN, IN_FLIGHT],
  });
});

describe('a function whose owner is destroyed while it is in flight', () => {
  /** The ways in which an owner is destroyed. */
  const ways: Record<string, (kc: Kcont<null>, lab: Lab, hangUp: AbortController) => void> = {
    'is destroyed': (kc) => kc.destroy(),
    'aborts its signal': (_kc, _lab, hangUp) => hangUp.abort(),
    'closes the kernel': (_kc, { kernel }) => void kernel.close({ graceMs: 1000 }),
  };

  for (const [way, go] of Object.entries(ways)) {
    it(`may reschedule itself when its owner ${way}, and does not run again`, async () => {
      const lab = new Lab();
      const hangUp = new AbortController();
      const sent = deferred();
      const answers: boolean[] = [];
      const retry = new Kcont(
        lab.wq.prihigh,
        new Mutex(),
        async (_, kc) => {
          lab.ran.push('tries');
          await sent.promise;
          answers.push(kc.reset(100), kc.schedule(), kc.ack(), kc.schedule(5));
        },
        null,
        { signal: hangUp.signal },
      );
      retry.schedule();
      lab.clock.tick(0);
      go(retry, lab, hangUp);
      sent.resolve();
      await lab.clock.advance(5000);
      expect(lab.take()).to.deep.equal(['tries']);
      // The refused calls have not acknowledged it; a destroyed one cannot be acknowledged.
      expect(answers).to.deep.equal([false, false, way === 'closes the kernel', false]);
      expect(lab.errors).to.deep.equal([]);
      expect(retry.busy).to.equal(false);
    });
  }

  it('may schedule other continuations of a scope that is disposed', async () => {
    const lab = new Lab();
    const scope = new Scope();
    const went = deferred();
    const flush = lab.sync('flush', { options: { scope } });
    const reader = new Kcont(
      lab.wq.prihigh,
      null,
      async () => {
        await went.promise;
        lab.ran.push(String(flush.schedule()));
      },
      null,
      { scope },
    );
    reader.schedule();
    lab.clock.tick(0);
    scope[Symbol.dispose]();
    went.resolve();
    await lab.clock.advance(10);
    expect([lab.take(), lab.errors]).to.deep.equal([['false'], []]);
  });
});

describe('the grace of close', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let ran: string[];
  let errors: unknown[];
  beforeEach(() => {
    clock = new VirtualClock();
    errors = [];
    kernel = new Kernel({ clock, onError: (error) => void errors.push(error) });
    ran = [];
  });
  const note = (what: string): void => void ran.push(`${what} at ${clock.now}`);
  /** Starts a function that records its end. */
  const begin = (func: () => Promise<unknown>, name = 'run'): void => {
    const run = async (): Promise<void> => {
      try {
        await func();
        note(`${name} ends`);
      } catch (error) {
        note(`${name} fails: ${error instanceof KcontError ? error.code : String(error)}`);
      }
    };
    new Kcont(kernel.wq.prilow, null, run, null, { name }).schedule();
    clock.tick(0);
  };
  async function close(graceMs = 1000): Promise<{ withdrawn: readonly string[]; left: string[] }> {
    const closing = kernel.close({ graceMs });
    await clock.advance(graceMs + 1000);
    const { withdrawn, unfinished } = await closing;
    expect(errors).to.deep.equal([]);
    return { withdrawn, left: unfinished.map(({ name, state }) => `${name} ${state}`) };
  }

  it('grants locks to runs in flight, and to what is queued behind them', async () => {
    const lock = new Mutex();
    const routes = new RWLock();
    const turn = deferred();
    begin(() => lock.run(() => turn.promise), 'holder');
    for (const name of ['first', 'second']) {
      new Kcont(kernel.wq.prihigh, lock, () => note(name), null).schedule();
    }
    begin(async () => {
      await turn.promise;
      await lock.enter();
      lock.exit();
      using held = await lock.hold();
      await routes.write.enter();
      routes.write.exit();
      void held;
    }, 'waiter');
    begin(() => kernel.wq.softclock.drain().then(() => turn.resolve()), 'opener');
    expect(await close()).to.deep.equal({ withdrawn: [], left: [] });
    expect(ran.toSorted()).to.deep.equal([
      'first at 0',
      'holder ends at 0',
      'opener ends at 0',
      'second at 0',
      'waiter ends at 0',
    ]);
  });

  it('leaves timers of timers/promises armed, and allows new ones, until the last run settles', async () => {
    const { promises } = createTimers(kernel);
    const { setTimeout: sleep, setImmediate, setInterval, scheduler } = promises;
    begin(async () => {
      await sleep(100);
      await sleep(50);
      await setImmediate();
      await setImmediate(1, { ref: false });
      await scheduler.wait(30);
      await scheduler.yield();
      let ticks = 0;
      for await (const _ of setInterval(5)) if (++ticks === 4) break;
    });
    const outside = sleep(60_000).catch((error: KcontError) => note(error.code));
    const every = setInterval(60_000).next();
    void every.catch((error: KcontError) => note(`interval ${error.code}`));
    expect(await close()).to.deep.equal({ withdrawn: ['timeout', 'interval'], left: [] });
    await outside;
    expect(ran).to.deep.equal(['run ends at 201', 'ESHUTDOWN at 201', 'interval ESHUTDOWN at 201']);
    expect(await rejectionOf(sleep(1))).to.equal('ESHUTDOWN');
    expect(await rejectionOf(setImmediate())).to.equal('ESHUTDOWN');
  });

  it('rejects what an overlong run waits for, when the grace is over', async () => {
    const { setTimeout: sleep } = createTimers(kernel).promises;
    begin(async () => {
      try {
        await sleep(60_000);
      } catch {
        note('aborted');
        // To clean up, it may wait once more.
        await sleep(20);
      }
    });
    expect(await close(100)).to.deep.equal({ withdrawn: ['timeout'], left: [] });
    expect(ran).to.deep.equal(['aborted at 100', 'run ends at 120']);
  });

  it('rejects at the end of the shutdown what was armed to clean up', async () => {
    const { setTimeout: sleep } = createTimers(kernel).promises;
    begin(async () => {
      await sleep(60_000).catch(() => sleep(60_000));
    });
    expect(await close(100)).to.deep.equal({
      withdrawn: ['timeout', 'timeout'],
      left: ['run running'],
    });
    expect(ran).to.deep.equal(['run fails: ESHUTDOWN at 200']);
  });

  it('allows deadlines to be armed, and keeps them', async () => {
    const deadline = createDeadline(kernel);
    const untilAborted = (signal: AbortSignal): Promise<unknown> =>
      new Promise((resolve) => {
        signal.addEventListener('abort', resolve, { once: true });
      });
    begin(async () => {
      await untilAborted(deadline(10));
      await untilAborted(deadline(20));
    });
    const line = pipeline<string>().stage('a', () => new Promise(() => undefined), {
      deadlineMs: 40,
    });
    void line
      .start({ kernel })
      .run('item')
      .catch((error: KcontError) => note(error.code));
    clock.tick(0);
    expect(await close()).to.deep.equal({ withdrawn: [], left: [] });
    expect(ran).to.deep.equal(['run ends at 30', 'ETIMEDOUT at 40']);
  });

  it('refuses run, even in a function in flight', async () => {
    const later = deferred();
    begin(async () => {
      await later.promise;
      await kernel.wq.prihigh.run(() => note('never'));
    });
    const closing = close();
    later.resolve();
    expect(await closing).to.deep.equal({ withdrawn: [], left: [] });
    expect(ran).to.deep.equal(['run fails: ESHUTDOWN at 0']);
  });

  it('lets a task in flight continue to yield, and posts no new tasks', async () => {
    const scheduler = createScheduler(kernel);
    const posted = scheduler.postTask(async () => {
      for (let i = 0; i < 3; i++) {
        await scheduler.yield();
        note(`slice ${i}`);
      }
      await scheduler.postTask(() => note('never'));
    });
    const code = rejectionOf(posted);
    clock.tick(0);
    expect(await close()).to.deep.equal({ withdrawn: [], left: [] });
    expect([ran, await code]).to.deep.equal([
      ['slice 0 at 0', 'slice 1 at 0', 'slice 2 at 0'],
      'ESHUTDOWN',
    ]);
  });

  it('is not extended by plain code that yields repeatedly', async () => {
    // If time stood still, such code would never end.
    const real = new Kernel();
    const { setImmediate, setTimeout: sleep } = createTimers(real).promises;
    const scheduler = createScheduler(real);
    let turns = 0;
    const loop = async (yields: () => Promise<unknown>): Promise<void> => {
      for (;;) {
        await yields();
        turns++;
      }
    };
    const codes = [() => setImmediate(), () => scheduler.yield()].map((yields) =>
      rejectionOf(loop(yields)),
    );
    const entered = deferred();
    const run = async (): Promise<void> => {
      entered.resolve();
      await sleep(5);
      ran.push('slept');
    };
    new Kcont(real.wq.prilow, null, run, null).schedule();
    await entered.promise;
    expect(await real.close({ graceMs: 20_000 })).to.deep.equal({ withdrawn: [], unfinished: [] });
    expect(await Promise.all(codes)).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
    expect([ran, turns > 2]).to.deep.equal([['slept'], true]);
  });

  it('is met by a run that settles in its last tick, however many promises follow, and its waiters', async () => {
    const { setTimeout: sleep } = createTimers(kernel).promises;
    const lock = new Mutex();
    let aborted: boolean | undefined;
    const first = kernel.wq.prilow.run(
      async (signal) => {
        await sleep(1000);
        for (let i = 0; i < 50; i++) await Promise.resolve();
        aborted = signal.aborted;
        note('first');
      },
      { lock },
    );
    const second = kernel.wq.prilow.run(() => note('second'), { lock });
    await clock.advance(0);
    expect(await close(1000)).to.deep.equal({ withdrawn: [], left: [] });
    await Promise.all([first, second]);
    expect([ran, aborted]).to.deep.equal([['first at 1000', 'second at 1000'], false]);
  });

  it('is not met by a run that settles one tick later', async () => {
    const { setTimeout: sleep } = createTimers(kernel).promises;
    begin(() => sleep(1001));
    const next = rejectionOf(kernel.wq.prilow.run(() => note('next'), { delayMs: 0 }));
    await clock.advance(0);
    await close(1000);
    expect(await next).to.equal('none');
    expect(ran).to.deep.equal(['next at 0', 'run fails: ESHUTDOWN at 1000']);
  });

  it('is met by a run that settles in its last ms on the host', async () => {
    const fake = sinon.useFakeTimers();
    try {
      const real = new Kernel({ clock: new HostClock() });
      const { prilow } = real.wq;
      const lock = new Mutex();
      const first = prilow.run(
        async (signal) => {
          await new Promise((resolve) => void setTimeout(resolve, 100));
          for (let i = 0; i < 50; i++) await Promise.resolve();
          ran.push(`first, aborted: ${signal.aborted}`);
        },
        { lock },
      );
      const second = prilow.run(() => ran.push('second'), { lock });
      await fake.tickAsync(0);
      const closing = real.close({ graceMs: 100 });
      await fake.tickAsync(1000);
      expect(await closing).to.deep.equal({ withdrawn: [], unfinished: [] });
      await Promise.all([first, second]);
      expect(ran).to.deep.equal(['first, aborted: false', 'second']);
    } finally {
      fake.restore();
    }
  });

  describe('with callback timers', () => {
    it('withdraws immediately, by name, those that no run in flight can wait for', async () => {
      const { setTimeout, setInterval } = createTimers(kernel);
      const before = [
        setTimeout(function beforeAll() {}, 100),
        setInterval(function poll() {}, 100),
      ];
      // A synchronous function cannot wait.
      void kernel.wq.softnet.run(() => void setTimeout(function bySync() {}, 100));
      clock.tick(0);
      const end = deferred();
      begin(() => end.promise);
      const closing = kernel.close({ graceMs: 1000 });
      expect(before.map((timer) => timer._destroyed)).to.deep.equal([true, true]);
      end.resolve();
      await clock.advance(5000);
      expect((await closing).withdrawn).to.deep.equal([
        'timeout beforeAll',
        'interval poll',
        'timeout bySync',
      ]);
    });

    it('keeps those that a run in flight may wait for until the last run has settled', async () => {
      const { setTimeout, setInterval } = createTimers(kernel);
      begin(async () => {
        await new Promise<void>((resolve) => void setTimeout(resolve, 50));
        note('first sleep');
      }, 'one');
      begin(async () => {
        let ticks = 0;
        await new Promise<void>((resolve) => {
          const interval = setInterval(() => {
            if (++ticks < 3) return;
            interval.close();
            resolve();
          }, 50);
        });
      }, 'two');
      // Armed by plain code while runs are in flight.
      setTimeout(() => note('while in flight'), 60);
      setTimeout(function tooLate() {}, 60_000);
      expect(await close()).to.deep.equal({ withdrawn: ['timeout tooLate'], left: [] });
      expect(ran).to.deep.equal([
        'first sleep at 50',
        'one ends at 50',
        'while in flight at 60',
        'two ends at 150',
      ]);
    });

    it('clears timers that are set then: they are never called, and nothing is thrown', async () => {
      const timers = createTimers(kernel);
      const over = timers.setTimeout(() => note('over'), 60_000);
      const kept = deferred<{ refresh(): unknown }>();
      begin(async () => {
        kept.resolve(timers.setTimeout(() => note('kept'), 20));
        await new Promise<void>((resolve) => void timers.setTimeout(resolve, 30));
      });
      const closing = kernel.close({ graceMs: 1000 });
      const set = [
        timers.setTimeout(() => note('never'), 1),
        timers.setInterval(() => note('never'), 1),
        timers.setImmediate(() => note('never')),
        over.refresh(),
      ];
      // A timer that may be waited for can be rescheduled as long as its run lasts.
      clock.tick(15);
      (await kept.promise).refresh();
      for (const it of set) {
        expect(it._destroyed).to.equal(true);
        expect(it.hasRef()).to.equal(!('_onImmediate' in it));
      }
      for (const timer of set.slice(0, 2)) timers.clearTimeout(timer as never);
      timers.clearImmediate(set[2] as never);
      await clock.advance(5000);
      expect((await closing).unfinished).to.deep.equal([]);
      expect(ran).to.deep.equal(['run ends at 30']);
    });
  });
});
