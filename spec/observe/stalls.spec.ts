import { expect } from 'chai';
import { afterEach, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, type Workqueue } from '../../lib/index.ts';
import {
  list,
  observe,
  type Observation,
  type Stall,
  type StallLimits,
} from '../support/observe.ts';
import { runModule } from '../support/child.ts';
import { HandClock } from '../support/hand-clock.ts';
import { codeOf, deferred, Lab, settled } from '../support/lab.ts';

const observing = new URL(`../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

const started: Observation[] = [];
afterEach(() => {
  for (const observation of started.splice(0)) observation.stop();
});

/** The stalls that are found on a kernel from now on. */
function stallsOf(kernel: Kernel, limits: StallLimits = {}): Stall[] {
  const found: Stall[] = [];
  started.push(observe({ kernel, limits, onStall: (stall) => void found.push(stall) }));
  return found;
}

function messages(found: Stall[]): string[] {
  return found.splice(0).map(({ message }) => message);
}

/** A kernel whose time is moved by its functions. */
class Slow {
  readonly clock: HandClock = new HandClock();
  readonly kernel: Kernel = new Kernel({ clock: this.clock });

  /** A continuation whose function takes some ms. */
  taking(ms: number, name: string, wq: Workqueue = this.kernel.wq.prihigh): Kcont<null> {
    return new Kcont(wq, null, () => this.clock.pass(ms), null, { name });
  }

  /** Runs everything that is runnable. */
  async drain(): Promise<void> {
    await this.kernel.drain();
    await settled();
  }
}

describe('observe({ limits })', () => {
  it('reports a function that blocks the event loop, when it has returned', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: Infinity });
    slow.taking(50, 'short').schedule();
    slow.taking(80, 'readConfig').schedule();
    await slow.drain();
    expect(found).to.have.length(1);
    expect(found[0]).to.deep.include({
      kind: 'function',
      message: 'readConfig on prihigh blocked the event loop for 80 ms',
      name: 'readConfig',
      function: '',
      workqueue: 'prihigh',
      priority: 127,
      ms: 80,
      limitMs: 50,
      lock: null,
      holders: [],
      waiting: 0,
      suppressed: 0,
    });
    expect(JSON.parse(JSON.stringify(found))).to.deep.equal(found);
  });

  it('counts only the synchronous part of an asynchronous function', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: Infinity });
    const func = async (): Promise<void> => {
      slow.clock.pass(60);
      await settled();
      slow.clock.pass(500);
    };
    new Kcont(slow.kernel.wq.prilow, null, func, null, { name: 'load' }).schedule();
    await slow.drain();
    expect(messages(found)).to.deep.equal(['load on prilow blocked the event loop for 60 ms']);
  });

  it('reports a continuation that is entered late, and the function that blocked it', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { functionMs: 50, lateMs: 100 });
    slow.taking(150, 'slow').schedule();
    slow.taking(0, 'next').schedule();
    await slow.drain();
    expect(messages(found)).to.deep.equal([
      'slow on prihigh blocked the event loop for 150 ms',
      'next on prihigh was entered 150 ms late: slow blocked the event loop for 150 ms',
    ]);
  });

  it('reports one that is late because many others were entered first', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: 110 });
    for (let n = 0; n < 6; n++) slow.taking(20, 'other').schedule();
    slow.taking(0, 'last', slow.kernel.wq.prilow).schedule();
    await slow.drain();
    expect(messages(found)).to.deep.equal([
      'last on prilow was entered 120 ms late: the event loop was busy, or higher priorities were served first',
    ]);
  });

  it('does not blame the event loop for what waited for its lock, a place, or its own run', async () => {
    const lab = new Lab();
    const found = stallsOf(lab.kernel, { lockMs: Infinity, runMs: Infinity });
    const lock = new Mutex();
    const narrow = lab.kernel.acquire(50, { maxActive: 1, name: 'narrow' });
    const until = deferred();
    const hold = (): Promise<void> => until.promise;
    const again = new Kcont(lab.wq.prihigh, null, hold, null);
    const holders = [
      new Kcont(lab.wq.prihigh, lock, hold, null),
      new Kcont(narrow, null, hold, null),
      again,
    ];
    for (const kc of holders) kc.schedule();
    await lab.clock.advance(1);
    lab.sync('waiter', { lock }).schedule();
    lab.sync('second', { wq: narrow }).schedule();
    again.reset(1);
    await lab.clock.advance(500);
    until.resolve();
    await lab.clock.advance(1);
    expect([lock.held, narrow.stats().entered, again.running]).to.deep.equal([false, 2, false]);
    expect(messages(found)).to.deep.equal([]);
  });

  it('reports a cause once in an interval, and then how often it was suppressed', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: Infinity, intervalMs: 200 });
    const kc = slow.taking(60, 'slow');
    const suppressed: number[] = [];
    for (let n = 0; n < 6; n++) {
      kc.schedule();
      await slow.drain();
      for (const stall of found.splice(0)) suppressed.push(stall.suppressed);
    }
    expect(suppressed).to.deep.equal([0, 3]);
  });

  it('remembers at most a thousand causes', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: Infinity, starvedMs: Infinity });
    for (let n = 0; n < 1002; n++) slow.taking(60, `slow ${n}`).schedule();
    await slow.drain();
    expect(messages(found)).to.have.length(1002);
  });

  it('reports a run that does not settle, once, and the lock that it holds', async () => {
    const lab = new Lab();
    const found = stallsOf(lab.kernel, { runMs: 1000, intervalMs: 0 });
    const lock = new Mutex({ name: 'journal' });
    const kc = lab.async('flush', { lock, options: { name: 'flush' } });
    kc.schedule();
    await lab.clock.advance(1000);
    expect(messages(found)).to.deep.equal([]);
    await lab.clock.advance(5000);
    expect(messages(found)).to.deep.equal([
      'flush on prihigh has not settled for 1.2 s, and holds lock journal',
    ]);
    await lab.end(kc);
    kc.schedule();
    await lab.clock.advance(1200);
    expect(messages(found)).to.have.length(0);
    await lab.clock.advance(1000);
    expect(messages(found)).to.have.length(1);
    await lab.end(kc);
  });

  it('counts a wait that lasts once, however often it is looked at', async () => {
    const lab = new Lab();
    const found = stallsOf(lab.kernel, { lockMs: 1000, intervalMs: 5000 });
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    const append = lab.sync('append', { lock, options: { name: 'append' } });
    const suppressed: number[] = [];
    for (const waits of [7, 2, 2, 2]) {
      flush.schedule();
      append.schedule();
      await lab.clock.advance(waits * 1000);
      for (const stall of found.splice(0)) suppressed.push(stall.suppressed);
      await lab.end(flush);
      await lab.clock.advance(0);
    }
    // After 1.25 s and 6.25 s; the waits from 7 s and 9 s are suppressed, and the one from 11 s is reported.
    expect(suppressed).to.deep.equal([0, 0, 2]);
  });

  it('writes names in one line', async () => {
    const slow = new Slow();
    const found = stallsOf(slow.kernel, { lateMs: Infinity });
    slow.taking(60, 'slow\nkcont: forged').schedule();
    await slow.drain();
    expect(messages(found)).to.deep.equal([
      String.raw`slow\nkcont: forged on prihigh blocked the event loop for 60 ms`,
    ]);
  });

  it('reports a lock that is waited for, with its holder and the number of waiters', async () => {
    const lab = new Lab();
    const found = stallsOf(lab.kernel, { lockMs: 1000, lateMs: 100 });
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(10);
    lab.sync('first', { lock, options: { name: 'first' } }).schedule();
    lab.clock.tick(10);
    lab.sync('second', { lock, options: { name: 'second' } }).schedule();
    await lab.clock.advance(2000);
    expect(found[0]).to.deep.include({
      kind: 'lock',
      name: 'first',
      lock: 'journal',
      holders: ['flush'],
      waiting: 2,
      limitMs: 1000,
    });
    expect(messages(found)).to.deep.equal([
      'first on prihigh has waited 1.2 s for lock journal, held by flush; 2 wait for it',
    ]);
    await lab.end(flush);
    await lab.clock.advance(0);
    // They are late because of the lock, which has been reported.
    expect(messages(found)).to.deep.equal([]);
  });

  it('names no holder of a lock that is free', async () => {
    const lab = new Lab();
    const found = stallsOf(lab.kernel, { lockMs: 100 });
    const lock = new Mutex({ name: 'journal' });
    lock.tryEnter();
    lab.sync('first', { lock, options: { name: 'first' } }).schedule();
    await lab.clock.advance(200);
    expect(messages(found)).to.deep.equal([
      'first on prihigh has waited 125 ms for lock journal, held by an unknown holder; 1 wait for it',
    ]);
    lock.exit();
  });

  it('reports a priority that starves', async () => {
    const slow = new Slow();
    const { kernel } = slow;
    const found = stallsOf(kernel, { functionMs: Infinity, lateMs: Infinity, starvedMs: 1000 });
    const low = kernel.acquire(50, { patienceMs: Infinity, name: 'bulk' });
    slow.taking(0, 'index', low).schedule();
    slow.taking(0, 'sweep', low).schedule();
    let left = 20;
    const high = new Kcont(
      kernel.wq.prihigh,
      null,
      (_, kc) => {
        slow.clock.pass(100);
        if (--left > 0) kc.reset();
      },
      null,
    );
    high.schedule();
    await slow.drain();
    expect(found[0]).to.deep.include({
      kind: 'level',
      name: 'index',
      waiting: 2,
      workqueue: 'bulk',
    });
    expect(found[0]?.message).to.match(
      /^no continuation of priority 50 has been entered for 1\.[0-9] s; 2 are runnable, index on bulk is the first$/,
    );
  });

  it('has limits for all of it, and does not look for what is not limited', () => {
    const lab = new Lab();
    const before = list(lab.kernel).length;
    stallsOf(lab.kernel, { lockMs: Infinity, runMs: Infinity, starvedMs: Infinity });
    expect(list(lab.kernel).length).to.equal(before);
    stallsOf(lab.kernel);
    expect(list(lab.kernel).map(({ name, ref }) => [name, ref])).to.deep.equal([
      ['kcont/observe', false],
    ]);
  });

  it('finds nothing any more when it was stopped, or the kernel is closed', async () => {
    const lab = new Lab();
    const found: Stall[] = [];
    const observation = observe({ kernel: lab.kernel, onStall: (stall) => void found.push(stall) });
    observation.stop();
    observation.stop();
    expect(list(lab.kernel)).to.deep.equal([]);
    const closing = lab.kernel.close();
    await lab.clock.advance(0);
    await closing;
    expect(stallsOf(lab.kernel)).to.deep.equal([]);
    expect(list(lab.kernel)).to.deep.equal([]);
  });

  it('writes the message if there is no onStall', async () => {
    const slow = new Slow();
    let text = '';
    started.push(
      observe({
        kernel: slow.kernel,
        limits: { lateMs: Infinity },
        write: (said) => (text += said),
      }),
    );
    slow.taking(70, 'slow').schedule();
    await slow.drain();
    expect(text).to.equal('kcont: slow on prihigh blocked the event loop for 70 ms\n');
  });

  it('reports the others if onStall throws, whose error is an uncaught exception', async () => {
    const { code, out, err } = await runModule(`
      import { observe } from ${JSON.stringify(observing)};
      const { Kcont, Kernel, wq } = kcont;
      process.on('uncaughtException', (error) => console.log('uncaught', error.message));
      const onStall = ({ name }) => {
        console.log(name);
        if (name === 'first') throw new Error('wrong');
      };
      observe({ onStall, limits: { functionMs: 1, lateMs: Infinity } });
      const burn = () => {
        const end = performance.now() + 5;
        while (performance.now() < end);
      };
      for (const name of ['first', 'second']) new Kcont(wq.softnet, null, burn, 0, { name }).schedule();
    `);
    expect([code, err]).to.deep.equal([0, '']);
    expect(out).to.have.members(['first', 'uncaught wrong', 'second']);
  });

  it('refuses a kernel and limits that are invalid', () => {
    expect(codeOf(() => observe({ kernel: {} as never }))).to.equal('EINVAL');
    expect(codeOf(() => observe({ limits: { runMs: 0 } }))).to.equal('EINVAL');
    for (const limits of [5, null]) {
      expect(codeOf(() => observe({ limits: limits as never }))).to.equal('EINVAL');
    }
  });
});
