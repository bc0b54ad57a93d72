import { AsyncLocalStorage } from 'node:async_hooks';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { inspect } from 'node:util';
import { expect } from 'chai';
import { afterEach, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex } from '../../lib/index.ts';
import type { Workqueue } from '../../lib/index.ts';
import {
  observe,
  type EnterMessage,
  type ErrorMessage,
  type KcontMessage,
  type RunMessage,
  type ScheduleMessage,
  type SettleMessage,
  type StallMessage,
} from '../support/observe.ts';
import { HandClock } from '../support/hand-clock.ts';
import { Lab, settled } from '../support/lab.ts';
import { runModule } from '../support/child.ts';

/** The module as a child process imports it. */
const observing = new URL('../../lib/observe/index.js', import.meta.url).href;

const NAMES = ['schedule', 'expire', 'enter', 'settle', 'stop', 'error'] as const;
type Name = (typeof NAMES)[number];
const RUN_EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;

const undo: (() => void)[] = [];

afterEach(() => {
  for (const one of undo.splice(0)) one();
});

/** Subscribes to a channel until the spec has ended. */
function subscribe(name: string, listener: (message: unknown) => void): void {
  const to = channel(name);
  to.subscribe(listener);
  undo.push(() => to.unsubscribe(listener));
}

/** Writes down the messages of these channels. */
function record(...names: readonly Name[]): string[] {
  const lines: string[] = [];
  for (const name of names) {
    subscribe(`kcont:${name}`, (message) =>
      lines.push(`${name} ${(message as KcontMessage).name}`),
    );
  }
  return lines;
}

/** Writes down the messages of `kcont:run`. */
function trace(): string[] {
  const lines: string[] = [];
  for (const event of RUN_EVENTS) {
    subscribe(`tracing:kcont:run:${event}`, (message) => {
      const run = message as RunMessage;
      const failed = 'error' in run ? ` (${(run.error as Error).message})` : '';
      lines.push(`${event} ${run.name}${failed}`);
    });
  }
  return lines;
}

const named = (name: string): { options: { name: string } } => ({ options: { name } });

