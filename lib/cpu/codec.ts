/*
 * Handles and locks within what is cloned: they go as tokens, and come out as this CPU's face of the
 * same thing.
 *
 *   [0, value]     nothing of the kind in it: as it is
 *   [1, copy]      arrays and plain objects that lead to one are copied, with tokens in its place
 *
 * Looked for in arrays and in plain objects, at any depth, cycles too; not in maps, sets and
 * instances of classes. What is cloned is for structuredClone to say.
 */

import { KcontError } from '../errors.ts';
import { Kcont } from '../kcont.ts';
import type { CpuMachine } from './machine.ts';
import { attach, isHandle, isShared, toHandle, unpin } from './shared-handle.ts';

/** The one key of a token. */
const TOKEN = '\u0000kcont';

/** What goes through a port. */
export type Wire = readonly [0 | 1, unknown];

interface Token {
  readonly block: number;
  readonly handle: number;
}

/**
 * A value as it goes through a port.
 *
 * Throws KcontError EINVAL for a continuation that cannot leave its CPU.
 */
export function encode(machine: CpuMachine, value: unknown): Wire {
  if (typeof value !== 'object' || value === null || !hasTokens(value, new Set()))
    return [0, value];
  return [1, replace(value, new Map(), (found) => tokenFor(machine, found))];
}

/** The value of what came through a port. */
export function decode(machine: CpuMachine, wire: unknown): unknown {
  const [kind, value] = wire as Wire;
  return kind === 0 ? value : replace(value, new Map(), (found) => untoken(machine, found));
}

function tokenFor(machine: CpuMachine, value: object): object | undefined {
  if (isShared(value)) return toHandle(value);
  if (!(value instanceof Kcont)) return undefined;
  const kc = value as Kcont<unknown>;
  if (kc._wq.kernel !== machine.kernel) {
    throw new KcontError('EINVAL', `${kc.name} belongs to another kernel`);
  }
  if (kc._remote === null) {
    const problem = machine.blocks.whyNot(kc);
    if (problem !== undefined) throw problem;
  }
  const { block, handle } = machine.blocks.remoteFor(kc);
  const token: Token = { block, handle };
  return { [TOKEN]: token };
}

function untoken(machine: CpuMachine, value: object): object | undefined {
  if (isHandle(value)) {
    const lock = attach(value);
    unpin(value);
    return lock;
  }
  const token = (value as Record<string, unknown>)[TOKEN] as Token | undefined;
  if (token === undefined) return undefined;
  machine.memory.reach(token.block + 31);
  return machine.blocks.faceOf(token.block, token.handle).kc;
}

/** Arrays and plain objects: what is looked into. */
function isPlain(value: unknown): value is Record<string, unknown> | unknown[] {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function hasTokens(value: object, seen: Set<object>): boolean {
  if (value instanceof Kcont || isShared(value)) return true;
  if (!isPlain(value) || seen.has(value)) return false;
  seen.add(value);
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null && hasTokens(inner, seen)) return true;
  }
  return false;
}

function replace(
  value: unknown,
  copies: Map<object, unknown>,
  by: (value: object) => object | undefined,
): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = copies.get(value);
  if (known !== undefined) return known;
  const replaced = by(value);
  if (replaced !== undefined) {
    copies.set(value, replaced);
    return replaced;
  }
  if (!isPlain(value)) return value;
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [] : {};
  copies.set(value, copy);
  for (const [key, inner] of Object.entries(value)) {
    (copy as Record<string, unknown>)[key] = replace(inner, copies, by);
  }
  return copy;
}
