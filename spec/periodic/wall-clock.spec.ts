import { inspect } from 'node:util';
import { Cron } from 'croner';
import { expect } from 'chai';
import { Kernel, VirtualClock } from '../../lib/index.ts';
import {
  VirtualWallClock,
  WallClock,
  at,
  cron,
  every,
  type AtOptions,
  type CronOptions,
  type PeriodicTask,
} from '../../lib/periodic/index.ts';
import { readExpression } from '../../lib/periodic/timetable.ts';
import { Lab, codeOf, deferred } from '../support/lab.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = Date.UTC(2025, 5, 1);

/** The date of a time, to the minute. */
function minute(ms: number): string {
  return new Date(ms).toISOString().slice(5, 16);
}

describe('tasks by the wall clock', () => {
  let lab: Lab;
  let wall: VirtualWallClock;
  let options: CronOptions;
  let note: (task: PeriodicTask) => void;
  beforeEach(() => {
    lab = new Lab();
    wall = new VirtualWallClock(lab.kernel, START);
    options = { wq: lab.wq.prihigh, wallClock: wall, timeZone: 'UTC' };
    note = ({ dueMs }) => void lab.ran.push(minute(dueMs));
  });

  describe('at', () => {
    let own: AtOptions;
    beforeEach(() => {
      own = { wq: lab.wq.prihigh, wallClock: wall };
    });

    it('runs at its date, and ends', async () => {
      const task = at(new Date(START + HOUR_MS), note, own);
      await lab.clock.advance(HOUR_MS - 1);
      expect([lab.take(), task.state]).to.deep.equal([[], 'waiting']);
      await lab.clock.advance(1);
      expect([lab.take(), task.state, task.nextDate]).to.deep.equal([
        ['06-01T01:00'],
        'ended',
        null,
      ]);
      expect([task.start(), task.runNow(), lab.kernel.inspect().pending]).to.deep.equal([
        false,
        false,
        0,
      ]);
    });

    it('runs earlier or later when the clock is set, and never before its date', async () => {
      at(START + 2 * HOUR_MS, note, own);
      wall.set(START + HOUR_MS);
      await lab.clock.advance(HOUR_MS - 1);
      wall.set(START);
      await lab.clock.advance(2 * HOUR_MS - 1);
      expect(lab.take()).to.deep.equal([]);
      await lab.clock.advance(1);
      expect(lab.take()).to.deep.equal(['06-01T02:00']);
    });

    it('runs a date that has passed at once, or skips it if it is too late', async () => {
      at(START - HOUR_MS, note, own);
      const late = at(START - 1001, note, { ...own, missed: 'skip' });
      at(START - 1000, note, { ...own, missed: 'skip' });
      await lab.clock.advance(0);
      expect(lab.take()).to.deep.equal(['05-31T23:00', '05-31T23:59']);
      expect([late.state, late.runs, late.skipped]).to.deep.equal(['ended', 0, 1]);
    });

    it('runs months ahead', async () => {
      at(START + 200 * DAY_MS, note, own);
      await lab.clock.advance(200 * DAY_MS);
      expect(lab.take()).to.deep.equal(['12-18T00:00']);
    });

    it('refuses what is not a date', () => {
      const { proxy, revoke } = Proxy.revocable(new Date(), {});
      revoke();
      for (const bad of [new Date(NaN), NaN, 'tomorrow', null, undefined, {}, proxy]) {
        expect(codeOf(() => at(bad as never, note, own))).to.equal('EINVAL');
      }
    });
  });

  describe('cron', () => {
    it('runs at the dates of an expression', async () => {
      const task = cron('30 2 * * *', note, options);
      await lab.clock.advance(2 * DAY_MS);
      expect(lab.take()).to.deep.equal(['06-01T02:30', '06-02T02:30']);
      expect(task.nextDate?.toISOString()).to.equal('2025-06-03T02:30:00.000Z');
      task.stop();
      await lab.clock.advance(DAY_MS);
      expect(lab.take()).to.deep.equal([]);
      task.start();
      await lab.clock.advance(DAY_MS);
      expect(lab.take()).to.deep.equal(['06-04T02:30']);
    });

    it('takes any object that has dates', async () => {
      const { wq, wallClock } = options as Required<CronOptions>;
      const cronOfTheirs = new Cron('0 12 * * *', { paused: true, timezone: 'UTC' });
      const dates = [START + 5000, START + 7000].map((ms) => new Date(ms));
      const ended = cron({ nextRun: () => dates.shift() ?? null }, note, { wq, wallClock });
      cron(cronOfTheirs, note, { wq, wallClock });
      await lab.clock.advance(DAY_MS);
      expect(lab.take()).to.deep.equal(['06-01T00:00', '06-01T00:00', '06-01T12:00']);
      expect(ended.state).to.equal('ended');
      expect(cron({ nextRun: () => null }, note, { wq, wallClock }).state).to.equal('ended');
    });

    it('does not keep its workqueue if it has no date', () => {
      const wq = lab.kernel.acquire(110, { name: 'own' });
      const { wallClock } = options as Required<CronOptions>;
      const task = cron({ nextRun: () => null }, note, { wq, wallClock });
      wq.release();
      const names = lab.kernel.inspect().workqueues.map(({ name }) => name);
      expect([task.state, task.start(), names.includes('own')]).to.deep.equal([
        'ended',
        false,
        false,
      ]);
    });

    it('has the dates of its expression, whichever task asked before it', () => {
      const begin = Date.UTC(2025, 9, 25);
      const dates = (hours: number): string => {
        wall.set(begin + hours * HOUR_MS);
        const own = { ...options, timeZone: 'Europe/Berlin' };
        const task = cron('30 2 * * *', note, own);
        task.stop();
        return minute(task.dueMs);
      };
      // At 01:00 UTC on 26 October clocks are set back: 02:30 is at 00:30 UTC and not again at 01:30.
      expect([0, 1, 24.6, 24.4, 0, 48, 24.4, -24].map(dates)).to.deep.equal([
        '10-25T00:30',
        '10-26T00:30',
        '10-27T01:30',
        '10-26T00:30',
        '10-25T00:30',
        '10-27T01:30',
        '10-26T00:30',
        '10-24T00:30',
      ]);
    });

    it('reads more expressions than it remembers', () => {
      const daily = (i: number): string => `${i % 60} ${Math.floor(i / 60)} * * *`;
      for (const i of [...Array(600).keys(), 0]) {
        const task = cron(daily(i), note, options);
        expect(task.dueMs - START).to.equal((i === 0 ? 24 * 60 : i) * 60_000);
        task.stop();
      }
    });

    it('refuses bad expressions, time zones and dates', () => {
      for (const bad of ['61 * * * *', 'never', '', 5, null, {}]) {
        expect(codeOf(() => cron(bad as string, note, options))).to.equal('EINVAL');
      }
      expect(codeOf(() => cron('* * * * *', note, { ...options, timeZone: 'Nowhere' }))).to.equal(
        'EINVAL',
      );
      const object = { nextRun: () => null };
      expect(codeOf(() => cron(object, note, options))).to.equal('EINVAL');
      const { wq, wallClock } = options as Required<CronOptions>;
      for (const bad of ['text', new Date(0), undefined, {}]) {
        const nextRun = (): never => bad as never;
        expect(codeOf(() => cron({ nextRun }, note, { wq, wallClock }))).to.equal('EINVAL');
      }
    });

    it('says that croner has to be installed', () => {
      const load = (): never => {
        throw new Error('Cannot find module');
      };
      expect(codeOf(() => readExpression('* * * * *', undefined, load))).to.equal('ENOTSUP');
    });

    it('reports dates that are refused later, and leaves other tasks alone', async () => {
      const { wq, wallClock } = options as Required<CronOptions>;
      const dates = [new Date(START + 1000), new Date(START + 1000)];
      const bad = cron({ nextRun: () => dates.shift() as Date }, note, { wq, wallClock });
      cron('* * * * *', note, options);
      await lab.clock.advance(61_000);
      expect(lab.take()).to.deep.equal(['06-01T00:00', '06-01T00:01']);
      expect([lab.reported, bad.state]).to.deep.equal([['EINVAL'], 'stopped']);
      wall.set(START - DAY_MS);
      expect(lab.reported).to.have.length(1);
    });

    for (const [missed, expected, skipped] of [
      ['skip', ['06-01T05:00'], 4],
      ['once', ['06-01T01:00', '06-01T05:00'], 3],
      ['all', ['06-01T01:00', '06-01T02:00', '06-01T03:00', '06-01T04:00', '06-01T05:00'], 0],
    ] as const) {
      it(`runs dates that passed during a suspend as told: ${missed}`, async () => {
        const task = cron('0 * * * *', note, { ...options, missed });
        wall.set(START + 4 * HOUR_MS + HOUR_MS / 2);
        await lab.clock.advance(HOUR_MS / 2);
        expect(lab.take()).to.deep.equal(expected);
        expect(task.skipped).to.equal(skipped);
      });
    }

    it('runs the latest date that passed if that is not too late', async () => {
      const task = cron('0 * * * *', note, { ...options, graceMs: 60_000 });
      wall.set(START + 3 * HOUR_MS + 60_000);
      await lab.clock.advance(0);
      expect([lab.take(), task.skipped]).to.deep.equal([['06-01T03:00'], 2]);
    });

    it('treats dates that pass during a run in the same way', async () => {
      for (const [missed, expected] of [
        ['skip', ['00:01', '00:05']],
        ['once', ['00:01', '00:02', '00:05']],
        ['all', ['00:01', '00:02', '00:03', '00:04', '00:05']],
      ] as const) {
        const own = new Lab();
        const runs = [deferred(), ...Array.from({ length: 9 }, () => undefined)];
        cron(
          '* * * * *',
          ({ dueMs }) => {
            own.ran.push(minute(dueMs).slice(-5));
            return runs.shift()?.promise;
          },
          { wq: own.wq.prihigh, timeZone: 'UTC', missed },
        );
        const [first] = runs;
        await own.clock.advance(4 * 60_000 + 30_000);
        first?.resolve();
        await own.clock.advance(30_000);
        expect(own.take()).to.deep.equal(expected);
      }
    });

    it('counts what it skips up to a thousand at once', async () => {
      const task = cron('* * * * *', note, options);
      wall.set(START + 10 * DAY_MS + 30_000);
      await lab.clock.advance(0);
      expect([lab.take(), task.skipped]).to.deep.equal([[], 1001]);
    });

    it('does not run a date again when the clock is set back a little', async () => {
      cron('*/30 * * * *', note, options);
      await lab.clock.advance(HOUR_MS);
      wall.set(START + HOUR_MS / 4);
      await lab.clock.advance(HOUR_MS + HOUR_MS / 4);
      expect(lab.take()).to.deep.equal(['06-01T00:30', '06-01T01:00', '06-01T01:30']);
    });

    for (const isRunning of [false, true]) {
      const when = isRunning ? 'during a run' : 'between two runs';
      it(`does not run a date again when it was stopped while the clock was set back, ${when}`, async () => {
        const run = deferred();
        const work = (task: PeriodicTask): unknown => {
          note(task);
          return isRunning && task.runs === 2 ? run.promise : undefined;
        };
        const tasks = [
          cron('*/30 * * * *', work, options),
          every(HOUR_MS / 2, work, { wq: lab.wq.prihigh, wallClock: wall, align: true }),
        ];
        await lab.clock.advance(HOUR_MS);
        for (const task of tasks) task.stop();
        wall.set(START + HOUR_MS / 4);
        for (const task of tasks) task.start();
        run.resolve();
        await lab.clock.advance(HOUR_MS + HOUR_MS / 4);
        const times = ['06-01T00:30', '06-01T01:00', '06-01T01:30'];
        expect(lab.take()).to.deep.equal(times.flatMap((time) => [time, time]));
        for (const task of tasks) task.stop();
        wall.set(START - 10 * HOUR_MS);
        for (const task of tasks) task.start();
        await lab.clock.advance(HOUR_MS / 2);
        expect(lab.take()).to.deep.equal(['05-31T14:30', '05-31T14:30']);
      });
    }

    it('begins again when the clock was wrong by hours', async () => {
      wall.set(Date.UTC(2038, 0, 1, 12, 20));
      const tasks = [cron('0 * * * *', note, options)];
      await lab.clock.advance(HOUR_MS);
      tasks.push(cron('30 * * * *', note, options));
      expect(lab.take()).to.deep.equal(['01-01T13:00']);
      wall.set(START);
      await lab.clock.advance(HOUR_MS);
      expect(lab.take()).to.deep.equal(['06-01T00:30', '06-01T01:00']);
    });

    it('files a date again if the wall clock is slower than the monotonic one', async () => {
      const slow = new WallClock(lab.kernel, () => START + lab.clock.now * 0.9);
      cron('* * * * *', note, { ...options, wallClock: slow });
      await lab.clock.advance(66_000);
      expect(lab.take()).to.deep.equal([]);
      await lab.clock.advance(2000);
      expect(lab.take()).to.deep.equal(['06-01T00:01']);
    });

    it('reports a function whose wall clock throws when it is set, and files the others', async () => {
      const { wq, wallClock } = options as Required<CronOptions>;
      let isBroken = false;
      const dates = {
        nextRun: (): Date => {
          if (isBroken) throw new Error('broken');
          return new Date(START + 9 * HOUR_MS);
        },
      };
      cron(dates, note, { wq, wallClock });
      at(START - 5 * HOUR_MS, note, { wq, wallClock });
      at(START + HOUR_MS, note, { wq, wallClock });
      await lab.clock.advance(0);
      isBroken = true;
      wall.set(START - 8 * HOUR_MS);
      expect(lab.reported).to.deep.equal(['broken']);
      wall.set(START + HOUR_MS);
      await lab.clock.advance(0);
      expect(lab.take()).to.deep.equal(['05-31T19:00', '06-01T01:00']);
    });
  });

  describe('a wall clock that is read', () => {
    it('is noticed within a second if it is set, and all its tasks are filed anew', async () => {
      let shiftMs = START;
      const read = new WallClock(lab.kernel, () => lab.clock.now + shiftMs);
      const tasks = [
        at(START + DAY_MS, note, { wq: lab.wq.prihigh, wallClock: read }),
        every(HOUR_MS, note, { wq: lab.wq.prihigh, wallClock: read, align: true }),
      ];
      await lab.clock.advance(60_000);
      shiftMs += DAY_MS - HOUR_MS / 2;
      await lab.clock.advance(1000);
      expect(tasks.map(({ nextDate }) => nextDate?.toISOString().slice(5, 16))).to.deep.equal([
        '06-02T00:00',
        '06-02T00:00',
      ]);
      await lab.clock.advance(HOUR_MS / 2);
      expect(lab.take()).to.deep.equal(['06-01T01:00', '06-02T00:00', '06-02T00:00']);
      for (const task of tasks) task.stop();
      expect(lab.kernel.inspect().pending).to.equal(0);
    });

    it('may differ by a few ms', async () => {
      let shiftMs = 0;
      let reads = 0;
      const read = new WallClock(lab.kernel, () => {
        reads++;
        return lab.clock.now + shiftMs;
      });
      at(DAY_MS, note, { wq: lab.wq.prihigh, wallClock: read });
      shiftMs = 10;
      reads = 0;
      await lab.clock.advance(1000);
      expect(reads).to.equal(1);
    });
  });
});

