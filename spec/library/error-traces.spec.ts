// What users see of an error: the code in its first line, the name of the continuation, and a trace that
// begins in their own file; and in a crash report, the continuation whose function threw.

import { inspect } from 'node:util';
import { expect } from 'chai';
import { SharedMutex, SharedSpinLock } from '../../lib/cpu/index.ts';
import { markError } from '../../lib/base/errors.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { Deadline, createDeadline, release } from '../../lib/compat/abort-deadline.ts';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  RMLock,
  RWLock,
  Scope,
  SpinLock,
  VirtualClock,
  kern,
  type Cpu,
  type Lock,
  type Workqueue,
} from '../../lib/index.ts';
import { runModule } from '../support/child.ts';

const nothing = (): void => undefined;

async function caught(f: () => unknown): Promise<Error> {
  try {
    await f();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

describe('KcontError', () => {
  it('shows its code where errors are printed, but not in its name', async () => {
    const error = await caught(() => new Mutex().exit());
    expect(error.name).to.equal('KcontError');
    expect((error as KcontError).code).to.equal('EPERM');
    expect(String(error)).to.equal('KcontError: exit of a Mutex that is not held');
    expect(error.stack).to.match(
      /^KcontError \[EPERM\]: exit of a Mutex that is not held\n {4}at /,
    );
    expect(inspect(error)).to.match(
      /^KcontError \[EPERM\]: exit of a Mutex that is not held\n {4}at /,
    );
    expect(Object.keys(error)).to.deep.equal(['code']);
    expect(JSON.stringify(error)).to.equal('{"code":"EPERM"}');
    expect(structuredClone(error).message).to.equal('exit of a Mutex that is not held');
  });

  it('can be given another stack, and can be subclassed', () => {
    class OwnError extends KcontError {}
    const error = new OwnError('EBUSY', 'not now');
    expect(error).to.be.instanceOf(KcontError);
    expect(error.stack).to.match(/^KcontError \[EBUSY\]: not now\n/);
    expect(error.stack?.split('\n')[1]).to.include('error-traces.spec');
    error.stack = 'another';
    expect(error.stack).to.equal('another');
    expect(Object.getOwnPropertyDescriptor(error, 'stack')).to.deep.equal({
      configurable: true,
      enumerable: false,
      value: 'another',
      writable: true,
    });
  });

  it('is an error even if Error.prepareStackTrace is replaced', () => {
    const before = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
    Error.prepareStackTrace = (error, sites) => `${error.message} at ${sites.length > 0}`;
    try {
      expect(new KcontError('EBUSY', 'not now').stack).to.equal('not now at true');
    } finally {
      if (before === undefined) Reflect.deleteProperty(Error, 'prepareStackTrace');
      else Object.defineProperty(Error, 'prepareStackTrace', before);
    }
  });
});

describe('the trace of an error', () => {
  const clock = new VirtualClock();
  const kernel = new Kernel({ clock });
  const { prilow, softclock } = kernel.wq;
  const held = new Mutex();
  held.tryEnter();
  const free = new Mutex();
  const make = (lock: Lock | null = null): Kcont<null> =>
    new Kcont(softclock, lock, nothing, null, { name: 'beat' });
  const dead = (): Kcont<null> => {
    const kc = make();
    kc.destroy();
    return kc;
  };
  const closed = async (): Promise<Kcont<null>> => {
    const own = new Kernel({ clock: new VirtualClock() });
    const kc = new Kcont(own.wq.softclock, null, nothing, null, { name: 'beat' });
    await own.close();
    return kc;
  };
  /** Calls from within the function of a continuation. */
  const within = (f: (kc: Kcont<null>) => unknown): unknown => {
    let made: unknown;
    new Kcont(prilow, null, (_, kc) => void (made = f(kc)), null).schedule();
    clock.tick(0);
    return made;
  };
  const bad = (value: unknown): never => value as never;
  const site = pipeline('site').stage('a', nothing).start({ kernel });
  const disposed = new Scope();
  disposed[Symbol.dispose]();

  const calls: Readonly<Record<string, () => unknown>> = {
    'new Kcont, a workqueue': () => new Kcont({} as Workqueue, null, nothing, null),
    'new Kcont, a lock': () => new Kcont(prilow, bad({}), nothing, null),
    'new Kcont, a function': () => new Kcont(prilow, null, bad('f'), null),
    'new Kcont, an option': () => new Kcont(prilow, null, nothing, null, { slackMs: bad('5') }),
    'new Kcont, a scope': () => new Kcont(prilow, null, nothing, null, { scope: disposed }),
    'Kcont.schedule': () => make().schedule(-1),
    'Kcont.schedule, a CPU': () => make().schedule(1, kernel.cpus[0]),
    'Kcont.reset': () => make().reset(NaN),
    'Kcont.setArg': () => dead().setArg(null),
    'Kcont.setArg, a lock': () => make(free).setArg(null),
    'Kcont.setFunc': () => make().setFunc(bad(5), null),
    'Kcont.setFunc, without a lock': () => make().setFunc(() => undefined, null),
    'Kcont.setLock': () => make(held).setLock(bad({})),
    'Kcont.setLock, without a lock': () => make().setLock(new Mutex()),
    'Kcont.drainAsync': () => make().drainAsync(bad(5)),
    'Kcont.halt': () => make().halt(free),
    'Kcont.halt of itself': () => within((kc) => kc.halt()),
    'Scope.halt of itself': () => {
      const scope = new Scope();
      let made: unknown;
      new Kcont(prilow, null, () => void (made = scope.halt()), null, { scope }).schedule();
      clock.tick(0);
      return made;
    },
    'new Kernel': () => new Kernel({ budgetMs: bad('2') }),
    'Kernel.acquire': () => kernel.acquire(bad('5')),
    'Kernel.acquire, an option': () => kernel.acquire(5, { maxActive: bad('2') }),
    'Kernel.drain': () => kernel.drain({ signal: bad({}) }),
    'Kernel.close': () => kernel.close({ graceMs: bad('5') }),
    'Workqueue.run': () => prilow.run(bad(5)),
    'Workqueue.run, an option': () => prilow.run(nothing, { name: bad(5) }),
    'Workqueue.run, a CPU': () => prilow.run(nothing, { cpu: bad(5) }),
    'Workqueue.release': () => prilow.release(),
    'Cpu.stop': () => (kernel.cpus[0] as Cpu).stop(),
    'Cpu.restart': () => (kernel.cpus[0] as Cpu).restart(),
    'Mutex.enter': () => new Mutex().enter({ priority: bad('5') }),
    'Mutex.hold': () => new Mutex().hold({ priority: bad('5') }),
    'Mutex.run': () => new Mutex().run(nothing, { priority: bad('5') }),
    'Mutex.exit': () => new Mutex().exit(),
    'SpinLock.exit': () => new SpinLock().exit(),
    'RWLock.read.exit': () => new RWLock().read.exit(),
    'RMLock.write.exit': () => new RMLock().write.exit(),
    'VirtualClock.tick': () => new VirtualClock().tick(bad('5')),
    'VirtualClock.advance': () => new VirtualClock().advance(-1),
    'VirtualClock.tick within': () => within(() => clock.tick(1)),
    kcont_create: () => kern.kcont_create(prilow, null, nothing, null, 1),
    'kcont_create, a workqueue': () => kern.kcont_create({} as Workqueue, null, nothing, null, 0),
    kcont_setarg: () => kern.kcont_setarg(dead(), null),
    kcont_setfunc: () => kern.kcont_setfunc(make(), () => undefined, null),
    kcont_setmutex: () => kern.kcont_setmutex(make(), new Mutex()),
    kcont_drain_async: () => kern.kcont_drain_async(make(), bad(5)),
    kcont_halt: () => kern.kcont_halt(make(), free),
    kcont_workqueue_acquire: () => kern.kcont_workqueue_acquire(5, 2),
    'kcont_workqueue_acquire, a priority': () => kern.kcont_workqueue_acquire(-5, 0),
    createDeadline: () => createDeadline(bad({})),
    'createDeadline, an option': () => createDeadline(kernel, { ref: bad(1) }),
    'release of a deadline': () => release(bad({})),
    'new Deadline': () => new Deadline(kernel, { wq: prilow, ref: bad(1) }),
    createLocks: () => createLocks(kernel, { wq: softclock }),
    createScheduler: () => createScheduler(kernel, { patienceMs: bad('5') }),
    'createScheduler, a kernel': () => createScheduler(bad({})),
    createExecutor: () => createExecutor(bad({})),
    'Executor.run': () => createExecutor(prilow).run(bad(5)),
    'Executor.run, an option': () => createExecutor(prilow).run(nothing, { id: bad(5) }),
    pipeline: () => pipeline(bad(5)),
    'PipelinePlan.stage': () => pipeline('site').stage('', nothing),
    'PipelinePlan.stage, an option': () => pipeline('site').stage('a', nothing, { limit: 0 }),
    'PipelinePlan.keyBy': () => pipeline('site').keyBy(bad(5)),
    'PipelinePlan.start': () => pipeline('site').start(),
    'Pipeline.run': () => site.run(1, { urgent: bad(1) }),
    'Pipeline.run, when it is closed': async () => {
      const own = pipeline('site').stage('a', nothing).start({ kernel });
      await own.close();
      return own.run(1);
    },
    'Pipeline.push': () => site.push(1, bad(5)),
    'Pipeline.through': () => site.through(bad(5)),
    'Pipeline.pump': () => site.pump([], bad(5)),
    'Pipeline.close': () => site.close({ graceMs: bad('5') }),
    'SharedSpinLock.enterSync': () => new SharedSpinLock().enterSync({ patienceMs: bad('5') }),
    'SharedMutex.exit': () => new SharedMutex().exit(),
    'SharedMutex.hold': () => new SharedMutex().hold({ priority: bad('5') }),
    'Kernel.startCpus': () => kernel.startCpus({ module: 'file:///cpu.js' }),
    'Kernel.startCpus, an option': () => kernel.startCpus({ module: '/cpu.js', count: 0 }),
    'Kcont.schedule, a kernel that is closed': async () => (await closed()).schedule(),
  };

  for (const [name, call] of Object.entries(calls)) {
    it(`of ${name} begins where it is called`, async () => {
      const error = await caught(call);
      expect(error).to.be.instanceOf(KcontError);
      const [first, where] = (error.stack ?? '').split('\n');
      expect(first).to.equal(`KcontError [${(error as KcontError).code}]: ${error.message}`);
      expect(where, error.stack).to.include('error-traces.spec');
    });
  }

  it('names its continuation', async () => {
    const about = [
      'Kcont.schedule',
      'Kcont.schedule, a CPU',
      'Kcont.reset',
      'Kcont.setArg',
      'Kcont.setArg, a lock',
      'Kcont.setFunc, without a lock',
      'Kcont.setLock, without a lock',
      'Kcont.halt',
      'Kcont.schedule, a kernel that is closed',
    ];
    for (const name of about) {
      expect((await caught(calls[name] as () => unknown)).message).to.match(/\bbeat\b/);
    }
  });
});

describe('an error that a function throws and no handler takes', () => {
  /** The errors of the functions of this program that are uncaught exceptions. */
  const uncaught = async (body: string): Promise<string[]> => {
    const { out } = await runModule(
      `const { Kcont, Kernel, VirtualClock } = kcont;
      const { prilow, softnet } = kcont.wq;
      process.on('uncaughtException', (error) => {
        try {
          const { kcont: kc, continuation } = error;
          console.log(kc?.name ?? kc, continuation, Object.keys(error).join());
        } catch {
          console.log('cannot be read');
        }
      });
      const failing = (wq, thrown, name = 'beat') =>
        new Kcont(wq, null, () => { throw thrown; }, null, { name }).schedule();
      ${body}`,
    );
    return out;
  };

  it('has its continuation as a property, and its name', async () => {
    expect(
      await uncaught(`
        failing(softnet, new Error('sync'), 'sync');
        new Kcont(prilow, null, async () => { throw new Error('async'); }, null, { name: 'async' }).schedule();
        const clock = new VirtualClock();
        failing(new Kernel({ clock }).wq.prilow, new Error('virtual'), 'virtual');
        process.on('exit', () => clock.tick(0));`),
    ).to.deep.equal([
      'sync sync on softnet continuation',
      'async async on prilow continuation',
      'virtual virtual on prilow continuation',
    ]);
  });

  it('has its continuation too if time is virtual and promises settle', async () => {
    const clock = new VirtualClock();
    const { prilow } = new Kernel({ clock }).wq;
    const late = new Error('async');
    const own = new Kcont(prilow, null, () => Promise.reject(late), null);
    own.schedule();
    expect(await caught(() => clock.advance(0))).to.equal(late);
    expect((late as { kcont?: unknown }).kcont).to.equal(own);
    expect(Object.keys(late)).to.deep.equal([]);
  });

  it('is unchanged if it is not an error, cannot be extended, or has such properties', async () => {
    expect(
      await uncaught(`
        failing(softnet, 'text');
        failing(softnet, Object.freeze(new Error('frozen')));
        failing(softnet, { plain: true });
        failing(softnet, Object.assign(new Error('named'), { kcont: 7, continuation: 8 }));
        failing(softnet, Object.assign(new Error('half'), { continuation: 8 }), 'half');`),
    ).to.deep.equal([
      'undefined undefined 0,1,2,3',
      'undefined undefined ',
      'undefined undefined plain',
      '7 8 kcont,continuation',
      'half 8 continuation',
    ]);
  });

  it('is thrown even if it throws when it is inspected', () => {
    const no = (): never => {
      throw new Error('no');
    };
    const { proxy, revoke } = Proxy.revocable(new Error('revoked'), {});
    revoke();
    const kc = new Kcont(new Kernel({ clock: new VirtualClock() }).wq.prilow, null, nothing, null);
    for (const thrown of [
      new Proxy(new Error('hostile'), { defineProperty: no }),
      new Proxy(new Error('hostile'), { getPrototypeOf: no }),
      proxy,
      undefined,
      null,
    ]) {
      expect(markError(thrown, kc, true) === thrown).to.equal(true);
    }
  });

  it('is not marked if a handler takes it, or the code that moves virtual time', () => {
    const clock = new VirtualClock();
    const taken: unknown[] = [];
    const fail = (error: Error) => (): never => {
      throw error;
    };
    const errors = [new Error('handled'), new Error('caught')];
    const { prilow } = new Kernel({ clock, onError: (error) => void taken.push(error) }).wq;
    new Kcont(prilow, null, fail(errors[0] as Error), null).schedule();
    clock.tick(0);
    new Kcont(new Kernel({ clock }).wq.prilow, null, fail(errors[1] as Error), null).schedule();
    expect(() => clock.tick(0)).to.throw('caught');
    expect(taken).to.deep.equal([errors[0]]);
    expect(errors.map((error) => Object.keys(error))).to.deep.equal([[], []]);
  });

  it('is reported with the line that threw it, its code and its continuation', async () => {
    const sync = await runModule(
      `new kcont.Kcont(kcont.wq.softnet, null, function beat() {
        throw new kcont.KcontError('EBUSY', 'x');
      }, 0).schedule();`,
    );
    const lines = sync.err.split('\n').filter((line) => line.trim() !== '');
    expect(sync.code).to.equal(1);
    expect(lines[0]).to.match(/eval1\]?:3$/);
    expect(lines[1]?.trim()).to.equal("throw new kcont.KcontError('EBUSY', 'x');");
    expect(lines[3]).to.equal('KcontError [EBUSY]: x');
    expect(sync.err).to.include("continuation: 'beat on softnet'").and.not.include('_');
    const late = await runModule(
      `new kcont.Kcont(kcont.wq.prilow, null, async function beat() {
        await null;
        throw new Error('y');
      }, 0).schedule();`,
    );
    expect(late.code).to.equal(1);
    expect(late.err).to.include('Error: y').and.include("continuation: 'beat on prilow'");
  });

  it('is not confused with the next uncaught exception', async () => {
    const { out } = await runModule(
      `const seen = [];
      process.on('uncaughtException', (error) => {
        if (seen.push(error.kcont?.name ?? 'none') === 2) setTimeout(fail, 0);
      });
      const fail = () => { throw new Error('x'); };
      new kcont.Kcont(kcont.wq.softnet, null, fail, 0, { name: 'a' }).schedule();
      new kcont.Kcont(kcont.wq.softnet, null, fail, 0, { name: 'b' }).schedule();
      process.on('exit', () => console.log(seen.join()));`,
    );
    expect(out).to.deep.equal(['a,b,none']);
  });
});

describe('the reason of a signal', () => {
  it('keeps its own stack', async () => {
    const kernel = new Kernel({ clock: new VirtualClock() });
    const made = (): KcontError => new KcontError('EBUSY', 'of somebody else');
    const reason = made();
    const { stack } = reason;
    const signal = AbortSignal.abort(reason);
    const site = pipeline('site').stage('a', nothing).start({ kernel });
    for (const call of [
      () => kernel.wq.prilow.run(nothing, { signal }),
      () => site.run(1, { signal }),
      () => new Mutex().enter({ signal }),
      () => kernel.drain({ signal }),
    ]) {
      expect(await caught(call)).to.equal(reason);
      expect(reason.stack).to.equal(stack);
    }
  });
});
