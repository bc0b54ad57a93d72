import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, Mutex } from '../../lib/index.ts';
import { KeyedLocks } from '../../lib/sync.ts';
import { Lab, codeOf, deferred, elapse, rejectionOf, settled, soak } from '../support/lab.ts';
import { describeMutex } from '../support/mutex-lock.ts';

describeMutex('A lock of KeyedLocks', () => new KeyedLocks().of('key'));
// Two views of one key: each takes what the other has released.
describeMutex('A lock of a key that is held by another lock of the key', () => {
  const locks = new KeyedLocks();
  locks.of('key');
  return locks.of('key');
});

describe('KeyedLocks', () => {
  let lab: Lab;
  let locks: KeyedLocks<string>;
  beforeEach(() => {
    lab = new Lab();
    locks = new KeyedLocks();
  });

  it('excludes runs of one key, and not those of others', async () => {
    const first = deferred();
    const run = (key: string, name: string, until?: Promise<void>): Promise<void> =>
      locks.run(key, async () => {
        lab.ran.push(`${name} begins`);
        await until;
        lab.ran.push(`${name} ends`);
      });
    const all = [run('a', 'a1', first.promise), run('a', 'a2'), run('b', 'b1')];
    await settled();
    expect(lab.take()).to.deep.equal(['a1 begins', 'b1 begins', 'b1 ends']);
    expect([locks.size, [...locks.keys()], locks.has('a'), locks.has('b')]).to.deep.equal([
      1,
      ['a'],
      true,
      false,
    ]);
    first.resolve();
    await Promise.all(all);
    expect(lab.take()).to.deep.equal(['a1 ends', 'a2 begins', 'a2 ends']);
    expect(locks.size).to.equal(0);
  });

  it('passes results and errors on, and drops the key after both', async () => {
    expect(await locks.run('a', () => 5)).to.equal(5);
    const failed = locks.run('a', () => {
      throw new Error('failed');
    });
    expect(await rejectionOf(failed)).to.equal('Error: failed');
    expect(await rejectionOf(locks.run('a', null as never))).to.equal('EINVAL');
    expect(locks.size).to.equal(0);
  });

  it('compares keys as a Map does', () => {
    const any = new KeyedLocks();
    const object = {};
    expect([NaN, object, 0].map((key) => any.of(key).tryEnter())).to.deep.equal([true, true, true]);
    expect([NaN, object, -0].map((key) => any.of(key).tryEnter())).to.deep.equal([
      false,
      false,
      false,
    ]);
    expect(any.of({}).tryEnter()).to.equal(true);
    expect(any.size).to.equal(4);
  });

  it('does not bring a key into use by looking at its lock', () => {
    const lock = locks.of('a');
    expect([lock.held, lock.name, locks.size]).to.deep.equal([false, '', 0]);
    expect(codeOf(() => lock.exit())).to.equal('EPERM');
    expect(locks.size).to.equal(0);
  });

  it('has one lock for a key in use', () => {
    const lock = locks.of('a');
    lock.tryEnter();
    expect(locks.of('a')).to.equal(lock);
    lock.exit();
    expect(locks.of('a')).to.be.an.instanceOf(Mutex);
  });

  it('makes locks of a key that were there before it was dropped exclude each other', async () => {
    const [one, two] = [locks.of('a'), locks.of('a')];
    expect(one).not.to.equal(two);
    for (const [holder, other] of [
      [one, two],
      [two, one],
      [one, locks.of('a')],
    ] as const) {
      expect([holder.tryEnter(), other.tryEnter(), other.held]).to.deep.equal([true, false, true]);
      void other.enter().then(() => lab.ran.push('entered'));
      // Either may release it: locks have no owner.
      holder.exit();
      await settled();
      expect([lab.take(), locks.size]).to.deep.equal([['entered'], 1]);
      holder.exit();
      expect([holder.held, other.held, locks.size]).to.deep.equal([false, false, 0]);
    }
  });

  it('drops a key and takes it into use again in one tick, with waiters of either lock', async () => {
    const one = locks.of('a');
    one.tryEnter();
    const waited = one.run(() => lab.ran.push('waited'));
    one.exit();
    expect([one.held, locks.size]).to.deep.equal([true, 1]);
    await waited;
    expect(locks.size).to.equal(0);
    const two = locks.of('a');
    two.tryEnter();
    const late = [one.run(() => lab.ran.push('one')), two.run(() => lab.ran.push('two'))];
    expect(locks.size).to.equal(1);
    two.exit();
    await Promise.all(late);
    expect([lab.take(), locks.size]).to.deep.equal([['waited', 'one', 'two'], 0]);
  });

  it('drops a key when its last waiter is aborted, or is a continuation that is stopped', async () => {
    const lock = locks.of('a');
    lock.tryEnter();
    const abort = new AbortController();
    const aborted = rejectionOf(lock.enter({ signal: abort.signal }));
    const kc = lab.sync('kc', { lock: locks.of('a') });
    kc.schedule();
    lab.clock.tick(0);
    abort.abort(new Error('aborted'));
    expect(await aborted).to.equal('Error: aborted');
    lock.exit();
    // The continuation has been woken, and wants it.
    expect([locks.size, lock.held]).to.deep.equal([1, false]);
    kc.stop();
    expect(locks.size).to.equal(0);
  });

  it('drops a key whose only waiter was aborted in the release', async () => {
    const abort = new AbortController();
    const lock = locks.of('a');
    lock.tryEnter();
    abort.signal.addEventListener('abort', () => lock.exit());
    const aborted = rejectionOf(lock.enter({ signal: abort.signal }));
    abort.abort(new Error('aborted'));
    expect([await aborted, locks.size, lock.held]).to.deep.equal(['Error: aborted', 0, false]);
  });

  it('is the lock of continuations that are kept', async () => {
    const rename = lab.async('rename', { lock: locks.of('a') });
    const remove = lab.sync('remove', { lock: locks.of('a'), wq: lab.wq.prilow });
    const other = lab.sync('other', { lock: locks.of('b'), wq: lab.wq.prilow });
    for (let round = 0; round < 2; round++) {
      for (const kc of [rename, remove, other]) kc.schedule();
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['rename', 'other']);
      const ran = locks.run('a', () => lab.ran.push('run'));
      await lab.end(rename);
      await ran;
      lab.clock.tick(0);
      expect(lab.take()).to.deep.equal(['run', 'remove']);
      expect(locks.size).to.equal(0);
    }
  });

  it('names the locks of its keys', () => {
    const users = new KeyedLocks({ name: 'users' });
    expect(users.name).to.equal('users');
    const names = ['ann', 42, Symbol.for('s'), {}].map((key) => users.of(key).name);
    expect(names).to.deep.equal([
      'users[ann]',
      'users[42]',
      'users[Symbol(s)]',
      'users[an instance of Object]',
    ]);
  });

  it('does what a Mutex for each key does, that is never dropped', async () => {
    const steps = fc.array(
      fc.record({
        kind: fc.constantFrom('run', 'kcont', 'kept', 'try', 'abort', 'stop'),
        key: fc.constantFrom('a', 'b'),
        gapMs: fc.constantFrom(0, 0, 1, 3),
        holdMs: fc.constantFrom(0, 1, 4),
      }),
      { maxLength: 40 },
    );
    type Step = { kind: string; key: string; gapMs: number; holdMs: number };
    const play = async (
      program: readonly Step[],
      of: (key: string) => Mutex,
    ): Promise<readonly string[]> => {
      const own = new Lab();
      const kept = { a: of('a'), b: of('b') };
      const kcs: Kcont<null>[] = [];
      for (const [index, { kind, key, gapMs, holdMs }] of program.entries()) {
        await own.clock.advance(gapMs);
        const body = async (): Promise<void> => {
          own.ran.push(`${index} ${key} begins at ${own.clock.now}`);
          await elapse(own.wq.softclock, holdMs);
          own.ran.push(`${index} ${key} ends at ${own.clock.now}`);
        };
        if (kind === 'run') void of(key).run(body);
        else if (kind === 'try') {
          const lock = of(key);
          if (lock.tryEnter()) void body().then(() => lock.exit());
        } else if (kind === 'abort') {
          const abort = new AbortController();
          void of(key)
            .run(body, { signal: abort.signal })
            .catch(() => own.ran.push(`${index} aborted at ${own.clock.now}`));
          void elapse(own.wq.softclock, 1).then(() => abort.abort());
        } else if (kind === 'stop') kcs.shift()?.stop();
        else {
          const lock = kind === 'kept' ? kept[key as 'a'] : of(key);
          const kc = new Kcont(own.wq.prihigh, lock, body, null);
          kcs.push(kc);
          kc.schedule();
        }
      }
      await own.clock.advance(1000);
      return own.take();
    };
    await fc.assert(
      fc.asyncProperty(steps, async (program) => {
        const keyed = new KeyedLocks<string>();
        const plain = { a: new Mutex(), b: new Mutex() };
        const ran = await play(program, (key) => keyed.of(key));
        expect(ran).to.deep.equal(await play(program, (key) => plain[key as 'a']));
        expect(keyed.size).to.equal(0);
      }),
      { numRuns: 60 * soak },
    );
  });
});
