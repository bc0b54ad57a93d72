// The thread that watches an event loop. Its line comes while the loop is blocked, so these are processes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Worker } from 'node:worker_threads';
import { runModule } from '../support/child.ts';

const ending = import.meta.url.slice(-3);
const library = new URL(`../../lib/index${ending}`, import.meta.url).href;
const observing = new URL(`../../lib/observe/index${ending}`, import.meta.url).href;

describe('observe({ watch: true })', function () {
  this.timeout(30_000);

  it('reports a function that never returns, with its stack', async () => {
    const program = `
      import { Kcont, wq } from ${JSON.stringify(library)};
      import { observe } from ${JSON.stringify(observing)};
      observe({ watch: true, limits: { blockMs: 100 } });
      function spinForEver() { for (;;); }
      new Kcont(wq.prilow, null, spinForEver, 0, { name: 'spinner' }).schedule(50);
    `;
    const options = { timeout: 20_000, killSignal: 'SIGKILL' } as const;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], options);
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text += String(chunk);
      if (text.includes('spinForEver (')) child.kill('SIGKILL');
    });
    await once(child, 'close');
    expect(text).to.match(/^kcont: spinner on prilow blocks the event loop, for \d+ ms so far\n/);
    expect(text.split('\n')[1]).to.match(/^ {4}at spinForEver \(/);
  });

  it('tells onStall when the function has returned, reports it once, and lets the process end', async () => {
    const { code, out, err } = await runModule(`
      import { observe } from ${JSON.stringify(observing)};
      const onStall = ({ kind, name, function: func, id, limitMs, ms, stack, message }) => {
        if (kind !== 'block') return;
        console.log(kind, name, func, id, limitMs, ms >= 100, stack.includes('burn'));
        console.log(message.replace(/\\d+ ms/, 'N ms'));
        done();
      };
      let done;
      const told = new Promise((resolve) => (done = resolve));
      observe({ watch: true, limits: { blockMs: 100, functionMs: Infinity }, onStall });
      const burn = () => {
        const end = performance.now() + 600;
        while (performance.now() < end);
      };
      // The thread has to be up before the function blocks.
      const kc = new kcont.Kcont(kcont.wq.prilow, null, burn, 0, { name: 'burner' });
      kc.schedule(300);
      const alive = setInterval(() => undefined, 1000);
      await told;
      clearInterval(alive);
    `);
    expect([code, out]).to.deep.equal([
      0,
      [
        'block burner burn null 100 true true',
        'burner on prilow had blocked the event loop for N ms when it was found',
      ],
    ]);
    expect(err.match(/^kcont: burner on prilow blocks the event loop, for /gm)).to.have.length(1);
  });

  it('reports nothing if every function returns in time, or it was stopped', async () => {
    const { code, out, err } = await runModule(`
      import { observe } from ${JSON.stringify(observing)};
      const { Kcont, wq } = kcont;
      const limits = { functionMs: Infinity, lateMs: Infinity, blockMs: 5000 };
      observe({ watch: true, limits });
      observe({ watch: true, limits: { ...limits, blockMs: 1 } }).stop();
      for (let n = 0; n < 1000; n++) new Kcont(wq.prilow, null, () => undefined, 0, { name: 'f' + n }).schedule(n / 10);
      new Kcont(wq.prilow, null, async () => undefined, 0).schedule(1);
    `);
    expect([code, out, err]).to.deep.equal([0, [], '']);
  });

  it('starts no thread for a program that loads its file by itself', async () => {
    const entry = new URL(`../../lib/observe/watch-entry${ending}`, import.meta.url);
    const worker = new Worker(entry);
    const [code] = (await once(worker, 'exit')) as [number];
    expect(code).to.equal(0);
  });
});
