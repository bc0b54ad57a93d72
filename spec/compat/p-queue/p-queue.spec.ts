import { AsyncLocalStorage } from 'node:async_hooks';
import { expect } from 'chai';
import fc from 'fast-check';
import PQueue, { PriorityQueue, TimeoutError } from 'p-queue';
import {
  type Executor,
  KcontPQueue,
  KcontQueue,
  createExecutor,
  type KcontQueueAddOptions,
  type KcontQueueRun,
} from '../../../lib/compat/p-queue/index.ts';
import { Kcont, Kernel, Mutex, RWLock, VirtualClock, type Lock } from '../../../lib/index.ts';
import { codeOf, deferred, rejectionOf, settled, soak, type Deferred } from '../../support/lab.ts';

const nothing = (): void => undefined;

describe('KcontQueue', () => {
  it("has the same order and results as p-queue's own queue", () => {
    const priorities = [0, 1, -1, 0.5, 111, 112, -112, -113, 1e9, -Infinity, 1.5];
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    const step = fc.oneof(
      fc.record({
        what: fc.constant('enqueue' as const),
        priority: fc.option(fc.constantFrom(...priorities), { nil: undefined }),
        id: fc.option(fc.constantFrom(...ids), { nil: undefined }),
      }),
      fc.record({ what: fc.constant('dequeue' as const) }),
      fc.record({
        what: fc.constant('setPriority' as const),
        priority: fc.constantFrom(...priorities.filter(Number.isFinite)),
        id: fc.constantFrom(...ids),
      }),
      fc.record({ what: fc.constant('remove' as const), id: fc.constantFrom(...ids) }),
      fc.record({ what: fc.constant('removeRun' as const), nth: fc.nat(10) }),
      fc.record({ what: fc.constant('filter' as const), priority: fc.constantFrom(...priorities) }),
    );
    type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;
    interface Own {
      size: number;
      enqueue(run: KcontQueueRun, options?: { priority?: number; id?: string }): void;
      dequeue(): KcontQueueRun | undefined;
      filter(options: { priority: number }): KcontQueueRun[];
      setPriority(id: string, priority: number): void;
      remove(idOrRun: string | KcontQueueRun): void;
    }
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps: readonly Step[]) => {
        const names = new Map<KcontQueueRun, number>();
        const runs: KcontQueueRun[] = [];
        const apply = (queue: Own, now: Step, at: number): unknown => {
          const name = (run: KcontQueueRun | undefined): number => names.get(run as never) ?? -1;
          switch (now.what) {
            case 'enqueue': {
              const { priority, id } = now;
              const options = {
                ...(priority === undefined ? {} : { priority }),
                ...(id === undefined ? {} : { id }),
              };
              return queue.enqueue(runs[at] as KcontQueueRun, options);
            }
            case 'dequeue':
              return name(queue.dequeue());
            case 'setPriority':
              try {
                // Never to the same value: p-queue 9 then moves it behind the others, 10 does not.
                return queue.setPriority(now.id, now.priority + at / 1000);
              } catch (error) {
                return String(error);
              }
            case 'remove':
              return queue.remove(now.id);
            case 'removeRun':
              return queue.remove(runs[now.nth] ?? (async () => undefined));
            case 'filter':
              return queue.filter(now).map(name);
          }
        };
        steps.forEach((_, at) => {
          runs[at] = async () => undefined;
          names.set(runs[at], at);
        });
        const theirs = new PriorityQueue() as unknown as Own;
        const ours = new KcontQueue() as unknown as Own;
        const answers = (queue: Own): unknown[] => [
          ...steps.map((now, at) => [apply(queue, now, at), queue.size]),
          ...Array.from({ length: queue.size }, () => names.get(queue.dequeue() as never)),
          queue.dequeue(),
        ];
        expect(answers(ours)).to.deep.equal(answers(theirs));
      }),
      { numRuns: 500 * soak },
    );
  });

  it('keeps the position of a function whose priority is set to the same value', () => {
    const queue = new KcontQueue();
    const [first, second] = [async (): Promise<number> => 1, async (): Promise<number> => 2];
    queue.enqueue(first, { priority: 3, id: 'first' });
    queue.enqueue(second, { priority: 3 });
    queue.setPriority('first', 3);
    expect(queue.dequeue()).to.equal(first);
    expect(queue.dequeue()).to.equal(second);
  });

  it('refuses a lock that is not a lock of kcont', () => {
    const queue = new KcontQueue();
    expect(codeOf(() => queue.enqueue(async () => 1, { lock: {} as Lock }))).to.equal('EINVAL');
    expect(queue.size).to.equal(0);
  });

  it('works in a PQueue', async () => {
    const queue = new PQueue({ concurrency: 1, queueClass: KcontQueue });
    const order: string[] = [];
    const add = (name: string, options: { priority?: number; id?: string } = {}): Promise<void> =>
      queue.add(() => void order.push(name), options);
    const first = deferred();
    void queue.add(() => first.promise);
    void add('one');
    void add('two', { priority: 2, id: 'two' });
    void add('three', { priority: 1 });
    void add('last', { priority: 5, id: 'last' });
    queue.setPriority('last', -1);
    queue.setPriority('two', 1);
    expect(() => queue.setPriority('none', 1)).to.throw(
      ReferenceError,
      'No promise function with the id "none" exists in the queue.',
    );
    const aborted = new AbortController();
    const never = queue.add(nothing, { priority: 9, signal: aborted.signal }).catch(String);
    aborted.abort('why');
    expect([await never, queue.size, queue.sizeBy({ priority: 1 })]).to.deep.equal(['why', 4, 2]);
    first.resolve();
    await queue.onIdle();
    expect(order).to.deep.equal(['three', 'two', 'one', 'last']);
  });

  it('stays right through clear', async () => {
    const queue = new PQueue({ concurrency: 1, queueClass: KcontQueue });
    const order: string[] = [];
    const first = deferred();
    void queue.add(() => first.promise);
    void queue.add(() => void order.push('never'), { id: 'a' });
    queue.clear();
    expect(queue.size).to.equal(0);
    expect(() => queue.setPriority('a', 1)).to.throw(ReferenceError);
    void queue.add(() => void order.push('low'), { id: 'a', priority: -1 });
    void queue.add(() => void order.push('high'));
    first.resolve();
    await queue.onIdle();
    expect(order).to.deep.equal(['high', 'low']);
  });

  it('refuses locks in a plain PQueue', async () => {
    const queue = new PQueue<KcontQueue, KcontQueueAddOptions>({ queueClass: KcontQueue });
    expect(await rejectionOf(queue.add(nothing, { lock: new Mutex() }))).to.equal('ENOTSUP');
    expect(await queue.add(() => 1, { lock: null })).to.equal(1);
  });
});

