import { expect } from 'chai';
import sinon from 'sinon';
import { real } from '../../lib/base/host-functions.ts';
import type { Driven } from '../../lib/time/clock.ts';
import { HostClock } from '../../lib/time/host-clock.ts';
import { HostWaker } from '../../lib/time/host-waker.ts';

/** The host clock with a time that is set by hand. */
class Clock extends HostClock {
  nowMs = 1000;

  override get now(): number {
    return this.nowMs;
  }
}

/** A timer or an immediate of the host. */
interface Request {
  readonly kind: string;
  readonly callback: () => void;
  isReferenced: boolean;
  isCleared: boolean;
}

describe('the waker of the host', () => {
  let clock: Clock;
  let waker: HostWaker;
  let requests: Request[];
  let fired: number[];

  const request = (kind: string, callback: () => void): Request => {
    const made = {
      kind,
      callback,
      isReferenced: true,
      isCleared: false,
      ref: () => void (made.isReferenced = true),
      unref: () => void (made.isReferenced = false),
    };
    requests.push(made);
    return made;
  };
  const clear = (made: unknown): void => void ((made as Request).isCleared = true);
  const last = (): Request => requests.at(-1) as Request;
  /** What the host has last been asked for. */
  const asked = (): string => {
    const { kind, isReferenced, isCleared } = last();
    return `${kind}${isReferenced ? '' : ', unref'}${isCleared ? ', cleared' : ''}`;
  };
  /** Lets the host call back at this time. Returns what it is asked for then. */
  const callAt = (ms: number): string => {
    const { callback } = last();
    clock.nowMs = ms;
    callback();
    return asked();
  };

  beforeEach(() => {
    requests = [];
    fired = [];
    sinon.replace(real, 'setTimeout', ((callback: () => void, ms: number) =>
      request(`${ms} ms`, callback)) as unknown as typeof setTimeout);
    sinon.replace(real, 'setImmediate', ((callback: () => void) =>
      request('turn', callback)) as unknown as typeof setImmediate);
    sinon.replace(real, 'clearTimeout', clear);
    sinon.replace(real, 'clearImmediate', clear);
    clock = new Clock(false);
    const driven = { timerFired: () => void fired.push(clock.nowMs) };
    waker = new HostWaker(clock, driven as unknown as Driven);
    waker.keepAlive(true);
  });

  afterEach(() => sinon.restore());

  it('sleeps for the last ms that may end before the deadline', () => {
    const left = [0.01, 0.5, 1.1, 1.2, 3.1, 3.4, 4, 2 ** 40];
    const sleeps = left.map((ms) => {
      waker.arm(clock.now + ms);
      return asked();
    });
    const wholeMs = [1, 1, 1, 2, 3, 4, 4, 2 ** 31 - 1];
    expect(sleeps).to.deep.equal(wholeMs.map((ms) => `${ms} ms`));
  });

  it('has one timer, and asks for none twice', () => {
    waker.arm(1010);
    waker.arm(1010);
    waker.arm(1005);
    expect(requests.map(({ isCleared }) => isCleared)).to.deep.equal([true, false]);
    waker.arm(Infinity);
    expect([requests.length, asked()]).to.deep.equal([2, '5 ms, cleared']);
  });

  it('tells the dispatcher when the time has come, and not before', () => {
    waker.arm(1003.1);
    expect(callAt(1003.02)).to.equal('turn');
    expect(callAt(1003.05)).to.equal('turn');
    expect(callAt(1003.09)).to.equal('turn');
    expect(fired).to.deep.equal([]);
    callAt(1003.1);
    expect([fired, requests.length]).to.deep.equal([[1003.1], 4]);
  });

  it('sleeps again if the timer fires more than an eighth of a ms early', () => {
    waker.arm(1003.1);
    expect(callAt(1002.3)).to.equal('1 ms');
    callAt(1003.4);
    waker.arm(2 ** 40);
    expect(callAt(2 ** 31)).to.equal(`${2 ** 31 - 1} ms`);
    expect(fired).to.deep.equal([1003.4]);
  });

  it('learns by how much the host oversleeps', () => {
    const sleepFor = (ms: number, sleptMs: number): string => {
      waker.arm(clock.now + ms);
      const sleep = asked();
      callAt(clock.now + sleptMs);
      return sleep;
    };
    expect(sleepFor(3.3, 4.2)).to.equal('4 ms');
    for (let times = 0; times < 100; times++) sleepFor(3, 3.2);
    expect(sleepFor(3.3, 3.31)).to.equal('3 ms');
    // Once it has overslept by less, it is expected to do so again.
    sleepFor(3, 3.01);
    expect(sleepFor(3.3, 4.2)).to.equal('4 ms');
    // A loop that was busy says nothing.
    for (let times = 0; times < 100; times++) sleepFor(3, 9);
    expect(sleepFor(3.3, 4)).to.equal('4 ms');
  });

  it('does not go through turns of the loop if nothing keeps the process alive', () => {
    waker.keepAlive(false);
    waker.arm(1003.1);
    expect(asked()).to.equal('4 ms, unref');
    expect(callAt(1003.05)).to.equal('1 ms, unref');
    callAt(1004.1);
    expect(fired).to.deep.equal([1004.1]);
  });

  it('sleeps on if nothing keeps the process alive any more', () => {
    waker.arm(1003.1);
    expect(callAt(1003.05)).to.equal('turn');
    waker.keepAlive(false);
    expect(requests.at(-2)?.isCleared).to.equal(true);
    expect(asked()).to.equal('1 ms, unref');
    waker.keepAlive(true);
    expect(asked()).to.equal('1 ms');
    callAt(1004.1);
    expect(fired).to.deep.equal([1004.1]);
  });

  it('ends the turns of an earlier deadline when it is armed for another one', () => {
    waker.arm(1003.1);
    callAt(1003.05);
    waker.arm(1005);
    expect(requests.map(({ isCleared }) => isCleared)).to.deep.equal([false, true, false]);
    expect(asked()).to.equal('2 ms');
  });
});
