import { expect } from 'chai';
import { describe, it } from 'mocha';
import sinon from 'sinon';
import { Arena, MUTEX, RM, RW, SPIN } from '../../../lib/cpu/locks/arena.ts';
import { ThreadGate } from '../../../lib/cpu/locks/thread-gate.ts';
import {
  attach,
  isHandle,
  isShared,
  toHandle,
  unpin,
} from '../../../lib/cpu/locks/structured-clone.ts';
import { SharedMutex } from '../../../lib/cpu/locks/shared-mutex.ts';
import { recover } from '../../../lib/cpu/locks/recover.ts';
import { SharedRMLock, SharedRWLock } from '../../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../../lib/cpu/locks/shared-spin-lock.ts';
import { Mutex } from '../../../lib/index.ts';
import { codeOf, settled } from '../../support/lab.ts';
import { silentWaker } from '../../support/played-cpus.ts';

/** Makes the smallest arena, and joins it. */
function small(cpu: number = 3): Arena {
  return Arena.play(Arena.layOut(LEAST), { cpu, waker: silentWaker });
}

/** Enough bytes for the futexes and one RMLock. */
const LEAST = (33 + 36) * 64;

describe('the arena of the locks between CPUs', function () {
  this.timeout(10_000);

  it('is one object per thread, even if its buffer arrives twice', () => {
    const arena = Arena.home();
    expect(Arena.join(structuredClone(arena.buffer))).to.equal(arena);
    expect(Arena.home()).to.equal(arena);
  });

  it('takes the first number that is free, or the one that is asked for', () => {
    const buffer = Arena.layOut(LEAST);
    const cpus = [5, undefined, undefined].map((cpu) =>
      Arena.play(buffer, cpu === undefined ? { waker: silentWaker } : { cpu, waker: silentWaker }),
    );
    expect(cpus.map(({ cpu }) => cpu)).to.deep.equal([5, 0, 1]);
  });

  it('refuses a number that is taken, until that CPU was recovered', () => {
    const buffer = Arena.layOut(LEAST);
    const [first] = [Arena.play(buffer, { cpu: 7, waker: silentWaker })];
    expect(codeOf(() => Arena.play(buffer, { cpu: 7, waker: silentWaker }))).to.equal('EBUSY');
    const other = Arena.play(buffer, { cpu: 8, waker: silentWaker });
    recover(first.cpu, other);
    expect(Arena.play(buffer, { cpu: 7, waker: silentWaker }).cpu).to.equal(7);
  });

  it('has room for 32 threads', () => {
    const buffer = Arena.layOut(LEAST);
    for (let cpu = 0; cpu < 32; cpu++) Arena.play(buffer, { waker: silentWaker });
    expect(codeOf(() => Arena.play(buffer, { waker: silentWaker }))).to.equal('ENOMEM');
  });

  it('refuses invalid arguments', () => {
    expect(codeOf(() => Arena.create(LEAST - 1))).to.equal('EINVAL');
    expect(codeOf(() => Arena.create(2 ** 26 + 64))).to.equal('EINVAL');
    expect(codeOf(() => Arena.create(LEAST + 0.5))).to.equal('EINVAL');
    expect(codeOf(() => Arena.join(new SharedArrayBuffer(4096)))).to.equal('EINVAL');
    const buffer = Arena.layOut(LEAST);
    for (const cpu of [-1, 32, 1.5]) {
      expect(
        codeOf(() => Arena.play(buffer, { cpu })),
        `${cpu}`,
      ).to.equal('EINVAL');
    }
  });

  it('throws when it is full, and has room again when locks are freed', () => {
    const arena = small();
    const taken = [RW, RW, MUTEX, RW, MUTEX, MUTEX, RW, RW].map((kind) =>
      arena.allocate(kind as typeof RW),
    );
    expect(codeOf(() => arena.allocate(RW))).to.equal('ENOMEM');
    expect([...arena]).to.deep.equal(taken);
    for (const at of taken.slice(0, 2)) arena.release(at);
    expect([...arena]).to.deep.equal(taken.slice(2));
    // Last in, first out, and nothing of it in between.
    expect([arena.allocate(RW), arena.allocate(RW)]).to.deep.equal([taken[1], taken[0]]);
    expect(codeOf(() => arena.allocate(RW))).to.equal('ENOMEM');
  });

  it('makes smaller locks of the memory of a larger one when there is no other', () => {
    for (const [kind, count] of [
      [MUTEX, 12],
      [SPIN, 12],
      [RW, 6],
    ] as const) {
      const arena = small();
      arena.release(arena.allocate(RM));
      const taken = Array.from({ length: count }, () => arena.allocate(kind));
      expect(new Set(taken).size).to.equal(count);
      expect([...arena]).to.deep.equal(taken.toSorted((a, b) => a - b));
      if (kind !== RW) expect(codeOf(() => arena.allocate(kind))).to.equal('ENOMEM');
    }
  });

  it('loses nothing of an RMLock that becomes six RWLocks and two Mutexes', () => {
    const arena = small();
    arena.release(arena.allocate(RM));
    const taken = ([RW, RW, RW, MUTEX, RW, MUTEX, RW, RW] as const).map((kind) => {
      const at = arena.allocate(kind);
      // Taking the lock writes its words, and must not change a word of another lock.
      new ThreadGate(arena, at, kind).tryWrite();
      return at;
    });
    expect([...arena]).to.deep.equal(taken.toSorted((a, b) => a - b));
    expect(codeOf(() => arena.allocate(RW))).to.equal('ENOMEM');
    for (const at of taken) arena.release(at);
    expect([...arena]).to.deep.equal([]);
    // A Mutex can be made of an RWLock's memory, but not the other way round.
    expect(Array.from({ length: 8 }, () => arena.allocate(MUTEX))).to.have.length(8);
    for (const kind of [MUTEX, RW, RM] as const) {
      expect(codeOf(() => arena.allocate(kind))).to.equal('ENOMEM');
    }
  });

  it('frees a lock with its last reference, and clears it', () => {
    const arena = small();
    const at = arena.allocate(RM);
    const generation = arena.generationAt(at);
    const gate = new ThreadGate(arena, at, RM);
    expect([gate.tryWrite(), arena.retain(at, generation)]).to.deep.equal([true, true]);
    arena.release(at);
    expect(arena.kindAt(at)).to.equal(RM);
    arena.release(at);
    expect(arena.kindAt(at)).to.equal(0);
    expect(arena.retain(at, generation)).to.equal(false);
    expect(arena.allocate(RM)).to.equal(at);
    expect(arena.retain(at, generation), 'another lock').to.equal(false);
    expect(arena.kindAt(at), 'which is left alone').to.equal(RM);
    expect(new ThreadGate(arena, at, RM).tryWrite()).to.equal(true);
  });

  it('frees a lock that no thread can reach any more, and that is in no handle', async () => {
    const arena = Arena.home();
    const { at, handle } = makeAndForget();
    expect(arena.kindAt(at)).to.equal(MUTEX);
    await collect();
    expect(arena.attachedAt(at), 'its object is gone').to.equal(undefined);
    expect(arena.kindAt(at), 'but not the handle').to.equal(MUTEX);
    expect(isShared(attach(handle))).to.equal(true);
    unpin(handle);
    await collect();
    expect(arena.kindAt(at)).to.equal(0);
    expect(codeOf(() => attach(handle))).to.equal('EINVAL');
  });

  it('grows up to its maximum, and each thread sees what another one has allocated', () => {
    const buffer = Arena.layOut(4 * 2 ** 20);
    const [one, two] = [1, 2].map((cpu) => Arena.play(buffer, { cpu, waker: silentWaker })) as [
      Arena,
      Arena,
    ];
    expect(buffer.byteLength).to.equal(2 ** 20);
    const taken: number[] = [];
    expect(codeOf(() => { for (;;) taken.push(one.allocate(RM)); })).to.equal('ENOMEM'); // prettier-ignore
    expect([buffer.byteLength, taken.length]).to.deep.equal([4 * 2 ** 20, 1819]);
    const last = taken.at(-1) as number;
    expect([two.kindAt(last), two.generationAt(last)]).to.deep.equal([RM, 0]);
    expect([...two]).to.deep.equal(taken);
    expect(two.retain(last, 0)).to.equal(true);
    two.release(last);
    const three = Arena.play(buffer, { cpu: 3, waker: silentWaker });
    for (const at of taken) one.release(at);
    expect([two.allocate(RM), three.allocate(RM)]).to.deep.equal([last, taken.at(-2)]);
    expect([...three]).to.have.length(2);
  });

  it('holds one reference per thread, even if the object of the thread has been replaced', () => {
    const arena = small();
    const at = arena.allocate(MUTEX);
    arena.attach(at, {});
    arena.retain(at, arena.generationAt(at));
    arena.attach(at, {});
    expect(arena.referencesAt(at)).to.equal(1);
    const other = Arena.play(arena.buffer, { cpu: 4, waker: silentWaker });
    recover(3, other);
    expect(arena.kindAt(at)).to.equal(0);
  });

  it('makes all threads collect garbage when much memory is used, and again when more is', () => {
    const buffer = Arena.layOut(2 ** 26);
    const woken: number[] = [];
    const waker = { wake: (cpu: number) => void woken.push(cpu), keepAlive: () => undefined };
    const one = Arena.play(buffer, { cpu: 1, waker });
    const two = Arena.play(buffer, { cpu: 2, waker: silentWaker });
    const allocated = sinon.spy(globalThis, 'ArrayBuffer');
    const hints = (): number => {
      const { callCount } = allocated;
      allocated.resetHistory();
      return callCount;
    };
    try {
      const take = (count: number): number[] =>
        Array.from({ length: count }, () => {
          const at = one.allocate(RM);
          one.attach(at, {});
          return at;
        });
      const first = take(7281);
      expect([hints(), woken]).to.deep.equal([0, []]);
      take(2);
      expect([hints(), woken]).to.deep.equal([1, [2]]);
      two.look();
      two.look();
      expect(hints(), 'on the other thread, once').to.equal(1);
      take(900);
      expect([hints(), woken]).to.deep.equal([0, [2]]);
      take(20);
      expect([hints(), woken]).to.deep.equal([1, [2, 2]]);
      for (const at of first) one.freeLast(at);
      take(6000);
      expect([hints(), woken]).to.deep.equal([0, [2, 2]]);
      allocated.restore();
      const failing = sinon.stub(globalThis, 'ArrayBuffer').throws(new RangeError('no room'));
      take(1000);
      expect(failing.callCount).to.equal(1);
    } finally {
      sinon.restore();
    }
  });

  it('forgets the references of a dead CPU', () => {
    const arena = small(3);
    const other = Arena.play(arena.buffer, { cpu: 4, waker: silentWaker });
    const at = arena.allocate(MUTEX);
    arena.attach(at, {});
    recover(3, other);
    expect(arena.kindAt(at)).to.equal(0);
  });
});

