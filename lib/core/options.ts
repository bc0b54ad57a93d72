import { join } from '../base/abort-listeners.ts';
import { Details, Extras, type Affinity, type ContextPolicy } from './extras.ts';
import {
  ANYTHING,
  FLAG,
  FUNCTION,
  SIGNAL,
  TEXT,
  kindOf,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
  type Kind,
  type Shape,
} from '../base/options-check.ts';
import type { KcontSettings, KcontSettingsWithoutArg } from './fast-workqueue.ts';
import type { Kcont } from './kcont.ts';
import { LOCK } from '../locks/lock-check.ts';
import type { Scope } from './scope.ts';
import { UNREF } from './state.ts';
import type { Workqueue } from './workqueue.ts';
import { FAR, TICKS_PER_MS } from '../time/timing-wheel.ts';

/**
 * Optional settings of a continuation.
 *
 * @public
 */
export interface KcontOptions {
  /** Shown in reports and by `util.inspect`; by default the function's name. */
  name?: string;
  /** Whether it keeps the process alive while scheduled. Default true. */
  ref?: boolean;
  /** How strongly it prefers a CPU. Default `'none'`. */
  affinity?: Affinity;
  /** How many ms it may be late, 0 or more, so that timers can expire at one tick. Default 0. */
  slackMs?: number;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: ContextPolicy;
  /** The scope that it belongs to, and is stopped with. */
  scope?: Scope;
  /**
   * Destroys the continuation when aborted. The signal keeps a reference to the continuation until
   * it is aborted or the continuation is destroyed.
   */
  signal?: AbortSignal;
}

/**
 * The check of an option that is a scope. It does not import the class.
 *
 * @internal
 */
export const SCOPE: Kind = kindOf(
  'a Scope',
  (value) => typeof (value as Scope | null)?._add === 'function',
);

const KINDS: { readonly [N in keyof KcontOptions]-?: Kind } = {
  name: TEXT,
  ref: FLAG,
  affinity: oneOf("'strong', 'weak' or 'none'", 'strong', 'weak', 'none'),
  slackMs: numberOf('a number of ms from 0 to 2^30', 0, 2 ** 30),
  context: oneOf("'none', 'create' or 'schedule'", 'none', 'create', 'schedule'),
  scope: SCOPE,
  signal: SIGNAL,
};

const KCONT = optionsOf<KcontOptions>('Kcont', KINDS, () => ({
  name: undefined,
  ref: undefined,
  affinity: undefined,
  slackMs: undefined,
  context: undefined,
  scope: undefined,
  signal: undefined,
}));

// The workqueue is checked by the constructor.
const SETTINGS = optionsOf<KcontSettings<Workqueue, unknown>>('Kcont', {
  ...KINDS,
  wq: ANYTHING,
  lock: LOCK,
  func: FUNCTION,
  arg: ANYTHING,
});

/**
 * Reads the settings of a continuation that are given in one object.
 *
 * @throws KcontError EINVAL for a value that is not an object, a lock that is not one, or an unknown name
 *
 * @internal
 */
export function readSettings<A>(
  settings: KcontSettings<Workqueue, A> | KcontSettingsWithoutArg<Workqueue>,
): KcontSettings<Workqueue, A> & { options: KcontOptions } {
  const {
    wq,
    lock = null,
    func,
    arg,
    ...options
  } = readOptions(
    settings as KcontSettings<Workqueue, A>,
    SETTINGS as Shape<KcontSettings<Workqueue, A>>,
  );
  return { wq, lock, func, arg, options };
}

/**
 * Applies options to a new continuation.
 *
 * @throws KcontError EINVAL for an invalid option, before anything has changed
 *
 * @internal
 */
export function applyOptions<A>(kc: Kcont<A>, options: KcontOptions): void {
  const { name, ref, affinity, slackMs, context, scope, signal } = readOptions(options, KCONT);
  scope?._check();
  if (ref === false) kc._state = UNREF;
  const extras = makeExtras(affinity, slackMs, context, signal);
  if (name === undefined && scope === undefined && extras === null) return;
  const details = new Details();
  details.name = name;
  details.scope = scope;
  details.extras = extras;
  kc._details = details;
  scope?._add(kc);
  if (signal?.aborted === false) join(signal, kc);
}

/**
 * Creates the extras, or null if they would all be defaults.
 */
function makeExtras(
  affinity: Affinity = 'none',
  slackMs: number = 0,
  context: ContextPolicy = 'none',
  signal?: AbortSignal,
): Extras | null {
  const slackTicks = Math.min(Math.floor(slackMs * TICKS_PER_MS), FAR);
  if (affinity === 'none' && slackTicks === 0 && context === 'none' && signal === undefined)
    return null;
  const extras = new Extras();
  extras.affinity = affinity;
  extras.slackTicks = slackTicks;
  extras.policy = context;
  if (context === 'create') extras.capture();
  extras.signal = signal;
  return extras;
}
