import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { durable } from '../../lib/durable/index.ts';
import { list, lockState } from '../support/observe.ts';

describe('list() of a kernel with durable continuations', () => {
  it('has those that this node has taken, by name, with the local lock that they hold or wait for', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const jobs = await durable({ node: 'a', kernel });
    const journal = new Mutex({ name: 'journal' });
    let finish = (): void => undefined;
    jobs.define('write', { wq: 'prilow', localLock: journal }, () => {
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    await jobs.kcont('first', 'write', null).schedule();
    await jobs.kcont('second', 'write', null).schedule(5);
    await jobs.kcont('later', 'write', null).schedule(60_000);
    await clock.advance(10);
    const taken = list(kernel).map(({ name, state, workqueue, lock }) => ({
      name,
      state,
      workqueue,
      lock,
    }));
    expect(taken).to.deep.equal([
      { name: 'first', state: 'running', workqueue: 'prilow', lock: 'journal' },
      { name: 'second', state: 'waiting', workqueue: 'prilow', lock: 'journal' },
      // What is not due is known to the backend; the node has a timer for the next deadline.
      { name: 'durable/a', state: 'pending', workqueue: 'softclock', lock: null },
    ]);
    expect(lockState(journal).holders.map(({ name }) => name)).to.deep.equal(['first']);
    for (let i = 0; i < 2; i++) {
      finish();
      await clock.advance(1);
    }
    expect(list(kernel).map(({ name }) => name)).to.deep.equal(['durable/a']);
    await jobs.close();
    expect(list(kernel)).to.deep.equal([]);
  });
});
