/*
 * Methods of a timer or an immediate that are called on something else do what Node's own do.
 */

import * as host from 'node:timers';
import { nothing } from '../../base/nothing.ts';

type Methods = Record<string | symbol, () => unknown>;

const found: { timeout?: Methods; immediate?: Methods } = {};

/** Calls a method of Node's Timeout on whatever it is. */
export function asTimeout(receiver: unknown, name: string | symbol): unknown {
  if (found.timeout === undefined) {
    const timeout = host.setTimeout(nothing, 1);
    host.clearTimeout(timeout);
    found.timeout = timeout as unknown as Methods;
  }
  return Reflect.apply(found.timeout[name] as () => unknown, receiver, []);
}

/** Calls a method of Node's Immediate on whatever it is. */
export function asImmediate(receiver: unknown, name: string | symbol): unknown {
  if (found.immediate === undefined) {
    const immediate = host.setImmediate(nothing);
    host.clearImmediate(immediate);
    found.immediate = immediate as unknown as Methods;
  }
  return Reflect.apply(found.immediate[name] as () => unknown, receiver, []);
}
