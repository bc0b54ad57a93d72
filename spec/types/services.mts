// What a service takes from the subpaths: retries, tasks, limits, locks, scopes, load shedding, and what is seen of it.
import { Kcont, Kernel, Scope, ShedError, stopping, wq, type WorkqueueLoad } from 'kcont';
import {
  KeyedLimiter,
  SlidingWindow,
  TokenBucket,
  debounce,
  debounceAsync,
  throttle,
} from 'kcont/limits';
import { serveInspector, type Inspector, type InspectorOptions } from 'kcont/inspector';
import { list, observe, waitGraph, whyAlive, type ListEntry, type Stall } from 'kcont/observe';
import { at, every, type PeriodicTask } from 'kcont/periodic';
import { Retry, RetryBudget, retry } from 'kcont/retry';
import { AsyncEvent, Condition, KeyedLocks, Semaphore } from 'kcont/sync';

interface User {
  readonly id: string;
}
declare const user: User;

const kernel = new Kernel({ shed: { targetMs: 5 }, budgetMs: 2 });
const db = kernel.acquire(110, { name: 'db', maxActive: 4, shed: {} });
const loads: WorkqueueLoad[] = kernel.load();
try {
  const rows: number = await db.run(() => 42);
  console.log(rows, loads[0]?.waitMs);
} catch (error) {
  if (error instanceof ShedError) console.log(error.code === 'ESHED', error.retryAfterMs);
}
// @ts-expect-error -- a number of ms
kernel.acquire(110, { shed: { targetMs: '5' } });

const idle: Kcont<User> = new Kcont({
  wq: wq.softclock,
  func: (it) => console.log(it.id),
  arg: user,
  name: 'idle',
});
idle.schedule(1000);
// @ts-expect-error -- a soft workqueue takes synchronous functions only
new Kcont({ wq: wq.softclock, func: async (it: User) => it.id, arg: user });

await using scope = new Scope({ name: 'request', deadlineMs: 1000 });
const answer: Promise<string> = scope.run(async (signal) =>
  stopping(signal) ? 'late' : 'in time',
);
const results: unknown[] = await scope.join({ policy: 'all' });
console.log(await answer, results.length);
await wq.prilow.yield();

const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 1 });
const text: string = await retry((signal) => (signal.aborted ? 'aborted' : 'done'), {
  attempts: 3,
  budget,
});
const handle = new Retry(() => 7, { backoff: { baseMs: 10, jitter: 'full' } });
const seven: number = await handle.result;
console.log(text, seven, handle.state, handle.errors.length);

const sweep: PeriodicTask = every(1000, (task) => console.log(task.runs), { overrun: 'merge' });
at(new Date(2040, 0, 1), () => undefined, { ref: false }).stop();
sweep.stop();

const save = debounce((it: User, text: string) => `${it.id}: ${text}`, 500, {
  keyBy: (it) => it.id,
});
const saved: string | undefined = save(user, 'text');
// @ts-expect-error -- the arguments of the function
save('text');
const sent: Promise<number> = debounceAsync(async (n: number) => n, 5)(1);
throttle(() => undefined, 5)();
const bucket = new TokenBucket({ ratePerSecond: 5, burst: 20 });
const perUser = new KeyedLimiter<string>(() => new SlidingWindow({ limit: 1, windowMs: 10 }));
const isAllowed: boolean = perUser.tryTake(user.id) && bucket.tryTake();
console.log(saved, await sent, isAllowed);

const memory = new Semaphore(512, { name: 'memory' });
const page: string = await memory.run(() => 'page', { weight: 64 });
new Kcont(wq.prilow, memory.ofWeight(8), () => undefined, null).destroy();
const accounts = new KeyedLocks<string>();
const sum: number = await accounts.run(user.id, async () => 1);
const ready = new Condition(accounts.of('a'));
const opened = new AsyncEvent({ autoReset: true });
opened.set();
console.log(page, sum, ready.notifyAll(), opened.isSet);

using observation = observe({ onStall: (stall: Stall) => console.log(stall.message), watch: true });
const waiting: ListEntry[] = list(kernel, { state: 'waiting' });
console.log(
  waiting.length,
  whyAlive(kernel),
  waitGraph(kernel).deadlocks.length,
  observation.recording?.records(),
);

const inspectorOptions: InspectorOptions = {
  port: 0,
  host: '127.0.0.1',
  allowedHosts: ['build.example'],
};
await using inspector: Inspector = await serveInspector(inspectorOptions);
const link: string = inspector.url;
console.log(link, inspector.port.toFixed());
await inspector.close();
