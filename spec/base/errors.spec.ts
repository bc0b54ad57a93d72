import { inspect } from 'node:util';
import { expect } from 'chai';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  VirtualClock,
  kern,
  type Cpu,
  type Lock,
  type Workqueue,
} from '../../lib/index.ts';

const nothing = (): void => undefined;

describe('invalid input', () => {
  const clock = new VirtualClock();
  const kernel = new Kernel({ clock });
  const { softclock, prilow } = kernel.wq;

  const says = (f: () => unknown): string => {
    try {
      f();
      return 'no error';
    } catch (error) {
      return error instanceof KcontError ? `${error.code}: ${error.message}` : String(error);
    }
  };
  const rejects = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => 'no error',
      (error: unknown) =>
        says(() => {
          throw error;
        }),
    );

  it('is refused when a continuation is created', () => {
    const freed = kernel.acquire(77);
    freed.release();
    const ownLock: Lock = {
      held: false,
      tryEnter: () => true,
      enter: () => Promise.resolve(),
      exit: nothing,
    };
    expect([
      says(() => new Kcont(undefined as unknown as Workqueue, null, nothing, null)),
      says(() => new Kcont({} as Workqueue, null, nothing, null)),
      says(() => new Kcont(softclock, ownLock, nothing, null)),
      says(() => new Kcont(softclock, null, 'f' as unknown as typeof nothing, null)),
      says(() => new Kcont(freed, null, nothing, null)),
      says(() => kern.kcont_create(softclock, null, nothing, null, 1)),
    ]).to.deep.equal([
      'EINVAL: wq must be a Workqueue, got undefined',
      'EINVAL: wq must be a Workqueue, got an instance of Object',
      'EINVAL: lock must be null or a lock of kcont, got an instance of Object',
      'EINVAL: func must be a function, got "f"',
      'EINVAL: workqueue pri77 has been released',
      'EINVAL: flags must be 0, got 1',
    ]);
  });

  it('is refused when a continuation is scheduled, and changes nothing', () => {
    const kc = new Kcont(softclock, null, nothing, null, { name: 'kc' });
    const elsewhere = new Kernel({ clock: new VirtualClock() }).cpus[0]!;
    kc.schedule(100);
    expect([
      says(() => kc.schedule(-1)),
      says(() => kc.schedule(NaN)),
      says(() => kc.schedule(2 ** 53)),
      says(() => kc.schedule('5' as unknown as number)),
      says(() => kc.schedule(5n as unknown as number)),
      says(() => kc.schedule(5, kernel.cpus[0])),
      says(() => kc.schedule(5, elsewhere)),
      says(() => kc.reset(5, 0 as unknown as Cpu)),
      says(() => kc.reset(Infinity)),
    ]).to.deep.equal([
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got -1',
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got NaN',
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got 9007199254740992',
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got "5"',
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got 5n',
      'ENOENT: kc cannot be scheduled on a CPU: workqueue softclock has no queue per CPU',
      'EINVAL: cpu of kc must be null or a Cpu of the same kernel, got an instance of Cpu',
      'EINVAL: cpu of kc must be null or a Cpu of the same kernel, got 0',
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got Infinity',
    ]);
    expect(kc.deadline).to.equal(clock.now + 100);
    kc.destroy();
    expect([kc.schedule(), kc.reset(5)]).to.deep.equal([false, false]);
    expect(says(() => kc.schedule(-1))).to.equal(
      'EINVAL: delayMs of kc must be a finite number of ms from 0 to 2^53-1, got -1',
    );
    expect(says(() => kc.setArg(null))).to.equal('EINVAL: kc was destroyed');
    expect(
      says(() => new Kcont(softclock, null, () => undefined, null).drainAsync(1 as never)),
    ).to.equal('EINVAL: done must be a function, got 1');
  });

  it('is refused when a workqueue is acquired', () => {
    const options = { onError: 1 as never };
    expect([
      says(() => kernel.acquire(224)),
      says(() => kernel.acquire(-1)),
      says(() => kernel.acquire(1.5)),
      says(() => kernel.acquire(5, { perCpu: 1 as never })),
      says(() => kernel.acquire(5, { maxActive: 0 })),
      says(() => kernel.acquire(5, { maxActive: 1.5 })),
      says(() => kernel.acquire(5, { patienceMs: -1 })),
      says(() => kernel.acquire(5, options)),
    ]).to.deep.equal([
      'EINVAL: priority must be an integer from 0 to 223, got 224',
      'EINVAL: priority must be an integer from 0 to 223, got -1',
      'EINVAL: priority must be an integer from 0 to 223, got 1.5',
      'EINVAL: perCpu must be a boolean, got 1',
      'EINVAL: maxActive must be an integer >= 1 or Infinity, got 0',
      'EINVAL: maxActive must be an integer >= 1 or Infinity, got 1.5',
      'EINVAL: patienceMs must be a number >= 0, got -1',
      'EINVAL: onError must be a function, got 1',
    ]);
  });

  it('rejects calls that return a promise', async () => {
    expect([
      await rejects(prilow.run(5 as never)),
      await rejects(prilow.run(nothing, { signal: {} as AbortSignal })),
      await rejects(prilow.run(nothing, { delayMs: -1 })),
      await rejects(new Mutex().enter({ priority: 1000 })),
      await rejects(new Mutex().enter({ priority: 0.5 })),
    ]).to.deep.equal([
      'EINVAL: func must be a function, got 5',
      'EINVAL: signal must be an AbortSignal, got an instance of Object',
      'EINVAL: delayMs must be a finite number of ms from 0 to 2^53-1, got -1',
      'EINVAL: priority must be an integer from 0 to 223, got 1000',
      'EINVAL: priority must be an integer from 0 to 223, got 0.5',
    ]);
  });

  it('is shown in the message', () => {
    const anonymous: unknown[] = [() => undefined];
    const bare = Object.create(null) as object;
    const unnamed = Object.create({ constructor: undefined }) as object;
    expect(
      [anonymous[0], bare, unnamed, Symbol('s'), true].map((func) =>
        says(() => new Kcont(softclock, null, func as () => void, null)).replace(/.*got /, ''),
      ),
    ).to.deep.equal([
      'no error',
      'an instance of Object',
      'an instance of Object',
      'Symbol(s)',
      'true',
    ]);
    expect(says(() => new Kcont(anonymous[0] as Workqueue, null, nothing, null))).to.equal(
      'EINVAL: wq must be a Workqueue, got function (anonymous)',
    );
  });
});

