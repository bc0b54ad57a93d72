import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { deadlinePrograms, expectedOf, outcomeOf } from '../support/deadline-program.ts';
import { soak } from '../support/lab.ts';

describe('deadlines of a pipeline, at random', () => {
  it('expire as a simple model predicts', () =>
    fc.assert(
      fc.asyncProperty(deadlinePrograms, async (program) => {
        expect(await outcomeOf(program)).to.equal(expectedOf(program));
      }),
      { numRuns: 2000 * soak },
    )).timeout(120_000 * soak);
});
