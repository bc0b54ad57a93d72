import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, Mutex } from '../../lib/index.ts';
import { histograms, type Histograms } from '../support/observe.ts';
import { HandClock } from '../support/hand-clock.ts';
import { codeOf, Lab, settled } from '../support/lab.ts';

/** The counts and maxima of the histograms that have any, in ms. */
function summary({ workqueues, locks }: Histograms): string[] {
  const lines: string[] = [];
  const add = (name: string, { count, max }: { count: number; max: number }): void => {
    if (count > 0) lines.push(`${name}: ${count}, at most ${Math.round(max / 1000)} ms`);
  };
  for (const { name, latenessUs, queueWaitUs, runTimeUs } of workqueues) {
    add(`${name} lateness`, latenessUs);
    add(`${name} queue wait`, queueWaitUs);
    add(`${name} run time`, runTimeUs);
  }
  for (const { name, lockWaitUs } of locks) add(`${name} lock wait`, lockWaitUs);
  return lines;
}

describe('histograms()', () => {
  it('record the lateness of timers, the wait of jobs and the time of functions', async () => {
    const clock = new HandClock();
    const kernel = new Kernel({ clock });
    using recording = histograms(kernel);
    const taking = (ms: number): Kcont<null> =>
      new Kcont(kernel.wq.prilow, null, () => clock.pass(ms), null);
    taking(40).schedule();
    taking(10).schedule();
    await kernel.drain();
    expect(summary(recording)).to.deep.equal([
      'prilow queue wait: 2, at most 40 ms',
      'prilow run time: 2, at most 40 ms',
    ]);
    recording.reset();
    expect(summary(recording)).to.deep.equal([]);
    const timer = new Kcont(kernel.wq.softclock, null, () => undefined, null);
    timer.schedule(10);
    clock.pass(30);
    taking(0).schedule();
    while (timer.busy) await settled();
    expect(summary(recording).filter((line) => line.includes('softclock'))).to.deep.equal([
      'softclock lateness: 1, at most 20 ms',
      'softclock run time: 1, at most 0 ms',
    ]);
  });

  it('record the time until an asynchronous function has settled', async () => {
    const lab = new Lab();
    const recording = histograms(lab.kernel);
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(25);
    expect(summary(recording)).to.deep.equal(['prihigh queue wait: 1, at most 0 ms']);
    await lab.end(kc);
    expect(summary(recording)).to.deep.equal([
      'prihigh queue wait: 1, at most 0 ms',
      'prihigh run time: 1, at most 25 ms',
    ]);
    recording.stop();
  });

  it('record the wait for a lock with a name, and nothing else of it', () => {
    const lab = new Lab();
    const recording = histograms(lab.kernel);
    for (const lock of [new Mutex({ name: 'journal' }), new Mutex()]) {
      lock.tryEnter();
      const kc = lab.sync('a', { lock });
      kc.schedule(5);
      lab.clock.tick(20);
      lock.exit();
      lab.clock.tick(0);
    }
    expect(summary(recording)).to.deep.equal([
      'prihigh run time: 2, at most 0 ms',
      'journal lock wait: 1, at most 15 ms',
    ]);
    recording.stop();
  });

  it('forget a wait that was stopped', () => {
    const lab = new Lab();
    const recording = histograms(lab.kernel);
    const lock = new Mutex({ name: 'journal' });
    lock.tryEnter();
    const kc = lab.sync('a', { lock });
    kc.schedule(5);
    lab.clock.tick(20);
    kc.stop();
    lock.exit();
    kc.schedule();
    lab.clock.tick(0);
    expect(summary(recording)).to.deep.equal([
      'prihigh queue wait: 1, at most 0 ms',
      'prihigh run time: 1, at most 0 ms',
    ]);
    recording.stop();
  });

  it('record nothing any more when stopped', async () => {
    const lab = new Lab();
    const recording = histograms(lab.kernel);
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(0);
    recording.stop();
    recording.stop();
    await lab.end(kc);
    lab.sync('b').schedule();
    lab.clock.tick(0);
    expect(summary(recording)).to.deep.equal(['prihigh queue wait: 1, at most 0 ms']);
  });

  it('leave out a run that began before', async () => {
    const lab = new Lab();
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(0);
    using recording = histograms(lab.kernel);
    await lab.end(kc);
    expect(summary(recording)).to.deep.equal([]);
  });

  it('refuse what is not a kernel', () => {
    expect(codeOf(() => histograms(undefined as never))).to.equal('EINVAL');
  });
});
