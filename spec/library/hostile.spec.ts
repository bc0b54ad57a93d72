// Whatever a user's function returns or throws, its call ends with an error that describes it, its lock is
// free, its handle is idle, and no other work is lost.
/* oxlint-disable unicorn/no-thenable -- that is what it is about */
import { inspect } from 'node:util';
import { expect } from 'chai';
import { Kcont, KcontError, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import type { KcontFunction } from '../../lib/index.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import {
  AWAITING,
  ENTRANCES,
  asKcont,
  textOf,
  type Ending,
  type Func,
  type Place,
} from '../support/hostile-results.ts';
import { rejectionOf } from '../support/lab.ts';

type Settle = (value?: unknown) => void;

function fail(message: string): never {
  throw new Error(message);
}

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** A Promise with a replaced property. */
function oddPromise(name: string, descriptor: PropertyDescriptor): Promise<number> {
  return Object.defineProperty(Promise.resolve(1), name, descriptor);
}

/** Functions, and how their calls end. A text with … at its end is only the beginning. */
const HOSTILE: readonly (readonly [what: string, func: Func, ending: Ending])[] = [
  [
    'a `then` that throws when it is read',
    () => ({
      get then(): unknown {
        return fail('read');
      },
    }),
    'read',
  ],
  ['a revoked proxy', () => revoked({}), "Cannot perform 'get' on a proxy that has been revoked"],
  [
    'a revoked proxy of a function',
    () => revoked(fail),
    "Cannot perform 'get' on a proxy that has been revoked",
  ],
  ['a thenable that throws', () => ({ then: () => fail('called') }), 'called'],
  [
    'a function with a `then`',
    () => Object.assign(fail, { then: (yes: Settle) => yes(1) }),
    'fulfilled',
  ],
  [
    'a function whose `then` rejects',
    () => Object.assign(() => 1, { then: (_: Settle, no: Settle) => no(new Error('no')) }),
    'no',
  ],
  ['a null prototype', () => Object.create(null) as object, 'fulfilled'],
  [
    'a null prototype with a `then`',
    () =>
      Object.assign(Object.create(null) as object, { then: (_: Settle, no: Settle) => no(null) }),
    'null',
  ],
  ['a `then` that is no function', () => ({ then: 1 }), 'fulfilled'],
  [
    'a thenable that fulfils twice, and then rejects and throws',
    () => ({
      then(yes: Settle, no: Settle) {
        yes(1);
        yes(2);
        no(new Error('late'));
        fail('later');
      },
    }),
    'fulfilled',
  ],
  [
    'a thenable that rejects, and then fulfils and throws',
    () => ({
      then(yes: Settle, no: Settle) {
        no(new Error('first'));
        yes(1);
        fail('later');
      },
    }),
    'first',
  ],
  [
    'a thenable that calls back twice, later',
    () => ({
      then(yes: Settle, no: Settle) {
        queueMicrotask(() => yes(1));
        setImmediate(() => no(new Error('late')));
      },
    }),
    'fulfilled',
  ],
  [
    'a thenable of a hostile one',
    () => ({ then: (yes: Settle) => yes({ then: () => fail('inner') }) }),
    'inner',
  ],
  [
    'a thenable that rejects with nothing',
    () => ({ then: (_: Settle, no: Settle) => no() }),
    'undefined',
  ],
  [
    'a thenable that rejects with a revoked proxy',
    () => ({ then: (_: Settle, no: Settle) => no(revoked({})) }),
    'unreadable object',
  ],
  [
    'what only looks like a promise',
    () => Object.create(Promise.prototype) as object,
    'Method Promise.prototype.then called on incompatible receiver…',
  ],
  [
    'a proxy of a promise',
    () => new Proxy(Promise.resolve(1), {}),
    'Method Promise.prototype.then called on incompatible receiver…',
  ],
  [
    'a promise whose constructor throws',
    () => oddPromise('constructor', { get: () => fail('constructor') }),
    'constructor',
  ],
  [
    'a promise with a `then` of its own',
    () => oddPromise('then', { value: (_: Settle, no: Settle) => no(new Error('own')) }),
    'own',
  ],
];

