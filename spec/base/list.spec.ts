import { expect } from 'chai';
import { List, takeFirst, type Links } from '../../lib/base/list.ts';

class Item implements Links {
  _next: Links = this;
  _prev: Links = this;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

describe('takeFirst', () => {
  it('takes the entries in order, and leaves none that refers to another', () => {
    const list = new List<Item>();
    const items = ['a', 'b', 'c'].map((name) => new Item(name));
    for (const item of items) list.push(item);
    const taken: string[] = [];
    for (let item = takeFirst(list); item !== undefined; item = takeFirst(list)) {
      taken.push(item.name);
    }
    expect(taken).to.deep.equal(['a', 'b', 'c']);
    for (const item of items) expect([item._next, item._prev]).to.deep.equal([item, list]);
    expect(list.empty).to.equal(true);
  });

  it('leaves entries that can be put into a list again', () => {
    const list = new List<Item>();
    const item = new Item('a');
    list.push(item);
    takeFirst(list);
    list.push(item);
    expect([...list]).to.deep.equal([item]);
  });
});
