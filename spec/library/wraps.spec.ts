// Counters in small integers stay right where they reach their limit: ticks of the wheel, of jobs and of
// a backlog, and sequence numbers.
import { expect } from 'chai';
import { toEndOfEra } from '../../lib/base/ordered-list.ts';
import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { HandClock } from '../support/hand-clock.ts';

const DAY_MS = 86_400_000;
const BUDGET_MS = 2;

/** Ages of a kernel, in ms: around the limits of its ticks with one bit fewer or more. */
const ages: Record<string, number> = {
  'at once': 0,
  'after ten days': 10 * DAY_MS,
  'after twenty': 20 * DAY_MS,
  'after thirty': 30 * DAY_MS,
  'after a year': 365 * DAY_MS,
};
for (const [power, name] of [
  [29, '2^29'],
  [30, '2^30'],
  [31, '2^31'],
  [32, '2^32'],
] as const) {
  for (const beforeMs of [4, 2, 1, 0])
    ages[`${beforeMs} ms before ${name}`] = 2 ** power - beforeMs;
}

/** Its work during that time. */
const pasts: Record<string, (kernel: Kernel) => unknown> = {
  nothing: () => undefined,
  'a job': ({ wq }) => wq.prilow.run(() => undefined),
  'a timer of four hundred days': ({ wq }) =>
    new Kcont(wq.softclock, null, () => undefined, null, { ref: false }).schedule(400 * DAY_MS),
};

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** A kernel of some age. */
async function grown(clock: HandClock, past: keyof typeof pasts, ageMs: number): Promise<Kernel> {
  const kernel = new Kernel({ clock, budgetMs: BUDGET_MS });
  await pasts[past]?.(kernel);
  await turn();
  clock.pass(ageMs);
  return kernel;
}

