// An app on kcont/timers in virtual time, and the behaviour of kcont/timers on kernels of any kind.
import { AsyncLocalStorage } from 'node:async_hooks';
import { readFile } from 'node:fs';
import { inspect } from 'node:util';
import { MessageChannel } from 'node:worker_threads';
import { expect } from 'chai';
import sinon from 'sinon';
import * as own from '../../../lib/compat/timers/index.ts';
import * as ownPromises from '../../../lib/compat/timers/promises-index.ts';
import { createTimers } from '../../../lib/compat/timers/index.ts';
import { Kernel, VirtualClock, kernel as processWide } from '../../../lib/index.ts';
import { burn } from '../../support/busy.ts';
import { codeOf } from '../../support/lab.ts';

describe('kcont/timers in virtual time', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let timers: own.Timers;
  let ran: string[];
  const note = (it?: string): void => void ran.push(`${it} at ${clock.now}`);

  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    timers = createTimers(kernel);
    ran = [];
  });

  it('runs timers, intervals and immediates at their times', () => {
    const { setTimeout, setInterval, setImmediate, clearInterval } = timers;
    const interval = setInterval(note, 40, 'interval');
    setTimeout(() => {
      note('timer');
      setImmediate(note, 'immediate of timer');
      setTimeout(note, 0, 'nested');
    }, 100);
    setTimeout(clearInterval, 130, interval);
    setImmediate(note, 'immediate');
    clock.tick(1000);
    expect(ran).to.deep.equal([
      'immediate at 0',
      'interval at 40',
      'interval at 80',
      'timer at 100',
      'immediate of timer at 100',
      'nested at 101',
      'interval at 120',
    ]);
  });

  it('delays no timer because of others that are set after a tick', () => {
    const { setTimeout } = timers;
    setTimeout(note, 3, 'first');
    for (let i = 0; i < 4; i++) {
      clock.tick(1);
      setTimeout(note, 50, `later ${i}`);
    }
    clock.tick(100);
    const later = [0, 1, 2, 3].map((i) => `later ${i} at ${51 + i}`);
    expect(ran).to.deep.equal(['first at 3', ...later]);
  });

  it('keeps a delay of more than 2^31-1 ms, without a warning', async () => {
    const warned = sinon.spy(process, 'emitWarning');
    const { setTimeout, promises } = timers;
    const year = 365 * 86_400_000;
    setTimeout(note, year, 'a year');
    setTimeout(note, Infinity, 'never');
    void promises.setTimeout(2 * year).then(() => note('two'));
    await clock.advance(10 * year);
    expect(ran).to.deep.equal([`a year at ${year}`, `two at ${2 * year}`]);
    expect(warned.callCount).to.equal(0);
    warned.restore();
  });

  it('lets promises settle between two callbacks as time advances', async () => {
    const { setTimeout, setImmediate } = timers;
    const scatter = (it: string): void => {
      note(it);
      process.nextTick(() => note(`${it} tick`));
      void Promise.resolve()
        .then(() => new Promise<void>((resolve) => process.nextTick(resolve)))
        .then(() => note(`${it} settled`));
    };
    setTimeout(scatter, 5, 'a');
    setTimeout(scatter, 5, 'b');
    setTimeout(() => setImmediate(scatter, 'immediate'), 5);
    setImmediate(scatter, 'i');
    setImmediate(scatter, 'j');
    await clock.advance(10);
    expect(ran).to.deep.equal(
      [
        ['i', 0],
        ['j', 0],
        ['a', 5],
        ['b', 5],
        ['immediate', 5],
      ].flatMap(([it, at]) => [`${it} at ${at}`, `${it} tick at ${at}`, `${it} settled at ${at}`]),
    );
  });

  it('keeps the order of immediates and timers if a pass ends after each callback', async () => {
    const { setTimeout, setImmediate } = timers;
    setTimeout(() => {
      note('timer 1');
      setImmediate(note, 'immediate of timer 1');
    }, 5);
    setTimeout(note, 5, 'timer 2');
    setTimeout(() => setImmediate(note, 'immediate of timer 3'), 5);
    await clock.advance(5);
    expect(ran).to.deep.equal([
      'timer 1 at 5',
      'timer 2 at 5',
      'immediate of timer 1 at 5',
      'immediate of timer 3 at 5',
    ]);
  });

  it('settles an app that uses await', async () => {
    const { promises } = timers;
    const app = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await promises.setTimeout(1000);
        note(`round ${i}`);
      }
      await promises.scheduler.yield();
      for await (const _ of promises.setInterval(10)) {
        note('tick');
        if (ran.length === 5) break;
      }
    };
    const done = app();
    await clock.advance(5000);
    await done;
    expect(ran.slice(2)).to.deep.equal(['round 2 at 3000', 'tick at 3010', 'tick at 3020']);
  });

  it('throws errors of callbacks out of tick(), and continues with the next callback', () => {
    const { setTimeout, setImmediate, setInterval } = timers;
    setImmediate(() => {
      throw new Error('immediate');
    });
    setImmediate(note, 'second immediate');
    const interval = setInterval(() => {
      note('interval');
      throw new Error('interval');
    }, 5);
    setTimeout(note, 5, 'timer');
    expect(() => clock.tick(0)).to.throw('immediate');
    clock.tick(0);
    expect(() => clock.tick(5)).to.throw('interval');
    clock.tick(0);
    expect(() => clock.tick(5)).to.throw('interval');
    interval.close();
    expect(ran).to.deep.equal([
      'second immediate at 0',
      'interval at 5',
      'timer at 5',
      'interval at 10',
    ]);
  });

  it('passes errors to the kernel’s onError, if it has one', () => {
    const errors: unknown[] = [];
    const { setTimeout } = createTimers(
      new Kernel({ clock, onError: (error, kc) => void errors.push([error, kc.name]) }),
    );
    setTimeout(() => {
      throw new RangeError('x');
    }, 1);
    setTimeout(note, 1, 'next');
    clock.tick(1);
    expect(errors).to.deep.equal([[new RangeError('x'), 'timers']]);
    expect(ran).to.deep.equal(['next at 1']);
  });

  it('refreshes a timer that is queued behind others', () => {
    const { setTimeout } = timers;
    setTimeout(() => {
      note('first');
      second.refresh();
      third.close();
    }, 5);
    const second = setTimeout(note, 5, 'second');
    const third = setTimeout(note, 5, 'third');
    setTimeout(note, 5, 'fourth');
    clock.tick(20);
    expect(ran).to.deep.equal(['first at 5', 'fourth at 5', 'second at 10']);
  });

  it('refreshes and closes a timer that has expired and is still queued', () => {
    const { setTimeout } = timers;
    const timer = setTimeout(note, 5, 'refreshed');
    const other = setTimeout(note, 5, 'closed');
    void kernel.wq.softserial.run(
      () => {
        timer.refresh();
        other.close();
      },
      { delayMs: 5 },
    );
    clock.tick(20);
    expect(ran).to.deep.equal(['refreshed at 10']);
  });

  it('calls unreferenced immediates a ms later, others at once', () => {
    const { setImmediate, clearImmediate } = timers;
    const unref = setImmediate(note, 'unref').unref();
    clock.tick(0);
    expect(ran).to.deep.equal([]);
    clock.tick(1);
    expect(unref.hasRef()).to.equal(false);
    setImmediate(note, 'again').unref().ref();
    setImmediate(note, 'with it').unref();
    clock.tick(0);
    clearImmediate(setImmediate(note, 'cleared').unref());
    setImmediate(() => {
      setImmediate(note, 'unref from within').unref();
    });
    clock.tick(0);
    clock.tick(1);
    expect(ran).to.deep.equal([
      'unref at 1',
      'again at 1',
      'with it at 1',
      'unref from within at 2',
    ]);
  });

  it('shows delay and state in util.inspect', () => {
    const { setTimeout, setInterval, setImmediate } = timers;
    const timer = setTimeout(() => note(inspect(timer)), 30);
    const interval = setInterval(() => undefined, 20);
    const immediate = setImmediate(() => undefined);
    expect(inspect([timer, interval, immediate])).to.equal(
      '[\n  Timeout { 30 ms, due in 30 ms },\n  Timeout { every 20 ms, due in 20 ms },\n  Immediate { set }\n]',
    );
    clock.tick(30);
    interval.close();
    expect(inspect([timer, interval, immediate])).to.equal(
      '[\n  Timeout { 30 ms, over },\n  Timeout { every 20 ms, over },\n  Immediate { over }\n]',
    );
    expect(ran).to.deep.equal(['Timeout { 30 ms, due } at 30']);
  });

  it('accepts another function in place of its own, as libraries set on Node’s timers', () => {
    const { setTimeout } = timers;
    const timer = setTimeout(note, 5, 'timer');
    timer._onTimeout = (it: string) => note(`${it} patched`);
    const gone = setTimeout(note, 5, 'gone');
    gone._onTimeout = null;
    clock.tick(5);
    expect(ran).to.deep.equal(['timer patched at 5']);
    expect(setTimeout(note, 5)._onTimeout).to.equal(note);
    expect(timers.setImmediate(note)._onImmediate).to.equal(note);
  });

  it('returns the same functions for the same kernel, and refuses other values', () => {
    expect(createTimers(kernel)).to.equal(timers);
    expect(createTimers(new Kernel({ clock }))).not.to.equal(timers);
    expect(codeOf(() => createTimers({} as Kernel))).to.equal('EINVAL');
  });

  it('refuses timers on a closed kernel, after finishing queued ones', async () => {
    const { setTimeout, setInterval, setImmediate } = timers;
    const over = setTimeout(note, 1, 'over');
    await clock.advance(1);
    setTimeout(note, 1000, 'withdrawn');
    const interval = setInterval(note, 5, 'interval');
    setTimeout(note, 5, 'in line');
    setImmediate(() => {
      note('immediate');
      setImmediate(note, 'one more').unref();
    });
    void kernel.wq.softserial.run(() => void kernel.close(), { delayMs: 5 });
    await clock.advance(5000);
    expect(ran).to.deep.equal([
      'over at 1',
      'immediate at 1',
      'one more at 2',
      'interval at 6',
      'in line at 6',
    ]);
    expect(inspect(interval)).to.contain('over');
    for (const call of [
      () => setTimeout(note, 1),
      () => setInterval(note, 1),
      () => setImmediate(note),
      () => over.refresh(),
    ]) {
      expect(codeOf(call)).to.equal('ESHUTDOWN');
    }
    await clock.advance(100);
    expect(ran.length).to.equal(5);
  });
});

