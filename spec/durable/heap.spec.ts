import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Heap, type HeapItem } from '../../lib/durable/heap.ts';

interface Item extends HeapItem {
  readonly value: number;
}

describe('a heap', () => {
  it('returns the smallest of what was added, and neither returned nor removed', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ add: fc.integer({ min: 0, max: 9 }) }) },
      fc.record({ remove: fc.nat(60) }),
      fc.constant('pop' as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const heap = new Heap<Item>((a, b) => a.value < b.value);
        let model: Item[] = [];
        for (const todo of steps) {
          if (todo === 'pop') {
            expect(heap.peek()?.value).to.equal(model[0]?.value);
            const first = heap.pop();
            expect(first?.value).to.equal(model[0]?.value);
            model = model.filter((item) => item !== first);
          } else if ('add' in todo) {
            const item = { value: todo.add, heapIndex: 0 };
            heap.push(item);
            model = [...model, item].toSorted((a, b) => a.value - b.value);
          } else if (model.length > 0) {
            const item = model[todo.remove % model.length] as Item;
            heap.remove(item);
            model = model.filter((other) => other !== item);
          }
          expect(heap.size).to.equal(model.length);
        }
        for (const { value } of model) expect(heap.pop()?.value).to.equal(value);
        expect(heap.pop()).to.equal(undefined);
      }),
    );
  });

  for (const [what, index, left] of [
    ['the first', 0, [4, 5, 6, 8, 9]],
    ['the last', 5, [1, 4, 5, 8, 9]],
    ['one whose place is taken by a larger one', 1, [1, 5, 6, 8, 9]],
    ['one whose place is taken by a smaller one', 3, [1, 4, 5, 6, 9]],
  ] as const) {
    it(`removes ${what}`, () => {
      const heap = new Heap<Item>((a, b) => a.value < b.value);
      // 1 above 4 and 5, 4 above 8 and 9, and 5 above 6.
      const items = [1, 4, 5, 8, 9, 6].map((value) => ({ value, heapIndex: 0 }));
      for (const item of items) heap.push(item);
      heap.remove(items[index] as Item);
      expect(left.map(() => heap.pop()?.value)).to.deep.equal(left);
    });
  }
});
