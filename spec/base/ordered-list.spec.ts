import { expect } from 'chai';
import fc from 'fast-check';
import { moveAll, unlink } from '../../lib/base/list.ts';
import {
  OrderedList,
  after,
  stamp,
  startMark,
  toEndOfEra,
  type Entry,
} from '../../lib/base/ordered-list.ts';

class Item implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  _seq: number;
  _era: number;

  constructor(seq: number, era = 0) {
    this._seq = seq;
    this._era = era;
  }
}

const seqs = (list: Iterable<Item>): number[] => Array.from(list, (item) => item._seq);

/** Checks that both directions of the ring have the same entries. */
function backwards(list: OrderedList<Item>): number[] {
  const found: number[] = [];
  for (let at = list._prev; at !== list; at = at._prev) found.unshift(at._seq);
  return found;
}

describe('OrderedList', () => {
  it('returns entries in the order of their numbers, in whatever order they were added', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(30), { maxLength: 70 }), (numbers) => {
        const list = new OrderedList<Item>();
        for (const number of numbers) list.insert(new Item(number));
        const sorted = numbers.toSorted((a, b) => a - b);
        expect(seqs(list)).to.deep.equal(sorted);
        expect(backwards(list)).to.deep.equal(sorted);
        const taken: number[] = [];
        for (let item = list.shift(); item !== undefined; item = list.shift())
          taken.push(item._seq);
        expect(taken).to.deep.equal(sorted);
        expect(list.empty).to.equal(true);
      }),
    );
  });

  it('looks at few entries of a long list when the first one is taken and returns', () => {
    let looks = 0;
    const watched = (seq: number): Item =>
      Object.defineProperty(new Item(seq), '_seq', {
        get: () => {
          looks++;
          return seq;
        },
      });
    const list = new OrderedList<Item>();
    for (let seq = 1; seq <= 1000; seq++) list.insert(watched(seq));
    looks = 0;
    for (let round = 0; round < 10; round++) {
      const first = list.shift() as Item;
      list.reinsert(first);
      expect(list.first).to.equal(first);
    }
    expect(looks).to.be.at.most(40);
    expect(backwards(list)).to.deep.equal(seqs(list));
  });

  it('adds at the place of the number with reinsert too, whether the list is sorted or not', () => {
    const list = new OrderedList<Item>();
    for (const seq of [5, 7, 3]) list.reinsert(new Item(seq));
    expect(backwards(list)).to.deep.equal([3, 5, 7]);
    list.insert(new Item(4));
    list.reinsert(new Item(1));
    list.reinsert(new Item(6));
    expect(seqs(list)).to.deep.equal([1, 3, 4, 5, 6, 7]);
  });

  it('keeps equal numbers in the order of arrival', () => {
    const list = new OrderedList<Item>();
    const [a, b, c] = [new Item(5), new Item(5), new Item(1)];
    for (const item of [a, b, c]) list.insert(item);
    expect([list.shift(), list.shift(), list.shift(), list.shift()]).to.deep.equal([
      c,
      a,
      b,
      undefined,
    ]);
  });

  it('removes an entry from the middle, and ignores one that is not in a list', () => {
    const list = new OrderedList<Item>();
    const items = [1, 2, 3].map((seq) => new Item(seq));
    for (const item of items) list.insert(item);
    unlink(items[1]!);
    unlink(items[1]!);
    expect(seqs(list)).to.deep.equal([1, 3]);
  });

  it('takes over all entries of another list, sorted or not', () => {
    const from = new OrderedList<Item>();
    const to = new OrderedList<Item>();
    moveAll(from, to);
    expect(to.empty).to.equal(true);
    for (const seq of [2, 1]) from.insert(new Item(seq));
    moveAll(from, to);
    expect([seqs(to), from.empty, from.first]).to.deep.equal([[1, 2], true, undefined]);
  });

  it('can be iterated while the current entry leaves', () => {
    const list = new OrderedList<Item>();
    for (const seq of [1, 2, 3]) list.insert(new Item(seq));
    for (const item of list) unlink(item);
    expect(list.empty).to.equal(true);
  });

  const ways: [string, (list: OrderedList<Item>, seen: number[]) => void][] = [
    ['first', (list, seen) => void seen.push(list.first!._seq)],
    ['shift', (list, seen) => void seen.push(list.shift()!._seq)],
    ['detach', (list, seen) => void seen.push(list.detach()._seq)],
    ['forEach', (list, seen) => list.forEach((item) => seen.push(item._seq))],
    [
      'visitAfter',
      (list, seen) => void list.visitAfter(startMark(), 1, (item) => seen.push(item._seq)),
    ],
    ['an iterator', (list, seen) => void seen.push(...seqs(list))],
  ];
  for (const [name, take] of ways) {
    it(`is in order for ${name}, whether entries were added in order or not`, () => {
      for (const numbers of [
        [1, 2, 3],
        [3, 1, 2],
      ]) {
        const list = new OrderedList<Item>();
        for (const number of numbers) list.insert(new Item(number));
        const seen: number[] = [];
        take(list, seen);
        expect(seen).to.deep.equal([1, 2, 3].slice(0, seen.length));
        expect(seen).not.to.deep.equal([]);
      }
    });
  }

  it('is visited in steps, between which it changes: what stays is visited once', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(40), { minLength: 1 }),
        fc.array(fc.record({ number: fc.nat(40), isRemoved: fc.boolean() })),
        fc.integer({ min: 1, max: 5 }),
        (numbers, changes, count) => {
          const list = new OrderedList<Item>();
          const items = new Map(numbers.map((number) => [number, new Item(number)]));
          for (const item of items.values()) list.insert(item);
          const stays = new Set(numbers);
          const seen: number[] = [];
          const mark = startMark();
          const rest = [...changes];
          while (list.visitAfter(mark, count, (item) => seen.push(item._seq))) {
            const change = rest.pop();
            if (change === undefined) continue;
            const { number, isRemoved } = change;
            const item = items.get(number) ?? new Item(number);
            items.set(number, item);
            unlink(item);
            if (isRemoved) stays.delete(number);
            else list.insert(item);
          }
          const found = seen.filter((number) => stays.has(number));
          expect(found).to.deep.equal([...stays].toSorted((a, b) => a - b));
          expect(new Set(seen).size).to.equal(seen.length);
        },
      ),
    );
    expect(new OrderedList<Item>().visitAfter(startMark(), 1, () => expect.fail())).to.equal(false);
  });
});

describe('sequence numbers', () => {
  it('keep rising when the range of small integers is used up', () => {
    toEndOfEra();
    const items = [0, 0, 0].map((seq) => new Item(seq));
    for (const item of items) stamp(item);
    expect(items[1]!._seq).to.equal(0);
    expect(after(items[1]!, items[0]!)).to.equal(true);
    expect(after(items[0]!, items[1]!)).to.equal(false);
    expect(after(items[2]!, items[1]!)).to.equal(true);
  });
});