/** Values that are thrown. */
const THROWN: readonly (readonly [what: string, thrown: () => unknown, ending: Ending])[] = [
  ['nothing', () => undefined, 'undefined'],
  ['a null prototype', () => Object.create(null), 'an object'],
  ['a revoked proxy', () => revoked({}), 'unreadable object'],
  [
    'an error without a message to read',
    () => Object.defineProperty(new Error('x'), 'message', { get: () => fail('message') }),
    'unreadable object',
  ],
];

const FUNCS = [
  ...HOSTILE,
  ...THROWN.flatMap(([what, thrown, ending]) => [
    [
      `${what}, thrown`,
      () => {
        throw thrown();
      },
      ending,
    ] as const,
    // oxlint-disable-next-line prefer-promise-reject-errors -- that is what it is about
    [`a promise rejected with ${what}`, () => Promise.reject(thrown()), ending] as const,
  ]),
];

/** How many of them return a thenable. */
const THENABLES = 14;

describe('a function of an application', () => {
  for (const [where, enter] of Object.entries(ENTRANCES)) {
    describe(`called by ${where}`, () => {
      for (const [what, func, ending] of FUNCS) {
        if (AWAITING.has(where) && what === 'a promise with a `then` of its own') continue;
        it(`may return ${what}`, async () => {
          const clock = new VirtualClock();
          const errors: unknown[] = [];
          const kernel = new Kernel({ clock, onError: (error) => void errors.push(error) });
          const place: Place = { kernel, lock: new Mutex(), errors };
          let other = 0;
          const ended = enter(place, func);
          const neighbour = new Kcont(kernel.wq.prilow, place.lock, () => void other++, null);
          neighbour.schedule();
          await clock.advance(1);
          await clock.advance(1);
          await clock.advance(1);
          const end = await ended;
          if (ending.endsWith('…'))
            expect(end).to.satisfy((s: string) => s.startsWith(ending.slice(0, -1)));
          else expect(end).to.equal(ending);
          expect(errors).to.deep.equal([]);
          expect([place.lock.held, other]).to.deep.equal([false, 1]);
          expect(kernel.inspect()).to.include({ queued: 0, running: 0 });
        });
      }

      it('is reported by name if its promise never settles', async () => {
        const clock = new VirtualClock();
        const kernel = new Kernel({ clock });
        const place: Place = { kernel, lock: new Mutex(), errors: [] };
        void enter(place, function stuck() {
          return { then: () => undefined };
        });
        await clock.advance(1);
        if (AWAITING.has(where)) {
          // It is not a continuation of this kernel, but its lock reports it.
          expect([place.lock.held, kernel.inspect().running]).to.deep.equal([true, 0]);
          return;
        }
        expect(kernel.inspect().running).to.equal(1);
        const closing = kernel.close({ graceMs: 10 });
        await clock.advance(1000);
        const { unfinished } = await closing;
        // An item that is abandoned when its grace is over does not delay the kernel.
        if (where === 'a stage of a pipeline') expect(unfinished).to.deep.equal([]);
        else
          expect(unfinished.map(({ name }) => name)).to.deep.equal([
            where === 'locks.request' ? 'lock name' : 'stuck',
          ]);
      });
    });
  }

  it('has the `then` of its result read once', async () => {
    for (const [where, enter] of Object.entries(ENTRANCES)) {
      const clock = new VirtualClock();
      const place: Place = { kernel: new Kernel({ clock }), lock: new Mutex(), errors: [] };
      let reads = 0;
      const ended = enter(place, () => ({
        get then(): (yes: Settle) => void {
          reads++;
          return (yes) => yes(1);
        },
      }));
      await clock.advance(1);
      await clock.advance(1);
      expect([where, await ended, reads]).to.deep.equal([where, 'fulfilled', 1]);
    }
  });

  it('is refused on a queue for synchronous functions if it returns a thenable', async () => {
    const clock = new VirtualClock();
    const errors: unknown[] = [];
    const { wq } = new Kernel({ clock, onError: (error) => void errors.push(error) });
    const ends = HOSTILE.map(([, func]) => wq.softnet.run(func).then(() => 'fulfilled', textOf));
    for (const [, func] of HOSTILE) new Kcont(wq.softnet, null, asKcont(func), null).schedule();
    clock.tick(1);
    await clock.advance(1);
    const refused = /on softnet returned a promise; soft queues take synchronous functions only$/;
    const told = (await Promise.all(ends)).filter((end) => refused.test(end));
    expect(told).to.have.length(THENABLES);
    expect(errors.map(textOf).filter((end) => refused.test(end))).to.have.length(THENABLES);
    expect(wq.softnet.stats()).to.include({ queued: 0, running: 0, entered: 2 * HOSTILE.length });
  });

  it('loses no work when onError throws', async () => {
    const clock = new VirtualClock();
    const onError = (): never => fail('onError');
    const { wq } = new Kernel({ clock, onError });
    const lock = new Mutex();
    const ran: string[] = [];
    new Kcont(wq.prihigh, lock, () => revoked({}) as never, null).schedule();
    new Kcont(wq.prihigh, lock, async () => fail('later'), null).schedule();
    new Kcont(wq.prihigh, lock, () => void ran.push('next'), null).schedule();
    for (let i = 0; i < 2; i++) {
      let message = '';
      await clock.advance(0).catch((error: Error) => (message = error.message));
      expect(message).to.equal('onError');
    }
    await clock.advance(0);
    expect([ran, lock.held]).to.deep.equal([['next'], false]);
  });
});

