import { expect } from 'chai';
import { stamp, type Entry } from '../../lib/base/ordered-list.ts';
import { RunQueue, type Runnable } from '../../lib/core/run-queue.ts';
import { FAR } from '../../lib/time/timing-wheel.ts';

class Item implements Runnable {
  _next: Entry = this;
  _prev: Entry = this;
  _seq = 0;
  _era = 0;
  _due: number;
  readonly name: string;

  constructor(name: string, due: number) {
    this.name = name;
    this._due = due;
    stamp(this);
  }
}

function filled(): RunQueue<Item> {
  const queue = new RunQueue<Item>();
  for (const priority of [0, 31, 32, 199, 223]) {
    const level = queue.level(priority);
    level.direct.insert(new Item(`p${priority}`, 0));
    queue.mark(level);
  }
  return queue;
}

function names(queue: RunQueue<Item>): string[] {
  const found: string[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) found.push(item.name);
  return found;
}

describe('RunQueue', () => {
  it('returns the highest priority first', () => {
    const queue = filled();
    expect(names(queue)).to.deep.equal(['p223', 'p199', 'p32', 'p31', 'p0']);
    expect(queue.empty).to.equal(true);
  });

  it('finds the next level below a priority', () => {
    const queue = filled();
    const found: number[] = [];
    for (let level = queue.highest(); level !== undefined; level = queue.highest(level.priority)) {
      found.push(level.priority);
    }
    expect(found).to.deep.equal([223, 199, 32, 31, 0]);
    queue.level(31).direct.shift();
    expect(queue.highest(32)?.priority).to.equal(0);
    expect(queue.highest(0)).to.equal(undefined);
  });

  it('merges timers and jobs by when they became runnable, then timers first', () => {
    const queue = new RunQueue<Item>();
    const level = queue.level(199);
    const job = (due: number): void => queue.addJob(level, new Item(`job@${due}`, due));
    const timer = (due: number): void => queue.addTimer(level, new Item(`timer@${due}`, due));
    job(99);
    job(103);
    timer(100);
    timer(103);
    job(104);
    timer(110);
    job(109);
    const all = ['job@99', 'timer@100', 'timer@103', 'job@103', 'job@104', 'timer@110', 'job@109'];
    expect([...level].map(({ name }) => name)).to.deep.equal(all);
    expect(names(queue)).to.deep.equal(all);
  });

  it('keeps queued entries before all future timers when the base moves', () => {
    const queue = new RunQueue<Item>();
    const level = queue.level(199);
    queue.addJob(level, new Item('before', 2 ** 30 - 2));
    queue.addJob(level, new Item('after', 2 ** 30 + 1));
    queue.addJob(level, new Item('last', FAR));
    queue.rebase(2 ** 30, FAR);
    queue.addTimer(level, new Item('timer', 0));
    queue.addTimer(level, new Item('late timer', FAR - 1));
    queue.rebase(0, 7);
    expect([...level].map(({ name, _due }) => `${name} ${_due}`)).to.deep.equal([
      'before -1',
      'timer 0',
      'after 1',
      'late timer 7',
      'last 7',
    ]);
  });

  it('resumes entries that waited aside before all that they had overtaken', () => {
    const queue = new RunQueue<Item>();
    const level = queue.level(199);
    queue.addJob(level, new Item('job', 1));
    queue.addTimer(level, new Item('timer', 0));
    queue.addResumed(level, new Item('resumed', 9));
    expect([...level].map(({ name }) => name)).to.deep.equal(['resumed', 'timer', 'job']);
    expect(names(queue)).to.deep.equal(['resumed', 'timer', 'job']);
  });
});
