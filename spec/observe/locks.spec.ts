import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Mutex, RWLock, SpinLock } from '../../lib/index.ts';
import { list, lockState } from '../support/observe.ts';
import { codeOf, Lab } from '../support/lab.ts';

/** A lab whose kernel is observed. */
function observed(): Lab {
  const lab = new Lab();
  list(lab.kernel);
  return lab;
}

describe('lockState()', () => {
  it('tells that a lock is free', () => {
    expect(lockState(new Mutex({ name: 'journal' }))).to.deep.equal({
      name: 'journal',
      held: false,
      holders: [],
      waiters: [],
    });
  });

  it('names the continuation that holds it, and those that wait, by priority', async () => {
    const lab = observed();
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(3);
    lab.sync('low', { lock, wq: lab.wq.prilow, options: { name: 'low' } }).schedule();
    lab.sync('high', { lock, wq: lab.wq.softnet, options: { name: 'high' } }).schedule();
    lab.clock.tick(0);
    const { held, holders, waiters } = lockState(lock);
    expect(held).to.equal(true);
    expect(holders.map(({ name, workqueue }) => [name, workqueue])).to.deep.equal([
      ['flush', 'prihigh'],
    ]);
    expect(holders[0]?.id).to.equal(list(lab.kernel, { state: 'running' })[0]?.id);
    expect(waiters.map(({ name, priority }) => [name, priority])).to.deep.equal([
      ['high', 215],
      ['low', 103],
    ]);
    await lab.end(flush);
    expect(lockState(lock).holders).to.deep.equal([]);
  });

  it('names all readers', async () => {
    const lab = observed();
    const { read, write } = new RWLock({ name: 'routes' });
    const readers = ['a', 'b'].map((name) => lab.async(name, { lock: read, options: { name } }));
    for (const kc of readers) kc.schedule();
    lab.clock.tick(0);
    expect(lockState(read).holders.map(({ name }) => name)).to.deep.equal(['a', 'b']);
    expect(lockState(write)).to.deep.equal({
      name: 'routes.write',
      held: false,
      holders: [],
      waiters: [],
    });
    for (const kc of readers) await lab.end(kc);
  });

  it('does not know code that has entered it by itself', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    const entered = lock.enter();
    const { holders, waiters } = lockState(lock);
    expect(holders).to.deep.equal([
      { name: 'an unknown holder', id: null, workqueue: null, sinceMs: null },
    ]);
    expect(waiters.map(({ name }) => name)).to.deep.equal(['(code)']);
    lock.exit();
    await entered;
  });

  it('finds the function on the stack', () => {
    const lab = observed();
    const lock = new SpinLock();
    let holders: string[] = [];
    lab
      .sync('a', {
        lock,
        options: { name: 'a' },
        body: () => {
          holders = lockState(lock).holders.map(({ name }) => name);
        },
      })
      .schedule();
    lab.clock.tick(0);
    expect(holders).to.deep.equal(['a']);
  });

  it('refuses what is not a lock', () => {
    for (const wrong of [undefined, null, {}, new RWLock()]) {
      expect(codeOf(() => lockState(wrong as never))).to.equal('EINVAL');
    }
  });
});
