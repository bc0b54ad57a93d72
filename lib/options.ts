import { Details, Extras, type Affinity, type ContextPolicy } from './details.ts';
import { invalid } from './errors.ts';
import { checkScope, type Scope } from './scope.ts';

/**
 * What few continuations need.
 *
 * @public
 */
export interface KcontOptions {
  /** Shown in reports and by `util.inspect`; by default the function's name. */
  name?: string;
  /** False: does not keep the process alive while it is scheduled. Default true. */
  ref?: boolean;
  /** How much it prefers a CPU. Default `'none'`. */
  affinity?: Affinity;
  /** By how many ms it may be late, 0 and more, so that timers meet at one tick. Default 0. */
  slackMs?: number;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: ContextPolicy;
  /** The owner, by which it is stopped together with its siblings. */
  scope?: Scope;
  /** Aborted: the continuation is destroyed. Until then, or until it is destroyed, the signal keeps it. */
  signal?: AbortSignal;
}

/** Longest slack, in ms. */
const LONGEST_SLACK_MS = 2 ** 30;

/**
 * Checks options, before anything has changed.
 *
 * @internal
 */
export function checkOptions(options: KcontOptions): KcontOptions {
  if (typeof options !== 'object' || options === null)
    throw invalid('options', 'an object', options);
  const { name, affinity, slackMs, context, scope, signal } = options;
  if (name !== undefined && typeof name !== 'string') throw invalid('name', 'a string', name);
  if (affinity !== undefined && !['strong', 'weak', 'none'].includes(affinity)) {
    throw invalid('affinity', "'strong', 'weak' or 'none'", affinity);
  }
  if (slackMs !== undefined && !(slackMs >= 0 && slackMs <= LONGEST_SLACK_MS)) {
    throw invalid('slackMs', 'a number of ms from 0 to 2^30', slackMs);
  }
  if (context !== undefined && !['none', 'create', 'schedule'].includes(context)) {
    throw invalid('context', "'none', 'create' or 'schedule'", context);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid('signal', 'an AbortSignal', signal);
  }
  if (scope !== undefined) checkScope(scope);
  return options;
}

/**
 * The details that options ask for; null: none.
 *
 * @internal
 */
export function detailsFor(options: KcontOptions): Details | null {
  const { name, scope } = options;
  const extras = extrasFor(options);
  if (name === undefined && scope === undefined && extras === null) return null;
  const details = new Details();
  details.name = name;
  details.scope = scope;
  details.extras = extras;
  return details;
}

function extrasFor(options: KcontOptions): Extras | null {
  const { affinity = 'none', slackMs = 0, context = 'none', signal } = options;
  if (affinity === 'none' && slackMs < 1 && context === 'none' && signal === undefined) return null;
  const extras = new Extras();
  extras.affinity = affinity;
  extras.slackTicks = Math.floor(slackMs);
  extras.policy = context;
  if (context === 'create') extras.capture();
  extras.signal = signal;
  return extras;
}
