import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import workerThreads, { getEnvironmentData, type WorkerOptions } from 'node:worker_threads';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Kcont, Kernel, VirtualClock, kernel as processKernel } from '../../lib/index.ts';
import { observerOf } from '../../lib/observe/kernel-observer.ts';
import { list, observe, type Observation, type ObserveOptions } from '../support/observe.ts';
import { runModule } from '../support/child.ts';
import { codeOf, settled } from '../support/lab.ts';

const observing = new URL(`../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

describe('observe({ signal })', () => {
  it('prints the reports of the kernels that have something in hand', async () => {
    const kernel = new Kernel({ clock: new VirtualClock() });
    list(kernel);
    new Kcont(kernel.wq.prilow, null, () => undefined, 0, { name: 'forgotten' }).schedule(1000);
    const text = await new Promise<string>((resolve) => {
      using _ = observe({ signal: 'SIGUSR2', write: resolve });
      process.emit('SIGUSR2');
    });
    expect(text).to.include(`kcont, process ${process.pid}: the process-wide kernel\nrunning: `);
    expect(text).to.include('  forgotten on prilow: due in 1 s, set 0 ms ago\n');
    expect(process.listenerCount('SIGUSR2')).to.equal(0);
  });

  it('installs no handler without a signal, and removes its own once', () => {
    const before = process.listenerCount('SIGUSR2');
    observe().stop();
    expect(process.listenerCount('SIGUSR2')).to.equal(before);
    const observation = observe({ signal: 'SIGUSR2' });
    expect(process.listenerCount('SIGUSR2')).to.equal(before + 1);
    observation.stop();
    observation.stop();
    expect(process.listenerCount('SIGUSR2')).to.equal(before);
  });

  it('writes to the standard error stream, and does not keep the process alive', async () => {
    const { code, out, err } = await runModule(`
      import { observe } from ${JSON.stringify(observing)};
      observe({ signal: 'SIGUSR2' });
      new kcont.Kcont(kcont.wq.softclock, null, function tick(_, kc) {
        console.log('ended');
      }, 0).schedule(100);
      process.kill(process.pid, 'SIGUSR2');
    `);
    expect([code, out]).to.deep.equal([0, ['ended']]);
    expect(err).to.match(/pending: 1\n {2}tick on softclock: due in \d+ ms, set \d+ ms ago\n/);
    expect(err).to.match(/keeps the process alive: 1\n {2}timer tick on softclock: due/);
  });

  it('is refused on a worker thread, which gets no signals', async () => {
    const { code, out, err } = await runModule(`
      import { Worker, isMainThread } from 'node:worker_threads';
      import { observe } from ${JSON.stringify(observing)};
      const source = \`
        import(${JSON.stringify(observing)}).then(({ observe }) => {
          try {
            observe({ signal: 'SIGUSR2', record: true }).stop();
          } catch ({ code, message }) {
            console.log(code, message, process.listenerCount('SIGUSR2'));
          }
          observe({ limits: {} }).stop();
        });
      \`;
      new Worker(source, { eval: true });
    `);
    expect([code, err]).to.deep.equal([0, '']);
    expect(out).to.deep.equal([
      'ENOTSUP signals arrive on the main thread only: call observe({ signal }) there 0',
    ]);
  });
});

/** What observations of a kernel have started in this process. */
interface Started {
  readonly taps: number;
  readonly timers: number;
  readonly listeners: readonly number[];
  readonly sockets: readonly string[];
  readonly rings: unknown;
}

let parent = '';
let kernel = processKernel;

async function started(): Promise<Started> {
  // A socket is closed, and a thread ends, in a later turn.
  await settled();
  const events = ['SIGUSR2', 'uncaughtExceptionMonitor', 'beforeExit', 'exit'];
  return {
    taps: observerOf(kernel).taps.length,
    timers: list(kernel).filter(({ name }) => name.startsWith('kcont/')).length,
    listeners: events.map((event) => process.listenerCount(event)),
    sockets: readdirSync(parent, { encoding: 'utf8', recursive: true }).filter((name) =>
      name.endsWith('.sock'),
    ),
    rings: getEnvironmentData('kcont/observe: rings'),
  };
}

