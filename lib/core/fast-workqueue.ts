/*
 * Types of the workqueues that take synchronous functions only. Promises that the type checker cannot see
 * are detected when the function returns: ENOTSUP.
 */

import type { Kcont } from './kcont.ts';
import type { Lock } from '../locks/lock.ts';
import type { KcontOptions } from './options.ts';
import type { Workqueue } from './workqueue.ts';

declare const takesSynchronousFunctionsOnly: unique symbol;

/**
 * A `soft…` workqueue, on which the type checker rejects functions that return a promise.
 *
 * @remarks
 * To pass a function whose return type is a type parameter, or not known, declare the variable of the
 * workqueue as a `Workqueue`.
 *
 * @public
 */
export interface FastWorkqueue extends Workqueue {
  /** True: it takes synchronous functions only. */
  readonly fast: true;
  /** Exists only for the type checker. */
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
 * The type that a function on a `soft…` workqueue may return: any type that is not a promise.
 *
 * @remarks
 * For a promise it is a string type whose text the type checker shows.
 *
 * @typeParam R - the function's return type
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
 * @typeParam A - the function's argument
 * @typeParam R - the function's return type
 *
 * @public
 */
export type KcontFunctionOn<W extends Workqueue, A, R> = {
  call(arg: A, kc: Kcont<A>): R & (W extends FastWorkqueue ? Synchronous<R> : unknown);
}['call'];

/**
 * The settings of a continuation, in one object.
 *
 * @typeParam W - the workqueue
 * @typeParam A - the function's argument
 * @typeParam R - the function's return type
 *
 * @public
 */
export interface KcontSettings<W extends Workqueue, A, R = unknown> extends KcontOptions {
  /** The workqueue, which sets the priority. */
  wq: W;
  /** The function to run; on the `soft…` workqueues it must not return a promise. */
  func: KcontFunctionOn<W, A, R>;
  /** The function's first argument. */
  arg: A;
  /** Taken before the function and released when it settles. Default null: no lock. */
  lock?: Lock | null;
}

/**
 * The settings of a continuation whose function takes no argument.
 *
 * @typeParam W - the workqueue
 * @typeParam R - the function's return type
 *
 * @public
 */
export interface KcontSettingsWithoutArg<W extends Workqueue, R = unknown> extends KcontOptions {
  /** The workqueue, which sets the priority. */
  wq: W;
  /** The function to run; on the `soft…` workqueues it must not return a promise. */
  func: () => R & (W extends FastWorkqueue ? Synchronous<R> : unknown);
  /** Taken before the function and released when it settles. Default null: no lock. */
  lock?: Lock | null;
}

/**
 * The type of the constructor of continuations. See {@link KcontHandle | Kcont}.
 *
 * @public
 */
export interface KcontConstructor {
  /**
   * Creates an idle continuation.
   *
   * @param wq - the workqueue, which sets the priority
   * @param lock - taken before the function and released when it settles; null: no lock
   * @param func - the function to run; on the `soft…` workqueues it must not return a promise
   * @param arg - the function's first argument
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid argument, a workqueue that has been freed or a scope that
   * has been disposed
   */
  new <A, R = unknown, W extends Workqueue = Workqueue>(
    wq: W,
    lock: Lock | null,
    func: KcontFunctionOn<W, A, R>,
    arg: A,
    options?: KcontOptions,
  ): Kcont<A>;
  /**
   * Creates an idle continuation from settings in one object.
   *
   * @param settings - the workqueue, the function, its argument, the lock, and the optional settings
   * @throws as with several arguments
   */
  new <A, R = unknown, W extends Workqueue = Workqueue>(settings: KcontSettings<W, A, R>): Kcont<A>;
  /**
   * Creates an idle continuation, whose function takes no argument, from settings in one object.
   *
   * @param settings - the workqueue, the function, the lock, and the optional settings
   * @throws as with several arguments
   */
  new <A = undefined, R = unknown, W extends Workqueue = Workqueue>(
    settings: KcontSettingsWithoutArg<W, R>,
  ): Kcont<A>;
  /** The prototype of all continuations. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as for a class: `instanceof` keeps the argument
  readonly prototype: Kcont<any>;
}
