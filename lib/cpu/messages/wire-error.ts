/*
 * Serialization of errors between CPUs: values that functions threw, and reasons of aborts.
 *
 * An error is transmitted as a flat table of plain records. A reference is an index into the table, so
 * a chain of causes of any length has the depth of one error, and a cycle is an earlier index:
 *
 *   root -> 0
 *   0   error    AggregateError   'all failed'   stack   errors -> 1   cause -> 0
 *   1   array    -> 2, -> 3
 *   2   error    Error            'refused'      stack   code 'ECONNREFUSED', syscall 'connect'
 *   3   clone    a Map, a Date, a buffer: a clone made by structuredClone
 *
 * A thrown value may contain anything, so every read of a user's object is guarded, and what cannot be
 * read or cloned is replaced by its text from `util.inspect`. So writing never fails. Reading makes
 * errors of the classes of the language and of Node, and never fails either. The constants below limit
 * the size; records are written breadth first, so the parts farthest from the error are cut off.
 *
 * Cost: 5 to 15 µs for an error with a code and a cause, most of it for its stack.
 */

import { inspect, types } from 'node:util';
import { KcontError, type KcontErrorCode } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import type { Ports } from './ports.ts';
import { isShared } from '../locks/structured-clone.ts';

/** The most errors, objects and arrays in one table. */
export const MOST_RECORDS = 10_000;
/** The most properties and elements in one table. */
const MOST_FIELDS = 100_000;
/** The most characters of all texts in one table, and of one text. */
const MOST_TEXT: number = 2 ** 24;
const LONGEST_TEXT: number = 2 ** 20;
/** The most bytes of one buffer. */
const MOST_BYTES: number = 2 ** 20;
/** The most characters of the text that replaces a value that cannot be cloned. */
const MOST_SHOWN = 1000;

/** A primitive value, the index of a record, or the key of a registered symbol. */
type Field =
  | string
  | number
  | boolean
  | bigint
  | null
  | undefined
  | { readonly at: number }
  | { readonly symbol: string };

/** A property: its key, whether it is enumerable, its value. */
type Property = readonly [key: string, enumerable: boolean, value: Field];

interface ErrorRecord {
  readonly kind: 'error';
  /** The name of its class. */
  readonly made: string;
  /** Its `name`; empty if it is that of the class. */
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  readonly properties: readonly Property[];
}

type WireRecord =
  | ErrorRecord
  | { readonly kind: 'object'; readonly properties: readonly Property[] }
  | { readonly kind: 'array'; readonly elements: readonly Field[] }
  | { readonly kind: 'clone'; readonly value: unknown };

/** A thrown value as it is transmitted. */
export interface WiredError {
  readonly root: Field;
  readonly records: readonly WireRecord[];
}

type ErrorClass = new (...args: never[]) => Error;

/** Classes that not every version of Node has. */
const { SuppressedError, QuotaExceededError } = globalThis as unknown as Record<
  'SuppressedError' | 'QuotaExceededError',
  ErrorClass | undefined
>;

/** The classes that can be constructed on the other CPU; subclasses come before their base classes. */
const CLASSES: ReadonlyMap<string, ErrorClass> = new Map(
  Object.entries({
    KcontError,
    SuppressedError,
    AggregateError,
    QuotaExceededError,
    DOMException,
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    Error,
  }).filter((entry): entry is [string, ErrorClass] => entry[1] !== undefined),
);

/** Properties that have a field of their own in a record. */
const READ_APART: ReadonlySet<string> = new Set(['name', 'message', 'stack']);

/** Returns the value of a function, or `otherwise` if it throws. */
function guarded<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** Whether a value is an error, even if it is of another realm. Never throws. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || guarded(() => value instanceof Error, false);
}

/** Returns a value as text. Never throws. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value.slice(0, MOST_SHOWN);
  const otherwise = typeof value === 'function' ? 'an unreadable function' : 'an unreadable object';
  const options = { depth: 0, breakLength: Infinity, maxArrayLength: 10, maxStringLength: 100 };
  return guarded(() => inspect(value, options).slice(0, MOST_SHOWN), otherwise);
}

/** Returns the message of an error, or the text of any other value. Never throws. */
export function reasonOf(error: unknown): string {
  const message = guarded(() => (error as Error).message as unknown, undefined);
  return typeof message === 'string' && message !== '' ? message : textOf(error);
}

/** Converts a thrown value to a form that can be cloned. Never throws. */
export function wireError(thrown: unknown): WiredError {
  const wired = new Writer().write(thrown);
  if (isError(thrown) || wired.isWhole) return wired.wire;
  const what = `not an error, and cannot be cloned for another CPU: ${textOf(thrown)}`;
  const error = new KcontError('EINVAL', what);
  if (typeof thrown === 'object') define(error, 'cause', thrown, false);
  return new Writer().write(error).wire;
}

