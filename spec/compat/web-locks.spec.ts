// The cases are those of the web platform tests of Web Locks, and some about the kernel.

import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { expect } from 'chai';
import {
  Lock,
  LockManager,
  createLocks,
  locks as processLocks,
  type LockGrantedCallback,
  type LockOptions,
} from '../../lib/compat/web-locks.ts';
import { Kernel, VirtualClock } from '../../lib/index.ts';
import { codeOf, deferred, type Deferred } from '../support/lab.ts';

const nothing = (): void => undefined;

/** Returns the name of the error a promise rejects with, or the reason itself; `none` if it fulfils. */
function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'none',
    (reason: unknown) => (reason instanceof Error ? reason.name : reason),
  );
}

/** Tells whether a value is a DOMException. */
function isDom(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    (reason: unknown) => reason instanceof DOMException,
  );
}

describe('locks', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let locks: LockManager;
  let granted: string[];
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    locks = createLocks(kernel);
    granted = [];
  });

  /** Runs everything that is due. */
  const settle = (): Promise<void> => clock.advance(0);

  /** Requests a lock, records its name when it is granted, and holds it until released. */
  function hold(
    name: string,
    options: LockOptions = {},
    note = name,
  ): { done: Promise<unknown>; end: Deferred<unknown> } {
    const end = deferred<unknown>();
    const done = locks.request(name, options, () => {
      granted.push(note);
      return end.promise;
    });
    done.catch(nothing);
    return { done, end };
  }

  const call = (...args: unknown[]): Promise<unknown> =>
    (locks.request as (...rest: unknown[]) => Promise<unknown>).apply(locks, args);

  describe('request', () => {
    it('needs a name and a callback', async () => {
      const wrong: unknown[][] = [
        [],
        ['a'],
        [Symbol('a'), nothing],
        ['a', {}, undefined],
        ['a', 1, nothing],
        [nothing, 'a'],
      ];
      for (const value of [undefined, null, 123, 'abc', [], {}, Promise.resolve()]) {
        wrong.push(['a', value]);
      }
      const names = await Promise.all(wrong.map((args) => rejection(call(...args))));
      expect(new Set(names)).to.deep.equal(new Set(['TypeError']));
    });

    it('accepts only exclusive and shared as mode', async () => {
      const modes = [{ mode: 'exclusive' }, { mode: 'shared' }, {}, undefined, null].map(
        (options) => call('a', options, (lock: Lock) => lock.mode),
      );
      await settle();
      expect(await Promise.all(modes)).to.deep.equal([
        'exclusive',
        'shared',
        'exclusive',
        'exclusive',
        'exclusive',
      ]);
      for (const mode of ['foo', null, Symbol('shared')]) {
        expect(await rejection(call('a', { mode }, nothing))).to.equal('TypeError');
      }
    });

    it('accepts only an AbortSignal as signal', async () => {
      const wrong = ['string', 12.34, false, null, {}, Symbol('s'), nothing];
      for (const signal of wrong) {
        expect(await rejection(call('a', { signal }, nothing))).to.equal('TypeError');
      }
    });

    it('does not support options that exclude each other', async () => {
      const { signal } = new AbortController();
      const options: LockOptions[] = [
        { steal: true, ifAvailable: true },
        { steal: true, mode: 'shared' },
        { steal: true, signal },
        { ifAvailable: true, signal },
      ];
      for (const option of options) {
        const promise = locks.request('a', option, nothing);
        expect([await rejection(promise), await isDom(promise)]).to.deep.equal([
          'NotSupportedError',
          true,
        ]);
      }
    });

    it('does not support names that begin with a hyphen', async () => {
      expect(await rejection(locks.request('-', nothing))).to.equal('NotSupportedError');
      expect(await rejection(locks.request('-foo', nothing))).to.equal('NotSupportedError');
      const other = locks.request('x-anything', () => 1);
      await settle();
      expect(await other).to.equal(1);
    });

    it('keeps names unchanged', async () => {
      const names = ['', 'abc\0def', '\uD800', '\uDC00', '\uDC00\uD800', '\uFFFF', '\uFFFD'];
      // All at once: they are different names.
      const held = names.map((name) => hold(name));
      await settle();
      expect(granted).to.deep.equal(names);
      for (const { end } of held) end.resolve(undefined);
      await settle();
      expect(await locks.query()).to.deep.equal({ held: [], pending: [] });
      const given = call(12, (lock: Lock) => lock.name);
      await settle();
      expect(await given).to.equal('12');
    });

    it('resolves with the result of a synchronous or asynchronous callback', async () => {
      const results = [locks.request('a', () => 123), locks.request('a', async () => 'later')];
      await settle();
      expect(await Promise.all(results)).to.deep.equal([123, 'later']);
    });

    it('rejects with the error of the callback, without reading its `then`', async () => {
      let asked = 0;
      // oxlint-disable-next-line unicorn/no-thenable -- that is the point
      const error = { then: () => void asked++ };
      const thrown = [
        locks.request('a', () => {
          // oxlint-disable-next-line only-throw-error -- anything can be thrown
          throw error;
        }),
        locks.request('a', async () => {
          // oxlint-disable-next-line only-throw-error -- anything can be thrown
          throw error;
        }),
      ];
      const reasons = Promise.allSettled(thrown);
      await settle();
      expect(await reasons).to.deep.equal([
        { status: 'rejected', reason: error },
        { status: 'rejected', reason: error },
      ]);
      expect(asked).to.equal(0);
    });

    it('calls back in a later turn', async () => {
      const { end } = hold('a');
      expect(granted).to.deep.equal([]);
      await settle();
      expect(granted).to.deep.equal(['a']);
      end.resolve(undefined);
    });

    it('resolves after the lock was released', async () => {
      const order: string[] = [];
      const { end, done } = hold('a');
      void done.then(async () => {
        order.push('done');
        const { held } = await locks.query();
        order.push(`${held.length} held`);
      });
      void end.promise.then(() => void order.push('ended'));
      await settle();
      end.resolve(undefined);
      await settle();
      expect(order).to.deep.equal(['ended', 'done', '0 held']);
    });

    it('sees the AsyncLocalStorage store of its caller in the callback', async () => {
      const store = new AsyncLocalStorage<string>();
      const first = hold('a');
      const seen = store.run('request', () => locks.request('a', () => store.getStore()));
      await settle();
      first.end.resolve(undefined);
      await settle();
      expect(await seen).to.equal('request');
    });

    it('works on the process-wide kernel', async () => {
      expect(await processLocks.request('a', (lock) => lock?.name)).to.equal('a');
    });
  });

  describe('order', () => {
    it('holds an exclusive lock until its callback has fulfilled or rejected', async () => {
      const first = hold('a', {}, 'first');
      const second = hold('a', {}, 'second');
      const third = hold('a', {}, 'third');
      await settle();
      expect(granted).to.deep.equal(['first']);
      first.end.resolve(undefined);
      await settle();
      expect(granted).to.deep.equal(['first', 'second']);
      second.end.reject(new Error('on purpose'));
      await settle();
      expect(granted).to.deep.equal(['first', 'second', 'third']);
      third.end.resolve(undefined);
    });

    it('grants shared locks together, and locks of other names at once', async () => {
      const shared = [1, 2, 3].map((n) => hold('a', { mode: 'shared' }, `a-shared-${n}`));
      hold('a', {}, 'a-exclusive');
      hold('b', {}, 'b-exclusive');
      await settle();
      expect(granted).to.deep.equal(['a-shared-1', 'a-shared-2', 'a-shared-3', 'b-exclusive']);
      for (const { end } of shared) end.resolve(undefined);
      await settle();
      expect(granted.at(-1)).to.equal('a-exclusive');
    });

    it('lets no shared request overtake an exclusive one', async () => {
      const first = [1, 2].map(() => hold('a', { mode: 'shared' }));
      const exclusive = hold('a', {}, 'exclusive');
      const second = [1, 2].map(() => hold('a', { mode: 'shared' }));
      await settle();
      const count = async (): Promise<string> => {
        const { held, pending } = await locks.query();
        return `${held.map(({ mode }) => mode).join()} ${pending.length}`;
      };
      expect(await count()).to.equal('shared,shared 3');
      for (const { end } of first) end.resolve(undefined);
      await settle();
      expect(await count()).to.equal('exclusive 2');
      exclusive.end.resolve(undefined);
      await settle();
      expect(await count()).to.equal('shared,shared 0');
      for (const { end } of second) end.resolve(undefined);
    });

    it('keeps the names of managers separate', async () => {
      const other = createLocks(kernel);
      hold('a');
      const granted2 = other.request('a', () => 'theirs');
      await settle();
      expect([granted, await granted2]).to.deep.equal([['a'], 'theirs']);
    });
  });

  describe('ifAvailable', () => {
    const available = (name: string, mode: 'exclusive' | 'shared' = 'exclusive'): Promise<string> =>
      locks.request(name, { ifAvailable: true, mode }, (lock) => lock?.mode ?? 'null');

    it('grants a lock that is available at once', async () => {
      const answers = [available('a'), available('b', 'shared'), available('b', 'shared')];
      await settle();
      expect(await Promise.all(answers)).to.deep.equal(['exclusive', 'shared', 'shared']);
    });

    it('calls back with null otherwise', async () => {
      hold('a');
      hold('b', { mode: 'shared' });
      const answers = [
        available('a'),
        available('a', 'shared'),
        available('b'),
        available('b', 'shared'),
        available('c'),
      ];
      await settle();
      expect(await Promise.all(answers)).to.deep.equal([
        'null',
        'null',
        'null',
        'shared',
        'exclusive',
      ]);
    });

    it('does not overtake waiting requests', async () => {
      hold('a', { mode: 'shared' });
      hold('a');
      const answer = available('a', 'shared');
      await settle();
      expect(await answer).to.equal('null');
    });

    it('does not grant a lock that its own caller holds', async () => {
      const answer = locks.request('a', () => available('a'));
      await settle();
      expect(await answer).to.equal('null');
    });

    it('rejects with what the callback throws', async () => {
      hold('a');
      const error = new RangeError('on purpose');
      const answers = [
        locks.request('a', { ifAvailable: true }, () => {
          throw error;
        }),
        locks.request('a', { ifAvailable: true }, () => Promise.reject(error)),
      ].map(rejection);
      await settle();
      expect(await Promise.all(answers)).to.deep.equal(['RangeError', 'RangeError']);
    });

    it('is granted once an earlier release has been processed', async () => {
      const answer = (async () => {
        await locks.request('a', nothing);
        return available('a');
      })();
      await settle();
      expect(await answer).to.equal('exclusive');
    });
  });

  describe('steal', () => {
    it('takes a free lock', async () => {
      const lock = locks.request('a', { steal: true }, (stolen) => stolen?.mode);
      await settle();
      expect(await lock).to.equal('exclusive');
    });

    it('takes the lock from its holders, whose requests reject with AbortError', async () => {
      const first = hold('a', { mode: 'shared' }, 'first');
      const second = hold('a', { mode: 'shared' }, 'second');
      await settle();
      const thief = hold('a', { steal: true }, 'thief');
      expect([await rejection(first.done), await rejection(second.done)]).to.deep.equal([
        'AbortError',
        'AbortError',
      ]);
      expect(await isDom(first.done)).to.equal(true);
      await settle();
      expect(granted).to.deep.equal(['first', 'second', 'thief']);
      // The results of their callbacks are ignored.
      first.end.reject(new Error('ignored'));
      second.end.resolve(undefined);
      await settle();
      expect((await locks.query()).held).to.have.length(1);
      thief.end.resolve('mine');
      await settle();
      expect(await thief.done).to.equal('mine');
      expect(await locks.query()).to.deep.equal({ held: [], pending: [] });
    });

    it('goes before waiting requests, which stay in order', async () => {
      hold('a', {}, 'holder');
      const waiting = ['one', 'two'].map((note) => hold('a', {}, note));
      await settle();
      const thief = hold('a', { steal: true }, 'thief');
      await settle();
      expect(granted).to.deep.equal(['holder', 'thief']);
      thief.end.resolve(undefined);
      waiting[0]?.end.resolve(undefined);
      await settle();
      expect(granted).to.deep.equal(['holder', 'thief', 'one', 'two']);
    });

    it('grants the lock to the last caller, and never calls a callback whose lock was stolen before', async () => {
      const first = hold('a', { steal: true }, 'first');
      const second = hold('a', { steal: true }, 'second');
      await settle();
      expect(granted).to.deep.equal(['second']);
      expect(await rejection(first.done)).to.equal('AbortError');
      second.end.resolve(undefined);
    });
  });

  describe('signal', () => {
    it('rejects the request with its reason if it is already aborted', async () => {
      const reason = 'my dog ate it';
      expect(
        await Promise.all([
          rejection(locks.request('a', { signal: AbortSignal.abort() }, nothing)),
          rejection(locks.request('a', { signal: AbortSignal.abort(reason) }, nothing)),
        ]),
      ).to.deep.equal(['AbortError', reason]);
    });

    it('withdraws a waiting request, and lets those behind it proceed', async () => {
      const controller = new AbortController();
      hold('a', { mode: 'shared' }, 'reader');
      const writer = hold('a', { signal: controller.signal }, 'writer');
      hold('a', { mode: 'shared' }, 'behind');
      await settle();
      expect(granted).to.deep.equal(['reader']);
      controller.abort('late');
      expect(await rejection(writer.done)).to.equal('late');
      await settle();
      expect(granted).to.deep.equal(['reader', 'behind']);
      expect((await locks.query()).pending).to.deep.equal([]);
    });

    it('withdraws a granted lock before the callback is called', async () => {
      const controller = new AbortController();
      const first = hold('a', { signal: controller.signal }, 'first');
      const next = locks.request('a', () => 'resolved');
      controller.abort();
      expect(await rejection(first.done)).to.equal('AbortError');
      await settle();
      expect([granted, await next]).to.deep.equal([[], 'resolved']);
    });

    it('is ignored once the callback has been called', async () => {
      const controller = new AbortController();
      const { end, done } = hold('a', { signal: controller.signal });
      await settle();
      controller.abort();
      end.resolve('resolved ok');
      await settle();
      expect(await done).to.equal('resolved ok');
    });

    it('changes nothing if it is not aborted, and keeps no listener afterwards', async () => {
      const { signal } = new AbortController();
      const done = locks.request('a', { signal }, () => 1);
      await settle();
      expect([await done, getEventListeners(signal, 'abort')]).to.deep.equal([1, []]);
    });
  });

  describe('query', () => {
    it('returns name, mode and client id of held and pending locks', async () => {
      hold('a');
      hold('a', { mode: 'shared' });
      hold('a');
      hold('b', { mode: 'shared' });
      await settle();
      const { held, pending } = await locks.query();
      const names = (list: { name: string; mode: string }[]): string[] =>
        list.map(({ name, mode }) => `${name} ${mode}`);
      expect([names(held), names(pending)]).to.deep.equal([
        ['a exclusive', 'b shared'],
        ['a shared', 'a exclusive'],
      ]);
      const clients = new Set([...held, ...pending].map(({ clientId }) => clientId));
      expect([clients.size, typeof [...clients][0]]).to.deep.equal([1, 'string']);
      const other = createLocks(kernel);
      void other.request('a', () => new Promise(nothing));
      await settle();
      expect(clients.has((await other.query()).held[0]?.clientId ?? '')).to.equal(false);
    });

    it('shows a deadlock', async () => {
      const both = (one: string, two: string): void => {
        void locks.request(one, () => locks.request(two, nothing));
      };
      both('a', 'b');
      both('b', 'a');
      await settle();
      const { held, pending } = await locks.query();
      expect([held.length, pending.length]).to.deep.equal([2, 2]);
    });
  });

  describe('and the kernel', () => {
    it('waits for callbacks in drain', async () => {
      const { end } = hold('a');
      let drained = false;
      await settle();
      void kernel.drain().then(() => (drained = true));
      await settle();
      expect(drained).to.equal(false);
      end.resolve(undefined);
      await settle();
      expect(drained).to.equal(true);
    });

    it('reports a callback that does not settle by the name of its lock', async () => {
      hold('journal');
      await settle();
      const closing = kernel.close({ graceMs: 10 });
      await clock.advance(1000);
      expect((await closing).unfinished).to.deep.equal([
        { name: 'lock journal', wq: 'prihigh', state: 'running' },
      ]);
    });

    it('rejects with InvalidStateError once it is closed', async () => {
      const holder = hold('a', {}, 'holder');
      const waiting = hold('a', {}, 'waiting');
      await settle();
      const closing = kernel.close();
      expect(await rejection(locks.request('b', nothing))).to.equal('InvalidStateError');
      expect(await isDom(locks.query())).to.equal(true);
      holder.end.resolve('finished');
      await clock.advance(10_000);
      expect(await holder.done).to.equal('finished');
      expect(await rejection(waiting.done)).to.equal('InvalidStateError');
      expect([granted, (await closing).unfinished]).to.deep.equal([['holder'], []]);
    });

    it('runs callbacks on the given workqueue', async () => {
      const low = createLocks(kernel, { wq: kernel.wq.prilow });
      const done = low.request('a', nothing);
      await settle();
      await done;
      expect(kernel.wq.prilow.stats().entered).to.equal(1);
    });

    it('refuses other arguments', () => {
      const other = new Kernel({ clock });
      expect(
        [
          () => createLocks({} as Kernel),
          () => createLocks(kernel, { wq: other.wq.prihigh }),
          () => createLocks(kernel, { wq: kernel.wq.softnet }),
          () => createLocks(kernel, { wq: null as unknown as typeof other.wq.prihigh }),
        ].map(codeOf),
      ).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL']);
    });
  });

  describe('the classes', () => {
    it('cannot be constructed by programs', () => {
      expect(() => Reflect.construct(Lock, ['a', 'a', 'shared'])).to.throw(TypeError, 'Illegal');
      expect(() => Reflect.construct(LockManager, [])).to.throw(TypeError, 'Illegal');
    });

    it('have a descriptive string tag', async () => {
      const shows: LockGrantedCallback<string> = (lock) =>
        `${lock instanceof Lock} ${Object.prototype.toString.call(lock)}`;
      const shown = locks.request('a', shows);
      await settle();
      expect([await shown, Object.prototype.toString.call(locks)]).to.deep.equal([
        'true [object Lock]',
        '[object LockManager]',
      ]);
    });
  });
});
