// Every sentence is tested against both node:timers and kcont/timers, so a sentence that only one of
// them fulfils fails.
//
// The sentences of Node's documentation are quoted as titles where they fit on a line.
//
// No test relies on elapsed time, because a busy machine may stop for any time between two lines. The
// tests rely only on what holds on any machine:
//
//   - a timer runs after all that were set before it with the same or a shorter delay: `behind`
//   - an immediate runs after all that were set before it, and before those that these set: `turn`
//   - timers whose delays are over when the callback that set them ends run in one turn: `burn`

import { execFileSync } from 'node:child_process';
import { AsyncLocalStorage, createHook, executionAsyncId } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { readFile } from 'node:fs';
import * as nodeTimers from 'node:timers';
import { promisify } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { createTimers, type Timers } from '../../../lib/compat/timers/index.ts';
import { Kernel } from '../../../lib/index.ts';
import { burn } from '../../support/busy.ts';
import { Calls } from '../../support/calls.ts';

const ours = createTimers(new Kernel());
const apis: { name: string; timers: Timers }[] = [
  { name: 'node:timers', timers: nodeTimers as unknown as Timers },
  { name: 'kcont/timers', timers: ours },
];

/** Runs a function in an I/O callback, where Node's order of timers and immediates is defined. */
function inIo(body: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    readFile(new URL(import.meta.url), () => {
      try {
        body();
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** Returns the error that a call throws. */
function thrownBy(call: () => unknown): Record<string, unknown> {
  try {
    call();
  } catch (error) {
    const { name, code, message, stack } = error as Error & { code?: string };
    return { name, code, message, stack: stack?.split('\n')[0], is: error instanceof TypeError };
  }
  return {};
}

async function rejectionOf(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    const { name, code, message, cause } = error as Error & { code?: string };
    return { name, code, message, cause, is: error instanceof Error };
  }
  return {};
}

for (const { name, timers } of apis) {
  const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } =
    timers;
  /** Waits until all timers set so far with this delay or a shorter one have run. */
  const behind = (delayMs: number): Promise<void> => timers.promises.setTimeout(delayMs);
  /** Waits until all immediates set so far have run. */
  const turn = (): Promise<void> => timers.promises.setImmediate();

  describe(`${name}: setTimeout`, () => {
    it('schedules execution of a one-time callback after delay milliseconds', async () => {
      const start = performance.now();
      const calledMs: number[] = [];
      setTimeout(() => void calledMs.push(performance.now() - start), 20);
      await behind(20);
      // A second call would have come before this one.
      await behind(20);
      expect(calledMs.length).to.equal(1);
      // Node may be up to a millisecond early.
      expect(calledMs[0]).to.be.at.least(19);
    });

    it('passes optional arguments when the callback is called', async () => {
      const seen: unknown[][] = [];
      const see = (...args: unknown[]): void => void seen.push(args);
      setTimeout(see, 1);
      setTimeout(see, 1, 'a');
      setTimeout(see, 1, 'a', undefined);
      setTimeout(see, 1, 1, 2, 3, 4, 5);
      await behind(1);
      expect(seen).to.deep.equal([[], ['a'], ['a', undefined], [1, 2, 3, 4, 5]]);
    });

    it('calls the callback with the timer as `this`', async () => {
      const seen = await new Promise<unknown[]>((resolve) => {
        const timer: unknown = setTimeout(function (this: unknown) {
          resolve([this, timer]);
        }, 1);
      });
      expect(seen[0]).to.equal(seen[1]);
    });

    it('sets a delay of less than 1, or one that is not a number, to 1', async () => {
      const order: unknown[] = [];
      const delays = [1, 0, -5, NaN, '1', 'no', null, undefined, {}, 0.5, 1.9];
      for (const delay of delays) setTimeout(() => void order.push(delay), delay as number);
      await behind(1);
      expect(order).to.deep.equal(delays);
    });

    it('truncates delays that are not integers', async () => {
      const order: number[] = [];
      for (const delay of [3.9, 3, 3.5]) setTimeout(() => void order.push(delay), delay);
      await behind(3);
      expect(order).to.deep.equal([3.9, 3, 3.5]);
    });

    it('converts the delay to a number', async () => {
      const order: string[] = [];
      // By the rule above each is behind the one before, unless a delay is taken for 1.
      setTimeout(() => void order.push('5'), 5);
      setTimeout(() => void order.push('10'), { valueOf: () => 10 } as unknown as number);
      setTimeout(() => void order.push('20'), '20' as unknown as number);
      await behind(20);
      expect(order).to.deep.equal(['5', '10', '20']);
      expect(thrownBy(() => setTimeout(() => undefined, 1n as unknown as number))['name']).to.equal(
        'TypeError',
      );
    });

    it('throws a TypeError if callback is not a function', () => {
      for (const callback of [undefined, null, 'code', 1, {}]) {
        const bad = callback as () => void;
        for (const set of ['setTimeout', 'setInterval', 'setImmediate'] as const) {
          const mine = thrownBy(() => timers[set](bad, 1));
          expect(mine).to.deep.equal(
            thrownBy(() => (nodeTimers[set] as typeof setTimeout)(bad, 1)),
          );
          expect(mine).to.include({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', is: true });
          expect(mine['stack']).to.match(/^TypeError \[ERR_INVALID_ARG_TYPE\]: The "callback"/);
        }
      }
    });

    it('keeps the order among equal delays, however many there are', async () => {
      const order: number[] = [];
      const all = Array.from({ length: 500 }, (_, i) => i);
      for (const i of all) setTimeout(() => void order.push(i), 5);
      await behind(5);
      expect(order).to.deep.equal(all);
    });

    it('calls the timer that ends earlier first among different delays', async () => {
      const order: number[] = [];
      // Far enough apart for a slow machine to set them in time.
      for (const ms of [600, 100, 350]) setTimeout(() => void order.push(ms), ms);
      await behind(600);
      expect(order).to.deep.equal([100, 350, 600]);
    });

    it('has a custom variant for promises, by util.promisify', async () => {
      const later = promisify(setTimeout);
      expect(later).to.equal(timers.promises.setTimeout);
      expect(await later(1, 'foobar')).to.equal('foobar');
    });
  });

  describe(`${name}: Timeout`, () => {
    it('is an object of the class Timeout, with its string tag', () => {
      const timer = setTimeout(() => undefined, 1);
      clearTimeout(timer);
      expect(timer.constructor.name).to.equal('Timeout');
      for (const method of ['ref', 'unref', 'hasRef', 'refresh', 'close'] as const) {
        expect(timer[method]).to.be.a('function');
      }
    });

    it('is ref’ed by default; ref and unref return it, and may be called again and again', () => {
      const timer = setTimeout(() => undefined, 1000);
      expect(timer.hasRef()).to.equal(true);
      expect(timer.unref()).to.equal(timer);
      expect(timer.unref().hasRef()).to.equal(false);
      expect(timer.ref()).to.equal(timer);
      expect(timer.ref().hasRef()).to.equal(true);
      clearTimeout(timer);
      expect(timer.hasRef()).to.equal(true);
    });

    it('refresh sets the start time to the current time and returns the timer', async () => {
      const calledMs: number[] = [];
      const timer = setTimeout(() => void calledMs.push(performance.now()), 40);
      await behind(20);
      const refreshedMs = performance.now();
      expect(timer.refresh()).to.equal(timer);
      await behind(40);
      // It may run twice if the machine stops before the refresh, but never early.
      expect(calledMs.at(-1)! - refreshedMs).to.be.at.least(39);
    });

    it('refresh moves it behind timers of the same delay', async () => {
      const order: string[] = [];
      const [a] = ['a', 'b'].map((it) => setTimeout(() => void order.push(it), 10));
      a?.refresh();
      await behind(10);
      expect(order).to.deep.equal(['b', 'a']);
    });

    it('refresh reactivates a timer that has already called its callback', async () => {
      const seen: unknown[] = [];
      const timer = setTimeout((it: string) => void seen.push(it), 1, 'arg');
      await behind(1);
      timer.refresh();
      await behind(1);
      expect(seen).to.deep.equal(['arg', 'arg']);
    });

    it('refresh from its own callback calls it again', async () => {
      const calls = new Calls<string>();
      const timer = setTimeout(() => {
        calls.note('call');
        if (calls.all.length < 3) timer.refresh();
      }, 2);
      await calls.until(3);
      await behind(2);
      expect(calls.all.length).to.equal(3);
    });

    it('refresh does nothing to a timer that was cleared', async () => {
      let calls = 0;
      const timer = setTimeout(() => void calls++, 1);
      clearTimeout(timer);
      expect(timer.refresh()).to.equal(timer);
      await behind(1);
      expect(calls).to.equal(0);
    });

    it('close cancels the timeout and returns it', async () => {
      let calls = 0;
      const timer = setTimeout(() => void calls++, 1);
      expect(timer.close()).to.equal(timer);
      expect(timer.close()).to.equal(timer);
      await behind(1);
      expect(calls).to.equal(0);
    });

    it('[Symbol.dispose] cancels the timeout', async () => {
      let calls = 0;
      {
        using timer = setTimeout(() => void calls++, 1);
        using interval = setInterval(() => void calls++, 1);
        void [timer, interval];
      }
      await behind(1);
      expect(calls).to.equal(0);
    });

    it('[Symbol.toPrimitive] returns a number that clears it, also as a string', async () => {
      let calls = 0;
      const made = Array.from({ length: 4 }, () => setTimeout(() => void calls++, 5));
      const [a, b, c, d] = made.map((timer) => +timer) as [number, number, number, number];
      expect(new Set([a, b, c, d]).size).to.equal(4);
      expect(Number(made[0])).to.equal(a);
      clearTimeout(a);
      clearTimeout(String(b));
      clearInterval(c);
      clearInterval(String(d));
      await behind(5);
      expect(calls).to.equal(0);
    });

    it('is cleared by no other string, and by its number only after that was requested', async () => {
      let calls = 0;
      const timer = setTimeout(() => void calls++, 5);
      const id = +timer;
      for (const other of [` ${id}`, `${id}.0`, `0${id}`, 'x', '', NaN, id + 0.5]) {
        clearTimeout(other);
      }
      await behind(5);
      expect(calls).to.equal(1);
      clearTimeout(id);
    });

    it('has a number also after it was called or cleared', async () => {
      const [called, cleared] = [setTimeout(() => undefined, 1), setTimeout(() => undefined, 1)];
      const ids = [+called, +cleared];
      clearTimeout(cleared);
      await behind(1);
      expect([+called, +cleared]).to.deep.equal(ids);
      for (const id of ids) clearTimeout(id);
    });
  });

  describe(`${name}: clearTimeout and clearInterval`, () => {
    it('clear what both setTimeout and setInterval return', async () => {
      let calls = 0;
      clearInterval(setTimeout(() => void calls++, 1));
      clearTimeout(setInterval(() => void calls++, 1));
      await behind(1);
      expect(calls).to.equal(0);
    });

    it('ignore values that are not timers, and return undefined', () => {
      for (const it of [undefined, null, 0, 4e9, 'x', {}, [], () => undefined, true]) {
        expect(clearTimeout(it as number)).to.equal(undefined);
        expect(clearInterval(it as number)).to.equal(undefined);
      }
    });

    it('ignore a timer that has been called or cleared', async () => {
      let calls = 0;
      const timer = setTimeout(() => void calls++, 1);
      await behind(1);
      setTimeout(() => void calls++, 1);
      for (const it of [timer, timer, +timer]) expect(clearTimeout(it)).to.equal(undefined);
      await behind(1);
      expect(calls).to.equal(2);
    });

    it('prevent the call of a due timer from the callback of another due timer', async () => {
      const order: string[] = [];
      await inIo(() => {
        // It runs first, as its delay is shorter.
        setTimeout(() => {
          for (const timer of doomed) clearTimeout(timer);
        }, 1);
        const doomed = [1, 2, 3].map(() => setTimeout(() => void order.push('doomed'), 10));
        setTimeout(() => void order.push('last'), 10);
        burn(15);
      });
      await behind(10);
      expect(order).to.deep.equal(['last']);
    });

    it('do not clear an immediate', async () => {
      const order: string[] = [];
      const immediate = setImmediate(() => void order.push('immediate'));
      clearTimeout(immediate as unknown as number);
      clearInterval(immediate as unknown as number);
      expect(Number.isNaN(Number(immediate))).to.equal(true);
      await turn();
      expect(order).to.deep.equal(['immediate']);
    });
  });

  describe(`${name}: setInterval`, () => {
    it('schedules repeated execution of callback every delay milliseconds', async () => {
      const at: number[] = [];
      const start = performance.now();
      await new Promise<void>((resolve) => {
        const timer = setInterval(
          (...args: string[]) => {
            expect(args).to.deep.equal(['a', 'b']);
            at.push(performance.now() - start);
            if (at.length < 4) return;
            clearInterval(timer);
            resolve();
          },
          10,
          'a',
          'b',
        );
      });
      expect(at.length).to.equal(4);
      // Each may be up to a millisecond early in Node.
      expect(at[3]).to.be.at.least(36);
      await behind(10);
      expect(at.length).to.equal(4);
    });

    it('counts the delay from the start of the callback', async () => {
      const order = new Calls<string>();
      const interval = setInterval(() => {
        order.note('interval');
        if (order.all.length === 2) return clearInterval(interval);
        // Counted from the end of this one, the next call would come behind that timer.
        setTimeout(() => order.note('timer'), 60);
        burn(30);
      }, 50);
      expect(await order.until(3)).to.deep.equal(['interval', 'interval', 'timer']);
    });

    it('continues in a later turn if the callback takes longer than the delay', async () => {
      const order: string[] = [];
      await new Promise<void>((resolve) => {
        const timer = setInterval(() => {
          order.push('interval');
          burn(12);
          setImmediate(() => void order.push('immediate'));
          if (order.length > 3) {
            clearInterval(timer);
            setImmediate(resolve);
          }
        }, 5);
      });
      expect(order).to.deep.equal([
        'interval',
        'immediate',
        'interval',
        'immediate',
        'interval',
        'immediate',
      ]);
    });

    it('continues after refresh, and is not called twice', async () => {
      const calls = new Calls<string>();
      const timer = setInterval(() => {
        calls.note('call');
        timer.refresh();
        if (calls.all.length === 3) timer.close();
      }, 3);
      await calls.until(3);
      await behind(3);
      expect(calls.all.length).to.equal(3);
    });

    it('has no custom variant for util.promisify, only timers/promises.setInterval', () => {
      expect((setInterval as { [promisify.custom]?: unknown })[promisify.custom]).to.equal(
        undefined,
      );
    });
  });

  describe(`${name}: setImmediate`, () => {
    it('calls back after I/O events’ callbacks, before timers of the same callback', async () => {
      const order: string[] = [];
      await inIo(() => {
        setTimeout(() => void order.push('timer'), 0);
        setImmediate(() => void order.push('immediate'));
      });
      await behind(1);
      expect(order).to.deep.equal(['immediate', 'timer']);
    });

    it('calls back in the order in which the immediates were created', async () => {
      const order: number[] = [];
      const all = Array.from({ length: 100 }, (_, i) => i);
      for (const i of all) setImmediate((it: number) => void order.push(it), i);
      await turn();
      expect(order).to.deep.equal(all);
    });

    it('processes the entire queue every iteration, and those of a callback in the next', async () => {
      const order = new Calls<string>();
      const hop = (it: string, hops: number): void => {
        order.note(`${it}${hops}`);
        if (hops < 3) setImmediate(hop, it, hops + 1);
      };
      await inIo(() => {
        setImmediate(hop, 'a', 1);
        setImmediate(hop, 'b', 1);
        // Longer than a pass of kcont.
        setImmediate(() => burn(10));
        setImmediate(hop, 'c', 1);
      });
      expect(await order.until(9)).to.deep.equal([
        'a1',
        'b1',
        'c1',
        'a2',
        'b2',
        'c2',
        'a3',
        'b3',
        'c3',
      ]);
    });

    it('called by a timer calls back after all timers that were due with it', async () => {
      const order = new Calls<string>();
      await inIo(() => {
        for (const it of ['a', 'b', 'c']) {
          setTimeout(() => {
            order.note(it);
            setImmediate(() => order.note(`immediate of ${it}`));
            burn(3);
          }, 5);
        }
        burn(10);
      });
      expect(await order.until(6)).to.deep.equal([
        'a',
        'b',
        'c',
        'immediate of a',
        'immediate of b',
        'immediate of c',
      ]);
    });

    it('called by a timer calls back before timers that this timer sets', async () => {
      const order = new Calls<string>();
      setTimeout(() => {
        setTimeout(() => order.note('timer'), 0);
        setImmediate(() => order.note('immediate'));
        burn(3);
      }, 1);
      expect(await order.until(2)).to.deep.equal(['immediate', 'timer']);
    });

    it('calls back after nextTick and microtasks', async () => {
      const order: string[] = [];
      setImmediate(() => void order.push('immediate'));
      queueMicrotask(() => void order.push('microtask'));
      process.nextTick(() => void order.push('tick'));
      await turn();
      expect(order.length).to.equal(3);
      expect(order.at(-1)).to.equal('immediate');
    });

    it('calls the callback with the immediate as `this`, and with arguments', async () => {
      const seen = await new Promise<unknown[]>((resolve) => {
        const immediate: unknown = setImmediate(
          function (this: unknown, ...args: string[]) {
            resolve([this === immediate, ...args]);
          },
          'a',
          'b',
          'c',
          'd',
        );
      });
      expect(seen).to.deep.equal([true, 'a', 'b', 'c', 'd']);
    });

    it('returns an Immediate: ref, unref, hasRef, Symbol.dispose', async () => {
      let calls = 0;
      const immediate = setImmediate(() => void calls++);
      expect(immediate.constructor.name).to.equal('Immediate');
      expect(immediate.hasRef()).to.equal(true);
      expect(immediate.unref()).to.equal(immediate);
      expect(immediate.unref().hasRef()).to.equal(false);
      expect(immediate.ref()).to.equal(immediate);
      expect(immediate.ref().hasRef()).to.equal(true);
      immediate[Symbol.dispose]();
      immediate[Symbol.dispose]();
      expect(immediate.hasRef()).to.equal(false);
      expect(immediate.ref().hasRef()).to.equal(false);
      await turn();
      expect(calls).to.equal(0);
      const called = setImmediate(() => void calls++);
      await turn();
      expect([calls, called.hasRef()]).to.deep.equal([1, false]);
      clearImmediate(called);
    });

    it('can be undone by clearImmediate, also in an earlier immediate and in its own callback', async () => {
      const order: string[] = [];
      await inIo(() => {
        const self = setImmediate(() => {
          order.push('self');
          clearImmediate(self);
          clearImmediate(next);
        });
        const next = setImmediate(() => void order.push('next'));
        process.nextTick(() => clearImmediate(third));
        const third = setImmediate(() => void order.push('third'));
        setImmediate(() => void order.push('last'));
      });
      clearImmediate(undefined);
      clearImmediate(null);
      await turn();
      expect(order).to.deep.equal(['self', 'last']);
    });

    it('can be undone in a tick or a microtask between two immediates', async () => {
      const order: string[] = [];
      await inIo(() => {
        setImmediate(() => {
          order.push('first');
          process.nextTick(() => clearImmediate(second));
          queueMicrotask(() => clearImmediate(third));
        });
        const second = setImmediate(() => void order.push('second'));
        const third = setImmediate(() => void order.push('third'));
        setImmediate(() => void order.push('fourth'));
      });
      await turn();
      expect(order).to.deep.equal(['first', 'fourth']);
    });

    it('has a custom variant for promises, by util.promisify', async () => {
      const soon = promisify(setImmediate);
      expect(soon).to.equal(timers.promises.setImmediate);
      expect(await soon('foobar')).to.equal('foobar');
    });
  });

  describe(`${name}: between two callbacks`, () => {
    /** Everything that one callback adds to both queues, which add to each other. */
    const scatter = (order: string[], it: string): void => {
      order.push(it);
      process.nextTick(() => {
        order.push(`${it} tick`);
        void Promise.resolve().then(() => {
          order.push(`${it} tick's micro`);
          process.nextTick(() => void order.push(`${it} tick's micro's tick`));
        });
      });
      void Promise.resolve().then(() => {
        order.push(`${it} micro`);
        process.nextTick(() => {
          order.push(`${it} micro's tick`);
          process.nextTick(() => void order.push(`${it} micro's tick's tick`));
        });
        queueMicrotask(() => void order.push(`${it} micro's micro`));
      });
    };
    const scattered = (it: string): string[] => [
      it,
      `${it} tick`,
      `${it} micro`,
      `${it} tick's micro`,
      `${it} micro's micro`,
      `${it} micro's tick`,
      `${it} tick's micro's tick`,
      `${it} micro's tick's tick`,
    ];

    it('all ticks and microtasks run: timers', async () => {
      const order: string[] = [];
      for (const it of ['a', 'b', 'c']) setTimeout(scatter, 5, order, it);
      await behind(5);
      expect(order).to.deep.equal(['a', 'b', 'c'].flatMap(scattered));
    });

    it('all ticks and microtasks run: immediates', async () => {
      const order: string[] = [];
      for (const it of ['a', 'b', 'c']) setImmediate(scatter, order, it);
      await turn();
      expect(order).to.deep.equal(['a', 'b', 'c'].flatMap(scattered));
    });

    it('all ticks and microtasks run: an immediate, then a timer', async () => {
      const order: string[] = [];
      await new Promise<void>((resolve) => {
        setTimeout(() => {
          setImmediate(scatter, order, 'immediate');
          setTimeout(scatter, 1, order, 'timer');
          resolve(behind(1));
          burn(3);
        }, 1);
      });
      expect(order).to.deep.equal(['immediate', 'timer'].flatMap(scattered));
    });
  });

  describe(`${name}: AsyncLocalStorage`, () => {
    const als = new AsyncLocalStorage<string>();

    it('has the stores of the call that created the timer', async () => {
      const seen = new Calls<[string, unknown]>();
      const see = (it: string): void => seen.note([it, als.getStore()]);
      als.run('a', () => {
        setTimeout(see, 1, 'timer');
        setImmediate(see, 'immediate');
        const interval = setInterval(() => {
          see('interval');
          interval.close();
        }, 2);
      });
      als.run('b', () => setImmediate(see, 'other'));
      setImmediate(see, 'none');
      expect(Object.fromEntries(await seen.until(5))).to.deep.equal({
        timer: 'a',
        immediate: 'a',
        interval: 'a',
        other: 'b',
        none: undefined,
      });
    });

    it('is kept by refresh of an active timer, and captured again by refresh of a finished one', async () => {
      const seen: unknown[] = [];
      const timer = als.run('made', () => setTimeout(() => void seen.push(als.getStore()), 5));
      als.run('refreshed', () => timer.refresh());
      await behind(5);
      als.run('again', () => timer.refresh());
      await behind(5);
      expect(seen).to.deep.equal(['made', 'again']);
    });

    it('does not leak a store that a callback enters to the next callback', async () => {
      const seen: unknown[] = [];
      setTimeout(() => als.enterWith('leak'), 3);
      setTimeout(() => void seen.push(als.getStore()), 3);
      setImmediate(() => als.enterWith('leak'));
      setImmediate(() => void seen.push(als.getStore()));
      await turn();
      await behind(3);
      expect(seen).to.deep.equal([undefined, undefined]);
    });

    it('is kept across an await of a promise of a timer', async () => {
      const seen = await als.run('a', async () => {
        await timers.promises.setTimeout(1);
        await timers.promises.setImmediate();
        return als.getStore();
      });
      expect(seen).to.equal('a');
    });
  });

  describe(`${name}: async_hooks`, () => {
    it('see the creation, run and destruction of a timer and an immediate', async () => {
      const events = new Map<number, string[]>();
      const note = (id: number, what: string): void => void events.get(id)?.push(what);
      const hook = createHook({
        init: (id, type) => void events.set(id, [type]),
        before: (id) => note(id, 'before'),
        after: (id) => note(id, 'after'),
        destroy: (id) => note(id, 'destroy'),
      }).enable();
      const timer = setTimeout(() => undefined, 1);
      const id = +timer;
      const cleared = setTimeout(() => undefined, 1);
      clearTimeout(cleared);
      const immediateId = new Promise<number>((resolve) => {
        setImmediate(() => resolve(executionAsyncId()));
      });
      await behind(1);
      const ran = events.get(await immediateId);
      // Node emits destroy events in the following check phase.
      await turn();
      await turn();
      hook.disable();
      expect(events.get(id)).to.deep.equal(['Timeout', 'before', 'after', 'destroy']);
      expect(events.get(+cleared)).to.deep.equal(['Timeout', 'destroy']);
      expect(ran).to.deep.equal(['Immediate', 'before', 'after', 'destroy']);
    });
  });

  describe(`${name}: promises`, () => {
    const { promises } = timers;

    it('setTimeout fulfils with the value', async () => {
      expect(await promises.setTimeout(1, 'result')).to.equal('result');
      expect(await promises.setTimeout()).to.equal(undefined);
      expect(await promises.setTimeout(undefined, 'x', { ref: false, signal: undefined })).to.equal(
        'x',
      );
    });

    it('setImmediate fulfils with the value', async () => {
      expect(await promises.setImmediate('result')).to.equal('result');
      expect(await promises.setImmediate('x', { ref: true })).to.equal('x');
    });

    it('setInterval yields the value every delay ms, until the loop is left', async () => {
      const start = performance.now();
      const seen: number[] = [];
      for await (const value of promises.setInterval(10, 7)) {
        seen.push(value);
        if (seen.length === 3) break;
      }
      expect(seen).to.deep.equal([7, 7, 7]);
      expect(performance.now() - start).to.be.at.least(28);
    });

    it('setInterval counts values that were not consumed', async () => {
      const ticks = promises.setInterval(5, 'v');
      await ticks.next();
      // It was set later and is called later, so there are at least as many ticks as it has calls.
      const calls = new Calls<string>();
      using _interval = setInterval(() => calls.note('call'), 5);
      await calls.until(4);
      let turned = false;
      setImmediate(() => {
        turned = true;
      });
      for (let i = 0; i < 4; i++)
        expect(await ticks.next()).to.deep.equal({ value: 'v', done: false });
      // Another tick would have taken a turn at least.
      expect(turned).to.equal(false);
      expect(await ticks.return(undefined)).to.deep.equal({ value: undefined, done: true });
      expect(await ticks.next()).to.deep.equal({ value: undefined, done: true });
    });

    it('are rejected with an AbortError when the signal is aborted', async () => {
      const reason = new Error('why');
      const expected = {
        name: 'AbortError',
        code: 'ABORT_ERR',
        message: 'The operation was aborted',
        cause: reason,
        is: true,
      };
      const before = AbortSignal.abort(reason);
      for (const signal of [before, undefined]) {
        for (const start of [
          (options: { signal: AbortSignal }) => promises.setTimeout(10_000, 'x', options),
          (options: { signal: AbortSignal }) => promises.setImmediate('x', options),
          (options: { signal: AbortSignal }) => promises.setInterval(10_000, 'x', options).next(),
          (options: { signal: AbortSignal }) => promises.scheduler.wait(10_000, options),
        ]) {
          const controller = new AbortController();
          const promise = start({ signal: signal ?? controller.signal });
          controller.abort(reason);
          expect(await rejectionOf(promise)).to.deep.equal(expected);
        }
      }
    });

    it('setInterval yields pending values, then throws the AbortError, then ends', async () => {
      const controller = new AbortController();
      const ticks = promises.setInterval(5, 'v', { signal: controller.signal });
      await ticks.next();
      controller.abort();
      expect((await rejectionOf(ticks.next()))['name']).to.equal('AbortError');
      expect(await ticks.next()).to.deep.equal({ value: undefined, done: true });
    });

    it('leave no listener on the signal', async () => {
      const { signal } = new AbortController();
      await promises.setTimeout(1, 'x', { signal });
      await promises.setImmediate('x', { signal });
      for await (const _ of promises.setInterval(1, 'x', { signal })) break;
      expect(getEventListeners(signal, 'abort')).to.deep.equal([]);
    });

    it('are aborted even if a listener stops the propagation of the event', async () => {
      const controller = new AbortController();
      controller.signal.addEventListener('abort', (event) => event.stopImmediatePropagation());
      const promise = promises.setTimeout(10_000, 'x', { signal: controller.signal });
      controller.abort();
      expect((await rejectionOf(promise))['name']).to.equal('AbortError');
    });

    it('are fulfilled if the abort comes too late', async () => {
      const controller = new AbortController();
      const promise = promises.setTimeout(1, 'x', { signal: controller.signal });
      await behind(1);
      controller.abort();
      expect(await promise).to.equal('x');
    });

    it('are rejected for arguments of the wrong type, with Node’s errors', async () => {
      const native = nodeTimers.promises as unknown as Timers['promises'];
      const calls: ((of: Timers['promises']) => Promise<unknown>)[] = [
        (of) => of.setTimeout('10' as unknown as number),
        (of) => of.setTimeout(1, 'x', null as unknown as object),
        (of) => of.setTimeout(1, 'x', [] as unknown as object),
        (of) => of.setTimeout(1, 'x', 'options' as unknown as object),
        (of) => of.setTimeout(1, 'x', { ref: 1 as unknown as boolean }),
        (of) => of.setTimeout(1, 'x', { signal: 1 as unknown as AbortSignal }),
        (of) => of.setTimeout(1, 'x', { signal: null as unknown as AbortSignal }),
        (of) => of.setTimeout(1, 'x', { signal: {} as unknown as AbortSignal }),
        (of) => of.setImmediate('x', null as unknown as object),
        (of) => of.setImmediate('x', { ref: 'no' as unknown as boolean }),
        (of) => of.setImmediate('x', { signal: 'no' as unknown as AbortSignal }),
        (of) => of.setInterval('10' as unknown as number).next(),
        (of) => of.setInterval(1, 'x', 1 as unknown as object).next(),
        (of) => of.setInterval(1, 'x', { ref: 0 as unknown as boolean }).next(),
        (of) => of.scheduler.wait('1' as unknown as number),
      ];
      for (const call of calls) {
        const mine = await rejectionOf(call(promises));
        expect(mine).to.deep.equal(await rejectionOf(call(native)));
        expect(mine['code']).to.equal('ERR_INVALID_ARG_TYPE');
      }
    });

    it('scheduler.wait waits, scheduler.yield yields to other work', async () => {
      const start = performance.now();
      expect(await promises.scheduler.wait(20)).to.equal(undefined);
      expect(performance.now() - start).to.be.at.least(18);
      const order: string[] = [];
      setImmediate(() => void order.push('other'));
      expect(await promises.scheduler.yield()).to.equal(undefined);
      expect(order).to.deep.equal(['other']);
    });

    it('scheduler cannot be constructed, and its methods need it as receiver', async () => {
      const { scheduler } = promises;
      const { constructor } = scheduler as unknown as { constructor: new () => unknown };
      expect(constructor.name).to.equal('Scheduler');
      expect(thrownBy(() => new constructor())).to.include({ code: 'ERR_ILLEGAL_CONSTRUCTOR' });
      const borrowed = [
        () => scheduler.wait.call({} as typeof scheduler, 1),
        () => scheduler.yield.call({} as typeof scheduler),
      ];
      for (const call of borrowed) {
        expect(thrownBy(call)).to.include({ name: 'TypeError', code: 'ERR_INVALID_THIS' });
      }
    });
  });
}

describe('kcont/timers and node:timers', function () {
  it('clear a timer by clearImmediate if the running Node does so by accident, and ignore other values', async () => {
    // In a separate process, because up to Node 22 this decrements Node's count of immediates.
    const program = 'clearImmediate(setTimeout(() => console.log(1), 1)); setTimeout(() => {}, 9)';
    const byNode = execFileSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    const left = byNode === '' ? [] : ['timer', 'interval'];
    const order: string[] = [];
    const timer = ours.setTimeout(() => void order.push('timer'), 1);
    const interval = ours.setInterval(() => {
      order.push('interval');
      ours.clearInterval(interval);
    }, 1);
    ours.setImmediate(() => void order.push('immediate'));
    const node = nodeTimers.setImmediate(() => void order.push('of Node'));
    for (const it of [timer, interval, {}, 5, 'x', nodeTimers.setTimeout(() => undefined), node]) {
      ours.clearImmediate(it as never);
    }
    await ours.promises.setTimeout(1);
    await nodeTimers.promises.setTimeout(5);
    expect(order).to.deep.equal(['immediate', ...left]);
  });
  this.timeout(30_000);

  /** A callback: the callbacks it queues, and the earlier ones it clears. */
  interface Step {
    readonly tick: boolean;
    readonly micro: boolean;
    readonly sets: readonly Step[];
    readonly clears: readonly number[];
    readonly refreshes: readonly number[];
  }
  const { step } = fc.letrec<{ step: Step }>((tie) => ({
    step: fc.record({
      tick: fc.boolean(),
      micro: fc.boolean(),
      sets: fc.oneof({ maxDepth: 3 }, fc.constant([]), fc.array(tie('step'), { maxLength: 3 })),
      clears: fc.array(fc.nat(12), { maxLength: 2 }),
      refreshes: fc.array(fc.nat(12), { maxLength: 1 }),
    }),
  }));

  /** Runs a program of immediates, and returns what ran, in order. */
  async function immediates(timers: Timers, program: readonly Step[]): Promise<string[]> {
    const order: string[] = [];
    const made: ReturnType<Timers['setImmediate']>[] = [];
    const set = ({ tick, micro, sets, clears }: Step): void => {
      const id = made.length;
      const immediate = timers.setImmediate(() => {
        order.push(`immediate ${id}`);
        if (tick) process.nextTick(() => void order.push(`tick ${id}`));
        if (micro) queueMicrotask(() => void order.push(`micro ${id}`));
        process.nextTick(() => {
          for (const other of clears)
            if (made[other] !== undefined) timers.clearImmediate(made[other]);
        });
        sets.forEach(set);
      });
      made.push(immediate);
    };
    await inIo(() => program.forEach(set));
    // Deeper than any of the programs.
    for (let turn = 0; turn < 8; turn++) await timers.promises.setImmediate();
    return order;
  }

  /**
   * Runs a program of timers with one delay; what ran, in order. They come in rounds: in the first
   * one all, in the next ones those that were refreshed in the one before. So that each round is due
   * as a whole, whatever the machine does, it ends with a timer that burns until the next one is.
   */
  async function timeouts(timers: Timers, program: readonly Step[]): Promise<string[]> {
    const order: string[] = [];
    const made: ReturnType<Timers['setTimeout']>[] = [];
    let inRound = 0;
    const run = (id: number, { tick, micro, clears, refreshes, sets }: Step): void => {
      inRound++;
      order.push(`timer ${id}`);
      if (tick) process.nextTick(() => void order.push(`tick ${id}`));
      if (micro) queueMicrotask(() => void order.push(`micro ${id}`));
      for (const other of clears) timers.clearTimeout(made[other]);
      for (const other of refreshes) if (other > id) made[other]?.refresh();
      sets.forEach((_, i) => timers.setImmediate(() => void order.push(`immediate ${id}.${i}`)));
    };
    await new Promise<void>((resolve, reject) => {
      inIo(() => {
        program.forEach((it, id) => made.push(timers.setTimeout(run, 4, id, it)));
        const last = timers.setTimeout(() => {
          if (inRound === 0) return resolve();
          inRound = 0;
          last.refresh();
          burn(8);
        }, 4);
        burn(8);
      }).catch(reject);
    });
    return order;
  }

  it('run random programs of immediates in the same order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (program) => {
        const expected = await immediates(nodeTimers as unknown as Timers, program);
        expect((await immediates(ours, program)).join('\n')).to.equal(expected.join('\n'));
      }),
      { numRuns: 150 },
    );
  });

  it('run random programs of timers that are due together in the same order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (program) => {
        const play = async (timers: Timers): Promise<string> =>
          (await timeouts(timers, program)).join(', ');
        // Node runs two timers phases in a row when its loop is re-entered, which is rare.
        const expected = [
          await play(nodeTimers as unknown as Timers),
          await play(nodeTimers as unknown as Timers),
        ];
        const order = await play(ours);
        expect(expected, `kcont: ${order}; Node: ${expected.join('; ')}`).to.include(order);
      }),
      { numRuns: 40 },
    );
  });
});