/** The same with only the message, for an error that cannot be posted. */
export function wireText(thrown: unknown): WiredError {
  return new Writer().write(new KcontError('EINVAL', reasonOf(thrown))).wire;
}

class Writer {
  /** The index of each object, in the order in which the objects were found. */
  readonly #places = new Map<object, number>();
  readonly #records: WireRecord[] = [];
  #fields = MOST_FIELDS;
  #characters = MOST_TEXT;
  /** Nothing has been left out or replaced by text. */
  #isWhole = true;
  #hasErrors = false;

  write(thrown: unknown): { wire: WiredError; isWhole: boolean } {
    const root = this.#field(thrown);
    // The loop also visits the objects that are found during the loop.
    for (const value of this.#places.keys()) this.#records.push(this.#record(value));
    const records = this.#records;
    // A value without errors is cloned as a whole, which keeps holes and named properties of arrays.
    const asIs = this.#isWhole && !this.#hasErrors && this.#places.size > 0;
    const clone = asIs ? this.#clone(thrown as object) : undefined;
    const wire = { root, records: clone === undefined ? records : [clone] };
    return { wire, isWhole: this.#isWhole };
  }

  #field(value: unknown): Field {
    switch (typeof value) {
      case 'string':
        return this.#text(value);
      case 'object':
        return value === null ? null : this.#reference(value);
      case 'symbol': {
        const symbol = Symbol.keyFor(value);
        return symbol === undefined ? this.#shown(value) : { symbol };
      }
      case 'function':
        return this.#shown(value);
      case 'number':
      case 'bigint':
      case 'boolean':
      case 'undefined':
        return value;
    }
  }

  #text(text: string): string {
    const kept = text.slice(0, Math.min(this.#characters, LONGEST_TEXT));
    this.#characters -= kept.length;
    if (kept.length < text.length) this.#isWhole = false;
    return kept;
  }

  /** Returns the text that replaces a value that cannot be transmitted. */
  #shown(value: unknown): string {
    this.#isWhole = false;
    return this.#text(textOf(value));
  }

  #reference(value: object): Field {
    const known = this.#places.get(value);
    if (known !== undefined) return { at: known };
    const at = this.#places.size;
    if (at === MOST_RECORDS) return this.#shown(value);
    this.#places.set(value, at);
    return { at };
  }

  #record(value: object): WireRecord {
    if (isError(value)) return this.#error(value);
    const prototype = guarded(() => Object.getPrototypeOf(value) as unknown, undefined);
    if (guarded(() => Array.isArray(value), false)) return this.#array(value as unknown[]);
    if (prototype !== Object.prototype && prototype !== null) return this.#cloneOrText(value);
    const keys = guarded(() => Object.keys(value), undefined);
    if (keys === undefined) return this.#cloneOrText(value);
    return { kind: 'object', properties: this.#properties(value, keys) };
  }

  #error(error: Error): ErrorRecord {
    this.#hasErrors = true;
    const made = classOf(error);
    const name = guarded(() => error.name as unknown, undefined);
    const message = guarded(() => error.message as unknown, 'its message cannot be read');
    const stack = guarded(() => error.stack as unknown, undefined);
    const written = typeof name === 'string' ? this.#text(name) : '';
    const said = message === undefined ? '' : this.#text(textOfMessage(message));
    const keys = guarded(() => Object.getOwnPropertyNames(error), []);
    return {
      kind: 'error',
      made,
      name: written,
      message: said,
      stack: this.#text(typeof stack === 'string' ? stack : `${written || made}: ${said}`),
      properties: [
        ...this.#properties(
          error,
          keys.filter((key) => !READ_APART.has(key)),
        ),
        ...(made === 'QuotaExceededError' ? this.#properties(error, ['quota', 'requested']) : []),
      ],
    };
  }

  #properties(value: object, keys: readonly string[]): Property[] {
    const properties: Property[] = [];
    for (const key of keys) {
      if (!this.#hasRoom()) break;
      const enumerable = guarded(
        () => Object.prototype.propertyIsEnumerable.call(value, key),
        true,
      );
      properties.push([this.#text(key), enumerable, this.#read(value, key)]);
    }
    return properties;
  }

  #array(value: readonly unknown[]): WireRecord {
    const elements: Field[] = [];
    const length = guarded(() => value.length, 0);
    for (let i = 0; i < length && this.#hasRoom(); i++) elements.push(this.#read(value, i));
    return { kind: 'array', elements };
  }

  #hasRoom(): boolean {
    if (this.#fields-- > 0) return true;
    this.#isWhole = false;
    return false;
  }

  #read(value: object, key: string | number): Field {
    let inner: unknown;
    try {
      inner = (value as Record<string | number, unknown>)[key];
    } catch (error) {
      this.#isWhole = false;
      return this.#text(`[threw ${textOf(error)}]`);
    }
    return this.#field(inner);
  }

  #cloneOrText(value: object): WireRecord {
    return this.#clone(value) ?? { kind: 'clone', value: this.#shown(value) };
  }

  #clone(value: object): WireRecord | undefined {
    return guarded(() => {
      if (isOurs(value) || bytesOf(value) > MOST_BYTES) return undefined;
      return { kind: 'clone', value: structuredClone(value) };
    }, undefined);
  }
}

