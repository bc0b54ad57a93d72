import { expect } from 'chai';
import { AsyncEvent, type AsyncEventOptions } from '../../lib/sync.ts';
import { Lab, rejectionOf, settled } from '../support/lab.ts';

describe('AsyncEvent', () => {
  const { ran } = new Lab();
  beforeEach(() => {
    ran.length = 0;
  });

  /** Code that waits. */
  function wait(event: AsyncEvent, name: string, signal?: AbortSignal): void {
    event.wait(signal === undefined ? undefined : { signal }).then(
      () => ran.push(name),
      (error: unknown) => ran.push(`${name}: ${String(error)}`),
    );
  }

  /** An event with three waiters. */
  async function awaited(options?: AsyncEventOptions): Promise<AsyncEvent> {
    const event = new AsyncEvent(options);
    for (const name of ['a', 'b', 'c']) wait(event, name);
    await settled();
    expect([ran, event.waiting, event.isSet]).to.deep.equal([[], 3, false]);
    return event;
  }

  it('ends all waits when it is set, in their order, and those that follow', async () => {
    const event = await awaited();
    event.set();
    event.set();
    expect([event.isSet, event.waiting]).to.deep.equal([true, 0]);
    wait(event, 'd');
    await settled();
    expect(ran).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('makes code wait again after reset; waits that have been ended stay ended', async () => {
    const event = await awaited();
    event.set();
    event.reset();
    expect(event.isSet).to.equal(false);
    wait(event, 'd');
    await settled();
    expect(ran).to.deep.equal(['a', 'b', 'c']);
    event.set();
    await settled();
    expect(ran).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('may be set from the start', async () => {
    const event = new AsyncEvent({ set: true });
    expect(event.isSet).to.equal(true);
    await event.wait();
    expect(event.isSet).to.equal(true);
  });

  describe('with autoReset', () => {
    it('ends one wait each time it is set', async () => {
      const event = await awaited({ autoReset: true });
      event.set();
      expect([event.isSet, event.waiting]).to.deep.equal([false, 2]);
      event.set();
      await settled();
      expect(ran).to.deep.equal(['a', 'b']);
    });

    it('stays set for one wait if nobody waits, however often it was set', async () => {
      const event = new AsyncEvent({ autoReset: true });
      event.set();
      event.set();
      expect(event.isSet).to.equal(true);
      wait(event, 'a');
      wait(event, 'b');
      expect(event.isSet).to.equal(false);
      await settled();
      expect([ran, event.waiting]).to.deep.equal([['a'], 1]);
      event.set();
      await settled();
      expect(ran).to.deep.equal(['a', 'b']);
      event.set();
      event.reset();
      expect(event.isSet).to.equal(false);
    });

    it('gives it to the next one if the signal of the first is aborted', async () => {
      const event = new AsyncEvent({ autoReset: true });
      const abort = new AbortController();
      abort.signal.addEventListener('abort', () => event.set());
      wait(event, 'a', abort.signal);
      wait(event, 'b');
      abort.abort(new Error('aborted'));
      await settled();
      expect(ran.toSorted()).to.deep.equal(['a: Error: aborted', 'b']);
      expect([event.isSet, event.waiting]).to.deep.equal([false, 0]);
    });

    it('stays set if the signal of the only one was aborted before', async () => {
      const event = new AsyncEvent({ autoReset: true });
      const abort = new AbortController();
      abort.signal.addEventListener('abort', () => event.set());
      wait(event, 'a', abort.signal);
      abort.abort(new Error('aborted'));
      await settled();
      expect([ran, event.isSet]).to.deep.equal([['a: Error: aborted'], true]);
    });
  });

  describe('with a signal', () => {
    it('that is aborted ends the wait, with the reason', async () => {
      const event = new AsyncEvent();
      const abort = new AbortController();
      wait(event, 'a', abort.signal);
      wait(event, 'b');
      abort.abort(new Error('aborted'));
      event.set();
      await settled();
      expect(ran).to.deep.equal(['a: Error: aborted', 'b']);
    });

    it('that is aborted after it was set changes nothing', async () => {
      const event = new AsyncEvent();
      const abort = new AbortController();
      wait(event, 'a', abort.signal);
      event.set();
      abort.abort();
      await settled();
      expect(ran).to.deep.equal(['a']);
    });

    it('that is aborted already rejects, even if it is set, and takes nothing', async () => {
      const event = new AsyncEvent({ set: true, autoReset: true });
      const signal = AbortSignal.abort(new Error('before'));
      expect(await rejectionOf(event.wait({ signal }))).to.equal('Error: before');
      expect(event.isSet).to.equal(true);
    });
  });
});
