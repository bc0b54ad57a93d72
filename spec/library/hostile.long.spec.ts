// Random results of users' functions, at every place that calls one: each call ends as it would with
// `await`, which is the oracle.
/* oxlint-disable unicorn/no-thenable -- that is what it is about */
import { expect } from 'chai';
import fc from 'fast-check';
import { Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import {
  AWAITING,
  ENTRANCES,
  textOf,
  type Ending,
  type Func,
  type Place,
} from '../support/hostile-results.ts';
import { soak } from '../support/lab.ts';

/** The steps of a `then`. */
type Step = {
  readonly do: 'fulfil' | 'reject' | 'throw';
  readonly n: number;
  readonly later: boolean;
};

/** A result. It is created for each call, because a thenable may be used only once. */
interface Recipe {
  readonly shape: 'plain' | 'null' | 'function' | 'promise' | 'proxy';
  readonly then: 'none' | 'value' | 'getter' | 'throwing' | 'other' | 'inherited';
  readonly steps: readonly Step[];
  /** Its value; null: a number. */
  readonly inner: Recipe | null;
  readonly thrown: boolean;
}

function errorOf(n: number): unknown {
  if (n === 0) return undefined;
  return n === 1 ? Object.create(null) : new Error(`error ${n}`);
}

function make(recipe: Recipe): unknown {
  const { shape, then: how, steps, inner } = recipe;
  const base: object =
    shape === 'promise'
      ? Promise.resolve(1)
      : shape === 'function'
        ? () => 1
        : shape === 'null'
          ? (Object.create(null) as object)
          : {};
  const then = (yes: (value: unknown) => void, no: (error: unknown) => void): void => {
    for (const { do: what, n, later } of steps) {
      if (what === 'throw') throw errorOf(n);
      const value = what === 'reject' ? errorOf(n) : inner === null ? n : make(inner);
      const call = what === 'reject' ? no : yes;
      if (later) queueMicrotask(() => call(value));
      else call(value);
    }
    // Settles it in any case.
    yes(0);
  };
  if (how === 'value') Object.defineProperty(base, 'then', { value: then });
  else if (how === 'getter') Object.defineProperty(base, 'then', { get: () => then });
  else if (how === 'other') Object.defineProperty(base, 'then', { value: steps.length });
  else if (how === 'inherited') Object.setPrototypeOf(base, { then });
  else if (how === 'throwing') {
    Object.defineProperty(base, 'then', {
      get(): unknown {
        throw errorOf(steps.length);
      },
    });
  }
  return shape === 'proxy' ? new Proxy(base, {}) : base;
}

const { recipe } = fc.letrec<{ recipe: Recipe }>((tie) => ({
  recipe: fc.record({
    shape: fc.constantFrom('plain', 'null', 'function', 'promise', 'proxy'),
    then: fc.constantFrom('none', 'value', 'value', 'getter', 'throwing', 'other', 'inherited'),
    steps: fc.array(
      fc.record({
        do: fc.constantFrom('fulfil', 'fulfil', 'reject', 'throw'),
        n: fc.nat(3),
        later: fc.boolean(),
      }),
      { maxLength: 4 },
    ),
    inner: fc.option(tie('recipe'), { maxDepth: 2 }),
    thrown: fc.integer({ min: 0, max: 9 }).map((n) => n === 9),
  }),
}));

function funcOf(its: Recipe): Func {
  return () => {
    if (its.thrown) throw make(its);
    return make(its);
  };
}

/** How it ends in the language; if it is not awaited, a promise counts as any other thenable. */
async function oracle(where: string, func: Func): Promise<Ending> {
  try {
    if (AWAITING.has(where)) await func();
    else
      await new Promise((resolve) => {
        resolve({ then: (yes: (value: unknown) => void) => yes(func()) });
      });
    return 'fulfilled';
  } catch (error) {
    return textOf(error);
  }
}

describe('random results of functions', function () {
  this.timeout(600_000);

  for (const [where, enter] of Object.entries(ENTRANCES)) {
    it(`settle at ${where} as with await, and leave the lock free`, async () => {
      const property = fc.asyncProperty(
        fc.array(recipe, { minLength: 1, maxLength: 8 }),
        async (all) => {
          const clock = new VirtualClock();
          const errors: unknown[] = [];
          const kernel = new Kernel({ clock, onError: (error) => void errors.push(error) });
          for (const one of all) {
            const place: Place = { kernel, lock: new Mutex(), errors };
            const ended = enter(place, funcOf(one));
            for (let i = 0; i < 3; i++) await clock.advance(1);
            expect(await ended).to.equal(await oracle(where, funcOf(one)));
            expect(place.lock.held).to.equal(false);
            expect(kernel.inspect()).to.include({ queued: 0, running: 0 });
          }
          expect(errors).to.deep.equal([]);
        },
      );
      await fc.assert(property, { numRuns: 150 * soak });
    });
  }
});