/** Whether a value is a continuation or a lock, which must not be cloned property by property. */
function isOurs(value: object): boolean {
  return value instanceof Kcont || isShared(value);
}

/** The size of a value's buffer, in bytes; 0 if it has no buffer. */
function bytesOf(value: object): number {
  if (ArrayBuffer.isView(value)) return value.buffer.byteLength;
  return types.isArrayBuffer(value) ? value.byteLength : 0;
}

function textOfMessage(message: unknown): string {
  return typeof message === 'string' ? message : textOf(message);
}

function classOf(error: Error): string {
  for (const [name, made] of CLASSES) {
    if (guarded(() => error instanceof made, false)) return name;
  }
  // It may be an error of another realm.
  const name = guarded(() => error.name as unknown, undefined);
  return typeof name === 'string' && CLASSES.has(name) ? name : 'Error';
}

/** Converts the result of `wireError` back to the thrown value. Never throws. */
export function unwireError(wired: unknown): unknown {
  try {
    return rebuild(wired as WiredError);
  } catch (error) {
    return new KcontError('EINVAL', `an error of another CPU cannot be read: ${reasonOf(error)}`);
  }
}

function rebuild({ root, records }: WiredError): unknown {
  const made = records.map(make);
  const valueOf = (field: Field): unknown => {
    if (typeof field !== 'object' || field === null) return field;
    return 'at' in field ? made[field.at] : Symbol.for(field.symbol);
  };
  for (const [at, record] of records.entries()) {
    const target = made[at] as object;
    if (record.kind === 'array') {
      for (const element of record.elements) (target as unknown[]).push(valueOf(element));
    } else if (record.kind !== 'clone') {
      for (const [key, enumerable, value] of record.properties) {
        define(target, key, valueOf(value), enumerable);
      }
    }
  }
  return valueOf(root);
}

function make(record: WireRecord): unknown {
  switch (record.kind) {
    case 'error':
      return makeError(record);
    case 'object':
      return {};
    case 'array':
      return [];
    case 'clone':
      return record.value;
  }
}

function makeError(record: ErrorRecord): Error {
  const { made, name, message, stack } = record;
  const error = guarded(() => construct(record), new Error(message));
  if (name !== '' && error.name !== name) define(error, 'name', name, false);
  if (error.message !== message) define(error, 'message', message, false);
  define(error, 'stack', stack === '' ? `${name || made}: ${message}` : stack, false);
  return error;
}

function construct({ made, name, message, properties }: ErrorRecord): Error {
  const own = (key: string): unknown => properties.find(([found]) => found === key)?.[2];
  const Made = (CLASSES.get(made) ?? Error) as new (...args: unknown[]) => Error;
  switch (made) {
    case 'KcontError':
      return new KcontError(own('code') as KcontErrorCode, message);
    case 'AggregateError':
      return new Made([], message);
    case 'SuppressedError':
      return new Made(undefined, undefined, message);
    case 'DOMException':
      return new Made(message, name);
    case 'QuotaExceededError': {
      const [quota, requested] = [own('quota') ?? undefined, own('requested') ?? undefined];
      return new Made(message, { quota, requested });
    }
    default:
      return new Made(message);
  }
}

/** Posts a thrown value to another CPU. Returns its name, for the inbox message. */
export function postError(ports: Ports, cpu: number, thrown: unknown): number {
  try {
    return ports.post(cpu, wireError(thrown));
  } catch {
    return ports.post(cpu, wireText(thrown));
  }
}

/** Returns the error that another CPU has posted by `postError`. */
export function errorFrom(claimed: [unknown] | undefined, name: string): unknown {
  if (claimed !== undefined) return unwireError(claimed[0]);
  return new KcontError('EINVAL', `the error of ${name} on another CPU cannot be read on this one`);
}

/** Defines a property, whatever its key. Does nothing if it exists and cannot be changed. */
function define(target: object, key: string, value: unknown, enumerable: boolean): void {
  Reflect.defineProperty(target, key, { value, enumerable, configurable: true, writable: true });
}
