import { expect } from 'chai';
import fc from 'fast-check';
import { RWLock, type Kcont, type Lock } from '../../lib/index.ts';
import { Semaphore } from '../../lib/sync.ts';
import { Lab, codeOf, deferred, elapse, rejectionOf, settled, soak } from '../support/lab.ts';
import { describeMutex } from '../support/mutex-lock.ts';

describeMutex('A Semaphore of one unit', () => new Semaphore(1));
describeMutex('The only weight of a Semaphore that fits', () => {
  const semaphore = new Semaphore(3);
  const side = semaphore.ofWeight(3);
  return Object.assign(side, {
    hold: () => semaphore.hold({ weight: 3 }),
    run: <T>(func: () => T | PromiseLike<T>) => semaphore.run(func, { weight: 3 }),
  });
});

/** Code that enters, and records when it has the units. */
function enter(
  lab: Lab,
  semaphore: Semaphore,
  name: string,
  options: { weight?: number; priority?: number; signal?: AbortSignal } = {},
): void {
  semaphore.enter(options).then(
    () => lab.ran.push(name),
    () => lab.ran.push(`${name} aborted`),
  );
}

describe('Semaphore', () => {
  let lab: Lab;
  beforeEach(() => {
    lab = new Lab();
  });

  it('counts what is free', () => {
    const semaphore = new Semaphore(3);
    expect([semaphore.value, semaphore.capacity, semaphore.held]).to.deep.equal([3, 3, false]);
    expect([semaphore.tryEnter(), semaphore.tryEnter(2)]).to.deep.equal([true, true]);
    expect([semaphore.value, semaphore.held, semaphore.tryEnter()]).to.deep.equal([0, true, false]);
    semaphore.exit(2);
    expect([semaphore.value, semaphore.held]).to.deep.equal([2, true]);
    semaphore.exit();
    expect([semaphore.value, semaphore.held]).to.deep.equal([3, false]);
  });

  it('refuses to give back more than is held, and changes nothing', () => {
    const semaphore = new Semaphore(3);
    semaphore.tryEnter(2);
    expect(codeOf(() => semaphore.exit(3))).to.equal('EPERM');
    expect(() => semaphore.exit(3)).to.throw('exit of 3 units of a Semaphore of which 2 are held');
    expect(codeOf(() => semaphore.ofWeight(3).exit())).to.equal('EPERM');
    expect(semaphore.value).to.equal(1);
    semaphore.exit(2);
    expect(codeOf(() => semaphore.exit())).to.equal('EPERM');
  });

  it('refuses what is no number of units', () => {
    const semaphore = new Semaphore(3);
    for (const weight of [0, -1, 1.5, NaN, Infinity, 2 ** 53, '1' as never, null as never]) {
      const calls = [
        () => semaphore.tryEnter(weight),
        () => semaphore.exit(weight),
        () => semaphore.ofWeight(weight),
      ];
      expect(calls.map(codeOf)).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL']);
    }
    for (const capacity of [-1, 1.5, NaN, Infinity, 2 ** 53, undefined as never]) {
      expect(codeOf(() => new Semaphore(capacity))).to.equal('EINVAL');
      expect(codeOf(() => semaphore.setCapacity(capacity))).to.equal('EINVAL');
    }
    for (const by of [-4, 2 ** 53 - 3, 1.5, NaN]) {
      expect(codeOf(() => semaphore.adjust(by))).to.equal('EINVAL');
    }
    expect([semaphore.value, semaphore.capacity]).to.deep.equal([3, 3]);
  });

  it('has one side for each weight that is wanted', () => {
    const semaphore = new Semaphore(5, { name: 'memory' });
    expect(semaphore.ofWeight(1)).to.equal(semaphore);
    const side = semaphore.ofWeight(2);
    expect(semaphore.ofWeight(2)).to.equal(side);
    expect(semaphore.ofWeight(3)).not.to.equal(side);
    expect(side.tryEnter()).to.equal(true);
    expect([side.held, semaphore.ofWeight(3).held, semaphore.value]).to.deep.equal([
      true,
      false,
      3,
    ]);
    expect(String(side)).to.equal('WeightedSide { held, 0 waiting }');
    expect(semaphore.ofWeight(4).name).to.equal('memory.4');
    expect(new Semaphore(5).ofWeight(4).name).to.equal('');
  });

  describe('order', () => {
    it('is kept among different weights: nobody passes a heavy waiter', async () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter(2);
      enter(lab, semaphore, 'heavy', { weight: 3 });
      enter(lab, semaphore, 'light');
      expect(semaphore.tryEnter()).to.equal(false);
      await settled();
      expect(lab.take()).to.deep.equal([]);
      expect([semaphore.value, semaphore.waiting]).to.deep.equal([1, 2]);
      semaphore.exit(2);
      await settled();
      expect(lab.take()).to.deep.equal(['heavy']);
      semaphore.exit(3);
      await settled();
      expect(lab.take()).to.deep.equal(['light']);
    });

    it('lets a higher priority pass a heavy waiter, and none lower', async () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter(2);
      enter(lab, semaphore, 'heavy', { weight: 3, priority: 100 });
      enter(lab, semaphore, 'higher', { priority: 101 });
      enter(lab, semaphore, 'lower', { priority: 99 });
      await settled();
      expect(lab.take()).to.deep.equal(['higher']);
      semaphore.exit(3);
      await settled();
      expect(lab.take()).to.deep.equal(['heavy']);
    });

    it('lets all in that fit when units come back', async () => {
      const semaphore = new Semaphore(4);
      semaphore.tryEnter(4);
      enter(lab, semaphore, 'a', { weight: 2 });
      enter(lab, semaphore, 'b');
      enter(lab, semaphore, 'c', { weight: 2 });
      enter(lab, semaphore, 'd');
      semaphore.exit(4);
      await settled();
      expect(lab.take()).to.deep.equal(['a', 'b']);
      expect(semaphore.value).to.equal(1);
    });

    it('lets those behind a heavy waiter in when it is aborted', async () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter(1);
      const abort = new AbortController();
      enter(lab, semaphore, 'heavy', { weight: 3, signal: abort.signal });
      enter(lab, semaphore, 'a');
      enter(lab, semaphore, 'b');
      enter(lab, semaphore, 'c');
      abort.abort();
      await settled();
      expect(lab.take()).to.deep.equal(['heavy aborted', 'a', 'b']);
      expect([semaphore.value, semaphore.waiting]).to.deep.equal([0, 1]);
    });

    it('grants nothing to a waiter whose signal was aborted before, and not told yet', async () => {
      const semaphore = new Semaphore(2);
      semaphore.tryEnter(2);
      const abort = new AbortController();
      abort.signal.addEventListener('abort', () => semaphore.exit(2));
      enter(lab, semaphore, 'a', { weight: 2, signal: abort.signal });
      enter(lab, semaphore, 'b', { weight: 2 });
      abort.abort();
      await settled();
      expect(lab.take().toSorted()).to.deep.equal(['a aborted', 'b']);
      expect(semaphore.value).to.equal(0);
    });

    it('ignores an abort after the grant', async () => {
      const semaphore = new Semaphore(2);
      semaphore.tryEnter(2);
      const abort = new AbortController();
      enter(lab, semaphore, 'a', { weight: 2, signal: abort.signal });
      semaphore.exit(2);
      abort.abort();
      await settled();
      expect(lab.take()).to.deep.equal(['a']);
      expect(semaphore.value).to.equal(0);
    });
  });

  describe('capacity', () => {
    it('lets waiters in when it is raised, in their order', async () => {
      const semaphore = new Semaphore(0);
      enter(lab, semaphore, 'a');
      enter(lab, semaphore, 'b', { weight: 3 });
      enter(lab, semaphore, 'c');
      semaphore.setCapacity(2);
      await settled();
      expect(lab.take()).to.deep.equal(['a']);
      expect(semaphore.value).to.equal(1);
      semaphore.adjust(2);
      await settled();
      expect(lab.take()).to.deep.equal(['b']);
      semaphore.adjust(1);
      await settled();
      expect(lab.take()).to.deep.equal(['c']);
      expect([semaphore.value, semaphore.capacity]).to.deep.equal([0, 5]);
    });

    it('leaves a negative value when it is lowered below what is held', async () => {
      const semaphore = new Semaphore(4);
      semaphore.tryEnter(3);
      semaphore.setCapacity(1);
      expect([semaphore.value, semaphore.capacity, semaphore.held]).to.deep.equal([-2, 1, true]);
      enter(lab, semaphore, 'a');
      semaphore.exit(2);
      await settled();
      expect(lab.take()).to.deep.equal([]);
      semaphore.exit();
      await settled();
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('counts signals of a producer, if nobody gives units back', async () => {
      const items = new Semaphore(0);
      enter(lab, items, 'first');
      items.adjust(1);
      items.adjust(1);
      enter(lab, items, 'second');
      enter(lab, items, 'third');
      await settled();
      expect(lab.take()).to.deep.equal(['first', 'second']);
    });
  });

  describe('with continuations', () => {
    it('limits how many run at once, on any workqueues', async () => {
      const semaphore = new Semaphore(2);
      const kcs = (['prilow', 'prihigh', 'primedlow', 'prilow'] as const).map((name, index) =>
        lab.async(`${name} ${index}`, { lock: semaphore, wq: lab.wq[name] }),
      );
      for (const kc of kcs) kc.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['prihigh 1', 'primedlow 2']);
      expect([semaphore.value, semaphore.waiting]).to.deep.equal([0, 2]);
      await lab.end(kcs[1]!);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['prilow 0']);
    });

    it('wakes as many as fit, in one pass', () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter(3);
      const kcs = ['a', 'b', 'c', 'd'].map((name) => lab.async(name, { lock: semaphore }));
      for (const kc of kcs) kc.schedule();
      lab.clock.tick(0);
      semaphore.exit(3);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'b', 'c']);
    });

    it('gives them the weight of their lock, and takes it back', async () => {
      const semaphore = new Semaphore(5);
      const heavy = lab.async('heavy', { lock: semaphore.ofWeight(4) });
      const light = lab.async('light', { lock: semaphore });
      const other = lab.async('other', { lock: semaphore.ofWeight(2) });
      for (const kc of [heavy, light, other]) kc.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['heavy', 'light']);
      expect(semaphore.value).to.equal(0);
      await lab.fail(heavy, new Error('heavy'));
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['other']);
      expect([semaphore.value, lab.reported]).to.deep.equal([2, ['heavy']]);
    });

    it('keeps the order if a heavy one that has been woken does not fit any more', () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter(3);
      const heavy = lab.sync('heavy', { lock: semaphore.ofWeight(3) });
      const light = lab.sync('light', { lock: semaphore });
      heavy.schedule();
      lab.clock.tick(0);
      semaphore.exit(3);
      expect(semaphore.tryEnter()).to.equal(true);
      light.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal([]);
      expect(semaphore.tryEnter()).to.equal(false);
      semaphore.exit();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['heavy', 'light']);
      expect(semaphore.value).to.equal(3);
    });

    it('lets those behind a heavy one in when that is stopped', () => {
      const semaphore = new Semaphore(3);
      semaphore.tryEnter();
      const heavy = lab.sync('heavy', { lock: semaphore.ofWeight(3) });
      const light = lab.sync('light', { lock: semaphore });
      heavy.schedule();
      light.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal([]);
      expect(heavy.stop()).to.equal(false);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['light']);
    });
  });

  describe('run and hold', () => {
    it('give their weight back, whatever happens', async () => {
      const semaphore = new Semaphore(3);
      const values: number[] = [];
      const value = await semaphore.run(
        async () => {
          values.push(semaphore.value);
          return 'done';
        },
        { weight: 3 },
      );
      expect([value, values, semaphore.value]).to.deep.equal(['done', [0], 3]);
      const failed = semaphore.run(
        () => {
          throw new Error('failed');
        },
        { weight: 2 },
      );
      expect([await rejectionOf(failed), semaphore.value]).to.deep.equal(['Error: failed', 3]);
      const held = await semaphore.hold({ weight: 2 });
      expect(semaphore.value).to.equal(1);
      held[Symbol.dispose]();
      held[Symbol.dispose]();
      expect(semaphore.value).to.equal(3);
    });

    it('run refuses what is no function before it takes anything', async () => {
      const semaphore = new Semaphore(1);
      expect(await rejectionOf(semaphore.run(5 as never))).to.equal('EINVAL');
      expect(semaphore.value).to.equal(1);
    });
  });

  it('has the order of an RWLock, if one side takes all units', async () => {
    const steps = fc.array(
      fc.record({
        kind: fc.constantFrom('enter', 'enter', 'code', 'exit', 'tick', 'stop'),
        side: fc.constantFrom(0, 1),
        priority: fc.constantFrom(103, 119, 127),
      }),
      { maxLength: 40 },
    );
    const play = async (read: Lock, write: Lock, program: readonly Step[]): Promise<string[]> => {
      const own = new Lab();
      const held: Lock[] = [];
      const kcs: Kcont<string>[] = [];
      const wqs = { 103: own.wq.prilow, 119: own.wq.primedhigh, 127: own.wq.prihigh };
      for (const [index, { kind, side, priority }] of program.entries()) {
        const lock = side === 0 ? read : write;
        if (kind === 'enter') {
          const wq = wqs[priority as 103];
          const kc = own.sync(`${index}`, { lock, wq });
          kcs.push(kc);
          kc.schedule();
        } else if (kind === 'code') {
          const entered = lock.enter({ priority }).then(() => held.push(lock));
          void entered.then(() => own.ran.push(`code ${index}`));
          await settled();
        } else if (kind === 'exit') held.shift()?.exit();
        else if (kind === 'stop') kcs.shift()?.stop();
        else own.clock.tick(0);
      }
      for (let i = 0; i < 50; i++) {
        await settled();
        own.clock.tick(0);
        held.shift()?.exit();
      }
      expect([read.held, write.held]).to.deep.equal([false, false]);
      return own.take();
    };
    interface Step {
      kind: string;
      side: number;
      priority: number;
    }
    await fc.assert(
      fc.asyncProperty(steps, async (program) => {
        const rw = new RWLock();
        const semaphore = new Semaphore(1000);
        const all = semaphore.ofWeight(1000);
        expect(await play(semaphore, all, program)).to.deep.equal(
          await play(rw.read, rw.write, program),
        );
      }),
      { numRuns: 60 * soak },
    );
  });

  it('never grants more than its capacity, and everything in the end', async () => {
    const calls = fc.array(
      fc.record({
        weight: fc.integer({ min: 1, max: 4 }),
        priority: fc.constantFrom(10, 127, 200),
        gapMs: fc.constantFrom(0, 0, 1, 5),
        holdMs: fc.constantFrom(0, 1, 3, 10),
        abortMs: fc.constantFrom(undefined, undefined, 0, 1, 4),
        change: fc.constantFrom(0, 0, 0, 1, -1, 2),
      }),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(calls, async (program) => {
        const own = new Lab();
        const semaphore = new Semaphore(4);
        let inside = 0;
        let entered = 0;
        let aborted = 0;
        let tooMany = 0;
        for (const { weight, priority, gapMs, holdMs, abortMs, change } of program) {
          await own.clock.advance(gapMs);
          if (semaphore.capacity + change >= 4) semaphore.adjust(change);
          const abort = new AbortController();
          if (abortMs !== undefined) {
            void elapse(own.wq.softclock, abortMs).then(() => abort.abort(new Error('late')));
          }
          const body = async (): Promise<void> => {
            inside += weight;
            entered++;
            if (inside > semaphore.capacity - Math.min(semaphore.value, 0)) tooMany++;
            await elapse(own.wq.softclock, holdMs);
            inside -= weight;
          };
          semaphore
            .run(body, { weight, priority, signal: abort.signal })
            .catch((error: Error) => void (error.message === 'late' && aborted++));
        }
        await own.clock.advance(10_000);
        expect([entered + aborted, inside, tooMany]).to.deep.equal([program.length, 0, 0]);
        expect(semaphore.value).to.equal(semaphore.capacity);
      }),
      { numRuns: 60 * soak },
    );
  });

  it('is given back to the next by a function of the host that settles', async () => {
    const semaphore = new Semaphore(1);
    const first = deferred();
    const order: string[] = [];
    const running = semaphore.run(async () => {
      await first.promise;
      order.push('first');
    });
    const next = semaphore.run(() => order.push('next'));
    first.resolve();
    await Promise.all([running, next]);
    expect(order).to.deep.equal(['first', 'next']);
  });
});

describe('The turnstile', () => {
  it('forgets priorities at which nobody waits', async () => {
    const semaphore = new Semaphore(1);
    semaphore.tryEnter();
    const lab = new Lab();
    for (let priority = 0; priority < 224; priority++) {
      enter(lab, semaphore, `${priority}`, { priority });
      if (priority % 2 === 0) continue;
      // That of the higher priority enters.
      semaphore.exit();
    }
    await settled();
    const rest = Array.from({ length: 112 }, (_, index) => `${index * 2}`);
    expect(lab.take()).to.deep.equal(rest.map((name) => `${Number(name) + 1}`));
    for (const _ of rest) semaphore.exit();
    await settled();
    expect(lab.take()).to.deep.equal(rest.toReversed());
  });
});
