import { expect } from 'chai';
import { Kcont, Kernel, VirtualClock } from '../../lib/index.ts';
import { durable, memory } from '../../lib/durable/index.ts';
import { WaitList } from '../../lib/locks/wait-list.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { deferred, rejectionOf } from '../support/lab.ts';

describe('WaitList', () => {
  it('serves first come, first served, and forgets what is aborted', () => {
    const list = new WaitList();
    const { signal } = new AbortController();
    const gone = new AbortController();
    const told: string[] = [];
    const add = (name: string, its?: AbortSignal): void =>
      list.add(
        its,
        () => told.push(name),
        (reason) => told.push(`${name}: ${String(reason)}`),
      );
    add('a');
    add('b', gone.signal);
    add('c', signal);
    expect(list.size).to.equal(3);
    gone.abort('gone');
    expect([list.size, told]).to.deep.equal([2, ['b: gone']]);
    expect([list.serve(), list.serve(), list.serve()]).to.deep.equal([true, true, false]);
    expect([list.size, told]).to.deep.equal([0, ['b: gone', 'a', 'c']]);
  });

  it('rejects a wait whose signal is aborted, or has been, and keeps nothing of it', async () => {
    const list = new WaitList();
    expect(await rejectionOf(list.wait(AbortSignal.abort('before')))).to.equal('before');
    const later = new AbortController();
    const waits = [list.wait(undefined), list.wait(later.signal), list.wait(undefined)];
    later.abort('later');
    expect([await rejectionOf(waits[1]!), list.size]).to.deep.equal(['later', 2]);
    list.serveAll();
    expect([await waits[0], await waits[2], list.size]).to.deep.equal([undefined, undefined, 0]);
  });

  it('leaves what is being aborted to its signal', () => {
    const list = new WaitList();
    const gone = new AbortController();
    const told: string[] = [];
    // This listener is called before that of the list.
    gone.signal.addEventListener('abort', () => told.push(`served: ${list.serve()}`));
    list.add(
      gone.signal,
      () => told.push('a'),
      () => told.push('a is aborted'),
    );
    gone.abort();
    expect([told, list.size]).to.deep.equal([['served: false', 'a is aborted'], 0]);
  });
});

describe('drain()', () => {
  const { add } = WaitList.prototype;
  let lists: Set<WaitList>;
  let clock: VirtualClock;
  let kernel: Kernel;
  beforeEach(() => {
    lists = new Set();
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    WaitList.prototype.add = function (this: WaitList, ...given) {
      lists.add(this);
      add.apply(this, given);
    };
  });
  afterEach(() => {
    WaitList.prototype.add = add;
  });

  /** How many waits are kept after so many drains have been aborted. */
  async function keptAfter(drain: (signal: AbortSignal) => Promise<void>): Promise<number[]> {
    for (let i = 0; i < 10; i++) {
      const ended = new AbortController();
      const draining = rejectionOf(drain(ended.signal));
      ended.abort('late');
      expect(await draining).to.equal('late');
    }
    return Array.from(lists, ({ size }) => size);
  }

  it('of a workqueue and of a kernel keeps nothing of calls that were aborted', async () => {
    const turn = deferred();
    const { prihigh } = kernel.wq;
    new Kcont(prihigh, null, () => turn.promise, null).schedule();
    await clock.advance(0);
    expect(await keptAfter((signal) => prihigh.drain({ signal }))).to.deep.equal([0]);
    expect(await keptAfter((signal) => kernel.drain({ signal }))).to.deep.equal([0]);
    turn.resolve();
    await kernel.drain();
  });

  it('of a pipeline keeps nothing of calls that were aborted', async () => {
    const turn = deferred();
    const line = pipeline('line')
      .stage('wait', () => turn.promise)
      .start({ kernel });
    line.push(1);
    await clock.advance(0);
    expect(await keptAfter((signal) => line.drain({ signal }))).to.deep.equal([0]);
    turn.resolve();
    await line.close();
  });

  it('of a durable node keeps nothing of calls that were aborted', async () => {
    const turn = deferred();
    const node = await durable({ backend: memory(), kernel });
    node.define('wait', () => turn.promise);
    const one = node.kcont('one', 'wait', null);
    await one.schedule(0);
    await clock.advance(1);
    expect(await keptAfter((signal) => node.drain({ signal }))).to.deep.equal([0]);
    turn.resolve();
    await node.close();
  });
});
