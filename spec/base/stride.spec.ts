import { expect } from 'chai';
import fc from 'fast-check';
import { Stride, StrideQueue } from '../../lib/base/stride.ts';
import { soak } from '../support/lab.ts';

class Side extends Stride {
  readonly name: string;

  constructor(name: string, shares: number) {
    super(shares);
    this.name = name;
  }
}

/** Serves so many times, at the same cost, and returns who was served. */
function serve(queue: StrideQueue<Side>, times: number, cost = 1): string {
  let served = '';
  for (let i = 0; i < times; i++) {
    const { first } = queue;
    if (first === undefined) break;
    queue.serve(first);
    queue.charge(first, cost);
    served += first.name;
  }
  return served;
}

describe('StrideQueue', () => {
  it('serves each side as often as its shares say, evenly spread', () => {
    const queue = new StrideQueue<Side>();
    for (const side of [new Side('a', 4), new Side('b', 2), new Side('c', 1)]) queue.join(side);
    expect(serve(queue, 14)).to.equal('abcabaacbaabaa');
  });

  it('serves equal shares in turn', () => {
    const queue = new StrideQueue<Side>();
    for (const name of ['a', 'b', 'c']) queue.join(new Side(name, 7));
    expect(serve(queue, 7)).to.equal('abcabca');
  });

  it('charges what was used, so that equal shares get equal sums', () => {
    const queue = new StrideQueue<Side>();
    const slow = new Side('s', 1);
    const quick = new Side('q', 1);
    queue.join(slow);
    queue.join(quick);
    const served: string[] = [];
    for (let i = 0; i < 8; i++) {
      const { first } = queue as { first: Side };
      queue.serve(first);
      queue.charge(first, first === slow ? 3 : 1);
      served.push(first.name);
    }
    expect(served.join('')).to.equal('sqqqsqqq');
  });

  it('gives no credit for the time in which a side wanted nothing', () => {
    const queue = new StrideQueue<Side>();
    const late = new Side('l', 1);
    queue.join(new Side('a', 1));
    expect(serve(queue, 100)).to.equal('a'.repeat(100));
    queue.join(late);
    expect(serve(queue, 6)).to.equal('lalala');
  });

  it('lets a side that leaves and comes back keep what it has taken in advance', () => {
    const queue = new StrideQueue<Side>();
    const greedy = new Side('g', 1);
    queue.join(greedy);
    queue.join(new Side('a', 1));
    queue.serve(greedy);
    queue.charge(greedy, 5);
    queue.leave(greedy);
    queue.join(greedy);
    expect(serve(queue, 8)).to.equal('aaaaagag');
  });

  it('forgets it when nobody waits', () => {
    const queue = new StrideQueue<Side>();
    const greedy = new Side('g', 1);
    const other = new Side('o', 1);
    queue.join(greedy);
    queue.serve(greedy);
    queue.charge(greedy, 50);
    queue.leave(greedy);
    queue.join(other);
    queue.join(greedy);
    expect(serve(queue, 4)).to.equal('ogog');
  });

  it('lets a side join behind those that wait, by the cost of what it wants', () => {
    const queue = new StrideQueue<Side>();
    const behind = (name: string, shares: number): void => {
      const side = new Side(name, shares);
      queue.place(side, 1);
      queue.join(side);
    };
    behind('a', 1);
    behind('b', 1);
    expect(serve(queue, 1)).to.equal('a');
    behind('n', 1);
    behind('m', 4);
    expect(serve(queue, 6)).to.equal('bmmman');
  });

  it('joins once, and leaves once', () => {
    const queue = new StrideQueue<Side>();
    const side = new Side('a', 1);
    queue.join(side);
    queue.join(side);
    expect(queue.inOrder()).to.deep.equal([side]);
    queue.leave(side);
    queue.leave(side);
    expect([queue.first, queue.inOrder()]).to.deep.equal([undefined, []]);
  });

  // The dullest model: all sides in an array, which is searched each time.
  it('agrees with an array that is searched, in random programs', () => {
    const move = fc.record({
      what: fc.constantFrom('join', 'behind', 'serve', 'serve', 'serve', 'leave', 'charge'),
      at: fc.nat({ max: 9 }),
      cost: fc.constantFrom(0.5, 1, 1, 4),
    });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
        const queue = new StrideQueue<Side>();
        const sides = Array.from({ length: 10 }, (_, at) => new Side(`${at}`, 2 ** (at % 4)));
        const model = sides.map((side) => ({ side, pass: 0, turn: 0, waits: false }));
        let turns = 0;
        let now = 0;
        const inOrder = (): typeof model =>
          model.filter(({ waits }) => waits).toSorted((a, b) => a.pass - b.pass || a.turn - b.turn);
        for (const { what, at, cost } of moves) {
          const one = model[at]!;
          const { side } = one;
          if (what === 'join' || what === 'behind') {
            const behind = what === 'behind' ? cost : 0;
            if (one.waits) {
              queue.join(side);
              continue;
            }
            queue.place(side, behind);
            queue.join(side);
            one.waits = true;
            one.pass = Math.max(one.pass, now + behind / side.shares);
            one.turn = turns++;
          } else if (what === 'serve') {
            const first = inOrder()[0];
            expect(queue.first).to.equal(first?.side);
            if (first === undefined) continue;
            queue.serve(first.side);
            queue.charge(first.side, cost);
            now = first.pass;
            first.pass += cost / first.side.shares;
            first.turn = turns++;
          } else if (what === 'charge') {
            queue.charge(side, cost);
            one.pass += cost / side.shares;
            one.turn = turns++;
          } else {
            queue.leave(side);
            if (!one.waits) continue;
            one.waits = false;
            if (inOrder().length === 0) now = Math.max(...model.map(({ pass }) => pass));
          }
          expect(queue.inOrder()).to.deep.equal(inOrder().map((it) => it.side));
        }
      }),
      { numRuns: 300 * soak },
    );
  });
});
