// The known races of timers, softints and workqueues, and the outcome of each.
import { expect } from 'chai';
import fc from 'fast-check';
import sinon from 'sinon';
import {
  CANCELLED,
  DRAINING,
  Kcont,
  Kernel,
  Mutex,
  RWLock,
  Scope,
  VirtualClock,
  type Lock,
} from '../../lib/index.ts';
import { HostClock } from '../../lib/time/host-clock.ts';
import { bitsOf, codeOf, deferred, Lab, rejectionOf, settled, soak } from '../support/lab.ts';

describe('races:', () => {
  describe('stop with a timer that is due and not entered', () => {
    it('withdraws it, even if another continuation was due before it', () => {
      const lab = new Lab();
      const second = lab.sync('second');
      const first = lab.sync('first', {
        body: () => {
          expect(second.invoking).to.equal(true);
          expect(second.stop()).to.equal(false);
        },
      });
      first.schedule(5);
      second.schedule(5);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['first']);
      expect(second.busy).to.equal(false);
    });

    it('withdraws it, even if it waits for its lock', () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const kc = lab.sync('a', { lock });
      kc.schedule(5);
      lab.clock.tick(50);
      expect(kc.stop()).to.equal(false);
      lock.exit();
      lab.clock.tick(50);
      expect(lab.take()).to.deep.equal([]);
      expect(lock.held).to.equal(false);
    });

    it('withdraws it, even if it was granted its lock and has not been dispatched', () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const kc = lab.sync('a', { lock });
      kc.schedule(5);
      lab.clock.tick(50);
      lock.exit();
      expect(kc.stop()).to.equal(false);
      lab.clock.tick(50);
      expect(lab.take()).to.deep.equal([]);
      expect(lock.tryEnter()).to.equal(true);
    });

    it('withdraws it, even if it waits for maxActive of its workqueue', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(50, { maxActive: 1 });
      const first = lab.async('first', { wq });
      const second = lab.async('second', { wq });
      first.schedule(0);
      second.schedule(0);
      lab.clock.tick(0);
      expect(second.stop()).to.equal(false);
      await lab.end(first);
      lab.clock.tick(50);
      expect(lab.take()).to.deep.equal(['first']);
    });

    it('withdraws it, even if it waits for its own last run', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      kc.ack();
      kc.schedule(5);
      lab.clock.tick(50);
      expect(kc.stop(), 'the last run goes on').to.equal(true);
      await lab.end(kc);
      lab.clock.tick(50);
      expect(lab.take()).to.deep.equal(['a']);
      expect(kc.stop()).to.equal(false);
    });

    it('is reported by the result: true after it was entered, even from within', () => {
      const lab = new Lab();
      const answers: boolean[] = [];
      const kc = lab.sync('a', { body: () => answers.push(kc.stop()) });
      kc.schedule(5);
      lab.clock.tick(5);
      expect(answers).to.deep.equal([true]);
      kc.schedule(5);
      lab.clock.tick(4);
      expect(kc.stop()).to.equal(false);
    });
  });

  describe('a new schedule with an older one that is queued', () => {
    it('is refused: the queued run stays', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(0);
      expect(kc.schedule(10)).to.equal(false);
      expect(kc.schedule(0)).to.equal(false);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('is accepted by reset: the older run does not begin', () => {
      const lab = new Lab();
      const times: number[] = [];
      const kc = lab.sync('a', { body: () => times.push(lab.clock.now) });
      kc.schedule(0);
      kc.reset(10);
      lab.clock.tick(9);
      expect(times).to.deep.equal([]);
      lab.clock.tick(100);
      expect(times).to.deep.equal([10]);
    });

    it('is accepted as a new deadline: nothing runs at the old one', () => {
      const lab = new Lab();
      const times: number[] = [];
      const kc = lab.sync('a', { body: () => times.push(lab.clock.now) });
      kc.schedule(5);
      kc.schedule(50);
      lab.clock.tick(3);
      kc.schedule(2);
      kc.schedule(7);
      lab.clock.tick(1000);
      expect(times).to.deep.equal([10]);
    });

    it('keeps the argument from its entry, not from its schedule', () => {
      const lab = new Lab();
      const kc = lab.sync('old');
      kc.schedule(5);
      kc.setArg('new');
      lab.clock.tick(5);
      expect(lab.take()).to.deep.equal(['new']);
    });
  });

  describe('destroy', () => {
    it('withdraws a queued run', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(0);
      kc.destroy();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
      expect(bitsOf(kc)).to.equal('------');
    });

    it('lets a run in flight end with its lock held, and prevents another', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const kc = lab.async('a', { lock });
      kc.schedule(0);
      lab.clock.tick(0);
      kc.ack();
      kc.schedule(1);
      kc.destroy();
      expect(kc.running).to.equal(true);
      expect(lock.held).to.equal(true);
      await lab.end(kc);
      expect(kc.running).to.equal(false);
      expect(lock.held).to.equal(false);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('may be called from its own function', () => {
      const lab = new Lab();
      const kc = lab.sync('a', { body: () => kc.destroy() });
      kc.schedule(0);
      lab.clock.tick(100);
      expect(kc.destroyed).to.equal(true);
      expect(bitsOf(kc)).to.equal('------');
      expect(lab.errors).to.deep.equal([]);
    });

    it('by a neighbour that is entered in the same tick withdraws it', () => {
      const lab = new Lab();
      const victim = lab.sync('victim');
      const killer = lab.sync('killer', { body: () => victim.destroy() });
      killer.schedule(5);
      victim.schedule(5);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['killer']);
    });

    it('is shown by invoking and busy if called while its timer and its function are running', async () => {
      // The handshake of the proposal: the code that frees asks, and the run acknowledges.
      const lab = new Lab();
      const kc = lab.async('a');
      expect(kc.invoking).to.equal(false);
      kc.schedule(0);
      expect(kc.invoking, 'about to run').to.equal(true);
      lab.clock.tick(0);
      expect(kc.invoking, 'running').to.equal(true);
      expect(kc.ack()).to.equal(true);
      expect(kc.invoking, 'acknowledged').to.equal(false);
      expect(kc.busy).to.equal(true);
      await lab.end(kc);
      expect(kc.busy).to.equal(false);
    });
  });

  describe('a lock that its holder drops while others wait for it', () => {
    it('is still granted to the waiters', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const waiting = lab.sync('waiting', { lock });
      const kc = lab.sync('kc', {
        lock,
        body: () => {
          kc.setLock(null);
          lock.exit();
        },
      });
      kc.schedule(0);
      waiting.schedule(0);
      const code = lock.enter().then(() => lab.ran.push('code'));
      await code;
      lab.clock.tick(0);
      lock.exit();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['code', 'kc', 'waiting']);
      expect(lab.errors).to.deep.equal([]);
    });
  });

  describe('a drain', () => {
    it('from its own function calls back when that has settled', () => {
      const lab = new Lab();
      const kc = lab.sync('a', {
        body: () => {
          expect(kc.drainAsync((arg) => lab.ran.push(`drained ${arg}`))).to.equal(false);
          lab.ran.push('still running');
        },
      });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'still running', 'drained a']);
    });

    it('halt from its own function is refused immediately', async () => {
      const lab = new Lab();
      let code = '';
      const kc = lab.sync('a', {
        body: () => {
          void rejectionOf(kc.halt()).then((got) => (code = got));
        },
      });
      kc.schedule(0);
      lab.clock.tick(0);
      await settled();
      expect(code).to.equal('EDEADLK');
      expect(kc.schedule(0), 'nothing is halting').to.equal(true);
    });

    it('withdraws a run that waits for the interlock, which stays held', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const kc = lab.sync('a', { lock });
      await lock.enter();
      kc.schedule(0);
      lab.clock.tick(0);
      expect(await kc.halt(lock)).to.equal(false);
      expect(lock.held).to.equal(true);
      lock.exit();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
    });

    it('releases the interlock while it waits, so that the run can take it', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const go = deferred();
      const kc = new Kcont(
        lab.wq.prihigh,
        null,
        async () => {
          await go.promise;
          await lock.enter();
          lab.ran.push('got the lock');
          lock.exit();
        },
        null,
      );
      kc.schedule(0);
      lab.clock.tick(0);
      await lock.enter();
      go.resolve();
      await settled();
      expect(lab.take()).to.deep.equal([]);
      expect(await kc.halt(lock)).to.equal(true);
      expect(lab.take()).to.deep.equal(['got the lock']);
      expect(lock.held, 'again').to.equal(true);
      lock.exit();
    });

    it('with an interlock that is not held is refused, and nothing is stopped', async () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(5);
      expect(await rejectionOf(kc.halt(new Mutex()))).to.equal('EPERM');
      expect(kc.pending).to.equal(true);
    });

    /** Invalid interlocks, each with the code of the error. */
    const strangers: readonly (readonly [what: string, interlock: unknown, code: string])[] = [
      ['nothing', null, 'EINVAL'],
      ['an object that is held', { held: true }, 'EINVAL'],
      [
        'an object with all methods of a lock',
        {
          held: true,
          tryEnter: () => false,
          enter: () => Promise.resolve(),
          exit: () => undefined,
        },
        'EINVAL',
      ],
      ['a lock of two sides', new RWLock(), 'EINVAL'],
      ['the side of it that is not held', new RWLock().write, 'EPERM'],
    ];
    for (const [what, interlock, code] of strangers) {
      it(`with ${what} as its interlock is refused, and changes nothing`, async () => {
        const lab = new Lab();
        const kc = lab.async('a');
        kc.schedule(0);
        lab.clock.tick(0);
        kc.reset(5);
        expect(await rejectionOf(kc.halt(interlock as Lock))).to.equal(code);
        expect(bitsOf(kc)).to.equal('p--abr');
        expect(kc.schedule(5)).to.equal(true);
        await lab.end(kc);
      });
    }

    it('leaves the continuation usable if its interlock cannot be released or taken again', async () => {
      for (const broken of ['exit', 'enter'] as const) {
        const lab = new Lab();
        const lock = new Mutex();
        const kc = lab.async('a');
        kc.schedule(0);
        lab.clock.tick(0);
        lock.tryEnter();
        const error = new Error('broken');
        lock[broken] = (): never => {
          throw error;
        };
        const halted = rejectionOf(kc.halt(lock));
        await lab.end(kc);
        expect(await halted).to.equal('Error: broken');
        expect(kc.schedule(5)).to.equal(true);
      }
    });

    it('answers all callers', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      const halts = [kc.halt(), kc.halt()];
      kc.drainAsync(() => lab.ran.push('drained'));
      kc.drainAsync(() => lab.ran.push('drained too'));
      await lab.end(kc);
      expect(await Promise.all(halts)).to.deep.equal([true, true]);
      expect(lab.take()).to.deep.equal(['a', 'drained', 'drained too']);
    });

    it('reports a callback that throws, and calls the others', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      kc.drainAsync(() => {
        throw new Error('boom');
      });
      kc.drainAsync(() => lab.ran.push('drained'));
      await lab.end(kc);
      expect(lab.take()).to.deep.equal(['a', 'drained']);
      expect(lab.reported).to.deep.equal(['boom']);
    });
  });

  describe('rescheduling during a halt', () => {
    it('is refused in every form, and changes nothing', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      const halted = kc.halt();
      kc.ack();
      expect(kc.schedule(0)).to.equal(false);
      expect(kc.schedule(10)).to.equal(false);
      expect(kc.reset(0)).to.equal(false);
      expect(kc.reset(10)).to.equal(false);
      expect(kc.touch()).to.equal(false);
      expect(kc.pending).to.equal(false);
      await lab.end(kc);
      expect(await halted).to.equal(true);
      expect(kc.busy).to.equal(false);
    });

    it('is possible after it', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      const halted = kc.halt();
      await lab.end(kc);
      await halted;
      expect(kc.schedule(0)).to.equal(true);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'a']);
    });

    it('is not refused by a halt that had no run to wait for', async () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(5);
      expect(await kc.halt()).to.equal(false);
      expect(kc.schedule(5)).to.equal(true);
    });

    it('is refused until the halt has answered, even in callbacks of the settle', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      let armed: boolean | null = null;
      kc.drainAsync(() => (armed = kc.schedule(10)));
      const halted = kc.halt();
      await lab.end(kc);
      expect(await halted).to.equal(true);
      expect(armed).to.equal(false);
      expect(kc.busy, 'after the halt').to.equal(false);
    });

    it('is refused while the halt waits to take its interlock again', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      await lock.enter();
      let halted: boolean | null = null;
      void kc.halt(lock).then((answer) => (halted = answer));
      await settled();
      expect(lock.tryEnter(), 'released while waiting').to.equal(true);
      await lab.end(kc);
      expect(halted).to.equal(null);
      expect(kc.schedule(10)).to.equal(false);
      lock.exit();
      await settled();
      expect(halted).to.equal(true);
      expect(lock.held).to.equal(true);
      expect(kc.busy).to.equal(false);
    });
  });

  describe('two objects that reschedule each other during teardown', () => {
    it('ends with both destroyed, whichever is destroyed first', () => {
      const lab = new Lab();
      const errors: string[] = [];
      const arm = (kc: Kcont<string>): void => {
        if (!kc.destroyed) kc.schedule(1);
        else errors.push('gone');
      };
      const a: Kcont<string> = lab.sync('a', { body: () => arm(b) });
      const b: Kcont<string> = lab.sync('b', { body: () => arm(a) });
      a.schedule(1);
      lab.clock.tick(3);
      expect(lab.take()).to.deep.equal(['a', 'b', 'a']);
      a.destroy();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['b']);
      expect(errors).to.deep.equal(['gone']);
      b.destroy();
    });

    it('ends when their scope is halted, even if one is running', async () => {
      const lab = new Lab();
      const scope = new Scope();
      const b = lab.sync('b', { options: { scope } });
      const a = lab.async('a', { options: { scope } });
      a.schedule(0);
      lab.clock.tick(0);
      const halted = scope.halt();
      b.schedule(1);
      await lab.end(a);
      expect(await halted).to.equal(true);
      expect([a.busy, b.busy]).to.deep.equal([false, false]);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });
  });

  describe('reuse of a handle', () => {
    it('does not run what was scheduled before the stop', () => {
      const lab = new Lab();
      const times: number[] = [];
      const kc = lab.sync('a', { body: () => times.push(lab.clock.now) });
      kc.schedule(5);
      kc.stop();
      kc.schedule(10);
      lab.clock.tick(100);
      expect(times).to.deep.equal([10]);
    });

    it('gives it a new place in the order', () => {
      const lab = new Lab();
      const a = lab.sync('a');
      const b = lab.sync('b');
      a.schedule(0);
      b.schedule(0);
      a.stop();
      a.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['b', 'a']);
    });

    it('enters it once per schedule, with stops in between at one instant', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      for (let i = 0; i < 10; i++) {
        kc.schedule(1);
        kc.stop();
        kc.schedule(0);
        kc.stop();
      }
      kc.schedule(1);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });
  });

  describe('queueing a continuation twice', () => {
    it('does not happen with two immediate schedules', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(0);
      kc.schedule(0);
      kc.reset(0);
      kc.reset(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('does not happen with a timer and an immediate schedule', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(1);
      kc.schedule(0);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('does not happen while it waits for its lock', () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const kc = lab.sync('a', { lock });
      kc.schedule(1);
      lab.clock.tick(1);
      expect(kc.schedule(1)).to.equal(false);
      kc.reset(0);
      lab.clock.tick(1);
      kc.reset(1);
      lab.clock.tick(1);
      lock.exit();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
    });
  });

  describe('an async run with its successor', () => {
    it('does not overlap, without a lock', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kc.schedule(0);
      lab.clock.tick(0);
      kc.reset(0);
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['a']);
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
      await lab.end(kc);
      expect(kc.busy).to.equal(false);
    });

    it('does not overlap, even if the lock was replaced meanwhile', async () => {
      const lab = new Lab();
      const first = new Mutex();
      const second = new Mutex();
      const kc = lab.async('a', { lock: first });
      kc.schedule(0);
      lab.clock.tick(0);
      kc.setLock(second);
      first.exit();
      kc.ack();
      kc.schedule(0);
      lab.clock.tick(10);
      expect(lab.take()).to.deep.equal(['a']);
      second.tryEnter();
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
      expect(second.held).to.equal(true);
    });

    it('keeps the place of the successor while it waits', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      const blocker = lab.kernel.acquire(127, { maxActive: 1 });
      const first = lab.async('first', { wq: blocker });
      const other = lab.sync('other', { wq: blocker });
      kc.schedule(0);
      first.schedule(0);
      lab.clock.tick(0);
      kc.reset(0);
      other.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'first']);
      await lab.end(first);
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a', 'other']);
    });
  });

  describe('a change of the CPU during a run', () => {
    it('takes effect with the next entry, after the run has settled', async () => {
      const lab = new Lab();
      const wq = lab.kernel.acquire(100, { perCpu: true });
      const cpu = lab.kernel.cpus[0] ?? null;
      const kc = lab.async('a', { wq });
      kc.schedule(0);
      lab.clock.tick(0);
      kc.ack();
      expect(kc.schedule(0, cpu)).to.equal(true);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
    });
  });

  describe('a function that never settles', () => {
    it('holds up only itself and the waiters of its lock', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      const stuck = lab.async('stuck', { lock });
      const mate = lab.sync('mate', { lock });
      const other = lab.sync('other');
      const low = lab.sync('low', { wq: lab.wq.prilow });
      stuck.schedule(0);
      lab.clock.tick(0);
      for (const kc of [mate, other, low]) kc.schedule(1);
      await lab.clock.advance(1000);
      expect(lab.take()).to.deep.equal(['stuck', 'other', 'low']);
      expect(stuck.stop()).to.equal(true);
      expect(mate.stop()).to.equal(false);
    });

    it('is reported by name when the kernel closes', async () => {
      const lab = new Lab();
      const stuck = lab.async('stuck', { options: { name: 'the stuck one' } });
      stuck.schedule(0);
      lab.clock.tick(0);
      const closed = lab.kernel.close({ graceMs: 10 });
      await lab.clock.advance(10_000);
      const report = await closed;
      expect(report.unfinished).to.deep.equal([
        { name: 'the stuck one', wq: 'prihigh', state: 'running' },
      ]);
    });
  });

  describe('starvation', () => {
    it('of a low level ends after its patience, and of I/O after the budget', async () => {
      // On the host clock, because budget and patience have no effect in virtual time.
      const kernel = new Kernel({ budgetMs: 1 });
      const low = kernel.acquire(10, { patienceMs: 50 });
      let fed = 0;
      const greedy: Kcont<null> = new Kcont(
        kernel.wq.softserial,
        null,
        () => {
          fed++;
          greedy.reset(0);
        },
        null,
      );
      const served = deferred();
      const poor = new Kcont(low, null, () => served.resolve(), null);
      greedy.schedule(0);
      poor.schedule(0);
      // Other work in the event loop gets its turns repeatedly.
      let turns = 0;
      const count = async (): Promise<void> => {
        for (;;) {
          await settled();
          if (greedy.destroyed) return;
          turns++;
        }
      };
      const counted = count();
      await served.promise;
      greedy.destroy();
      await counted;
      expect(turns).to.be.greaterThan(1);
      expect(fed).to.be.greaterThan(1);
    });
  });

  describe('priority inversion', () => {
    it('does not happen at a lock: a continuation that was granted it holds nothing before dispatch', () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const low = lab.sync('low', { lock, wq: lab.wq.prilow });
      low.schedule(0);
      lab.clock.tick(0);
      lock.exit();
      const high = lab.sync('high', { lock, wq: lab.wq.softserial });
      high.schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['high', 'low']);
    });

    it('does not happen behind a low writer that waits for readers', () => {
      const lab = new Lab();
      const { read, write } = new RWLock();
      read.tryEnter();
      lab.sync('writer', { lock: write, wq: lab.wq.prilow }).schedule(0);
      lab.clock.tick(0);
      lab.sync('reader', { lock: read, wq: lab.wq.softnet }).schedule(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['reader']);
    });

    it('does not happen when a lock is passed on: the highest priority that waits is next', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const kc = lab.sync('kc', { lock });
      kc.schedule(0);
      lab.clock.tick(0);
      void lock.enter({ priority: 20 }).then(() => lab.ran.push('low code'));
      lock.exit();
      // Other code takes the lock before the dispatch, and releases it.
      expect(lock.tryEnter()).to.equal(true);
      lock.exit();
      await settled();
      expect(lab.take()).to.deep.equal([]);
      lab.clock.tick(0);
      await settled();
      expect(lab.take()).to.deep.equal(['kc', 'low code']);
    });

    it('does not happen when a higher priority arrives while the first in line is still queued', () => {
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const ran: string[] = [];
      const lock = new Mutex();
      const note = (name: string): void => void ran.push(name);
      const fail = (): void => {
        throw new Error('put off');
      };
      lock.tryEnter();
      new Kcont(wq.prilow, lock, note, 'low').schedule();
      clock.tick(0);
      lock.exit();
      // Taken again before the dispatch of `low`, which an error delays.
      lock.tryEnter();
      new Kcont(wq.prihigh, lock, note, 'high').schedule();
      new Kcont(wq.primedlow, null, fail, null).schedule();
      expect(() => clock.tick(0)).to.throw('put off');
      lock.exit();
      clock.tick(0);
      expect(ran).to.deep.equal(['high', 'low']);
    });

    it('does not happen to the first in line when another of its level is faster', async () => {
      const lab = new Lab();
      const lock = new Mutex();
      lock.tryEnter();
      const first = lab.sync('first', { lock });
      first.schedule(0);
      lab.clock.tick(0);
      void lock.enter().then(() => lab.ran.push('code'));
      lock.exit();
      const quick = lab.sync('quick', { lock, wq: lab.wq.softserial });
      quick.schedule(0);
      lab.clock.tick(0);
      await settled();
      expect(lab.take()).to.deep.equal(['quick', 'first', 'code']);
    });
  });

  describe('a clock that jumps', () => {
    it('expires each deadline in order, at its tick', () => {
      const lab = new Lab();
      const times: string[] = [];
      const note = (name: string): Kcont<string> =>
        lab.sync(name, { body: () => times.push(`${name}@${lab.clock.now}`) });
      note('b').schedule(2 ** 18);
      note('d').schedule(2 ** 31);
      note('a').schedule(1);
      note('c').schedule(2 ** 30);
      lab.clock.tick(2 ** 40);
      expect(times).to.deep.equal(['a@1', `b@${2 ** 18}`, `c@${2 ** 30}`, `d@${2 ** 31}`]);
    });

    it('expires deadlines in order in one pass after the loop stalled', () => {
      // A separate clock, because that of the process could not go back after the jump.
      const kernel = new Kernel({ clock: new HostClock() });
      const fake = sinon.useFakeTimers();
      try {
        const ran: string[] = [];
        const one = (name: string, delayMs: number): void => {
          new Kcont(kernel.wq.prihigh, null, () => void ran.push(name), null).schedule(delayMs);
        };
        one('c', 10);
        one('a', 5);
        one('b', 7);
        fake.tick(1);
        fake.jump(30);
        for (let i = 0; i < 3; i++) fake.tick(1);
        expect(ran).to.deep.equal(['a', 'b', 'c']);
      } finally {
        fake.restore();
      }
    });

    it('expires by (priority, deadline, order of the calls), whatever was scheduled', () => {
      interface One {
        readonly high: boolean;
        readonly delayMs: number;
        readonly touchedMs: number;
      }
      const one: fc.Arbitrary<One> = fc.record({
        high: fc.boolean(),
        delayMs: fc.constantFrom(1, 2, 3, 5, 8, 63, 64, 65, 4096, 4097),
        touchedMs: fc.constantFrom(0, 0, 0, 1, 2),
      });
      fc.assert(
        fc.property(fc.array(one, { minLength: 2, maxLength: 20, size: 'max' }), (all) => {
          const kernel = new Kernel({ clock: new HostClock() });
          const fake = sinon.useFakeTimers();
          try {
            const ran: number[] = [];
            const low = kernel.acquire(50, { patienceMs: Infinity });
            const kcs = all.map(({ high, delayMs }, nth) => {
              const wq = high ? kernel.wq.softnet : low;
              const kc = new Kcont(wq, null, () => void ran.push(nth), null);
              kc.schedule(delayMs);
              return kc;
            });
            const deadlines = all.map(({ delayMs }) => delayMs);
            // All deadlines are moved outward before the first is due, then the loop stalls.
            for (const [nth, { delayMs, touchedMs }] of all.entries()) {
              if (touchedMs === 0) continue;
              kcs[nth]?.schedule(delayMs + touchedMs);
              deadlines[nth] = delayMs + touchedMs;
            }
            const sequence = (nth: number): number =>
              all[nth]?.touchedMs === 0 ? nth : nth + all.length;
            const expected = all
              .map((_, nth) => nth)
              .toSorted(
                (a, b) =>
                  Number(all[b]?.high) - Number(all[a]?.high) ||
                  (deadlines[a] ?? 0) - (deadlines[b] ?? 0) ||
                  sequence(a) - sequence(b),
              );
            fake.tick(0);
            fake.jump(10_000);
            for (let i = 0; i < 3; i++) fake.tick(1);
            expect(ran).to.deep.equal(expected);
          } finally {
            fake.restore();
          }
        }),
        { numRuns: 300 * soak },
      );
    });

    it('reaches the farthest possible deadline', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kc.schedule(2 ** 53 - 1);
      expect(kc.deadline).to.equal(2 ** 53 - 1);
      lab.clock.tick(2 ** 53 - 2);
      expect(lab.take()).to.deep.equal([]);
      lab.clock.tick(1);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('does not catch up a period: it enters once per schedule', () => {
      const lab = new Lab();
      const times: number[] = [];
      const kc = lab.sync('a', {
        body: () => {
          times.push(lab.clock.now);
          kc.reset(10);
        },
      });
      kc.schedule(10);
      lab.clock.tick(35);
      expect(times).to.deep.equal([10, 20, 30]);
    });
  });

  describe('a periodic function that ignores results', () => {
    it('continues forever with reset()', () => {
      const lab = new Lab();
      const kc = lab.sync('a', {
        body: () => {
          kc.reset(10);
        },
      });
      kc.schedule(10);
      lab.clock.tick(1000);
      expect(lab.take().length).to.equal(100);
    });

    it('continues forever with ack() and schedule()', () => {
      const lab = new Lab();
      const kc = lab.sync('a', {
        body: () => {
          kc.ack();
          kc.schedule(10);
        },
      });
      kc.schedule(10);
      lab.clock.tick(1000);
      expect(lab.take().length).to.equal(100);
    });

    it('gets false from schedule() alone, and is not scheduled', () => {
      const lab = new Lab();
      const answers: boolean[] = [];
      const kc = lab.sync('a', { body: () => answers.push(kc.schedule(10)) });
      kc.schedule(10);
      lab.clock.tick(1000);
      expect(answers).to.deep.equal([false]);
      expect(kc.busy).to.equal(false);
    });

    it('never overlaps and loses no call if it is async and slower than its period', async () => {
      const lab = new Lab();
      const kc = lab.async('a', {
        body: () => {
          kc.reset(10);
        },
      });
      kc.schedule(10);
      lab.clock.tick(55);
      expect(lab.take()).to.deep.equal(['a']);
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take(), 'the one that was due at 20').to.deep.equal(['a']);
      lab.clock.tick(9);
      await lab.end(kc);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal([]);
      lab.clock.tick(1);
      expect(lab.take(), 'ten after the entry').to.deep.equal(['a']);
    });
  });

  describe('a throw', () => {
    it('stops nothing else: the lock is released, the state cleared, the rest runs', () => {
      const lab = new Lab();
      const lock = new Mutex();
      const thrower = lab.sync('thrower', {
        lock,
        body: () => {
          throw new Error('boom');
        },
      });
      thrower.schedule(5);
      lab.sync('mate', { lock }).schedule(5);
      lab.sync('other').schedule(5);
      lab.clock.tick(5);
      expect(lab.take()).to.deep.equal(['thrower', 'mate', 'other']);
      expect(lab.reported).to.deep.equal(['boom']);
      expect(thrower.busy).to.equal(false);
      expect(thrower.expired).to.equal(true);
    });

    it('leaves the continuation scheduled if it had rescheduled itself', () => {
      const lab = new Lab();
      const kc = lab.sync('a', {
        body: () => {
          kc.reset(10);
          throw new Error('boom');
        },
      });
      kc.schedule(10);
      lab.clock.tick(10);
      expect(bitsOf(kc)).to.equal('p--ab-');
      expect(kc.deadline).to.equal(20);
    });

    it('reaches onError after the settle, so that it may schedule again', () => {
      const seen: string[] = [];
      const lab = new Lab();
      const kernel = new Kernel({
        clock: lab.clock,
        onError: (error, kc) => {
          seen.push(`${(error as Error).message}: ${kc.busy ? 'busy' : 'idle'}`);
        },
      });
      const kc = new Kcont(
        kernel.wq.prihigh,
        null,
        () => {
          throw new Error('boom');
        },
        null,
      );
      kc.schedule(0);
      lab.clock.tick(0);
      expect(seen).to.deep.equal(['boom: idle']);
    });
  });

  describe('a throw that no handler takes', () => {
    it('leaves tick at the time of the throw, and the rest runs at the next tick', () => {
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const ran: string[] = [];
      const one = (name: string, delayMs: number): Kcont<string> => {
        const kc = new Kcont<string>(
          wq.prihigh,
          null,
          (arg) => {
            ran.push(`${arg}@${clock.now}`);
            if (arg === 'thrower') throw new Error('boom');
          },
          name,
        );
        kc.schedule(delayMs);
        return kc;
      };
      const thrower = one('thrower', 5);
      one('same tick', 5);
      one('later', 7);
      expect(() => clock.tick(10)).to.throw('boom');
      expect(ran).to.deep.equal(['thrower@5']);
      expect(bitsOf(thrower)).to.equal('-e-a--');
      clock.tick(0);
      expect(ran).to.deep.equal(['thrower@5', 'same tick@5']);
      clock.tick(10);
      expect(ran).to.deep.equal(['thrower@5', 'same tick@5', 'later@7']);
    });

    it('rejects advance, even if it comes from a promise', async () => {
      const clock = new VirtualClock();
      const { wq } = new Kernel({ clock });
      const kc = new Kcont(wq.prihigh, null, () => Promise.reject(new Error('boom')), null);
      kc.schedule(5);
      expect(await rejectionOf(clock.advance(10))).to.equal('Error: boom');
      expect(bitsOf(kc)).to.equal('-e-a--');
    });
  });

  it('tick from a running function is refused: time stands still within it', () => {
    const lab = new Lab();
    const codes: string[] = [];
    const kc = lab.sync('a', { body: () => codes.push(codeOf(() => lab.clock.tick(1))) });
    kc.schedule(5);
    lab.clock.tick(10);
    expect(codes).to.deep.equal(['EDEADLK']);
    expect(lab.clock.now).to.equal(10);
  });

  it('two kernels in one process are independent', () => {
    const one = new Lab();
    const two = new Lab();
    one.sync('one').schedule(5);
    two.sync('two').schedule(5);
    one.clock.tick(10);
    expect([one.take(), two.take()]).to.deep.equal([['one'], []]);
    expect(two.kernel.now()).to.equal(0);
  });

  it('cancel with a run in flight is reported by both bits', () => {
    const lab = new Lab();
    const kc = lab.async('a');
    kc.schedule(0);
    lab.clock.tick(0);
    kc.reset(10);
    expect(kc.cancel()).to.equal(CANCELLED | DRAINING);
    expect(kc.cancel()).to.equal(DRAINING);
  });
});
