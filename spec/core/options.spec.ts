import { expect } from 'chai';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  Scope,
  VirtualClock,
  type KcontOptions,
  type KcontSettings,
  type Workqueue,
} from '../../lib/index.ts';

const nothing = (): void => undefined;

describe('the options of a continuation', () => {
  const clock = new VirtualClock();
  const kernel = new Kernel({ clock });
  const make = (options?: KcontOptions): Kcont<null> =>
    new Kcont(kernel.wq.softclock, null, () => undefined, null, options);
  const message = (options: unknown): string => {
    try {
      make(options as KcontOptions);
      return 'no error';
    } catch (error) {
      return error instanceof KcontError ? `${error.code} ${error.message}` : String(error);
    }
  };

  it('are checked at the call; the message says what was expected and what was given', () => {
    const disposed = new Scope();
    disposed[Symbol.dispose]();
    expect(
      [
        null,
        'x',
        { name: 1 },
        { affinity: 'some' },
        { slackMs: -1 },
        { slackMs: NaN },
        { slackMs: 2 ** 31 },
        { context: function own() {} },
        { signal: {} },
        { scope: new URL('x:') },
        { scope: disposed },
        { scope: Object.create(null) },
      ].map(message),
    ).to.deep.equal([
      'EINVAL options must be an object, got null',
      'EINVAL options must be an object, got "x"',
      'EINVAL name must be a string, got 1',
      "EINVAL affinity must be 'strong', 'weak' or 'none', got \"some\"",
      'EINVAL slackMs must be a number of ms from 0 to 2^30, got -1',
      'EINVAL slackMs must be a number of ms from 0 to 2^30, got NaN',
      'EINVAL slackMs must be a number of ms from 0 to 2^30, got 2147483648',
      "EINVAL context must be 'none', 'create' or 'schedule', got function own",
      'EINVAL signal must be an AbortSignal, got an instance of Object',
      'EINVAL scope must be a Scope, got an instance of URL',
      'EINVAL the scope has been disposed',
      'EINVAL scope must be a Scope, got an instance of Object',
    ]);
  });

  it('set its name; the default is that of its function', () => {
    expect([make().name, make({ name: 'idle' }).name, make({}).name]).to.deep.equal([
      '',
      'idle',
      '',
    ]);
    expect(new Kcont(kernel.wq.softclock, null, function flush() {}, null).name).to.equal('flush');
  });

  it('set its CPU affinity', () => {
    expect([make().affinity, make({ affinity: 'weak' }).affinity]).to.deep.equal(['none', 'weak']);
  });

  it('destroy it when the signal is aborted, or immediately if it already is', () => {
    const controller = new AbortController();
    const kc = make({ signal: controller.signal });
    const other = make({ signal: controller.signal });
    kc.schedule(5);
    other.destroy();
    expect(kc.destroyed).to.equal(false);
    controller.abort();
    expect([kc.destroyed, kc.pending]).to.deep.equal([true, false]);
    expect(make({ signal: controller.signal }).destroyed).to.equal(true);
  });

  it('let timers with slack expire at one tick, never early and never later than the slack', () => {
    const at: number[] = [];
    for (let delayMs = 1; delayMs <= 200; delayMs += 7) {
      const began = clock.now;
      const kc = new Kcont(
        kernel.wq.softclock,
        null,
        () => {
          expect(clock.now - began).to.be.within(delayMs, delayMs + 32);
          at.push(clock.now);
        },
        null,
        { slackMs: 32 },
      );
      kc.schedule(delayMs);
      expect(kc.deadline).to.be.within(delayMs, delayMs + 32);
    }
    const exact = make({ slackMs: 0 });
    exact.schedule(77);
    expect(exact.deadline).to.equal(77);
    const far = make({ slackMs: 1000 });
    far.schedule(2 ** 40);
    expect(far.deadline).to.equal(2 ** 40);
    const days = make({ slackMs: 3_600_000 });
    days.schedule(604_800_000);
    expect(days.deadline).to.be.within(604_800_000, 608_400_000);
    expect(days.deadline % 2 ** 20).to.equal(0);
    const tight = make({ slackMs: 0.5 });
    tight.schedule(604_800_000.25);
    expect(tight.deadline).to.equal(604_800_000.25);
    tight.schedule(0.75);
    expect(tight.deadline).to.equal(1);
    for (const kc of [exact, far, days, tight]) kc.destroy();
    clock.tick(300);
    expect(at.length).to.equal(29);
    expect(new Set(at).size).to.be.at.most(8);
  });
});

describe('the settings of a continuation in one object', () => {
  const clock = new VirtualClock();
  const kernel = new Kernel({ clock });

  it('are those of several arguments', () => {
    const lock = new Mutex();
    const scope = new Scope();
    const ran: unknown[] = [];
    const func = (arg: string, kc: Kcont<string>): void => void ran.push(arg, kc, lock.held);
    const made = new Kcont({
      wq: kernel.wq.prilow,
      func,
      arg: 'x',
      lock,
      name: 'job',
      affinity: 'weak',
      scope,
    });
    expect([made.wq, made.lock, made.name, made.affinity, scope.size]).to.deep.equal([
      kernel.wq.prilow,
      lock,
      'job',
      'weak',
      1,
    ]);
    made.schedule(5);
    clock.tick(5);
    expect(ran).to.deep.equal(['x', made, true]);
    scope[Symbol.dispose]();
  });

  it('may omit the argument and the lock', () => {
    const ran: unknown[][] = [];
    const func = (...args: unknown[]): void => void ran.push(args);
    const made = new Kcont({ wq: kernel.wq.softclock, func: () => func(), name: 'job' });
    const told = new Kcont<unknown>({ wq: kernel.wq.softclock, func, arg: undefined });
    expect([made.lock, told.lock]).to.deep.equal([null, null]);
    made.schedule();
    told.schedule();
    clock.tick(0);
    expect(ran).to.deep.equal([[], [undefined, told]]);
  });

  it('are checked before anything has changed', () => {
    const wq = kernel.acquire(95, { name: 'own' });
    const said = (settings: unknown): string => {
      try {
        void new Kcont(settings as KcontSettings<Workqueue, unknown>);
        return 'no error';
      } catch (error) {
        return error instanceof KcontError ? `${error.code} ${error.message}` : String(error);
      }
    };
    const scope = new Scope();
    expect(
      [
        undefined,
        wq,
        {},
        { wq },
        { wq, func: 'x' },
        { func: nothing },
        { wq, func: nothing, lock: {} },
        { wq, func: nothing, scope, ref: 1 },
        { wq, func: nothing, function: nothing },
      ].map(said),
    ).to.deep.equal([
      'EINVAL wq must be a Workqueue, got undefined',
      'EINVAL lock must be null or a lock of kcont, got undefined',
      'EINVAL wq must be a Workqueue, got undefined',
      'EINVAL func must be a function, got undefined',
      'EINVAL func must be a function, got "x"',
      'EINVAL wq must be a Workqueue, got undefined',
      'EINVAL lock must be null or a lock of kcont, got an instance of Object',
      'EINVAL ref must be a boolean, got 1',
      "EINVAL unknown option 'function' of Kcont; did you mean 'func'?",
    ]);
    expect(scope.size).to.equal(0);
    wq.release();
    // Its last reference was that of `acquire`.
    expect(said({ wq, func: nothing })).to.equal('EINVAL workqueue own has been released');
  });
});
