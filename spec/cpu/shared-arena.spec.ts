import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Arena, MUTEX, RM, RW } from '../../lib/cpu/shared-arena.ts';
import { Gate } from '../../lib/cpu/shared-gate.ts';
import { attach, isHandle, isShared, toHandle, unpin } from '../../lib/cpu/shared-handle.ts';
import { SharedMutex } from '../../lib/cpu/shared-mutex.ts';
import { recover } from '../../lib/cpu/shared-recover.ts';
import { SharedRMLock, SharedRWLock } from '../../lib/cpu/shared-rw-lock.ts';
import { SharedSpinLock } from '../../lib/cpu/shared-spin-lock.ts';
import { Mutex } from '../../lib/index.ts';
import { codeOf, settled } from '../support/lab.ts';
import { quietBell } from '../support/played-cpus.ts';

/** The smallest arena, on a CPU of its own. */
function small(cpu: number = 3): Arena {
  return Arena.play(Arena.layOut(LEAST), { cpu, bell: quietBell });
}

/** Bytes for the bells and one RMLock. */
const LEAST = (33 + 36) * 64;

describe('the arena of the locks between CPUs', function () {
  this.timeout(10_000);

  it('is one per thread, also when its buffer comes twice', () => {
    const arena = Arena.home();
    expect(Arena.join(structuredClone(arena.buffer))).to.equal(arena);
    expect(Arena.home()).to.equal(arena);
  });

  it('takes the first number that is free, or the one that is asked for', () => {
    const buffer = Arena.layOut(LEAST);
    const cpus = [5, undefined, undefined].map((cpu) =>
      Arena.play(buffer, cpu === undefined ? { bell: quietBell } : { cpu, bell: quietBell }),
    );
    expect(cpus.map(({ cpu }) => cpu)).to.deep.equal([5, 0, 1]);
  });

  it('refuses a number that is taken, until that CPU was recovered', () => {
    const buffer = Arena.layOut(LEAST);
    const [first] = [Arena.play(buffer, { cpu: 7, bell: quietBell })];
    expect(codeOf(() => Arena.play(buffer, { cpu: 7, bell: quietBell }))).to.equal('EBUSY');
    const other = Arena.play(buffer, { cpu: 8, bell: quietBell });
    recover(first.cpu, other);
    expect(Arena.play(buffer, { cpu: 7, bell: quietBell }).cpu).to.equal(7);
  });

  it('has room for 32 threads', () => {
    const buffer = Arena.layOut(LEAST);
    for (let cpu = 0; cpu < 32; cpu++) Arena.play(buffer, { bell: quietBell });
    expect(codeOf(() => Arena.play(buffer, { bell: quietBell }))).to.equal('ENOMEM');
  });

  it('refuses arguments that are none', () => {
    expect(codeOf(() => Arena.create(LEAST - 1))).to.equal('EINVAL');
    expect(codeOf(() => Arena.create(2 ** 24 + 64))).to.equal('EINVAL');
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

  it('says that it is full, and has room again when locks are freed', () => {
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

  it('frees a lock with its last reference, and clears it', () => {
    const arena = small();
    const at = arena.allocate(RM);
    const generation = arena.generationAt(at);
    const gate = new Gate(arena, at, RM);
    expect([gate.tryWrite(), arena.retain(at, generation)]).to.deep.equal([true, true]);
    arena.release(at);
    expect(arena.kindAt(at)).to.equal(RM);
    arena.release(at);
    expect(arena.kindAt(at)).to.equal(0);
    expect(arena.retain(at, generation)).to.equal(false);
    expect(arena.allocate(RM)).to.equal(at);
    expect(arena.retain(at, generation), 'another lock').to.equal(false);
    expect(arena.kindAt(at), 'which is left alone').to.equal(RM);
    expect(new Gate(arena, at, RM).tryWrite()).to.equal(true);
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

  it('forgets the references of a dead CPU', () => {
    const arena = small(3);
    const other = Arena.play(arena.buffer, { cpu: 4, bell: quietBell });
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
    it(`is cloned, and then the same object on the same thread: ${name}`, () => {
      const lock = make();
      const handle = toHandle(lock);
      const clone = structuredClone(handle);
      expect([isHandle(clone), isShared(lock)]).to.deep.equal([true, true]);
      expect(attach(clone)).to.equal(lock);
      expect(attach(handle)).to.equal(lock);
      unpin(handle);
    });

    it(`makes an object of the same kind where there was none: ${name}`, () => {
      const lock = make();
      const handle = toHandle(lock);
      const { arena, at, kind } = lock._gate;
      const retain = (): unknown => arena.retain(at, handle.generation);
      // As if this thread had none: its object is not known to the arena.
      retain();
      arena.attach(at, {});
      const other = Arena.join(handle.buffer);
      expect(other.attachedAt(at)).to.not.equal(lock._gate);
      const gate = new Gate(arena, at, kind);
      retain();
      arena.attach(at, gate);
      const attached = attach(handle);
      expect(attached.constructor).to.equal(lock.constructor);
      expect(attached).to.not.equal(lock);
      expect(attach(handle)).to.equal(attached);
    });
  }

  it('is not made of a lock of one thread', () => {
    const lock = new Mutex();
    expect(isShared(lock)).to.equal(false);
    expect(codeOf(() => toHandle(lock as never))).to.equal('EINVAL');
    expect([isHandle(lock), isHandle(null), isHandle(1)]).to.deep.equal([false, false, false]);
  });
});
