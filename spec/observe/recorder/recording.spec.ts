import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Kcont, Mutex } from '../../../lib/index.ts';
import { parseRecording } from '../../../lib/observe/recorder/parse-recording.ts';
import { flightRecords, type Recorded } from '../../../lib/observe/recorder/records.ts';
import { list, observe, type FlightRecord, type Recording } from '../../support/observe.ts';
import { runModule } from '../../support/child.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';
import { Lab, codeOf, settled } from '../../support/lab.ts';

const observing = new URL(`../../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

let folder = '';
const started: { stop(): void }[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'recording-'));
});
afterEach(() => {
  for (const observation of started.splice(0)) observation.stop();
  rmSync(folder, { recursive: true });
});

/** Records the kernel of a lab. */
function recordingOf(lab: Lab, records = 1024): Recording {
  const observation = observe({
    kernel: lab.kernel,
    record: { records, folder, onException: false },
  });
  started.push(observation);
  return observation.recording as Recording;
}

function brief(records: readonly FlightRecord[]): string[] {
  return records.map(({ atMs, kind, name }) => `${atMs} ${kind} ${name}`);
}

/** The events of a file that Perfetto reads. */
interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly id?: string;
  readonly args?: { readonly name?: string; readonly unfinished?: boolean };
}

function eventsOf(file: string): TraceEvent[] {
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: TraceEvent[] };
  return traceEvents;
}

describe('observe({ record })', () => {
  it('records schedule, expire, enter, settle and stop, with handle, time and level', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const job = lab.sync('job', { options: { name: 'job' } });
    const timer = lab.sync('timer', { wq: lab.wq.softclock, options: { name: 'timer' } });
    const stopped = lab.sync('stopped', { options: { name: 'stopped' } });
    timer.schedule(50);
    stopped.schedule(20);
    lab.clock.tick(5);
    stopped.stop();
    job.schedule();
    await lab.clock.advance(100);
    const records = recording.records();
    expect(brief(records)).to.deep.equal([
      '0 schedule timer',
      '0 schedule stopped',
      '5 stop stopped',
      '5 schedule job',
      '5 enter job',
      '5 settle job',
      '50 expire timer',
      '50 enter timer',
      '50 settle timer',
    ]);
    expect(records[0]).to.deep.include({
      cpu: 0,
      workqueue: 'softclock',
      priority: 199,
      patienceMs: 100,
      delayMs: 50,
      waitedMs: null,
    });
    timer.schedule(10);
    const [entry] = list(lab.kernel);
    expect(records.filter(({ name }) => name === 'timer').map(({ id }) => id)).to.deep.equal([
      entry?.id,
      entry?.id,
      entry?.id,
      entry?.id,
    ]);
    expect(JSON.parse(JSON.stringify(records))).to.deep.equal(records);
  });

  it('records what waits for a lock, who holds it, and how long each was due', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    const append = lab.sync('append', { lock, options: { name: 'append' } });
    flush.schedule();
    lab.clock.tick(1);
    append.schedule();
    lab.clock.tick(30);
    await lab.end(flush);
    lab.clock.tick(1);
    const records = recording.records();
    expect(brief(records)).to.deep.equal([
      '0 schedule flush',
      '0 enter flush',
      '0 suspend flush',
      '1 schedule append',
      '1 wait append',
      '31 settle flush',
      '31 enter append',
      '31 settle append',
    ]);
    const [, entered, , , wait, , appended] = records;
    expect(wait).to.deep.include({ lock: 'journal', holder: entered?.id });
    expect(appended).to.deep.include({ waitedMs: 30, aside: true });
  });

  it('records failures', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    lab
      .sync('bad', {
        options: { name: 'bad' },
        body: () => {
          throw new Error('no');
        },
      })
      .schedule();
    await lab.clock.advance(1);
    expect(recording.records().map(({ kind }) => kind)).to.include('fail');
  });

  it('keeps the last records, and returns those of a time or a number', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const kc = lab.sync('tick');
    for (let n = 0; n < 500; n++) {
      kc.schedule(1);
      await lab.clock.advance(1);
    }
    expect(recording.records({ sinceMs: 0 })).to.have.length(1023);
    expect(brief(recording.records({ sinceMs: 499 }))).to.deep.equal([
      '499 expire (anonymous)',
      '499 enter (anonymous)',
      '499 settle (anonymous)',
      '499 schedule (anonymous)',
      '500 expire (anonymous)',
      '500 enter (anonymous)',
      '500 settle (anonymous)',
    ]);
    expect(brief(recording.records({ limit: 1 }))).to.deep.equal(['500 settle (anonymous)']);
    await lab.clock.advance(9800);
    expect(recording.records().at(0)?.atMs).to.equal(300);
  });

  it('counts names that find no space as others', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const long = 'n'.repeat(150);
    for (let n = 0; n < 1000; n++)
      lab.sync('job', { options: { name: `${n} ${long}` } }).schedule();
    await lab.clock.advance(1);
    const records = recording.records();
    expect(records.at(-1)).to.deep.include({ kind: 'settle', name: '(others)' });
  });

  it('reads from the middle of a run without inventing what is not there', async () => {
    const lab = new Lab();
    const kc = lab.async('flush', { options: { name: 'flush' } });
    kc.schedule();
    lab.clock.tick(1);
    const recording = recordingOf(lab);
    await lab.end(kc);
    expect(brief(recording.records())).to.deep.equal(['1 settle flush']);
    expect(eventsOf(recording.dump()).filter(({ ph }) => ph !== 'M')).to.deep.equal([]);
  });

  it('ends with stop, after which what was recorded can still be read', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    lab.sync('job').schedule();
    started.pop()?.stop();
    await lab.clock.advance(1);
    expect(recording.records()).to.have.length(1);
    expect(existsSync(recording.dump())).to.equal(true);
  });

  it('refuses invalid options, and is off by default', () => {
    const lab = new Lab();
    expect(observe().recording).to.equal(null);
    expect(observe({ record: false }).recording).to.equal(null);
    for (const records of [1023, 2 ** 23, NaN]) {
      expect(codeOf(() => observe({ kernel: lab.kernel, record: { records } }))).to.equal('EINVAL');
    }
    expect(codeOf(() => observe({ record: 5 as never }))).to.equal('EINVAL');
    const recording = recordingOf(lab);
    expect(codeOf(() => recording.dump(''))).to.equal('EINVAL');
    expect(codeOf(() => recording.records({ limit: 0 }))).to.equal('EINVAL');
  });
});

describe('a file of the flight recorder', () => {
  it('has a track per CPU and level, runs as slices, lock waits as flows, and ends with a brace', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(1);
    lab.sync('append', { lock, wq: lab.wq.prilow, options: { name: 'append' } }).schedule();
    lab.clock.tick(10);
    await lab.end(flush);
    lab.clock.tick(1);
    const file = recording.dump(join(folder, 'trace.json'));
    expect(statSync(file).mode & 0o077).to.equal(0);
    expect(readFileSync(file, 'utf8').at(-1)).to.equal('}');
    const events = eventsOf(file);
    const shown = events
      .filter(({ ph }) => ph !== 'i')
      .map(({ ph, tid, ts, name, args }) => `${ph} ${tid} ${ts} ${name} ${args?.name ?? ''}`);
    expect(shown).to.deep.equal([
      `M 0 undefined process_name CPU 0 of process ${process.pid}`,
      'M 0 undefined process_sort_index ',
      'M 128 undefined thread_name priority 127: prihigh',
      'M 128 undefined thread_sort_index ',
      'M 104 undefined thread_name priority 103: prilow',
      'M 104 undefined thread_sort_index ',
      'X 128 0 flush ',
      'b 128 0 flush ',
      's 128 0 lock journal ',
      'b 104 1000 append waits for journal ',
      'e 128 11000 flush ',
      'X 104 11000 append ',
      'e 104 11000 append waits for journal ',
      'f 104 11000 lock journal ',
    ]);
    const ids = (wanted: string): (string | undefined)[] =>
      events.filter(({ ph }) => wanted.includes(ph)).map(({ id }) => id);
    expect(new Set(ids('sf')).size).to.equal(1);
    expect(events.map(({ tid, pid }) => tid >= 0 && pid === 1)).to.not.include(false);
    const times = events.filter(({ ph }) => ph !== 'M').map(({ ts }) => ts);
    expect(times).to.deep.equal(times.toSorted((a, b) => a - b));
  });

  it('holds the records themselves, which are read back as they were', async () => {
    const lab = new Lab();
    const recording = recordingOf(lab);
    const lock = new Mutex();
    for (let n = 0; n < 40; n++) {
      lab.sync(`job ${n}`, { lock, options: { name: `job "${n}"\n` } }).schedule(n / 4);
    }
    lab.sync('far').schedule(1e12);
    await lab.clock.advance(5);
    const records = recording.records();
    const file = recording.dump();
    expect(file).to.match(/kcont-\d+-\d{8}T\d{6}-\d+-\d+\.json$/);
    const read = parseRecording(readFileSync(file, 'utf8')) as Recorded;
    expect(read).to.deep.include({
      version: 1,
      pid: process.pid,
      reason: 'on demand',
      budgetMs: 2,
    });
    expect(read.cpus.flatMap((cpu) => flightRecords(cpu, read.originMs))).to.deep.equal(records);
    expect(records.findLast(({ kind }) => kind === 'schedule')?.delayMs).to.equal(null);
  });

  it('gets a name of its own each time', () => {
    const recording = recordingOf(new Lab());
    const names = new Set([recording.dump(), recording.dump()]);
    expect(names.size).to.equal(2);
    expect(readdirSync(folder)).to.have.length(2);
  });

  it('is refused with a reason if it is none', () => {
    const reasons = [
      ['{"traceEvents":[', 'it is not JSON, or it is cut off'],
      ['[]', 'it has no records of kcont'],
      ['{"kcont":null}', 'it has no records of kcont'],
      ['{"kcont":{"version":2}}', 'its version is 2, and 1 is known'],
      ['{"kcont":{"version":1,"pid":"1"}}', 'pid is not a number'],
    ] as const;
    for (const [text, reason] of reasons) expect(parseRecording(text)).to.equal(reason);
    const good = {
      version: 1,
      pid: 1,
      nowMs: 1,
      wallMs: 1,
      originMs: 0,
      budgetMs: 2,
      reason: '',
      cpus: [
        {
          cpu: 0,
          lost: 0,
          names: [{ name: 'a', function: '', workqueue: 'w', patienceMs: null }, { lock: 'l' }],
          records: [[0, 4, 0, 1, 127, 0, 0, 0]],
        },
      ],
    };
    const reasonOf = (change: object): string => {
      const found = parseRecording(JSON.stringify({ kcont: { ...good, ...change } }));
      return typeof found === 'string' ? found : 'accepted';
    };
    const [cpu] = good.cpus;
    expect(reasonOf({})).to.equal('accepted');
    expect(reasonOf({ reason: 1 })).to.equal('reason is not a string');
    expect(reasonOf({ cpus: {} })).to.equal('it has no CPUs, or too many');
    expect(reasonOf({ cpus: [1] })).to.equal('a CPU is not an object');
    for (const [change, reason] of [
      [{ cpu: 16 }, 'the index of a CPU is invalid'],
      [{ lost: -1 }, 'the number of lost records is invalid'],
      [{ names: [{ name: 1 }] }, 'a name is invalid'],
      [{ names: [null] }, 'a name is invalid'],
      [{ names: [{ lock: 1 }] }, 'a name is invalid'],
      [{ records: [[1]] }, 'a record is invalid'],
      [{ records: [[0, 99, 0, 1, 127, 0, 0, 0]] }, 'a record is invalid'],
      [{ records: [[0, 4, 0, 1, 300, 0, 0, 0]] }, 'a record is invalid'],
      [{ records: [[null, 4, 0, 1, 127, 0, 0, 0]] }, 'a record is invalid'],
    ] as const) {
      expect(reasonOf({ cpus: [{ ...cpu, ...change }] })).to.equal(reason);
    }
  });
});

describe('observe({ record }) in a process', function () {
  this.timeout(60_000);

  const program = (rest: string): Promise<{ code: number; out: string[]; err: string }> =>
    runModule(`
      import { observe } from ${JSON.stringify(observing)};
      const { Kcont, wq } = kcont;
      process.chdir(${JSON.stringify(folder)});
      ${rest}
    `);

  function namesIn(file: string): string[] {
    const read = parseRecording(readFileSync(join(folder, file), 'utf8')) as Recorded;
    const records = read.cpus.flatMap((cpu) => flightRecords(cpu, read.originMs));
    return records.filter(({ kind }) => kind === 'enter').map(({ name }) => name);
  }

  it('writes a file for an uncaught exception, and one in 10 s', async () => {
    const { code, err } = await program(`
      observe({ record: true });
      process.on('uncaughtException', () => {});
      const fail = () => { throw new Error('no'); };
      for (const name of ['first', 'second']) new Kcont(wq.prilow, null, fail, 0, { name }).schedule();
    `);
    expect(code).to.equal(0);
    expect(err.match(/^kcont: the flight recorder has written .*\.json$/gm)).to.have.length(1);
    const files = readdirSync(folder);
    expect(files).to.have.length(1);
    expect(namesIn(files[0] as string)).to.deep.equal(['first']);
  });

  it('says so if it cannot write, and does not hide the exception', async () => {
    const { code, err } = await program(`
      observe({ record: { folder: '/nowhere/at/all' } });
      new Kcont(wq.prilow, null, () => { throw new Error('the exception'); }, 0).schedule();
    `);
    expect(code).to.equal(1);
    expect(err).to.include('kcont: the flight recorder could not write a file: Error: ENOENT');
    expect(err).to.include('Error: the exception');
  });

  it('writes none with onException: false', async () => {
    const { err } = await program(`
      observe({ record: { onException: false } });
      new Kcont(wq.prilow, null, () => { throw new Error('no'); }, 0).schedule();
    `);
    expect(err).to.not.include('flight recorder');
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('has the watching thread write a file while the event loop is blocked', async () => {
    const { err } = await program(`
      import { readdirSync } from 'node:fs';
      observe({ record: true, watch: true, limits: { blockMs: 100, functionMs: Infinity, lateMs: Infinity } });
      function spin() {
        const until = performance.now() + 20_000;
        while (readdirSync('.').length === 0 && performance.now() < until);
        const soon = performance.now() + 300;
        while (performance.now() < soon);
      }
      new Kcont(wq.prilow, null, spin, 0, { name: 'spinner' }).schedule(50);
    `);
    expect(err).to.match(/^kcont: spinner on prilow blocks the event loop/);
    expect(err).to.match(/^kcont: the flight recorder has written .*\.json$/m);
    const [file = ''] = readdirSync(folder);
    const text = readFileSync(join(folder, file), 'utf8');
    expect(parseRecording(text)).to.include({ reason: 'spinner on prilow blocks the event loop' });
    expect(namesIn(file)).to.deep.equal(['spinner']);
    const run = eventsOf(join(folder, file)).find(({ ph }) => ph === 'X');
    expect(run?.args).to.include({ unfinished: true });
    expect(run?.dur).to.be.above(100_000);
  });
});

describe('observe({ record }) with several CPUs', function () {
  this.timeout(30_000);
  closeAfterEach();

  it('records in the kernel of this thread what it sends to others', async () => {
    const { kernel, queue, cpus, work } = await startTestKernel(1);
    const observation = observe({ kernel, record: { folder, onException: false } });
    started.push(observation);
    const kc = new Kcont(queue, null, work.note, 'far', { name: 'sent' });
    kc.schedule(0, cpus[1]);
    while (kc.busy) await settled();
    kc.destroy();
    expect(observation.recording?.records()).to.be.an('array');
  });
});
