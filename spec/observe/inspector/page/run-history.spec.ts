import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Mutex } from '../../../../lib/index.ts';
import { RingReader } from '../../../../lib/observe/inspector/ring-reader.ts';
import { lanesOf, runAt, worst } from '../../../../lib/observe/inspector/page/lanes.ts';
import {
  RunHistory,
  reasonOf,
  type Run,
} from '../../../../lib/observe/inspector/page/run-history.ts';
import { observerOf } from '../../../../lib/observe/kernel-observer.ts';
import { Lab } from '../../../support/lab.ts';

class Recorded {
  readonly lab = new Lab();
  readonly reader = new RingReader(observerOf(this.lab.kernel));
  readonly history = new RunHistory();

  constructor() {
    this.reader.start();
  }

  read(keepMs = 10_000): readonly Run[] {
    const bytes = this.reader.read(this.history.cursor);
    this.history.add(new Uint8Array(bytes).buffer, keepMs);
    return this.history.runs;
  }
}

const show = (ms: number): string => `${ms} ms`;

describe('RunHistory', () => {
  it('puts records together to runs', async () => {
    const recorded = new Recorded();
    const { lab } = recorded;
    const journal = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', {
      wq: lab.wq.prilow,
      lock: journal,
      options: { name: 'flush' },
    });
    const append = new Kcont(lab.wq.prihigh, journal, () => undefined, 0, { name: 'append' });
    flush.schedule();
    lab.clock.tick(1);
    append.schedule(4);
    lab.clock.tick(29);
    const [open] = recorded.read();
    expect([open?.name, open?.isAsync, open?.settledMs]).to.deep.equal(['flush', true, NaN]);
    await lab.end(flush);
    await lab.clock.advance(1);
    const [first, second] = recorded.read();
    expect(first).to.equal(open);
    expect([first?.enteredMs, first?.returnedMs, first?.settledMs]).to.deep.equal([0, 0, 30]);
    expect(second).to.deep.include({
      name: 'append',
      workqueue: 'prihigh',
      cpu: 0,
      lock: 'journal',
      holder: 'flush',
      enteredMs: 30,
      waitedMs: 25,
      scheduledMs: 1,
      aside: true,
      failed: false,
    });
    expect(reasonOf(second as Run, recorded.history.runs, show)).to.equal(
      'It was due for 25 ms and waited for lock journal, which was held by flush.',
    );
  });

  it('notes failures, and drops what was stopped', () => {
    const recorded = new Recorded();
    const { lab } = recorded;
    const fail = (): void => {
      throw new Error('failure');
    };
    const kc = new Kcont(lab.wq.prilow, null, fail, 0, { name: 'fail' });
    kc.schedule(1);
    kc.stop();
    kc.schedule(5);
    lab.clock.tick(10);
    expect(recorded.read().map(({ failed, scheduledMs }) => [failed, scheduledMs])).to.deep.equal([
      [true, 0],
    ]);
  });

  it('keeps the runs of the last seconds, and those in flight', () => {
    const recorded = new Recorded();
    const { lab } = recorded;
    lab.async('open', { wq: lab.wq.prilow, options: { name: 'open' } }).schedule();
    const tick = new Kcont(lab.wq.softclock, null, () => undefined, 0, { name: 'tick' });
    for (let n = 0; n < 5; n++) {
      tick.schedule(100);
      lab.clock.tick(100);
    }
    expect(recorded.read(250).map(({ name, enteredMs }) => [name, enteredMs])).to.deep.equal([
      ['open', 0],
      ['tick', 300],
      ['tick', 400],
      ['tick', 500],
    ]);
  });

  it('begins anew with another recording, and counts what was lost', () => {
    const recorded = new Recorded();
    const { lab } = recorded;
    const tick = new Kcont(lab.wq.softclock, null, () => undefined, 0, { name: 'tick' });
    const run = (times: number): void => {
      for (let n = 0; n < times; n++) {
        tick.schedule(1);
        lab.clock.tick(1);
      }
    };
    run(3);
    expect(recorded.read()).to.have.length(3);
    recorded.reader.stop();
    recorded.reader.start();
    run(2);
    expect(recorded.read()).to.have.length(2);
    expect(recorded.history.lost).to.equal(0);
    // Four records each; the ring has 65,536.
    run(17_000);
    recorded.read(Infinity);
    expect(recorded.history.lost).to.be.within(68_000 - 65_536, 68_000 - 65_536 + 4);
    recorded.reader.stop();
  });
});

/** A run that is made up. */
function made(name: string, enteredMs: number, returnedMs: number, more: Partial<Run> = {}): Run {
  return {
    cpu: 0,
    id: 1,
    name,
    function: name,
    workqueue: 'prilow',
    priority: 103,
    enteredMs,
    returnedMs,
    settledMs: returnedMs,
    waitedMs: 0,
    scheduledMs: null,
    lock: null,
    holder: null,
    aside: false,
    isAsync: false,
    failed: false,
    estimated: 0,
    ...more,
  };
}

describe('reasonOf()', () => {
  it('says what a run waited for', () => {
    const slow = made('slow', 0, 80);
    const other = made('other', 0, 70, { cpu: 1 });
    const late = made('late', 81, 82, { waitedMs: 50 });
    const runs = [slow, other, late];
    expect(reasonOf(late, runs, show)).to.equal(
      'It was due for 50 ms, while the event loop was busy or blocked. Most of it went to slow: 49 ms.',
    );
    expect(reasonOf(slow, runs, show)).to.equal('It did not wait.');
    expect(reasonOf(made('a', 9, 9, { waitedMs: 3 }), [], show)).to.equal(
      'It was due for 3 ms, while the event loop was busy or blocked.',
    );
    expect(reasonOf(made('a', 9, 9, { waitedMs: 3, aside: true }), [], show)).to.include(
      'a place under maxActive',
    );
    expect(reasonOf(made('a', 9, 9, { waitedMs: 3, lock: 'journal' }), [], show)).to.include(
      'held by code or by an unknown holder',
    );
  });
});

describe('the lanes of the timeline', () => {
  const runs = [
    made('low', 0, 5),
    made('high', 6, 7, { priority: 127, workqueue: 'prihigh' }),
    made('elsewhere', 1, 2, { cpu: 1 }),
    made('open', 8, 8.5, { isAsync: true, settledMs: NaN }),
  ];

  it('are by CPU, the highest priority first', () => {
    const lanes = lanesOf(runs).map(({ cpu, workqueue, runs: { length } }) => [
      cpu,
      workqueue,
      length,
    ]);
    expect(lanes).to.deep.equal([
      [0, 'prihigh', 1],
      [0, 'prilow', 2],
      [1, 'prilow', 1],
    ]);
  });

  it('have the run at a time', () => {
    const [, lane] = lanesOf(runs);
    if (lane === undefined) throw new Error('no lane');
    expect(runAt(lane, 3, 1, 20)?.name).to.equal('low');
    expect(runAt(lane, 5.5, 1, 20)?.name).to.equal('low');
    expect(runAt(lane, 15, 1, 20)?.name).to.equal('open');
    expect(runAt(lane, 6.7, 0.1, 20)).to.equal(undefined);
  });

  it('have the worst run of each name', () => {
    const late = made('low', 9, 9.5, { waitedMs: 30 });
    const found = worst([...runs, late], 2, 20);
    expect(found.map(({ run, count }) => [run.name, run.waitedMs, count])).to.deep.equal([
      ['low', 30, 2],
      ['high', 0, 1],
    ]);
  });
});
