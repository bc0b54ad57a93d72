// How processes end in debug mode that say nothing otherwise. Each is a process of its own.

import { execFile } from 'node:child_process';
import { expect } from 'chai';
import { describe, it } from 'mocha';

const library = new URL(`../../../lib/index${import.meta.url.slice(-3)}`, import.meta.url).href;
const observing = new URL(`../../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

const HEAD = `
const { Kcont, Kernel, Mutex, wq } = kcont;
const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
const start = (name, func, lock = null) => {
  const kc = new Kcont(wq.prilow, lock, (_, kc) => func(kc), null, { name });
  kc.schedule();
};
`;

interface Ended {
  readonly code: number;
  /** The first lines of the findings, without the places of code. */
  readonly found: string[];
  readonly err: string;
}

/** Runs a program, until it ends by itself. */
function run(source: string, KCONT_DEBUG: string = '1'): Promise<Ended> {
  const module = `import * as kcont from ${JSON.stringify(library)};\n${HEAD}${source}`;
  const args = ['--expose-gc', '--input-type=module', '--eval', module];
  const env = { ...process.env, KCONT_DEBUG };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { env, timeout: 60_000 }, (_, __, err) =>
      resolve({
        code: child.exitCode ?? -1,
        found: err
          .split('\n')
          .filter((line) => line.startsWith('kcont: '))
          .map((line) => line.slice('kcont: '.length).replaceAll(/ at \S+:\d+:\d+/g, '')),
        err,
      }),
    );
  });
}

const END = 'the event loop is empty, and the process exits';

describe('a process with KCONT_DEBUG=1', function () {
  this.timeout(120_000);

  it('names two locks that are entered in opposite order', async () => {
    const { code, found } = await run(`
      const a = new Mutex({ name: 'a' });
      const b = new Mutex({ name: 'b' });
      start('first', async () => { await a.enter(); await pause(); await b.enter(); });
      start('second', async () => { await pause(); await a.enter(); }, b);
    `);
    expect(code).to.equal(0);
    expect(found).to.have.length(1);
    expect(found[0]).to.match(/^deadlock: /);
    expect(found[0]).to.include('first on prilow waits for lock b, which second on prilow holds');
    expect(found[0]).to.include('second on prilow waits for lock a, which first on prilow holds');
  });

  it('names a lock that its holder enters again, in a run or not', async () => {
    const inRun = await run(`
      const lock = new Mutex({ name: 'journal' });
      start('flush', async () => { await lock.enter(); await pause(); await lock.enter(); });
    `);
    expect(inRun.err).to.include("code: 'EDEADLK'");
    expect([inRun.code, inRun.found]).to.deep.equal([
      1,
      ['deadlock: flush on prilow waits for lock journal, which it holds itself'],
    ]);
    const outside = await run(`
      const lock = new Mutex({ name: 'journal' });
      await lock.enter();
      await lock.enter();
    `);
    expect([outside.code, outside.found]).to.deep.equal([
      13,
      [`code waits for lock journal, held by code: ${END}`],
    ]);
  });

  it('names a holder that never settles, and what it holds', async () => {
    const { code, found, err } = await run(`
      const lock = new Mutex({ name: 'journal' });
      start('flush', () => new Promise(() => {}), lock);
      start('append', async () => { await pause(); await lock.enter(); });
    `);
    expect(code).to.equal(0);
    expect(found).to.deep.equal([
      `flush on prilow has not settled: ${END}`,
      `append on prilow has not settled: ${END}`,
    ]);
    expect(err).to.include('holds lock journal, because it is the lock of the continuation\n');
    expect(err).to.include('waits for lock journal, held by flush on prilow at ');
  });

  it('refuses a halt of oneself after an await', async () => {
    const { code, found, err } = await run(`
      start('poll', async (kc) => { await pause(); await kc.halt(); });
    `);
    expect([code, found]).to.deep.equal([1, []]);
    expect(err).to.include('poll cannot wait for itself to settle');
    expect(err).to.include("code: 'EDEADLK'");
  });

  it('names a deadlock before process.exit()', async () => {
    const { code, found } = await run(`
      const lock = new Mutex({ name: 'journal' });
      start('flush', () => { void lock.enter(); process.exit(3); }, lock);
    `);
    expect([code, found]).to.deep.equal([
      3,
      ['deadlock: flush on prilow waits for lock journal, which it holds itself'],
    ]);
  });

  it('names a continuation that is collected after touch() has returned false', async () => {
    const { code, found } = await run(`
      (() => { new Kcont(wq.prilow, null, () => {}, null, { name: 'lost' }).touch(); })();
      (() => {
        const kc = new Kcont(wq.prilow, null, () => {}, null, { name: 'armed' });
        kc.touch();
        kc.schedule(1);
        const gone = new Kcont(wq.prilow, null, () => {}, null, { name: 'gone' });
        gone.touch();
        gone.destroy();
      })();
      for (let n = 0; n < 10; n++) { await pause(); gc(); }
    `);
    expect([code, found]).to.deep.equal([
      0,
      [
        'lost on prilow was garbage-collected, and its last call, touch(), had returned false: that run never happens',
      ],
    ]);
  });

  it('says nothing of a program that ends in good order', async () => {
    const { code, found } = await run(`
      const lock = new Mutex();
      start('one', () => lock.run(pause));
      start('two', pause, lock);
      const idle = new Kcont(wq.softclock, null, () => {}, null);
      idle.schedule(5);
      await kcont.kernel.drain();
      await lock.run(pause);
    `);
    expect([code, found]).to.deep.equal([0, []]);
  });
});

describe('a process without KCONT_DEBUG', function () {
  this.timeout(120_000);

  it('says nothing, and loads no more', async () => {
    const { code, err } = await run(
      `
      const lock = new Mutex();
      start('flush', () => lock.enter(), lock);
      `,
      '',
    );
    expect([code, err]).to.deep.equal([0, '']);
  });

  it('refuses debug without kcont/observe, before anything has changed', async () => {
    const { code, err } = await run(
      `
      const clock = new kcont.VirtualClock();
      try {
        new Kernel({ clock, debug: true });
      } catch (error) {
        console.error(error.code, error.stack.split('\\n')[1]);
      }
      await import(${JSON.stringify(observing)});
      console.error(new Kernel({ clock, debug: true }).closed);
      `,
      '',
    );
    expect(code).to.equal(0);
    expect(err).to.match(/^ENOTSUP {5}at file:\/\/\S*\[eval1\]:\d+:\d+\nfalse\n$/);
  });
});
