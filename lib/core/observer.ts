/*
 * What the core tells an observer, which `kcont/observe` implements: the core imports none of it.
 *
 *    schedule --> scheduled                    stop --> stopped
 *    expiry ----> expired
 *    dispatch --> waits (its lock is held)
 *            \--> entered --> suspended (it returned a promise) --> failed --> settled
 *
 * A dispatcher without an observer pays for one comparison in each of these places. The paths of
 * continuations that need no more than most do (see dispatch.ts) are left while there is an observer, and
 * compare nothing.
 *
 * An observer must not throw. When it is told that a continuation was scheduled, entered, suspended or
 * settled, nothing is half done: it may call whatever a function of a continuation may call. When it is told
 * anything else, it must not schedule or stop anything.
 */

import type { Caller } from '../base/errors.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Kcont, KcontFunction } from './kcont.ts';
import type { Kernel } from './kernel.ts';

/**
 * Told what happens to the continuations of one dispatcher.
 *
 * @internal
 */
export interface Observer {
  /** It has been created, with all but the bits that the library itself sets. */
  created(kc: Kcont<unknown>): void;
  /** It has become PENDING or QUEUED. `before`: its state bits before. */
  scheduled(kc: Kcont<unknown>, before: number): void;
  /**
   * `schedule` or `reset` was refused, because it is busy, it was destroyed or its kernel is closing; or `touch`,
   * because it is not PENDING. `by`: the method that returns false.
   */
  refused(kc: Kcont<unknown>, by: Caller): void;
  /** Its timer has expired. */
  expired(kc: Kcont<unknown>): void;
  /** It begins to wait for its lock, or waits again. */
  waits(kc: Kcont<unknown>): void;
  /**
   * Its function is about to be called, and its AsyncLocalStorage context has not been read yet. `before`: its state bits before; EXPIRED: its timer has expired;
   * WAITED: it was set aside, to wait for its lock, a place within `maxActive`, its own earlier run or another CPU.
   *
   * @returns the function to be called: `func`, or one that calls it
   */
  entered(kc: Kcont<unknown>, before: number, func: KcontFunction<unknown>): KcontFunction<unknown>;
  /** Its function has returned a promise. */
  suspended(kc: Kcont<unknown>): void;
  /** Its function has returned or thrown, or its promise has settled, and its lock has been released. */
  settled(kc: Kcont<unknown>): void;
  /** A run that was scheduled has been withdrawn. */
  stopped(kc: Kcont<unknown>): void;
  /**
   * Its function has failed, and it is about to settle. The error is undefined if the host gets it as an uncaught
   * exception.
   */
  failed(kc: Kcont<unknown>, error: unknown): void;
  /** A job is sent to other CPUs. Returns what is to be its `carrier` there. */
  sent(kc: Kcont<unknown>): Readonly<Record<string, string>> | undefined;
}

/**
 * What `kcont/observe` sets: `make` makes the observer of each kernel that is created, and `debug` starts its debug
 * mode.
 *
 * @internal
 */
export const observing: {
  make: ((dispatcher: Dispatcher) => Observer) | null;
  debug: ((kernel: Kernel) => void) | null;
} = { make: null, debug: null };
