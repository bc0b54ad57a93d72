/*
 * Reading of options. Each options object of the library is declared once, as a list of names with the
 * check of each value.
 *
 *   const CLOSE = optionsOf('close', { graceMs: FINITE_MS });
 *   const { graceMs = GRACE_MS } = readOptions(options, CLOSE);
 *
 * Each option is read once. It may be an own property or come from a prototype (a class with accessors),
 * but not from Object.prototype: a property that some package has added there is not an option. An option
 * that is undefined counts as omitted. Unknown names are refused: they are usually misspelt, or options
 * of another library.
 */

import { KcontError, causedBy, invalid, isCallable, traceFrom, type Caller } from './errors.ts';

/**
 * The check of an option's value: a description and a test.
 *
 * @internal
 */
export interface Kind {
  readonly expected: string;
  readonly fits: (value: unknown) => boolean;
}

/**
 * Creates a check.
 *
 * @param expected - the description that follows "must be" in a message
 * @param fits - the test
 *
 * @internal
 */
export function kindOf(expected: string, fits: (value: unknown) => boolean): Kind {
  return { expected, fits };
}

/**
 * The declaration of an options object.
 *
 * @internal
 */
export interface Shape<O> {
  /** The name of the function or class that takes it, for messages. */
  readonly of: string;
  readonly kinds: Readonly<Record<string, Kind>>;
  /** The result if no options are given: each is undefined. */
  readonly none: O;
  /** Creates an object in which each option is undefined. */
  readonly blank: () => O;
}

/**
 * Declares an options object.
 *
 * @param of - the name of the function or class that takes it, for messages
 * @param kinds - the check of each option
 * @param blank - creates an object in which each option is undefined: a literal saves 25 ns
 *
 * @internal
 */
export function optionsOf<O>(
  of: string,
  kinds: { readonly [N in keyof O]-?: Kind },
  blank?: () => { [N in keyof O]?: undefined },
): Shape<O> {
  const none: Record<string, unknown> = {};
  for (const name in kinds) if (kinds[name] !== GIVEN) none[name] = undefined;
  return {
    of,
    kinds: { __proto__: null as never, ...kinds },
    none: none as O,
    blank: (blank ?? (() => ({ ...none }))) as () => O,
  };
}

/** @internal */
export const ANYTHING: Kind = kindOf('anything', () => true);
/**
 * Any value, including undefined: the result has the option only if it was given.
 *
 * @internal
 */
export const GIVEN: Kind = { ...ANYTHING };
/** @internal */
export const TEXT: Kind = kindOf('a string', (value) => typeof value === 'string');
/** @internal */
export const NAME: Kind = kindOf(
  'a string that is not empty',
  (value) => typeof value === 'string' && value !== '',
);
/** @internal */
export const FLAG: Kind = kindOf('a boolean', (value) => typeof value === 'boolean');
/** @internal */
export const MOVABLE: Kind = kindOf(
  'an array of objects that can be moved',
  // `Array.from` turns holes into undefined, which is not an object.
  (list) => Array.isArray(list) && Array.from(list).every(isObject),
);
/** @internal */
/** An options object within options, which is read on its own. */
export const OPTIONS: Kind = kindOf(
  'an object',
  (value) => typeof value === 'object' && value !== null,
);

export const FUNCTION: Kind = kindOf('a function', isCallable);
/** @internal */
export const SIGNAL: Kind = kindOf('an AbortSignal', (value) => value instanceof AbortSignal);
/** @internal */
export const FINITE_MS: Kind = numberOf(
  'a finite number of ms from 0 to 2^53-1',
  0,
  Number.MAX_SAFE_INTEGER,
);
/** @internal */
export const POSITIVE_MS: Kind = numberOf(
  'a finite number of ms > 0, at most 2^53-1',
  Number.MIN_VALUE,
  Number.MAX_SAFE_INTEGER,
);
/** @internal */
export const PATIENCE: Kind = numberOf('a number >= 0', 0, Infinity);

/**
 * Creates the check of a number within bounds; NaN is never valid.
 *
 * @internal
 */
export function numberOf(expected: string, least: number, most: number): Kind {
  return kindOf(expected, (value) => typeof value === 'number' && value >= least && value <= most);
}

/**
 * Creates the check of an integer within bounds. Infinity is valid if `most` is Infinity.
 *
 * @internal
 */
