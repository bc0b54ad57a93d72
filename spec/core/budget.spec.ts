import { expect } from 'chai';
import { Budget } from '../../lib/core/budget.ts';
import type { Clock } from '../../lib/time/clock.ts';

/** A budget of 10 ms, and how often it has read the clock, which it gets from the spec. */
class Lab {
  nowMs = 0;
  reads = 0;
  readonly budget: Budget;

  constructor() {
    const read = (): number => {
      this.reads++;
      return this.nowMs;
    };
    const clock = {
      get now() {
        return read();
      },
    };
    this.budget = new Budget(clock as Clock, 10);
    this.budget.begin();
  }

  /** Enters functions; returns those, counted from 1, after which the clock was read. */
  enter(count: number): number[] {
    const looks: number[] = [];
    for (let ran = 1; ran <= count; ran++) {
      this.budget.left--;
      const { reads } = this;
      if (this.budget.isSpent()) throw new Error(`spent after ${ran}`);
      if (this.reads > reads) looks.push(ran);
    }
    return looks;
  }
}

describe('Budget', () => {
  it('reads the clock after each of the first functions, and then after an eighth of their number', () => {
    const looks = new Lab().enter(40).join(' ');
    expect(looks).to.equal('1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 18 20 22 24 27 30 33 37');
  });

  it('reads the clock at least after every 32nd function', () => {
    const looks = new Lab().enter(1000);
    const gaps = looks.map((ran, at) => ran - (looks[at - 1] ?? 0));
    expect(Math.max(...gaps)).to.equal(32);
    expect(looks.length).to.equal(64);
  });

  it('is spent when its time is over, from the next look on', () => {
    const lab = new Lab();
    lab.enter(17);
    lab.nowMs = 10;
    expect(lab.budget.isSpent()).to.equal(false);
    lab.budget.left--;
    expect(lab.budget.isSpent()).to.equal(true);
    lab.budget.reset();
    lab.budget.begin();
    expect(lab.enter(3)).to.deep.equal([1, 2, 3]);
  });

  it('counts eight continuations that were set aside as one function, but not as one that ran', () => {
    const lab = new Lab();
    lab.enter(24);
    const { reads, budget } = lab;
    const looks: number[] = [];
    for (let aside = 1; aside <= 32; aside++) {
      budget.left--;
      budget.giveBack();
      const before = lab.reads;
      expect(budget.isSpent()).to.equal(false);
      if (lab.reads > before) looks.push(aside);
    }
    expect(looks).to.deep.equal([24]);
    expect(lab.reads).to.equal(reads + 1);
    // Still an eighth of 24, of which one is used up.
    expect(lab.enter(3)).to.deep.equal([2]);
  });
});
