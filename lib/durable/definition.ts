import { Backoff, type BackoffOptions } from '../base/backoff.ts';
import { KcontError, checkFunction, invalid } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import {
  FUNCTION,
  OPTIONS,
  integerOf,
  kindOf,
  optionsOf,
  readOptions,
  type Shape,
} from '../base/options-check.ts';
import type { Kernel, PredefinedWorkqueues } from '../core/kernel.ts';
import { Workqueue } from '../core/workqueue.ts';
import type { BaseLock, Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import type { Invocation } from './invocation.ts';
import { isSchema, type StandardSchema } from './schema.ts';

/**
 * The function of durable continuations.
 *
 * @typeParam A - the type of the argument
 *
 * @public
 */
export type DurableFunction<A> = {
  call(arg: A, invocation: Invocation): unknown;
}['call'];

/**
 * Options of `Durable.define`.
 *
 * @typeParam A - the type of the argument
 *
 * @public
 */
export interface DefineOptions<A> {
  /**
   * The workqueue on which the function is entered, by name or as an object of the same kernel. Its
   * priority is also the priority in the cluster. Default `'primedlow'`.
   */
  wq?: keyof PredefinedWorkqueues | Workqueue;
  /**
   * Checks the argument when the continuation is created and before each run: a schema of zod, valibot or
   * any other library that implements Standard Schema, without asynchronous checks. The function gets
   * the value that the schema returns.
   */
  schema?: StandardSchema<A>;
  /** How often a run is tried, 1 … 10,000. Default 1: no retries. */
  maxAttempts?: number;
  /** The delays between attempts. Default: from 1 s to 10 min, twice as long each time, with full jitter. */
  backoff?: BackoffOptions;
  /**
   * After how many runs that ended with the death of their process the continuation is parked, 1 … 10,000.
   * Default 5.
   */
  crashLimit?: number;
  /** A lock of this process, held while the function runs here. Default null: none. */
  localLock?: Lock | null;
  /** Called with the error of the last attempt. Default: the `onError` of {@link DurableOptions}. */
  onError?: (error: unknown, invocation: Invocation) => void;
}

const COUNT = integerOf('an integer from 1 to 10000', 1, 10_000);

const DEFINE = optionsOf<DefineOptions<never>>('define', {
  wq: kindOf("a Workqueue or the name of one, such as 'prihigh'", (wq) => {
    return wq instanceof Workqueue || (typeof wq === 'string' && NAMES.has(wq));
  }),
  schema: kindOf('a schema that implements Standard Schema 1', isSchema),
  maxAttempts: COUNT,
  backoff: OPTIONS,
  crashLimit: COUNT,
  localLock: LOCK,
  onError: FUNCTION,
});

const NAMES: ReadonlySet<string> = new Set<keyof PredefinedWorkqueues>([
  'softserial',
  'softnet',
  'softbio',
  'softclock',
  'prihigh',
  'primedhigh',
  'primedlow',
  'prilow',
]);

/**
 * A function that has been defined on a node.
 *
 * @typeParam A - the type of the argument
 *
 * @public
 */
export class Definition<A> {
  static readonly #line: (it: Definition<unknown>) => string = /* @__PURE__ */ defineInspect<
    Definition<unknown>
  >(
    this,
    ({ name, wq, maxAttempts }) =>
      `Definition ${name} { ${wq.name}, at most ${maxAttempts} attempts }`,
    ({ name, wq, maxAttempts }) => ({ name, wq: wq.name, maxAttempts }),
  );
  /** The name of the function, by which it is stored. */
  readonly name: string;
  /** The workqueue on which it is entered. */
  readonly wq: Workqueue;
  /** How often a run is tried. */
  readonly maxAttempts: number;
  /** @internal */
  readonly _func: DurableFunction<A>;
  /** @internal */
  readonly _schema: StandardSchema<A> | undefined;
  /** @internal */
  readonly _backoff: Backoff;
  /** @internal */
  readonly _crashLimit: number;
  /** @internal */
  readonly _localLock: BaseLock | null;
  /** @internal */
  readonly _onError: DefineOptions<A>['onError'];

  private constructor(
    name: string,
    kernel: Kernel,
    options: DefineOptions<A> | undefined,
    func: DurableFunction<A>,
  ) {
    const {
      wq = 'primedlow',
      schema,
      maxAttempts = 1,
      backoff,
      crashLimit = 5,
      localLock = null,
      onError,
    } = readOptions(options, DEFINE as unknown as Shape<DefineOptions<A>>);
    checkFunction(func);
    const queue = typeof wq === 'string' ? kernel.wq[wq] : wq;
    if (queue.kernel !== kernel) throw invalid('wq', 'a workqueue of the same kernel', queue);
    if (queue._freed) throw new KcontError('EINVAL', `workqueue ${queue.name} has been released`);
    this.name = name;
    this.wq = queue;
    this.maxAttempts = maxAttempts;
    this._func = func;
    this._schema = schema;
    this._backoff = new Backoff(backoff, { baseMs: 1000, maxMs: 600_000 });
    this._crashLimit = crashLimit;
    this._localLock = localLock as BaseLock | null;
    this._onError = onError;
  }

  /** @internal */
  static _make<A>(
    name: string,
    kernel: Kernel,
    options: DefineOptions<A> | undefined,
    func: DurableFunction<A>,
  ): Definition<A> {
    return new Definition(name, kernel, options, func);
  }
  /** @internal */
  toString(): string {
    return Definition.#line(this);
  }
}
