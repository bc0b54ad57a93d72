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

export { answer, any, codeOf, errno, late, made, other, same, scheduled, waited, wrong };