export function integerOf(expected: string, least: number, most: number): Kind {
  const { fits } = numberOf(expected, least, most);
  return kindOf(
    expected,
    (value) => fits(value) && (Number.isInteger(value) || value === Infinity),
  );
}

/**
 * Creates the check of a value that is one of some words.
 *
 * @internal
 */
export function oneOf(expected: string, ...words: readonly string[]): Kind {
  return kindOf(expected, (value) => words.includes(value as string));
}

/** @internal */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/**
 * Checks a value, and throws if it is invalid.
 *
 * @internal
 */
export function check(name: string, kind: Kind, value: unknown, caller: Caller = check): void {
  if (!isFit(kind, value)) throw traceFrom(caller, invalid(name, kind.expected, value));
}

function isFit(kind: Kind, value: unknown): boolean {
  try {
    return kind.fits(value);
  } catch {
    // The value is a revoked proxy.
    return false;
  }
}

/**
 * Reads and checks options, before anything has changed.
 *
 * @param options - the options that were given
 * @param shape - their declaration
 * @param caller - the function that user code has called: stack traces begin at its caller
 * @returns the options as own properties; undefined: omitted
 *
 * @internal
 */
export function readOptions<O extends object>(
  options: O | undefined,
  shape: Shape<O>,
  caller: Caller = readOptions,
): O {
  if (options === undefined) return shape.none;
  try {
    const { kinds } = shape;
    const found = shape.blank() as Record<string, unknown>;
    for (const name of readNames(options, kinds)) {
      const kind = kinds[name];
      if (kind === undefined) throw unknown(name, shape);
      const value = readOption(options, name, kind);
      if (value !== undefined) check(name, kind, value);
      found[name] = value;
    }
    return found as O;
  } catch (error) {
    throw traceFrom(caller, error);
  }
}

function readOption(options: object, name: string, { expected }: Kind): unknown {
  try {
    return (options as Record<string, unknown>)[name];
  } catch (error) {
    const why = `${name} must be ${expected}, got a getter that throws`;
    throw causedBy(new KcontError('EINVAL', why), error);
  }
}

function readNames(options: unknown, kinds: object): string[] {
  try {
    if (typeof options === 'object' && options !== null && !Array.isArray(options)) {
      return namesOf(options, kinds);
    }
  } catch {
    // The options are a revoked proxy.
  }
  throw invalid('options', 'an object', options);
}

/** The names of given options, without those that all objects have. */
function namesOf(options: object, kinds: object): string[] {
  const names = Object.getOwnPropertyNames(options);
  let at = Object.getPrototypeOf(options) as object | null;
  for (; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null) {
    for (const name of Object.getOwnPropertyNames(at)) {
      // Methods of a class are not options; an enumerable property was meant to be one.
      const isMeant = name in kinds || Object.prototype.propertyIsEnumerable.call(at, name);
      if (isMeant && !names.includes(name)) names.push(name);
    }
  }
  return names;
}

/** Option names of other libraries, and the corresponding names here. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  __proto__: null as never,
  concurrency: ['maxActive', 'limit'],
  timeout: ['deadlineMs', 'graceMs', 'patienceMs'],
  unref: ['ref'],
};

function unknown(name: string, { of, kinds }: Shape<unknown>): KcontError {
  const names = Object.keys(kinds);
  const near = ELSEWHERE[name]?.find((other) => names.includes(other)) ?? nearest(name, names);
  const hint =
    near === undefined ? '' : `; did you mean ${name === 'unref' ? 'ref: false' : `'${near}'`}?`;
  return new KcontError('EINVAL', `unknown option '${name}' of ${of}${hint}`);
}

/** Finds the known name that differs in a few letters or has the same beginning. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const a = name.toLowerCase();
  for (let most = 0; most < 3; most++) {
    for (const other of known) {
      const b = other.toLowerCase();
      const isAlike = most > 0 && (a.startsWith(b) || b.startsWith(a));
      if (isAlike || isNear(a, b, most)) return other;
    }
  }
  return undefined;
}

/** Whether the edit distance of two strings is at most `most`. */
function isNear(a: string, b: string, most: number): boolean {
  if (a === b) return true;
  if (most === 0) return false;
  let i = 0;
  while (a[i] === b[i]) i++;
  const [restA, restB] = [a.slice(i + 1), b.slice(i + 1)];
  return (
    isNear(restA, restB, most - 1) ||
    isNear(restA, b.slice(i), most - 1) ||
    isNear(a.slice(i), restB, most - 1)
  );
}