describe('KcontPQueue', () => {
  let queue: KcontPQueue;
  let ran: string[];
  let runs: Map<string, Deferred<unknown>>;
  beforeEach(() => {
    queue = new KcontPQueue({ concurrency: 2 });
    ran = [];
    runs = new Map();
  });

  const add = (name: string, options: Parameters<KcontPQueue['add']>[1] = {}): Promise<unknown> => {
    const promise = queue.add(() => {
      ran.push(name);
      const run = deferred<unknown>();
      runs.set(name, run);
      return run.promise;
    }, options);
    promise.catch(nothing);
    return promise;
  };
  /** Ends some functions, runs everything that is due, and returns the functions started since. */
  const step = async (...ended: string[]): Promise<string> => {
    for (const name of ended) runs.get(name)?.resolve(name);
    await settled();
    return ran.splice(0).join();
  };

  it('is a PQueue', async () => {
    expect(queue).to.be.instanceOf(PQueue);
    expect(await queue.addAll([() => 1, async () => 2])).to.deep.equal([1, 2]);
    expect(() => new KcontPQueue({ concurrency: 0 })).to.throw(TypeError, 'concurrency');
    expect(await new KcontPQueue().add(({ signal }) => signal)).to.equal(undefined);
  });

  it('runs functions with the same lock one at a time, in order, and others concurrently', async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    for (const name of ['a1', 'a2', 'a3']) void add(name, { lock: a });
    void add('b1', { lock: b });
    void add('free');
    expect([await step(), queue.pending, queue.size]).to.deep.equal(['a1,b1', 2, 3]);
    expect(await step('b1')).to.equal('free');
    expect(await step('free')).to.equal('');
    expect([queue.pending, queue.size]).to.deep.equal([1, 2]);
    expect(await step('a1')).to.equal('a2');
    void add('b2', { lock: b });
    expect(await step()).to.equal('b2');
    expect(await step('a2', 'b2')).to.equal('a3');
    const idle = queue.onIdle();
    expect(await step('a3')).to.equal('');
    await idle;
    expect([a.held, b.held]).to.deep.equal([false, false]);
  });

  it('never exceeds its concurrency, in whatever order locks are released', async () => {
    const keys = [new Mutex(), new Mutex(), new Mutex(), null];
    let running = 0;
    let most = 0;
    const perKey = new Map<Lock | null, number>();
    const order = new Map<Lock | null, number[]>(keys.map((key) => [key, []]));
    for (let i = 0; i < 400; i++) {
      const lock = keys[(i * 7) % 4] as Mutex | null;
      void queue.add(
        async () => {
          most = Math.max(most, ++running);
          const own = (perKey.get(lock) ?? 0) + 1;
          perKey.set(lock, own);
          if (lock !== null) expect(own).to.equal(1);
          order.get(lock)?.push(i);
          for (let n = 0; n < i % 5; n++) await Promise.resolve();
          running--;
          perKey.set(lock, own - 1);
        },
        { lock },
      );
    }
    await queue.onIdle();
    expect(most).to.equal(2);
    for (const list of order.values()) {
      expect(list).to.have.length(100);
      expect(list).to.deep.equal(list.toSorted((x, y) => x - y));
    }
  });

  it('runs the highest priority first among functions with the same lock', async () => {
    const lock = new Mutex();
    queue.pause();
    void add('low', { lock, id: 'low' });
    void add('high', { lock, priority: 1 });
    void add('higher', { lock, priority: 2 });
    void add('raised', { lock, id: 'raised' });
    queue.setPriority('raised', 3);
    queue.setPriority('low', -1);
    queue.start();
    expect(await step()).to.equal('raised');
    expect(await step('raised')).to.equal('higher');
    void add('late', { lock, priority: 5 });
    expect(await step('higher')).to.equal('late');
    expect(await step('late')).to.equal('high');
    expect(await step('high')).to.equal('low');
  });

  it('waits in turn for a lock that other code holds', async () => {
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    const events: string[] = [];
    for (const event of ['empty', 'idle', 'active'] as const) {
      queue._on(event, () => void events.push(event), false);
    }
    void add('mine', { lock });
    const empty = queue.onEmpty();
    const idle = queue.onIdle();
    const few = queue.onSizeLessThan(1);
    expect([await step(), queue.size, queue.pending, events]).to.deep.equal(['', 1, 0, []]);
    lock.exit();
    expect(await step()).to.equal('mine');
    await empty;
    await few;
    expect([events, lock.held]).to.deep.equal([['active', 'empty'], true]);
    await step('mine');
    await idle;
    expect([events.at(-1), lock.held]).to.deep.equal(['idle', false]);
    await Promise.all([queue.onEmpty(), queue.onIdle(), queue.onSizeLessThan(1)]);
  });

  it('shares a lock with continuations and with code', async () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const { read, write } = new RWLock();
    const kc = new Kcont(wq.prilow, write, () => void ran.push('continuation'), null);
    void add('reader 1', { lock: read });
    void add('reader 2', { lock: read });
    expect(await step()).to.equal('reader 1');
    kc.schedule();
    clock.tick(0);
    const written = write.enter().then(() => ran.push('code'));
    expect(await step('reader 1')).to.equal('code');
    await written;
    write.exit();
    expect(await step()).to.equal('reader 2');
    expect(await step('reader 2')).to.equal('');
    clock.tick(0);
    expect(ran).to.deep.equal(['continuation']);
  });

  it('does not keep a lock while it has no free slot or is paused', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    void add('mine', { lock });
    void add('also mine', { lock });
    void add('x');
    void add('y');
    expect(await step()).to.equal('x,y');
    lock.exit();
    expect([await step(), lock.held]).to.deep.equal(['', false]);
    queue.pause();
    expect(await step('x')).to.equal('');
    expect(lock.tryEnter()).to.equal(true);
    queue.start();
    expect(await step()).to.equal('');
    lock.exit();
    expect(await step()).to.equal('mine');
    expect(await step('y')).to.equal('');
    expect(await step('mine')).to.equal('also mine');
    await step('also mine');
    expect(lock.held).to.equal(false);
  });

  it('releases the lock of a function that throws or rejects', async () => {
    const lock = new Mutex();
    const failures = [
      queue.add(
        () => {
          throw new RangeError('at once');
        },
        { lock },
      ),
      queue.add(() => Promise.reject(new SyntaxError('later')), { lock }),
    ].map((promise) => promise.catch((error: unknown) => (error as Error).name));
    expect(await Promise.all(failures)).to.deep.equal(['RangeError', 'SyntaxError']);
    expect(lock.held).to.equal(false);
  });

  it('keeps the lock of a function that p-queue has timed out until it has settled', async () => {
    const lock = new Mutex();
    const controller = new AbortController();
    const first = add('first', { lock, signal: controller.signal });
    void add('second', { lock });
    expect(await step()).to.equal('first');
    controller.abort('why');
    expect(await first.catch((reason: unknown) => reason)).to.equal('why');
    expect([await step(), queue.pending]).to.deep.equal(['', 0]);
    expect(await step('first')).to.equal('second');
    await step('second');
    expect(lock.held).to.equal(false);
  });

  it('starts the next function when one that waits for a lock is aborted', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    const controllers = [1, 2, 3].map(() => new AbortController());
    const waiting = controllers.map(({ signal }, i) => add(`${i}`, { lock, signal }));
    expect(await step()).to.equal('');
    controllers[0]?.abort('first');
    controllers[1]?.abort('second');
    expect(await waiting[0]?.catch((reason: unknown) => reason)).to.equal('first');
    lock.exit();
    expect(await step()).to.equal('2');
    await step('2');
    // The ready function is aborted before a slot is free.
    queue.pause();
    const ready = new AbortController();
    const never = add('never', { lock, signal: ready.signal });
    void add('next', { lock });
    ready.abort('third');
    expect(await never.catch((reason: unknown) => reason)).to.equal('third');
    queue.start();
    expect(await step()).to.equal('next');
    await step('next');
    // All functions are aborted.
    lock.tryEnter();
    const all = new AbortController();
    const none = add('none', { lock, signal: all.signal });
    await step();
    all.abort('fourth');
    await none.catch(nothing);
    lock.exit();
    expect([await step(), lock.held, queue.size]).to.deep.equal(['', false, 0]);
  });

  it('releases the lock of a function whose signal is aborted just before its start', async () => {
    const lock = new Mutex();
    queue.pause();
    const controller = new AbortController();
    // p-queue removes the first of two with the same id, whichever was aborted.
    const first = add('removed', { lock, id: 'twin', priority: 1 });
    const second = add('aborted', { lock, id: 'twin', signal: controller.signal });
    controller.abort('why');
    queue.start();
    expect(await second.catch((reason: unknown) => reason)).to.equal('why');
    expect([await step(), lock.held]).to.deep.equal(['', false]);
    void first;
    void add('next', { lock });
    expect(await step()).to.equal('next');
  });

  it('stays right through clear', async () => {
    const [ours, theirs] = [new Mutex(), new Mutex()];
    theirs.tryEnter();
    void add('running', { lock: ours });
    void add('never 1', { lock: ours });
    void add('never 2', { lock: theirs });
    expect(await step()).to.equal('running');
    queue.clear();
    expect(queue.size).to.equal(0);
    void add('after 1', { lock: ours });
    void add('after 2', { lock: theirs });
    expect([await step(), queue.size]).to.deep.equal(['', 2]);
    theirs.exit();
    expect(await step()).to.equal('after 2');
    expect(await step('running')).to.equal('after 1');
    await step('after 1', 'after 2');
    expect([ours.held, theirs.held, queue.size, queue.pending]).to.deep.equal([false, false, 0, 0]);
  });

  it('refuses an invalid lock', async () => {
    expect(await rejectionOf(queue.add(nothing, { lock: {} as Lock }))).to.equal('EINVAL');
  });

  it('leaves rate limits to p-queue', async () => {
    const begin = performance.now();
    const limited = new KcontPQueue({ interval: 40, intervalCap: 1 });
    const lock = new Mutex();
    const at: number[] = [];
    const note = (): void => void at.push(performance.now() - begin);
    void limited.add(note, { lock });
    void limited.add(note, { lock });
    await limited.onIdle();
    // Not from the first one, which the machine may have delayed within its interval.
    expect(at[1]).to.be.at.least(38);
  });
});