/** Functions without a usable name. */
const NAMELESS: readonly (readonly [what: string, name: PropertyDescriptor])[] = [
  ['that throws', { get: () => fail('name') }],
  ['that is a symbol', { value: Symbol('name') }],
  ['that is a number', { value: 5 }],
  ['that is an object', { value: Object.create(null) as object }],
];

describe('a function with an unusual name', () => {
  for (const [what, name] of NAMELESS) {
    it(`${what} has no name in reports`, async () => {
      const clock = new VirtualClock();
      const kernel = new Kernel({ clock });
      const nameless = Object.defineProperty(
        () => new Promise<void>(() => undefined),
        'name',
        name,
      ) as KcontFunction<null>;
      const kc = new Kcont(kernel.wq.prilow, null, nameless, null);
      expect([kc.name, inspect(kc)]).to.deep.equal(['', 'Kcont (anonymous) { IDLE, prilow }']);
      kc.schedule();
      const runs = [
        kernel.wq.prilow.run(nameless as Func),
        createScheduler(kernel).postTask(nameless as Func),
        createExecutor(kernel.wq.prilow).run(nameless as Func),
      ].map(rejectionOf);
      createTimers(kernel).setTimeout(nameless as () => void, 60_000);
      const fast = new Kcont(kernel.wq.softnet, null, nameless, null);
      fast.schedule();
      let message = '';
      await clock.advance(1).catch((error: Error) => (message = error.message));
      expect(message).to.match(/^a continuation on softnet returned a promise/);
      await clock.advance(1);
      const closing = kernel.close({ graceMs: 0 });
      await clock.advance(1000);
      const { withdrawn, unfinished } = await closing;
      expect(withdrawn).to.deep.equal(['timeout']);
      expect(unfinished.map((one) => one.name).toSorted()).to.deep.equal([
        '(anonymous)',
        '(anonymous)',
        'postTask',
        'run',
        'run',
      ]);
      expect(await Promise.all(runs)).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN', 'ESHUTDOWN']);
    });
  }

  it('that cannot be read does not hinder messages about other arguments', () => {
    const [, unreadable] = NAMELESS[0] as (typeof NAMELESS)[0];
    const values: readonly unknown[] = [
      revoked({}),
      revoked(fail),
      Object.defineProperty(() => 1, 'name', unreadable),
      Object.defineProperty({}, 'constructor', { get: () => fail('constructor') }),
      { constructor: { name: Symbol('name') } },
      Object.create(null),
    ];
    const { wq } = new Kernel({ clock: new VirtualClock() });
    const said = values.map((value) => {
      try {
        return new Kcont(wq.prilow, null, () => undefined, null, { name: value as string }).name;
      } catch (error) {
        expect(error).to.be.instanceOf(KcontError);
        return (error as Error).message.replace(/.*, got /, '');
      }
    });
    expect(said).to.deep.equal([
      'an object that cannot be read',
      'function (anonymous)',
      'function (anonymous)',
      'an object that cannot be read',
      'an object that cannot be read',
      'an instance of Object',
    ]);
  });
});
