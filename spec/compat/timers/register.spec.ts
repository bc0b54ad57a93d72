// Programs that do not use kcont must print the same under `node` and under
// `node --import kcont/timers/register`.
import { execFile } from 'node:child_process';
import { expect } from 'chai';

const register = new URL('../../../lib/compat/timers/register.js', import.meta.url).href;

const index = new URL('../../../lib/index.js', import.meta.url).href;
const timersOfKcont = new URL('../../../lib/compat/timers/index.js', import.meta.url).href;
const sinon = new URL(import.meta.resolve('sinon')).href;

interface Ended {
  readonly code: number;
  readonly out: string[];
  readonly err: string;
}

function run(
  source: string,
  flags: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...flags, '--expose-gc', '--input-type=module', '--eval', source],
      { timeout: 60_000, env },
      (_, stdout, stderr) =>
        resolve({
          code: child.exitCode ?? -1,
          out: stdout.split('\n').filter((line) => line !== ''),
          err: stderr,
        }),
    );
  });
}

/** Definitions that all programs may use. */
const prelude = `
  import { AsyncLocalStorage } from 'node:async_hooks';
  import { readFile } from 'node:fs';
  const say = console.log;
  const burn = (ms) => { const end = performance.now() + ms; while (performance.now() < end); };
  const inIo = (body) => new Promise((resolve) => readFile('package.json', () => { body(); resolve(); }));
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

const programs: Record<string, string> = {
  'a program without a timer ends': `say('end');`,
  'a timer keeps the process alive, one that is unreferenced does not': `
    setTimeout(say, 30, 'kept');
    setTimeout(say, 60_000, 'never').unref();
    setInterval(say, 60_000, 'never').unref();
    setTimeout(say, 60_000, 'cleared by another').ref();
    setTimeout(() => clearTimeout(late), 10);
    const late = setTimeout(say, 60_000, 'never');
    process.on('exit', () => say('exit'));
    setTimeout(() => process.exit(), 60);
  `,
  'an unreferenced timer is called while something else keeps the process alive': `
    setTimeout(say, 10, 'unref').unref();
    setTimeout(say, 60, 'ref');
  `,
  'an unreferenced immediate does not keep the process alive': `
    process.on('exit', () => say('exit'));
    // A timer that is due before the loop has begun is called before the immediates of the first iteration.
    await inIo(() => { setTimeout(() => { setImmediate(say, 'unref').unref(); }, 5); });
  `,
  'immediates that set each other, unreferenced, do not keep the process alive': `
    const loop = () => { setImmediate(loop).unref(); };
    loop();
    setTimeout(say, 20, 'timer');
  `,
  'a refreshed and a re-referenced timer keep it alive': `
    const again = setTimeout(() => say('again'), 5);
    const timer = setTimeout(say, 20, 'ran').unref();
    timer.ref();
    setTimeout(() => again.refresh(), 40);
  `,
  'promises of timers that are unreferenced do not keep it alive': `
    import { setTimeout as later } from 'node:timers/promises';
    import { promisify } from 'node:util';
    void promisify(setTimeout)(60_000, 'x', { ref: false }).then(say);
    say(await promisify(setImmediate)('soon'));
    say(await later(5, 'later'));
  `,
  'a throwing timer is an uncaught exception, and the others go on': `
    process.on('uncaughtException', (error, origin) => say(error.message, origin));
    await inIo(() => {
      setTimeout(() => { process.nextTick(say, 'tick of a'); throw new Error('a'); }, 5);
      setTimeout(() => { process.nextTick(say, 'tick of b'); }, 5);
      setTimeout(() => { throw new Error('c'); }, 15);
      let calls = 0;
      const interval = setInterval(() => {
        if (++calls === 3) clearInterval(interval);
        throw new Error('interval ' + calls);
      }, 30);
    });
  `,
  'a throwing immediate is an uncaught exception, and the others go on': `
    process.on('uncaughtException', (error) => say(error.message));
    await inIo(() => {
      setImmediate(() => { setImmediate(say, 'next'); throw new Error('a'); });
      setImmediate(say, 'b');
      setImmediate(() => { throw new Error('c'); });
      setImmediate(say, 'd');
    });
  `,
  'a tick or a microtask that throws between two callbacks hurts no other': `
    process.on('uncaughtException', (error) => say(error.message));
    process.on('unhandledRejection', (error) => say('rejected', error.message));
    await inIo(() => {
      setImmediate(() => { process.nextTick(() => { throw new Error('tick'); }); });
      setImmediate(() => { queueMicrotask(() => { throw new Error('micro'); }); });
      setImmediate(() => { void Promise.reject(new Error('promise')); });
      setImmediate(say, 'last');
    });
  `,
  'an error that nobody takes ends the process with 1': `
    setTimeout(say, 60_000, 'never');
    setTimeout(() => { throw new RangeError('fatal'); }, 5);
  `,
  'a rejection that nobody takes ends the process with 1': `
    setImmediate(async () => { throw new RangeError('fatal'); });
    setTimeout(say, 60_000, 'never');
  `,
  'process.exit from a callback ends it at once': `
    setImmediate(() => { say('first'); process.exit(3); });
    setImmediate(say, 'never');
  `,
  'beforeExit comes when no timer is left, and may set another': `
    let times = 0;
    process.on('beforeExit', () => { say('beforeExit'); if (times++ < 2) setTimeout(say, 1, 'more'); });
    setTimeout(say, 5, 'first');
  `,
  'clearImmediate takes a timer away, or does not': `
    // In those versions, Node also decrements its count of immediates: none is set here.
    const timer = setTimeout(say, 5, 'timer');
    clearImmediate(timer);
    setTimeout(say, 20, 'later');
  `,
  'Node warns of delays that are too long, and takes them for 1 ms': `
    process.on('warning', ({ name, message }) => say(name, message));
    setTimeout(say, 2 ** 31, 'long');
    setInterval(function () { say('longer'); clearInterval(this); }, 2 ** 40);
    const longest = setTimeout(say, 2 ** 31 - 1, 'longest');
    setTimeout(() => clearTimeout(longest), 20);
  `,
  'immediates of a turn come behind the timers that came due in the one before': `
    let due = false;
    let calls = 0;
    const run = () => {
      if (calls++ === 0) { setTimeout(() => { due = true; }, 1); burn(3); }
      if (!due) setImmediate(run);
    };
    for (let i = 0; i < 10; i++) setImmediate(run);
    process.on('exit', () => say(calls));
  `,
  'a timer with an id that was cleared as a string is not called': `
    const ids = [setTimeout(say, 5, 'never'), setInterval(say, 5, 'never')].map((it) => String(+it));
    ids.forEach((id) => clearTimeout(id));
    setTimeout(say, 20, 'end');
  `,
  'Node warns, or does not, of delays that are negative or NaN': `
    process.on('warning', ({ name, message }) => say(name, message));
    for (const delay of [-1, -2, NaN, 'x', undefined]) setTimeout(() => {}, delay);
    for (const delay of [-1, NaN]) setInterval(() => {}, delay).unref();
    await wait(20);
  `,
  'fetch, streams and child processes are what they were': `
    import { createServer } from 'node:http';
    import { spawn } from 'node:child_process';
    import { pipeline } from 'node:stream/promises';
    import { Readable } from 'node:stream';
    const server = createServer((request, response) => {
      setTimeout(() => response.end('hello'), 20);
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const url = 'http://127.0.0.1:' + server.address().port;
    say(await (await fetch(url)).text());
    const late = await fetch(url, { signal: AbortSignal.timeout(5) }).catch((error) => error.name);
    say(late);
    server.closeAllConnections();
    server.close();
    const chunks = [];
    await pipeline(Readable.from(['a', 'b']), async function* (source) {
      for await (const chunk of source) { await wait(2); chunks.push(chunk); }
    });
    say(chunks.join());
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'], { timeout: 100 });
    say(await new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal))));
  `,
  'the names and shapes are what they were': `
    for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate']) {
      const { configurable, enumerable, writable } = Object.getOwnPropertyDescriptor(globalThis, name);
      say(name, globalThis[name].name, configurable, enumerable, writable);
    }
  `,
};

describe('node --import kcont/timers/register', function () {
  this.timeout(60_000);

  for (const [title, program] of Object.entries(programs)) {
    it(`runs as node does: ${title}`, async () => {
      const source = prelude + program;
      const [node, kcont, yielding] = await Promise.all([
        run(source, []),
        run(source, ['--import', register]),
        run(source, ['--import', register, '--pending-deprecation']),
      ]);
      expect({ code: kcont.code, out: kcont.out }).to.deep.equal({
        code: node.code,
        out: node.out,
      });
      expect(yielding.out).to.deep.equal(node.out);
      expect(yielding.err).not.to.match(/DEP0134|_tickCallback/);
    });
  }

  const withRegister = (source: string): Promise<Ended> =>
    run(
      `import { restore, takeOver, kernel } from ${JSON.stringify(register)};
       import * as timers from 'node:timers';
       ${prelude}${source}`,
      [],
    );

  it('replaces the globals, and restores them', async () => {
    const { out } = await withRegister(`
      const ours = setTimeout;
      say(ours === timers.setTimeout, setImmediate === timers.setImmediate);
      takeOver();
      say(restore(), setTimeout === timers.setTimeout, clearImmediate === timers.clearImmediate, restore());
      takeOver();
      say(setTimeout === ours);
      const wrapped = globalThis.setTimeout = (...args) => ours(...args);
      say(restore(), setTimeout === wrapped, setInterval === timers.setInterval);
    `);
    expect(out).to.deep.equal(['false false', 'true true true true', 'true', 'false true true']);
  });

  it('emits one begin and one end of each callback to async_hooks when a microtask throws', async () => {
    const { out } = await withRegister(`
      import { createHook } from 'node:async_hooks';
      const open = new Map();
      const count = (id, by) => open.set(id, (open.get(id) ?? 0) + by);
      createHook({ before: (id) => count(id, 1), after: (id) => count(id, -1) }).enable();
      process.on('uncaughtException', ({ message }) => say(message));
      createHook({ init() {} }).enable();
      const fails = () => { throw new Error('thrown'); };
      // In separate turns, because a tick that throws ends the callback it is in.
      for (const [delay, defer] of [[1, queueMicrotask], [20, process.nextTick]]) {
        setTimeout(() => {
          setTimeout(() => void defer(fails), 1);
          setTimeout(say, 1, 'timer');
          setImmediate(() => void defer(fails));
          setImmediate(say, 'immediate');
          burn(2);
        }, delay);
      }
      setTimeout(() => say([...open.values()].filter((by) => by < 0 || by > 1).length), 100);
    `);
    expect(out.toSorted()).to.deep.equal([
      '0',
      'immediate',
      'immediate',
      'thrown',
      'thrown',
      'thrown',
      'thrown',
      'timer',
      'timer',
    ]);
  });

  it('works if the globals were deleted, and outside of domains', async () => {
    const timers = new URL('../../../lib/compat/timers/index.js', import.meta.url).href;
    const { out } = await run(
      `${prelude}
      import domain from 'node:domain';
      import * as timers from ${JSON.stringify(timers)};
      for (const name of Object.keys(timers)) delete globalThis[name];
      process.on('uncaughtException', ({ message }) => say(message, typeof setTimeout));
      const own = domain.create();
      own.on('error', () => say('not of the domain'));
      // Who asks for the first waking is in a domain; who is called next to it is not.
      own.run(() => timers.setTimeout(say, 5, 'in a domain'));
      timers.setTimeout(() => timers.setImmediate(() => { throw new Error('in no domain'); }), 5);`,
      [],
    );
    expect(out).to.deep.equal(['in a domain', 'in no domain undefined']);
  });

  it('keeps long delays if longDelays is set', async () => {
    const source = `
      process.on('warning', ({ name }) => say(name));
      const long = setTimeout(say, 2 ** 40, 'never');
      say(long._idleTimeout);
      clearTimeout(long);
      const { takeOver } = await import(${JSON.stringify(register)});
      for (const options of [{ longDelays: false }, {}, { longDelays: true }, {}]) {
        takeOver(options);
        const timer = setTimeout(say, 2 ** 40, 'never');
        say(timer._idleTimeout);
        clearTimeout(timer);
      }
      try { takeOver({ longDelays: 'yes' }); } catch (error) { say(error.code, error.message); }
    `;
    const env = { ...process.env, KCONT_LONG_DELAYS: '1' };
    const { out } = await run(prelude + source, ['--import', register], env);
    expect(out.filter((line) => line !== 'TimeoutOverflowWarning')).to.deep.equal([
      '1099511627776',
      '1',
      '1',
      '1099511627776',
      '1099511627776',
      'EINVAL longDelays must be a boolean, got "yes"',
    ]);
    expect(out).to.include('TimeoutOverflowWarning');
  });

  it('leaves timers armed after restore(), and Node’s clearTimeout clears them', async () => {
    const { out } = await withRegister(`
      setTimeout(say, 20, 'armed before');
      setImmediate(say, 'set before');
      const [a, b] = [setTimeout(say, 10, 'never'), setInterval(say, 10, 'never')];
      const immediate = setImmediate(say, 'immediate');
      restore();
      clearTimeout(a);
      clearInterval(b);
      clearImmediate(immediate);
      setImmediate(say, 'of Node');
      process.on('exit', () => say(kernel.inspect().pending));
    `);
    expect(out.toSorted()).to.deep.equal(
      ['set before', 'immediate', 'of Node', 'armed before', '0'].toSorted(),
    );
  });

  it('clears timers of Node, by object and by id', async () => {
    const { out } = await withRegister(`
      clearTimeout(timers.setTimeout(say, 5, 'never'));
      clearInterval(+timers.setInterval(say, 5, 'never'));
      clearImmediate(timers.setImmediate(say, 'never'));
      timers.clearTimeout(setTimeout(say, 5, 'never'));
      const ids = [setTimeout(() => {}, 5), timers.setTimeout(() => {}, 5), setInterval(() => {}, 5).unref()];
      say(new Set(ids.map(Number)).size);
      setTimeout(say, 30, 'end');
    `);
    expect(out).to.deep.equal(['3', 'end']);
  });

  it('continues to work under a library that wraps the globals', async () => {
    const { out } = await withRegister(`
      for (const name of ['setTimeout', 'setImmediate', 'clearTimeout']) {
        const inner = globalThis[name];
        globalThis[name] = function (...args) { return inner.apply(this, args); };
      }
      setImmediate(say, 'immediate');
      const ticks = [];
      const interval = setInterval(() => {
        if (ticks.push(1) < 3) return;
        clearInterval(interval);
        say('interval');
        setTimeout(say, 5, 'timer');
      }, 5);
    `);
    expect(out).to.deep.equal(['immediate', 'interval', 'timer']);
  });

  it('leaves the globals to fake timers, and continues in real time itself', async () => {
    const { out } = await withRegister(`
      const { default: sinon } = await import(${JSON.stringify(sinon)});
      const [ours, oursSoon] = [setTimeout, setImmediate];
      ours(say, 10, 'set before');
      const fake = sinon.useFakeTimers();
      setTimeout(say, 1000, 'fake');
      ours(say, 20, 'of a function taken before');
      fake.tick(2000);
      await new Promise((resolve) => ours(resolve, 60));
      await new Promise((resolve) => oursSoon(resolve));
      fake.restore();
      say(setTimeout === ours);
      setTimeout(say, 10, 'real');
    `);
    expect(out).to.deep.equal(['fake', 'set before', 'of a function taken before', 'true', 'real']);
  });

  it('lets the process-wide kernel and imported timers follow fake timers', async () => {
    const { out } = await withRegister(`
      const { Kcont, wq } = await import(${JSON.stringify(index)});
      const ours = await import(${JSON.stringify(timersOfKcont)});
      const { default: sinon } = await import(${JSON.stringify(sinon)});
      const fake = sinon.useFakeTimers();
      new Kcont(wq.softclock, null, () => say('continuation'), null).schedule(1000);
      ours.setTimeout(say, 1000, 'timer');
      fake.tick(999);
      say('early');
      fake.tick(1);
      new Kcont(wq.softclock, null, () => say('rest'), null).schedule(10);
      fake.restore();
    `);
    expect(out).to.deep.equal(['early', 'continuation', 'timer', 'rest']);
  });

  it('runs on a separate kernel: closing the process-wide one does not affect the app', async () => {
    const { out } = await withRegister(`
      const kcont = await import(${JSON.stringify(index)});
      setTimeout(say, 20, 'timer');
      await kcont.kernel.close();
      setImmediate(say, 'immediate');
      setTimeout(say, 20, 'timer after it');
      say(kcont.kernel === kernel);
    `);
    expect(out).to.have.members(['false', 'immediate', 'timer', 'timer after it']);
  });

  it('applies to worker threads', async () => {
    const { out } = await run(
      `import { Worker } from 'node:worker_threads';
       new Worker(\`
         import('node:timers').then((timers) => {
           setTimeout(() => console.log(setTimeout === timers.setTimeout), 5);
         });
       \`, { eval: true });`,
      ['--import', register],
    );
    expect(out).to.deep.equal(['false']);
  });

  it('can be loaded by require()', async () => {
    const { out } = await run(
      `process.stdout.write(String(setTimeout === (await import('node:timers')).setTimeout));`,
      ['--no-warnings', '--require', new URL(register).pathname],
    );
    expect(out).to.deep.equal(['false']);
  });

  it('kills no live connection after a stall, although node does', async () => {
    const program = `
      import { createServer } from 'node:net';
      import { Worker } from 'node:worker_threads';
      const SOCKETS = 50;
      // How many bytes the worker has been told to send on each socket, and has sent on all.
      const rounds = new Int32Array(new SharedArrayBuffer(8));
      let killed = 0;
      let heard = 0;
      const server = createServer((socket) => {
        let idle;
        socket.on('data', () => {
          idle ??= setTimeout(() => { killed++; }, 1000);
          idle.refresh();
          if (++heard % SOCKETS === 0) setImmediate(stall, heard / SOCKETS);
        });
        socket.on('error', () => {});
        socket.on('close', () => clearTimeout(idle));
      }).listen(0, '127.0.0.1', () => {
        const worker = new Worker(\`
          const { connect } = require('node:net');
          const { workerData: { port, rounds, SOCKETS } } = require('node:worker_threads');
          const sockets = Array.from({ length: SOCKETS }, () => connect(port, '127.0.0.1'));
          let connected = 0;
          const serve = async () => {
            for (let round = 0; ; round++) {
              Atomics.wait(rounds, 0, round);
              await Promise.all(sockets.map((socket) => new Promise((done) => socket.write('.', done))));
              Atomics.add(rounds, 1, 1);
              Atomics.notify(rounds, 1);
            }
          };
          for (const socket of sockets) socket.on('connect', () => { if (++connected === SOCKETS) serve(); });
        \`, { eval: true, execArgv: [], workerData: { port: server.address().port, rounds, SOCKETS } });
        tell();
      });
      const tell = () => { Atomics.add(rounds, 0, 1); Atomics.notify(rounds, 0); };
      // All have just been heard. They are again within the stall; their timers are over behind it.
      const stall = (round) => {
        if (round > 2) {
          say(killed);
          process.exit();
        }
        tell();
        for (let sent; (sent = Atomics.load(rounds, 1)) <= round; ) Atomics.wait(rounds, 1, sent);
        burn(1100);
      };
    `;
    const [node, kcont] = [
      await run(prelude + program, []),
      await run(prelude + program, ['--import', register]),
    ];
    expect(Number(node.out[0])).to.be.above(0);
    expect(kcont.out).to.deep.equal(['0']);
  });
});
