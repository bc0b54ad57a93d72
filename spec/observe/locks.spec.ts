import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont, Mutex, RWLock, SpinLock } from '../../lib/index.ts';
import { KeyedLocks, Semaphore } from '../../lib/sync.ts';
import type { BaseLock } from '../../lib/locks/lock.ts';
import {
  list,
  lockState,
  observe,
  report,
  waitGraph,
  whyAlive,
  type Stall,
} from '../support/observe.ts';
import { codeOf, Lab } from '../support/lab.ts';

/** A lab whose kernel is observed. */
function observed(): Lab {
  const lab = new Lab();
  list(lab.kernel);
  return lab;
}

describe('lockState()', () => {
  it('tells that a lock is free', () => {
    expect(lockState(new Mutex({ name: 'journal' }))).to.deep.equal({
      name: 'journal',
      held: false,
      holders: [],
      waiters: [],
    });
  });

  it('names the continuation that holds it, and those that wait, by priority', async () => {
    const lab = observed();
    const lock = new Mutex({ name: 'journal' });
    const flush = lab.async('flush', { lock, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(3);
    lab.sync('low', { lock, wq: lab.wq.prilow, options: { name: 'low' } }).schedule();
    lab.sync('high', { lock, wq: lab.wq.softnet, options: { name: 'high' } }).schedule();
    lab.clock.tick(0);
    const { held, holders, waiters } = lockState(lock);
    expect(held).to.equal(true);
    expect(holders.map(({ name, workqueue }) => [name, workqueue])).to.deep.equal([
      ['flush', 'prihigh'],
    ]);
    expect(holders[0]?.id).to.equal(list(lab.kernel, { state: 'running' })[0]?.id);
    expect(waiters.map(({ name, priority }) => [name, priority])).to.deep.equal([
      ['high', 215],
      ['low', 103],
    ]);
    await lab.end(flush);
    expect(lockState(lock).holders).to.deep.equal([]);
  });

  it('names the holder also for another lock of the same key', async () => {
    const lab = observed();
    const keys = new KeyedLocks<string>({ name: 'accounts' });
    const [one, two] = [keys.of('ann'), keys.of('ann')];
    const flush = lab.async('flush', { lock: one, options: { name: 'flush' } });
    flush.schedule();
    lab.clock.tick(0);
    expect(lockState(two).holders.map(({ name }) => name)).to.deep.equal(['flush']);
    await lab.end(flush);
    expect([lockState(two).holders, keys.size]).to.deep.equal([[], 0]);
  });

  it('and list() tell the own and the inherited priority of those that wait', async () => {
    const lab = observed();
    const { prihigh, prilow } = lab.wq;
    const [outer, inner] = [new Mutex(), new Mutex()];
    inner.tryEnter();
    const part = (name: string, delayMs: number, lock: Mutex | null): Promise<void> =>
      prilow.run(() => undefined, { name, delayMs, lock });
    const holder = new Kcont(
      prilow,
      outer,
      async () => {
        const code = inner.enter({ priority: 103 }).then(() => inner.exit());
        await Promise.all([part('with a lock', 0, inner), part('timer', 10, null), code]);
      },
      null,
    );
    holder.schedule();
    lab.clock.tick(0);
    const entries = (): unknown[] =>
      list(lab.kernel)
        .filter(({ name }) => name !== 'async' && name !== '(anonymous)')
        .map(({ name, priority, inherited }) => [name, priority, inherited]);
    const before = entries();
    new Kcont(prihigh, outer, () => undefined, null, { name: 'high' }).schedule();
    lab.clock.tick(0);
    expect(before).to.deep.equal([
      ['with a lock', 103, null],
      ['timer', 103, null],
    ]);
    expect(entries()).to.deep.equal([
      ['with a lock', 103, 127],
      ['high', 127, null],
      ['timer', 103, 127],
    ]);
    expect(
      lockState(inner).waiters.map(({ name, priority, inherited }) => [name, priority, inherited]),
    ).to.deep.equal([
      ['(code)', 103, 127],
      ['with a lock', 103, 127],
    ]);
    inner.exit();
    await lab.clock.advance(10);
    await lab.clock.advance(0);
    expect([outer.held, inner.held]).to.deep.equal([false, false]);
  });

  it('names all readers', async () => {
    const lab = observed();
    const { read, write } = new RWLock({ name: 'routes' });
    const readers = ['a', 'b'].map((name) => lab.async(name, { lock: read, options: { name } }));
    for (const kc of readers) kc.schedule();
    lab.clock.tick(0);
    expect(lockState(read).holders.map(({ name }) => name)).to.deep.equal(['a', 'b']);
    expect(lockState(write)).to.deep.equal({
      name: 'routes.write',
      held: false,
      holders: [],
      waiters: [],
    });
    for (const kc of readers) await lab.end(kc);
  });

  it('does not know code that has entered it by itself', async () => {
    const lock = new Mutex();
    lock.tryEnter();
    const entered = lock.enter();
    const { holders, waiters } = lockState(lock);
    expect(holders).to.deep.equal([
      { name: 'an unknown holder', id: null, workqueue: null, sinceMs: null },
    ]);
    expect(waiters.map(({ name }) => name)).to.deep.equal(['(code)']);
    lock.exit();
    await entered;
  });

  it('finds the function on the stack', () => {
    const lab = observed();
    const lock = new SpinLock();
    let holders: string[] = [];
    lab
      .sync('a', {
        lock,
        options: { name: 'a' },
        body: () => {
          holders = lockState(lock).holders.map(({ name }) => name);
        },
      })
      .schedule();
    lab.clock.tick(0);
    expect(holders).to.deep.equal(['a']);
  });

  it('refuses what is not a lock', () => {
    for (const wrong of [undefined, null, {}, new RWLock()]) {
      expect(codeOf(() => lockState(wrong as never))).to.equal('EINVAL');
    }
  });
});

describe('a wait for one side of a lock', () => {
  /** A kernel with holders of some sides, and one that waits for another side. */
  async function waits(
    holding: readonly BaseLock[],
    lock: BaseLock,
    check: (lab: Lab) => void,
  ): Promise<void> {
    const lab = observed();
    const holders = holding.map((side, n) =>
      lab.async(`holder ${n}`, { lock: side, options: { name: `holder ${n}` } }),
    );
    for (const kc of holders) kc.schedule();
    lab.clock.tick(1);
    const waiter = lab.sync('waiter', { lock, options: { name: 'waiter' } });
    waiter.schedule();
    lab.clock.tick(2000);
    check(lab);
    waiter.destroy();
    for (const kc of holders) await lab.end(kc);
  }

  const names = new RWLock({ name: 'routes' });
  const memory = new Semaphore(4, { name: 'memory' });
  const heavy = memory.ofWeight(3);
  for (const { title, holding, lock } of [
    { title: 'readers', holding: [names.read, names.read], lock: names.write },
    { title: 'a writer', holding: [names.write], lock: names.read },
    { title: 'those who have units', holding: [memory, heavy], lock: memory.ofWeight(2) },
  ]) {
    const expected = holding.map((_, n) => `holder ${n}`);

    it(`names ${title}`, () =>
      waits(holding, lock, ({ kernel }) => {
        const line = whyAlive(kernel).find((text) => text.includes('waiter'));
        expect(line).to.match(new RegExp(`held by ${expected.join(', ')}$`));
        expect(report(kernel)).to.include(`held by ${expected.join(', ')}\n`);
        const [edge] = waitGraph(kernel).waits;
        expect(edge?.holders.map(({ name }) => name)).to.deep.equal(expected);
      }));
  }

  it('names them in a stall', async () => {
    const stalls: Stall[] = [];
    const lab = observed();
    const reads = lab.async('reads', { lock: names.read, options: { name: 'reads' } });
    using _ = observe({
      kernel: lab.kernel,
      limits: { lockMs: 100, lateMs: Infinity },
      onStall: (stall) => stalls.push(stall),
    });
    reads.schedule();
    lab.clock.tick(1);
    const writes = lab.sync('writes', { lock: names.write, options: { name: 'writes' } });
    writes.schedule();
    await lab.clock.advance(500);
    expect(stalls.map(({ holders }) => holders)).to.deep.equal([['reads']]);
    writes.destroy();
    await lab.end(reads);
  });
});
