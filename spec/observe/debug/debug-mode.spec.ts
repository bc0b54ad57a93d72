import { AsyncLocalStorage } from 'node:async_hooks';
import { expect } from 'chai';
import { afterEach, describe, it } from 'mocha';
import {
  Kcont,
  Kernel,
  Mutex,
  RWLock,
  VirtualClock,
  type KcontOptions,
} from '../../../lib/index.ts';
import { KcontPQueue } from '../../../lib/compat/p-queue/index.ts';
import { createLocks } from '../../../lib/compat/web-locks.ts';
import { waitersOf } from '../../../lib/locks/lock.ts';
import { KeyedLocks, Semaphore } from '../../../lib/sync.ts';
import { ProcessEnd } from '../../../lib/observe/debug/process-end.ts';
import { deferred, settled } from '../../support/lab.ts';
import {
  list,
  lockState,
  observe,
  waitGraph,
  whyAlive,
  type Finding,
  type Observation,
} from '../../support/observe.ts';

const started: Observation[] = [];
const kernels: Kernel[] = [];
afterEach(() => {
  // Its findings would be those of the next kernel.
  for (const kernel of kernels.splice(0)) void kernel.close();
  for (const observation of started.splice(0)) observation.stop();
});

/** A kernel in debug mode on a virtual clock, and what is found in it. */
class Debugged {
  readonly clock: VirtualClock = new VirtualClock();
  readonly errors: unknown[] = [];
  readonly kernel: Kernel = new Kernel({
    clock: this.clock,
    debug: true,
    onError: (error): void => void this.errors.push(error),
  });
  readonly wq: Kernel['wq'] = this.kernel.wq;
  readonly found: Finding[] = [];

  constructor() {
    kernels.push(this.kernel);
    const onFinding = (finding: Finding): void => void this.found.push(finding);
    started.push(observe({ kernel: this.kernel, onFinding }));
  }

  /** Schedules a continuation. */
  start(
    name: string,
    func: (kc: Kcont<null>) => unknown,
    lock: Mutex | null = null,
    options: KcontOptions = {},
  ): Kcont<null> {
    const kc = new Kcont(this.wq.prilow, lock, (_, self) => func(self), null, { name, ...options });
    kc.schedule();
    return kc;
  }

  /** The messages of what was found since the last call. */
  take(): string[] {
    return this.found.splice(0).map(({ message }) => message);
  }
}

function codeOfError(error: unknown): unknown {
  return (error as { code?: unknown }).code;
}

function sitesOf(findings: readonly Finding[]): (string | null)[] {
  return findings.map(
    ({ site }) => site?.replace(/^.*\/(?<file>[^/]+)\.[jt]s:\d+:\d+$/, '$<file>') ?? null,
  );
}

const HERE = 'debug-mode.spec';

/** Ends an asynchronous function that waits for nothing any more. */
const never = (): Promise<void> => new Promise(() => undefined);

