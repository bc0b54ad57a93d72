// Plain continuations, which are entered without further checks, and those that only look like them.

import { expect } from 'chai';
import sinon from 'sinon';
import { Kcont, Kernel, Mutex, VirtualClock, type Workqueue } from '../../lib/index.ts';
import { ADMITTED } from '../../lib/core/cpu-link.ts';
import { REMOTE } from '../../lib/core/state.ts';

class Lab {
  readonly clock: VirtualClock = new VirtualClock();
  readonly kernel: Kernel = new Kernel({ clock: this.clock });
  readonly ran: string[] = [];

  job(name: string, wq: Workqueue = this.kernel.wq.prilow, then?: () => unknown): Kcont<null> {
    const func = (): unknown => {
      this.ran.push(name);
      return then?.();
    };
    return new Kcont(wq, null, func, null);
  }
}

describe('dispatch', () => {
  it('enters a job that a job of a lower priority has scheduled, before the next of its own', () => {
    const lab = new Lab();
    const { prilow, softnet } = lab.kernel.wq;
    const high = lab.job('high', softnet);
    lab.job('first', prilow, () => high.schedule()).schedule();
    lab.job('second').schedule();
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal(['first', 'high', 'second']);
  });

  it('can stop, or schedule again, a job that was dispatched before', () => {
    const lab = new Lab();
    const again = lab.job('again');
    const stopped = lab.job('stopped');
    again.schedule();
    stopped.schedule();
    lab
      .job('third', lab.kernel.wq.prilow, () => {
        stopped.stop();
        again.schedule();
        again.stop();
        again.schedule(1);
        lab.job('fourth').schedule();
      })
      .schedule();
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal(['again', 'stopped', 'third', 'fourth']);
    lab.clock.tick(1);
    expect(lab.ran.slice(4)).to.deep.equal(['again']);
  });

  it('settles a function whose result cannot be read, and reports the error', () => {
    const lab = new Lab();
    const hostile = {
      // oxlint-disable-next-line unicorn/no-thenable -- what it is about
      get then(): never {
        throw new Error('not readable');
      },
    };
    const kc = lab.job('hostile', lab.kernel.wq.prilow, () => hostile);
    kc.schedule();
    lab.job('next').schedule();
    expect(() => lab.clock.tick(0)).to.throw('not readable');
    expect([kc.busy, kc.wq.stats().failed]).to.deep.equal([false, 1]);
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal(['hostile', 'next']);
  });

  it('settles a function that has scheduled, halted or destroyed its own continuation', () => {
    const lab = new Lab();
    const { prilow } = lab.kernel.wq;
    let runs = 0;
    const again: Kcont<null> = lab.job('again', prilow, () => {
      if (runs++ === 0) {
        again.ack();
        again.schedule();
      }
    });
    const dead: Kcont<null> = lab.job('dead', prilow, () => dead.destroy());
    const drained: Kcont<null> = lab.job('drained', prilow, () => {
      drained.drainAsync(() => void lab.ran.push('done'));
    });
    for (const kc of [again, dead, drained]) kc.schedule();
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal(['again', 'dead', 'drained', 'done', 'again']);
    expect([again, dead, drained].map(({ busy }) => busy)).to.deep.equal([false, false, false]);
    expect(prilow.stats()).to.include({ queued: 0, running: 0, entered: 4, failed: 0 });
  });

  it('has the statistics right within a function', () => {
    const lab = new Lab();
    const { prilow } = lab.kernel.wq;
    lab
      .job('first', prilow, () => {
        const { queued, running, entered } = prilow.stats();
        lab.ran.push(`${queued} queued, ${running} running, ${entered} entered`);
      })
      .schedule();
    lab.job('second').schedule();
    const withdrawn = lab.job('withdrawn');
    withdrawn.schedule();
    withdrawn.stop();
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal(['first', '1 queued, 1 running, 1 entered', 'second']);
    expect(prilow.stats()).to.include({ queued: 0, running: 0, entered: 2 });
  });

  it('runs jobs of all kinds in one order: plain, named, with a lock, unreferenced, or a limit', () => {
    const lab = new Lab();
    const { prilow } = lab.kernel.wq;
    const limited = lab.kernel.acquire(prilow.priority, { maxActive: 1, onError: () => undefined });
    const add = (name: string): void => void lab.ran.push(name);
    const kcs = [
      lab.job('plain'),
      new Kcont(prilow, null, add, 'named', { name: 'named' }),
      new Kcont(prilow, new Mutex(), add, 'locked'),
      new Kcont(prilow, null, add, 'unreferenced', { ref: false }),
      new Kcont(prilow, null, add, 'slack', { slackMs: 5 }),
      new Kcont(limited, null, add, 'handled'),
      lab.job('plain again'),
    ];
    for (const kc of kcs) kc.schedule();
    lab.clock.tick(0);
    expect(lab.ran).to.deep.equal([
      'plain',
      'named',
      'locked',
      'unreferenced',
      'slack',
      'handled',
      'plain again',
    ]);
  });

  it('releases the lock for an entry that another CPU has stopped after it was checked', () => {
    const lab = new Lab();
    const { prilow } = lab.kernel.wq;
    const lock = new Mutex();
    const kc = new Kcont(prilow, lock, () => void lab.ran.push('stopped'), null);
    const other = new Kcont(prilow, lock, () => void lab.ran.push('other'), null);
    kc.schedule();
    other.schedule();
    kc._state |= REMOTE;
    const states: boolean[] = [];
    const enter = (): boolean => {
      states.push(lock.held);
      return false;
    };
    Object.defineProperty(kc, '_remote', { value: { bits: 0, admit: () => ADMITTED, enter } });
    lab.clock.tick(0);
    expect(states).to.deep.equal([true]);
    expect([lab.ran, lock.held, prilow.stats().queued]).to.deep.equal([['other'], false, 0]);
  });

  it('moves to fakes that are installed between two jobs of one turn', () => {
    const { wq } = new Kernel();
    const ran: string[] = [];
    const add = (name: string): void => void ran.push(name);
    new Kcont(wq.prilow, null, add, 'a').schedule();
    new Kcont(wq.prilow, null, add, 'b').schedule();
    const fakes = sinon.useFakeTimers();
    try {
      new Kcont(wq.prilow, null, add, 'c').schedule();
      fakes.tick(1);
      expect(ran).to.deep.equal(['a', 'b', 'c']);
    } finally {
      fakes.restore();
    }
  });
});
