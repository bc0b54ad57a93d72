/*
 * Tokens: handles, locks and errors in a value that is posted are replaced by tokens. The receiver
 * replaces a token by its own Kcont or lock object for the same handle or lock, or by an error of the
 * same class.
 *
 *   [0, value]                           a value without handles, locks and errors, unchanged
 *   [1, copy, [[parent, key, token]]]    a copy of its arrays and plain objects; each entry of the list
 *                                        says which token belongs to which property of which parent
 *
 * The parents are objects of the copy, and structured clone preserves their identity. So nothing in a
 * user's value can be mistaken for a token.
 *
 * Tokens are made for what is in arrays and plain objects, at any depth and with cycles, but not for
 * what is in maps, sets and instances of classes. Everything else is left to structuredClone. The code
 * is not recursive, so a value may be nested as deeply as structuredClone allows.
 *
 * Reading a user's value may throw. Then `encode` throws the same, and has no effect.
 */

import { KcontError } from '../../base/errors.ts';
import { BaseLock } from '../../locks/lock.ts';
import { RWLock } from '../../locks/rw-lock.ts';
import { ofOneCpu } from '../threads/cpu-module.ts';
import { Kcont } from '../../core/kcont.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { ThreadGate } from '../locks/thread-gate.ts';
import {
  attachIn,
  isShared,
  placeOf,
  type LockPlace,
  type Passable,
} from '../locks/structured-clone.ts';
import { isError, reasonOf, unwireError, wireError, type WiredError } from './wire-error.ts';

type Token =
  | { readonly lock: LockPlace }
  | { readonly error: WiredError }
  | { readonly block: number; readonly handle: number };

type Parent = Record<string, unknown> | unknown[];

/** A token and its place. It replaces the whole value if there is no parent. */
type Patch = readonly [parent: Parent | null, key: string, token: Token];

/** A value as it is posted. */
export type Wire = readonly [0, unknown] | readonly [1, unknown, readonly Patch[]];

/** The locks in a value that was sent. The sender keeps them until the value has been read. */
export class Sent {
  readonly #gates = new Set<ThreadGate>();

