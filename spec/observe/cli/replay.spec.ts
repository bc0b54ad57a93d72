import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, type Workqueue } from '../../../lib/index.ts';
import { replay } from '../../../lib/observe/cli/replay.ts';
import { observe, type Observation } from '../../support/observe.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { Lab, settled } from '../../support/lab.ts';

let folder = '';
let observation: Observation | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'replay-'));
});
afterEach(() => {
  observation?.stop();
  rmSync(folder, { recursive: true });
});

/** What is printed of the recording of a kernel. */
function replayed(
  how: { json?: boolean; events?: boolean; width?: number; limit?: number } = {},
): string[] {
  const file = observation?.recording?.dump(join(folder, 'trace.json')) ?? '';
  const lines: string[] = [];
  const usual = { json: false, events: false, limit: 50, width: 200 };
  replay(file, { ...usual, ...how, print: (line) => void lines.push(line) });
  return lines.map((line) => line.replace(folder, ''));
}

function flags(lines: readonly string[]): string[] {
  return lines
    .filter((line) => line.startsWith('  '))
    .map((line) => line.trim().replace(/at \S+ ms/, 'at T'));
}

function record(kernel: Kernel): void {
  observation = observe({ kernel, record: { folder, onException: false } });
}

/** A kernel whose time is moved by its functions. */
class Slow {
  readonly clock: HandClock = new HandClock();
  readonly kernel: Kernel = new Kernel({ clock: this.clock });

  taking(ms: number, name: string, wq: Workqueue = this.kernel.wq.prihigh): Kcont<null> {
    return new Kcont(wq, null, () => this.clock.pass(ms), null, { name });
  }

  async drain(): Promise<void> {
    await this.kernel.drain();
    await settled();
  }
}

describe('kcont replay', () => {
  it('finds no red flags where there are none', async () => {
    const lab = new Lab();
    record(lab.kernel);
    lab.sync('job', { options: { name: 'job' } }).schedule(5);
    await lab.clock.advance(10);
    expect(replayed()).to.deep.equal([
      `/trace.json: process ${process.pid}, 1 CPUs, written for on demand`,
      'the last 5 ms: 4 records',
      '',
      'no red flags',
      '',
      'NAME  WORKQUEUE  RUNS  OPEN  TOTAL ms  LONGEST  LATEST  LOCK WAIT',
      'job   prihigh       1     0      0.00     0.00    0.00       0.00',
    ]);
  });

  it('finds functions over 50 ms, lateness over 10 ms, and passes over their budget', async () => {
    const slow = new Slow();
    record(slow.kernel);
    slow.taking(60, 'parse').schedule();
    slow.taking(0, 'next').schedule();
    await slow.drain();
    slow.taking(80, 'parse').schedule();
    await slow.drain();
    expect(flags(replayed())).to.deep.equal([
      'function at T on CPU 0: parse on prihigh occupied the event loop for 80 ms; 2 times, this was the worst',
      'pass     at T on CPU 0: a pass of 1 function took 80 ms, over its budget of 2 ms; the longest was parse on prihigh, 80 ms; 2 times, this was the worst',
      'late     at T on CPU 0: next on prihigh was entered 60 ms late',
    ]);
  });

  it('finds levels that waited over their patience, also at the end', async () => {
    const slow = new Slow();
    const { kernel } = slow;
    const low = kernel.acquire(50, { patienceMs: 20, name: 'bulk' });
    record(kernel);
    slow.taking(30, 'busy').schedule();
    slow.taking(0, 'index', low).schedule();
    await slow.drain();
    expect(flags(replayed()).filter((line) => line.startsWith('level'))).to.deep.equal([
      'level    at T on CPU 0: priority 50 waited 30 ms for index on bulk, over its patience of 20 ms',
    ]);
    slow.taking(0, 'sweep', low).schedule();
    slow.clock.pass(40);
    slow.taking(0, 'noted', low).schedule();
    const lines = flags(replayed()).filter((line) => line.includes('at the end'));
    expect(lines).to.have.length(1);
    expect(lines[0]).to.match(
      /^level .* priority 50 had waited \d.* at the end, for sweep on bulk, over its patience of 20 ms$/,
    );
    await slow.drain();
  });

  it('does not call late what waited for a lock', async () => {
    const lab = new Lab();
    record(lab.kernel);
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(1);
    lab.sync('append', { lock, options: { name: 'append' } }).schedule();
    lab.clock.tick(200);
    await lab.end(flush);
    lab.clock.tick(1);
    const lines = replayed({ events: true });
    expect(lines).to.include('no red flags');
    expect(lines.find((line) => line.startsWith('append '))).to.match(/ 200$/);
    expect(lines.slice(-8).map((line) => line.trim().replaceAll(/#\d+/g, '#N'))).to.deep.equal([
      '0.000  CPU 0  schedule  #N flush on prihigh',
      '0.000  CPU 0  enter     #N flush on prihigh, due for 0.00 ms',
      '0.000  CPU 0  suspend   #N flush on prihigh',
      '1.000  CPU 0  schedule  #N append on prihigh',
      '1.000  CPU 0  wait      #N append on prihigh for lock journal, held by #N',
      '201.000  CPU 0  settle    #N flush on prihigh',
      '201.000  CPU 0  enter     #N append on prihigh, due for 200 ms',
      '201.000  CPU 0  settle    #N append on prihigh',
    ]);
  });

  it('says which functions it may have been, where ends were estimated', async () => {
    const slow = new Slow();
    const { kernel } = slow;
    record(kernel);
    let entered = 0;
    const kcs = Array.from({ length: 40 }, (_, n) => {
      const work = (): void => {
        if (++entered === 30) slow.clock.pass(100);
      };
      return new Kcont(kernel.wq.prihigh, null, work, null, { name: `f${n}` });
    });
    for (const kc of kcs) kc.schedule();
    await slow.drain();
    const found = flags(replayed()).find((line) => line.startsWith('function')) ?? '';
    expect(found).to.match(
      /: f29 on prihigh occupied the event loop for 100 ms, or one of those before it did: f28, or I\/O after it did$/,
    );
  });

  it('fits its lines to the terminal, counts what it leaves out, and prints JSON for scripts', async () => {
    const slow = new Slow();
    record(slow.kernel);
    for (const name of ['a', 'b\n', 'c']) slow.taking(60, name).schedule();
    await slow.drain();
    const narrow = replayed({ width: 40, limit: 1 });
    expect(narrow.filter((line) => line.length > 40)).to.deep.equal([]);
    expect(narrow).to.include.members(['and 2 more']);
    const [json = ''] = replayed({ json: true });
    const found = JSON.parse(json) as { flags: { kind: string }[]; rows: { name: string }[] };
    expect(found.rows.map(({ name }) => name).toSorted()).to.deep.equal(['a', 'b\n', 'c']);
    expect(found.flags.filter(({ kind }) => kind === 'function')).to.have.length(3);
  });
});