describe('WallClock', () => {
  it('refuses bad arguments', () => {
    const { kernel } = new Lab();
    expect(codeOf(() => new WallClock({} as Kernel))).to.equal('EINVAL');
    expect(codeOf(() => new WallClock(kernel, 5 as never))).to.equal('EINVAL');
    expect(codeOf(() => new VirtualWallClock(kernel, NaN))).to.equal('EINVAL');
    expect(codeOf(() => new VirtualWallClock(kernel).set('5' as never))).to.equal('EINVAL');
  });

  it('shows its time', () => {
    const clock = new VirtualWallClock(new Lab().kernel, START);
    expect(inspect(clock)).to.equal('VirtualWallClock { 2025-06-01T00:00:00.000Z }');
    expect(String(clock)).to.equal(inspect(clock));
    expect(JSON.stringify(clock)).to.equal(`{"now":${START}}`);
  });
});

/** Where clocks change in ways that differ: by half an hour, in the south, at midnight, with one zone on both sides. */
/** Each with the least number of its changes; tables of 2026 have 15 of Casablanca, older ones 20. */
const ZONES = [
  ['Europe/Berlin', 19],
  ['America/New_York', 19],
  ['Australia/Lord_Howe', 19],
  ['America/Santiago', 19],
  ['Africa/Casablanca', 15],
] as const;
const EXPRESSIONS = ['30 2 * * *', '15,45 * * * *', '0 0 * * *', '*/20 0-4 * * *'] as const;

