import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, Kernel, Mutex, type Workqueue } from '../../lib/index.ts';
import { close } from '../../lib/core/shutdown.ts';
import { Lab, deferred, rejectionOf, settled, soak } from '../support/lab.ts';

describe('Workqueue.yield()', () => {
  for (const time of ['virtual', 'host'] as const) {
    it(`lets what is more urgent or came before go first, and comes back before the rest: ${time} time`, async () => {
      const lab = new Lab();
      const kernel = time === 'virtual' ? lab.kernel : new Kernel();
      const { prihigh, primedhigh, prilow, softnet } = kernel.wq;
      const ran: string[] = [];
      const job = (wq: Workqueue, name: string): void => {
        new Kcont(wq, null, () => void ran.push(name), null).schedule();
      };
      const yielding = new Kcont(
        primedhigh,
        null,
        async () => {
          ran.push('begins');
          job(prilow, 'lower');
          job(primedhigh, 'before');
          job(prihigh, 'higher');
          job(softnet, 'soft');
          const back = primedhigh.yield();
          job(primedhigh, 'after');
          await back;
          ran.push('goes on');
          await primedhigh.yield();
          ran.push('ends');
        },
        null,
      );
      yielding.schedule();
      if (time === 'virtual') await lab.clock.advance(0);
      await kernel.drain();
      expect(ran).to.deep.equal([
        'begins',
        'soft',
        'higher',
        'before',
        'goes on',
        'after',
        'ends',
        'lower',
      ]);
    });
  }

  it('in a function that the caller awaits comes back before the rest too', async () => {
    const kernel = new Kernel();
    const ran: string[] = [];
    const breathe = async (): Promise<void> => {
      await kernel.wq.prihigh.yield();
    };
    const low = new Kcont(kernel.wq.prilow, null, () => void ran.push('lower'), null);
    const first = new Kcont(
      kernel.wq.prihigh,
      null,
      async () => {
        low.schedule();
        await breathe();
        ran.push('goes on');
      },
      null,
    );
    first.schedule();
    await kernel.drain();
    expect(ran).to.deep.equal(['goes on', 'lower']);
  });

  it('keeps the order of several functions that yield in turn', async () => {
    const kernel = new Kernel();
    const ran: string[] = [];
    const { prilow } = kernel.wq;
    for (const name of ['a', 'b', 'c']) {
      void prilow.run(async () => {
        for (let part = 0; part < 3; part++) {
          ran.push(`${name}${part}`);
          await prilow.yield();
        }
      });
    }
    await kernel.drain();
    expect(ran).to.deep.equal(['a0', 'b0', 'c0', 'a1', 'b1', 'c1', 'a2', 'b2', 'c2']);
  });

  it('handles I/O meanwhile, however often it is called', async () => {
    const kernel = new Kernel({ budgetMs: 1 });
    const seen = { io: false };
    setImmediate(() => (seen.io = true));
    await kernel.wq.prilow.run(async () => {
      while (!seen.io) await kernel.wq.prilow.yield();
    });
    expect(seen.io).to.equal(true);
  });

  it('keeps the lock and the place within maxActive', async () => {
    const lab = new Lab();
    const one = lab.kernel.acquire(100, { maxActive: 1 });
    const lock = new Mutex();
    const ran: string[] = [];
    const work = (name: string) => async () => {
      ran.push(`${name} begins`);
      await one.yield();
      ran.push(`${name} ends, ${lock.held ? 'held' : 'free'}`);
    };
    void one.run(work('a'), { lock });
    void one.run(work('b'), { lock });
    await lab.clock.advance(0);
    await lab.kernel.drain();
    expect(ran).to.deep.equal(['a begins', 'a ends, held', 'b begins', 'b ends, held']);
  });

  it('goes on during the grace of close, and is rejected when the kernel is closed', async () => {
    const lab = new Lab();
    const gate = deferred();
    const { prihigh } = lab.wq;
    const ran: string[] = [];
    void prihigh
      .run(async () => {
        await gate.promise;
        await prihigh.yield();
        ran.push('after yield');
      })
      .catch(() => undefined);
    await lab.clock.advance(0);
    const closing = lab.kernel.close();
    gate.resolve();
    await lab.clock.advance(0);
    expect((await closing).unfinished).to.deep.equal([]);
    expect(ran).to.deep.equal(['after yield']);
    expect(await rejectionOf(prihigh.yield())).to.equal('ESHUTDOWN');
  });

  it('is rejected if the grace of close ends while it waits', async () => {
    const lab = new Lab();
    const { prilow } = lab.wq;
    const code = rejectionOf(prilow.yield());
    const { unfinished } = await close(prilow._dispatcher, 5, { over: Promise.resolve() });
    expect([await code, unfinished]).to.deep.equal([
      'ESHUTDOWN',
      [{ name: 'yield', wq: 'prilow', state: 'queued' }],
    ]);
  });

  it('is rejected with EINVAL for a workqueue that has been freed', async () => {
    const lab = new Lab();
    const wq = lab.kernel.acquire(90, { name: 'own' });
    wq.release();
    expect(await rejectionOf(wq.yield())).to.equal('EINVAL');
  });

  it('comes back on each of several levels that have run out of patience in one pass', async () => {
    const kernel = new Kernel({ budgetMs: 0.001 });
    const low = kernel.acquire(90, { patienceMs: 0 });
    const lowest = kernel.acquire(80, { patienceMs: 0 });
    const back: string[] = [];
    let left = 5000;
    const flood = new Kcont(
      kernel.wq.prihigh,
      null,
      (_: null, kc) => {
        if (back.length === 2 || --left === 0) return;
        kc.ack();
        kc.schedule();
      },
      null,
    );
    flood.schedule();
    void low.yield().then(() => back.push('low'));
    void lowest.yield().then(() => back.push('lowest'));
    await kernel.drain();
    await settled();
    expect(back).to.deep.equal(['low', 'lowest']);
    expect(left).to.be.greaterThan(0);
  });

  // The dullest model: a sorted array of what is runnable, one entered at a time.
  it('agrees with a sorted array in random programs', async () => {
    const queues = ['prihigh', 'primedhigh', 'primedlow', 'prilow'] as const;
    const level = fc.constantFrom(...queues);
    const task = fc.record({ wq: level, yields: fc.array(level, { maxLength: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(task, { maxLength: 8 }), async (tasks) => {
        const lab = new Lab();
        const ran: string[] = [];
        for (const [index, { wq, yields }] of tasks.entries()) {
          void lab.wq[wq].run(async () => {
            ran.push(`${index}.0`);
            for (const [at, name] of yields.entries()) {
              await lab.wq[name].yield();
              ran.push(`${index}.${at + 1}`);
            }
          });
        }
        await lab.clock.advance(0);
        await lab.kernel.drain();

        const waiting = tasks.map(({ wq }, index) => ({ wq, index, part: 0, seq: index }));
        const expected: string[] = [];
        let seq = waiting.length;
        while (waiting.length > 0) {
          waiting.sort((a, b) => queues.indexOf(a.wq) - queues.indexOf(b.wq) || a.seq - b.seq);
          const next = waiting.shift()!;
          expected.push(`${next.index}.${next.part}`);
          const then = tasks[next.index]!.yields[next.part];
          if (then === undefined) continue;
          waiting.push({ wq: then, index: next.index, part: next.part + 1, seq: seq++ });
        }
        expect(ran).to.deep.equal(expected);
      }),
      { numRuns: 300 * soak },
    );
  });
});
