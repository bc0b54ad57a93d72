// A consumer of the drop-in APIs that is an ES module. See README.md.
import { Kernel, Mutex, VirtualClock } from 'kcont';
import { Mutex as AsyncMutex, Semaphore as AsyncSemaphore, withTimeout } from 'kcont/async-mutex';
import type { MutexInterface, SemaphoreInterface } from 'kcont/async-mutex';
import { AsyncEvent, Condition, KeyedLocks, Semaphore } from 'kcont/sync';
import { createLocks, locks, type Lock, type LockManagerSnapshot } from 'kcont/locks';
import { KcontPQueue, KcontQueue, createExecutor, type KcontQueueAddOptions } from 'kcont/p-queue';
import { TaskController, TaskSignal, createScheduler, scheduler } from 'kcont/scheduler';
import { Deadline, createDeadline, deadline, release } from 'kcont/signal';
import PQueue from 'p-queue';

const kernel = new Kernel({ clock: new VirtualClock() });

// kcont/signal: an AbortSignal for whoever takes one.
const signal: AbortSignal = deadline(500);
const left: boolean = release(createDeadline(kernel)(5));
const patience: AbortSignal = new Deadline(kernel).arm(5);

// kcont/async-mutex: its own types, and the locks of continuations.
const mutex: MutexInterface = withTimeout(new AsyncMutex(), 5);
const timed: SemaphoreInterface = withTimeout(new AsyncSemaphore(2), 5, new Error('late'));
const releaser: Promise<MutexInterface.Releaser> = mutex.acquire();
const ticket: Promise<[number, SemaphoreInterface.Releaser]> = timed.acquire(2, 1);
const exclusive: Promise<number> = mutex.runExclusive(async () => 1);

// kcont/sync: what is run gives the result.
const semaphore = new Semaphore(5, { name: 'memory' });
const weighed: Promise<string> = semaphore.run(async () => 'done', { weight: 2, priority: 100 });
const keyedRun: Promise<number> = new KeyedLocks<string>().run('a', () => 1);
const changed: number = new Condition(semaphore.ofWeight(2)).notifyAll();
const told: Promise<void> = new AsyncEvent({ autoReset: true }).wait();
for (const lock of [semaphore, new AsyncMutex(), new KeyedLocks<string>().of('a')]) {
  void kernel.wq.prilow.run(() => 1, { lock });
}

// kcont/locks: the result is that of the callback.
const locked: Promise<number> = locks.request('a', async (lock) => (lock?.name ?? '').length);
const shared: Promise<Lock | null> = createLocks(kernel).request('a', { mode: 'shared' }, (l) => l);
const snapshot: Promise<LockManagerSnapshot> = locks.query();

// kcont/scheduler: signals of tasks are AbortSignals.
const controller = new TaskController({ priority: 'background' });
const task: Promise<string> = scheduler.postTask(async () => 'done', { signal: controller.signal });
const following: AbortSignal = TaskSignal.any([signal], { priority: controller.signal });
const yielded: Promise<void> = createScheduler(kernel, { patienceMs: 5 }).yield();
controller.signal.onprioritychange = (event) => void event.previousPriority.length;

// kcont/p-queue: a queueClass, a PQueue, an executor.
const plain = new PQueue<KcontQueue, KcontQueueAddOptions>({ queueClass: KcontQueue });
const keyed: PQueue<KcontQueue, KcontQueueAddOptions> = new KcontPQueue({ concurrency: 2 });
const added: Promise<number> = keyed.add(() => 1, { lock: new Mutex(), priority: 1 });
const ran: Promise<string> = createExecutor(kernel.wq.prilow).run((own) => String(own.aborted));

// @ts-expect-error: no such priority
controller.setPriority('urgent');
// @ts-expect-error: no such mode
void locks.request('a', { mode: 'private' }, () => {});
// @ts-expect-error: signals of tasks are made by controllers
new TaskSignal();
// @ts-expect-error: the queueClass is its own
new KcontPQueue({ queueClass: KcontQueue });

export {
  added,
  changed,
  exclusive,
  following,
  keyed,
  keyedRun,
  left,
  locked,
  patience,
  plain,
  ran,
  releaser,
  shared,
  snapshot,
  task,
  ticket,
  told,
  weighed,
  yielded,
};
