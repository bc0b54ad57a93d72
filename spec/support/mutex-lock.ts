// Specs that hold for every mutex.
import { expect } from 'chai';
import { it, describe } from 'mocha';
import type { EnterOptions, Lock } from '../../lib/index.ts';
import { codeOf, Lab, rejectionOf, settled } from './lab.ts';

/** An exclusive lock that can be held across `await`. */
export interface MutexLock extends Lock {
  hold(options?: EnterOptions): Promise<Disposable>;
  run<T>(func: () => T | PromiseLike<T>, options?: EnterOptions): Promise<T>;
}

/** Code that awaits the lock, and records when it has it. */
function wait(
  lab: Lab,
  lock: Lock,
  name: string,
  options?: { priority?: number; signal?: AbortSignal },
): void {
  lock.enter(options).then(
    () => lab.ran.push(name),
    () => lab.ran.push(`${name} aborted`),
  );
}

export function describeMutex(title: string, make: () => MutexLock): void {
  describe(title, () => {
    it('starts free', () => {
      expect(make().held).to.equal(false);
    });

    it('has one holder at a time', () => {
      const lock = make();
      expect(lock.tryEnter()).to.equal(true);
      expect(lock.held).to.equal(true);
      expect(lock.tryEnter()).to.equal(false);
      lock.exit();
      expect(lock.held).to.equal(false);
      expect(lock.tryEnter()).to.equal(true);
    });

    it('refuses exit while it is not held', () => {
      const lock = make();
      expect(codeOf(() => lock.exit())).to.equal('EPERM');
      expect(lock.held).to.equal(false);
      expect(lock.tryEnter()).to.equal(true);
      lock.exit();
      expect(codeOf(() => lock.exit())).to.equal('EPERM');
    });

    it('is held by the code whose enter() resolved', async () => {
      const lock = make();
      await lock.enter();
      expect(lock.held).to.equal(true);
      expect(lock.tryEnter()).to.equal(false);
      lock.exit();
      expect(lock.held).to.equal(false);
    });

    describe('among awaiting code', () => {
      it('goes to the first waiter', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        wait(lab, lock, 'a');
        wait(lab, lock, 'b');
        wait(lab, lock, 'c');
        await settled();
        expect(lab.take()).to.deep.equal([]);
        for (const name of ['a', 'b', 'c']) {
          lock.exit();
          await settled();
          expect(lab.take()).to.deep.equal([name]);
        }
        lock.exit();
        expect(lock.held).to.equal(false);
      });

      it('goes to the highest priority first', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        wait(lab, lock, 'low', { priority: 10 });
        wait(lab, lock, 'high', { priority: 200 });
        wait(lab, lock, 'low too', { priority: 10 });
        wait(lab, lock, 'unsaid');
        for (const name of ['high', 'unsaid', 'low', 'low too']) {
          lock.exit();
          await settled();
          expect(lab.take()).to.deep.equal([name]);
        }
      });

      it('is handed over: it is never free in between', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        wait(lab, lock, 'a');
        lock.exit();
        expect(lock.held).to.equal(true);
        expect(lock.tryEnter()).to.equal(false);
        await settled();
        expect(lab.take()).to.deep.equal(['a']);
      });

      it('lets a waiter that is aborted leave the queue immediately, with the reason', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const abort = new AbortController();
        const reason = new Error('no patience');
        const entered = lock.enter({ signal: abort.signal });
        const rejection = entered.then(
          () => null,
          (error: unknown) => error,
        );
        wait(lab, lock, 'next');
        abort.abort(reason);
        expect(await rejection).to.equal(reason);
        expect(lab.take()).to.deep.equal([]);
        lock.exit();
        await settled();
        expect(lab.take()).to.deep.equal(['next']);
        lock.exit();
        expect(lock.held).to.equal(false);
      });

      it('refuses a signal that is already aborted, even if it is free', async () => {
        const lock = make();
        const rejection = lock.enter({ signal: AbortSignal.abort(new Error('too late')) });
        expect(await rejectionOf(rejection)).to.equal('Error: too late');
        expect(lock.held).to.equal(false);
      });

      it('ignores an abort after it was granted', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const abort = new AbortController();
        wait(lab, lock, 'a', { signal: abort.signal });
        lock.exit();
        abort.abort();
        await settled();
        expect(lab.take()).to.deep.equal(['a']);
        expect(lock.held).to.equal(true);
      });

      it('stays free after its only waiter has been aborted', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const abort = new AbortController();
        wait(lab, lock, 'a', { signal: abort.signal });
        abort.abort();
        lock.exit();
        expect(lock.held).to.equal(false);
        await settled();
        expect(lab.take()).to.deep.equal(['a aborted']);
      });
    });

    describe('hold()', () => {
      it('releases it when the block ends', async () => {
        const lock = make();
        {
          using _guard = await lock.hold();
          expect(lock.held).to.equal(true);
        }
        expect(lock.held).to.equal(false);
      });

      it('releases it when the block throws', async () => {
        const lock = make();
        const block = async (): Promise<void> => {
          using _guard = await lock.hold();
          throw new Error('boom');
        };
        expect(await rejectionOf(block())).to.equal('Error: boom');
        expect(lock.held).to.equal(false);
      });

      it('releases it once, however often it is disposed', async () => {
        const lock = make();
        const guard = await lock.hold();
        guard[Symbol.dispose]();
        expect(lock.held).to.equal(false);
        lock.tryEnter();
        guard[Symbol.dispose]();
        expect(lock.held, 'the hold of another').to.equal(true);
      });
    });

    describe('run()', () => {
      it('returns what the function returned, and holds it during the call', async () => {
        const lock = make();
        const result = await lock.run(() => {
          expect(lock.held).to.equal(true);
          return 42;
        });
        expect(result).to.equal(42);
        expect(lock.held).to.equal(false);
      });

      it('holds it across await', async () => {
        const lock = make();
        const result = await lock.run(async () => {
          await settled();
          expect(lock.held).to.equal(true);
          return 'late';
        });
        expect(result).to.equal('late');
        expect(lock.held).to.equal(false);
      });

      it('releases it after a throw and after a rejection', async () => {
        const lock = make();
        const thrown = lock.run(() => {
          throw new Error('thrown');
        });
        expect(await rejectionOf(thrown)).to.equal('Error: thrown');
        expect(lock.held).to.equal(false);
        const rejected = lock.run(() => Promise.reject(new Error('rejected')));
        expect(await rejectionOf(rejected)).to.equal('Error: rejected');
        expect(lock.held).to.equal(false);
      });

      it('runs functions one after the other', async () => {
        const lab = new Lab();
        const lock = make();
        const one = (name: string): Promise<void> =>
          lock.run(async () => {
            lab.ran.push(`${name} begins`);
            await settled();
            lab.ran.push(`${name} ends`);
          });
        await Promise.all([one('a'), one('b')]);
        expect(lab.take()).to.deep.equal(['a begins', 'a ends', 'b begins', 'b ends']);
      });
    });

    describe('of a continuation', () => {
      it('is held while a sync function runs, and free afterwards', () => {
        const lab = new Lab();
        const lock = make();
        const held: boolean[] = [];
        const kc = lab.sync('a', { lock, body: () => held.push(lock.held) });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(held).to.deep.equal([true]);
        expect(lock.held).to.equal(false);
      });

      it('is held by an async function until it settles', async () => {
        const lab = new Lab();
        const lock = make();
        const kc = lab.async('a', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(lock.held).to.equal(true);
        await settled();
        lab.clock.tick(1000);
        expect(lock.held).to.equal(true);
        await lab.end(kc);
        expect(lock.held).to.equal(false);
      });

      it('is free after a throw and after a rejection', async () => {
        const lab = new Lab();
        const lock = make();
        const thrower = lab.sync('a', {
          lock,
          body: () => {
            throw new Error('thrown');
          },
        });
        thrower.schedule(0);
        lab.clock.tick(0);
        expect(lock.held).to.equal(false);
        const rejecter = lab.async('b', { lock });
        rejecter.schedule(0);
        lab.clock.tick(0);
        expect(lock.held).to.equal(true);
        await lab.fail(rejecter, new Error('rejected'));
        expect(lock.held).to.equal(false);
        expect(lab.reported).to.deep.equal(['thrown', 'rejected']);
      });

      it('holds the continuation up while busy, and no others', () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const waits = lab.sync('waits', { lock });
        const other = lab.sync('other');
        const another = lab.sync('another', { lock: make() });
        waits.schedule(0);
        other.schedule(0);
        another.schedule(0);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['other', 'another']);
        lab.clock.tick(1000);
        expect(lab.take()).to.deep.equal([]);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['waits']);
      });

      it('is granted to continuations in the order in which they became runnable', () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const a = lab.sync('a', { lock });
        const b = lab.sync('b', { lock });
        const c = lab.sync('c', { lock });
        const d = lab.sync('d', { lock });
        d.schedule(5);
        c.schedule(3);
        b.schedule(3);
        lab.clock.tick(10);
        a.schedule(0);
        lab.clock.tick(10);
        expect(lab.take()).to.deep.equal([]);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['c', 'b', 'd', 'a']);
      });

      it('never lets two async runs overlap', async () => {
        const lab = new Lab();
        const lock = make();
        const a = lab.async('a', { lock });
        const b = lab.async('b', { lock, wq: lab.wq.prilow });
        a.schedule(0);
        b.schedule(0);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['a']);
        lab.clock.tick(100);
        expect(lab.take()).to.deep.equal([]);
        await lab.end(a);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['b']);
      });

      it('goes to the workqueue of the highest priority first', () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const names = ['prilow', 'primedhigh', 'softbio', 'prihigh', 'softserial'] as const;
        for (const name of names) lab.sync(name, { lock, wq: lab.wq[name] }).schedule(0);
        lab.clock.tick(0);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal([
          'softserial',
          'softbio',
          'prihigh',
          'primedhigh',
          'prilow',
        ]);
      });
    });

    describe('between continuations and awaiting code', () => {
      it('goes to the continuation that waited before the code did', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const kc = lab.sync('kc', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        wait(lab, lock, 'code');
        lock.exit();
        await settled();
        expect(lab.take(), 'before the dispatch').to.deep.equal([]);
        lab.clock.tick(0);
        await settled();
        expect(lab.take()).to.deep.equal(['kc', 'code']);
      });

      it('goes to the code that waited before the continuation was scheduled', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        wait(lab, lock, 'code');
        const kc = lab.sync('kc', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        lock.exit();
        await settled();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['code']);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['kc']);
      });

      it('goes to a continuation of higher priority that came later', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        wait(lab, lock, 'code');
        const kc = lab.sync('kc', { lock, wq: lab.wq.softnet });
        kc.schedule(0);
        lab.clock.tick(0);
        lock.exit();
        lab.clock.tick(0);
        await settled();
        expect(lab.take()).to.deep.equal(['kc', 'code']);
      });

      it('goes to code of higher priority that came later', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const kc = lab.sync('kc', { lock, wq: lab.wq.prilow });
        kc.schedule(0);
        lab.clock.tick(0);
        wait(lab, lock, 'code');
        lock.exit();
        lab.clock.tick(0);
        await settled();
        expect(lab.take()).to.deep.equal(['code']);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['kc']);
      });

      it('is not taken from a continuation by code that arrives when it is next', async () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const kc = lab.sync('kc', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        lock.exit();
        wait(lab, lock, 'code');
        await settled();
        expect(lab.take(), 'before the dispatch').to.deep.equal([]);
        lab.clock.tick(0);
        await settled();
        expect(lab.take()).to.deep.equal(['kc', 'code']);
      });

      it('is passed immediately by a run that ends to the code that waits', async () => {
        const lab = new Lab();
        const lock = make();
        const kc = lab.async('kc', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        wait(lab, lock, 'code');
        await settled();
        expect(lab.take()).to.deep.equal(['kc']);
        await lab.end(kc);
        expect(lab.take()).to.deep.equal(['code']);
        expect(lock.held).to.equal(true);
      });

      it('may be tried by code in between: the continuation keeps its place', () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const first = lab.sync('first', { lock });
        const second = lab.sync('second', { lock });
        first.schedule(0);
        second.schedule(0);
        lab.clock.tick(0);
        lock.exit();
        expect(lock.tryEnter()).to.equal(true);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal([]);
        lock.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['first', 'second']);
      });
    });

    describe('wanted by a continuation that is withdrawn', () => {
      const ways: [name: string, leave: (kc: ReturnType<Lab['sync']>) => void][] = [
        ['stopped', (kc) => kc.stop()],
        ['cancelled', (kc) => kc.cancel()],
        ['destroyed', (kc) => kc.destroy()],
        ['drained', (kc) => kc.drainAsync(() => {})],
        ['reset to later', (kc) => kc.reset(1000)],
      ];
      for (const [name, leave] of ways) {
        it(`is not reserved for a continuation ${name} while it waited`, async () => {
          const lab = new Lab();
          const lock = make();
          lock.tryEnter();
          const kc = lab.sync('kc', { lock });
          kc.schedule(0);
          lab.clock.tick(0);
          wait(lab, lock, 'code');
          leave(kc);
          lock.exit();
          await settled();
          expect(lab.take(), 'without a dispatch').to.deep.equal(['code']);
          lab.clock.tick(10);
          expect(lab.take()).to.deep.equal([]);
          lock.exit();
          expect(lock.held).to.equal(false);
        });

        it(`is passed on by a continuation ${name} when it was next`, async () => {
          const lab = new Lab();
          const lock = make();
          lock.tryEnter();
          const kc = lab.sync('kc', { lock });
          kc.schedule(0);
          lab.clock.tick(0);
          wait(lab, lock, 'code');
          lock.exit();
          await settled();
          expect(lab.take()).to.deep.equal([]);
          leave(kc);
          await settled();
          expect(lab.take(), 'without a dispatch').to.deep.equal(['code']);
          expect(lock.held).to.equal(true);
          lock.exit();
          expect(lock.held).to.equal(false);
        });

        it(`is passed on to the next continuation by one ${name} when it was next`, () => {
          const lab = new Lab();
          const lock = make();
          lock.tryEnter();
          const kc = lab.sync('kc', { lock });
          const next = lab.sync('next', { lock });
          kc.schedule(0);
          next.schedule(0);
          lab.clock.tick(0);
          lock.exit();
          leave(kc);
          lab.clock.tick(0);
          expect(lab.take()).to.deep.equal(['next']);
          expect(lock.held).to.equal(false);
        });
      }
    });

    describe('changed by setLock', () => {
      it('is released by the caller, and the new one at the end of the run', () => {
        const lab = new Lab();
        const first = make();
        const second = make();
        const held: boolean[] = [];
        const kc = lab.sync('a', {
          lock: first,
          body: () => {
            expect(second.tryEnter()).to.equal(true);
            expect(kc.setLock(second)).to.equal(first);
            first.exit();
            held.push(first.held, second.held);
          },
        });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(held).to.deep.equal([false, true]);
        expect(first.held).to.equal(false);
        expect(second.held).to.equal(false);
        expect(kc.lock).to.equal(second);
        expect(lab.reported).to.deep.equal([]);
      });

      it('to null is not released at the end', () => {
        const lab = new Lab();
        const lock = make();
        const kc = lab.sync('a', {
          lock,
          body: () => {
            expect(kc.setLock(null)).to.equal(lock);
            lock.exit();
            expect(lock.tryEnter()).to.equal(true);
          },
        });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(lock.held, 'the hold of another').to.equal(true);
        expect(kc.lock).to.equal(null);
        expect(lab.reported).to.deep.equal([]);
      });

      it('and not held at the end is reported as EPERM', () => {
        const lab = new Lab();
        const first = make();
        const second = make();
        const kc = lab.sync('a', {
          lock: first,
          body: () => {
            kc.setLock(second);
            first.exit();
          },
        });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(lab.reported).to.deep.equal(['EPERM']);
        expect(kc.busy).to.equal(false);
        expect(second.held).to.equal(false);
      });

      it('to another lock makes the continuation wait for that', () => {
        const lab = new Lab();
        const first = make();
        const second = make();
        first.tryEnter();
        const kc = lab.sync('kc', { lock: first });
        const next = lab.sync('next', { lock: first });
        kc.schedule(0);
        next.schedule(0);
        lab.clock.tick(0);
        kc.setLock(second);
        lab.clock.tick(0);
        expect(lab.take(), 'the new one is free').to.deep.equal(['kc']);
        first.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['next']);
      });

      it('keeps the place in the order at the new lock', () => {
        const lab = new Lab();
        const first = make();
        const second = make();
        first.tryEnter();
        second.tryEnter();
        const kc = lab.sync('kc', { lock: first });
        const later = lab.sync('later', { lock: second });
        kc.schedule(0);
        later.schedule(0);
        lab.clock.tick(0);
        kc.setLock(second);
        second.exit();
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['kc', 'later']);
        expect(second.held).to.equal(false);
      });

      it('to null lets the continuation run immediately', () => {
        const lab = new Lab();
        const lock = make();
        lock.tryEnter();
        const kc = lab.sync('kc', { lock });
        kc.schedule(0);
        lab.clock.tick(0);
        kc.setLock(null);
        lab.clock.tick(0);
        expect(lab.take()).to.deep.equal(['kc']);
        expect(lock.held).to.equal(true);
      });

      it('is refused if the old lock is not held, or if there was none', () => {
        const lab = new Lab();
        const lock = make();
        const kc = lab.sync('kc', { lock });
        expect(codeOf(() => kc.setLock(make()))).to.equal('EPERM');
        expect(kc.lock).to.equal(lock);
        const bare = lab.sync('bare');
        expect(codeOf(() => bare.setLock(lock))).to.equal('EINVAL');
        expect(bare.lock).to.equal(null);
        expect(bare.setLock(null)).to.equal(null);
      });
    });
  });
}