describe('the channels of kcont/observe', () => {
  it('tell what happens, in order', async () => {
    const lab = new Lab();
    const lines = record(...NAMES);
    const kc = lab.async('a', named('a'));
    const b = lab.sync('b', {
      ...named('b'),
      body: () => {
        throw new Error('failure');
      },
    });
    kc.schedule(10);
    kc.schedule(20);
    b.schedule();
    lab.clock.tick(30);
    await lab.end(kc);
    kc.schedule();
    kc.stop();
    await settled();
    expect(lines).to.deep.equal([
      'schedule a',
      'schedule a',
      'schedule b',
      'enter b',
      'error b',
      'settle b',
      'expire a',
      'enter a',
      'settle a',
      'schedule a',
      'stop a',
    ]);
  });

  it('describe the continuation, and what is known of the event', async () => {
    const clock = new HandClock();
    const kernel = new Kernel({ clock, onError: () => undefined });
    const found: object[] = [];
    for (const name of NAMES) subscribe(`kcont:${name}`, (one) => found.push(one as object));
    function work(): void {
      clock.pass(3);
      throw new Error('failure');
    }
    const kc = new Kcont(kernel.wq.prilow, null, work, null, { name: 'a' });
    const startMs = kernel.now();
    kc.schedule(10);
    clock.pass(12);
    while (kc.busy) await settled();
    const [schedule, expire, enter, error, end] = found as [
      ScheduleMessage,
      KcontMessage,
      EnterMessage,
      ErrorMessage,
      SettleMessage,
    ];
    for (const message of found as KcontMessage[]) {
      expect(message.kernel).to.equal(kernel);
      expect(message.kcont).to.equal(kc);
      const { name, function: func, workqueue, priority, cpu } = message;
      expect([name, func, workqueue, priority, cpu]).to.deep.equal(['a', 'work', 'prilow', 103, 0]);
    }
    expect(schedule.deadlineMs).to.be.closeTo(startMs + 10, 0.2);
    expect([schedule.moved, schedule.context]).to.deep.equal([false, undefined]);
    expect(Object.keys(expire)).to.deep.equal([]);
    expect(enter.waitMs).to.be.closeTo(2, 0.2);
    expect((error.error as Error).message).to.equal('failure');
    expect([end.runMs, end.failed]).to.deep.equal([3, true]);
    expect(inspect(end)).to.equal('a on prilow {"runMs":3,"failed":true}');
    expect(JSON.parse(JSON.stringify(end))).to.deep.equal({
      name: 'a',
      function: 'work',
      workqueue: 'prilow',
      priority: 103,
      cpu: 0,
      runMs: 3,
      failed: true,
    });
  });

  it('do not give away the continuation of a run', async () => {
    const lab = new Lab();
    const found: KcontMessage[] = [];
    for (const name of NAMES) subscribe(`kcont:${name}`, (one) => found.push(one as KcontMessage));
    const run = lab.wq.prilow.run(() => 1, { name: 'job' });
    lab.clock.tick(0);
    expect(await run).to.equal(1);
    expect(found.map(({ name, kcont }) => [name, kcont])).to.deep.equal([
      ['job', null],
      ['job', null],
      ['job', null],
    ]);
  });

  it('have the error of a function of run(), which its caller gets', async () => {
    const lab = new Lab();
    const lines = record('enter', 'error', 'settle');
    const fails = [
      () => {
        throw new Error('thrown');
      },
      () => Promise.reject(new Error('rejected')),
    ];
    for (const func of fails) {
      const run = lab.wq.prilow.run(func, { name: 'job' }).catch(({ message }: Error) => message);
      await lab.clock.advance(1);
      lines.push(await run);
    }
    expect(lines).to.deep.equal([
      'enter job',
      'error job',
      'settle job',
      'thrown',
      'enter job',
      'error job',
      'settle job',
      'rejected',
    ]);
  });

  it('have the stalls that observe() finds', async () => {
    const clock = new HandClock();
    const kernel = new Kernel({ clock });
    const found: StallMessage[] = [];
    subscribe('kcont:stall', (message) => found.push(message as StallMessage));
    const observation = observe({
      kernel,
      limits: { functionMs: 5 },
      onStall: () => undefined,
    });
    new Kcont(kernel.wq.prilow, null, () => clock.pass(10), null, { name: 'a' }).schedule();
    await kernel.drain();
    observation.stop();
    expect(found.map((one) => [one.kernel, one.stall.kind, one.stall.name])).to.deep.equal([
      [kernel, 'function', 'a'],
    ]);
  });

  it('tell how long it has been due, and for how long an asynchronous function has run', async () => {
    const lab = new Lab();
    const times: unknown[] = [];
    subscribe('kcont:enter', (message) => times.push((message as EnterMessage).waitMs));
    subscribe('kcont:settle', (message) => times.push((message as SettleMessage).runMs));
    const lock = new Mutex();
    lock.tryEnter();
    const kc = lab.async('a', { lock });
    kc.schedule(5);
    lab.clock.tick(20);
    lock.exit();
    lab.clock.tick(25);
    await lab.end(kc);
    expect(times).to.deep.equal([15, 25]);
  });

  it('report what a subscriber throws as an uncaught exception, and go on', async () => {
    const { out } = await runModule(`
      import ${JSON.stringify(observing)};
      const { Kcont, wq } = kcont;
      import { subscribe } from 'node:diagnostics_channel';
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message));
      for (const name of ['schedule', 'enter', 'settle']) {
        subscribe('kcont:' + name, () => { throw new Error(name); });
        subscribe('kcont:' + name, () => console.log(name));
      }
      subscribe('tracing:kcont:run:start', () => { throw new Error('start'); });
      await wq.prilow.run(() => console.log('runs'));
    `);
    expect(out.filter((line) => !line.startsWith('uncaught'))).to.deep.equal([
      'schedule',
      'enter',
      'runs',
      'settle',
    ]);
    expect(out.filter((line) => line.startsWith('uncaught'))).to.deep.equal([
      'uncaught schedule',
      'uncaught enter',
      'uncaught start',
      'uncaught settle',
    ]);
  });
});

