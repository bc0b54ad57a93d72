import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { Deadline, createDeadline, deadline, release } from '../../lib/compat/abort-deadline.ts';
import { Kernel, VirtualClock } from '../../lib/index.ts';
import { runModule } from '../support/child.ts';
import { codeOf } from '../support/lab.ts';

/** Returns `name [code]` of the error that a call throws. */
function thrown(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return `${(error as Error).name} ${(error as { code?: string }).code}`;
  }
  return 'none';
}

describe('deadline', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let after: typeof deadline;
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    after = createDeadline(kernel);
  });

  it('is aborted after its delay, and not before', () => {
    const signal = after(500);
    clock.tick(499);
    expect(signal.aborted).to.equal(false);
    clock.tick(1);
    expect(signal.aborted).to.equal(true);
  });

  it('is an AbortSignal with the reason of AbortSignal.timeout', async () => {
    const signal = after(1);
    clock.tick(1);
    const theirs = AbortSignal.timeout(1);
    const hold = setTimeout(() => undefined, 1000);
    await once(theirs, 'abort');
    clearTimeout(hold);
    expect(signal).to.be.instanceOf(AbortSignal);
    const describeReason = ({ reason }: AbortSignal): unknown[] => {
      const { name, message, code } = reason as DOMException;
      return [reason instanceof DOMException, name, message, code];
    };
    expect(describeReason(signal)).to.deep.equal(describeReason(theirs));
  });

  it('calls its listeners and onabort, and aborts dependent signals', () => {
    const told: string[] = [];
    const signal = after(5);
    signal.addEventListener('abort', () => void told.push('listener'));
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the attribute is meant
    signal.onabort = () => void told.push('onabort');
    const following = AbortSignal.any([signal, new AbortController().signal]);
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the attribute is meant
    following.onabort = () => void told.push('following');
    clock.tick(5);
    expect(told.toSorted()).to.deep.equal(['following', 'listener', 'onabort']);
    expect(() => signal.throwIfAborted()).to.throw(DOMException, 'timeout');
  });

  it('is released by release(), once', () => {
    const signal = after(5);
    expect([release(signal), release(signal)]).to.deep.equal([true, false]);
    clock.tick(10);
    expect(signal.aborted).to.equal(false);
    expect(kernel.inspect().pending).to.equal(0);
  });

  it('is released at the end of a `using` block', () => {
    const held: AbortSignal[] = [];
    {
      using signal = after(5);
      held.push(signal);
    }
    clock.tick(10);
    expect(held[0]?.aborted).to.equal(false);
  });

  it('cannot be released when it has passed', () => {
    const signal = after(5);
    clock.tick(5);
    expect(release(signal)).to.equal(false);
  });

  it('does not release a later deadline that reuses its continuation', () => {
    const first = after(5);
    release(first);
    const second = after(5);
    expect(second).to.not.equal(first);
    expect(release(first)).to.equal(false);
    clock.tick(5);
    expect([first.aborted, second.aborted]).to.deep.equal([false, true]);
  });

  it('reuses pooled continuations', () => {
    for (let i = 0; i < 100; i++) release(after(5));
    for (let i = 0; i < 100; i++) {
      after(5);
      clock.tick(5);
    }
    expect(kernel.inspect().pending).to.equal(0);
    expect(kernel.wq.softclock.stats().entered).to.equal(100);
  });

  it('keeps a limited number of idle continuations', () => {
    const many = Array.from({ length: 5000 }, () => after(5));
    for (const signal of many) expect(release(signal)).to.equal(true);
    const again = Array.from({ length: 5000 }, () => after(5));
    clock.tick(5);
    expect(again.every(({ aborted }) => aborted)).to.equal(true);
    expect(many.some(({ aborted }) => aborted)).to.equal(false);
  });

  it('can be created by a listener of a deadline that passes', () => {
    const told: number[] = [];
    const again = (): void => {
      told.push(clock.now);
      if (told.length < 3) after(5).addEventListener('abort', again);
      else after(0).addEventListener('abort', () => void told.push(clock.now));
    };
    after(5).addEventListener('abort', again);
    clock.tick(100);
    expect(told).to.deep.equal([5, 10, 15, 15]);
  });

  it('passes in order of time, then of the calls', () => {
    const order: string[] = [];
    const add = (name: string, ms: number): void => {
      after(ms).addEventListener('abort', () => void order.push(name));
    };
    add('c', 6);
    add('a', 5);
    add('b', 5);
    clock.tick(6);
    expect(order).to.deep.equal(['a', 'b', 'c']);
  });

  it('accepts longer delays than AbortSignal.timeout, and fractions', () => {
    const signal = after(2 ** 40);
    const fraction = after(1.5);
    clock.tick(1);
    expect(fraction.aborted).to.equal(false);
    clock.tick(2 ** 40 - 2);
    expect([fraction.aborted, signal.aborted]).to.deep.equal([true, false]);
    clock.tick(1);
    expect(signal.aborted).to.equal(true);
  });

  it('throws what AbortSignal.timeout throws', () => {
    const wrong: unknown[] = [-1, NaN, Infinity, 'a', undefined, null, {}];
    expect(wrong.map((ms) => thrown(() => after(ms as number)))).to.deep.equal(
      wrong.map((ms) => thrown(() => AbortSignal.timeout(ms as number))),
    );
    try {
      after(-1);
    } catch (error) {
      expect((error as Error).stack).to.match(/^RangeError \[ERR_OUT_OF_RANGE\]: ms must be/);
    }
  });

  it('is refused by a closed kernel', async () => {
    const closing = kernel.close();
    await clock.advance(10_000);
    await closing;
    expect(codeOf(() => after(5))).to.equal('ESHUTDOWN');
  });

  it('refuses an invalid kernel, workqueue or option', () => {
    const other = new Kernel({ clock });
    expect(
      [
        () => createDeadline({} as Kernel),
        () => createDeadline(kernel, { wq: other.wq.prilow }),
        () => createDeadline(kernel, { wq: null as unknown as typeof other.wq.prilow }),
        () => createDeadline(kernel, { ref: 1 as unknown as boolean }),
        () => new Deadline({} as Kernel),
      ].map(codeOf),
    ).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL', 'EINVAL']);
  });

  it('calls its listeners on the given workqueue, without AsyncLocalStorage stores', () => {
    const store = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const low = createDeadline(kernel, { wq: kernel.wq.prilow });
    store.run('request', () => {
      low(5).addEventListener('abort', () => void seen.push(store.getStore()));
    });
    clock.tick(5);
    expect(seen).to.deep.equal([undefined]);
    expect(kernel.wq.prilow.stats().entered).to.equal(1);
  });

  it('aborts a fetch', async () => {
    const server = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const error: unknown = await fetch(`http://127.0.0.1:${port}/`, {
      signal: deadline(20),
    }).catch((reason: unknown) => reason);
    server.closeAllConnections();
    server.close();
    expect(error).to.have.property('name', 'TimeoutError');
  });

  it('does not keep the process alive by default', async () => {
    const moduleUrl = JSON.stringify(
      new URL('../../lib/compat/abort-deadline.js', import.meta.url).href,
    );
    const { code, out } = await runModule(`
      const { createDeadline, deadline } = await import(${moduleUrl});
      deadline(60_000).onabort = () => console.log('never');
      createDeadline(kcont.kernel, { ref: true })(20).onabort = () => console.log('kept');
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['kept'] });
  });
});

describe('a Deadline', () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let patience: Deadline;
  beforeEach(() => {
    clock = new VirtualClock();
    kernel = new Kernel({ clock });
    patience = new Deadline(kernel);
  });

  it('keeps its signal until it passes', () => {
    const { signal } = patience;
    for (let i = 0; i < 10; i++) {
      expect(patience.arm(5)).to.equal(signal);
      clock.tick(4);
      expect(patience.disarm()).to.equal(true);
    }
    expect(signal.aborted).to.equal(false);
  });

  it('has a new signal after it has passed', () => {
    const first = patience.arm(5);
    clock.tick(5);
    expect(first.reason).to.have.property('name', 'TimeoutError');
    expect(patience.signal).to.equal(first);
    const second = patience.arm(5);
    expect([second === first, second.aborted, first.aborted]).to.deep.equal([false, false, true]);
    clock.tick(5);
    expect(second.aborted).to.equal(true);
  });

  it('restarts when it is armed again or touched', () => {
    const signal = patience.arm(5);
    clock.tick(4);
    patience.arm(10);
    clock.tick(9);
    expect(patience.touch()).to.equal(true);
    clock.tick(9);
    expect([signal.aborted, patience.armed]).to.deep.equal([false, true]);
    clock.tick(1);
    expect([signal.aborted, patience.armed, patience.touch()]).to.deep.equal([true, false, false]);
  });

  it('returns from disarm() whether it was armed', () => {
    expect(patience.disarm()).to.equal(false);
    patience.arm(0);
    expect([patience.armed, patience.disarm(), patience.armed]).to.deep.equal([true, true, false]);
    clock.tick(1);
    expect(patience.signal.aborted).to.equal(false);
  });

  it('can be armed by a listener of its own signal', () => {
    const first = patience.arm(5);
    first.addEventListener('abort', () => void patience.arm(5));
    clock.tick(5);
    expect([patience.armed, patience.signal === first]).to.deep.equal([true, false]);
    clock.tick(5);
    expect(patience.signal.aborted).to.equal(true);
  });

  it('cannot be armed when it has been disposed', () => {
    {
      using held = patience;
      held.arm(5);
    }
    clock.tick(5);
    expect(patience.signal.aborted).to.equal(false);
    expect(codeOf(() => patience.arm(5))).to.equal('EINVAL');
  });

  it('throws what AbortSignal.timeout throws, and changes nothing', () => {
    const signal = patience.arm(5);
    expect(thrown(() => patience.arm(-1))).to.equal('RangeError ERR_OUT_OF_RANGE');
    clock.tick(5);
    expect(signal.aborted).to.equal(true);
  });

  it('costs less than AbortSignal.timeout', function () {
    this.timeout(20_000);
    const real = new Deadline();
    const cost = (make: () => void): number => {
      const begin = performance.now();
      for (let i = 0; i < 5000; i++) make();
      return performance.now() - begin;
    };
    const rounds = Array.from({ length: 8 }, () => ({
      ours: cost(() => {
        real.arm(60_000);
        real.disarm();
      }),
      theirs: cost(() => void AbortSignal.timeout(60_000)),
    }));
    const best = (of: 'ours' | 'theirs'): number => Math.min(...rounds.map((round) => round[of]));
    expect(best('ours')).to.be.lessThan(best('theirs'));
  });
});