describe('errors of continuations without a name', () => {
  it('say "a continuation"', async () => {
    const clock = new VirtualClock();
    const errors: unknown[] = [];
    const kernel = new Kernel({
      clock,
      onError: (error) => void errors.push((error as Error).message),
    });
    const softnet: Workqueue = kernel.wq.softnet;
    new Kcont(
      softnet,
      null,
      (
        () => async () =>
          undefined
      )(),
      null,
    ).schedule();
    const lock = new Mutex();
    new Kcont(
      kernel.wq.prilow,
      lock,
      (
        () => () =>
          lock.exit()
      )(),
      null,
    ).schedule();
    await clock.advance(0);
    expect(errors).to.deep.equal([
      'a continuation on softnet returned a promise; soft queues take synchronous functions only',
      'the lock of a continuation must be held when its function settles',
    ]);
  });
});

describe('a continuation in a log', () => {
  it('shows every state it can be in', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const lines: string[] = [];
    const note = (): void => void lines.push(inspect(kc).replace(/.*\{ (.*), prilow \}/, '$1'));
    let settle = nothing;
    const kc = new Kcont(
      kernel.wq.prilow,
      null,
      (_, self) => {
        note();
        self.ack();
        note();
        self.schedule(5);
        note();
        return new Promise<void>((resolve) => (settle = resolve));
      },
      null,
      { name: 'kc' },
    );
    note();
    kc.schedule();
    note();
    clock.tick(0);
    clock.tick(5);
    note();
    kc.destroy();
    note();
    settle();
    await clock.advance(0);
    note();
    await kernel.close();
    expect(inspect(kernel)).to.equal('Kernel { 0 pending, 0 queued, 0 running, closed }');
    expect(lines).to.deep.equal([
      'IDLE',
      'INVOKING',
      'INVOKING|EXPIRED|running',
      'EXPIRED|running',
      'PENDING|running, due in 5 ms',
      'INVOKING|running',
      'DESTROYED, running',
      'DESTROYED',
    ]);
  });
});
