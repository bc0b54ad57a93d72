// The proposal's functions under the proposal's names.
import { expect } from 'chai';
import * as root from '../../lib/index.ts';
import { Kcont, kernel, Mutex, Workqueue, wq } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import * as kern from '../../lib/kern.ts';
import { codeOf, deferred, Lab, settled } from '../support/lab.ts';

/** The functions of the proposal, and the number of their arguments there. */
const FUNCTIONS: [name: string, parameters: number][] = [
  ['kcont_create', 5],
  ['kcont_schedule', 3],
  ['kcont_destroy', 1],
  ['kcont_getmutex', 1],
  ['kcont_setarg', 2],
  ['kcont_setmutex', 2],
  ['kcont_setfunc', 3],
  ['kcont_stop', 1],
  ['kcont_pending', 1],
  ['kcont_expired', 1],
  ['kcont_active', 1],
  ['kcont_invoking', 1],
  ['kcont_ack', 1],
  ['kcont_workqueue_acquire', 2],
  ['kcont_workqueue_release', 1],
];

const QUEUES = [
  ['softserial', kern.wq_softserial, kern.PRI_SOFTSERIAL, 223],
  ['softnet', kern.wq_softnet, kern.PRI_SOFTNET, 215],
  ['softbio', kern.wq_softbio, kern.PRI_SOFTBIO, 207],
  ['softclock', kern.wq_softclock, kern.PRI_SOFTCLOCK, 199],
  ['prihigh', kern.wq_prihigh, kern.PRI_PRIHIGH, 127],
  ['primedhigh', kern.wq_primedhigh, kern.PRI_PRIMEDHIGH, 119],
  ['primedlow', kern.wq_primedlow, kern.PRI_PRIMEDLOW, 111],
  ['prilow', kern.wq_prilow, kern.PRI_PRILOW, 103],
] as const;

const byName = new Map<string, unknown>(Object.entries(kern));

