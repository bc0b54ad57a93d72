import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { expect } from 'chai';
import { Kcont, KcontError, Kernel, VirtualClock } from '../../lib/index.ts';

const code = (f: () => unknown): string => {
  try {
    f();
    return 'no error';
  } catch (error) {
    return error instanceof KcontError ? error.code : String(error);
  }
};

describe('VirtualClock', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let ran: string[];
  const make = (
    name: string,
    func: () => void | Promise<void> = () => undefined,
    at = kernel,
  ): Kcont<string> =>
    new Kcont(
      at.wq.prilow,
      null,
      (arg) => {
        ran.push(`${arg}@${clock.now}`);
        return func();
      },
      name,
    );

  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    ran = [];
  });

  it('runs continuations only inside tick', async () => {
    make('job').schedule();
    await new Promise((resolve) => void setImmediate(resolve));
    expect(ran).to.deep.equal([]);
    clock.tick(0);
    expect(ran).to.deep.equal(['job@0']);
  });

  it('expires tick by tick, and runs what becomes runnable in between', () => {
    make('late').schedule(3);
    make('first', () => void make('follows').schedule()).schedule(1);
    make('second', () => void make('next tick').schedule(1)).schedule(1);
    clock.tick(3);
    expect(ran).to.deep.equal(['first@1', 'second@1', 'follows@1', 'next tick@2', 'late@3']);
    expect(clock.now).to.equal(3);
  });

  it('accepts fractions: each is a time of its own, rounded up to an eighth', () => {
    for (const delayMs of [1, 0.9, 0.5, 0.51, 0.01, 0.625, 0.125]) {
      const kc = make(String(delayMs));
      kc.schedule(delayMs);
      expect(kc.deadline).to.equal(Math.ceil(delayMs * 8) / 8);
    }
    clock.tick(0.124);
    expect([ran, clock.now]).to.deep.equal([[], 0.124]);
    clock.tick(1);
    const order = ['0.01@0.125', '0.125@0.125', '0.5@0.5', '0.51@0.625', '0.625@0.625'];
    expect(ran).to.deep.equal([...order, '1@1', '0.9@1']);
    expect(clock.now).to.equal(1.124);
  });

  it('counts a fractional delay again from a touch', () => {
    const kc = make('a');
    kc.schedule(0.75);
    clock.tick(0.5);
    kc.touch();
    clock.tick(10);
    expect(ran).to.deep.equal(['a@1.25']);
  });

  it('moves on where a fraction is no longer a number', () => {
    clock.tick(2 ** 52);
    clock.tick(0);
    make('a').schedule(0.25);
    make('b').schedule(1);
    clock.tick(0);
    expect(ran).to.deep.equal([]);
    clock.tick(3);
    expect(ran).to.deep.equal([`a@${2 ** 52 + 1}`, `b@${2 ** 52 + 1}`]);
  });

  it('lets promises settle between the steps of advance', async () => {
    make('slow', async () => {
      await Promise.resolve();
      ran.push(`slow settled@${clock.now}`);
      make('after').schedule(1);
    }).schedule(1);
    make('other').schedule(3);
    await clock.advance(5);
    expect(ran).to.deep.equal(['slow@1', 'slow settled@1', 'after@2', 'other@3']);
    expect(clock.now).to.equal(5);
  });

  it('throws the error of a function out of tick, and runs the rest at the next call', () => {
    make('bad', () => {
      throw new Error('bad');
    }).schedule(1);
    make('good').schedule(1);
    expect(() => clock.tick(10)).to.throw('bad');
    expect([ran, clock.now]).to.deep.equal([['bad@1'], 1]);
    clock.tick(0);
    expect(ran).to.deep.equal(['bad@1', 'good@1']);
  });

  it('rejects advance with the error of an asynchronous function', async () => {
    make('bad', () => Promise.reject(new Error('bad'))).schedule(1);
    expect(await clock.advance(10).catch((error: Error) => error.message)).to.equal('bad');
    await clock.advance(1);
  });

  it('raises a rejection outside of advance as an uncaught exception', async () => {
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const caught = once(process, 'uncaughtException');
      make('bad', () => Promise.reject(new Error('outside'))).schedule();
      clock.tick(0);
      expect(String((await caught)[0])).to.equal('Error: outside');
    } finally {
      for (const listener of listeners) process.on('uncaughtException', listener);
    }
  });

  it('runs several kernels at each tick in the order in which they were created', () => {
    const other = new Kernel({ clock });
    make('theirs', () => void make('back again').schedule(), other).schedule(2);
    make('ours', () => void make('at once', undefined, other).schedule()).schedule(2);
    clock.tick(5);
    expect(ran).to.deep.equal(['ours@2', 'theirs@2', 'at once@2', 'back again@2']);
  });

  it('runs functions in an empty async context, whichever code advances it', async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const look = (): void => void seen.push(storage.getStore());
    const see = (delayMs: number): void => {
      new Kcont(kernel.wq.softnet, null, look, null).schedule(delayMs);
      const looksLater = async (): Promise<void> => {
        await Promise.resolve();
        look();
      };
      new Kcont(kernel.wq.prilow, null, looksLater, null).schedule(delayMs);
    };
    see(0);
    see(2);
    storage.run('request', () => clock.tick(0));
    await Promise.resolve();
    see(0);
    await storage.run('request', () => clock.advance(1));
    await storage.run('request', () => clock.advance(1));
    expect(seen).to.deep.equal(Array.from({ length: 6 }, () => undefined));
    const carrying = new Kcont(kernel.wq.prilow, null, look, null, { context: 'schedule' });
    storage.run('its own', () => void carrying.schedule(1));
    storage.run('request', () => {
      clock.tick(1);
      look();
    });
    expect(seen.slice(6)).to.deep.equal(['its own', 'request']);
  });

  it('runs one advance after the other, even if called at the same time', async () => {
    const settles = async (): Promise<void> => {
      await new Promise((resolve) => void setImmediate(resolve));
      ran.push(`settled@${clock.now}`);
    };
    make('a', settles).schedule(1);
    make('b', settles).schedule(2);
    make('c').schedule(6);
    const over = [3, 3].map(async (ms, at) => {
      await clock.advance(ms);
      ran.push(`${at} over@${clock.now}`);
    });
    expect(clock.now).to.equal(0);
    await Promise.all(over);
    expect(ran).to.deep.equal([
      'a@1',
      'settled@1',
      'b@2',
      'settled@2',
      '0 over@3',
      'c@6',
      '1 over@6',
    ]);
  });

  it('advances after an advance that was rejected', async () => {
    make('bad', () => {
      throw new Error('bad');
    }).schedule(1);
    make('good').schedule(4);
    const [first, second, third] = [clock.advance(2), clock.advance(4), clock.advance(-1)];
    const messages = [first, third].map((it) => it.catch((error: Error) => error.message));
    expect(await Promise.all(messages)).to.deep.equal([
      'bad',
      'ms must be a finite number >= 0, got -1',
    ]);
    await second;
    expect([ran, clock.now]).to.deep.equal([['bad@1', 'good@4'], 5]);
  });

  it('reaches the end of time, and stays there', async () => {
    const end = Number.MAX_SAFE_INTEGER;
    make('far').schedule(2 ** 40);
    make('last').schedule(end);
    clock.tick(end);
    expect([ran, clock.now]).to.deep.equal([[`far@${2 ** 40}`, `last@${end}`], end]);
    const never = make('never');
    never.schedule(1);
    make('job').schedule();
    clock.tick(end);
    await clock.advance(1e300);
    expect([ran.slice(2), clock.now, never.pending]).to.deep.equal([[`job@${end}`], end, true]);
  });

  it('reaches the end of time from any time, whatever is scheduled', () => {
    const delays = [0, 0.25, 1, 1.5, 1000, 2 ** 30, 2 ** 31, 2 ** 40 + 0.5, 2 ** 52, 2 ** 53 - 2];
    for (const beforeMs of delays) {
      for (const delayMs of delays) {
        for (const laterMs of delays) {
          const time = new VirtualClock();
          const { wq } = new Kernel({ clock: time });
          let entered = 0;
          const kc = new Kcont(wq.softclock, null, () => void entered++, null);
          time.tick(beforeMs);
          kc.schedule(delayMs);
          time.tick(laterMs);
          kc.touch();
          time.tick(2 ** 53 - 1);
          expect([time.now, entered <= 1]).to.deep.equal([2 ** 53 - 1, true]);
        }
      }
    }
  });

  it('cannot be moved from within a continuation, or backwards', () => {
    let nested = '';
    make('nested', () => void (nested = code(() => clock.tick(1)))).schedule();
    clock.tick(0);
    expect(nested).to.equal('EDEADLK');
    expect([
      code(() => clock.tick(-1)),
      code(() => clock.tick(NaN)),
      code(() => clock.tick(Infinity)),
    ]).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL']);
  });
});