  add({ _gate: gate }: Passable): void {
    if (this.#gates.has(gate)) return;
    gate.send();
    this.#gates.add(gate);
  }

  get isEmpty(): boolean {
    return this.#gates.size === 0;
  }

  /** Takes over the locks of another object, which is empty then. */
  adopt(other: Sent): void {
    for (const gate of other.#gates) {
      if (this.#gates.has(gate)) gate.endSend();
      else this.#gates.add(gate);
    }
    other.#gates.clear();
  }

  /** Lets go of the locks: the value has been read, or will never be read. */
  end(): void {
    for (const gate of this.#gates) gate.endSend();
    this.#gates.clear();
  }
}

/** A sender of values, which keeps the locks in them until they have been read. */
export interface Sender {
  keep(sent: Sent): void;
}

/** What the codec asks of the handles of its CPU. */
export interface TokenHandles {
  /** Returns why a continuation cannot run on another CPU; undefined if it can. */
  whyNot(kc: Kcont<unknown>): KcontError | undefined;
  /** Returns the entry of a handle that is to be sent to another CPU. */
  entryFor(kc: Kcont<unknown>): { readonly block: number; readonly handle: number };
  /** Returns the entry of the handle in a token. */
  entryOf(block: number, handle: number): { readonly kc: Kcont<unknown> };
}

/** Encodes and decodes the values that one CPU sends and receives. */
export class Codec {
  readonly #cpu: CpuContext;
  readonly #handles: TokenHandles;

  constructor(cpu: CpuContext, handles: TokenHandles) {
    this.#cpu = cpu;
    this.#handles = handles;
  }

  /**
   * Encodes a value for posting.
   *
   * Throws KcontError EINVAL for a continuation that cannot leave its CPU, ENOMEM if there is no shared
   * memory for a lock, and everything that reading the value throws.
   *
   * @param sender - gets the locks in the value, if there are any
   */
  encode(value: unknown, sender: Sender): Wire {
    if (typeof value !== 'object' || value === null || !hasTokens(value)) return [0, value];
    const own = new Sent();
    try {
      const wire = this.#replace(value, own);
      if (!own.isEmpty) sender.keep(own);
      return wire;
    } catch (error) {
      own.end();
      throw error;
    }
  }

  /**
   * Decodes a value that was posted.
   *
   * Throws KcontError EINVAL if a lock in it has been freed.
   */
  decode(wire: unknown): unknown {
    const [kind, value, patches] = wire as Wire;
    if (kind === 0) return value;
    const made = new Map<Token, unknown>();
    for (const [parent, key, token] of patches) {
      if (!made.has(token)) made.set(token, this.#untoken(token));
      if (parent === null) return made.get(token);
      put(parent, key, made.get(token));
    }
    return value;
  }

  #replace(root: object, sent: Sent): Wire {
    const patches: Patch[] = [];
    const copies = new Map<object, Parent>();
    const tokens = new Map<object, Token>();
    const copyOf = (value: object, parent: Parent | null, key: string): unknown => {
      const known = copies.get(value);
      if (known !== undefined) return known;
      if (isToken(value)) {
        const token = tokens.get(value) ?? this.#tokenFor(value, sent);
        tokens.set(value, token);
        patches.push([parent, key, token]);
        return null;
      }
      if (!isPlain(value)) return value;
      const copy: Parent = Array.isArray(value) ? [] : {};
      copies.set(value, copy);
      return copy;
    };
    const whole = copyOf(root, null, '');
    for (const [value, copy] of copies) {
      if (Array.isArray(copy)) copy.length = (value as unknown[]).length;
      for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
        const isObject = typeof inner === 'object' && inner !== null;
        put(copy, key, isObject ? copyOf(inner, copy, key) : inner);
      }
    }
    return [1, whole, patches];
  }

  #tokenFor(value: object, sent: Sent): Token {
    if (isShared(value)) {
      const { arena } = value._gate;
      if (arena !== this.#cpu.arena)
        throw new KcontError('EINVAL', 'a lock in it belongs to another kernel');
      sent.add(value);
      return { lock: placeOf(value) };
    }
    if (isOfOneCpu(value)) throw new KcontError('EINVAL', ofOneCpu('a lock in it'));
    if (!(value instanceof Kcont)) return { error: wireError(value) };
    const kc = value as Kcont<unknown>;
    if (kc._wq.kernel !== this.#cpu.kernel) {
      throw new KcontError('EINVAL', `${kc.name} belongs to another kernel`);
    }
    if (kc._remote === null) {
      const problem = this.#handles.whyNot(kc);
      if (problem !== undefined) throw problem;
    }
    const { block, handle } = this.#handles.entryFor(kc);
    return { block, handle };
  }

  #untoken(token: Token): unknown {
    if ('lock' in token) return attachIn(this.#cpu.arena, token.lock);
    if ('error' in token) return unwireError(token.error);
    this.#cpu.memory.reach(token.block + 31);
    return this.#handles.entryOf(token.block, token.handle).kc;
  }
}

/** Makes the error for a value that cannot be sent to another CPU. */
export function uncloneable(what: string, error: unknown): KcontError {
  const code = error instanceof KcontError && error.code === 'ENOMEM' ? 'ENOMEM' : 'EINVAL';
  const message = `${what} cannot be cloned for another CPU: ${reasonOf(error)}`;
  return Object.assign(new KcontError(code, message), { cause: error });
}

function hasTokens(root: object): boolean {
  // A loop over a Set also visits what is added during the loop.
  const found = new Set([root]);
  for (const value of found) {
    if (isToken(value)) return true;
    if (!isPlain(value)) continue;
    for (const inner of Object.values(value)) {
      if (typeof inner === 'object' && inner !== null) found.add(inner);
    }
  }
  return false;
}

/** Sets a property, also `__proto__`, which an assignment would not define. */
function put(parent: Parent, key: string, value: unknown): void {
  if (key !== '__proto__') (parent as Record<string, unknown>)[key] = value;
  else {
    const property = { value, enumerable: true, configurable: true, writable: true };
    Object.defineProperty(parent, key, property);
  }
}

function isToken(value: object): boolean {
  // Locks of one CPU too, so that tokenFor refuses them.
  return value instanceof Kcont || isShared(value) || isError(value) || isOfOneCpu(value);
}

/** Whether a value is a lock of one CPU, or both its sides. The caller has checked for shared locks. */
function isOfOneCpu(value: object): boolean {
  return value instanceof BaseLock || value instanceof RWLock;
}

/** Whether a value is an array or a plain object, which may contain tokens. */
function isPlain(value: object): value is Parent {
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
