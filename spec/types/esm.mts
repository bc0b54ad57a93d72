// A consumer that is an ES module. See README.md.
import { Kcont, Mutex, kern as kernOfRoot, kernel, type Lock } from 'kcont';
import * as kern from 'kcont/kern';

const mutex: Lock = new Mutex();

// One world: what kern makes is the class of the root, and the other way about.
const made: Kcont<string> = kern.kcont_create(kern.wq_softnet, mutex, () => {}, 'x', 0);
const errno: number = kern.kcont_schedule(new Kcont(kernel.wq.softnet, null, () => {}, 1), null, 0);
const same: typeof kern.kcont_create = kernOfRoot.kcont_create;

// The argument's type is inferred.
const counter = new Kcont(
  kernel.wq.softnet,
  null,
  (arg, kc) => {
    const n: number = arg.n;
    const self: Kcont<{ n: number }> = kc;
    self.schedule(n);
  },
  { n: 1 },
);
const scheduled: boolean = counter.schedule(5);

// @ts-expect-error: there is no such method
counter.fire();
// @ts-expect-error: the delay is a number
counter.schedule('5');
// @ts-expect-error: what a predicate says cannot be set
counter.pending = true;
// @ts-expect-error: internal members are not declared
void counter._func;
// @ts-expect-error: the function takes another argument
new Kcont(kernel.wq.softnet, null, (arg: string) => arg.length, 5);

export { made, errno, same, scheduled };
