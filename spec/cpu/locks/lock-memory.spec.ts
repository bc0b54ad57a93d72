// When the locks between CPUs take shared memory, and when they give it back.
import { expect } from 'chai';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, type KcontError } from '../../../lib/index.ts';
import type { Cpu } from '../../../lib/index.ts';
import { SharedMutex, SharedRMLock, SharedRWLock } from '../../../lib/cpu/index.ts';
import { Arena, RM } from '../../../lib/cpu/locks/arena.ts';
import type { Passable } from '../../../lib/cpu/locks/structured-clone.ts';
import { codeOf, rejectionOf } from '../../support/lab.ts';
import {
  KINDS,
  expectLocks,
  locksBeyond,
  locksInUse,
  locksNow,
  programs,
  runProgram,
  startLab,
  withLock,
  type Lab,
} from '../../support/lock-memory.ts';

function gate(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(8));
}

function open(words: Int32Array): void {
  Atomics.store(words, 1, 1);
  Atomics.notify(words, 1);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** The objects of a function are garbage when it has ended; those of a spec may not be. */
async function letGo(func: () => Promise<void>): Promise<void> {
  await func();
}

/** The sides of a lock: to write, and to read if there is one. */
function sidesOf(lock: Passable): SharedMutex[] {
  return ('read' in lock ? [lock.write, lock.read] : [lock]) as SharedMutex[];
}

describe('a lock between CPUs that never leaves its thread', () => {
  it('takes no shared memory, whatever is done with it', async () => {
    const kernel = new Kernel();
    const known = locksNow();
    const ran: string[] = [];
    for (const Kind of KINDS) {
      for (const side of sidesOf(new Kind())) {
        expect([side.tryEnter(), side.held]).to.deep.equal([true, true]);
        side.exit();
        await side.enter();
        const waiting = side.enter();
        side.exit();
        await waiting;
        side.exit();
        const kc = new Kcont(kernel.wq.prilow, side, () => void ran.push(Kind.name), null);
        kc.schedule();
        await kernel.drain();
        kc.destroy();
        expect([side.held, side._gate.at]).to.deep.equal([false, 0]);
      }
    }
    expect(ran).to.have.length(6);
    expect(locksBeyond(known)).to.deep.equal([]);
  });

  it('takes no shared memory for any number of locks in one turn', () => {
    const known = locksNow();
    for (let i = 0; i < 20_000; i++) void new SharedRMLock();
    expect(locksBeyond(known)).to.deep.equal([]);
  });
});

describe('a lock that leaves its thread and comes back', () => {
  for (const Kind of KINDS) {
    it(`stays held by its holder all the time: ${Kind.name}`, () => {
      const lock = new Kind();
      const { _gate } = lock;
      for (const side of sidesOf(lock)) {
        expect(side.tryEnter()).to.equal(true);
        for (let round = 0; round < 2; round++) {
          _gate.send();
          expect([side.held, _gate.at > 0]).to.deep.equal([true, true]);
          _gate.send();
          _gate.endSend();
          expect([side.held, _gate.at > 0]).to.deep.equal([true, true]);
          _gate.endSend();
          expect([side.held, _gate.at]).to.deep.equal([true, 0]);
        }
        const other = sidesOf(lock).at(-1) as SharedMutex;
        if (other !== side) expect(other.tryEnter()).to.equal(false);
        _gate.send();
        side.exit();
        _gate.endSend();
        expect([side.held, side.tryEnter()]).to.deep.equal([false, true]);
        side.exit();
      }
    });
  }

  it('lets waiters in, in their order, wherever its words are', async () => {
    const { read, write, _gate } = new SharedRWLock();
    const order: string[] = [];
    await write.enter();
    const all = [write, read, read, write].map((side, i) =>
      side.enter().then(() => {
        order.push(`${i}`);
        if (i % 2 === 0) _gate.send();
        else _gate.endSend();
        side.exit();
      }),
    );
    _gate.send();
    _gate.endSend();
    write.exit();
    await Promise.all(all);
    expect([order, _gate.at]).to.deep.equal([['0', '1', '2', '3'], 0]);
    expect([read.held, write.held]).to.deep.equal([false, false]);
  });

  it('stays where it is while another thread may hold it', () => {
    const lock = new SharedMutex();
    const { _gate } = lock;
    _gate.send();
    const { at, arena } = _gate;
    arena.retain(at, arena.generationAt(at));
    _gate.endSend();
    expect(_gate.at).to.equal(at);
    arena.release(at);
    _gate.unshare();
    expect(_gate.at).to.equal(0);
  });
});

describe('the memory of locks that were sent', () => {
  const kernel = new Kernel({ onError: () => undefined });
  let lab: Lab;
  let cpu: Cpu;
  let baseline: ReadonlyMap<number, number>;

  before(async () => {
    lab = await startLab(kernel, 2);
    cpu = lab.cpus[1] as Cpu;
    baseline = await locksInUse(lab);
  });

  after(async () => {
    await kernel.close({ graceMs: 0 });
  });

  it('comes back at once from jobs that were aborted before they were read', async () => {
    const { queue, work } = lab;
    const words = gate();
    const blocked = queue.run(work.block, { arg: words, cpu });
    await until(() => Atomics.load(words, 0) === 1);
    const controller = new AbortController();
    const { signal } = controller;
    const runs = Array.from({ length: 9 }, () =>
      rejectionOf(queue.run(work.echo, { arg: { lock: new SharedMutex() }, cpu, signal })),
    );
    expect(locksBeyond(baseline)).to.have.length(9);
    controller.abort();
    expect(locksBeyond(baseline)).to.deep.equal([]);
    await Promise.all(runs);
    open(words);
    await blocked;
    await expectLocks(lab, baseline);
  });

  it('comes back at once from values that were refused', async () => {
    const { queue, work } = lab;
    const lock = new SharedRMLock();
    const arg = { lock, f: () => 1 };
    expect(await rejectionOf(queue.run(work.echo, { arg, cpu }))).to.equal('EINVAL');
    const kc = new Kcont<unknown>(queue, lock.read, work.look, arg);
    expect(codeOf(() => kc.schedule(0, cpu))).to.equal('EINVAL');
    const local = new Kcont<unknown>(queue, new Mutex(), work.look, { lock });
    expect(codeOf(() => local.schedule(0, cpu))).to.equal('EINVAL');
    expect(await rejectionOf(queue.run(work.echo, { arg: { lock, local }, cpu }))).to.equal(
      'EINVAL',
    );
    expect(locksBeyond(baseline)).to.deep.equal([]);
  });

  it('comes back from arguments and results that were used, when they are garbage', async () => {
    const { queue, work } = lab;
    await letGo(async () => {
      for (const Kind of KINDS) {
        const lock = new Kind();
        const sent = { lock, again: [lock] };
        const back = (await queue.run(work.echo, { arg: sent, cpu })) as typeof sent;
        expect([back.lock === lock, back.again[0] === lock]).to.deep.equal([true, true]);
      }
      await queue.run(work.bring, { arg: 3, cpu });
    });
    await expectLocks(lab, baseline);
  });

  it('comes back from results that nobody waits for any more', async () => {
    const { queue, work } = lab;
    await letGo(async () => {
      const words = gate();
      const controller = new AbortController();
      const { signal } = controller;
      const arg = { locks: [new SharedMutex()], gate: words };
      const run = queue.run(work.hold, { arg, cpu, signal });
      await queue.run(work.collect, { cpu });
      controller.abort();
      Atomics.store(words, 0, 1);
      await run;
    });
    await expectLocks(lab, baseline);
  });

  it('comes back from handles that were destroyed, got another lock, or were never known to another CPU', async () => {
    const { queue, work } = lab;
    await letGo(async () => {
      const kcs = Array.from(
        { length: 20 },
        () => new Kcont<unknown>(queue, new SharedMutex(), work.look, { lock: new SharedRWLock() }),
      );
      for (const [i, kc] of kcs.entries()) if (i % 4 !== 0) kc.schedule(i % 2, cpu);
      expect(locksBeyond(baseline).length).to.be.greaterThan(10);
      for (const [i, kc] of kcs.entries()) {
        withLock(kc, () => {
          if (i % 3 === 0) kc.setArg({ lock: new SharedMutex() });
          if (i % 3 === 1) kc.setLock(i % 2 === 0 ? null : new SharedMutex());
        });
      }
      await kernel.drain();
      for (const kc of kcs) kc.destroy();
    });
    await expectLocks(lab, baseline);
  });

  it('comes back from a CPU that died before it had read what was sent to it', async () => {
    const { queue, work } = lab;
    await letGo(async () => {
      const words = gate();
      const blocked = rejectionOf(queue.run(work.block, { arg: words, cpu }));
      await until(() => Atomics.load(words, 0) === 1);
      const lock = new SharedMutex();
      const opened = gate();
      const signals = Array.from({ length: 9 }, () => new AbortController());
      const ends = signals.map(({ signal }) => {
        const arg = { locks: [new SharedMutex(), lock], gate: opened };
        return rejectionOf(queue.run(work.hold, { arg, cpu, signal }));
      });
      const kc = new Kcont<unknown>(queue, lock, work.look, { lock }, { affinity: 'strong' });
      kc.schedule(1e6, cpu);
      await cpu.restart({ graceMs: 0 });
      expect(await blocked).to.equal('ECPUDIED');
      expect(lock._gate.at).to.be.greaterThan(0);
      kc.destroy();
      for (const one of signals) one.abort();
      // Some of them were entered by the next thread, and end by themselves.
      Atomics.store(opened, 0, 1);
      await Promise.all(ends);
    });
    await expectLocks(lab, baseline);
    await letGo(async () => {
      expect(await queue.run(work.isHeld, { arg: new SharedMutex(), cpu })).to.equal(false);
    });
    await expectLocks(lab, baseline);
  });

  it('causes an error when it is full and a lock would leave its thread, and nothing else', async () => {
    const { queue, work } = lab;
    const arena = Arena.home();
    const taken: number[] = [];
    let code: unknown;
    while (code === undefined) {
      try {
        taken.push(arena.allocate(RM));
      } catch (error) {
        ({ code } = error as KcontError);
      }
    }
    await letGo(async () => {
      const lock = new SharedRMLock();
      expect(code).to.equal('ENOMEM');
      expect(await rejectionOf(queue.run(work.echo, { arg: { lock }, cpu }))).to.equal('ENOMEM');
      expect(await rejectionOf(queue.run(work.look, { lock: lock.read, arg: 1, cpu }))).to.equal(
        'ENOMEM',
      );
      const locked = new Kcont<unknown>(queue, lock.write, work.look, 1);
      const told = new Kcont<unknown>(queue, null, work.look, { lock });
      for (const kc of [locked, told]) {
        expect(codeOf(() => kc.schedule(0, cpu))).to.equal('ENOMEM');
        expect([kc.busy, kc.schedule(0), lock._gate.at]).to.deep.equal([false, true, 0]);
      }
      await kernel.drain();
      expect([lock.read.tryEnter(), lock.write.tryEnter()]).to.deep.equal([true, false]);
      lock.read.exit();
    }).finally(() => {
      for (const at of taken) arena.release(at);
    });
    await expectLocks(lab, baseline);
  });

  it('comes back after any program', async () => {
    await fc.assert(
      fc.asyncProperty(programs(false, 30), async (steps) => {
        await runProgram(lab, steps);
        await expectLocks(lab, baseline);
      }),
      { numRuns: 4, seed: 18, endOnFailure: true },
    );
  });
});