describe('a kernel', function () {
  this.timeout(20_000);

  for (const past of Object.keys(pasts)) {
    for (const [age, ageMs] of Object.entries(ages)) {
      describe(`that had ${past} to do, ${age},`, () => {
        const clock = new HandClock();

        it('enters jobs and timers in the order in which they became runnable', async () => {
          const kernel = await grown(clock, past, ageMs);
          const { prilow, softserial } = kernel.wq;
          const ran: string[] = [];
          const make = (name: string): Kcont<null> =>
            new Kcont(prilow, null, () => void ran.push(name), null);
          const hold = new Kcont(softserial, null, () => clock.pass(BUDGET_MS), null);
          make('job').schedule();
          make('timer 1').schedule(1);
          make('timer 4').schedule(4);
          make('timer 9').schedule(9);
          // Higher priorities use the whole budget until everything is due.
          hold.schedule();
          let turns = 0;
          const again = new Kcont(
            softserial,
            null,
            (_, kc) => {
              clock.pass(BUDGET_MS);
              if (turns++ < 4) kc.reset();
              if (turns === 1) make('job of ms 4').schedule();
              if (turns === 3) make('last job').schedule();
            },
            null,
          );
          again.schedule();
          await kernel.drain();
          expect(ran.join()).to.equal('job,timer 1,job of ms 4,timer 4,last job,timer 9');
        });

        it('serves a low priority when its patience is over, and not before', async () => {
          const kernel = await grown(clock, past, ageMs);
          let spentMs = 0;
          let servedAtMs = Infinity;
          const low = new Kcont(kernel.wq.prilow, null, () => void (servedAtMs = spentMs), null);
          const flood = new Kcont(
            kernel.wq.softnet,
            null,
            (_, kc) => {
              clock.pass(1);
              if (++spentMs < 400 && servedAtMs === Infinity) kc.reset();
            },
            null,
          );
          low.schedule();
          flood.schedule();
          await kernel.drain();
          expect(servedAtMs).to.be.within(kernel.wq.prilow.patienceMs, 110);
        });

        it('is on time', async () => {
          const kernel = await grown(clock, past, ageMs);
          const ran: string[] = [];
          const timer = (name: string, ms: number, ref: boolean): Kcont<null> => {
            const kc = new Kcont(kernel.wq.prilow, null, () => void ran.push(name), null, { ref });
            kc.schedule(ms);
            return kc;
          };
          timer('referenced', 3, true);
          timer('not', 1, false);
          const touched = timer('touched', 2, true);
          clock.pass(1.5);
          touched.touch();
          clock.pass(8);
          while (ran.length < 3) await turn();
          expect(ran).to.deep.equal(['not', 'referenced', 'touched']);
        });
      });
    }
  }

  it('continues after a jump of any length with what was due in it, in order', async () => {
    for (const days of [1, 7, 11, 13, 20, 26, 40, 400]) {
      const clock = new HandClock();
      const kernel = new Kernel({ clock, budgetMs: BUDGET_MS });
      const { prilow, softserial } = kernel.wq;
      const ran: string[] = [];
      const make = (name: string): Kcont<null> =>
        new Kcont(prilow, null, () => void ran.push(name), null);
      make('first job').schedule();
      const due = [0.1, 0.4, 0.6, 0.9];
      for (const part of due) make(`timer ${part}`).schedule(part * days * DAY_MS);
      new Kcont(
        softserial,
        null,
        () => {
          clock.pass(days * DAY_MS);
          make('second job').schedule();
        },
        null,
      ).schedule();
      await kernel.drain();
      while (ran.length < 6) await turn();
      const timers = due.map((part) => `timer ${part}`);
      expect([days, ...ran]).to.deep.equal([days, 'first job', ...timers, 'second job']);
    }
  });

  it('counts no starvation from before a backlog, whenever a lock was waited for', async () => {
    const clock = new HandClock();
    const kernel = new Kernel({ clock, budgetMs: BUDGET_MS });
    const { prilow, softnet } = kernel.wq;
    const lock = new Mutex();
    lock.tryEnter();
    clock.pass(2 ** 30 - 5);
    let spentMs = 0;
    let servedAtMs = Infinity;
    const far = new Kcont(prilow, null, () => undefined, null, { ref: false });
    far.schedule(100 * DAY_MS);
    new Kcont(prilow, lock, () => void (servedAtMs = spentMs), null).schedule();
    await turn();
    // The base moves while it waits, and its tick was near the end of the block.
    clock.pass(10);
    new Kcont(prilow, null, () => undefined, null).schedule(1);
    await turn();
    await turn();
    lock.exit();
    const flood = new Kcont(
      softnet,
      null,
      (_, kc) => {
        clock.pass(1);
        if (++spentMs < 400 && servedAtMs === Infinity) kc.reset();
      },
      null,
    );
    flood.schedule();
    clock.pass(5);
    await kernel.drain();
    expect(servedAtMs).to.be.within(1, 110);
    far.destroy();
  });

  it('moves a deadline that is days away to any other, exactly', () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const week = 7 * DAY_MS;
    const ran: number[] = [];
    const make = (slackMs: number): Kcont<null> =>
      new Kcont(wq.softclock, null, () => void ran.push(clock.now), null, { slackMs });
    const exact = make(0);
    const slack = make(DAY_MS);
    const deadlines = (): number => {
      expect(slack.deadline - exact.deadline).to.be.within(0, DAY_MS);
      return exact.deadline - clock.now;
    };
    const schedule = (delayMs: number): number => {
      exact.schedule(delayMs);
      slack.schedule(delayMs);
      return deadlines();
    };
    const touch = (): number => {
      exact.touch();
      slack.touch();
      return deadlines();
    };
    expect(schedule(week + 0.25)).to.equal(week + 0.25);
    clock.tick(1000.5);
    expect(touch()).to.equal(week + 0.25);
    const limitMs = (2 ** 31 - 1) / 8;
    for (const delayMs of [week + 0.5, 2 * week, week, DAY_MS, limitMs, 3 * DAY_MS, 4 * DAY_MS]) {
      expect(schedule(delayMs)).to.equal(delayMs);
      clock.tick(DAY_MS / 2 + 0.125);
      expect(touch()).to.equal(delayMs);
    }
    // When it is near, its delay is still far.
    clock.tick(4 * DAY_MS - 1);
    expect([exact.deadline - clock.now, touch()]).to.deep.equal([1, 4 * DAY_MS]);
    const deadline = exact.deadline;
    clock.tick(week);
    expect(ran[0]).to.equal(deadline);
    expect(ran.length).to.equal(2);
  });

  it('keeps the order of the calls at the end of an era of sequence numbers', async () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const ran: string[] = [];
    const make = (name: string, lock: Mutex | null = null): Kcont<null> =>
      new Kcont(wq.prilow, lock, () => void ran.push(name), null);
    for (let spare = 0; spare < 6; spare++) {
      ran.length = 0;
      toEndOfEra();
      const lock = new Mutex();
      lock.tryEnter();
      for (let used = 0; used < spare; used++) make('').schedule(1e9);
      const moved = make('moved');
      moved.schedule(3);
      for (const name of ['a', 'b', 'c']) make(name).schedule(5);
      for (const name of ['held 1', 'held 2', 'held 3']) make(name, lock).schedule();
      clock.tick(2);
      // It is due with the others, and was scheduled before them.
      moved.touch();
      clock.tick(3);
      lock.exit();
      clock.tick(0);
      expect(ran).to.deep.equal(['moved', 'a', 'b', 'c', 'held 1', 'held 2', 'held 3']);
    }
  });
});
