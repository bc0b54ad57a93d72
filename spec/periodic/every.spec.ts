import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, KcontError, Kernel, Mutex } from '../../lib/index.ts';
import {
  VirtualWallClock,
  WallClock,
  at,
  every,
  type EveryOptions,
  type PeriodicTask,
} from '../../lib/periodic/index.ts';
import { Lab, codeOf, deferred, settled } from '../support/lab.ts';

describe('every', () => {
  let lab: Lab;
  let options: EveryOptions;
  let note: () => void;
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.prihigh };
    note = () => void lab.ran.push(`${lab.clock.now}`);
  });

  /** A function whose runs take some virtual time each. */
  function taking(...durationsMs: number[]): () => Promise<void> {
    return () => {
      note();
      const run = deferred();
      new Kcont(lab.wq.softserial, null, run.resolve, undefined).schedule(durationsMs.shift() ?? 0);
      return run.promise;
    };
  }

  it('runs at a fixed rate, from one period after its start', async () => {
    const task = every(100, note, options);
    await lab.clock.advance(350);
    expect(lab.take()).to.deep.equal(['100', '200', '300']);
    expect([task.runs, task.skipped, task.dueMs, task.state]).to.deep.equal([3, 0, 400, 'waiting']);
  });

  it('does not drift, with fractions of a ms either', async () => {
    every(100 / 3, note, options);
    await lab.clock.advance(100_000);
    expect(lab.ran).to.have.length(3000);
    expect(lab.ran.at(-1)).to.equal('100000');
  });

  it('begins after its initial delay', async () => {
    every(100, note, { ...options, initialDelayMs: 0 });
    every(100, note, { ...options, initialDelayMs: 250 });
    await lab.clock.advance(300);
    expect(lab.take()).to.deep.equal(['0', '100', '200', '250', '300']);
  });

  it('never overlaps, and skips the times that pass during a run', async () => {
    const task = every(100, taking(250, 100), options);
    await lab.clock.advance(700);
    expect(lab.take()).to.deep.equal(['100', '400', '500', '600', '700']);
    expect(task.skipped).to.equal(2);
  });

  it('merges the times that pass during a run into one', async () => {
    const task = every(100, taking(350), { ...options, overrun: 'merge' });
    await lab.clock.advance(650);
    expect(lab.take()).to.deep.equal(['100', '450', '500', '600']);
    expect(task.skipped).to.equal(2);
  });

  it('queues them', async () => {
    const task = every(100, taking(350), { ...options, overrun: 'queue' });
    await lab.clock.advance(650);
    expect(lab.take()).to.deep.equal(['100', '450', '450', '450', '500', '600']);
    expect(task.skipped).to.equal(0);
  });

  it('runs after a fixed delay, which begins when a run has settled', async () => {
    every(100, taking(50, 0, 250), { ...options, fixed: 'delay', initialDelayMs: 10 });
    await lab.clock.advance(800);
    expect(lab.take()).to.deep.equal(['10', '160', '260', '610', '710']);
  });

  it('runs once for times that pass while something else blocks, unless it queues', async () => {
    for (const [overrun, expected] of [
      ['skip', ['350', '400']],
      ['merge', ['350', '400']],
      ['queue', ['350', '350', '350', '400']],
    ] as const) {
      const own = new Lab();
      const lock = new Mutex();
      const task = every(100, () => void own.ran.push(`${own.clock.now}`), {
        wq: own.wq.prihigh,
        lock,
        overrun,
      });
      await lock.enter();
      await own.clock.advance(350);
      expect(task.state).to.equal('queued');
      lock.exit();
      await own.clock.advance(50);
      expect(own.ran).to.deep.equal(expected);
      expect(task.skipped).to.equal(overrun === 'queue' ? 0 : 2);
    }
  });

  it('delays each run by its jitter, and keeps the times', async () => {
    const drawn = [0, 0.5, 0.99, 0.5];
    every(100, note, { ...options, jitterMs: 50, random: () => drawn.shift() ?? 0 });
    await lab.clock.advance(450);
    expect(lab.take()).to.deep.equal(['100', '225', '349.5', '425']);
  });

  it('reports random numbers that are none, and ends', async () => {
    const drawn = [0, 1];
    const task = every(100, note, { ...options, jitterMs: 50, random: () => drawn.shift() ?? 0 });
    await lab.clock.advance(450);
    expect([lab.take(), lab.reported, task.state]).to.deep.equal([['100'], ['EINVAL'], 'stopped']);
    expect(codeOf(() => every(100, note, { ...options, jitterMs: 5, random: () => 1 }))).to.equal(
      'EINVAL',
    );
  });

  it('is aligned to the wall clock', async () => {
    const wallClock = new VirtualWallClock(lab.kernel, Date.UTC(2025, 0, 1, 12, 0, 17));
    const task = every(60_000, note, { ...options, align: true, wallClock });
    expect(task.nextDate?.toISOString()).to.equal('2025-01-01T12:01:00.000Z');
    await lab.clock.advance(120_000);
    expect(lab.take()).to.deep.equal(['43000', '103000']);
  });

  it('goes on after a function has thrown, rejected or returned something hostile', async () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const ends = [
      () => {
        throw new Error('thrown');
      },
      () => Promise.reject(new Error('rejected')),
      () => proxy,
      () => 'fine',
    ];
    every(100, () => (note(), ends.shift()?.()), options);
    await lab.clock.advance(500);
    expect(lab.take()).to.deep.equal(['100', '200', '300', '400', '500']);
    expect(lab.errors).to.have.length(3);
  });

  it('is stopped by a function that never settles, and stops no other task', async () => {
    const stuck = every(100, () => new Promise(() => undefined), options);
    every(100, note, options);
    await lab.clock.advance(300);
    expect(lab.take()).to.deep.equal(['100', '200', '300']);
    expect([stuck.state, stuck.runs]).to.deep.equal(['running', 1]);
  });

  it('refuses bad periods, functions and combinations', () => {
    for (const bad of [0, -1, NaN, Infinity, '5', undefined]) {
      expect(codeOf(() => every(bad as number, note, options))).to.equal('EINVAL');
    }
    expect(codeOf(() => every(5, 'text' as never, options))).to.equal('EINVAL');
    for (const bad of [
      { fixed: 'delay', overrun: 'skip' },
      { fixed: 'delay', align: true },
      { align: true, initialDelayMs: 5 },
      { wallClock: new VirtualWallClock(new Lab().kernel) },
    ] as const) {
      expect(codeOf(() => every(5, note, { ...options, ...bad }))).to.equal('EINVAL');
    }
    expect(() => every(5, note, { ...options, align: false, fixed: 'delay' })).to.not.throw();
  });

  describe('its task', () => {
    it('stops, and says whether a run is in flight', async () => {
      const run = deferred();
      const task = every(100, () => (note(), run.promise), options);
      await lab.clock.advance(100);
      expect([task.state, task.nextDate, task.stop()]).to.deep.equal(['running', null, true]);
      run.resolve();
      await settled();
      expect([task.stop(), task.state]).to.deep.equal([false, 'stopped']);
      await lab.clock.advance(1000);
      expect(lab.take()).to.deep.equal(['100']);
    });

    it('starts again from now', async () => {
      const task = every(100, note, options);
      expect(task.start()).to.equal(false);
      task.stop();
      await lab.clock.advance(230);
      expect(task.start()).to.equal(true);
      await lab.clock.advance(200);
      expect(lab.take()).to.deep.equal(['330', '430']);
    });

    it('starts again during the run in which it was stopped', async () => {
      const task = every(100, taking(250), options);
      await lab.clock.advance(150);
      task.stop();
      expect(task.start()).to.equal(true);
      await lab.clock.advance(350);
      expect(lab.take()).to.deep.equal(['100', '400', '500']);
    });

    it('runs now', async () => {
      const task = every(100, note, options);
      await lab.clock.advance(120);
      expect([task.runNow(), task.runNow(), task.state]).to.deep.equal([true, true, 'queued']);
      await lab.clock.advance(100);
      expect(lab.take()).to.deep.equal(['100', '120', '200']);
      task.stop();
      expect(task.runNow()).to.equal(false);
    });

    it('stops and is started again from its own function', async () => {
      let self: PeriodicTask | undefined = undefined;
      const task = every(
        100,
        (given) => {
          note();
          self = given;
          if (lab.clock.now === 200) given.stop();
        },
        options,
      );
      await lab.clock.advance(1000);
      expect(lab.take()).to.deep.equal(['100', '200']);
      expect(self).to.equal(task);
    });

    it('halts, and is disposed', async () => {
      const task = every(100, taking(50), options);
      await lab.clock.advance(120);
      const halted = task.halt();
      await lab.clock.advance(50);
      expect(await halted).to.equal(true);
      const other = every(100, taking(50), options);
      await lab.clock.advance(120);
      const disposed = other[Symbol.asyncDispose]();
      await lab.clock.advance(50);
      await disposed;
      expect([other.start(), other.state, lab.kernel.inspect().pending]).to.deep.equal([
        false,
        'stopped',
        0,
      ]);
    });

    it('is stopped by a signal, for good', async () => {
      const controller = new AbortController();
      const task = every(100, note, { ...options, align: true, signal: controller.signal });
      await lab.clock.advance(100);
      controller.abort();
      await lab.clock.advance(500);
      expect([lab.take(), task.start(), task.state]).to.deep.equal([['100'], false, 'stopped']);
      const late = every(100, note, { ...options, signal: controller.signal });
      await lab.clock.advance(500);
      expect([lab.take(), late.state]).to.deep.equal([[], 'stopped']);
    });

    it('keeps the process alive unless it is unreferenced', () => {
      const task = every(100, note, { ...options, ref: false });
      expect([task.hasRef(), task.ref().hasRef(), task.unref().hasRef()]).to.deep.equal([
        false,
        true,
        false,
      ]);
    });

    it('shows its state', async () => {
      const task = every(100, note, { ...options, name: 'flush' });
      expect(inspect(task)).to.equal(
        'PeriodicTask flush { waiting, 0 runs, next at 1970-01-01T00:00:00.100Z }',
      );
      task.stop();
      expect(String(task)).to.equal('PeriodicTask flush { stopped, 0 runs }');
      expect(JSON.parse(JSON.stringify(task))).to.include({ name: 'flush', state: 'stopped' });
      expect(inspect(every(5, () => undefined, { ...options, name: '' }))).to.include(
        '(anonymous)',
      );
    });

    it('is withdrawn by name when its kernel closes, and cannot be started then', async () => {
      const run = deferred();
      const task = every(100, () => (note(), run.promise), { ...options, name: 'flush' });
      every(150, note, { ...options, name: 'waits' });
      await lab.clock.advance(120);
      const report = lab.kernel.close();
      run.resolve();
      await lab.clock.advance(10_000);
      expect(await report).to.deep.equal({ withdrawn: ['waits'], unfinished: [] });
      expect([lab.take(), task.state]).to.deep.equal([['100'], 'stopped']);
      task.stop();
      expect(task.start()).to.equal(false);
      expect(() => every(100, note, options)).to.throw(KcontError, 'closed');
    });
  });

  it('agrees with a model that knows only the times, in random programs', async () => {
    const program = fc.record({
      periodMs: fc.integer({ min: 1, max: 50 }),
      overrun: fc.constantFrom('skip', 'merge', 'queue'),
      durations: fc.array(fc.integer({ min: 0, max: 120 }), { maxLength: 12 }),
    });
    await fc.assert(
      fc.asyncProperty(program, async ({ periodMs, overrun, durations }) => {
        const own = new Lab();
        const took = [...durations];
        const begun: number[] = [];
        every(
          periodMs,
          () => {
            begun.push(own.clock.now);
            const run = deferred();
            new Kcont(own.wq.softserial, null, run.resolve, undefined).schedule(took.shift() ?? 0);
            return run.promise;
          },
          { wq: own.wq.prilow, overrun },
        );
        await own.clock.advance(600);
        const expected: number[] = [];
        const left = [...durations];
        let dueMs = periodMs;
        let freeMs = 0;
        for (;;) {
          const beginMs = Math.max(dueMs, freeMs);
          if (beginMs > 600) break;
          expected.push(beginMs);
          freeMs = beginMs + (left.shift() ?? 0);
          dueMs += periodMs;
          if (overrun === 'merge') while (dueMs <= beginMs) dueMs += periodMs;
          if (overrun === 'skip') while (dueMs < freeMs) dueMs += periodMs;
        }
        expect(begun).to.deep.equal(expected);
      }),
      { numRuns: 200 },
    );
  });
});

describe('every, at and a wall clock of the host', () => {
  it('run in real time, and not early', async () => {
    const kernel = new Kernel();
    const wq = kernel.wq.prihigh;
    const begun = kernel.now();
    const times: number[] = [];
    await new Promise<void>((resolve) => {
      const task = every(
        5,
        () => {
          times.push(kernel.now() - begun);
          if (times.length === 4) {
            task.stop();
            resolve();
          }
        },
        { wq, overrun: 'queue' },
      );
    });
    for (const [index, ms] of times.entries()) expect(ms).to.be.at.least(5 * (index + 1));
    const date = Date.now() + 20;
    const called = await new Promise<number>((resolve) => {
      at(date, () => resolve(Date.now()), { wq });
    });
    expect(called).to.be.within(date, date + 5000);
    expect(Math.abs(new WallClock(kernel).now - Date.now())).to.be.below(1000);
    expect(kernel.inspect().pending).to.equal(0);
  });
});
