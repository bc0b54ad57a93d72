// Undocumented behaviour of timers that programs see: internal fields, methods called on other objects,
// stacks. Every sentence is tested against both node:timers and kcont/timers.

import { AsyncLocalStorage } from 'node:async_hooks';
import * as nodeTimers from 'node:timers';
import { expect } from 'chai';
import { createTimers, type Timeout, type Timers } from '../../../lib/compat/timers/index.ts';
import { Kernel } from '../../../lib/index.ts';
import { burn } from '../../support/busy.ts';

const ours = createTimers(new Kernel());
const apis: { name: string; timers: Timers }[] = [
  { name: 'node:timers', timers: nodeTimers as unknown as Timers },
  { name: 'kcont/timers', timers: ours },
];

/** Returns the result of a call, or the error it throws. */
function outcome(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return (error as Error).name;
  }
}

function nothing(): void {}

for (const { name, timers } of apis) {
  const { setTimeout, setInterval, setImmediate, clearTimeout, clearImmediate } = timers;
  /** Waits until all timers set so far with this delay or a shorter one have run. */
  const behind = (delayMs: number): Promise<void> => timers.promises.setTimeout(delayMs);
  const turn = (): Promise<void> => timers.promises.setImmediate();

  describe(`${name}: internal fields`, () => {
    it('show the delay and the period', () => {
      const timeout = setTimeout(nothing, 30.5);
      const interval = setInterval(nothing, 40);
      expect([Math.trunc(timeout._idleTimeout), timeout._repeat, timeout._destroyed]).to.deep.equal(
        [30, null, false],
      );
      expect([interval._idleTimeout, interval._repeat, interval._destroyed]).to.deep.equal([
        40,
        40,
        false,
      ]);
      expect(timeout._onTimeout).to.equal(nothing);
      clearTimeout(timeout);
      clearTimeout(interval);
      for (const { _idleTimeout, _destroyed, _onTimeout } of [timeout, interval]) {
        // Null up to Node 24.
        expect([_idleTimeout, _destroyed, _onTimeout ?? null]).to.deep.equal([-1, true, null]);
      }
    });

    it('show when the delay was started or restarted', () => {
      const first = setTimeout(nothing, 30);
      burn(3);
      const second = setTimeout(nothing, 50);
      const startMs = first._idleStart as number;
      expect(second._idleStart).to.be.at.least(startMs + 2);
      first.refresh();
      expect(first._idleStart).to.be.at.least(second._idleStart as number);
      clearTimeout(first);
      clearTimeout(second);
    });

    it('turn a timer into an interval and back by _repeat', async () => {
      const calls: string[] = [];
      const timeout = setTimeout(() => {
        calls.push('timeout');
        if (calls.filter((call) => call === 'timeout').length === 3) clearTimeout(timeout);
        timeout._repeat = 1;
      }, 1);
      const interval = setInterval(() => {
        calls.push('interval');
        interval._repeat = null;
      }, 1);
      while (calls.filter((call) => call === 'timeout').length < 3) await behind(1);
      await behind(2);
      expect(calls.filter((call) => call === 'interval')).to.deep.equal(['interval']);
      expect(interval._destroyed).to.equal(true);
    });

    it('keep a timer from restarting by a negative _idleTimeout', async () => {
      let calls = 0;
      const interval = setInterval(() => {
        calls++;
        interval._idleTimeout = -1;
      }, 1);
      await behind(1);
      await behind(2);
      expect(calls).to.equal(1);
      interval.refresh();
      await behind(2);
      expect(calls).to.equal(1);
    });

    it('set the delay of refresh by _idleTimeout', async () => {
      const calls: string[] = [];
      const timeout = setTimeout(() => void calls.push('called'), 60_000);
      timeout._idleTimeout = 1;
      timeout.refresh();
      await behind(1);
      expect(calls).to.deep.equal(['called']);
      clearTimeout(timeout);
    });

    it('clear a timer by removing its function', async () => {
      let calls = 0;
      const timeout = setTimeout(() => void calls++, 1);
      timeout._onTimeout = null;
      await behind(2);
      expect(calls).to.equal(0);
      expect(timeout._destroyed).to.equal(true);
    });

    it('link a timer while it is active', () => {
      const timeout = setTimeout(nothing, 30);
      expect([timeout._idleNext, timeout._idlePrev]).not.to.include(null);
      clearTimeout(timeout);
      expect([timeout._idleNext, timeout._idlePrev]).to.deep.equal([null, null]);
      timeout._idleNext = 'written';
      expect([timeout._idleNext, timeout._idlePrev]).to.deep.equal(['written', null]);
    });
  });

  describe(`${name}: methods called on other objects`, () => {
    const timeout = setTimeout(nothing, 1);
    const immediate = setImmediate(nothing);
    type Method = () => unknown;
    const names = ['ref', 'unref', 'hasRef', 'refresh', 'close'] as const;
    const methods = {
      timeout: names.map((it) => [it, timeout[it]] as [string, Method]),
      immediate: [
        ['ref', immediate.ref],
        ['unref', immediate.unref],
        ['hasRef', immediate.hasRef],
      ] as [string, Method][],
    };
    clearTimeout(timeout);
    clearImmediate(immediate);
    const receivers: [string, () => unknown][] = [
      ['an object', () => ({})],
      ['an object like a timer', () => Object.create(timeout)],
      ['an object like an immediate', () => Object.create(immediate)],
      ['nothing', () => undefined],
      ['null', () => null],
      ['a number', () => 5],
    ];

    it('return their receiver, or throw if it is not a timer', () => {
      for (const [, make] of receivers.slice(0, 1)) {
        for (const [method, func] of methods.timeout) {
          const receiver = make();
          const expected = method === 'hasRef' ? undefined : receiver;
          expect(func.call(receiver), method).to.equal(expected);
          // Node has counted it, and would not end before its next timer.
          if (method === 'ref') timeout.unref.call(receiver as never);
        }
        const receiver = make();
        expect(immediate.ref.call(receiver as never)).to.equal(receiver);
        expect(immediate.unref.call(receiver as never)).to.equal(receiver);
        expect(immediate.hasRef.call(receiver as never)).to.equal(false);
        expect(timeout[Symbol.toPrimitive].call({} as never)).to.equal(undefined);
        expect(timeout[Symbol.dispose].call({} as never)).to.equal(undefined);
      }
      for (const [, func] of [...methods.timeout, ...methods.immediate]) {
        if (func === (timeout.close as Method)) continue;
        expect(outcome(() => Reflect.apply(func, undefined, []))).to.equal('TypeError');
        expect(outcome(() => Reflect.apply(func, null, []))).to.equal('TypeError');
      }
    });

    it('treat an object that looks like a timer as not armed', () => {
      const like = Object.create(timeout) as Timeout;
      for (const method of ['ref', 'unref', 'close', 'refresh'] as const) {
        expect(like[method]()).to.equal(like);
      }
      expect(outcome(() => clearTimeout(like))).to.equal(undefined);
      expect(outcome(() => clearImmediate(like as never))).to.equal(undefined);
    });
  });

  describe(`${name}: timers and immediates`, () => {
    /** What is called, and in which order, when a timer comes due in the check phase. */
    const callsAfterCheckPhase = async (): Promise<string[]> => {
      const calls: string[] = [];
      await turn();
      setTimeout(() => void calls.push('timer'), 1);
      burn(3);
      setImmediate(() => void calls.push('immediate'));
      await turn();
      await turn();
      return calls;
    };

    it('call a timer that comes due in the check phase before the next immediates', async () => {
      expect(await callsAfterCheckPhase()).to.deep.equal(['timer', 'immediate']);
    });

    it('call such a timer first also in a context of async_hooks', async () => {
      const store = new AsyncLocalStorage<number>();
      expect(await store.run(1, callsAfterCheckPhase)).to.deep.equal(['timer', 'immediate']);
    });

    it('call an immediate that a timer sets before timers that come due later', async () => {
      const calls: string[] = [];
      await new Promise<void>((resolve) => {
        setTimeout(() => {
          setImmediate(() => void calls.push('immediate'));
          setTimeout(() => {
            calls.push('timer');
            resolve();
          }, 5);
        }, 1);
      });
      expect(calls).to.deep.equal(['immediate', 'timer']);
    });
  });

  describe(`${name}: stacks`, () => {
    const sleep = (ms: number): Promise<void> =>
      new Promise<void>((resolve) => void setTimeout(resolve, ms));
    async function fails(): Promise<void> {
      await sleep(1);
      throw new Error('after a sleep');
    }
    async function first(): Promise<void> {
      await fails();
    }
    async function second(): Promise<void> {
      await first();
    }
    async function third(): Promise<void> {
      await second();
    }

    it('name the asynchronous callers of code after a sleep', async () => {
      // Two that come in one turn: behind the last one it is Node itself that goes on.
      const both = [third(), third()];
      for (const one of both) {
        const { stack } = (await one.catch((error: unknown) => error)) as Error;
        for (const caller of ['first', 'second', 'third'])
          expect(stack).to.include(`at async ${caller}`);
      }
    });

    it('have few library frames below a callback', async () => {
      const stack = await new Promise<string>((resolve) => {
        setTimeout(() => resolve(new Error('in a callback').stack as string), 1);
      });
      // Node's own are more while async_hooks are in use.
      const others = stack.split('\n').slice(2);
      expect(others.filter((line) => !line.includes('node:')).length).to.be.at.most(3);
      expect(others.length).to.be.at.most(6);
    });
  });
}
