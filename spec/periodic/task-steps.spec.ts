// What a task does when its clock is set while it waits or runs, when it is stopped and started, and when it is
// run out of turn.
import { expect } from 'chai';
import {
  VirtualWallClock,
  WallClock,
  at,
  cron,
  every,
  type CronOptions,
  type PeriodicTask,
  type TaskOptions,
} from '../../lib/periodic/index.ts';
import { FixedRate } from '../../lib/periodic/timetable.ts';
import { Lab, codeOf, deferred, settled, type Deferred } from '../support/lab.ts';

const HOUR_MS = 3_600_000;
const START = Date.UTC(2025, 0, 1);

describe('steps of a periodic task', () => {
  let lab: Lab;
  let wall: VirtualWallClock;
  let own: TaskOptions;
  let options: CronOptions;
  let note: (task: PeriodicTask) => void;
  beforeEach(() => {
    lab = new Lab();
    wall = new VirtualWallClock(lab.kernel, START);
    own = { wq: lab.wq.prihigh, wallClock: wall };
    options = { ...own, timeZone: 'UTC' };
    note = ({ dueMs }) =>
      void lab.ran.push(
        dueMs < START / 2 ? `${dueMs}` : new Date(dueMs).toISOString().slice(2, 16),
      );
  });

  /** A function whose first run lasts until it is told to end, and the following ones no time. */
  function held(): {
    readonly first: Deferred<void>;
    readonly func: (task: PeriodicTask) => unknown;
  } {
    const first = deferred();
    let isFirst = true;
    return {
      first,
      func: (task) => {
        note(task);
        const result = isFirst ? first.promise : undefined;
        isFirst = false;
        return result;
      },
    };
  }

  describe('goes on', () => {
    it('if it is early by less than the clocks can tell apart', () => {
      lab.clock.tick(1_000_000_000.1);
      const baseMs = lab.clock.now;
      let reads = 0;
      const wallClock = new WallClock(lab.kernel, () => {
        if (++reads > 2000) throw new Error('it does not go on');
        return lab.clock.now - baseMs;
      });
      const task = every(0.3, () => undefined, { align: true, wq: lab.wq.prihigh, wallClock });
      lab.clock.tick(18);
      expect([lab.reported, task.state]).to.deep.equal([[], 'waiting']);
      expect(task.runs + task.skipped).to.be.within(58, 60);
      expect(task.runs).to.be.within(50, 60);
    });

    it('with a period that is less than the clock can tell apart', () => {
      lab.clock.tick(1000.1);
      const tasks = [
        every(1e-14, (task) => void (task.runs > 200 && task.stop()), own),
        every(Number.MIN_VALUE, (task) => void (task.runs > 200 && task.stop()), own),
        every(1e-14, (task) => void (task.runs > 200 && task.stop()), { ...own, fixed: 'delay' }),
        every(1e-9, (task) => void (task.runs > 200 && task.stop()), { ...own, align: true }),
        every(1e-14, (task) => void (task.runs > 200 && task.stop()), {
          ...own,
          overrun: 'merge',
        }),
      ];
      lab.clock.tick(1);
      for (const task of tasks) {
        expect(task.state).to.equal('waiting');
        expect(task.runs).to.be.within(8, 100);
      }
    });

    it('because a time after another one is never the same', () => {
      for (const [firstMs, periodMs] of [
        [1000, 1e-14],
        [1.7e12, 0.0001],
        [0.1, 0.3],
        [1.7e12, Number.MIN_VALUE],
      ] as const) {
        const times = new FixedRate(firstMs, periodMs);
        let timeMs: number = firstMs;
        for (let i = 0; i < 20; i++) {
          const nextMs = times.after(timeMs);
          expect(nextMs).to.be.above(timeMs).and.below(Infinity);
          timeMs = nextMs;
        }
      }
    });
  });

  describe('chooses its dates anew when the clock is set back by more than three hours', () => {
    it('also if the last date was skipped', async () => {
      const task = cron('0 * * * *', note, options);
      await lab.clock.advance(1.5 * HOUR_MS);
      wall.set(START + 365 * 24 * HOUR_MS + HOUR_MS / 2);
      await lab.clock.advance(60_000);
      wall.set(START + 1.5 * HOUR_MS + 60_000);
      expect(task.nextDate?.toISOString()).to.equal('2025-01-01T02:00:00.000Z');
      await lab.clock.advance(HOUR_MS);
      expect(lab.take()).to.deep.equal(['25-01-01T01:00', '25-01-01T02:00']);
    });

    for (const missed of ['skip', 'once', 'all'] as const) {
      it(`also during a run, with missed: ${missed}`, async () => {
        const { first, func } = held();
        cron('0 * * * *', func, { ...options, missed });
        await lab.clock.advance(6 * HOUR_MS - 1);
        expect(lab.take()).to.deep.equal(['25-01-01T01:00']);
        wall.set(START + HOUR_MS / 2);
        first.resolve();
        await lab.clock.advance(HOUR_MS);
        expect(lab.take()).to.deep.equal(['25-01-01T01:00']);
      });
    }

    it('by the step, not by the time since its last run', async () => {
      cron('0 9 * * *', note, options);
      await lab.clock.advance(20 * HOUR_MS);
      wall.set(START + 8 * HOUR_MS);
      await lab.clock.advance(HOUR_MS);
      expect(lab.take()).to.deep.equal(['25-01-01T09:00', '25-01-01T09:00']);
      wall.set(START + 6 * HOUR_MS);
      await lab.clock.advance(24 * HOUR_MS);
      expect(lab.take()).to.deep.equal([]);
      await lab.clock.advance(3 * HOUR_MS);
      expect(lab.take()).to.deep.equal(['25-01-02T09:00']);
    });

    it('as a clock that is read shows it', async () => {
      let shiftMs = START;
      const wallClock = new WallClock(lab.kernel, () => lab.clock.now + shiftMs);
      const task = cron('0 9 * * *', note, { ...options, wallClock });
      await lab.clock.advance(20 * HOUR_MS);
      shiftMs -= 12 * HOUR_MS;
      await lab.clock.advance(1000);
      expect(task.nextDate?.toISOString()).to.equal('2025-01-01T09:00:00.000Z');
    });

    it('if it is aligned too', async () => {
      const task = every(HOUR_MS, note, { ...own, align: true });
      await lab.clock.advance(HOUR_MS);
      wall.set(START - 23.5 * HOUR_MS);
      expect(task.nextDate?.toISOString()).to.equal('2024-12-31T01:00:00.000Z');
    });

    it('but a date that is running or waits for its turn is run once', async () => {
      const { first, func } = held();
      const task = at(START + HOUR_MS, func, own);
      await lab.clock.advance(HOUR_MS);
      wall.set(START - 5 * HOUR_MS);
      first.resolve();
      await lab.clock.advance(24 * HOUR_MS);
      expect([task.runs, task.state]).to.deep.equal([1, 'ended']);
    });
  });

  describe('is run out of turn', () => {
    it('without losing dates that have passed', async () => {
      for (const [missed, expected, skipped] of [
        ['all', ['25-01-01T01:00', '25-01-01T02:00', '25-01-01T03:00'], 0],
        ['once', ['25-01-01T01:00'], 2],
        ['skip', ['25-01-01T01:00'], 2],
      ] as const) {
        wall.set(START);
        const task = cron('0 * * * *', note, { ...options, missed });
        wall.set(START + 3.5 * HOUR_MS);
        expect([task.runNow(), task.state]).to.deep.equal([true, 'queued']);
        await lab.clock.advance(0);
        expect([lab.take(), task.skipped]).to.deep.equal([expected, skipped]);
        task.stop();
      }
    });

    it('before its time, which it keeps', async () => {
      const { first, func } = held();
      const task = every(100, func, { ...own, overrun: 'queue' });
      await lab.clock.advance(20);
      task.runNow();
      await lab.clock.advance(230);
      first.resolve();
      await lab.clock.advance(50);
      expect(lab.take()).to.deep.equal(['100', '100', '200', '300']);
    });

    it('once, if it has one date', async () => {
      const task = at(START + HOUR_MS, note, own);
      task.runNow();
      await lab.clock.advance(2 * HOUR_MS);
      expect([lab.take().length, task.state]).to.deep.equal([1, 'ended']);
      expect(lab.kernel.inspect().pending).to.equal(0);
    });

    it('even if the clock is set before its turn', async () => {
      const task = cron('0 9 * * *', note, options);
      task.runNow();
      wall.set(START - 24 * HOUR_MS);
      await lab.clock.advance(0);
      expect([task.runs, task.nextDate?.toISOString()]).to.deep.equal([
        1,
        '2024-12-31T09:00:00.000Z',
      ]);
    });

    it('unless it is stopped before', async () => {
      const task = every(100, note, own);
      task.runNow();
      task.stop();
      task.start();
      await lab.clock.advance(99);
      expect(task.runs).to.equal(0);
    });
  });

  describe('does not run times that passed while it was stopped', () => {
    it('during a run', async () => {
      const { first, func } = held();
      const task = every(100, func, { ...own, overrun: 'queue' });
      await lab.clock.advance(150);
      task.stop();
      await lab.clock.advance(270);
      task.start();
      await lab.clock.advance(130);
      first.resolve();
      await lab.clock.advance(50);
      expect(lab.take()).to.deep.equal(['100', '500', '600']);
    });

    it('but keeps the next one if the run was out of turn', async () => {
      const { first, func } = held();
      const task = every(100, func, own);
      task.runNow();
      await lab.clock.advance(20);
      task.stop();
      task.start();
      first.resolve();
      await lab.clock.advance(180);
      expect(lab.take()).to.deep.equal(['100', '100', '200']);
    });

    it('during a run that has settled meanwhile', async () => {
      const { first, func } = held();
      const task = every(100, func, { ...own, overrun: 'queue' });
      await lab.clock.advance(150);
      task.stop();
      first.resolve();
      await lab.clock.advance(270);
      task.start();
      await lab.clock.advance(100);
      expect(lab.take()).to.deep.equal(['100', '520']);
    });

    it('during a run that settles as it is started', async () => {
      const { first, func } = held();
      const task = cron('0 * * * *', func, { ...options, missed: 'all' });
      await lab.clock.advance(HOUR_MS);
      task.stop();
      wall.set(START + 4.5 * HOUR_MS);
      first.resolve();
      task.start();
      await settled();
      await lab.clock.advance(HOUR_MS / 2);
      expect(lab.take()).to.deep.equal(['25-01-01T01:00', '25-01-01T05:00']);
    });

    it('nor a date of its own', async () => {
      const task = at(START + 1000, note, own);
      task.stop();
      await lab.clock.advance(2000);
      expect([task.start(), task.state]).to.deep.equal([false, 'ended']);
      const other = at(START + 3000, note, own);
      other.stop();
      expect(other.start()).to.equal(true);
      await lab.clock.advance(1000);
      expect(lab.ran).to.have.length(1);
      let isAgain = true;
      const again = at(START, (self) => void (self.stop(), (isAgain = self.start())), own);
      await lab.clock.advance(0);
      expect([isAgain, again.runs, again.state, again.start()]).to.deep.equal([
        true,
        1,
        'ended',
        false,
      ]);
    });
  });

  describe('refuses', () => {
    it('times that no Date can hold', () => {
      for (const bad of [Infinity, -Infinity, 8.64e15 + 1, -8.64e15 - 1]) {
        expect(codeOf(() => at(bad, note, own))).to.equal('EINVAL');
        expect(codeOf(() => new VirtualWallClock(lab.kernel, bad))).to.equal('EINVAL');
        expect(codeOf(() => wall.set(bad))).to.equal('EINVAL');
      }
      expect(codeOf(() => new VirtualWallClock(lab.kernel, 1e300))).to.equal('EINVAL');
      expect(codeOf(() => every(9e15, note, own))).to.equal('EINVAL');
      expect(at(8.64e15, note, own).nextDate?.getTime()).to.equal(8.64e15);
      expect(String(every(8.64e15, note, own))).to.equal('PeriodicTask note { waiting, 0 runs }');
    });

    it('a wall clock that returns no time, at the call', () => {
      for (const bad of [NaN, 'x', undefined, Infinity, 1e300, 5n]) {
        const wallClock = new WallClock(lab.kernel, () => bad as never);
        for (const call of [
          () => wallClock.now,
          () => at(START, note, { ...own, wallClock }),
          () => cron('* * * * *', note, { ...own, wallClock }),
          () => every(1000, note, { ...own, wallClock, align: true }),
        ]) {
          expect(codeOf(call)).to.equal('EINVAL');
          expect(call).to.throw('readMs');
        }
      }
      expect(lab.kernel.inspect().pending).to.equal(0);
    });

    it('one that returns none later: its tasks end, and their errors are reported', async () => {
      let isBroken = false;
      const wallClock = new WallClock(lab.kernel, () => (isBroken ? NaN : lab.clock.now));
      const task = at(500, note, { ...own, wallClock });
      const stopped = at(9000, note, { ...own, wallClock });
      stopped.stop();
      isBroken = true;
      await lab.clock.advance(3000);
      expect([lab.reported, task.state, task.runs]).to.deep.equal([['EINVAL'], 'stopped', 0]);
      expect(codeOf(() => stopped.start())).to.equal('EINVAL');
      expect([stopped.state, stopped.start()]).to.deep.equal(['stopped', false]);
      expect(lab.kernel.inspect().pending).to.equal(0);
    });
  });
});
