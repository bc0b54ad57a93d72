import type { Kcont } from '../core/kcont.ts';

/**
 * The stable codes of the errors that kcont throws and reports.
 *
 * - `EINVAL`: an argument is invalid, or a handle was destroyed.
 * - `EPERM`: a lock that has to be held is not held.
 * - `ENOENT`: a CPU was named for a workqueue without a queue per CPU, or a node that has never been up.
 * - `EBUSY`: the continuation is INVOKING, or the name of a node is in use.
 * - `EDEADLK`: the call would wait for itself.
 * - `ENOTSUP`: the operation is not supported here, such as an asynchronous function on a `soft…` queue.
 * - `ESHUTDOWN`: the kernel has been closed.
 * - `ESHED`: a run was refused because of load; see `ShedError`.
 * - `ETIMEDOUT`: a deadline has passed.
 * - `ENOMEM`: shared memory, or the number of threads that can share it, is exhausted.
 * - `ECPUDIED`: the CPU or the node that ran the function has died, was stopped or was cut off.
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
  | 'ESHED'
  | 'ECPUDIED'
  | 'ESHUTDOWN';

/**
 * The class of all errors that kcont creates.
 *
 * @remarks
 * Thrown by the call that is at fault, before anything has changed, or passed to `onError` if there is
 * no such call. Test {@link KcontError.code}, not the message.
 *
 * @public
 */
export class KcontError extends Error {
  /** Identifies the kind of error; stable between versions. */
  readonly code: KcontErrorCode;

  /**
   * Creates an error.
   *
   * @param code - the stable code
   * @param message - a text that says what was expected and what was given
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
 * A function or class that user code has called.
 *
 * @internal
 */
export type Caller = CallableFunction | NewableFunction;

/**
 * Gives an error a stack whose first line contains its code, as Node's errors have, and that begins
 * where `func` was called.
 *
 * The engine writes that line when the stack is first read, from the name that the object has then. So
 * the trace is captured on an intermediate object whose name contains the code. Nothing is formatted for
 * errors that are never printed, of which a closing kernel can create many; formatting the stack
 * immediately would cost 5 to 10 us.
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
 * Makes the stack of a KcontError begin at the caller of `func`, which must be on the stack.
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
 * Records in an error that no `onError` handles which continuation threw it: the handle as `kcont` and,
 * for readers of a crash report, its name as `continuation`. The handle is not enumerable, because a
 * crash report would print all its fields. A value that is not an error, or cannot be extended, is left
 * unchanged.
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
    // A frozen error throws here, and a proxy may.
  }
  return error;
}

/**
 * Formats a value for an error message.
 *
 * @internal
 */
export function show(value: unknown): string {
  try {
    return describe(value);
  } catch {
    // It is a revoked proxy, or has a getter that throws.
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
 * Creates the error for an invalid argument.
 *
 * @internal
 */
export function invalid(name: string, expected: string, got: unknown): KcontError {
  return new KcontError('EINVAL', `${name} must be ${expected}, got ${show(got)}`);
}

/**
 * Creates an error with a cause.
 *
 * @internal
 */
export function causedBy(error: KcontError, cause: unknown): KcontError {
  Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true });
  return error;
}

/**
 * Tells whether a value is an instance of a class; false for a revoked proxy.
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
 * Tells whether a value can be called; false for a revoked proxy.
 *
 * @internal
 */
export function isCallable(value: unknown): boolean {
  return typeof value === 'function' && !isRevoked(value);
}

/**
 * Tells whether an object is a revoked proxy, on which every operation throws.
 *
 * @internal
 */
export function isRevoked(value: object): boolean {
  try {
    Object.getPrototypeOf(value);
    return false;
  } catch {
    // A proxy whose handler throws here is as unusable as a revoked one.
    return true;
  }
}

/**
 * Throws if options were passed to something that takes no options.
 *
 * @internal
 */
export function refuseOptions(given: unknown, of: string, caller: Caller): void {
  if (given === undefined) return;
  throw traceFrom(caller, new KcontError('EINVAL', `${of} takes no options, got ${show(given)}`));
}

/**
 * Whether an error says that the call was wrong, and not that it came at a wrong time.
 *
 * @internal
 */
export function isMistake(error: unknown): boolean {
  return error instanceof KcontError && (error.code === 'EINVAL' || error.code === 'ENOENT');
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
 * Returns the name of a function; empty if the name is not a string or cannot be read.
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
 * Creates the error for an asynchronous function on a `soft…` queue.
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
 * The workqueue has no queue for that CPU. The number, as those of the other codes, is from NetBSD's
 * errno.h.
 *
 * @public
 */
export const ENOENT = 2;

/**
 * The continuation is committed to run, or a halt is waiting.
 *
 * @public
 */
export const EBUSY = 16;

/**
 * An argument is invalid, or the continuation was destroyed.
 *
 * @public
 */
export const EINVAL = 22;

/** @internal */
export const ESHUTDOWN = 58;