describe('the tracing channel kcont:run', () => {
  it('has start and end of a synchronous function', () => {
    const lab = new Lab();
    const lines = trace();
    const kc = lab.sync('a', { ...named('a'), body: () => lines.push('runs') });
    kc.schedule();
    lab.clock.tick(0);
    expect(lines).to.deep.equal(['start a', 'runs', 'end a']);
  });

  it('has also the asynchronous part of a function that returns a promise', async () => {
    const lab = new Lab();
    const lines = trace();
    const kc = lab.async('a', named('a'));
    kc.schedule();
    lab.clock.tick(0);
    expect(lines).to.deep.equal(['start a', 'end a']);
    await lab.end(kc);
    expect(lines.slice(2)).to.deep.equal(['asyncStart a', 'asyncEnd a']);
    kc.schedule();
    lab.clock.tick(0);
    await lab.fail(kc, new Error('failure'));
    expect(lines.slice(6)).to.deep.equal([
      'error a (failure)',
      'asyncStart a (failure)',
      'asyncEnd a (failure)',
    ]);
  });

  it('has the error of a function that throws, also of one of run()', async () => {
    const lab = new Lab();
    const lines = trace();
    const fail = (): never => {
      throw new Error('failure');
    };
    lab.sync('a', { ...named('a'), body: fail }).schedule();
    lab.clock.tick(0);
    const job = lab.wq.prilow.run(fail, { name: 'job' }).catch(() => undefined);
    lab.clock.tick(0);
    await job;
    const rejected = lab.wq.prilow
      .run(() => Promise.reject(new Error('rejected')), { name: 'async' })
      .catch(() => undefined);
    await lab.clock.advance(1);
    await rejected;
    expect(lines).to.deep.equal([
      'start a',
      'error a (failure)',
      'end a (failure)',
      'start job',
      'error job (failure)',
      'end job (failure)',
      'start async',
      'end async',
      'error async (rejected)',
      'asyncStart async (rejected)',
      'asyncEnd async (rejected)',
    ]);
    expect(lab.reported).to.deep.equal(['failure']);
  });

  it('leaves an error that nobody handles to the host, and has it too', async () => {
    const { out } = await runModule(`
      import ${JSON.stringify(observing)};
      const { Kcont, wq } = kcont;
      import { subscribe } from 'node:diagnostics_channel';
      process.on('uncaughtException', (error) => console.log('uncaught', error.message, error.continuation));
      subscribe('kcont:error', ({ name, error }) => console.log('error', name, error.message));
      const fail = () => { throw new Error('failure'); };
      new Kcont(wq.prilow, null, fail, null, { name: 'a' }).schedule();
      await wq.prilow.run(() => {}, { delayMs: 5 });
      subscribe('tracing:kcont:run:error', ({ name, error }) => console.log('traced', name, error.message));
      new Kcont(wq.prilow, null, fail, null, { name: 'b' }).schedule();
    `);
    expect(out.toSorted()).to.deep.equal([
      'error a failure',
      'error b failure',
      'traced b failure',
      'uncaught failure a on prilow',
      'uncaught failure b on prilow',
    ]);
  });

  it('calls the function in the stores that are bound to start', async () => {
    const lab = new Lab();
    const store = new AsyncLocalStorage<string>();
    const { start } = tracingChannel('kcont:run');
    start.bindStore(store, (message) => (message as RunMessage).name);
    undo.push(() => start.unbindStore(store));
    const seen: unknown[] = [];
    const kc = new Kcont(
      lab.wq.prilow,
      null,
      async () => {
        seen.push(store.getStore());
        await Promise.resolve();
        seen.push(store.getStore());
      },
      null,
      { name: 'a' },
    );
    kc.schedule();
    await lab.clock.advance(1);
    lab.sync('b', { body: () => seen.push(store.getStore()), ...named('b') }).schedule();
    await lab.clock.advance(1);
    seen.push(store.getStore());
    expect(seen).to.deep.equal(['a', 'a', 'b', undefined]);
  });

  it('may be subscribed to, and left, during a run', async () => {
    const lab = new Lab();
    const kc = lab.async('a', named('a'));
    kc.schedule();
    lab.clock.tick(0);
    const lines = trace();
    await lab.end(kc);
    kc.schedule();
    lab.clock.tick(0);
    for (const one of undo.splice(0)) one();
    await lab.end(kc);
    expect(lines).to.deep.equal(['start a', 'end a']);
  });

  it('has a promise of a function that must be synchronous as an error', async () => {
    const lab = new Lab();
    const lines = trace();
    const wq: Workqueue = lab.wq.softclock;
    new Kcont(wq, null, () => Promise.resolve(), null, { name: 'a' }).schedule();
    await lab.clock.advance(1);
    expect(lines.map((line) => line.slice(0, 9))).to.deep.equal(
      ['start a', 'end a', 'error a (', 'asyncStar', 'asyncEnd '].map((line) => line.slice(0, 9)),
    );
  });
});

