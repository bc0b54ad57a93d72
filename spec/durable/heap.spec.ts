import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Heap } from '../../lib/durable/heap.ts';

describe('a heap', () => {
  it('returns the smallest of what was added and not yet returned', () => {
    const steps = fc.array(fc.option(fc.integer({ min: 0, max: 9 })), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (values) => {
        const heap = new Heap<number>((a, b) => a < b);
        let model: number[] = [];
        for (const value of values) {
          if (value !== null) {
            heap.push(value);
            model = [...model, value].toSorted((a, b) => a - b);
          } else {
            expect(heap.peek()).to.equal(model[0]);
            expect(heap.pop()).to.equal(model.shift());
          }
          expect(heap.size).to.equal(model.length);
        }
        for (const value of model) expect(heap.pop()).to.equal(value);
        expect(heap.pop()).to.equal(undefined);
      }),
    );
  });
});
