/*
 * What the type checker knows of the workqueues that take synchronous functions only. What it cannot see is
 * found when the function has returned: ENOTSUP.
 */

import type { Kcont } from './kcont.ts';
import type { Lock } from '../locks/lock.ts';
import type { KcontOptions } from './options.ts';
import type { Workqueue } from './workqueue.ts';

declare const takesSynchronousFunctionsOnly: unique symbol;

/**
 * One of the `soft…` workqueues: as any other, but the type checker refuses what it can see to be a
 * promise.
 *
 * @remarks
 * A function whose type says nothing, or is a parameter of a generic function, is taken on a variable that
 * is declared as a `Workqueue`.
 *
 * @public
 */
export interface FastWorkqueue extends Workqueue {
  /** It takes synchronous functions only. */
  readonly fast: true;
  /** For the type checker alone. */
  readonly [takesSynchronousFunctionsOnly]: true;
}

/**
 * A workqueue that is not known to take synchronous functions only.
 *
 * @public
 */
export type SlowWorkqueue = Workqueue & { readonly [takesSynchronousFunctionsOnly]?: never };

/**
 * A workqueue, if it is not known to take synchronous functions only.
 *
 * @typeParam W - the workqueue
 *
 * @public
 */
export type UnlessFast<W extends Workqueue> = W extends FastWorkqueue ? never : W;

/**
 * What a function on a `soft…` workqueue may return: anything that is not seen to be a promise. Else it is a
 * sentence, which the type checker shows.
 *
 * @typeParam R - what it returns
 *
 * @public
 */
export type Synchronous<R> = 0 extends 1 & R
  ? unknown
  : [Extract<R, PromiseLike<unknown>>] extends [never]
    ? unknown
    : 'a function on a soft workqueue must not return a promise';

/**
 * The function of a continuation on a workqueue.
 *
 * @typeParam W - the workqueue
 * @typeParam A - its argument
 * @typeParam R - what it returns
 *
 * @public
 */
export type KcontFunctionOn<W extends Workqueue, A, R> = {
  call(arg: A, kc: Kcont<A>): R & (W extends FastWorkqueue ? Synchronous<R> : unknown);
}['call'];

/**
 * How continuations are made. See {@link KcontHandle | Kcont}.
 *
 * @public
 */
export interface KcontConstructor {
  /**
   * Makes an idle continuation.
   *
   * @param wq - where it runs, and at which priority
   * @param lock - taken before the function and released when it settles; null: none
   * @param func - what it runs; on the `soft…` workqueues it returns no promise
   * @param arg - the function's first argument
   * @param options - optional settings
   * @throws KcontError EINVAL for an argument that is not what it has to be, a released workqueue
   * or a disposed scope
   */
  new <A, R = unknown, W extends Workqueue = Workqueue>(
    wq: W,
    lock: Lock | null,
    func: KcontFunctionOn<W, A, R>,
    arg: A,
    options?: KcontOptions,
  ): Kcont<A>;
  /** What all continuations have in common. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as for a class: `instanceof` keeps the argument
  readonly prototype: Kcont<any>;
}