describe('a subscriber', () => {
  const actions: readonly (readonly [string, (kc: Kcont<string>) => unknown])[] = [
    ['schedule()', (kc) => kc.schedule()],
    ['schedule(5)', (kc) => kc.schedule(5)],
    ['reset()', (kc) => kc.reset()],
    ['reset(5)', (kc) => kc.reset(5)],
    ['touch()', (kc) => kc.touch()],
    ['stop()', (kc) => kc.stop()],
    ['cancel()', (kc) => kc.cancel()],
    ['ack()', (kc) => kc.ack()],
    ['destroy()', (kc) => kc.destroy()],
    ['halt()', (kc) => kc.halt().catch(() => undefined)],
    ['drainAsync()', (kc) => kc.drainAsync(() => undefined)],
    ['unref()', (kc) => kc.unref()],
  ];
  const channels = [
    ...NAMES.map((name) => `kcont:${name}`),
    ...RUN_EVENTS.map((event) => `tracing:kcont:run:${event}`),
  ];

  for (const name of channels) {
    for (const [what, act] of actions) {
      for (const whose of ['the same', 'another', 'each'] as const) {
        it(`of ${name} may call ${what} of ${whose} continuation`, async () => {
          const lab = new Lab();
          const lock = new Mutex();
          const handles: Kcont<string>[] = [];
          let left = 20;
          let calls = 0;
          subscribe(name, (message) => {
            const { kcont } = message as KcontMessage;
            if (left === 0 || kcont === null) return;
            left--;
            calls++;
            const others = handles.filter((kc) => kc !== kcont);
            const chosen =
              whose === 'the same'
                ? [kcont as Kcont<string>]
                : whose === 'another'
                  ? others.slice(0, 1)
                  : handles;
            for (const kc of chosen) act(kc);
          });
          const fail = (): never => {
            throw new Error('failure');
          };
          const soon = (): Promise<void> => Promise.resolve();
          const later = (): Promise<void> => Promise.reject(new Error('rejected'));
          const funcs = [() => undefined, fail, soon, later];
          for (const [at, func] of [...funcs, ...funcs].entries()) {
            const by = at < funcs.length ? null : lock;
            handles.push(new Kcont<string>(lab.wq.prilow, by, func, `${at}`));
          }
          for (const kc of handles) kc.schedule();
          handles[0]?.stop();
          await lab.clock.advance(1);
          for (const kc of handles) if (!kc.destroyed) kc.reset(3);
          await lab.clock.advance(20);
          await settled();
          await lab.clock.advance(100);
          await settled();
          await lab.clock.advance(100);
          expect(calls).to.be.greaterThan(0);
          expect(lock.held).to.equal(false);
          const { pending, queued, running } = lab.kernel.inspect();
          expect({ pending, queued, running }).to.deep.equal({ pending: 0, queued: 0, running: 0 });
          left = 0;
          // Nothing is left over that would disturb what comes later.
          const ran: string[] = [];
          const later2 = ['x', 'y', 'z'].map(
            (arg) => new Kcont<string>(lab.wq.prilow, lock, (name2) => void ran.push(name2), arg),
          );
          for (const kc of later2) kc.schedule();
          await lab.clock.advance(1);
          expect(ran).to.deep.equal(['x', 'y', 'z']);
        });
      }
    }
  }

  it('that causes its own message neither exhausts the stack nor blocks the event loop', async () => {
    const lab = new Lab();
    const kc = lab.sync('a');
    let count = 0;
    subscribe('kcont:schedule', () => {
      count++;
      kc.schedule(count);
    });
    kc.schedule(1);
    for (let turns = 0; turns < 1000; turns++) await settled();
    expect(count).to.be.within(900, 1100);
    kc.destroy();
    expect(lab.kernel.inspect().pending).to.equal(0);
  });
});
