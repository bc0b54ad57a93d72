import { expect } from 'chai';
import { Kcont, stopping } from '../../lib/index.ts';
import { retry } from '../../lib/retry/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { Lab, codeOf, deferred } from '../support/lab.ts';

describe('stopping()', () => {
  const ways: readonly [string, (kc: Kcont<string>) => unknown, boolean][] = [
    ['stop()', (kc) => kc.stop(), true],
    ['cancel()', (kc) => kc.cancel(), true],
    ['destroy()', (kc) => kc.destroy(), true],
    ['drainAsync()', (kc) => kc.drainAsync(() => undefined), true],
    ['ack()', (kc) => kc.ack(), false],
    ['reset()', (kc) => kc.reset(5), false],
    ['reset(), twice, queued', (kc) => kc.reset() && kc.reset(), false],
    ['schedule()', (kc) => kc.schedule(5), false],
    ['stop() after reset()', (kc) => kc.reset() && kc.stop(), true],
  ];
  for (const [name, way, asked] of ways) {
    it(`in its function says ${asked} after ${name}`, () => {
      const lab = new Lab();
      const seen: boolean[] = [];
      const kc = lab.sync('a', {
        body: (own) => {
          if (seen.length > 0) return;
          seen.push(stopping(), own.stopping);
          way(own);
          seen.push(stopping(), own.stopping, stopping(own));
        },
      });
      kc.schedule();
      lab.clock.tick(0);
      expect(seen).to.deep.equal([false, false, asked, asked, asked]);
      expect(kc.stopping).to.equal(false);
      lab.clock.tick(10);
      kc.destroy();
    });
  }

  it('of a continuation holds after an await, from anywhere, until its run settles', async () => {
    const lab = new Lab();
    const kc = lab.async('a');
    kc.schedule();
    lab.clock.tick(0);
    expect(stopping(kc)).to.equal(false);
    const halted = kc.halt();
    expect(stopping(kc)).to.equal(true);
    await lab.end(kc);
    await halted;
    expect([stopping(kc), kc.schedule()]).to.deep.equal([false, true]);
    lab.clock.tick(0);
    expect([kc.running, stopping(kc)]).to.deep.equal([true, false]);
    await lab.end(kc);
  });

  it('is false when nothing runs, whatever is stopped', () => {
    const lab = new Lab();
    const kc = lab.sync('a');
    kc.stop();
    kc.schedule(5);
    kc.stop();
    expect(kc.stopping).to.equal(false);
    kc.destroy();
    expect(stopping(kc)).to.equal(false);
  });

  it('sees the abort of a run, of a retry and of an item, in their own functions', async () => {
    const lab = new Lab();
    const seen: boolean[] = [];
    const abortOwn = (controller: AbortController): (() => void) => {
      return () => {
        seen.push(stopping());
        controller.abort();
        seen.push(stopping());
      };
    };
    const [a, b, c] = [new AbortController(), new AbortController(), new AbortController()];
    const { prilow } = lab.wq;
    const ended = Promise.allSettled([
      prilow.run(abortOwn(a), { signal: a.signal }),
      retry(abortOwn(b), { wq: prilow, signal: b.signal }),
      pipeline<number>('site')
        .stage('work', abortOwn(c))
        .start({ kernel: lab.kernel })
        .run(1, { signal: c.signal }),
    ]);
    await lab.clock.advance(0);
    await ended;
    expect(seen).to.deep.equal([false, true, false, true, false, true]);
  });

  it('of a signal says whether it is aborted', () => {
    const controller = new AbortController();
    expect(stopping(controller.signal)).to.equal(false);
    controller.abort();
    expect(stopping(controller.signal)).to.equal(true);
  });

  it('is refused where no function is on the stack, and for other values', async () => {
    const lab = new Lab();
    expect(codeOf(() => stopping())).to.equal('EINVAL');
    const codes: string[] = [];
    const gate = deferred();
    const kc = new Kcont(
      lab.wq.prihigh,
      null,
      async () => {
        codes.push(codeOf(() => stopping()));
        await gate.promise;
        codes.push(codeOf(() => stopping()));
      },
      null,
    );
    const after = lab.sync('b', {
      body: (own) => own.drainAsync(() => codes.push(codeOf(() => stopping()))),
    });
    kc.schedule();
    after.schedule();
    lab.clock.tick(0);
    gate.resolve();
    await lab.clock.advance(0);
    expect(codes).to.deep.equal(['none', 'EINVAL', 'EINVAL']);
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    for (const wrong of [null, 5, 'a', {}, { stopping: true }, proxy]) {
      expect(codeOf(() => stopping(wrong as never))).to.equal('EINVAL');
    }
  });
});
