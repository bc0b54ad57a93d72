import { expect } from 'chai';
import { beforeEach, describe, it } from 'mocha';
import { OrderedList, stamp } from '../../lib/base/ordered-list.ts';
import { Mutex as PriorityMutex } from '../../lib/compat/async-mutex/index.ts';
import { Mutex } from '../../lib/index.ts';
import { NONE, Turnstile, type Waiter } from '../../lib/locks/turnstile.ts';

describe('the turnstile of a lock', () => {
  const PATIENCE = 100;
  let now: number;
  let woken: [waiter: Waiter, priority: number][];
  let lock: Mutex;
  let turnstile: Turnstile;

  beforeEach(() => {
    now = 0;
    woken = [];
    lock = new Mutex();
    turnstile = new Turnstile();
    lock._turnstile = turnstile;
  });

  /** A waiter that becomes the heir when it is woken. */
  function waiter(priority: number): Waiter {
    const made: Waiter = {
      _next: undefined as never,
      _prev: undefined as never,
      _seq: 0,
      _era: 0,
      _lock: lock,
      _priority: priority,
      _hasWaited: false,
      _timekeeper: {
        presentTick: () => now,
        mayPromote: (_, since) => now - since >= PATIENCE,
      },
      _patienceMs: PATIENCE,
      _wake(at) {
        woken.push([made, at]);
        return false;
      },
    };
    made._next = made;
    made._prev = made;
    stamp(made);
    return made;
  }

  it('looks at few of many priorities when the lock is released', async () => {
    const most = 2000;
    const mutex = new PriorityMutex();
    const release = await mutex.acquire();
    const order: number[] = [];
    const done = Array.from({ length: most }, (_, priority) =>
      mutex.runExclusive(() => void order.push(priority), priority),
    );
    const lists = OrderedList.prototype;
    const first = Object.getOwnPropertyDescriptor(lists, 'first') as PropertyDescriptor;
    let looks = 0;
    Object.defineProperty(lists, 'first', {
      ...first,
      get(this: OrderedList<Waiter>): unknown {
        looks++;
        return first.get?.call(this);
      },
    });
    try {
      release();
      await Promise.all(done);
    } finally {
      Object.defineProperty(lists, 'first', first);
    }
    expect(order).to.deep.equal(Array.from({ length: most }, (_, i) => most - 1 - i));
    expect(looks).to.be.below(400 * most);
  });

  it('counts the patience of a priority from the earliest time that a waiter of it has brought', () => {
    const low = waiter(10);
    const second = Object.assign(waiter(10), { _timekeeper: low._timekeeper });
    turnstile.add(low, 50);
    turnstile.add(second, 20);
    turnstile.add(waiter(20), NONE);
    now = 119;
    turnstile.promote();
    expect(turnstile.priorityOf(low)).to.equal(10);
    now = 120;
    turnstile.promote();
    expect(turnstile.priorityOf(low)).to.equal(20);
    expect(turnstile.best).to.equal(low);
    turnstile.wake();
    expect(woken).to.deep.equal([[low, 20]]);
  });

  it('keeps the earliest time when a later one is brought', () => {
    const low = waiter(10);
    turnstile.add(low, 20);
    turnstile.add(Object.assign(waiter(10), { _timekeeper: low._timekeeper }), 50);
    turnstile.add(waiter(20), NONE);
    now = 120;
    turnstile.promote();
    expect(turnstile.priorityOf(low)).to.equal(20);
  });
});
