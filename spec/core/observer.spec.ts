import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Kcont } from '../../lib/core/kcont.ts';
import type { Observer } from '../../lib/core/observer.ts';
import { makeRunnableNext } from '../../lib/core/schedule.ts';
import { EXPIRED, PENDING, WAITED } from '../../lib/core/state.ts';
import { Mutex } from '../../lib/index.ts';
import { Lab } from '../support/lab.ts';

/** Writes down what it is told, and calls `act` each time. */
class Notes implements Observer {
  readonly lines: string[] = [];
  act: (what: string, kc: Kcont<unknown>) => void = () => undefined;
  wrap: ReturnType<Observer['entered']> | null = null;

  #note(what: string, kc: Kcont<unknown>): void {
    this.lines.push(`${what} ${String(kc._arg)}`);
    this.act(what, kc);
  }

  created(): void {}
  scheduled(kc: Kcont<unknown>, before: number): void {
    this.#note((before & PENDING) === 0 ? 'scheduled' : 'moved', kc);
  }
  refused(kc: Kcont<unknown>): void {
    this.#note('refused', kc);
  }
  expired(kc: Kcont<unknown>): void {
    this.#note('expired', kc);
  }
  waits(kc: Kcont<unknown>): void {
    this.#note('waits', kc);
  }
  entered(
    kc: Kcont<unknown>,
    before: number,
    func: ReturnType<Observer['entered']>,
  ): ReturnType<Observer['entered']> {
    const timer = (before & EXPIRED) === 0 ? '' : ' timer';
    this.#note(`entered${timer}${(before & WAITED) === 0 ? '' : ' waited'}`, kc);
    return this.wrap ?? func;
  }
  suspended(kc: Kcont<unknown>): void {
    this.#note('suspended', kc);
  }
  settled(kc: Kcont<unknown>): void {
    this.#note('settled', kc);
  }
  stopped(kc: Kcont<unknown>): void {
    this.#note('stopped', kc);
  }
  failed(kc: Kcont<unknown>, error: unknown): void {
    this.#note(`failed (${String(error)})`, kc);
  }
  sent(): undefined {
    return undefined;
  }
}

function observed(lab: Lab): Notes {
  const notes = new Notes();
  lab.kernel.wq.prilow._dispatcher.observer = notes;
  return notes;
}

describe('the observer of a dispatcher', () => {
  it('is told of each transition, in order', async () => {
    const lab = new Lab();
    const notes = observed(lab);
    const lock = new Mutex();
    lock.tryEnter();
    const kc = lab.async('a', { lock });
    kc.schedule(5);
    kc.schedule(10);
    kc.reset(20);
    lab.clock.tick(30);
    lock.exit();
    lab.clock.tick(0);
    kc.schedule();
    await lab.end(kc);
    kc.schedule();
    kc.stop();
    expect(notes.lines).to.deep.equal([
      'scheduled a',
      'moved a',
      'moved a',
      'expired a',
      'waits a',
      'entered timer waited a',
      'suspended a',
      'refused a',
      'settled a',
      'scheduled a',
      'stopped a',
    ]);
  });

  it('is told of a job for the next pass, and that it is not a timer any more', () => {
    const lab = new Lab();
    const notes = observed(lab);
    const kc = lab.sync('a');
    kc.schedule(5);
    makeRunnableNext(kc);
    lab.clock.tick(10);
    expect(notes.lines).to.deep.equal(['scheduled a', 'moved a', 'entered a', 'settled a']);
  });

  it('is told of a failure before the continuation settles', () => {
    const lab = new Lab();
    const notes = observed(lab);
    const kc = lab.sync('a', {
      body: () => {
        throw new Error('failure');
      },
    });
    kc.schedule();
    lab.clock.tick(0);
    expect(notes.lines.slice(1)).to.deep.equal([
      'entered a',
      'failed (Error: failure) a',
      'settled a',
    ]);
  });

  it('may stop a continuation when told that it was scheduled', () => {
    const lab = new Lab();
    const notes = observed(lab);
    notes.act = (what, kc) => {
      if (what === 'scheduled' || what === 'moved') kc.stop();
    };
    const kc = lab.sync('a');
    expect(kc.schedule()).to.equal(true);
    expect(kc.schedule(5)).to.equal(true);
    expect(kc.busy).to.equal(false);
    lab.clock.tick(10);
    expect(lab.ran).to.deep.equal([]);
    expect(lab.kernel.inspect()).to.include({ pending: 0, queued: 0, running: 0 });
  });

  it('finds the lock free and the continuation idle when told that it has settled', () => {
    const lab = new Lab();
    const notes = observed(lab);
    const lock = new Mutex();
    const kc = lab.sync('a', { lock });
    let left = 2;
    notes.act = (what) => {
      if (what !== 'settled') return;
      expect([lock.held, kc.busy]).to.deep.equal([false, false]);
      if (--left > 0) expect(kc.schedule()).to.equal(true);
      else kc.destroy();
    };
    kc.schedule();
    lab.clock.tick(0);
    expect([left, kc.destroyed]).to.deep.equal([0, true]);
  });

  it('may have another function called in place of that of the continuation', () => {
    const lab = new Lab();
    const notes = observed(lab);
    const calls: unknown[] = [];
    const kc = lab.sync('a');
    notes.wrap = (...args) => calls.push(...args);
    kc.schedule();
    lab.clock.tick(0);
    expect(calls).to.deep.equal(['a', kc]);
    expect(lab.ran).to.deep.equal([]);
  });
});