function makeAndForget(): { at: number; handle: ReturnType<typeof toHandle> } {
  const handle = toHandle(new SharedMutex());
  return { at: handle.at, handle };
}

async function collect(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await settled();
    globalThis.gc?.();
    await settled();
  }
}

describe('a handle of a lock between CPUs', () => {
  const makes: [name: string, make: () => Parameters<typeof toHandle>[0]][] = [
    ['SharedMutex', () => new SharedMutex()],
    ['SharedSpinLock', () => new SharedSpinLock()],
    ['SharedRWLock', () => new SharedRWLock()],
    ['SharedRMLock', () => new SharedRMLock()],
    ['the read side of a SharedRWLock', () => new SharedRWLock().read],
    ['the write side of a SharedRMLock', () => new SharedRMLock().write],
  ];
  for (const [name, make] of makes) {
    it(`becomes the same object again on the same thread after a clone: ${name}`, () => {
      const lock = make();
      const handle = toHandle(lock);
      const clone = structuredClone(handle);
      expect([isHandle(clone), isShared(lock)]).to.deep.equal([true, true]);
      expect(attach(clone)).to.equal(lock);
      expect(attach(handle)).to.equal(lock);
      unpin(handle);
    });

    it(`makes an object of the same kind on a thread that had none: ${name}`, () => {
      const lock = make();
      const handle = toHandle(lock);
      const { arena, at, kind } = lock._gate;
      const retain = (): unknown => arena.retain(at, handle.generation);
      // As on a thread without an object for the lock: the arena does not know this one.
      retain();
      arena.attach(at, {});
      const other = Arena.join(handle.buffer);
      expect(other.attachedAt(at)).to.not.equal(lock._gate);
      const gate = new ThreadGate(arena, at, kind);
      retain();
      arena.attach(at, gate);
      const attached = attach(handle);
      expect(attached.constructor).to.equal(lock.constructor);
      expect(attached).to.not.equal(lock);
      expect(attach(handle)).to.equal(attached);
    });
  }

  it('cannot be made of a lock of one thread', () => {
    const lock = new Mutex();
    expect(isShared(lock)).to.equal(false);
    expect(codeOf(() => toHandle(lock as never))).to.equal('EINVAL');
    expect([isHandle(lock), isHandle(null), isHandle(1)]).to.deep.equal([false, false, false]);
  });
});
