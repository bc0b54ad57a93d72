// The command, run as a user runs it, on processes of its own.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, afterEach, before, describe, it } from 'mocha';
import { COMMAND, endProgram, kcont, startProgram } from '../../support/command.ts';

const PROGRAM = `
  process.title = 'detective';
  observe({ socket: true });
  const journal = new Mutex({ name: 'journal' });
  const scope = new Scope();
  new Kcont(wq.prilow, journal, function write() { return new Promise(() => {}); }, 0, { name: 'flush' }).schedule();
  new Kcont(wq.prilow, journal, () => {}, 0, { name: 'append', scope }).schedule(1);
  new Kcont(wq.softclock, null, () => {}, 0, { name: 'idle\\u001b[31m\\nforged\\u202e', scope, ref: false }).schedule(3e5);
  const burn = (_, kc) => {
    const end = performance.now() + 15;
    while (performance.now() < end);
    kc.reset(30);
  };
  new Kcont(wq.prilow, null, burn, 0, { name: 'burner' }).schedule();
  new Kcont(wq.softnet, null, (_, kc) => kc.reset(5), 0, { name: 'ticker' }).schedule();
`;

/** What could move a cursor or begin a line. */
// oxlint-disable-next-line eslint/no-control-regex -- these are what is looked for
const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/;

