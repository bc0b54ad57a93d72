import { expect } from 'chai';
import { Causes } from '../../lib/observe/causes.ts';

/** More than the arguments that a call takes. */
const MANY = 150_000;

describe('Causes', () => {
  it('delivers all reports, however many there are, if the receiver throws at one of them', async () => {
    const told: number[] = [];
    const causes = new Causes<number>((report) => {
      told.push(report);
      if (report === 0) throw new Error('of the receiver');
    });
    for (let i = 0; i < MANY; i++) causes.report(`cause ${i}`, 0, 1000, true, () => i);
    expect(() => causes.flush()).to.throw('of the receiver');
    expect(told).to.deep.equal([0]);
    await Promise.resolve();
    expect(told).to.have.length(MANY);
    expect(told.at(-1)).to.equal(MANY - 1);
  });

  it('delivers what is found while the reports before it are delivered', async () => {
    const told: string[] = [];
    const causes = new Causes<string>((report) => {
      told.push(report);
      if (report === 'a') causes.report('b', 0, 1000, true, () => 'b');
    });
    causes.report('a', 0, 1000, true, () => 'a');
    await Promise.resolve();
    expect(told).to.deep.equal(['a', 'b']);
    causes.report('c', 0, 1000, true, () => 'c');
    await Promise.resolve();
    expect(told).to.deep.equal(['a', 'b', 'c']);
  });
});
