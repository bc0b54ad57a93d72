import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Slices } from '../../lib/observe/walk.ts';
import { burn } from '../support/busy.ts';

/** How many parts are done in a slice. */
function partsIn(slice: Slices, ms: number): number {
  let parts = 0;
  do {
    burn(ms);
    parts++;
  } while (!slice.isOverSoon);
  return parts;
}

describe('a slice', () => {
  it('ends soon after 2 ms, also if its parts take long', () => {
    expect(partsIn(new Slices(), 0.5)).to.be.at.most(5);
  });

  it('ends soon after 2 ms if parts take longer than those before', async () => {
    const slice = new Slices();
    for (let n = 0; n < 1000; n++) void slice.isOverSoon;
    await slice.next();
    // It was not foreseen, and is noticed after a few parts.
    partsIn(slice, 0.5);
    await slice.next();
    expect(partsIn(slice, 0.5)).to.be.at.most(5);
  });
});