describe('an executor', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let executor: Executor;
  let ran: string[];
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    executor = createExecutor(kernel.wq.prilow, { concurrency: 2 });
    ran = [];
  });
  const settle = async (): Promise<string> => {
    await clock.advance(0);
    return ran.splice(0).join();
  };

  it('runs functions on its workqueue, with limited concurrency', async () => {
    const ends = [0, 1, 2].map(() => deferred<string>());
    const results = ends.map(({ promise }, i) =>
      executor.run((signal) => {
        ran.push(`${i} ${signal.aborted}`);
        return promise;
      }),
    );
    expect(await settle()).to.equal('0 false,1 false');
    expect(kernel.wq.prilow.stats().running).to.equal(2);
    ends[1]?.resolve('b');
    expect(await settle()).to.equal('2 false');
    ends[0]?.resolve('a');
    ends[2]?.reject(new Error('c'));
    const all = Promise.allSettled(results);
    await settle();
    expect((await all).map((result) => Object.values(result).map(String))).to.deep.equal([
      ['fulfilled', 'a'],
      ['fulfilled', 'b'],
      ['rejected', 'Error: c'],
    ]);
    await executor.drain();
  });

  it('starts waiting functions by priority, which can be changed', async () => {
    executor.pause();
    const run = (name: string, options = {}): void => {
      void executor.run(() => void ran.push(name), { ...options, name });
    };
    run('low', { priority: -1 });
    run('normal', { id: 'normal' });
    run('high', { priority: 1 });
    expect([await settle(), executor.queue.size]).to.deep.equal(['', 3]);
    executor.queue.setPriority('normal', 2);
    executor.start();
    expect(await settle()).to.equal('normal,high,low');
  });

  it('uses no slot while a function waits for its lock', async () => {
    const lock = new Mutex();
    const end = deferred();
    void executor.run(() => end.promise, { lock });
    void executor.run(() => void ran.push('second'), { lock });
    void executor.run(() => void ran.push('other'));
    expect(await settle()).to.equal('other');
    end.resolve();
    expect(await settle()).to.equal('second');
    expect(lock.held).to.equal(false);
  });

  it('queues a function after its delay', async () => {
    const controller = new AbortController();
    void executor.run(() => void ran.push('late'), { delayMs: 10 });
    const never = executor.run(nothing, { delayMs: 10, signal: controller.signal }).catch(String);
    await clock.advance(9);
    expect([executor.queue.size, executor.queue.pending]).to.deep.equal([0, 0]);
    controller.abort('why');
    await clock.advance(1);
    expect([ran, await never]).to.deep.equal([['late'], 'why']);
  });

  it('aborts a running function and withdraws a waiting one by its signal', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const reasons: unknown[] = [];
    const results = [1, 2, 3].map((n) =>
      executor
        .run(
          (own) => {
            ran.push(`${n}`);
            own.addEventListener('abort', () => void reasons.push(own.reason));
            return new Promise(nothing);
          },
          { signal },
        )
        .catch(String),
    );
    expect(await settle()).to.equal('1,2');
    controller.abort('why');
    await settle();
    expect([reasons, await Promise.all(results)]).to.deep.equal([
      ['why', 'why'],
      ['why', 'why', 'why'],
    ]);
    const queued = new AbortController();
    const withdrawn = executor
      .run(() => ran.push('never'), { signal: queued.signal })
      .catch(String);
    queued.abort('early');
    expect([await withdrawn, await settle()]).to.deep.equal(['early', '']);
  });

  it('rejects after the timeout, and aborts the signal of the function', async () => {
    const real = createExecutor(new Kernel().wq.prihigh, { timeout: 20 });
    let told: unknown;
    const error: unknown = await real
      .run((signal) => {
        signal.addEventListener('abort', () => (told = signal.reason));
        return new Promise(nothing);
      })
      .catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(TimeoutError);
    await settled();
    expect(told).to.equal(error);
    expect(await real.run(() => 1, { timeout: 1000 })).to.equal(1);
  });

  it('runs functions without AsyncLocalStorage stores, or with those of the caller', async () => {
    const store = new AsyncLocalStorage<string>();
    const look = (): string => String(store.getStore());
    const seen = store.run('request', () => [
      executor.run(look),
      executor.run(look, { context: 'create' }),
      executor.run(look, { context: 'create' }),
    ]);
    await settle();
    expect(await Promise.all(seen)).to.deep.equal(['undefined', 'request', 'request']);
  });

  it('passes the argument, and a signal if the function has a parameter for it', async () => {
    const look = (...given: unknown[]): string =>
      given.map((one) => (one instanceof AbortSignal ? 'signal' : String(one))).join();
    const two = (arg: unknown, signal: AbortSignal): string => look(arg, signal);
    const one = (arg: unknown): string => look(arg);
    const none = (): string => 'nothing';
    const results = [
      executor.run(two, { arg: 5 }),
      executor.run(two, { arg: 5, context: 'create' }),
      executor.run(two, { arg: undefined }),
      executor.run(one, { arg: 5 }),
      executor.run(one),
      executor.run(none),
    ];
    await settle();
    expect(await Promise.all(results)).to.deep.equal([
      '5,signal',
      '5,signal',
      'undefined,signal',
      '5',
      'signal',
      'nothing',
    ]);
  });

  it('treats an undefined option as omitted', async () => {
    const real = createExecutor(new Kernel().wq.prihigh, {
      timeout: 20,
      intervalCap: undefined,
    } as object);
    const error: unknown = await real
      .run(() => new Promise(nothing), { timeout: undefined, priority: undefined } as object)
      .catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(TimeoutError);
  });

  it('runs synchronous functions on a soft workqueue', async () => {
    const soft = createExecutor(kernel.wq.softnet);
    const results = [soft.run(() => 1), soft.run(async () => 2)].map((promise) =>
      promise.catch((error: unknown) => (error as { code: string }).code),
    );
    await settle();
    expect(await Promise.all(results)).to.deep.equal([1, 'ENOTSUP']);
  });

  it('refuses other arguments', async () => {
    expect(codeOf(() => createExecutor({} as typeof kernel.wq.prilow))).to.equal('EINVAL');
    expect(await rejectionOf(executor.run(1 as unknown as () => void))).to.equal('EINVAL');
    expect(await rejectionOf(executor.run(nothing, { delayMs: -1 }))).to.equal('EINVAL');
    expect(() => createExecutor(kernel.wq.prilow, { concurrency: 0 })).to.throw(TypeError);
  });
});