describe('kcont/timers on the clock of the host', function () {
  this.timeout(30_000);

  it('exports the functions of the process-wide kernel', () => {
    const { setTimeout, promises } = createTimers(processWide);
    expect([own.setTimeout, own.promises]).to.deep.equal([setTimeout, promises]);
    expect(Object.keys(own).toSorted()).to.deep.equal([
      'clearImmediate',
      'clearInterval',
      'clearTimeout',
      'createTimers',
      'promises',
      'setImmediate',
      'setInterval',
      'setTimeout',
    ]);
    expect({ ...ownPromises }).to.deep.equal({ ...promises });
  });

  it('calls no timer early, and keeps the order of timers with equal delays', async () => {
    const { setTimeout } = createTimers(new Kernel());
    const early: number[] = [];
    const order: number[] = [];
    await new Promise<void>((resolve) => {
      for (let i = 0; i < 3000; i++) {
        const dueMs = performance.now() + 7;
        setTimeout(() => {
          if (performance.now() < dueMs) early.push(i);
          if (order.push(i) === 3000) resolve();
        }, 7);
        if (i % 500 === 0) burn(3);
      }
    });
    expect(early).to.deep.equal([]);
    expect(order).to.deep.equal(order.toSorted((a, b) => a - b));
  });

  it('calls no timer early after a stall, nor in a group that a tick divides', async () => {
    const { setTimeout } = createTimers(new Kernel());
    const early: number[] = [];
    for (let round = 0; round < 30; round++) {
      await new Promise<void>((resolve) => {
        let left = 40;
        for (let i = 0; i < 40; i++) {
          const dueMs = performance.now() + 2;
          setTimeout(() => {
            if (performance.now() < dueMs) early.push(i);
            if (--left === 0) resolve();
          }, 2);
          burn(0.05);
        }
      });
    }
    expect(early).to.deep.equal([]);
  });

  it('yields to I/O between many timers, and keeps the order', async () => {
    const { setTimeout, setImmediate } = createTimers(new Kernel());
    const order: string[] = [];
    // A message posted here arrives before the next poll phase.
    const { port1: inbox, port2: outbox } = new MessageChannel();
    await new Promise<void>((resolve) => {
      inbox.once('message', () => void order.push('I/O'));
      readFile(new URL(import.meta.url), () => {
        for (let i = 0; i < 30; i++) {
          setTimeout(() => {
            if (i === 0) {
              setImmediate(() => {
                order.push('immediate');
                resolve();
              });
              outbox.postMessage('I/O');
            }
            order.push(`timer ${i}`);
            burn(1);
          }, 5);
        }
        // All are due when this callback ends.
        burn(10);
      });
    });
    inbox.close();
    const timersRan = order.filter((it) => it.startsWith('timer'));
    expect(timersRan).to.deep.equal(Array.from({ length: 30 }, (_, i) => `timer ${i}`));
    expect(order.at(-1)).to.equal('immediate');
    expect(order.indexOf('I/O')).to.be.within(1, 29);
  });

  it('keeps no stores of a timer that was cleared, called or restarted, while its handle is kept', async () => {
    const { setTimeout, setImmediate, promises } = createTimers(new Kernel());
    const als = new AsyncLocalStorage<object>();
    const refs: WeakRef<object>[] = [];
    const kept: unknown[] = [];
    const within = (body: () => unknown): void => {
      const store = {};
      refs.push(new WeakRef(store));
      als.run(store, () => void kept.push(body()));
    };
    within(() => setTimeout(() => undefined, 60_000).close());
    within(() => setTimeout(() => undefined, 1));
    within(() => setImmediate(() => undefined));
    within(() => {
      const immediate = setImmediate(() => undefined);
      immediate[Symbol.dispose]();
      return immediate;
    });
    // After the timers set so far.
    await promises.setImmediate();
    await promises.setTimeout(1);
    // The group of the last callback keeps its timers alive until the next callback sets some.
    for (let i = 0; i < 20 && refs.some((ref) => ref.deref() !== undefined); i++) {
      await promises.setTimeout(1);
      gc?.();
    }
    expect(refs.map((ref) => ref.deref())).to.deep.equal([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(kept.length).to.equal(4);
  });

  it('follows fake timers, and runs no microtasks within their synchronous tick', async () => {
    const { setTimeout } = createTimers(new Kernel());
    const ran: string[] = [];
    const fake = sinon.useFakeTimers();
    try {
      setTimeout(() => {
        ran.push('a');
        void Promise.resolve().then(() => ran.push('micro'));
      }, 1000);
      setTimeout(() => void ran.push('b'), 1000);
      fake.tick(999);
      expect(ran).to.deep.equal([]);
      fake.tick(10);
      expect(ran).to.deep.equal(['a', 'b']);
    } finally {
      fake.restore();
    }
    await Promise.resolve();
    expect(ran).to.deep.equal(['a', 'b', 'micro']);
  });
});
