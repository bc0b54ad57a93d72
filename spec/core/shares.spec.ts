import { expect } from 'chai';
import fc from 'fast-check';
import { unlink } from '../../lib/base/list.ts';
import { Budget } from '../../lib/core/budget.ts';
import { serveStarved } from '../../lib/core/patience.ts';
import type { ShareGroup } from '../../lib/core/share-group.ts';
import { Kcont, Kernel, Mutex, VirtualClock, type Workqueue } from '../../lib/index.ts';
import { list } from '../../lib/observe/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { burn } from '../support/busy.ts';
import { Lab, codeOf, deferred, soak } from '../support/lab.ts';

const PRIORITY = 103;

/** A clock that functions move, so that they take time in virtual time too. */
class WorkClock extends VirtualClock {
  workMs = 0;

  override get now(): number {
    return super.now + this.workMs;
  }
}

/** Schedules `count` continuations on a workqueue, which push its name. */
function fill(ran: string[], wq: Workqueue, count: number, name = wq.name): Kcont<null>[] {
  return Array.from({ length: count }, () => {
    const kc = new Kcont(wq, null, () => void ran.push(name), null);
    kc.schedule();
    return kc;
  });
}

describe('the option shares', () => {
  it('divides a priority between its workqueues, and keeps the order within each', () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 4 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    for (let i = 0; i < 4; i++) {
      new Kcont(b, null, () => void ran.push(`b${i}`), null).schedule();
    }
    for (let i = 0; i < 8; i++) {
      new Kcont(a, null, () => void ran.push(`a${i}`), null).schedule();
    }
    clock.tick(0);
    expect(ran.join(' ')).to.equal('b0 a0 a1 a2 a3 b1 a4 a5 a6 a7 b2 b3');
  });

  it('is among the figures of all workqueues of the priority, as long as they take turns', () => {
    const { kernel, clock } = new Lab();
    const shares = (): Record<string, number | null> =>
      Object.fromEntries(
        kernel
          .inspect()
          .workqueues.filter(({ name }) => name.length === 1 || name.startsWith('pri'))
          .map(({ name, shares: some }) => [name, some]),
      );
    const none = { prihigh: null, primedlow: null, primedhigh: null, prilow: null };
    expect(shares()).to.deep.equal(none);
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 4 });
    const b = kernel.acquire(PRIORITY, { name: 'b' });
    expect(a.priority).to.equal(kernel.wq.prilow.priority);
    expect(shares()).to.deep.equal({ ...none, prilow: 1, a: 4, b: 1 });
    expect(a.stats().shares).to.equal(4);
    a.release();
    clock.tick(0);
    expect(shares()).to.deep.equal({ ...none, b: null });
    expect(b.stats().shares).to.equal(null);
    b.release();
  });

  it('lets the flood of one workqueue not hold up the others', () => {
    const { kernel, clock } = new Lab();
    const names = ['a', 'b', 'c'];
    const [a, b, c] = names.map((name) => kernel.acquire(PRIORITY, { name, shares: 1 })) as [
      Workqueue,
      Workqueue,
      Workqueue,
    ];
    const ran: string[] = [];
    fill(ran, a, 10_000);
    fill(ran, b, 1);
    fill(ran, c, 2);
    clock.tick(0);
    expect(ran.slice(0, 5)).to.deep.equal(['a', 'b', 'c', 'a', 'c']);
    expect(ran).to.have.length(10_003);
  });

  it('counts a workqueue without it as one share, also a predefined one, if others have it', () => {
    const { kernel, clock, wq } = new Lab();
    const ran: string[] = [];
    fill(ran, wq.prilow, 3);
    const plain = kernel.acquire(PRIORITY, { name: 'plain' });
    fill(ran, plain, 3);
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal('prilow prilow prilow plain plain plain');
    kernel.acquire(PRIORITY, { name: 'two', shares: 2 });
    fill(ran, wq.prilow, 3);
    fill(ran, plain, 3);
    clock.tick(0);
    expect(ran.join(' ')).to.equal('prilow plain prilow plain prilow plain');
    expect([wq.prilow.shares, plain.shares]).to.deep.equal([undefined, undefined]);
  });

  it('returns one workqueue for equal shares, and another for others or none', () => {
    const { kernel } = new Lab();
    const [one, same, other, none] = [
      kernel.acquire(90, { shares: 1 }),
      kernel.acquire(90, { shares: 1 }),
      kernel.acquire(90, { shares: 2 }),
      kernel.acquire(90),
    ];
    expect(same).to.equal(one);
    expect(new Set([one, other, none]).size).to.equal(3);
    expect([one, other, none].map(({ shares }) => shares)).to.deep.equal([1, 2, undefined]);
  });

  it('refuses what is not an integer from 1 to 1000 with EINVAL, and changes nothing', () => {
    const { kernel, clock, wq } = new Lab();
    for (const shares of [0, -1, 1.5, 1001, Infinity, Number.NaN, '3' as unknown as number]) {
      expect(codeOf(() => kernel.acquire(PRIORITY, { name: 'bad', shares }))).to.equal('EINVAL');
    }
    const ran: string[] = [];
    fill(ran, wq.prilow, 2);
    fill(ran, kernel.acquire(PRIORITY), 2, 'other');
    clock.tick(0);
    expect(ran).to.deep.equal(['prilow', 'prilow', 'other', 'other']);
  });

  it('gives no credit to a workqueue that had nothing to run', () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const all = fill(ran, a, 50);
    new Kcont(a, null, () => void fill(ran, b, 3), null).schedule();
    fill(ran, a, 4);
    clock.tick(0);
    expect(all).to.have.length(50);
    expect(ran.slice(50).join('')).to.equal('bababaa');
  });

  it('keeps the order of timers and jobs of one workqueue', () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 2 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const late = (wq: Workqueue, ms: number): void => {
      new Kcont(wq, null, () => void ran.push(`${wq.name}@${ms}`), null).schedule(ms);
    };
    for (const ms of [3, 1, 2, 5]) {
      late(a, ms);
      late(b, ms);
    }
    // All become due at once, and expire in one batch.
    new Kcont(kernel.wq.softclock, null, () => fill(ran, a, 1), null).schedule(4);
    clock.tick(4);
    expect(ran.join(' ')).to.equal('a@1 b@1 a@2 b@2 a@3 b@3 a');
    ran.length = 0;
    clock.tick(1);
    expect(ran.join(' ')).to.equal('a@5 b@5');
  });

  it('sorts timers that expire in one batch by workqueue', async () => {
    const kernel = new Kernel();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    for (let i = 0; i < 200; i++) {
      const wq = i % 2 === 0 ? a : b;
      new Kcont(wq, null, () => void ran.push(wq.name), null).schedule(1 + (i % 5));
    }
    burn(20);
    while (ran.length < 200) await kernel.wq.prilow.run(() => undefined, { delayMs: 1 });
    expect(ran.filter((name) => name === 'a')).to.have.length(100);
    await kernel.close();
  });

  it('moves what is runnable already to its own workqueue when the first shares are acquired', () => {
    const { kernel, clock, wq } = new Lab();
    const ran: string[] = [];
    const plain = kernel.acquire(PRIORITY, { name: 'plain' });
    const waiting = fill(ran, wq.prilow, 3);
    fill(ran, plain, 2);
    new Kcont(plain, null, () => void ran.push('timer'), null).schedule(1);
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    new Kcont(plain, lock, () => void ran.push('locked'), null).schedule();
    new Kcont(
      wq.prihigh,
      null,
      () => {
        lock.exit();
        kernel.acquire(PRIORITY, { name: 'x', shares: 1 });
        waiting[1]?.stop();
      },
      null,
    ).schedule(1);
    new Kcont(wq.prihigh, null, () => fillBoth(), null).schedule(1);
    const fillBoth = (): void => {
      fill(ran, wq.prilow, 1, 'last');
      fill(ran, plain, 1, 'last of plain');
    };
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal('prilow prilow prilow plain plain');
    fill(ran, wq.prilow, 1);
    clock.tick(1);
    expect(ran.join(' ')).to.equal('prilow locked last timer last of plain');
  });

  it('takes all lists along when the first shares are acquired in a pass', () => {
    const { kernel, clock, wq } = new Lab();
    const ran: string[] = [];
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    new Kcont(wq.prilow, lock, () => void ran.push('resumed'), null).schedule();
    clock.tick(0);
    new Kcont(wq.prilow, null, () => void ran.push('timer'), null).schedule(1);
    new Kcont(
      wq.softclock,
      null,
      () => {
        fill(ran, wq.prilow, 1, 'job');
        lock.exit();
        kernel.acquire(PRIORITY, { name: 'x', shares: 1 });
        fill(ran, wq.prilow, 1, 'later job');
      },
      null,
    ).schedule(1);
    clock.tick(1);
    expect(ran).to.deep.equal(['resumed', 'timer', 'job', 'later job']);
  });

  it('ends when the last workqueue with shares is freed, once nothing is runnable', () => {
    const { kernel, clock, wq } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 5 });
    const plain = kernel.acquire(PRIORITY, { name: 'plain' });
    const ran: string[] = [];
    const both = (): void => {
      fill(ran, wq.prilow, 2);
      fill(ran, plain, 2);
    };
    const fair = 'prilow plain prilow plain';
    const ordinary = 'prilow prilow plain plain';
    a.release();
    both();
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal(fair);
    both();
    b.release();
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal(fair);
    both();
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal(ordinary);
    // At once, if nothing is runnable; and it may begin again.
    const again = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    both();
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal(fair);
    again.release();
    both();
    clock.tick(0);
    expect(ran.splice(0).join(' ')).to.equal(ordinary);
  });

  it('ends also if a workqueue without shares is acquired before it could', () => {
    const { kernel, clock, wq } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 3 });
    const ran: string[] = [];
    fill(ran, wq.prilow, 1);
    a.release();
    const plain = kernel.acquire(PRIORITY, { name: 'plain' });
    fill(ran, plain, 1);
    clock.tick(0);
    fill(ran, wq.prilow, 2);
    fill(ran, plain, 2);
    clock.tick(0);
    expect(ran.join(' ')).to.equal('prilow plain prilow prilow plain plain');
  });

  it('goes on if others are acquired before it could end', () => {
    const { kernel, clock, wq } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const plain = kernel.acquire(PRIORITY, { name: 'plain' });
    const ran: string[] = [];
    fill(ran, plain, 2);
    a.release();
    kernel.acquire(PRIORITY, { name: 'c', shares: 1 });
    clock.tick(0);
    fill(ran, plain, 2);
    fill(ran, wq.prilow, 2);
    clock.tick(0);
    expect(ran.join(' ')).to.equal('plain plain plain prilow plain prilow');
    plain.release();
    expect(kernel.inspect().workqueues.map(({ name }) => name)).to.include('c');
  });

  it('divides by the time that functions take, not by their number', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const slow = kernel.acquire(PRIORITY, { name: 'slow', shares: 3 });
    const quick = kernel.acquire(PRIORITY, { name: 'quick', shares: 1 });
    const usedMs = { slow: 0, quick: 0 };
    const work = (wq: Workqueue, name: keyof typeof usedMs, ms: number): void => {
      const func = (_: null, kc: Kcont<null>): void => {
        clock.workMs += ms;
        usedMs[name] += ms;
        if (usedMs.slow + usedMs.quick >= 1000) return;
        kc.ack();
        kc.schedule();
      };
      for (let i = 0; i < 3; i++) new Kcont(wq, null, func, null).schedule();
    };
    work(slow, 'slow', 10);
    work(quick, 'quick', 0.125);
    clock.tick(0);
    // At the end, each of the three of both has run once more.
    expect(usedMs.slow / 3 / usedMs.quick).to.be.closeTo(1, 0.05);
  });

  it('divides the time of the host, within the longest function and 5 %', async () => {
    const kernel = new Kernel();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 3 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const usedMs: [number, number] = [0, 0];
    let longestMs = 0;
    let isOver = false;
    const work = (wq: Workqueue, at: 0 | 1, ms: number): void => {
      const func = (_: null, kc: Kcont<null>): void => {
        const beganMs = performance.now();
        burn(ms);
        const tookMs = performance.now() - beganMs;
        if (isOver) return;
        longestMs = Math.max(longestMs, tookMs);
        usedMs[at] += tookMs;
        isOver = usedMs[0] + usedMs[1] >= 500;
        kc.ack();
        kc.schedule();
      };
      for (let i = 0; i < 3; i++) new Kcont(wq, null, func, null).schedule();
    };
    work(a, 0, 0.4);
    work(b, 1, 0.02);
    await kernel.drain();
    expect(Math.abs(usedMs[0] / 3 - usedMs[1])).to.be.at.most(longestMs + 0.05 * 500);
    await kernel.close();
  });

  it('counts the parts of asynchronous functions until the first await and after each yield', async () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const work = (wq: Workqueue, ms: number, parts: number): Promise<void> =>
      wq.run(async () => {
        for (let i = 0; i < parts; i++) {
          ran.push(wq.name);
          clock.workMs += ms;
          await wq.yield();
        }
      });
    const done = Promise.all([work(a, 4, 3), work(b, 1, 12)]);
    for (let i = 0; i < 40; i++) await clock.advance(0);
    await done;
    expect(ran.join('')).to.equal('abbbbabbbbabbbb');
  });

  it('is not noticed by functions of other priorities that run in between', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const high = new Kcont(kernel.wq.softnet, null, () => void (clock.workMs += 100), null);
    for (let i = 0; i < 3; i++) {
      new Kcont(
        a,
        null,
        () => {
          ran.push('a');
          clock.workMs += 1;
          high.schedule();
        },
        null,
      ).schedule();
      new Kcont(
        b,
        null,
        () => {
          ran.push('b');
          clock.workMs += 1;
        },
        null,
      ).schedule();
    }
    clock.tick(0);
    expect(ran.join('')).to.equal('ababab');
  });

  it('charges functions that throw, with and without a handler', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const caught: unknown[] = [];
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, {
      name: 'b',
      shares: 1,
      onError: (error) => void caught.push(error),
    });
    const ran: string[] = [];
    const fail = (wq: Workqueue, ms: number, count: number): void => {
      for (let i = 0; i < count; i++) {
        new Kcont(
          wq,
          null,
          () => {
            ran.push(wq.name);
            clock.workMs += ms;
            throw new Error('as planned');
          },
          null,
        ).schedule();
      }
    };
    fail(a, 3, 2);
    fail(b, 1, 6);
    let thrown = 0;
    for (let i = 0; i < 3; i++) {
      try {
        clock.tick(0);
      } catch {
        thrown++;
      }
    }
    expect([ran.join(''), thrown, caught.length]).to.deep.equal(['abbbabbb', 2, 6]);
  });

  it('counts setting aside, so that many that wait for a lock do not hold up the others', () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1, maxActive: 1 });
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    const ran: string[] = [];
    const waiting = Array.from({ length: 100 }, () => {
      const kc = new Kcont(a, lock, () => void ran.push('locked'), null);
      kc.schedule();
      return kc;
    });
    fill(ran, b, 3);
    new Kcont(b, null, () => lock.exit(), null).schedule();
    new Kcont(a, null, () => void ran.push('a'), null).schedule();
    fill(ran, b, 1);
    clock.tick(0);
    // Eight of those set aside count as one function.
    expect(ran.slice(0, 6).join(' ')).to.equal('b b b locked b locked');
    expect(ran.filter((name) => name === 'locked')).to.have.length(100);
    expect(waiting.some(({ busy }) => busy)).to.equal(false);
  });

  it('leaves maxActive and locks to what they are', async () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1, maxActive: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const gates = [deferred(), deferred(), deferred()];
    const runs = gates.map((gate, i) =>
      a.run(async () => {
        ran.push(`a${i}`);
        await gate.promise;
      }),
    );
    fill(ran, b, 2);
    await clock.advance(0);
    expect(ran).to.deep.equal(['a0', 'b', 'b']);
    fill(ran, b, 1);
    gates[0]?.resolve();
    await clock.advance(0);
    gates[1]?.resolve();
    await clock.advance(0);
    gates[2]?.resolve();
    await clock.advance(0);
    await Promise.all(runs);
    expect(ran).to.deep.equal(['a0', 'b', 'b', 'b', 'a1', 'a2']);
  });

  it('withdraws what is stopped, also all of a workqueue', () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const all = fill(ran, a, 3);
    fill(ran, b, 2);
    for (const kc of all) expect(kc.stop()).to.equal(false);
    expect(kernel.inspect().queued).to.equal(2);
    clock.tick(0);
    expect(ran).to.deep.equal(['b', 'b']);
    fill(ran, a, 1);
    clock.tick(0);
    expect(ran).to.deep.equal(['b', 'b', 'a']);
  });

  it('starves neither lower priorities nor I/O, and keeps its turns when it is starved itself', async () => {
    const kernel = new Kernel({ budgetMs: 0.001 });
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 2, patienceMs: 0 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1, patienceMs: 0 });
    const c = kernel.acquire(PRIORITY, { name: 'c', shares: 1, patienceMs: Infinity });
    const ran: string[] = [];
    let left = 50_000;
    const flood = new Kcont(
      kernel.wq.softnet,
      null,
      (_: null, kc) => {
        if (ran.length === 9 || --left === 0) return;
        kc.ack();
        kc.schedule();
      },
      null,
    );
    const work = (name: string): (() => void) => {
      return () => {
        ran.push(name);
        burn(0.1);
      };
    };
    for (let i = 0; i < 6; i++) new Kcont(a, null, work('a'), null).schedule();
    for (let i = 0; i < 3; i++) new Kcont(b, null, work('b'), null).schedule();
    new Kcont(c, null, work('c'), null).schedule();
    flood.schedule();
    await kernel.drain();
    expect(left).to.be.greaterThan(0);
    expect(ran.slice(0, 9).filter((name) => name === 'a')).to.have.length(6);
    expect(ran[9]).to.equal('c');
    await kernel.close();
  });

  it('lets what a lock has promoted go first', async () => {
    const kernel = new Kernel({ budgetMs: 0.001 });
    const high = kernel.acquire(PRIORITY, { name: 'high', shares: 1 });
    const low = kernel.acquire(90, { patienceMs: 0 });
    const lock = new Mutex();
    let had = false;
    let left = 20_000;
    new Kcont(low, lock, () => void (had = true), null).schedule();
    for (let i = 0; i < 3; i++) {
      new Kcont(
        high,
        lock,
        async (_: null, kc: Kcont<null>) => {
          await Promise.resolve();
          if (had || --left <= 0) return;
          kc.ack();
          kc.schedule();
        },
        null,
      ).schedule();
    }
    await kernel.drain();
    expect([had, left > 0]).to.deep.equal([true, true]);
    await kernel.close();
  });

  it('leaves what has been promoted before all turns, also if shares are acquired later', () => {
    for (const isLater of [false, true]) {
      const { kernel, clock, wq } = new Lab();
      const acquire = (): Workqueue => kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
      if (!isLater) acquire();
      const ran: string[] = [];
      fill(ran, wq.prilow, 2);
      const [low] = fill(ran, kernel.acquire(90), 1, 'promoted') as [Kcont<null>];
      // As a lock does whose waiter has run out of patience.
      unlink(low);
      wq.prilow._dispatcher.resume(low, PRIORITY);
      if (isLater) acquire();
      expect(list(kernel).map(({ workqueue }) => workqueue)).to.deep.equal([
        'pri90',
        'prilow',
        'prilow',
      ]);
      clock.tick(0);
      expect(ran).to.deep.equal(['promoted', 'prilow', 'prilow']);
    }
  });

  it('serves what has been promoted when it is starved, or else the lane that is', () => {
    for (const [patienceMs, served] of [
      [0, 'promoted'],
      [Infinity, 'a'],
    ] as const) {
      const clock = new WorkClock();
      const kernel = new Kernel({ clock });
      const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1, patienceMs: 0 });
      const dispatcher = a._dispatcher;
      const ran: string[] = [];
      fill(ran, kernel.wq.softnet, 1);
      fill(ran, a, 1);
      const [low] = fill(ran, kernel.acquire(90, { patienceMs }), 1, 'promoted') as [Kcont<null>];
      unlink(low);
      dispatcher.resume(low, PRIORITY);
      clock.workMs += 5;
      dispatcher.backlogTick = 0;
      serveStarved(dispatcher, new Budget(clock, 2));
      expect(ran).to.deep.equal([served]);
      clock.tick(0);
      expect(ran).to.have.length(3);
    }
  });

  it('serves nothing if only what has been promoted is runnable, and has not starved', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const { _dispatcher: dispatcher } = kernel.acquire(PRIORITY, { shares: 1, patienceMs: 0 });
    const ran: string[] = [];
    fill(ran, kernel.wq.softnet, 1);
    const [low] = fill(ran, kernel.acquire(90, { patienceMs: Infinity }), 1) as [Kcont<null>];
    unlink(low);
    dispatcher.resume(low, PRIORITY);
    clock.workMs += 5;
    dispatcher.backlogTick = 0;
    serveStarved(dispatcher, new Budget(clock, 2));
    expect(ran).to.deep.equal([]);
    clock.tick(0);
    expect(ran).to.have.length(2);
  });

  it('looks at the lane whose turn it is, and at the others only if that has not starved', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const ran: string[] = [];
    fill(ran, kernel.wq.softnet, 1);
    const wqs = ['a', 'b', 'c', 'd'].map((name) =>
      kernel.acquire(PRIORITY, { name, shares: 1, patienceMs: name === 'c' ? Infinity : 0 }),
    );
    for (const wq of wqs) fill(ran, wq, 1);
    const { _dispatcher: dispatcher, _level: level } = wqs[0] as Workqueue;
    const { lanes } = level.root.group as ShareGroup<Kcont<unknown>>;
    let searches = 0;
    const { firstOf } = lanes;
    lanes.firstOf = (test) => {
      searches++;
      return firstOf.call(lanes, test);
    };
    const served: unknown[] = [];
    clock.workMs += 5;
    dispatcher.backlogTick = 0;
    for (let i = 0; i < 4; i++) {
      serveStarved(dispatcher, new Budget(clock, 2));
      served.push([ran.at(-1), searches]);
    }
    expect(served).to.deep.equal([
      ['a', 0],
      ['b', 0],
      ['d', 1],
      ['d', 2],
    ]);
    clock.tick(0);
    expect(ran).to.deep.equal(['a', 'b', 'd', 'softnet', 'c']);
  });

  it('serves no lane of a lower priority that has not starved', () => {
    const clock = new WorkClock();
    const kernel = new Kernel({ clock });
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1, patienceMs: 50 });
    const ran: string[] = [];
    fill(ran, kernel.wq.softnet, 1);
    fill(ran, a, 2);
    a._dispatcher.backlogTick = 0;
    clock.workMs += 5;
    serveStarved(a._dispatcher, new Budget(clock, 2));
    expect(ran).to.deep.equal([]);
    clock.workMs += 50;
    serveStarved(a._dispatcher, new Budget(clock, 2));
    expect(ran).to.deep.equal(['a']);
    clock.tick(0);
    expect(ran).to.deep.equal(['a', 'softnet', 'a']);
  });

  it('is served in the grace of close, and lists what is queued', async () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 1 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 2 });
    const ran: string[] = [];
    fill(ran, a, 2);
    fill(ran, b, 3);
    expect(list(kernel).map(({ workqueue }) => workqueue)).to.deep.equal(['a', 'a', 'b', 'b', 'b']);
    const closing = kernel.close({ graceMs: 10 });
    await clock.advance(20);
    expect(await closing).to.deep.equal({ unfinished: [], withdrawn: [] });
    expect(ran.join('')).to.equal('abbab');
  });

  it('counts the stages of a pipeline as the workqueue that they were given', async () => {
    const { kernel, clock } = new Lab();
    const a = kernel.acquire(PRIORITY, { name: 'a', shares: 2 });
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    const ran: string[] = [];
    const line = pipeline<string>('line')
      .stage('one', (name) => void ran.push(name), { wq: a })
      .start({ kernel });
    // The stage uses the shares on, although nobody else has the workqueue any more.
    a.release();
    for (let i = 0; i < 2; i++) void line.run('stage');
    fill(ran, b, 3);
    await clock.advance(0);
    expect(ran.join(' ')).to.equal('stage b stage b b');
    // A pipeline on a workqueue that has been freed has shares of its own.
    const other = pipeline<string>('other')
      .stage('one', (name) => void ran.push(name), { wq: a })
      .start({ kernel });
    ran.length = 0;
    void other.run('other');
    void line.run('stage');
    fill(ran, b, 2);
    await clock.advance(0);
    expect(ran.toSorted().join(' ')).to.equal('b b other stage');
    const closing = Promise.all([line.close(), other.close()]);
    await clock.advance(10);
    await closing;
  });

  it('gives stages of a plain workqueue the turns of that one, when shares are acquired later', async () => {
    const { kernel, clock, wq } = new Lab();
    const ran: string[] = [];
    const gone = kernel.acquire(PRIORITY, { name: 'gone' });
    const start = (name: string, on: Workqueue) =>
      pipeline<string>(name)
        .stage('one', (value) => void ran.push(value), { wq: on })
        .start({ kernel });
    const lines = [start('line', wq.prilow), start('orphan', gone)];
    gone.release();
    const b = kernel.acquire(PRIORITY, { name: 'b', shares: 1 });
    fill(ran, wq.prilow, 1, 'low');
    void lines[0]?.run('line');
    void lines[1]?.run('orphan');
    fill(ran, b, 2);
    await clock.advance(0);
    expect(ran.join(' ')).to.equal('low orphan b line b');
    const closing = Promise.all(lines.map((line) => line.close()));
    await clock.advance(10);
    await closing;
  });

  // The dullest model: an array for each workqueue; the one with the lowest pass is searched each time.
  it('agrees with arrays and a search, in random programs', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ what: fc.constant('job'), at: fc.nat({ max: 3 }) }) },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('stop'), at: fc.nat({ max: 30 }) }) },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('run'), at: fc.nat({ max: 0 }) }) },
    );
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(1, 2, 4), { minLength: 4, maxLength: 4 }),
        fc.array(step, { maxLength: 60 }),
        (shares, steps) => {
          const { kernel, clock } = new Lab();
          const queues = shares.map((n, at) =>
            kernel.acquire(PRIORITY, { name: `q${at}`, shares: n }),
          );
          const ran: string[] = [];
          const expected: string[] = [];
          const made: { kc: Kcont<null>; at: number; name: string }[] = [];
          const model = shares.map((n) => ({ n, pass: 0, turn: 0, waits: false, jobs: [''] }));
          for (const one of model) one.jobs.pop();
          let now = 0;
          let turns = 0;
          const play = (): void => {
            for (;;) {
              const waiting = model.filter(({ waits }) => waits);
              const [next] = waiting.toSorted((a, b) => a.pass - b.pass || a.turn - b.turn);
              if (next === undefined) break;
              const job = next.jobs.shift();
              if (job === undefined) {
                next.waits = false;
                if (waiting.length === 1) now = Math.max(...model.map(({ pass }) => pass));
                continue;
              }
              expected.push(job);
              now = next.pass;
              next.pass += 2 ** -11 / next.n;
              next.turn = turns++;
            }
          };
          for (const { what, at } of [...steps, { what: 'run', at: 0 }]) {
            if (what === 'job') {
              const name = `${at}.${made.length}`;
              const kc = new Kcont(queues[at] as Workqueue, null, () => void ran.push(name), null);
              made.push({ kc, at, name });
              kc.schedule();
              const one = model[at]!;
              one.jobs.push(name);
              if (one.waits) continue;
              one.waits = true;
              one.pass = Math.max(one.pass, now);
              one.turn = turns++;
            } else if (what === 'stop') {
              const one = made[at];
              if (one === undefined) continue;
              one.kc.stop();
              const { jobs } = model[one.at]!;
              const index = jobs.indexOf(one.name);
              if (index !== -1) jobs.splice(index, 1);
            } else {
              clock.tick(0);
              play();
              expect(ran).to.deep.equal(expected);
            }
          }
          expect(kernel.inspect().queued).to.equal(0);
        },
      ),
      { numRuns: 300 * soak },
    );
  });

  it('keeps those that have something to run within one function of each other, whatever each takes', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            shares: fc.integer({ min: 1, max: 1000 }),
            ms: fc.array(fc.constantFrom(0.01, 0.1, 1, 10, 25), { minLength: 1, maxLength: 4 }),
          }),
          { minLength: 2, maxLength: 6 },
        ),
        (sides) => {
          const clock = new WorkClock();
          const kernel = new Kernel({ clock });
          const used = sides.map(() => 0);
          const longest = sides.map(({ ms, shares }) => Math.max(...ms) / shares);
          let left = 500;
          const check = (): void => {
            for (const [i, a] of used.entries()) {
              for (const [j, b] of used.entries()) {
                if (a - b <= longest[i]! + longest[j]! + 1e-6) continue;
                throw new Error(`${i} has got ${a} and ${j} has got ${b}`);
              }
            }
          };
          for (const [at, { shares, ms }] of sides.entries()) {
            const wq = kernel.acquire(PRIORITY, { name: `q${at}`, shares });
            let turn = 0;
            const func = (_: null, kc: Kcont<null>): void => {
              if (left === 0) return;
              const tookMs = ms[turn++ % ms.length] as number;
              clock.workMs += tookMs;
              used[at]! += tookMs / shares;
              check();
              left--;
              kc.ack();
              kc.schedule();
            };
            for (let i = 0; i < 2; i++) new Kcont(wq, null, func, null).schedule();
          }
          clock.tick(0);
          expect(left).to.equal(0);
        },
      ),
      { numRuns: 50 * soak },
    );
  });
});
