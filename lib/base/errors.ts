import type { Kcont } from '../core/kcont.ts';

/**
 * Stable codes of the errors that kcont throws and reports.
 *
 * - `EINVAL`: an argument out of its range, or a handle that was destroyed.
 * - `EPERM`: a lock that had to be held is not.
 * - `ENOENT`: a CPU was named for a queue that has no queue per CPU.
 * - `EBUSY`: the continuation is INVOKING.
 * - `EDEADLK`: the call would wait for itself.
 * - `ENOTSUP`: an asynchronous function on a queue for synchronous ones.
 * - `ESHUTDOWN`: the kernel has been closed.
 * - `ETIMEDOUT`: a deadline is over.
 * - `ENOMEM`: shared memory, or the number of threads that may share it, is used up.
 * - `ECPUDIED`: the CPU that ran the function is gone.
 *
 * @public
 */
export type KcontErrorCode =
  | 'EBUSY'
  | 'ENOENT'
  | 'EINVAL'
  | 'EDEADLK'
  | 'ENOMEM'
  | 'EPERM'
  | 'ENOTSUP'
  | 'ETIMEDOUT'
  | 'ECPUDIED'
  | 'ESHUTDOWN';

/**
 * The one class of errors that kcont makes itself.
 *
 * @remarks
 * Thrown at the wrong call, before anything changed; or handed to `onError` where there is no call
 * to blame. Branch on {@link KcontError.code}, never on the message.
 *
 * @public
 */
export class KcontError extends Error {
  /** What went wrong, stable between versions. */
  readonly code: KcontErrorCode;

  /**
   * Makes an error.
   *
   * @param code - the stable code
   * @param message - what was expected, then what came
   */
  constructor(code: KcontErrorCode, message: string) {
    super(message);
    this.code = code;
    setTrace(this, new.target);
  }

  static {
    Object.defineProperty(this.prototype, 'name', {
      value: 'KcontError',
      configurable: true,
      writable: true,
    });
  }
}

/**
 * A function or a class that the user has called.
 *
 * @internal
 */
export type Caller = CallableFunction | NewableFunction;

/**
 * Gives an error a stack that is headed by its code, as Node's own are, and begins where `func` was called.
 *
 * The engine writes the header when the stack is first read, from the name that the object has by then. So
 * the trace belongs to an object in between, whose name has the code: nothing is written for errors that
 * nobody prints, of which a kernel that closes may make many. To write it at once costs 5 to 10 us.
 */
function setTrace(error: KcontError, func: Caller): void {
  const titled = Object.create(error, {
    name: { value: `KcontError [${error.code}]` },
  }) as KcontError;
  Error.captureStackTrace(titled, func);
  Object.defineProperty(error, 'stack', {
    configurable: true,
    get: () => titled.stack,
    set: (value: unknown) => {
      Object.defineProperty(error, 'stack', { value, configurable: true, writable: true });
    },
  });
}

/**
 * Has the stack of an error of ours begin in the file of whoever called `func`, which is on the stack.
 *
 * @returns the error
 *
 * @internal
 */
export function traceFrom<E>(func: Caller, error: E): E {
  if (error instanceof KcontError) setTrace(error, func);
  return error;
}

/**
 * Notes in an error that nobody takes whose function threw it: the handle as `kcont`, and for who reads a
 * crash report its name as `continuation`. The handle is not enumerable: a crash report would show all its
 * insides. A value that cannot be extended, or is no error, stays as it is.
 *
 * @param crashes - whether the error is an uncaught exception
 * @returns the error
 *
 * @internal
 */
export function markError(error: unknown, kcont: Kcont<unknown>, crashes: boolean): unknown {
  try {
    if (!(error instanceof Error) || Object.hasOwn(error, 'kcont')) return error;
    const hidden = { configurable: true, writable: true };
    Object.defineProperty(error, 'kcont', { ...hidden, value: kcont });
    if (!crashes || Object.hasOwn(error, 'continuation')) return error;
    const value = `${kcont.name || '(anonymous)'} on ${kcont.wq.name}`;
    Object.defineProperty(error, 'continuation', { ...hidden, enumerable: true, value });
  } catch {
    // A proxy may throw at any of this; what is frozen does.
  }
  return error;
}

/**
 * How a value reads in an error message.
 *
 * @internal
 */
export function show(value: unknown): string {
  try {
    return describe(value);
  } catch {
    // A revoked proxy, or a getter that throws.
    return 'an object that cannot be read';
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return `function ${functionName(value) || '(anonymous)'}`;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) {
    return `an instance of ${(value.constructor as { name?: string } | undefined)?.name || 'Object'}`;
  }
  return String(value);
}

/**
 * The error for an argument that is not what it has to be.
 *
 * @internal
 */
export function invalid(name: string, expected: string, got: unknown): KcontError {
  return new KcontError('EINVAL', `${name} must be ${expected}, got ${show(got)}`);
}

/**
 * Whether a value is of a class; a proxy that was revoked is of none.
 *
 * @internal
 */
export function isA<T>(value: unknown, made: { readonly prototype: T }): value is T {
  try {
    return value instanceof (made as NewableFunction);
  } catch {
    return false;
  }
}

/**
 * Whether a value can be called; a proxy that was revoked cannot.
 *
 * @internal
 */
export function isCallable(value: unknown): boolean {
  return typeof value === 'function' && !isRevoked(value);
}

/**
 * Whether an object is a proxy that was revoked: all that is done with it throws.
 *
 * @internal
 */
export function isRevoked(value: object): boolean {
  try {
    Object.getPrototypeOf(value);
    return false;
  } catch {
    // Or the handler of a proxy throws: it is of no more use.
    return true;
  }
}

/**
 * Refuses what somebody takes for options where there are none.
 *
 * @internal
 */
export function refuseOptions(given: unknown, of: string, caller: Caller): void {
  if (given === undefined) return;
  throw traceFrom(caller, new KcontError('EINVAL', `${of} takes no options, got ${show(given)}`));
}

/**
 * Checks that a value can be called.
 *
 * @internal
 */
export function checkFunction(
  func: unknown,
  name: string = 'func',
  caller: Caller = checkFunction,
): void {
  if (!isCallable(func)) throw traceFrom(caller, invalid(name, 'a function', func));
}

/**
 * The name of a function; empty for one whose name is no text, or cannot be read.
 *
 * @internal
 */
export function functionName(func: unknown): string {
  try {
    const { name } = func as { name: unknown };
    return typeof name === 'string' ? name : '';
  } catch {
    return '';
  }
}

/**
 * The error for an asynchronous function on a FAST queue.
 *
 * @internal
 */
export function asynchronous(name: string, wq: string): KcontError {
  return new KcontError(
    'ENOTSUP',
    `${name || 'a continuation'} on ${wq} returned a promise; soft queues take synchronous functions only`,
  );
}

/**
 * There is no such CPU for that queue. The number is that of NetBSD's errno.h, as is that of each.
 *
 * @public
 */
export const ENOENT = 2;

/**
 * It is committed to run, or a halt waits.
 *
 * @public
 */
export const EBUSY = 16;

/**
 * An argument is out of its range, or the continuation was destroyed.
 *
 * @public
 */
export const EINVAL = 22;

/** @internal */
export const ESHUTDOWN = 58;
