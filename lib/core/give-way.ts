/*
 * Giving way: an asynchronous function lets everything run that is more urgent, and comes back in order.
 *
 *   async function f        run queue                        pass
 *     await wq.yield() --->  x (higher)  y (same)  [f]  z     x, y, [f]: the promise is resolved, the pass pauses
 *     goes on <------------------------------------------- microtasks
 *                                                             z, within the budget of the same pass
 *
 * A function goes on in a microtask, and those run only when the pass has returned. So the pass returns when it has
 * resolved the promise, and is continued by the microtask that looks for runnable continuations (see dispatcher.ts).
 * Without that pause, `z` would come before the function.
 *
 * The entry is not subject to `maxActive`: the function that waits for it occupies a place itself.
 */

import type { Awaited } from './awaited.ts';
import { beginAwait, endAwait } from './begin-await.ts';
import { AT_TOP } from './invoke.ts';
import { traceFrom, type Caller } from '../base/errors.ts';
import type { Kcont } from './kcont.ts';
import type { Task } from './one-shot.ts';
import { makeOwn } from './own-kcont.ts';
import { scheduleOrThrow } from './schedule.ts';
import { LIMIT, QUIET, TASK } from './state.ts';
import type { Workqueue } from './workqueue.ts';

/** A function that has given way, and waits in the run queue. */
class Yield implements Task {
  readonly _name = 'yield';
  readonly _awaited: Awaited | null;
  readonly #kc: Kcont<Yield>;
  readonly #resolve: () => void;
  readonly #reject: (reason: unknown) => void;

  constructor(wq: Workqueue, resolve: () => void, reject: (reason: unknown) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#kc = makeOwn<Yield>(QUIET | TASK | LIMIT, wq, null, atTop, this);
    try {
      scheduleOrThrow(this.#kc);
      this._awaited = beginAwait(this.#kc);
    } catch (error) {
      this.#kc.destroy();
      throw error;
    }
  }

  /** Called by the pass. */
  run(): void {
    const { _dispatcher: dispatcher } = this.#kc._wq;
    this.#kc.destroy();
    this.#end();
    dispatcher.resumes = true;
    dispatcher.needsMicrotasks = true;
    this.#resolve();
  }

  _abort(reason: unknown): void {
    this.#kc.destroy();
    this.#end();
    this.#reject(reason);
  }

  #end(): void {
    if (this._awaited !== null) endAwait(this._awaited);
  }
}

function atTop(): object {
  return AT_TOP;
}

/** Implements `Workqueue.yield`. Stack traces begin at the caller of `caller`. */
export function giveWay(wq: Workqueue, caller: Caller): Promise<void> {
  return new Promise((resolve, reject) => {
    try {
      void new Yield(wq, resolve, reject);
    } catch (error) {
      reject(traceFrom(caller, error));
    }
  });
}
