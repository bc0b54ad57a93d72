// A revoked proxy throws on every operation. As an argument or option it is refused with EINVAL, as any
// other invalid value.

import { expect } from 'chai';
import { SharedMutex, SharedSpinLock, transfer } from '../../lib/cpu/index.ts';
import { createLocks } from '../../lib/compat/web-locks.ts';
import { KcontPQueue, KcontQueue, createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { createScheduler } from '../../lib/compat/scheduler/index.ts';
import { Deadline, createDeadline, release } from '../../lib/compat/abort-deadline.ts';
import { createTimers } from '../../lib/compat/timers/index.ts';
import { Kcont, KcontError, Kernel, Mutex, VirtualClock, kern } from '../../lib/index.ts';

const kernel = new Kernel({ clock: new VirtualClock() });
const { prilow } = kernel.wq;
const nothing = (): never => undefined as never;

/** A revoked proxy of an object. */
function gone(target: object = {}): never {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy as never;
}

/** A revoked proxy of a function. */
const func = (): never => gone(nothing);

const idle = (): Kcont<number> => new Kcont(prilow, null, nothing, 0);
const site = pipeline<number>('site').stage('parse', nothing).start({ kernel });

function locked(): Kcont<number> {
  const lock = new Mutex();
  lock.tryEnter();
  return new Kcont(prilow, lock, nothing, 0);
}

const calls: Record<string, () => unknown> = {
  'new Kcont, wq': () => new Kcont(gone(), null, nothing, 0),
  'new Kcont, lock': () => new Kcont(prilow, gone(), nothing, 0),
  'new Kcont, func': () => new Kcont(prilow, null, func(), 0),
  'new Kcont, options': () => new Kcont(prilow, null, nothing, 0, gone()),
  'new Kcont, signal': () => new Kcont(prilow, null, nothing, 0, { signal: gone() }),
  'new Kcont, scope': () => new Kcont(prilow, null, nothing, 0, { scope: gone() }),
  'new Kcont, name': () => new Kcont(prilow, null, nothing, 0, { name: gone() }),
  'setLock, lock': () => locked().setLock(gone()),
  'setFunc, func': () => locked().setFunc(func(), 0),
  'halt, interlock': () => idle().halt(gone()),
  'drainAsync, done': () => idle().drainAsync(func()),
  'schedule, delayMs': () => idle().schedule(gone()),
  'schedule, cpu': () => idle().schedule(0, gone()),
  'reset, cpu': () => idle().reset(0, gone()),
  'run, func': () => prilow.run(func()),
  'run, options': () => prilow.run(nothing, gone()),
  'run, signal': () => prilow.run(nothing, { signal: gone() }),
  'run, lock': () => prilow.run(nothing, { lock: gone() }),
  'run, cpu': () => prilow.run(nothing, { cpu: gone() }),
  'run, transfer': () => prilow.run(nothing, { transfer: gone() }),
  'run, delayMs': () => prilow.run(nothing, { delayMs: gone() }),
  'Workqueue.drain, options': () => prilow.drain(gone()),
  'Workqueue.drain, signal': () => prilow.drain({ signal: gone() }),
  'enter, options': () => new Mutex().enter(gone()),
  'enter, signal': () => new Mutex().enter({ signal: gone() }),
  'Mutex.run, func': () => new Mutex().run(func()),
  'SharedMutex.run, func': () => new SharedMutex().run(func()),
  'enterSync, options': () => new SharedSpinLock().enterSync(gone()),
  'new Kernel, options': () => new Kernel(gone()),
  'new Kernel, clock': () => new Kernel({ clock: gone() }),
  'new Kernel, onError': () => new Kernel({ onError: func() }),
  'acquire, priority': () => kernel.acquire(gone()),
  'acquire, options': () => kernel.acquire(90, gone()),
  'Kernel.drain, options': () => kernel.drain(gone()),
  'Kernel.close, options': () => kernel.close(gone()),
  'startCpus, options': () => kernel.startCpus(gone()),
  'startCpus, module': () => kernel.startCpus({ module: gone() }),
  'startCpus, resourceLimits': () =>
    kernel.startCpus({ module: new URL('file:///cpu.js'), resourceLimits: gone() }),
  'transfer, list': () => transfer({}, gone()),
  'VirtualClock.tick, ms': () => new VirtualClock().tick(gone()),
  'VirtualClock.advance, ms': () => new VirtualClock().advance(gone()),
  'createTimers, kernel': () => createTimers(gone()),
  'createLocks, kernel': () => createLocks(gone()),
  'createLocks, options': () => createLocks(kernel, gone()),
  'createLocks, wq': () => createLocks(kernel, { wq: gone() }),
  'createScheduler, kernel': () => createScheduler(gone()),
  'createScheduler, options': () => createScheduler(kernel, gone()),
  'createDeadline, kernel': () => createDeadline(gone()),
  'createDeadline, options': () => createDeadline(kernel, gone()),
  'createDeadline, wq': () => createDeadline(kernel, { wq: gone() }),
  'new Deadline, kernel': () => new Deadline(gone()),
  'release, signal': () => release(gone()),
  'createExecutor, wq': () => createExecutor(gone()),
  'createExecutor, options': () => createExecutor(prilow, gone()),
  'Executor.run, func': () => createExecutor(prilow).run(func()),
  'Executor.run, options': () => createExecutor(prilow).run(nothing, gone()),
  'Executor.run, signal': () => createExecutor(prilow).run(nothing, { signal: gone() }),
  'KcontPQueue.add, lock': () => new KcontPQueue().add(nothing, { lock: gone() }),
  'KcontQueue.enqueue, lock': () => new KcontQueue().enqueue(async () => 1, { lock: gone() }),
  'pipeline, name': () => pipeline(gone()),
  'stage, name': () => pipeline('a').stage(gone(), nothing),
  'stage, func': () => pipeline('a').stage('b', func()),
  'stage, options': () => pipeline('a').stage('b', nothing, gone()),
  'stage, wq': () => pipeline('a').stage('b', nothing, { wq: gone() }),
  'stage, lock': () => pipeline('a').stage('b', nothing, { lock: gone() }),
  'keyBy, key': () => pipeline('a').keyBy(func()),
  'start, options': () => pipeline('a').stage('b', nothing).start(gone()),
  'start, kernel': () => pipeline('a').stage('b', nothing).start({ kernel: gone() }),
  'Pipeline.run, options': () => site.run(1, gone()),
  'push, callback': () => site.push(1, func()),
  'push, options': () => site.push(1, nothing, gone()),
  'through, source': () => site.through(gone()),
  'through, options': () => site.through([], gone()),
  'pump, source': () => site.pump(gone(), nothing),
  'pump, sink': () => site.pump([], gone()),
  'pump, sink, a function': () => site.pump([], func()),
  'duplex, options': () => site.duplex(gone()),
  'transform, options': () => site.transform(gone()),
  'Pipeline.drain, options': () => site.drain(gone()),
  'Pipeline.close, options': () => site.close(gone()),
  'kcont_create, wq': () => kern.kcont_create(gone(), null, nothing, 0, 0),
  'kcont_create, lock': () => kern.kcont_create(prilow, gone(), nothing, 0, 0),
  'kcont_create, flags': () => kern.kcont_create(prilow, null, nothing, 0, gone()),
  'kcont_halt, interlock': () => kern.kcont_halt(idle(), gone()),
  'kcont_workqueue_acquire, pri': () => kern.kcont_workqueue_acquire(gone(), 0),
};

describe('a revoked proxy', () => {
  for (const [name, call] of Object.entries(calls)) {
    it(`is EINVAL: ${name}`, async () => {
      let error: unknown;
      try {
        await call();
      } catch (thrown) {
        error = thrown;
      }
      expect(error).to.be.an.instanceof(KcontError).that.includes({ code: 'EINVAL' });
      expect((error as KcontError).message).to.match(
        / must be .*, got (an object that cannot be read|function \(anonymous\))$/,
      );
    });
  }

  it('is EINVAL of errno.h in functions that return a number', () => {
    expect([
      kern.kcont_schedule(idle(), gone(), 0),
      kern.kcont_schedule(idle(), null, gone()),
      kern.kcont_workqueue_release(gone()),
    ]).to.deep.equal([22, 22, 22]);
  });
});
