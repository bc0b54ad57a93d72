import { expect } from 'chai';
import { Kcont, Kernel, VirtualClock, type Workqueue } from '../../lib/index.ts';
import { makeRunnableNext, scheduleFrom } from '../../lib/core/schedule.ts';
import { burn } from '../support/busy.ts';
import { runModule } from '../support/child.ts';

describe('a pass', function () {
  this.timeout(60_000);

  const kernel = new Kernel({ budgetMs: 200 });
  const one = kernel.acquire(50, { maxActive: 1 });

  /** Schedules functions that run one by one, and records when the next immediate runs. */
  const run = async (functions: Record<string, () => void>): Promise<string[]> => {
    const ran: string[] = [];
    for (const [name, func] of Object.entries(functions)) {
      new Kcont(
        one,
        null,
        async () => {
          ran.push(name);
          func();
          await Promise.resolve();
        },
        null,
      ).schedule();
    }
    setImmediate(() => void ran.push('next immediate'));
    await one.drain();
    await new Promise((resolve) => void setImmediate(resolve));
    return ran;
  };

  it('continues with what its own asynchronous functions have made runnable', async () => {
    const nothing = (): void => undefined;
    expect(await run({ a: nothing, b: nothing, c: nothing })).to.deep.equal([
      'a',
      'b',
      'c',
      'next immediate',
    ]);
  });

  it('enters expired timers after a stall by deadline, then by sequence', async () => {
    const ran: string[] = [];
    const { softclock } = kernel.wq;
    for (const [name, delayMs] of Object.entries({ c: 9, b: 5, d: 9, a: 2 })) {
      new Kcont(softclock, null, () => void ran.push(name), null).schedule(delayMs);
    }
    burn(30);
    await kernel.wq.prilow.run(() => undefined, { delayMs: 1 });
    expect(ran).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('keeps strict priorities after a stall longer than any patience: there was no starvation', async () => {
    const ran: string[] = [];
    const { prilow, prihigh, softnet } = kernel.wq;
    const make = (queue: Workqueue, delayMs: number): boolean =>
      new Kcont(queue, null, () => void ran.push(queue.name), null).schedule(delayMs);
    make(prilow, 2);
    make(prihigh, 3);
    make(softnet, 4);
    burn(prilow.patienceMs + 50);
    await prilow.run(() => undefined, { delayMs: 1 });
    expect(ran).to.deep.equal(['softnet', 'prihigh', 'prilow']);
  });

  it('leaves what arrives after its budget is spent to the next pass', async () => {
    const nothing = (): void => undefined;
    expect(await run({ a: () => burn(250), b: nothing })).to.deep.equal([
      'a',
      'next immediate',
      'b',
    ]);
  });

  it('raises errors of functions entered from microtasks as uncaught exceptions, and continues', async () => {
    const { out } = await runModule(`
      process.on('uncaughtException', (error) => console.log(error.message));
      const { Kcont, Kernel } = kcont;
      const one = new Kernel({ budgetMs: 5000 }).acquire(50, { maxActive: 1 });
      const run = (func) => new Kcont(one, null, func, null).schedule();
      run(async () => { console.log('a'); await null; });
      run(() => { throw new Error('thrown'); });
      run(() => console.log('c'));
    `);
    expect(out).to.deep.equal(['a', 'thrown', 'c']);
  });
});

describe('a job for the next pass', function () {
  this.timeout(60_000);

  it('runs after the I/O that arrives meanwhile, even if created within a pass', async () => {
    const kernel = new Kernel({ budgetMs: 5000 });
    const ran: string[] = [];
    const next = new Kcont(kernel.wq.softnet, null, () => void ran.push('next'), null);
    const late = new Kcont(kernel.wq.softclock, null, () => void ran.push('this pass'), null);
    await kernel.wq.prihigh.run(() => {
      makeRunnableNext(next);
      late.schedule();
      setImmediate(() => void ran.push('next check phase'));
    });
    expect([next.invoking, kernel.inspect().queued]).to.deep.equal([true, 1]);
    await kernel.drain();
    expect(ran).to.deep.equal(['this pass', 'next check phase', 'next']);
    await kernel.close();
  });

  it('is withdrawn by stop, and replaces a timer', async () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    let ran = 0;
    const kc = new Kcont(wq.softnet, null, () => void ran++, null);
    makeRunnableNext(kc);
    expect([kc.stop(), kc.busy]).to.deep.equal([false, false]);
    clock.tick(1);
    kc.schedule(10);
    makeRunnableNext(kc);
    clock.tick(0);
    expect([ran, kc.pending]).to.deep.equal([1, false]);
  });

  it('runs if the kernel closes without a grace period', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const ran: string[] = [];
    makeRunnableNext(new Kcont(kernel.wq.softnet, null, (name) => void ran.push(name), 'late'));
    const closing = kernel.close({ graceMs: 0 });
    await clock.advance(0);
    expect([(await closing).unfinished, ran]).to.deep.equal([[], ['late']]);
  });

  it('lets promises settle before it while virtual time advances', async () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const ran: string[] = [];
    const hop = (hops: number, kc: Kcont<number>): void => {
      ran.push(`hop ${hops}`);
      void Promise.resolve().then(() => ran.push(`settled ${hops}`));
      if (ran.length < 4) makeRunnableNext(kc);
    };
    new Kcont(wq.softnet, null, hop, 1).schedule(5);
    await clock.advance(5);
    expect(ran).to.deep.equal(['hop 1', 'settled 1', 'hop 1', 'settled 1', 'hop 1', 'settled 1']);
    ran.length = 0;
    new Kcont(wq.softnet, null, hop, 2).schedule(5);
    clock.tick(5);
    expect(ran).to.deep.equal(['hop 2', 'hop 2', 'hop 2', 'hop 2']);
  });
});

describe('a delay that counts from an earlier reading of the clock', () => {
  it('ends at that time plus the delay, or immediately if that has passed', () => {
    const clock = new VirtualClock();
    const { wq } = new Kernel({ clock });
    const ran: string[] = [];
    const make = (name: string): Kcont<null> =>
      new Kcont(wq.softclock, null, () => void ran.push(`${name} ${clock.now}`), null);
    clock.tick(10);
    expect(scheduleFrom(make('soon'), 4, 10)).to.equal(0);
    expect(scheduleFrom(make('missed'), 4, 2)).to.equal(0);
    expect(scheduleFrom(make('bad'), 4, -1)).to.equal(22);
    clock.tick(20);
    expect(ran).to.deep.equal(['missed 10', 'soon 14']);
  });
});