describe('debug mode', () => {
  it('knows who holds a lock that code has entered after an await', async () => {
    const lab = new Debugged();
    const lock = new Mutex({ name: 'journal' });
    const end = deferred();
    lab.start('flush', async () => {
      await settled();
      await lock.enter();
      await end.promise;
      lock.exit();
    });
    await lab.clock.advance(1);
    await settled();
    expect(lockState(lock).holders.map(({ name, workqueue }) => [name, workqueue])).to.deep.equal([
      ['flush', 'prilow'],
    ]);
    lab.start('append', async () => {
      await lock.enter();
      lock.exit();
    });
    await lab.clock.advance(1);
    expect(lockState(lock).waiters.map(({ name }) => name)).to.deep.equal(['append (code)']);
    end.resolve();
    await settled();
    expect(lock.held).to.equal(false);
    expect(lockState(lock)).to.deep.include({ holders: [], waiters: [] });
    expect(lab.take()).to.deep.equal([]);
  });

  it('calls code outside of a run after the place where it has entered the lock', async () => {
    const { found } = new Debugged();
    const lock = new Mutex();
    await lock.enter();
    expect(lockState(lock).holders[0]?.name).to.match(
      /^code at .*debug-mode\.spec\.[jt]s:\d+:\d+$/,
    );
    lock.exit();
    expect(lockState(lock).holders).to.deep.equal([]);
    await settled();
    expect(found).to.deep.equal([]);
  });

  it('finds two locks that are entered in opposite order, at once', async () => {
    const lab = new Debugged();
    const accounts = new Mutex({ name: 'accounts' });
    const journal = new Mutex({ name: 'journal' });
    lab.start('transfer', async () => {
      await accounts.enter();
      await settled();
      await journal.enter();
    });
    lab.start(
      'audit',
      async () => {
        await settled();
        await accounts.enter();
      },
      journal,
    );
    lab.clock.tick(1);
    await settled();
    await settled();
    const { deadlocks, waits } = waitGraph(lab.kernel);
    expect(deadlocks.map(({ message }) => message)).to.deep.equal([
      'deadlock: audit on prilow waits for lock accounts, which transfer on prilow holds; transfer on prilow waits for lock journal, which audit on prilow holds',
    ]);
    expect(
      waits.map(({ waiter, what, holders }) => [waiter.name, what, holders[0]?.name]),
    ).to.deep.equal([
      ['audit', 'accounts', 'transfer'],
      ['transfer', 'journal', 'audit'],
    ]);
    expect(waits[0]?.holders[0]?.enteredAt).to.include(HERE);
    expect(waits[1]?.holders[0]?.enteredAt).to.equal(null);
    expect(waits[1]?.site).to.include(HERE);
    expect(waits[1]?.waiter.createdAt).to.include(HERE);
    const graph = waitGraph(lab.kernel);
    expect(JSON.parse(JSON.stringify(graph))).to.deep.equal(graph);
    expect(lab.found).to.have.length(1);
    expect(lab.found[0]).to.deep.include({ kind: 'deadlock', suppressed: 0 });
    expect(lab.found[0]?.details.join('\n')).to.match(
      /transfer on prilow holds lock accounts, which it has entered at .*\n/,
    );
    expect(lab.found[0]?.message).to.match(
      /^deadlock: (?:transfer|audit) on prilow waits for lock /,
    );
  });

  it('finds a lock that its holder enters again', async () => {
    const lab = new Debugged();
    const lock = new Mutex({ name: 'journal' });
    lab.start('twice', async () => {
      await lock.enter();
      await lock.enter();
    });
    lab.start('own', () => lock.enter(), new Mutex());
    const own = new Mutex({ name: 'own' });
    lab.start('flush', () => own.enter(), own);
    await lab.clock.advance(0);
    expect(lab.take()).to.deep.equal([
      'deadlock: flush on prilow waits for lock own, which it holds itself',
      'deadlock: twice on prilow waits for lock journal, which it holds itself',
    ]);
    expect(lab.errors.map(String)).to.deep.equal([
      'KcontError: flush on prilow cannot enter lock own: it holds it itself',
      'KcontError: twice on prilow cannot enter lock journal: it holds it itself',
    ]);
    expect(lab.errors.map(codeOfError)).to.deep.equal(['EDEADLK', 'EDEADLK']);
    // That of `own` waits for the other one.
    expect([waitersOf(lock), waitersOf(own), own.held]).to.deep.equal([1, 0, false]);
  });

  it('knows the holder of a key by each of its locks', async () => {
    const lab = new Debugged();
    const keys = new KeyedLocks<string>({ name: 'accounts' });
    const [one, two] = [keys.of('ann'), keys.of('ann')];
    const work = (): Promise<void> =>
      lab.wq.prilow.run(() => undefined, { name: 'work', delayMs: 5 });
    const order: string[] = [];
    lab.start('twice', () => two.enter(), one);
    lab.start('holder', async () => {
      await two.enter();
      await settled();
      await work();
      order.push('holder');
      one.exit();
    });
    await lab.clock.advance(1);
    expect(lab.take()).to.deep.equal([
      'deadlock: twice on prilow waits for lock accounts[ann], which it holds itself',
    ]);
    new Kcont(lab.wq.prihigh, one, () => void order.push('high'), null).schedule();
    await lab.clock.advance(1);
    expect(lockState(two).holders.map(({ name }) => name)).to.deep.equal(['holder']);
    expect(lab.kernel.inspect().inherited.map(({ name }) => name)).to.deep.equal(['work']);
    await lab.clock.advance(5);
    expect([order, keys.size, lab.take()]).to.deep.equal([['holder', 'high'], 0, []]);
  });

  it('refuses no unit of a semaphore, and nothing on behalf of code without an owner', async () => {
    const lab = new Debugged();
    const units = new Semaphore(1, { name: 'units' });
    lab.start('twice', async () => {
      await units.enter();
      await units.enter();
    });
    const lock = new Mutex({ name: 'lock' });
    await lock.enter();
    void lock.enter();
    await lab.clock.advance(0);
    expect([lab.errors, waitersOf(lock), units.waiting]).to.deep.equal([[], 1, 1]);
    lock.exit();
    units.exit();
    await lab.clock.advance(0);
    expect([waitersOf(lock), units.waiting]).to.deep.equal([0, 0]);
  });

  it('lets what a holder awaits after an await inherit the priority of a waiter', async () => {
    const lab = new Debugged();
    const { prihigh, prilow } = lab.wq;
    const inherited = (): unknown[] =>
      lab.kernel.inspect().inherited.map(({ name, inherited: level }) => [name, level]);
    const [journal, entered] = [new Mutex(), new Mutex()];
    const work = (name: string): Promise<void> =>
      prilow.run(() => undefined, { name, delayMs: 10 });
    lab.start(
      'holder',
      async () => {
        await work('first');
        await entered.enter();
        await work('second');
        entered.exit();
        await Promise.all([work('third'), work('fourth')]);
      },
      journal,
    );
    const code = entered.run(async () => {
      await settled();
      await work('of code');
    });
    await lab.clock.advance(1);
    new Kcont(prihigh, entered, () => undefined, null, { name: 'high' }).schedule();
    await lab.clock.advance(1);
    expect(inherited()).to.deep.equal([['of code', 127]]);
    await lab.clock.advance(10);
    await code;
    await lab.clock.advance(1);
    const second = new Kcont(prihigh, entered, () => undefined, null);
    second.schedule();
    await lab.clock.advance(1);
    expect(inherited()).to.deep.equal([['second', 127]]);
    await lab.clock.advance(10);
    expect(inherited()).to.deep.equal([]);
    journal.enter().then(() => journal.exit(), String);
    expect(inherited()).to.deep.equal([
      ['third', 127],
      ['fourth', 127],
    ]);
    await lab.clock.advance(10);
    expect([inherited(), journal.held, lab.errors]).to.deep.equal([[], false, []]);
  });

  it('finds it in Mutex.run of code outside of a run, too', async () => {
    const lab = new Debugged();
    const [a, b] = [new Mutex({ name: 'a' }), new Mutex({ name: 'b' })];
    void a.run(async () => {
      await settled();
      await b.run(() => undefined);
    });
    void b.run(async () => {
      await settled();
      await a.run(() => undefined);
    });
    await settled();
    await settled();
    const { deadlocks } = waitGraph(lab.kernel);
    expect(deadlocks).to.deep.equal([]);
    expect(lockState(a).holders[0]?.name).to.include('code at ');
    expect(lab.take().map((message) => message.replaceAll(/ at \S+/g, ''))).to.deep.equal([
      'deadlock: code waits for lock a, which code holds; code waits for lock b, which code holds',
    ]);
  });

  it('finds a reader that reads again behind a writer', async () => {
    const lab = new Debugged();
    const { read, write } = new RWLock({ name: 'routes' });
    lab.start('reader', async () => {
      await read.enter();
      await settled();
      await read.enter();
    });
    lab.start('writer', () => write.enter());
    await lab.clock.advance(0);
    await settled();
    expect(lab.take()).to.deep.equal([
      'deadlock: reader on prilow waits for lock routes.read, which it holds itself',
    ]);
    const graph = waitGraph(lab.kernel);
    expect(graph.waits.map(({ waiter, what }) => [waiter.name, what])).to.deep.equal([
      ['writer', 'routes.write'],
    ]);
    expect(lab.errors.map(codeOfError)).to.deep.equal(['EDEADLK']);
  });

  it('refuses a halt of oneself after an await, and finds halts in a circle', async () => {
    const lab = new Debugged();
    lab.start('poll', async (kc) => {
      await settled();
      await kc.halt();
    });
    lab.clock.tick(0);
    await settled();
    await settled();
    expect(lab.take()).to.deep.equal([]);
    expect(lab.errors.map(codeOfError)).to.deep.equal(['EDEADLK']);
    const lock = new Mutex({ name: 'state' });
    const worker = lab.start('worker', async () => {
      await settled();
      await lock.enter();
    });
    lab.start('stopper', () => worker.halt(), lock);
    lab.clock.tick(0);
    await settled();
    await settled();
    expect(lab.take()).to.deep.equal([
      'deadlock: worker on prilow waits for lock state, which stopper on prilow holds; stopper on prilow waits in halt() of worker',
    ]);
    const halts = waitGraph(lab.kernel).waits.filter(({ waitsFor }) => waitsFor === 'run');
    expect(halts.map(({ waiter, what }) => [waiter.name, what])).to.deep.equal([
      ['stopper', 'worker'],
    ]);
  });

  it('finds no deadlock in waits that end', async () => {
    const lab = new Debugged();
    const [a, b] = [new Mutex(), new Mutex()];
    const controller = new AbortController();
    lab.start('first', async () => {
      await a.enter();
      await b.enter({ signal: controller.signal }).catch(() => undefined);
      await settled();
      a.exit();
    });
    lab.start(
      'second',
      async () => {
        await settled();
        await a.enter();
        a.exit();
        b.exit();
      },
      b,
    );
    lab.clock.tick(0);
    controller.abort();
    for (let turn = 0; turn < 5; turn++) await settled();
    expect(lab.take()).to.deep.equal([]);
    expect([a.held, b.held]).to.deep.equal([false, false]);
    expect(lab.errors).to.have.length(1);
    const other = lab.start('other', () => settled());
    lab.clock.tick(0);
    await other.halt();
    expect(waitGraph(lab.kernel)).to.deep.equal({ waits: [], deadlocks: [] });
  });

  it('takes no lock of a drop-in API for that of the function that uses the API', async () => {
    const lab = new Debugged();
    const [a, b] = [new Mutex({ name: 'a' }), new Mutex({ name: 'b' })];
    const queue = new KcontPQueue({ concurrency: 4 });
    const locks = createLocks(lab.kernel);
    const ran: string[] = [];
    for (const [name, first, second] of [
      ['x', a, b],
      ['y', b, a],
    ] as const) {
      lab.start(name, async () => {
        await queue.add(() => settled().then(() => ran.push(name)), { lock: first });
        await queue.add(() => settled(), { lock: second });
        await locks.request(name, () => settled());
      });
    }
    for (let turn = 0; turn < 30; turn++) await lab.clock.advance(1);
    expect(ran.toSorted()).to.deep.equal(['x', 'y']);
    expect(lab.take()).to.deep.equal([]);
  });

  it('shows what a place or an own run is waited for', async () => {
    const lab = new Debugged();
    const narrow = lab.kernel.acquire(50, { maxActive: 1, name: 'narrow' });
    const first = new Kcont(narrow, null, never, null, { name: 'first' });
    first.schedule();
    new Kcont(narrow, null, () => undefined, null, { name: 'second' }).schedule();
    lab.clock.tick(0);
    first.reset();
    lab.clock.tick(0);
    expect(
      waitGraph(lab.kernel).waits.map(({ waiter, waitsFor, what, holders }) => [
        waiter.name,
        waitsFor,
        what,
        holders.map(({ name }) => name),
      ]),
    ).to.deep.equal([
      ['second', 'maxActive', 'narrow', ['first']],
      ['first', 'run', 'first', ['first']],
    ]);
  });

  it('keeps the AsyncLocalStorage stores of functions', async () => {
    const lab = new Debugged();
    const store = new AsyncLocalStorage<string>();
    const lock = new Mutex();
    const seen: unknown[] = [];
    const func = async (): Promise<void> => {
      seen.push(store.getStore());
      await settled();
      await lock.enter();
      seen.push(store.getStore(), lockState(lock).holders[0]?.name);
      lock.exit();
    };
    for (const context of ['none', 'create', 'schedule'] as const) {
      store.run('request', () => lab.start(context, func, null, { context }));
      await lab.clock.advance(0);
      await settled();
      await settled();
    }
    expect(seen).to.deep.equal([
      undefined,
      undefined,
      'none',
      'request',
      'request',
      'create',
      'request',
      'request',
      'schedule',
    ]);
    expect(store.getStore()).to.equal(undefined);
  });

  it('tells the owners of functions apart that are nested on the stack', () => {
    const outer = new Debugged();
    const inner = new Debugged();
    const lock = new Mutex();
    const names: unknown[] = [];
    const take = (): void => {
      lock.tryEnter();
      names.push(lockState(lock).holders[0]?.name);
      lock.exit();
    };
    outer.start('outer', () => {
      take();
      inner.start('inner', take);
      inner.clock.tick(0);
      take();
    });
    outer.clock.tick(0);
    take();
    expect(names.slice(0, 3)).to.deep.equal(['outer', 'inner', 'outer']);
    expect(names[3]).to.match(/^code at /);
  });

  it('reports schedule() in the own run, once for each place', async () => {
    const lab = new Debugged();
    const again = (kc: Kcont<null>): boolean => kc.schedule(10);
    const kc = lab.start('poll', again);
    lab.start('poll too', again);
    lab.clock.tick(0);
    kc.schedule();
    lab.clock.tick(0);
    lab.start('later', async (self) => {
      await settled();
      self.schedule(10);
    });
    lab.start('reset', (self) => self.reset(10));
    const busy = lab.start('busy', never);
    lab.clock.tick(0);
    busy.schedule();
    await settled();
    await settled();
    expect(sitesOf(lab.found)).to.deep.equal([HERE, HERE]);
    expect(lab.found.map(({ kind, name }) => [kind, name])).to.deep.equal([
      ['refused', 'poll'],
      ['refused', 'later'],
    ]);
    expect(lab.found[0]?.message).to.match(
      /^poll on prilow: schedule\(\) returned false, because its own function called it at .*:\d+:\d+$/,
    );
  });

  it('reports use after destroy, once for each continuation and place', async () => {
    const lab = new Debugged();
    for (const call of ['schedule', 'reset', 'touch'] as const) {
      const kc = new Kcont(lab.wq.prilow, null, () => undefined, null, { name: 'idle' });
      kc.destroy();
      for (let n = 0; n < 3; n++) expect(kc[call]()).to.equal(false);
    }
    await settled();
    expect(lab.found.map(({ kind, createdAt }) => [kind, createdAt?.includes(HERE)])).to.deep.equal(
      [['destroyed', true]],
    );
    expect(lab.found[0]?.message).to.include(
      'idle on prilow: schedule() was called after destroy() at ',
    );
    expect(lab.found[0]?.details.map((line) => line.split(' at ')[0])).to.deep.equal([
      'created',
      'destroyed',
    ]);
  });

  it('reports a lock that another has released', async () => {
    const lab = new Debugged();
    const lock = new Mutex({ name: 'journal' });
    const end = deferred();
    lab.start('owner', async () => {
      await lock.enter();
      await end.promise;
    });
    lab.start('thief', () => lock.exit());
    lab.clock.tick(0);
    await settled();
    expect(lab.take()[0]).to.match(
      /^thief on prilow released lock journal at \S+, which owner on prilow holds$/,
    );
    const own = new Mutex({ name: 'own' });
    lab.start('flush', () => end.promise, own);
    lab.clock.tick(0);
    own.exit();
    await settled();
    expect(lab.take()[0]).to.match(/^code at \S+ released lock own, which flush on prilow holds$/);
    own.tryEnter();
    end.resolve();
    await settled();
    expect(own.held).to.equal(false);
    expect(lockState(own).holders).to.deep.equal([]);
  });

  it('reports a lock that is waited for, for longer than a second, and counts the causes', async () => {
    const lab = new Debugged();
    const lock = new Mutex({ name: 'journal' });
    lab.start('flush', never, lock);
    lab.start('append', () => undefined, lock);
    lab.start('code', () => lock.enter());
    await lab.clock.advance(900);
    expect(lab.found).to.deep.equal([]);
    await lab.clock.advance(300);
    expect(lab.found.map(({ kind, message }) => [kind, message])).to.deep.equal([
      ['wait', 'append on prilow has waited 1 s for lock journal, held by flush on prilow'],
      ['wait', 'code on prilow has waited 1 s for lock journal, held by flush on prilow'],
    ]);
    expect(lab.found[0]?.details[1]).to.match(
      /^flush on prilow holds lock journal, because it is the lock of the continuation, created at /,
    );
    lab.found.length = 0;
    await lab.clock.advance(10_500);
    expect(lab.found.map(({ suppressed }) => suppressed)).to.deep.equal([0, 0]);
  });

  it('reports five of many that wait for the same lock, once in 10 s', async () => {
    const lab = new Debugged();
    const [journal, cache] = [new Mutex({ name: 'journal' }), new Mutex({ name: 'cache' })];
    lab.start('flush', never, journal);
    for (let n = 0; n < 2000; n++) lab.start(`append ${n}`, () => undefined, journal);
    lab.start('load', never, cache);
    lab.start('read', () => undefined, cache);
    await lab.clock.advance(9000);
    const first = ['append 0', 'append 1', 'append 2', 'append 3', 'append 4', 'read'];
    expect(lab.found.map(({ kind, name }) => [kind, name])).to.deep.equal(
      first.map((name) => ['wait', name]),
    );
    await lab.clock.advance(10_000);
    expect(lab.found.map(({ name }) => name)).to.deep.equal([...first, ...first]);
  });

  it('says where continuations were created', () => {
    const lab = new Debugged();
    lab.start('job', () => undefined);
    expect(list(lab.kernel)[0]?.createdAt).to.include(HERE);
    expect(whyAlive(lab.kernel)[0]).to.match(
      /^job job on prilow: runnable for 0 ms, created at \S+:\d+:\d+$/,
    );
    void lab.wq.prilow.run(() => undefined, { name: 'one' });
    expect(list(lab.kernel, { name: 'one' })[0]?.createdAt).to.include(HERE);
    lab.clock.tick(0);
  });

  it('forges no line of a report', async () => {
    const lab = new Debugged();
    const lock = new Mutex({ name: 'lock\u2028kcont: forged' });
    const name = 'evil\nkcont: forged\u001B[2J\u202E';
    lab.start(name, () => lock.enter(), lock);
    lab.clock.tick(0);
    await settled();
    const [finding] = lab.found;
    const text = [finding?.message, ...(finding?.details ?? [])].join('|');
    expect(text).to.include(
      String.raw`evil\nkcont: forged\x1b[2J\u202e on prilow waits for lock lock\u2028kcont`,
    );
    expect(text).not.to.match(/[\p{Cc}\p{Zl}\p{Bidi_Control}]/u);
  });

  it('takes no field of a handle', () => {
    const lab = new Debugged();
    const plain = new Kernel({ clock: new VirtualClock() });
    const keys = (kernel: Kernel): PropertyKey[] =>
      Reflect.ownKeys(new Kcont(kernel.wq.prilow, null, () => undefined, null));
    expect(keys(lab.kernel)).to.deep.equal(keys(plain));
  });

  it('finds nothing in a kernel that is not in debug mode', async () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const lab = new Debugged();
    const kc = new Kcont(wq.prilow, null, () => undefined, null);
    kc.destroy();
    kc.schedule();
    const lock = new Mutex();
    new Kcont(wq.prilow, lock, () => lock.enter(), null).schedule();
    clock.tick(0);
    await settled();
    expect(lab.take()).to.deep.equal([]);
  });
});

describe('the end of the process', () => {
  it('is listened for once for any number of users, and not afterwards', () => {
    const count = (): number[] => ['beforeExit', 'exit'].map((name) => process.listenerCount(name));
    const [idle = 0, exit = 0] = count();
    const end = new ProcessEnd(
      () => undefined,
      () => undefined,
    );
    const seen: number[][] = [];
    const note = (): void => void seen.push(count());
    end.add();
    note();
    end.add();
    note();
    end.remove();
    note();
    end.remove();
    note();
    const once = [idle + 1, exit + 1];
    expect(seen).to.deep.equal([once, once, once, [idle, exit]]);
  });
});
