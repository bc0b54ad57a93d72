import { join } from '../base/abort-listeners.ts';
import { Details, Extras, type Affinity, type ContextPolicy } from './extras.ts';
import { isA } from '../base/errors.ts';
import {
  FLAG,
  SIGNAL,
  TEXT,
  kindOf,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import type { Kcont } from './kcont.ts';
import type { Scope } from './scope.ts';
import { UNREF } from './state.ts';

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

const KCONT = optionsOf<KcontOptions>(
  'Kcont',
  {
    name: TEXT,
    ref: FLAG,
    affinity: oneOf("'strong', 'weak' or 'none'", 'strong', 'weak', 'none'),
    slackMs: numberOf('a number of ms from 0 to 2^30', 0, 2 ** 30),
    context: oneOf("'none', 'create' or 'schedule'", 'none', 'create', 'schedule'),
    scope: kindOf('a Scope', (value) => typeof (value as Scope | null)?._add === 'function'),
    signal: SIGNAL,
  },
  () => ({
    name: undefined,
    ref: undefined,
    affinity: undefined,
    slackMs: undefined,
    context: undefined,
    scope: undefined,
    signal: undefined,
  }),
);

/**
 * Gives a new continuation its options.
 *
 * @throws KcontError EINVAL before anything has changed
 *
 * @internal
 */
export function applyOptions<A>(kc: Kcont<A>, options: KcontOptions): void {
  // Those of our own runs have been checked.
  const details = isA(options, Details) ? options : readDetails(kc, options);
  if (details === null) return;
  kc._details = details;
  details.scope?._add(kc);
  const { extras } = details;
  if (extras?.signal?.aborted === false) join(extras.signal, kc);
}

function readDetails<A>(kc: Kcont<A>, options: KcontOptions): Details | null {
  const { name, ref, affinity, slackMs, context, scope, signal } = readOptions(options, KCONT);
  scope?._check();
  if (ref === false) kc._state = UNREF;
  return makeDetails(name, scope, makeExtras(affinity, slackMs, context, signal));
}

/**
 * Details, if there are any.
 *
 * @internal
 */
export function makeDetails(
  name: string | undefined,
  scope: Scope | undefined,
  extras: Extras | null,
): Details | null {
  if (name === undefined && scope === undefined && extras === null) return null;
  const details = new Details();
  details.name = name;
  details.scope = scope;
  details.extras = extras;
  return details;
}

/**
 * Extras, if there are any.
 *
 * @internal
 */
export function makeExtras(
  affinity: Affinity = 'none',
  slackMs: number = 0,
  context: ContextPolicy = 'none',
  signal?: AbortSignal,
): Extras | null {
  if (affinity === 'none' && slackMs < 1 && context === 'none' && signal === undefined) return null;
  const extras = new Extras();
  extras.affinity = affinity;
  extras.slackTicks = Math.floor(slackMs);
  extras.policy = context;
  if (context === 'create') extras.capture();
  extras.signal = signal;
  return extras;
}