/** The offset of a time zone from UTC, in minutes. */
function offsetReader(timeZone: string): (ms: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  return (ms) => {
    const parts = Object.fromEntries(
      format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]),
    );
    const { year = 0, month = 0, day = 0, hour = 0, minute: minutes = 0 } = parts;
    return (Date.UTC(year, month - 1, day, hour, minutes) - ms) / 60_000;
  };
}

/** The days in ten years on which a zone changes its offset. */
function changesOf(timeZone: string): number[] {
  const offset = offsetReader(timeZone);
  const found: number[] = [];
  let before = NaN;
  for (let ms = Date.UTC(2020, 0, 1); ms < Date.UTC(2030, 0, 1); ms += DAY_MS) {
    const now = offset(ms);
    if (now !== before && !Number.isNaN(before)) found.push(ms - DAY_MS);
    before = now;
  }
  return found;
}

describe("changes of the time zone, beside croner's own answers", function () {
  this.timeout(120_000);
  for (const [timeZone, least] of ZONES) {
    it(`are right over ten years in ${timeZone}`, () => {
      const changes = changesOf(timeZone);
      expect(changes.length).to.be.at.least(least);
      for (const changeMs of changes) {
        const fromMs = changeMs - 12 * HOUR_MS - 1;
        const toMs = changeMs + 48 * HOUR_MS;
        const clock = new VirtualClock();
        const kernel = new Kernel({ clock });
        const wallClock = new VirtualWallClock(kernel, fromMs);
        const ran = EXPRESSIONS.map((expression) => {
          const times: number[] = [];
          cron(
            expression,
            ({ dueMs }) => {
              expect(wallClock.now).to.equal(dueMs);
              times.push(dueMs);
            },
            { wq: kernel.wq.prilow, wallClock, timeZone },
          );
          return times;
        });
        clock.tick(toMs - fromMs);
        const expected = EXPRESSIONS.map((expression) => {
          const theirs = new Cron(expression, { paused: true, timezone: timeZone });
          const runs = theirs.nextRuns(130, new Date(fromMs)).map((date) => date.getTime());
          return runs.filter((ms) => ms <= toMs);
        });
        expect(ran).to.deep.equal(expected);
        expect(ran[0]?.length).to.be.within(2, 3);
      }
    });
  }
});