describe('kern', () => {
  it('is also the namespace kern of the package root', () => {
    expect(root.kern.kcont_create).to.equal(kern.kcont_create);
    expect(root.kern.wq_softnet).to.equal(kern.wq_softnet);
  });

  for (const [name, parameters] of FUNCTIONS) {
    it(`has ${name}, with the same arguments`, () => {
      expect(byName.get(name)).to.be.a('function').with.lengthOf(parameters);
    });
  }

  it('has both spellings of setmutex', () => {
    expect(kern.kcont_set_mutex).to.equal(kern.kcont_setmutex);
  });

  it('has additions that others requested: halt, drain_async, cancel', () => {
    expect(kern.kcont_halt).to.be.a('function');
    expect(kern.kcont_drain_async).to.be.a('function');
    expect(kern.kcont_cancel).to.be.a('function');
  });

  it('returns the errno numbers of NetBSD', () => {
    expect([kern.ENOENT, kern.EBUSY, kern.EINVAL]).to.deep.equal([2, 16, 22]);
  });

  for (const [name, queue, constant, priority] of QUEUES) {
    it(`has wq_${name}, the workqueue of the class API, at priority ${priority}`, () => {
      expect(queue).to.equal(wq[name]);
      expect(queue).to.equal(kernel.wq[name]);
      expect(constant).to.equal(priority);
      expect(queue.priority).to.equal(priority);
      expect(queue.name).to.equal(name);
      expect(queue.fast).to.equal(name.startsWith('soft'));
    });
  }

  describe('kcont_create', () => {
    it('creates an idle continuation, an instance of the class', () => {
      const lab = new Lab();
      const lock = new Mutex();
      const kc: Kcont<number> = kern.kcont_create(lab.wq.softnet, lock, () => undefined, 7, 0);
      expect(kc).to.be.instanceOf(Kcont);
      expect(kern.kcont_active(kc)).to.equal(false);
      expect(kern.kcont_getmutex(kc)).to.equal(lock);
      expect(kc.wq).to.equal(lab.wq.softnet);
    });

    it('calls the function with the argument and the continuation', () => {
      const lab = new Lab();
      const calls: unknown[][] = [];
      const arg = { name: 'arg' };
      const kc = kern.kcont_create(
        lab.wq.softnet,
        null,
        (...args) => {
          calls.push(args);
        },
        arg,
        0,
      );
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      expect(calls).to.deep.equal([[arg, kc]]);
      expect(calls[0]?.[0]).to.equal(arg);
    });

    for (const flags of [1, -1, NaN]) {
      it(`refuses flags ${flags}, which must be 0`, () => {
        const lab = new Lab();
        expect(
          codeOf(() => kern.kcont_create(lab.wq.softnet, null, () => undefined, 0, flags)),
        ).to.equal('EINVAL');
      });
    }
  });

  describe('kcont_schedule', () => {
    it('runs without a delay for 0, and after n ticks for n', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      expect(kern.kcont_schedule(kc, null, 0)).to.equal(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
      expect(kern.kcont_schedule(kc, null, 3)).to.equal(0);
      lab.clock.tick(2);
      expect(lab.take()).to.deep.equal([]);
      lab.clock.tick(1);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('returns EBUSY while INVOKING, even for a CPU that would be ENOENT', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      const cpu = lab.kernel.cpus[0] ?? null;
      kern.kcont_schedule(kc, null, 0);
      expect(kern.kcont_schedule(kc, null, 5)).to.equal(kern.EBUSY);
      expect(kern.kcont_schedule(kc, cpu, 5)).to.equal(kern.EBUSY);
    });

    it('returns ENOENT for a CPU on a workqueue without WQ_PERCPU, and changes nothing', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      kern.kcont_schedule(kc, null, 5);
      expect(kern.kcont_schedule(kc, lab.kernel.cpus[0] ?? null, 50)).to.equal(kern.ENOENT);
      expect(kc.deadline).to.equal(5);
    });

    it('accepts a CPU on a workqueue with WQ_PERCPU', () => {
      const lab = new Lab();
      const perCpu = lab.kernel.acquire(100, { perCpu: true });
      const kc = lab.sync('a', { wq: perCpu });
      expect(kern.kcont_schedule(kc, lab.kernel.cpus[0] ?? null, 0)).to.equal(0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('returns EINVAL for an invalid delay, a destroyed continuation and a closed kernel', async () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      for (const bad of [-1, NaN, Infinity, 2 ** 53]) {
        expect(kern.kcont_schedule(kc, null, bad), String(bad)).to.equal(kern.EINVAL);
      }
      expect(kern.kcont_schedule(kc, null, 2 ** 53 - 1)).to.equal(0);
      kern.kcont_destroy(kc);
      expect(kern.kcont_schedule(kc, null, 0)).to.equal(kern.EINVAL);
      const other = lab.sync('b');
      const closed = lab.kernel.close();
      expect(kern.kcont_schedule(other, null, 0)).to.equal(kern.EBUSY);
      await lab.clock.advance(10_000);
      await closed;
      expect(kern.kcont_schedule(other, null, 0)).to.equal(kern.EINVAL);
    });

    it('refuses what is not a number', () => {
      const lab = new Lab();
      const kc = lab.sync('a');
      const strangers: readonly unknown[] = ['5', null, true, {}, [5], 5n];
      for (const bad of strangers) {
        const delay = bad as number;
        expect(kern.kcont_schedule(kc, null, delay), typeof bad).to.equal(kern.EINVAL);
        expect(codeOf(() => kc.schedule(delay))).to.equal('EINVAL');
        expect(codeOf(() => kc.reset(delay))).to.equal('EINVAL');
      }
      expect(kc.busy).to.equal(false);
    });

    it('refuses what is not a CPU of this kernel', () => {
      const lab = new Lab();
      const perCpu = lab.kernel.acquire(100, { perCpu: true });
      const kc = lab.sync('a', { wq: perCpu });
      const stranger = new Lab().kernel.cpus[0] ?? null;
      const strangers: readonly unknown[] = [stranger, {}, 0];
      for (const bad of strangers) {
        expect(kern.kcont_schedule(kc, bad as Cpu, 0)).to.equal(kern.EINVAL);
      }
      expect(kc.busy).to.equal(false);
    });

    it('returns EBUSY while a halt is waiting', async () => {
      const lab = new Lab();
      const kc = lab.async('a');
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      const halted = kern.kcont_halt(kc);
      kern.kcont_ack(kc);
      expect(kern.kcont_schedule(kc, null, 0)).to.equal(kern.EBUSY);
      await lab.end(kc);
      expect(await halted).to.equal(true);
      expect(kern.kcont_schedule(kc, null, 0)).to.equal(0);
    });
  });

  describe('kcont_setarg', () => {
    it('may be called at any time without a lock', () => {
      const lab = new Lab();
      const kc = lab.sync('old');
      kern.kcont_setarg(kc, 'new');
      kern.kcont_schedule(kc, null, 0);
      kern.kcont_setarg(kc, 'newer');
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['newer']);
    });

    it('requires the lock to be held, if there is one', () => {
      const lab = new Lab();
      const lock = new Mutex();
      const kc = lab.sync('old', { lock });
      expect(codeOf(() => kern.kcont_setarg(kc, 'new'))).to.equal('EPERM');
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['old']);
      lock.tryEnter();
      kern.kcont_setarg(kc, 'new');
      lock.exit();
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['new']);
    });

    it('refuses a destroyed continuation', () => {
      const kc = new Lab().sync('a');
      kern.kcont_destroy(kc);
      expect(codeOf(() => kern.kcont_setarg(kc, 'b'))).to.equal('EINVAL');
    });
  });

  describe('kcont_setmutex', () => {
    it('fails if there was no lock before', () => {
      const kc = new Lab().sync('a');
      expect(codeOf(() => kern.kcont_setmutex(kc, new Mutex()))).to.equal('EINVAL');
      expect(kern.kcont_getmutex(kc)).to.equal(null);
      expect(kern.kcont_setmutex(kc, null)).to.equal(null);
    });

    it('requires the current lock to be held, and returns it', () => {
      const lock = new Mutex();
      const other = new Mutex();
      const kc = new Lab().sync('a', { lock });
      expect(codeOf(() => kern.kcont_setmutex(kc, other))).to.equal('EPERM');
      expect(codeOf(() => kern.kcont_setmutex(kc, null))).to.equal('EPERM');
      expect(kern.kcont_getmutex(kc)).to.equal(lock);
      lock.tryEnter();
      expect(kern.kcont_setmutex(kc, other)).to.equal(lock);
      expect(kern.kcont_getmutex(kc)).to.equal(other);
      other.tryEnter();
      expect(kern.kcont_setmutex(kc, null)).to.equal(other);
      expect(kern.kcont_getmutex(kc)).to.equal(null);
    });

    it('refuses a destroyed continuation', () => {
      const lock = new Mutex();
      const kc = new Lab().sync('a', { lock });
      lock.tryEnter();
      kern.kcont_destroy(kc);
      expect(codeOf(() => kern.kcont_setmutex(kc, null))).to.equal('EINVAL');
    });
  });

  describe('kcont_setfunc', () => {
    it('changes only the argument if there is no lock', () => {
      const lab = new Lab();
      const ran: string[] = [];
      const func = (arg: string): void => {
        ran.push(arg);
      };
      const kc = kern.kcont_create(lab.wq.prihigh, null, func, 'a', 0);
      expect(codeOf(() => kern.kcont_setfunc(kc, () => undefined, 'b'))).to.equal('EINVAL');
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      kern.kcont_setfunc(kc, func, 'c');
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      expect(ran).to.deep.equal(['a', 'c']);
    });

    it('requires the lock to be held, if there is one, and changes both', () => {
      const lab = new Lab();
      const lock = new Mutex();
      const ran: string[] = [];
      const first = (arg: string): void => {
        ran.push(`first ${arg}`);
      };
      const second = (arg: string): void => {
        ran.push(`second ${arg}`);
      };
      const kc = kern.kcont_create(lab.wq.prihigh, lock, first, 'a', 0);
      expect(codeOf(() => kern.kcont_setfunc(kc, second, 'b'))).to.equal('EPERM');
      expect(codeOf(() => kern.kcont_setfunc(kc, first, 'b'))).to.equal('EPERM');
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      lock.tryEnter();
      kern.kcont_setfunc(kc, second, 'b');
      lock.exit();
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(0);
      expect(ran).to.deep.equal(['first a', 'second b']);
    });

    it('takes effect with the next run when called from the function itself', () => {
      const lab = new Lab();
      const lock = new Mutex();
      const ran: string[] = [];
      const second = (arg: string): void => {
        ran.push(arg);
      };
      const kc: Kcont<string> = kern.kcont_create(
        lab.wq.prihigh,
        lock,
        (arg) => {
          ran.push(arg);
          kern.kcont_setfunc(kc, second, 'two');
          kc.reset(5);
        },
        'one',
        0,
      );
      kern.kcont_schedule(kc, null, 0);
      lab.clock.tick(10);
      expect(ran).to.deep.equal(['one', 'two']);
    });

    it('refuses a destroyed continuation', () => {
      const lab = new Lab();
      const func = (): void => {};
      const kc = kern.kcont_create(lab.wq.prihigh, null, func, '', 0);
      kern.kcont_destroy(kc);
      expect(codeOf(() => kern.kcont_setfunc(kc, func, 'b'))).to.equal('EINVAL');
    });
  });

  it('does what the proposal describes for a lock given up during the run', () => {
    const lab = new Lab();
    const first = new Mutex();
    const second = new Mutex();
    const kc: Kcont<string> = kern.kcont_create(
      lab.wq.prihigh,
      first,
      () => {
        expect(second.tryEnter()).to.equal(true);
        expect(kern.kcont_set_mutex(kc, second)).to.equal(first);
        first.exit();
      },
      '',
      0,
    );
    kern.kcont_schedule(kc, null, 0);
    lab.clock.tick(0);
    expect([first.held, second.held]).to.deep.equal([false, false]);
    expect(lab.errors).to.deep.equal([]);
  });

  it('kcont_drain_async answers as the class does', async () => {
    const lab = new Lab();
    const kc = lab.async('a');
    expect(kern.kcont_drain_async(kc, () => lab.ran.push('never'))).to.equal(true);
    kern.kcont_schedule(kc, null, 0);
    lab.clock.tick(0);
    expect(kern.kcont_drain_async(kc, (arg) => lab.ran.push(`drained ${arg}`))).to.equal(false);
    await lab.end(kc);
    expect(lab.take()).to.deep.equal(['a', 'drained a']);
  });

  describe('kcont_workqueue_acquire', () => {
    it('returns the same workqueue for the same criteria', () => {
      const a = kern.kcont_workqueue_acquire(77, 0);
      const b = kern.kcont_workqueue_acquire(77, 0);
      const perCpu = kern.kcont_workqueue_acquire(77, kern.WQ_PERCPU);
      try {
        expect(a).to.be.instanceOf(Workqueue);
        expect(a.priority).to.equal(77);
        expect(a.perCpu).to.equal(false);
        expect(b).to.equal(a);
        expect(perCpu).to.not.equal(a);
        expect(perCpu.perCpu).to.equal(true);
      } finally {
        expect(kern.kcont_workqueue_release(a)).to.equal(0);
        expect(kern.kcont_workqueue_release(b)).to.equal(0);
        expect(kern.kcont_workqueue_release(perCpu)).to.equal(0);
      }
      expect(kern.kcont_workqueue_release(a), 'one too many').to.equal(kern.EINVAL);
    });

    it('returns the predefined workqueue for a predefined priority', () => {
      for (const [, queue, priority] of QUEUES) {
        expect(kern.kcont_workqueue_acquire(priority, 0)).to.equal(queue);
        expect(kern.kcont_workqueue_release(queue)).to.equal(0);
      }
    });

    it('refuses an invalid priority or invalid flags', () => {
      for (const bad of [-1, 224, 1.5, NaN]) {
        expect(
          codeOf(() => kern.kcont_workqueue_acquire(bad, 0)),
          String(bad),
        ).to.equal('EINVAL');
      }
      expect(codeOf(() => kern.kcont_workqueue_acquire(77, 2))).to.equal('EINVAL');
      expect(codeOf(() => kern.kcont_workqueue_acquire(77, -1))).to.equal('EINVAL');
    });
  });

  it('runs on the process-wide kernel and the host clock', async () => {
    const done = deferred<string>();
    const kc = kern.kcont_create(kern.wq_softnet, null, done.resolve, 'ran', 0);
    expect(kern.kcont_schedule(kc, null, 0)).to.equal(0);
    expect(kern.kcont_invoking(kc)).to.equal(true);
    expect(await done.promise).to.equal('ran');
    await settled();
    expect(kern.kcont_expired(kc)).to.equal(true);
    kern.kcont_destroy(kc);
  });
});
