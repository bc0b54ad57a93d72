// What a user sees of an unhandled error of a function: the line that threw, the exit code, and the
// origin that handlers of the process receive.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';

const lib = (file: string): string => new URL(`../../lib/${file}.js`, import.meta.url).href;

/** A program with one line that throws. Its first argument is the kind of work. */
const program = `
import { Kcont, VirtualClock, Kernel, wq } from '${lib('index')}';
import { pipeline } from '${lib('pipeline/index')}';
import * as timers from '${lib('compat/timers/index')}';
if (process.argv[3] === 'handled') {
  process.on('uncaughtException', (error, origin) => console.log(origin, error.message));
}
const nothing = () => undefined;
const make = (func, queue = wq.softclock, options = {}) => new Kcont(queue, null, func, null, options);
const works = {
  job: () => make(due).schedule(),
  timer: () => make(due).schedule(1),
  context: () => make(due, wq.softclock, { context: 'create' }).schedule(1),
  asynchronous: () => make(async () => { await null; due(); }, wq.prihigh).schedule(),
  'behind an asynchronous one': () => {
    make(async () => { await null; make(due, wq.prihigh).schedule(); }, wq.prihigh).schedule();
  },
  settled: () => { const kc = make(() => void kc.drainAsync(due)); kc.schedule(); },
  setTimeout: () => { timers.setTimeout(due, 1); timers.setTimeout(nothing, 1); },
  setInterval: () => { const t = timers.setInterval(() => { timers.clearInterval(t); due(); }, 1); },
  setImmediate: () => { timers.setImmediate(due); timers.setImmediate(nothing); },
  'a microtask': () => { timers.setTimeout(() => queueMicrotask(due), 1); timers.setTimeout(nothing, 1); },
  'a tick': () => { timers.setTimeout(() => process.nextTick(due), 1); timers.setTimeout(nothing, 1); },
  'a stage': () => void pipeline('line').stage('due', due).start().push(1),
  'virtual time': () => {
    const clock = new VirtualClock();
    new Kcont(new Kernel({ clock }).wq.softclock, null, due, null).schedule(5);
    clock.tick(5);
  },
};
if (process.argv[2] === 'list') console.log(JSON.stringify(Object.keys(works)));
else works[process.argv[2]]();
`;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string[];
}

describe('an unhandled error', function () {
  this.timeout(60_000);
  let folder = '';
  let file = '';
  let kinds: string[] = [];

  const run = (...args: string[]): Promise<Ended> =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, [file, ...args], (_, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, out: stdout, err: stderr.split('\n') }),
      );
    });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kcont-crash-'));
    file = join(folder, 'crash.mjs');
    await writeFile(file, `function due() {\n  const user = null;\n  user.name();\n}\n${program}`);
    kinds = JSON.parse((await run('list')).out) as string[];
  });
  after(() => rm(folder, { recursive: true }));

  it('ends the process with 1, and the report shows the line that threw', async () => {
    const seen: Record<string, unknown> = {};
    const expected: Record<string, unknown> = {};
    for (const kind of kinds) {
      const { code, err } = await run(kind);
      const frames = err.filter((line) => /^\s+at /.test(line));
      seen[kind] = [code, err[0], err[1], frames[0]?.includes(`${pathToFileURL(file).href}:3:`)];
      expected[kind] = [1, `${pathToFileURL(file).href}:3`, '  user.name();', true];
      // Few frames of the library are below the function.
      const own = frames.filter((line) => /\/lib\/(?!pipeline)/.test(line));
      expect(own.length, kind).to.be.at.most(/settled|virtual/.test(kind) ? 9 : 7);
    }
    expect(seen).to.deep.equal(expected);
  });

  it('is an uncaught exception, which the process may handle', async () => {
    for (const kind of ['asynchronous', 'setTimeout', 'a microtask']) {
      const { code, out } = await run(kind, 'handled');
      expect([code, out], kind).to.deep.equal([
        0,
        "uncaughtException Cannot read properties of null (reading 'name')\n",
      ]);
    }
  });
});
