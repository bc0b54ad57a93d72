// A consumer of the drop-in APIs that is an ES module. See README.md.
import { Kernel, Mutex, VirtualClock } from 'kcont';
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
  following,
  keyed,
  left,
  locked,
  patience,
  plain,
  ran,
  shared,
  snapshot,
  task,
  yielded,
};
