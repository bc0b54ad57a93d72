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

  it('runs nothing but inside tick', async () => {
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

  it('takes fractions: a timer is not early by one', () => {
    make('a').schedule(0.5);
    clock.tick(0.9);
    expect([ran, clock.now]).to.deep.equal([[], 0.9]);
    clock.tick(0.1);
    expect(ran).to.deep.equal(['a@1']);
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

  it('throws what a function throws out of tick, and the rest runs at the next call', () => {
    make('bad', () => {
      throw new Error('bad');
    }).schedule(1);
    make('good').schedule(1);
    expect(() => clock.tick(10)).to.throw('bad');
    expect([ran, clock.now]).to.deep.equal([['bad@1'], 1]);
    clock.tick(0);
    expect(ran).to.deep.equal(['bad@1', 'good@1']);
  });

  it('rejects advance with what an asynchronous function rejects with', async () => {
    make('bad', () => Promise.reject(new Error('bad'))).schedule(1);
    expect(await clock.advance(10).catch((error: Error) => error.message)).to.equal('bad');
    await clock.advance(1);
  });

  it('raises what is rejected outside of advance as an uncaught exception', async () => {
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

  it('runs several kernels in the order they were made, each tick', () => {
    const other = new Kernel({ clock });
    make('theirs', () => void make('back again').schedule(), other).schedule(2);
    make('ours', () => void make('at once', undefined, other).schedule()).schedule(2);
    clock.tick(5);
    expect(ran).to.deep.equal(['ours@2', 'theirs@2', 'at once@2', 'back again@2']);
  });

  it('cannot be moved from within a continuation, nor backwards', () => {
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
