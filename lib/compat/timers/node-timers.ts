/*
 * Methods of Timeout and Immediate that are called on another object do what Node's methods do.
 */

import * as host from 'node:timers';
import { nothing } from '../../base/nothing.ts';

type Methods = Record<string | symbol, () => unknown>;

const found: { timeout?: Methods; immediate?: Methods } = {};

/** Calls a method of Node's Timeout on any receiver. */
export function asTimeout(receiver: unknown, name: string | symbol): unknown {
  if (found.timeout === undefined) {
    const timeout = host.setTimeout(nothing, 1);
    host.clearTimeout(timeout);
    found.timeout = timeout as unknown as Methods;
  }
  return Reflect.apply(found.timeout[name] as () => unknown, receiver, []);
}

/** Calls a method of Node's Immediate on any receiver. */
export function asImmediate(receiver: unknown, name: string | symbol): unknown {
  if (found.immediate === undefined) {
    const immediate = host.setImmediate(nothing);
    host.clearImmediate(immediate);
    found.immediate = immediate as unknown as Methods;
  }
  return Reflect.apply(found.immediate[name] as () => unknown, receiver, []);
}
