// A consumer that is an ES module. See README.md.
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  RWLock,
  Scope,
  VirtualClock,
  kern as kernOfRoot,
  kernel,
  wq,
  type FastWorkqueue,
  type KcontFunction,
  type KcontOptions,
  type Lock,
  type Workqueue,
} from 'kcont';
import * as kern from 'kcont/kern';

// One world: what kern makes is the class of the root, and the other way about.
const mutex: Lock = new Mutex();
const made: Kcont<string> = kern.kcont_create(kern.wq_softnet, mutex, () => {}, 'x', 0);
const errno: number = kern.kcont_schedule(new Kcont(wq.softnet, null, () => {}, 1), null, 0);
const queue: Workqueue = kern.kcont_workqueue_acquire(kern.PRI_SOFTBIO, 0);
const same: typeof kern.kcont_create = kernOfRoot.kcont_create;

// The type of the argument is inferred, and holds for the function and for setArg.
const counter = new Kcont(
  queue,
  new RWLock().write,
  (arg, kc) => {
    const n: number = arg.n;
    const self: Kcont<{ n: number }> = kc;
    self.schedule(n);
  },
  { n: 1 },
);
counter.setArg({ n: 2 });
const scheduled: boolean = counter.schedule(5) || counter.touch();
const waited: Promise<boolean> = counter.halt();

// Synchronous or not, named or not, with options or without.
const slow: KcontFunction<number> = async (arg) => {
  await Promise.resolve(arg);
};
const options: KcontOptions = { name: 'slow', scope: new Scope(), context: 'none' };
const late = new Kcont(wq.prilow, null, slow, 1, options);
const any: Kcont<never> | Kcont<unknown> = new Kcont<unknown>(wq.prilow, null, () => {}, undefined);

// On the soft queues what can be seen to be a promise is refused; anything else may be returned.
const soft: FastWorkqueue = wq.softnet;
const list: number[] = [];
new Kcont(soft, null, (n) => list.push(n), 1);
new Kcont(soft, null, () => new Map(), 1);
new Kcont(soft, null, (n) => (n > 1 ? n : 'few'), 1);
new Kcont(soft, null, (): unknown => undefined, 1);
new Kcont(soft, null, (): any => undefined, 1);
new Kcont(soft, null, (n: number, kc) => kc.schedule(n), 1);
new Kcont<string>(soft, null, () => {}, 'x');
const count: KcontFunction<number> = (n) => list.push(n);
new Kcont(soft, null, count, 1);
kern.kcont_create(kern.wq_softclock, null, (n) => list.push(n), 1, 0);
const length: Promise<number> = soft.run((text: string) => text.length, { arg: 'x' });
const done: Promise<void> = wq.softbio.run(() => {});
// @ts-expect-error: an asynchronous function
new Kcont(soft, null, async () => {}, 1);
// @ts-expect-error: an asynchronous function that takes the argument
new Kcont(wq.softclock, null, async (n) => void n.toFixed(), 1);
// @ts-expect-error: a promise
new Kcont(soft, null, () => Promise.resolve(1), 1);
// @ts-expect-error: perhaps a promise
new Kcont(soft, null, (n): void | PromiseLike<void> => void n, 1);
// @ts-expect-error: an asynchronous function
kern.kcont_create(kern.wq_softclock, null, async () => {}, 1, 0);
// @ts-expect-error: an asynchronous function
void soft.run(async () => 1);
// @ts-expect-error: an asynchronous function with an argument
void soft.run(async (text: string) => text.length, { arg: 'x' });

// What may be any queue takes any function.
const some: Workqueue = wq.softnet;
const name = 'softnet' as keyof typeof wq;
new Kcont(some, null, async (n) => void n.toFixed(), 1);
new Kcont(wq[name], null, async () => {}, 1);
const six: Promise<number> = wq[name].run(async (n: number) => n + 1, { arg: 5 });
const explicit: Promise<number> = some.run<number>(async () => 1);

// The settings in one object, in any order.
const held = new Kcont({
  lock: mutex,
  func: (arg, kc) => {
    const n: number = arg.n;
    const self: Kcont<{ n: number }> = kc;
    self.schedule(n);
  },
  wq: wq.prilow,
  arg: { n: 1 },
  name: 'held',
  scope: new Scope(),
});
held.setArg({ n: 2 });
const bare: Kcont<undefined> = new Kcont({ wq: wq.softclock, func: () => list.push(1) });
new Kcont({ wq: wq.prihigh, func: async () => {}, slackMs: 5 });
new Kcont<string>({ wq: soft, func: (text) => list.push(text.length), arg: 'x' });
// @ts-expect-error: an asynchronous function
new Kcont({ wq: soft, func: async () => {} });
// @ts-expect-error: an asynchronous function with an argument
new Kcont({ wq: soft, func: async (n: number) => void n.toFixed(), arg: 1 });
// @ts-expect-error: the function takes another argument
new Kcont({ wq: soft, func: (text: string) => void text.length, arg: 5 });
// @ts-expect-error: the function takes an argument, and there is none
new Kcont({ wq: soft, func: (text: string) => void text.length });
// @ts-expect-error: there is no workqueue
new Kcont({ func: () => {} });
// @ts-expect-error: no such option
new Kcont({ wq: soft, func: () => {}, nmae: 'x' });

// A class as before.
class Beat extends Kcont<string> {
  again(): boolean {
    this.setArg('again');
    return this.reset(5);
  }
}
class Connection {
  readonly idle = new Kcont(wq.softclock, null, (self) => self.close(), this);
  close(): void {
    this.idle.destroy();
  }
}
function later<T>(queue: Workqueue, arg: T, func: (arg: T) => void): Kcont<T> {
  return new Kcont(queue, null, func, arg);
}
function namesOf(value: Kcont<number> | string): string {
  return value instanceof Kcont ? value.name : value;
}

// A test's kernel.
const clock = new VirtualClock();
const test = new Kernel({ clock, onError: (error, kc) => void [error, kc.name] });
test.wq.softclock satisfies Workqueue;
clock.tick(10);

const answer: Promise<number> = kernel.wq.prihigh.run(async (signal) => (signal.aborted ? 1 : 2));

function codeOf(error: unknown): string {
  return error instanceof KcontError ? error.code : '';
}

// @ts-expect-error: there is no such method
counter.fire();
// @ts-expect-error: a delay is a number
counter.schedule('5');
// @ts-expect-error: what a predicate says cannot be set
counter.pending = true;
// @ts-expect-error: internal members are not declared
void counter._state;
// @ts-expect-error: the argument has another type
counter.setArg({ n: 'two' });
// @ts-expect-error: the function takes another argument
new Kcont(wq.softnet, null, (arg: string) => void arg.length, 5);
// @ts-expect-error: continuations of different arguments are different types
const other: Kcont<string> = counter;
// @ts-expect-error: null says that there is no lock, leaving it out does not
new Kcont(wq.softnet, () => {}, 5);
// @ts-expect-error: a lock is no object with the same names
new Kcont(wq.softnet, { held: true }, () => {}, 5);
// @ts-expect-error: no such option
new Kcont(wq.softnet, null, () => {}, 5, { nmae: 'x' });
// @ts-expect-error: no such code
const wrong: KcontError['code'] = 'ENOSUCH';

export { Beat, Connection, bare, done, explicit, later, length, namesOf, six };
export { answer, any, codeOf, errno, late, made, other, same, scheduled, waited, wrong };
