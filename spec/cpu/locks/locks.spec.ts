// Locks between CPUs, on continuations that run on any of them.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Mutex } from '../../../lib/index.ts';
import type { Cpu, Lock } from '../../../lib/index.ts';
import { nothing } from '../../../lib/base/nothing.ts';
import { SharedMutex, SharedRWLock } from '../../../lib/cpu/index.ts';
import { Arena } from '../../../lib/cpu/locks/arena.ts';
import { codeOf, deferred } from '../../support/lab.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';
import { GATE, OPEN, WORDS } from '../../support/cpu-work.ts';

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words));
}

describe('a lock between CPUs', () => {
  closeAfterEach();

  it('cannot be replaced by a lock of one CPU', async () => {
    const { queue, cpus, work } = await startTestKernel(1);
    const local = new Kcont(queue, new Mutex(), work.note, 1);
    expect(codeOf(() => local.schedule(0, cpus[1] ?? null))).to.equal('EINVAL');
    expect(local.busy).to.equal(false);
    const lock = new SharedMutex();
    const kc = new Kcont<unknown>(queue, lock, work.note, 1);
    kc.schedule(1e6, cpus[1] ?? null);
    lock.tryEnter();
    expect(codeOf(() => kc.setLock(new Mutex()))).to.equal('EINVAL');
    expect(kc.lock).to.equal(lock);
    lock.exit();
  });

  it('passes no priority on: neither to what its holder awaits, nor through its waiters', async () => {
    const { kernel } = await startTestKernel(1);
    const { prihigh, prilow } = kernel.wq;
    const [outer, inner] = [new SharedMutex(), new SharedMutex()];
    const lock = new Mutex();
    const end = deferred();
    const start = (on: Lock, func: () => Promise<unknown>): void => {
      new Kcont(prilow, on, func, null).schedule();
    };
    start(outer, async () => {
      void prilow.run(nothing, { name: 'of outer', delayMs: 10 });
      await end.promise;
    });
    inner.tryEnter();
    start(lock, async () => {
      const part = prilow.run(nothing, { name: 'with inner', lock: inner });
      const code = inner.enter({ priority: 103 }).then(() => inner.exit());
      const local = prilow.run(nothing, { name: 'local', delayMs: 10 });
      await Promise.all([part, code, local]);
    });
    await kernel.wq.prilow.run(nothing);
    new Kcont(prihigh, lock, nothing, null).schedule();
    new Kcont(prihigh, outer, nothing, null).schedule();
    await kernel.wq.prihigh.run(nothing);
    expect(kernel.inspect().inherited.map(({ name }) => name)).to.deep.equal(['local']);
    expect(Array.from(inner._turnstile ?? [], (waiter) => waiter._priority)).to.deep.equal([
      103, 103,
    ]);
    inner.exit();
    end.resolve();
    await kernel.drain();
    expect([outer.held, inner.held, lock.held]).to.deep.equal([false, false, false]);
  });

  it('keeps a continuation waiting on another CPU until it is free here', async () => {
    const { queue, cpus, work, kernel } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const lock = new SharedMutex();
    await lock.enter();
    const kc = new Kcont<unknown>(queue, lock, work.note, 'with lock');
    kc.schedule(0, cpu);
    expect(await queue.run(work.ran, { cpu })).to.deep.equal([]);
    expect(kc.invoking).to.equal(true);
    lock.exit();
    await kernel.drain();
    expect(await queue.run(work.ran, { cpu })).to.deep.equal(['with lock']);
    expect(lock.held).to.equal(false);
  });

  it('excludes continuations on different CPUs from each other, across await', async () => {
    const { queue, cpus, work, kernel } = await startTestKernel(2);
    const lock = new SharedMutex();
    const log = shared(61);
    const inside = shared(1);
    const kcs = Array.from(
      { length: 60 },
      (_, what) => new Kcont(queue, lock, work.inLockLong, { log, inside, what }),
    );
    for (const [i, kc] of kcs.entries()) kc.schedule(0, cpus[i % 3] ?? null);
    await kernel.drain();
    expect(Array.from(log.subarray(1)).toSorted((a, b) => a - b)).to.deep.equal(
      kcs.map((_, i) => i),
    );
  });

  it('is held by a job while it runs', async () => {
    const { queue, cpus, work } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const lock = new SharedMutex();
    expect(await queue.run(work.isHeld, { arg: lock, cpu, lock })).to.equal(true);
    expect(lock.held).to.equal(false);
  });

  it('has one home CPU, which runs all its users on a queue that is not per CPU', async () => {
    const { wq, work, kernel } = await startTestKernel(2);
    const lock = new SharedMutex();
    const log = shared(101);
    const inside = shared(1);
    const kcs = Array.from(
      { length: 100 },
      (_, what) => new Kcont(wq.prilow, lock, work.inLock, { log, inside, what }),
    );
    for (const kc of kcs) kc.schedule();
    await kernel.drain();
    expect(Array.from(log.subarray(1))).to.deep.equal(kcs.map((_, i) => i));
  });

  it('can be changed while the continuation waits for the old lock on another CPU', async () => {
    const { queue, cpus, work, kernel } = await startTestKernel(1);
    const cpu = cpus[1] as Cpu;
    const [first, second] = [new SharedMutex(), new SharedMutex()];
    await first.enter();
    const kc = new Kcont<unknown>(queue, first, work.note, 'moved');
    kc.schedule(0, cpu);
    await queue.run(work.where, { cpu });
    expect(kc.setLock(second)).to.equal(first);
    await kernel.drain();
    expect(await queue.run(work.ran, { cpu })).to.deep.equal(['moved']);
    expect([first.held, second.held]).to.deep.equal([true, false]);
    first.exit();
  });

  it('is shared by readers on two CPUs', async () => {
    const { queue, cpus, work } = await startTestKernel(2);
    const lock = new SharedRWLock();
    const words = [shared(WORDS), shared(WORDS)];
    const runs = words.map((own, i) =>
      queue.run(work.gate, { arg: own, cpu: cpus[i + 1] ?? null, lock: lock.read }),
    );
    for (const own of words) {
      while (Atomics.load(own, GATE) === 0) await new Promise(setImmediate);
    }
    expect([lock.read.held, lock.write.tryEnter()]).to.deep.equal([true, false]);
    for (const own of words) {
      Atomics.store(own, OPEN, 1);
      Atomics.notify(own, OPEN);
    }
    await Promise.all(runs);
    expect(lock.write.tryEnter()).to.equal(true);
    lock.write.exit();
  });

  it('is free again when the CPU that holds it dies, and the event counts it', async () => {
    const { queue, cpus, work, event } = await startTestKernel(1);
    const words = shared(WORDS);
    const lock = new SharedMutex();
    const died = event('died');
    const run = queue
      .run(work.grab, { arg: { lock, words }, cpu: cpus[1] ?? null })
      .catch((error: unknown) => error);
    while (Atomics.load(words, GATE) === 0) await new Promise(setImmediate);
    expect(lock.held).to.equal(true);
    Atomics.store(words, OPEN, 1);
    Atomics.notify(words, OPEN);
    expect(await run).to.include({ code: 'ECPUDIED' });
    expect((await died).heldLocks).to.equal(1);
    await lock.enter();
    lock.exit();
  });

  it('has room for the CPUs of one kernel after the other', async () => {
    const before = Arena.home().joined;
    const { kernel, queue, cpus, work } = await startTestKernel(2);
    const lock = new SharedMutex();
    await queue.run(work.ran, { cpu: cpus[1] ?? null, lock });
    expect(Arena.home().joined).not.to.equal(before);
    await kernel.close();
    expect(Arena.home().joined).to.equal(before);
  });
});
