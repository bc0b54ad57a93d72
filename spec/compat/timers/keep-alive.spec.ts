// What Node's documentation says about promises and threads: programs that must print the same with
// node:timers and with kcont/timers.
import { execFile } from 'node:child_process';
import { expect } from 'chai';

const moduleUrl = (name: string): string =>
  new URL(`../../../lib/compat/timers/${name}.js`, import.meta.url).href;

function run(source: string): Promise<string[]> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '--eval', source],
      { timeout: 60_000 },
      (_, out, err) => resolve(`${out}${err}`.split('\n').filter((line) => line !== '')),
    );
  });
}

/** The programs and their output. `TIMERS` and `PROMISES` stand for the modules. */
const programs: Record<string, readonly [source: string, ...prints: string[]]> = {
  'an awaited timer keeps the process alive, until it is over': [
    `import { setTimeout, setImmediate, scheduler } from 'PROMISES';
     console.log(await setTimeout(30, 'timeout'), await setImmediate('immediate'));
     console.log(await scheduler.wait(5), await scheduler.yield());`,
    'timeout immediate',
    'undefined undefined',
  ],
  'ref: false does not keep it alive': [
    `import { setTimeout, setInterval, scheduler } from 'PROMISES';
     void setTimeout(60_000, 'never', { ref: false }).then(console.log);
     void scheduler.wait(60_000, { ref: false }).then(console.log);
     void setInterval(60_000, 'never', { ref: false }).next().then(console.log);
     process.on('exit', () => console.log('exit'));`,
    'exit',
  ],
  'ref: false is fulfilled while something else keeps it alive': [
    `import { setTimeout, setImmediate } from 'PROMISES';
     const hold = globalThis.setInterval(() => undefined, 5);
     console.log(await setImmediate('immediate', { ref: false }));
     console.log(await setTimeout(5, 'timeout', { ref: false }));
     clearInterval(hold);`,
    'immediate',
    'timeout',
  ],
  'an iterator of setInterval keeps it alive only once it is asked for a value': [
    `import { setInterval } from 'PROMISES';
     setInterval(60_000);
     process.on('exit', () => console.log('exit'));`,
    'exit',
  ],
  'an iterator of setInterval keeps it alive until the loop is left': [
    `import { setInterval } from 'PROMISES';
     let n = 0;
     for await (const value of setInterval(5, 'tick')) { console.log(value); if (++n === 2) break; }
     process.on('exit', () => console.log('exit'));`,
    'tick',
    'tick',
    'exit',
  ],
  'an abort lets the process end': [
    `import { setTimeout, setInterval } from 'PROMISES';
     const controller = new AbortController();
     const { signal } = controller;
     const say = ({ name }) => console.log(name);
     setTimeout(60_000, 'never', { signal }).catch(say);
     setInterval(60_000, 'never', { signal }).next().catch(say);
     controller.abort();
     process.on('exit', () => console.log('exit'));`,
    'AbortError',
    'AbortError',
    'exit',
  ],
  'the primitive of a timer clears nothing in another thread': [
    `import { setInterval, clearInterval } from 'TIMERS';
     import { Worker } from 'node:worker_threads';
     let over = false;
     const timer = setInterval(() => {
       if (!over) return;
       console.log('called');
       clearInterval(timer);
     }, 5);
     const worker = new Worker(
       'import("TIMERS").then(({ clearTimeout }) => clearTimeout(' + timer[Symbol.toPrimitive]() + '))',
       { eval: true },
     );
     worker.on('exit', (code) => {
       console.log('worker', code);
       over = true;
     });`,
    'worker 0',
    'called',
  ],
  'a timer keeps the process alive by default; ref and unref say otherwise': [
    `import { setTimeout, setInterval, setImmediate } from 'TIMERS';
     setTimeout(console.log, 20, 'timeout');
     setTimeout(console.log, 60_000, 'never').unref().ref().unref();
     setInterval(console.log, 60_000, 'never').unref();
     console.log(setImmediate(() => undefined).unref().ref().hasRef());`,
    'true',
    'timeout',
  ],
};

describe('kcont/timers and node:timers, about keeping a process alive', function () {
  this.timeout(60_000);

  for (const [title, [source, ...prints]] of Object.entries(programs)) {
    it(`agree: ${title}`, async () => {
      const withModules = (timers: string, promises: string): Promise<string[]> =>
        run(source.replaceAll('TIMERS', timers).replaceAll('PROMISES', promises));
      const [node, kcont] = await Promise.all([
        withModules('node:timers', 'node:timers/promises'),
        withModules(moduleUrl('index'), moduleUrl('promises-index')),
      ]);
      expect(node).to.deep.equal(prints);
      expect(kcont).to.deep.equal(prints);
    });
  }
});
