import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Kernel, VirtualClock } from '../../lib/index.ts';
import { list, observe } from '../support/observe.ts';
import { runModule } from '../support/child.ts';

const observing = new URL(`../../lib/observe/index${import.meta.url.slice(-3)}`, import.meta.url)
  .href;

describe('observe({ signal })', () => {
  it('prints the reports of the kernels that have something in hand', async () => {
    const kernel = new Kernel({ clock: new VirtualClock() });
    list(kernel);
    new Kcont(kernel.wq.prilow, null, () => undefined, 0, { name: 'forgotten' }).schedule(1000);
    const text = await new Promise<string>((resolve) => {
      using _ = observe({ signal: 'SIGUSR2', write: resolve });
      process.emit('SIGUSR2');
    });
    expect(text).to.include(`kcont, process ${process.pid}: the process-wide kernel\nrunning: `);
    expect(text).to.include('  forgotten on prilow: due in 1 s, set 0 ms ago\n');
    expect(process.listenerCount('SIGUSR2')).to.equal(0);
  });

  it('installs no handler without a signal, and removes its own once', () => {
    const before = process.listenerCount('SIGUSR2');
    observe().stop();
    expect(process.listenerCount('SIGUSR2')).to.equal(before);
    const observation = observe({ signal: 'SIGUSR2' });
    expect(process.listenerCount('SIGUSR2')).to.equal(before + 1);
    observation.stop();
    observation.stop();
    expect(process.listenerCount('SIGUSR2')).to.equal(before);
  });

  it('writes to the standard error stream, and does not keep the process alive', async () => {
    const { code, out, err } = await runModule(`
      import { observe } from ${JSON.stringify(observing)};
      observe({ signal: 'SIGUSR2' });
      new kcont.Kcont(kcont.wq.softclock, null, function tick(_, kc) {
        console.log('ended');
      }, 0).schedule(100);
      process.kill(process.pid, 'SIGUSR2');
    `);
    expect([code, out]).to.deep.equal([0, ['ended']]);
    expect(err).to.match(/pending: 1\n {2}tick on softclock: due in \d+ ms, set \d+ ms ago\n/);
    expect(err).to.match(/keeps the process alive: 1\n {2}timer tick on softclock: due/);
  });
});
