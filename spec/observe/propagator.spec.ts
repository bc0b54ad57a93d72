import { AsyncLocalStorage } from 'node:async_hooks';
import { channel } from 'node:diagnostics_channel';
import { expect } from 'chai';
import { afterEach, describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import {
  propagate,
  type Propagator,
  type RunMessage,
  type ScheduleMessage,
} from '../support/observe.ts';
import { closeAfterEach, startTestKernel } from '../support/cpus.ts';
import { codeOf, Lab } from '../support/lab.ts';
import { runModule } from '../support/child.ts';

const observing = new URL('../../lib/observe/index.js', import.meta.url).href;
const store = new AsyncLocalStorage<string>();

const byStore: Propagator = {
  capture: () => store.getStore(),
  run: (context, call) => store.run(String(context), call),
  inject: (context) => ({ traceparent: String(context) }),
  extract: ({ traceparent }) => `${traceparent} of another thread`,
};

let remove: () => void = () => undefined;

afterEach(() => {
  remove();
});

describe('propagate()', function () {
  this.timeout(30_000);
  closeAfterEach();

  it('has each function called in the context in which it was scheduled last', async () => {
    remove = propagate(byStore);
    const lab = new Lab();
    const seen: unknown[] = [];
    const kc = new Kcont(lab.wq.prilow, null, (arg) => seen.push(arg, store.getStore()), 'a');
    store.run('first', () => kc.schedule(5));
    store.run('second', () => kc.schedule(10));
    kc.touch();
    lab.clock.tick(20);
    kc.schedule();
    lab.clock.tick(0);
    const job = store.run('job', () => lab.wq.prilow.run(() => store.getStore()));
    lab.clock.tick(0);
    expect(seen).to.deep.equal(['a', 'second', 'a', undefined]);
    expect(await job).to.equal('job');
  });

  it('has the context on the channels, where a subscriber may replace it', () => {
    remove = propagate(byStore);
    const lab = new Lab();
    const seen: unknown[] = [];
    const scheduled = (message: unknown): unknown =>
      seen.push((message as ScheduleMessage).context);
    const started = (message: unknown): void => {
      const run = message as RunMessage;
      seen.push(run.context);
      run.context = 'replaced';
    };
    channel('kcont:schedule').subscribe(scheduled);
    channel('tracing:kcont:run:start').subscribe(started);
    try {
      const kc = lab.sync('a', { body: () => seen.push(store.getStore()) });
      store.run('first', () => kc.schedule());
      lab.clock.tick(0);
    } finally {
      channel('kcont:schedule').unsubscribe(scheduled);
      channel('tracing:kcont:run:start').unsubscribe(started);
    }
    expect(seen).to.deep.equal(['first', 'first', 'replaced']);
  });

  it('drops the context of a run that is stopped', () => {
    remove = propagate(byStore);
    const lab = new Lab();
    const seen: unknown[] = [];
    const kc = lab.sync('a', { body: () => seen.push(store.getStore()) });
    store.run('first', () => kc.schedule());
    kc.stop();
    kc.schedule();
    lab.clock.tick(0);
    expect(seen).to.deep.equal([undefined]);
  });

  it('is in force until it is removed or replaced', () => {
    const lab = new Lab();
    const seen: unknown[] = [];
    const kc = lab.sync('a', { body: () => seen.push(store.getStore()) });
    const once = (): void => {
      store.run('context', () => kc.schedule());
      lab.clock.tick(0);
    };
    const first = propagate({ ...byStore, run: (_, call) => store.run('first', call) });
    once();
    remove = propagate(byStore);
    first();
    once();
    store.run('context', () => kc.schedule());
    remove();
    lab.clock.tick(0);
    once();
    expect(seen).to.deep.equal(['first', 'context', undefined, undefined]);
  });

  it('refuses anything but four functions', () => {
    for (const wrong of [undefined, null, 5, {}, { ...byStore, run: undefined }]) {
      expect(codeOf(() => propagate(wrong as never))).to.equal('EINVAL');
    }
  });

  it('goes on without a context if the propagator throws, and reports that', async () => {
    const { out } = await runModule(`
      import { propagate } from ${JSON.stringify(observing)};
      const { Kcont, wq } = kcont;
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message));
      const fail = (what) => () => { throw new Error(what); };
      const good = { capture: () => 1, run: (_, call) => call(), inject: () => undefined, extract: () => undefined };
      const run = async (what, changed) => {
        const remove = propagate({ ...good, ...changed });
        console.log(what, await wq.prilow.run(() => 'runs'));
        remove();
      };
      await run('capture', { capture: fail('capture') });
      await run('before', { run: fail('before') });
      await run('after', { run: (_, call) => { call(); throw new Error('after'); } });
      await run('twice', { run: (_, call) => { call(); return call(); } });
      await run('never', { run: () => 'nothing' });
      const remove = propagate(good);
      new Kcont(wq.prilow, null, fail('of the function'), null).schedule();
    `);
    expect(out.toSorted()).to.deep.equal(
      [
        'capture runs',
        'uncaught capture',
        'before runs',
        'uncaught before',
        'after runs',
        'uncaught after',
        'never runs',
        'twice runs',
        'uncaught of the function',
      ].toSorted(),
    );
  });

  it('sends the context of a job to the CPU that runs it', async () => {
    const { queue, cpus, wq, work, kernel } = await startTestKernel(1);
    const cpu = cpus[1] as NonNullable<(typeof cpus)[1]>;
    expect(await queue.run(work.contextHere, { cpu, arg: 0 })).to.equal('none');
    await queue.run(work.propagateHere, { cpu, arg: 0 });
    remove = propagate(byStore);
    expect(await queue.run(work.contextHere, { cpu, arg: 0 })).to.equal('none');
    const sent = store.run('caller', () => queue.run(work.contextHere, { cpu, arg: { a: 1 } }));
    expect(await sent).to.equal('sent: caller');
    const names: string[] = [];
    const note = (message: unknown): unknown => names.push((message as ScheduleMessage).name);
    channel('kcont:schedule').subscribe(note);
    try {
      // Any CPU may run it, also this one.
      const any = store.run('any', () => wq.prilow.run(work.contextHere, { arg: 0 }));
      expect(await any).to.be.oneOf(['sent: any', 'none']);
    } finally {
      channel('kcont:schedule').unsubscribe(note);
    }
    expect(names.filter((name) => name === 'contextHere')).to.have.length(1);
    await kernel.close();
  });
});
