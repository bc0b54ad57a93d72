import { expect } from 'chai';
import sinon from 'sinon';
import { HostClock } from '../../lib/time/host-clock.ts';
import { Kcont, Kernel, SpinLock } from '../../lib/index.ts';
import { hostClock } from '../../lib/time/host-clock.ts';
import { runModule } from '../support/child.ts';

describe('the host clock', function () {
  this.timeout(60_000);

  it('is that of performance.now()', () => {
    // A separate clock: the process-wide one is ahead after other specs have faked time.
    const kernel = new Kernel({ clock: new HostClock() });
    const before = performance.now();
    const now = kernel.now();
    expect(now).to.be.within(before, performance.now());
  });

  describe('under fake timers', () => {
    it('reports that no turns drive the kernel', () => {
      const fake = sinon.useFakeTimers();
      try {
        expect(hostClock._turns).to.equal(false);
      } finally {
        fake.restore();
      }
    });

    it('obeys fakes installed after the kernel was created', () => {
      const kernel = new Kernel();
      const ran: string[] = [];
      const make = (name: string, delayMs: number): boolean =>
        new Kcont(kernel.wq.softclock, null, () => void ran.push(name), null).schedule(delayMs);
      const fake = sinon.useFakeTimers();
      try {
        make('soon', 0);
        make('b', 2000);
        make('a', 1000);
        fake.tick(999);
        expect(ran).to.deep.equal(['soon']);
        fake.tick(2);
        expect(ran).to.deep.equal(['soon', 'a']);
        fake.tick(10_000);
        expect(ran).to.deep.equal(['soon', 'a', 'b']);
      } finally {
        fake.restore();
      }
    });

    it('has one listener of the process for any number of clocks, and none afterwards', async () => {
      const count = (): number => process.listenerCount('beforeExit');
      // Lets clocks of other specs notice that their fakes are gone.
      while (count() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const before = count();
      const fake = sinon.useFakeTimers();
      const kcs = Array.from({ length: 30 }, () => {
        const { wq } = new Kernel({ clock: new HostClock() });
        return new Kcont(wq.softclock, null, () => {}, null, { ref: false });
      });
      try {
        for (const kc of kcs) kc.schedule(5);
        expect(count()).to.equal(before + 1);
      } finally {
        fake.restore();
      }
      for (const kc of kcs) kc.schedule(1);
      expect(count()).to.equal(before);
      for (const kc of kcs) kc.destroy();
    });

    it('has none while nothing is requested from the fakes, for a clock that is not read again', async () => {
      const { wq } = new Kernel({ clock: new HostClock() });
      const kc = new Kcont(wq.softclock, null, () => {}, null);
      const count = (): number => process.listenerCount('beforeExit');
      while (count() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const later = setTimeout;
      const fake = sinon.useFakeTimers();
      try {
        kc.schedule(5);
        expect(count()).to.equal(1);
        fake.tick(6);
        expect(kc.invoking || kc.pending).to.equal(false);
        while (count() > 0) await new Promise((resolve) => later(resolve, 5));
        kc.schedule(5);
        expect(count()).to.equal(1);
        kc.stop();
      } finally {
        fake.restore();
      }
      while (count() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    });

    it('continues when they are removed with requests pending', async () => {
      const kernel = new Kernel();
      const ran: string[] = [];
      const first = new Kcont(kernel.wq.softclock, null, () => void ran.push('first'), null);
      const fake = sinon.useFakeTimers();
      first.schedule(5);
      first.schedule(0);
      fake.restore();
      await new Promise<void>((resolve) => {
        new Kcont(kernel.wq.prilow, null, () => resolve(), null).schedule(20);
      });
      expect(ran).to.deep.equal(['first']);
    });

    it('arms timers again that a fake timer would never have fired', async () => {
      const kernel = new Kernel();
      const fake = sinon.useFakeTimers();
      const done = new Promise<void>((resolve) => {
        new Kcont(kernel.wq.prilow, null, () => resolve(), null).schedule(30);
      });
      fake.tick(1);
      fake.restore();
      new Kcont(kernel.wq.prilow, null, () => undefined, null).schedule();
      await done;
    });
  });

  describe('the process', () => {
    it('stays alive for what is scheduled, and only for that', async () => {
      const { code, out } = await runModule(`
        const { Kcont, wq } = kcont;
        const say = (name) => new Kcont(wq.softclock, null, () => console.log(name), null);
        const held = say('stopped last'); held.schedule(1e9);
        const stopped = say('stopped too'); stopped.schedule(1e9); stopped.stop();
        const unref = new Kcont(wq.softclock, null, () => console.log('never'), null, { ref: false });
        unref.schedule(1e9);
        new Kcont(wq.softclock, null, () => { held.stop(); console.log('timer'); }, null).schedule(30);
        const late = say('unref later'); late.schedule(1e9); late.unref();
        const first = kcont.kernel.inspect().pending;
        new Kcont(wq.prilow, null, () => { console.log('job', first); }, null).schedule();
      `);
      expect(out).to.deep.equal(['job 4', 'timer']);
      expect(code).to.equal(0);
    });

    it('exits when everything is stopped', async () => {
      const { code, out } = await runModule(`
        const { Kcont, wq } = kcont;
        const kc = new Kcont(wq.softclock, null, () => {}, null);
        kc.schedule(1e9);
        setTimeout(() => { kc.stop(); console.log('stopped'); }, 20);
        const other = new Kcont(wq.softclock, null, () => {}, null).unref();
        other.schedule(1e9);
      `);
      expect([code, out]).to.deep.equal([0, ['stopped']]);
    });

    it('stays alive while a continuation is ref()ed again', async () => {
      const { out } = await runModule(`
        const { Kcont, wq } = kcont;
        const kc = new Kcont(wq.softclock, null, () => console.log('ran'), null, { ref: false });
        kc.schedule(50);
        console.log(kc.hasRef(), kc.ref().hasRef(), kc.ref() === kc, kc.unref().unref().ref().hasRef());
      `);
      expect(out).to.deep.equal(['false true true true', 'ran']);
    });

    it('stays alive from when a continuation with an armed timer is ref()ed', async () => {
      const { out } = await runModule(`
        const { Kcont, wq } = kcont;
        const kc = new Kcont(wq.softclock, null, () => console.log('ran'), null, { ref: false });
        kc.schedule(80);
        setTimeout(() => setImmediate(() => kc.ref()), 20);
      `);
      expect(out).to.deep.equal(['ran']);
    });

    it('stays alive for a continuation that waits for a lock', async () => {
      const { out } = await runModule(`
        const { Kcont, Mutex, wq } = kcont;
        const lock = new Mutex(); lock.tryEnter();
        new Kcont(wq.prilow, lock, () => console.log('granted'), null).schedule();
        setTimeout(() => lock.exit(), 50).unref();
      `);
      expect(out).to.deep.equal(['granted']);
    });
  });

  it('has no timer armed once the kernel is closed', async () => {
    const { out } = await runModule(`
      const { Kcont, kernel, wq } = kcont;
      new Kcont(wq.softclock, null, () => {}, null).schedule(1e6);
      new Kcont(wq.softclock, null, () => {}, null).schedule(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await kernel.close();
      const left = process.getActiveResourcesInfo();
      console.log(left.includes('Timeout'), left.includes('Immediate'));
    `);
    expect(out).to.deep.equal(['false false']);
  });

  describe('on the host clock', () => {
    it('an error that no handler takes is an uncaught exception, and others run on', async () => {
      const { code, out } = await runModule(`
        const { Kcont, wq } = kcont;
        process.on('uncaughtException', (error, origin) => console.log(error.message, origin));
        new Kcont(wq.softclock, null, () => { throw new Error('sync') }, null).schedule();
        new Kcont(wq.softclock, null, () => console.log('next'), null).schedule();
        new Kcont(wq.prilow, null, async () => { throw new Error('async') }, null).schedule();
        new Kcont(wq.prilow, null, () => console.log('last'), null).schedule(300);
      `);
      expect(out).to.deep.equal([
        'sync uncaughtException',
        'next',
        'async uncaughtException',
        'last',
      ]);
      expect(code).to.equal(0);
    });

    it('an uncaught error ends the process, as from a timer', async () => {
      const { code, err } = await runModule(`
        new kcont.Kcont(kcont.wq.softclock, null, () => { throw new Error('fatal') }, null).schedule(1);
      `);
      expect(code).to.equal(1);
      expect(err).to.contain('Error: fatal');
    });
  });

  it('a SpinLock held across a turn is reported', async () => {
    const { out } = await runModule(`
      const { SpinLock } = kcont;
      process.on('uncaughtException', (error) => console.log(error.code, error.message.slice(0, 25)));
      const [good, bad, worse] = [new SpinLock(), new SpinLock(), new SpinLock()];
      good.tryEnter(); good.exit();
      await good.enter(); good.exit();
      bad.tryEnter();
      setImmediate(() => setImmediate(() => { bad.tryEnter(); worse.tryEnter(); worse.exit(); worse.tryEnter(); }));
    `);
    expect(out).to.deep.equal([
      'EPERM 1 SpinLock(s) held across',
      'EPERM 1 SpinLock(s) held across',
    ]);
  });

  it('a SpinLock taken by a dispatch needs no check at the end of the turn', async () => {
    const kernel = new Kernel();
    const lock = new SpinLock();
    const ran = await kernel.wq.prilow.run(() => lock.held, { lock });
    expect([ran, lock.held]).to.deep.equal([true, false]);
    lock.tryEnter();
    lock.exit();
    await kernel.wq.prilow.run(() => undefined);
  });

  it('a timer of more than 2^31 ms does not fire early', async () => {
    const kernel = new Kernel();
    let ran = 0;
    const kc = new Kcont(kernel.wq.softclock, null, () => void ran++, null);
    kc.schedule(2 ** 31 + 5);
    const far = new Kcont(kernel.wq.softclock, null, () => void ran++, null);
    far.schedule(2 ** 53 - 1);
    await kernel.wq.prilow.run(() => undefined, { delayMs: 20 });
    expect(ran).to.equal(0);
    expect(kc.deadline - kernel.now()).to.be.within(2 ** 31 - 1000, 2 ** 31 + 6);
    expect([kc.touch(), far.touch(), kc.pending, far.pending]).to.deep.equal([
      true,
      true,
      true,
      true,
    ]);
    kc.destroy();
    far.destroy();
  });
});
