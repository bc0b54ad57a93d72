// What nothing can beat: a bare field store, one look at the clock, a bare array of functions.

import type { Side } from './bench.ts';
import { permutation } from './random.ts';
import { expectSame, sink, timed } from './timed.ts';

/** As many fields as a handle has, so that as many share a cache line. */
export class Bare {
  next: Bare = this;
  prev: Bare = this;
  seq = 0;
  era = 0;
  state = 0;
  due = 0;
  delay = 30_000;
  wq: object | null = null;
  lock: object | null = null;
  func: (() => void) | null = null;
  arg: object | null = null;
  details: object | null = null;
}

/** A field of one of these many objects, in random order, gets a new value. */
export function bareStore(count: number = 1): Side {
  return timed('floor', 'a bare field store', () => {
    const objects = Array.from({ length: count }, () => new Bare());
    const order = permutation(count);
    let now = 0;
    return {
      batch: count,
      run(ops) {
        now++;
        for (let done = 0; done < ops; done += count) {
          for (let i = 0; i < count; i++) {
            const object = objects[order[i] as number] as Bare;
            object.due = now + object.delay;
          }
        }
      },
      check: () => expectSame('the last store', objects[0]?.due ?? 0, now + 30_000),
    };
  });
}

/** `performance.now()`. */
export function clockRead(): Side {
  return timed('floor', 'one clock read', {
    run(ops) {
      let sum = 0;
      for (let i = 0; i < ops; i++) sum += performance.now();
      sink(sum);
    },
  });
}

/** An object as large as a handle, made and dropped. */
export function bareObject(): Side {
  return timed('floor', 'a bare object', {
    run(ops) {
      for (let i = 0; i < ops; i++) sink(new Bare());
    },
  });
}

/** A bare array of functions, filled and called in its order. */
export function bareCalls(count: number): Side {
  const arg = new Bare();
  const queue: ((arg: Bare) => void)[] = Array.from({ length: count }, () => () => undefined);
  const args: Bare[] = Array.from({ length: count }, () => arg);
  let called = 0;
  const func = (bare: Bare): void => {
    called += bare.delay === 0 ? 0 : 1;
  };
  return timed('floor', 'a bare array of functions', {
    batch: count,
    run(ops) {
      called = 0;
      for (let done = 0; done < ops; done += count) {
        for (let i = 0; i < count; i++) {
          queue[i] = func;
          args[i] = arg;
        }
        for (let i = 0; i < count; i++) queue[i]?.(args[i] as Bare);
      }
    },
    check: (ops) => expectSame('functions called', called, ops),
  });
}

/** A promise that is fulfilled. */
export const soon: Promise<void> = Promise.resolve();

/** `await` of nothing. */
export function awaited(): Side {
  return timed('floor', 'an await', {
    async run(ops) {
      for (let i = 0; i < ops; i++) await soon;
    },
  });
}
