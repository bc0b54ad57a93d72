/*
 * Which workqueue a kernel returns for which options, and the private ones that it returns to nobody.
 */

import { invalid, traceFrom, type Caller } from '../base/errors.ts';
import {
  FLAG,
  FUNCTION,
  NAME,
  OPTIONS,
  PATIENCE,
  POSITIVE_MS,
  check,
  integerOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import { PRIORITY } from '../base/priorities.ts';
import { SHARES } from '../base/stride.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { ShedOptions, ShedSettings } from './shedder.ts';
import { Workqueue, defaultName, type Criteria, type WorkqueueOptions } from './workqueue.ts';

/**
 * Creates a workqueue that `acquire` never returns, with the patience and error handler of another. At
 * the same priority it uses the shares of the other one; at another priority it has as many.
 *
 * @param of - the other workqueue
 * @param name - its name in reports
 * @param priority - 0 … 223
 * @param limit - how many asynchronous functions may be in flight; a workqueue: both share its
 * limit, and the higher priority goes first when a run settles
 *
 * @internal
 */
export function createPrivate(
  of: Workqueue,
  name: string,
  priority: number,
  limit: number | Workqueue,
): Workqueue {
  const { patienceMs, onError } = of;
  const maxActive = typeof limit === 'number' ? limit : limit.maxActive;
  const criteria = {
    priority,
    perCpu: false,
    maxActive,
    patienceMs,
    onError,
    name: undefined,
    shed: undefined,
    shares: of.shares,
  };
  const home = of.priority === priority ? of._home : undefined;
  const queue = Workqueue._make(of._dispatcher, criteria, name, true, home);
  if (typeof limit === 'object') {
    const sharing = (limit._sharing ??= [limit]);
    queue._sharing = sharing;
    queue._watched = true;
    limit._watched = true;
    queue._available = limit._available;
    sharing.push(queue);
    sharing.sort((a, b) => b.priority - a.priority);
  }
  return queue._acquire();
}

/**
 * Returns the existing workqueue for these criteria, or a new one.
 *
 * @internal
 */
export function findOrMake(dispatcher: Dispatcher, criteria: Criteria): Workqueue {
  return dispatcher.acquirable.find(criteria) ?? Workqueue._make(dispatcher, criteria);
}

/** Default patience, in ms. */
const PATIENCE_MS = 100;

const ACQUIRE = optionsOf<WorkqueueOptions>('acquire', {
  perCpu: FLAG,
  maxActive: integerOf('an integer >= 1 or Infinity', 1, Infinity),
  patienceMs: PATIENCE,
  onError: FUNCTION,
  name: NAME,
  shares: SHARES,
  shed: OPTIONS,
});

const SHED = optionsOf<ShedOptions>('shed', { targetMs: POSITIVE_MS, intervalMs: POSITIVE_MS });
/** Defaults in ms: those that CoDel's authors found. */
const TARGET_MS = 5;
const INTERVAL_MS = 100;

/**
 * Checks the option `shed`, and fills in the defaults.
 *
 * @internal
 */
export function shedSettings(
  options: ShedOptions | undefined,
  caller: Caller,
): ShedSettings | undefined {
  if (options === undefined) return undefined;
  const { targetMs = TARGET_MS, intervalMs = INTERVAL_MS } = readOptions(options, SHED, caller);
  return { targetMs, intervalMs };
}

/**
 * Checks the options of a workqueue, and fills in the defaults.
 *
 * @internal
 */
export function criteriaFor(
  priority: number,
  options?: WorkqueueOptions,
  caller: Caller = criteriaFor,
): Criteria {
  check('priority', PRIORITY, priority, caller);
  const {
    perCpu = false,
    maxActive = Infinity,
    patienceMs = PATIENCE_MS,
    onError,
    name,
    shares,
    shed,
  } = readOptions(options, ACQUIRE, caller);
  if (perCpu && shed !== undefined) {
    throw traceFrom(caller, invalid('shed', 'absent on a workqueue with a queue per CPU', shed));
  }
  const asked = name === defaultName(priority, perCpu) ? undefined : name;
  return {
    priority,
    perCpu,
    maxActive,
    patienceMs,
    onError,
    name: asked,
    shed: shedSettings(shed, caller),
    shares,
  };
}
