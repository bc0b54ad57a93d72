// What keeps the process alive: programs that block, with Node's own timers and with kcont.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect } from 'chai';
import { Kcont, Kernel } from '../../lib/index.ts';
import { IMPLEMENTATIONS, faults, order, play, type Item } from '../support/alive.ts';
import { runModule } from '../support/child.ts';

const plain = { ref: false, blockMs: 0, again: 0, arms: [], toggles: [], pulses: false };
const end: Item = { ...plain, id: 'end', ms: 150, ref: true };

/** Each program, and the items that run in it, in the order of their first runs. */
const programs: Record<string, readonly [program: Item[], ...ran: string[]]> = {
  'one that works for longer than its period': [
    [{ ...plain, id: 'a', ms: 10, blockMs: 15, again: Infinity }, end],
    'a',
    'end',
  ],
  'two of them': [
    [
      { ...plain, id: 'a', ms: 10, blockMs: 15, again: Infinity },
      { ...plain, id: 'b', ms: 30, blockMs: 35, again: Infinity },
      end,
    ],
    'a',
    'b',
    'end',
  ],
  'a chain of jobs': [[{ ...plain, id: 'job', ms: 0, again: Infinity }, end], 'job', 'end'],
  'a chain of jobs that work for longer than any budget': [
    [{ ...plain, id: 'job', ms: 0, blockMs: 5, again: Infinity }, end],
    'job',
    'end',
  ],
  'nothing else': [[{ ...plain, id: 'a', ms: 60, again: Infinity }]],
  'a chain that is alone after its first run': [
    [
      {
        ...plain,
        id: 'a',
        ms: 1,
        ref: true,
        arms: [{ ...plain, id: 'b', ms: 40, blockMs: 50, again: Infinity }],
      },
    ],
    'a',
  ],
  'one that arms a referenced timer and stops it each time': [
    [{ ...plain, id: 'a', ms: 10, blockMs: 15, again: Infinity, pulses: true }, end],
    'a',
    'end',
  ],
  'one that is referenced before it is due': [
    [
      { ...plain, id: 'a', ms: 10, ref: true, toggles: [{ id: 'b', ref: true }] },
      { ...plain, id: 'b', ms: 120 },
    ],
    'a',
    'b',
  ],
  'one that is unreferenced before it is due': [
    [
      { ...plain, id: 'a', ms: 10, ref: true, toggles: [{ id: 'b', ref: false }] },
      { ...plain, id: 'b', ms: 5000, ref: true },
    ],
    'a',
  ],
  'a referenced chain beside it': [
    [
      { ...plain, id: 'a', ms: 10, blockMs: 12, again: Infinity },
      { ...plain, id: 'b', ms: 80, ref: true, again: 2, blockMs: 10 },
    ],
    'a',
    'b',
  ],
};

describe('unreferenced work does not keep the process alive:', function () {
  this.timeout(90_000);

  for (const [title, [program, ...ran]] of Object.entries(programs)) {
    it(`${title}, with Node, kcont and kcont/timers alike`, async () => {
      const traces = await Promise.all(IMPLEMENTATIONS.map((by) => play(program, by)));
      for (const trace of traces) {
        expect(faults(trace)).to.deep.equal([]);
        expect(order(trace)).to.deep.equal(ran);
      }
    });
  }

  it('a referenced handle that code outside a pass schedules and stops each time', async () => {
    const { out } = await runModule(`
      const { Kcont, wq } = kcont;
      const kc = new Kcont(wq.softclock, null, () => console.log('never'), null);
      setInterval(() => {
        kc.schedule(5000);
        kc.stop();
        const untilMs = performance.now() + 4;
        while (performance.now() < untilMs);
      }, 2).unref();
      setTimeout(() => console.log('end'), 50);
    `);
    expect(out).to.deep.equal(['end']);
  });

  it('a continuation that waits for a lock', async () => {
    const { out } = await runModule(`
      const { Kcont, Mutex, wq } = kcont;
      const lock = new Mutex();
      lock.tryEnter();
      new Kcont(wq.prilow, lock, () => console.log('never'), null, { ref: false }).schedule();
      const granted = new Kcont(wq.prilow, lock, () => console.log('granted'), null, { ref: false });
      granted.schedule();
      setTimeout(() => console.log('end'), 30);
    `);
    expect(out).to.deep.equal(['end']);
  });

  it('a continuation that waits for a lock, until it is referenced', async () => {
    const { out } = await runModule(`
      const { Kcont, Mutex, wq } = kcont;
      const lock = new Mutex();
      lock.tryEnter();
      const kc = new Kcont(wq.prilow, lock, () => console.log('granted'), null, { ref: false });
      kc.schedule();
      setTimeout(() => kc.ref(), 10);
      setTimeout(() => lock.exit(), 60).unref();
    `);
    expect(out).to.deep.equal(['granted']);
  });

  it('a continuation that is scheduled at beforeExit', async () => {
    const { out } = await runModule(`
      const { Kcont, wq } = kcont;
      const kc = new Kcont(wq.softclock, null, () => console.log('never'), null, { ref: false });
      process.on('beforeExit', () => { console.log('beforeExit'); kc.reset(1); });
    `);
    expect(out).to.deep.equal(['beforeExit']);
  });

  it('an unreferenced one that is scheduled at beforeExit, beside a referenced one', async () => {
    const { out } = await runModule(`
      const { Kcont, wq } = kcont;
      process.on('beforeExit', () => {
        console.log('beforeExit');
        new Kcont(wq.softclock, null, () => console.log('end'), null).schedule(40);
        const kc = new Kcont(wq.softclock, null, () => console.log('run'), null);
        kc.schedule(1);
        kc.unref();
        process.removeAllListeners('beforeExit');
      });
    `);
    expect(out).to.deep.equal(['beforeExit', 'run', 'end']);
  });
});

describe('unreferenced work is not late if nothing else happens:', () => {
  /** The shortest time of several, in ms, so that other load on the machine does not count. */
  async function least(delayMs: number): Promise<number> {
    const kernel = new Kernel();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const lateMs: number[] = [];
    for (let i = 0; i < 20; i++) {
      // Started in a turn that ends with nothing left to do, as in an idle server.
      await new Promise((resolve) => void setImmediate(resolve));
      const fromMs = performance.now();
      await new Promise<void>((resolve) => {
        const kc = new Kcont(kernel.wq.softclock, null, () => resolve(), null, { ref: false });
        kc.schedule(delayMs);
      });
      lateMs.push(performance.now() - fromMs - delayMs);
    }
    server.close();
    return Math.min(...lateMs);
  }

  it('a job', async () => {
    expect(await least(0)).to.be.below(2);
  });

  it('a timer', async () => {
    expect(await least(3)).to.be.below(2);
  });

  it('a chain of jobs that each end a pass', async () => {
    const kernel = new Kernel({ budgetMs: 0.001 });
    let hops = 0;
    const began = performance.now();
    await new Promise<void>((resolve) => {
      const hop = (_: null, kc: Kcont<null>): void => {
        if (++hops === 20) resolve();
        else setImmediate(() => kc.reset());
      };
      new Kcont(kernel.wq.softclock, null, hop, null, { ref: false }).schedule();
    });
    expect(performance.now() - began).to.be.below(2000);
  });
});