describe('the command kcont', function () {
  this.timeout(60_000);
  let folder = '';
  let program: ChildProcess & { readonly pid: number };
  const others: ChildProcess[] = [];

  before(async function () {
    if (process.platform === 'win32') this.skip();
    folder = mkdtempSync(join(tmpdir(), 'command-'));
    program = await startProgram(folder, PROGRAM);
  });
  afterEach(async () => {
    for (const other of others.splice(0)) await endProgram(other);
  });
  after(async () => {
    if (folder === '') return;
    await endProgram(program);
    rmSync(folder, { recursive: true });
  });

  it('ps prints the tree of scopes, continuations, locks and holders, once', async () => {
    const { code, out, err } = await kcont(folder, 'ps', `${program.pid}`);
    expect([code, err]).to.deep.equal([0, '']);
    const lines = out
      .split('\n')
      .map((line) =>
        line.replaceAll(/#\d+/g, '#N').replaceAll(/\d+(?:\.\d+)? (?:ms|s|min)/g, 'TIME'),
      );
    expect(lines[0]).to.equal(
      `process ${program.pid}: detective, Node ${process.version}, up TIME`,
    );
    expect(lines[1]).to.match(/^ {2}process-wide kernel: 1 running, 1 queued, \d pending$/);
    const scope = lines.findIndex((line) => line.startsWith('    scope '));
    expect(lines.slice(scope + 1, scope + 5)).to.deep.equal([
      '      #N append on prilow: waits for TIME for its lock',
      '        lock journal (#N)',
      '          held by #N flush (write) on prilow: running for TIME',
      '      #N idle\\x1b[31m\\x0aforged\\u{202e} on softclock: due in TIME, unreferenced',
    ]);
    expect(out).to.not.match(UNSAFE);
  });

  it('ps --json prints one object a line, for scripts', async () => {
    const { code, out } = await kcont(folder, 'ps', '--json');
    expect(code).to.equal(0);
    expect(out).to.not.match(UNSAFE);
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ type }) => type).slice(0, 3)).to.deep.equal(['process', 'kernel', 'entry']);
    const names = lines.filter(({ type }) => type === 'entry').map(({ name }) => name);
    expect(names).to.include.members(['flush', 'append', 'idle\u001b[31m\nforged\u202e']);
  });

  it('ps shows as many continuations as are asked for', async () => {
    const { out } = await kcont(folder, 'ps', '--limit', '2');
    expect(out.match(/^ {6}#/gm)).to.have.length(2);
    expect(out).to.match(/^ {4}and \d more$/m);
  });

  it('top prints samples if its output is no terminal, sorted as asked', async () => {
    const asked = ['--count', '1', '--interval', '300'];
    const columns = 'NAME,WORKQUEUE,CALLS,OPEN,CPU %,RUN ms,LATE ms,WAIT ms,FAILED'.split(',');
    for (const [key, column] of [
      ['cpu', 'CPU %'],
      ['run', 'RUN ms'],
      ['late', 'LATE ms'],
      ['wait', 'WAIT ms'],
    ] as const) {
      const { code, out } = await kcont(folder, 'top', ...asked, '--sort', key);
      expect(code).to.equal(0);
      const lines = out.trimEnd().split('\n');
      const title = lines.findIndex((line) => line.startsWith('NAME '));
      expect(lines[title]?.split(/ {2,}/)).to.deep.equal(columns);
      expect(lines[title - 1]).to.match(new RegExp(`^in .*, by ${key}:$`));
      const rows = lines.slice(title + 1).map((line) => line.split(/ {2,}/));
      expect(rows.map(([name]) => name)).to.include.members(['burner', 'ticker']);
      const values = rows.map((row) => Number(row[columns.indexOf(column)]));
      expect(values).to.deep.equal(values.toSorted((x, y) => y - x));
    }
  });

  it('top --json prints one sample a line', async () => {
    const { code, out } = await kcont(folder, 'top', '--json', '--count', '2', '--interval', '100');
    expect(code).to.equal(0);
    const samples = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(samples.map(({ type, pid }) => [type, pid])).to.deep.equal([
      ['sample', program.pid],
      ['sample', program.pid],
    ]);
    for (const { intervalMs, rows } of samples) {
      expect(intervalMs).to.be.at.least(100);
      expect((rows as { name: string }[]).map(({ name }) => name)).to.include('ticker');
    }
  });

  it('top draws in a terminal of any width, obeys keys, and restores the screen', async function () {
    if (spawnSync('script', ['--version']).status !== 0) {
      console.log('SKIPPED top in a terminal: there is no util-linux script');
      this.skip();
    }
    const command = `stty cols 60 rows 20; exec '${process.execPath}' '${COMMAND}' top --interval 100`;
    const child = spawn('script', ['-qfec', command, '/dev/null'], {
      env: { ...process.env, KCONT_SOCKETS: folder, TERM: 'xterm', SHELL: '/bin/sh' },
    });
    others.push(child);
    const exited = once(child, 'exit');
    let text = '';
    const seen = async (part: string): Promise<void> => {
      while (!text.includes(part)) {
        const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
        text += String(chunk);
      }
    };
    await seen('by cpu:');
    await seen('keys: l late');
    text = '';
    child.stdin.write('l');
    await seen('by late:');
    child.stdin.write('w');
    await seen('by wait:');
    child.stdin.write('p');
    await seen('paused');
    child.stdin.write('q');
    await seen('\u001b[?1049l');
    const [code] = (await exited) as [number];
    expect(code).to.equal(0);
    // oxlint-disable-next-line eslint/no-control-regex -- what a terminal does not show
    const shown = text.replaceAll(/\u001b\[[?\d;]*[a-zA-Z]/g, '').split('\r\n');
    expect(shown.length).to.be.above(5);
    expect(shown.filter((line) => line.length > 60 * 2)).to.deep.equal([]);
  });

  it('top shows the threads of a process, and goes on while one is blocked or has ended', async () => {
    const observing = new URL(
      `../../../lib/observe/index${import.meta.url.slice(-3)}`,
      import.meta.url,
    ).href;
    const library = new URL(`../../../lib/index${import.meta.url.slice(-3)}`, import.meta.url).href;
    const work = `
      import(${JSON.stringify(library)}).then(async ({ Kcont, wq }) => {
        const { observe } = await import(${JSON.stringify(observing)});
        const { parentPort } = await import('node:worker_threads');
        observe({ socket: true });
        new Kcont(wq.softnet, null, (_, kc) => kc.reset(5), 0, { name: 'thread ticker' }).schedule();
        parentPort.on('message', () => { for (;;); });
        parentPort.postMessage('up');
      });
    `;
    const several = await startProgram(
      folder,
      `
      import { Worker } from 'node:worker_threads';
      observe({ socket: true });
      new Kcont(wq.softnet, null, (_, kc) => kc.reset(5), 0, { name: 'main ticker' }).schedule();
      const worker = new Worker(${JSON.stringify(work)}, { eval: true });
      await new Promise((resolve) => worker.once('message', resolve));
      process.on('SIGUSR2', () => worker.postMessage('block'));
    `,
    );
    others.push(several);
    const pid = `${several.pid}`;
    const text = await kcont(folder, 'top', pid, '--count', '1', '--interval', '200');
    expect([text.code, text.err]).to.deep.equal([0, '']);
    expect(text.out).to.match(/^CPU \d+ %, RSS \d+ MiB$/m);
    expect(text.out).to.match(/^thread 0: event loop \d+ %, heap \d+ MiB, \d+ running, /m);
    expect(text.out).to.match(/^thread 1: event loop /m);
    expect(text.out).to.match(/^THREAD {2}NAME/m);
    expect(text.out).to.match(/^ +0 {2}main ticker /m);
    expect(text.out).to.match(/^ +1 {2}thread ticker /m);
    const json = await kcont(folder, 'top', pid, '--json', '--count', '1', '--interval', '50');
    const lines = json.out.trimEnd().split('\n');
    const threads = lines.map((line) => (JSON.parse(line) as { thread: number }).thread);
    expect(threads).to.deep.equal([0, 1]);
    several.kill('SIGUSR2');
    const asked = ['--count', '1', '--interval', '50', '--timeout', '1000'];
    let blocked = { code: 0, out: '', err: '' };
    // It may still have answered the first time.
    while (blocked.err === '') blocked = await kcont(folder, 'top', pid, ...asked);
    expect(blocked.code).to.equal(0);
    expect(blocked.err).to.match(
      /^kcont: process \d+ has not answered for \d+ ms: its event loop is blocked\n$/,
    );
    expect(blocked.out).to.include('main ticker').and.to.not.include('thread ticker');
  });

  it('says that a process does not answer, with exit code 1', async () => {
    const { code, out, err } = await kcont(folder, 'ps', '999999');
    expect([code, out]).to.deep.equal([1, '']);
    expect(err).to.match(/^kcont: process 999999 does not answer: it has to call observe/);
    const empty = mkdtempSync(join(tmpdir(), 'command-'));
    for (const command of ['ps', 'top']) {
      const none = await kcont(empty, command);
      expect(none.code).to.equal(1);
      expect(none.err).to.match(/^kcont: no process answers: /);
    }
    rmSync(empty, { recursive: true });
  });

  it('says that a process is blocked, with exit code 1', async () => {
    const blocked = await startProgram(
      folder,
      `
      observe({ socket: true });
      setTimeout(() => { for (;;); }, 50);
    `,
    );
    others.push(blocked);
    let said = { code: 0, err: '' };
    // It may still have answered the first time.
    while (said.code === 0) said = await kcont(folder, 'ps', `${blocked.pid}`, '--timeout', '300');
    expect(said.code).to.equal(1);
    expect(said.err).to.match(
      /^kcont: process \d+ has not answered for \d+ ms: its event loop is blocked\n$/,
    );
  });

  it('ps prints the processes that answer, and says which one is blocked', async () => {
    const blocked = await startProgram(
      folder,
      `
      observe({ socket: true });
      setTimeout(() => { for (;;); }, 50);
    `,
    );
    others.push(blocked);
    for (const json of [[], ['--json']]) {
      let said = { code: 0, out: '', err: '' };
      // It may still have answered the first time.
      while (said.err === '') said = await kcont(folder, 'ps', '--timeout', '1000', ...json);
      const { code, out, err } = said;
      expect(code).to.equal(0);
      expect(out).to.include('append').and.to.include(`${program.pid}`);
      expect(out).to.not.include(`${blocked.pid}`);
      expect(err).to.equal(
        `kcont: process ${blocked.pid} has not answered for 1000 ms: its event loop is blocked\n`,
      );
    }
  });

  it('asks which process if there are several', async () => {
    const second = await startProgram(folder, 'observe({ socket: true });');
    others.push(second);
    const { code, err } = await kcont(folder, 'top', '--count', '1');
    expect(code).to.equal(2);
    expect(err).to.include(`${program.pid}`).and.to.include(`${second.pid}`);
    const { out } = await kcont(folder, 'ps');
    expect(out.match(/^process \d+/gm)).to.have.length(2);
  });

  it('leaves a process alone that ends, and its socket is gone', async () => {
    const second = await startProgram(
      folder,
      `
      observe({ socket: true });
      process.on('SIGTERM', () => process.exit());
    `,
    );
    const watching = kcont(folder, 'top', `${second.pid}`, '--interval', '10');
    await kcont(folder, 'ps', `${second.pid}`);
    const exited = once(second, 'exit');
    second.kill();
    await exited;
    const { code, err } = await watching;
    expect(code).to.equal(1);
    expect(err).to.match(/^kcont: process \d+ (?:has closed its socket|does not answer)/);
    expect(readdirSync(folder).filter((name) => name.startsWith(`${second.pid}.`))).to.deep.equal(
      [],
    );
  });

  it('explains its usage, with exit code 2 if it was called wrongly', async () => {
    const help = await kcont(folder, '--help');
    expect([help.code, help.err]).to.deep.equal([0, '']);
    expect(help.out).to.match(/^usage:\n/);
    const wrong = [
      [[], 'which command?'],
      [['dance\u001b'], 'there is no command dance\\x1b'],
      [['ps', 'me'], 'PID must be an integer >= 1, got me'],
      [['ps', '--limit', '0'], '--limit must be an integer >= 1, got 0'],
      [['top', '--sort', 'name'], '--sort must be one of late, run, wait, cpu'],
      [['top', '--interval', '1'], '--interval must be an integer from 10 to 3600000, got 1'],
      [
        ['top', '--interval', '3600001'],
        '--interval must be an integer from 10 to 3600000, got 3600001',
      ],
      [['replay'], 'replay needs a file'],
      [['ps', '1', '2'], 'there are too many arguments'],
      [['ps', '--colour'], "Unknown option '--colour'"],
    ] as const;
    for (const [args, message] of wrong) {
      const { code, err } = await kcont(folder, ...args);
      expect([code, err.slice(0, 7 + message.length)]).to.deep.equal([2, `kcont: ${message}`]);
    }
  });

  it('replay refuses what it cannot read, with exit code 1', async () => {
    const missing = await kcont(folder, 'replay', join(folder, 'missing.json'));
    expect(missing.code).to.equal(1);
    expect(missing.err).to.match(/^kcont: .*missing\.json cannot be read: ENOENT/);
    const file = join(folder, 'other.json');
    writeFileSync(file, '{"traceEvents":[]}');
    const other = await kcont(folder, 'replay', file);
    expect(other.code).to.equal(1);
    expect(other.err).to.equal(`kcont: ${file} is no recording: it has no records of kcont\n`);
    writeFileSync(file, '{"kcont":{"version":"\u009b31m\u202e"}}');
    const hostile = await kcont(folder, 'replay', file);
    expect(hostile.code).to.equal(1);
    expect(hostile.err).to.equal(
      `kcont: ${file} is no recording: its version is "\\x9b31m\\u{202e}", and 1 is known\n`,
    );
  });

  it('ends quietly when the reader of its output does', async () => {
    const child = spawn(process.execPath, [COMMAND, 'top', '--interval', '20', '--json'], {
      env: { ...process.env, KCONT_SOCKETS: folder },
    });
    others.push(child);
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => (err += String(chunk)));
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [code] = (await once(child, 'exit')) as [number];
    expect([code, err]).to.deep.equal([0, '']);
  });
});
