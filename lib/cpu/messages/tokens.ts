/*
 * What is cloned by structured clone and is more than data: handles, locks and errors go as tokens,
 * and come out as this CPU's face of the same handle or lock, and as an error of the same class.
 *
 *   [0, value]                           nothing of the kind in it: as it is
 *   [1, copy, [[parent, key, token]]]    arrays and plain objects that lead to one are copied; each
 *                                        token says what to put where
 *
 * The parents are objects of the copy: structured clone keeps who is who. So nothing in a user's value
 * can be taken for a token.
 *
 * They are looked for in arrays and in plain objects, at any depth, cycles too; not in maps, sets and
 * instances of classes. What is cloned is for structuredClone to say. Nothing here calls itself: a
 * value may be as deep as structuredClone allows.
 *
 * A user's value may throw when it is read: `encode` throws that, and has done nothing then.
 */

import { KcontError } from '../../base/errors.ts';
import { BaseLock } from '../../locks/lock.ts';
import { RWLock } from '../../locks/rw-lock.ts';
import { ofOneCpu } from '../threads/cpu-module.ts';
import { Kcont } from '../../core/kcont.ts';
import type { LocalCpu } from '../local-cpu.ts';
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

/** What to put where: in place of the whole value if there is no parent. */
type Patch = readonly [parent: Parent | null, key: string, token: Token];

/** What goes through a port. */
export type Wire = readonly [0, unknown] | readonly [1, unknown, readonly Patch[]];

/** The locks that something sent names: the sender keeps them until that has been read. */
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

  /** Has all that another one has, which is empty then. */
  adopt(other: Sent): void {
    for (const gate of other.#gates) {
      if (this.#gates.has(gate)) gate.endSend();
      else this.#gates.add(gate);
    }
    other.#gates.clear();
  }

  /** What named them has been read, or never will be. */
  end(): void {
    for (const gate of this.#gates) gate.endSend();
    this.#gates.clear();
  }
}

/** Who sends something: it keeps the locks in that until it has been read. */
export interface Sender {
  keep(sent: Sent): void;
}

/**
 * A value as it goes through a port.
 *
 * Throws KcontError EINVAL for a continuation that cannot leave its CPU, ENOMEM for a lock for which
 * there is no shared memory, and what reading the value throws.
 *
 * @param sender - gets the locks in it, if there are any
 */
export function encode(localCpu: LocalCpu, value: unknown, sender: Sender): Wire {
  if (typeof value !== 'object' || value === null || !hasTokens(value)) return [0, value];
  const own = new Sent();
  try {
    const wire = replace(localCpu, value, own);
    if (!own.isEmpty) sender.keep(own);
    return wire;
  } catch (error) {
    own.end();
    throw error;
  }
}

/** The error for a value that cannot be sent to another CPU. */
export function uncloneable(what: string, error: unknown): KcontError {
  const code = error instanceof KcontError && error.code === 'ENOMEM' ? 'ENOMEM' : 'EINVAL';
  const message = `${what} cannot be cloned for another CPU: ${reasonOf(error)}`;
  return Object.assign(new KcontError(code, message), { cause: error });
}

/**
 * The value of what came through a port.
 *
 * Throws KcontError EINVAL if a lock in it has been freed.
 */
export function decode(localCpu: LocalCpu, wire: unknown): unknown {
  const [kind, value, patches] = wire as Wire;
  if (kind === 0) return value;
  const made = new Map<Token, unknown>();
  for (const [parent, key, token] of patches) {
    if (!made.has(token)) made.set(token, untoken(localCpu, token));
    if (parent === null) return made.get(token);
    put(parent, key, made.get(token));
  }
  return value;
}

function hasTokens(root: object): boolean {
  // What is added on the way comes later in the same loop.
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

function replace(localCpu: LocalCpu, root: object, sent: Sent): Wire {
  const patches: Patch[] = [];
  const copies = new Map<object, Parent>();
  const tokens = new Map<object, Token>();
  const copyOf = (value: object, parent: Parent | null, key: string): unknown => {
    const known = copies.get(value);
    if (known !== undefined) return known;
    if (isToken(value)) {
      const token = tokens.get(value) ?? tokenFor(localCpu, value, sent);
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

/** Sets a property, also one that an assignment would take for something else. */
function put(parent: Parent, key: string, value: unknown): void {
  if (key !== '__proto__') (parent as Record<string, unknown>)[key] = value;
  else {
    const property = { value, enumerable: true, configurable: true, writable: true };
    Object.defineProperty(parent, key, property);
  }
}

function isToken(value: object): boolean {
  // A lock of one CPU too: to be refused.
  return value instanceof Kcont || isShared(value) || isError(value) || isOfOneCpu(value);
}

/** Whether it is a lock, or both sides of one: shared ones have been looked for before. */
function isOfOneCpu(value: object): boolean {
  return value instanceof BaseLock || value instanceof RWLock;
}

function tokenFor(localCpu: LocalCpu, value: object, sent: Sent): Token {
  if (isShared(value)) {
    const { arena } = value._gate;
    if (arena !== localCpu.arena)
      throw new KcontError('EINVAL', "a lock is of another kernel's memory");
    sent.add(value);
    return { lock: placeOf(value) };
  }
  if (isOfOneCpu(value)) throw new KcontError('EINVAL', ofOneCpu('a lock in it'));
  if (!(value instanceof Kcont)) return { error: wireError(value) };
  const kc = value as Kcont<unknown>;
  if (kc._wq.kernel !== localCpu.kernel) {
    throw new KcontError('EINVAL', `${kc.name} belongs to another kernel`);
  }
  if (kc._remote === null) {
    const problem = localCpu.handles.whyNot(kc);
    if (problem !== undefined) throw problem;
  }
  const { block, handle } = localCpu.handles.entryFor(kc);
  return { block, handle };
}

function untoken(localCpu: LocalCpu, token: Token): unknown {
  if ('lock' in token) return attachIn(localCpu.arena, token.lock);
  if ('error' in token) return unwireError(token.error);
  localCpu.memory.reach(token.block + 31);
  return localCpu.handles.entryOf(token.block, token.handle).kc;
}

/** Arrays and plain objects: what is looked into. */
function isPlain(value: object): value is Parent {
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