describe('observe() of which a part cannot be started', () => {
  const { KCONT_SOCKETS: folder } = process.env;
  const { Worker } = workerThreads;
  const { SharedArrayBuffer: Memory } = globalThis;
  const { on } = process;
  const { write } = process.stderr;
  let parts: Observation | undefined;

  beforeEach(() => {
    kernel = new Kernel();
    parent = mkdtempSync(join(tmpdir(), 'observe-'));
    process.env['KCONT_SOCKETS'] = join(parent, 'own');
  });
  afterEach(() => {
    process.on = on;
    globalThis.SharedArrayBuffer = Memory;
    workerThreads.Worker = Worker;
    syncBuiltinESMExports();
    if (folder === undefined) delete process.env['KCONT_SOCKETS'];
    else process.env['KCONT_SOCKETS'] = folder;
    rmSync(parent, { recursive: true });
  });

  const all: ObserveOptions = {
    signal: 'SIGUSR2',
    socket: true,
    record: true,
    watch: true,
    limits: {},
    write: () => undefined,
    onFinding: () => undefined,
  };
  const fail = (): never => {
    throw new Error('no');
  };
  /** Has `process.on` fail for an event. */
  const refuse = (refused: string): void => {
    process.on = ((event: string, listener: () => void) =>
      event === refused ? fail() : on.call(process, event as 'exit', listener)) as typeof on;
  };
  /** Has the part fail that is the nth to be told what happens. */
  const refuseTap = (nth: number): void => {
    let count = 0;
    const observer = observerOf(kernel);
    const { add } = observer;
    observer.add = (tap) => (++count === nth ? fail() : add.call(observer, tap));
  };
  const thread = function (): void {
    fail();
  };
  for (const { title, prepare } of [
    { title: 'the socket', prepare: () => void (process.env['KCONT_SOCKETS'] = `${parent}/a/b`) },
    { title: 'the handler of the signal', prepare: () => refuse('SIGUSR2') },
    { title: 'the search for stalls', prepare: () => refuseTap(1) },
    {
      title: 'the memory of the flight recorder',
      prepare: () => {
        globalThis.SharedArrayBuffer = thread as unknown as typeof Memory;
      },
    },
    { title: 'the flight recorder', prepare: () => refuseTap(2) },
    { title: 'its handler of exceptions', prepare: () => refuse('uncaughtExceptionMonitor') },
    {
      title: 'the watching thread',
      prepare: () => {
        workerThreads.Worker = thread as unknown as typeof Worker;
        syncBuiltinESMExports();
      },
    },
    { title: 'what the watching thread is told', prepare: () => refuseTap(3) },
    { title: 'debug mode', prepare: () => refuseTap(4) },
  ]) {
    it(`has nothing left of the others: ${title}`, async () => {
      const before = await started();
      prepare();
      let observation: Observation | undefined;
      expect(codeOf(() => (observation = observe({ ...all, kernel })))).to.match(
        /^(?:Error: no|EPERM|ENOTSUP)$/,
      );
      expect(observation).to.equal(undefined);
      expect(await started()).to.deep.equal(before);
    });
  }

  it('leaves no memory for other CPUs if the flight recorder cannot be started', () => {
    refuse('uncaughtExceptionMonitor');
    expect(codeOf(() => observe({ record: true }))).to.equal('Error: no');
    expect(getEnvironmentData('kcont/observe: rings')).to.equal(undefined);
  });

  it('goes on without the watching thread if that fails later, and says so', async () => {
    class Failing extends Worker {
      constructor(_: string | URL, options: WorkerOptions) {
        super('throw new Error("out of order");', { ...options, eval: true });
      }
    }
    workerThreads.Worker = Failing;
    syncBuiltinESMExports();
    const before = await started();
    const text = await new Promise<string>((resolve) => {
      process.stderr.write = (chunk) => {
        resolve(String(chunk));
        return true;
      };
      parts = observe({ kernel, watch: true });
    }).finally(() => (process.stderr.write = write));
    expect(text).to.equal('kcont: nothing watches the event loop any more: out of order\n');
    expect((await started()).taps - before.taps).to.equal(1);
    parts?.stop();
    expect(await started()).to.deep.equal(before);
  });

  it('starts all of them otherwise, and ends them', async () => {
    const before = await started();
    const observation = observe({ ...all, kernel });
    const during = await started();
    expect(during.taps - before.taps).to.equal(4);
    observation.stop();
    expect(await started()).to.deep.equal(before);
  });
});
