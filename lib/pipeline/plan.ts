import type { FastWorkqueue, SlowWorkqueue, Synchronous } from '../core/fast-workqueue.ts';
import { KcontError, checkFunction, invalid, refuseOptions, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { Kernel, kernel as processKernel, type PredefinedWorkqueues } from '../core/kernel.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import {
  FLAG,
  FUNCTION,
  NAME,
  SIGNAL,
  TEXT,
  check,
  kindOf,
  oneOf,
  optionsOf,
  readOptions,
  type Shape,
} from '../base/options-check.ts';
import { Workqueue } from '../core/workqueue.ts';
import { DEADLINE, countFrom } from './check.ts';
import type { KeyBy, KeyByOptions } from './keys.ts';
import { PipelineRunner, type Failure, type Settings } from './runner.ts';
import { Pipeline } from './pipeline.ts';

/**
 * The second argument of a stage's function.
 *
 * @public
 */
export interface StageContext {
  /** Aborted when the item has to leave: by its signal, a deadline, or the end of the pipeline. */
  readonly signal: AbortSignal;
  /** Whether the item goes before ordinary items. */
  readonly urgent: boolean;
  /** The key that `keyBy` returned for the item; undefined if it has none. */
  readonly key: unknown;
  /** The name of the stage. */
  readonly stage: string;
  /** The name of the pipeline. */
  readonly pipeline: string;
}

/**
 * The names of the workqueues that accept only synchronous functions.
 *
 * @public
 */
export type SoftQueueName = 'softserial' | 'softnet' | 'softbio' | 'softclock';

/**
 * The workqueues on which a stage whose function returns `R` may run: any one, by name or as an object,
 * but the `soft…` ones only if the function returns no promise.
 *
 * @public
 */
export type StageQueue<R> =
  | SlowWorkqueue
  | Exclude<keyof PredefinedWorkqueues, SoftQueueName>
  | (unknown extends Synchronous<R> ? SoftQueueName | FastWorkqueue : never);

/**
 * Options of a stage.
 *
 * @typeParam In - the type of its input
 * @typeParam R - the return type of its function
 *
 * @public
 */
export interface StageOptions<In, R> {
  /** The workqueue on which its function runs, which sets the priority. Default `'prihigh'`. */
  wq?: StageQueue<R>;
  /**
   * Number of its functions that may be in flight, 1 or more. Default 16. Must be omitted if the
   * workqueue has a `maxActive`, which is then the limit, or accepts only synchronous functions.
   */
  limit?: number;
  /**
   * Number of items it holds in addition: items that are queued, and finished items for which the next
   * stage has no slot. 0 or more, default 16.
   */
  buffer?: number;
  /**
   * Time an item may spend in the stage, in ms, more than 0, from its admission until the function has
   * settled. A function that settles in the last tick is in time. Default: no limit.
   */
  deadlineMs?: number;
  /** A lock held while the function runs, instead of the lock of the item's key. */
  lock?: Lock | null | ((value: In) => Lock | null);
}

/**
 * Options of {@link PipelinePlan.start}.
 *
 * @typeParam In - the type of the pipeline's items
 *
 * @public
 */
export interface StartOptions<In> {
  /** The kernel on which it runs. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** When aborted, the pipeline is aborted with the signal's reason. */
  signal?: AbortSignal;
  /** Time an item may take in total, in ms, more than 0, unless the item's options set it. */
  deadlineMs?: number;
  /**
   * Receives errors that have no other receiver: of items pushed without a callback, and of sources that
   * cannot be closed. Without it, or if it throws, they are reported as errors of continuations: to the
   * `onError` of the workqueue or the kernel, or as uncaught exceptions.
   */
  onError?: (error: unknown, failure: Failure<In>) => void;
  /**
   * The AsyncLocalStorage stores that the stages' functions see: no stores (`'none'`), or those of the
   * call that added the item (`'create'`). Default `'none'`.
   */
  context?: 'none' | 'create';
}

const STAGE = optionsOf<StageOptions<never, never>>('stage', {
  wq: kindOf(
    "a Workqueue or the name of one, such as 'prihigh'",
    (wq) =>
      wq instanceof Workqueue || (typeof wq === 'string' && Object.hasOwn(processKernel.wq, wq)),
  ),
  limit: countFrom(1),
  buffer: countFrom(0),
  deadlineMs: DEADLINE,
  lock: kindOf(`a function, or ${LOCK.expected}`, (lock) => {
    return typeof lock === 'function' || LOCK.fits(lock);
  }),
});

const START = optionsOf<StartOptions<never>>('start', {
  kernel: kindOf('a Kernel', (value) => value instanceof Kernel),
  signal: SIGNAL,
  deadlineMs: DEADLINE,
  onError: FUNCTION,
  context: oneOf("'none' or 'create'", 'none', 'create'),
});

/**
 * The description of one stage, checked.
 *
 * @internal
 */
export interface Step {
  readonly name: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- the type is the one that the previous step returns
  readonly func: (value: any, context: StageContext) => unknown;
  readonly wq: Workqueue | keyof PredefinedWorkqueues;
  readonly limit: number | undefined;
  readonly buffer: number | undefined;
  readonly deadlineMs: number | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- as for func
  readonly lock: Lock | null | undefined | ((value: any) => Lock | null);
  /** The `keyBy` just before it. */
  readonly keyBy: KeyBy | undefined;
  /** Whether keys take turns. */
  readonly fair: boolean;
}

const KEY_BY = optionsOf<KeyByOptions<never>>('keyBy', { fair: FLAG, shares: FUNCTION });

/**
 * Describes a pipeline. It is immutable: each method returns a new, longer description.
 *
 * @typeParam In - the type of the pipeline's items
 * @typeParam Out - the result type of the last stage so far
 *
 * @example
 * ```ts
 * const site = pipeline<IncomingMessage>('site')
 *   .stage('parse', parse, { wq: 'softnet' })
 *   .keyBy((query) => query.user)
 *   .stage('authenticate', authenticate, { wq: 'prihigh', limit: 16 })
 *   .stage('render', render, { wq: 'primedlow' })
 *   .start();
 * ```
 *
 * @public
 */
export class PipelinePlan<In, Out> {
  /** Its name in reports. */
  readonly name: string;
  readonly #steps: readonly Step[];
  readonly #keyBy: KeyBy | undefined;

  private constructor(name: string, steps: readonly Step[], keyBy?: KeyBy) {
    this.name = name;
    this.#steps = steps;
    this.#keyBy = keyBy;
  }

  /** @internal */
  static _make<In>(name: string): PipelinePlan<In, In> {
    return new PipelinePlan<In, In>(name, []);
  }

  /**
   * Adds a stage.
   *
   * @param name - the name in reports, unique in the pipeline
   * @param func - called with the result of the previous stage and a {@link StageContext}; may be
   * asynchronous, except on the `soft…` queues
   * @param options - optional settings
   * @returns a new description
   * @throws KcontError EINVAL for an invalid argument
   */
  stage<R>(
    name: string,
    func: (value: Out, context: StageContext) => R,
    options?: StageOptions<Out, R>,
  ): PipelinePlan<In, Awaited<R>> {
    try {
      check('name', NAME, name);
      if (this.#steps.some((step) => step.name === name)) {
        throw invalid('name', 'unique in the pipeline', name);
      }
      checkFunction(func);
    } catch (error) {
      throw traceFrom(PipelinePlan.prototype.stage, error);
    }
    const {
      wq = 'prihigh',
      limit,
      buffer,
      deadlineMs,
      lock,
    } = readOptions(
      options,
      STAGE as unknown as Shape<StageOptions<Out, R>>,
      PipelinePlan.prototype.stage,
    );
    const keyBy = this.#keyBy;
    const fair = keyBy?.fair ?? this.#steps.at(-1)?.fair ?? false;
    const step: Step = { name, func, wq, limit, buffer, deadlineMs, lock, keyBy, fair };
    return new PipelinePlan<In, Awaited<R>>(this.name, [...this.#steps, step]);
  }

  /**
   * Keeps the items of one key in order through all the stages that follow.
   *
   * @param key - returns the key of an item, compared as in a Map; undefined or null for no key
   * @param options - optional settings: whether keys take turns. Items without a key take turns as one
   * @returns a new description
   * @throws KcontError EINVAL if `key` is not a function, for an invalid option, and for `shares` without `fair`
   */
  keyBy<K>(key: (value: Out) => K, options?: KeyByOptions<NonNullable<K>>): PipelinePlan<In, Out> {
    const caller = PipelinePlan.prototype.keyBy;
    checkFunction(key, 'key', caller);
    const { fair = false, shares } = readOptions(
      options,
      KEY_BY as Shape<KeyByOptions<NonNullable<K>>>,
      caller,
    );
    if (shares !== undefined && !fair) {
      throw traceFrom(caller, invalid('shares', 'absent without fair: true', shares));
    }
    const keyBy = { of: key, fair, sharesOf: shares as KeyBy['sharesOf'] };
    return new PipelinePlan<In, Out>(this.name, this.#steps, keyBy);
  }

  /**
   * Starts a pipeline. May be called several times; each call creates a separate pipeline.
   *
   * @param options - optional settings
   * @returns the pipeline, which must be closed with `close`
   * @throws KcontError EINVAL for an invalid option, a workqueue of another kernel, a `limit` that the
   * workqueue does not allow, or a description that does not end with a stage
   */
  start(options?: StartOptions<In>): Pipeline<In, Out> {
    try {
      return this.#start(options);
    } catch (error) {
      throw traceFrom(PipelinePlan.prototype.start, error);
    }
  }

  #start(options: StartOptions<In> | undefined): Pipeline<In, Out> {
    const {
      kernel = processKernel,
      signal,
      deadlineMs,
      onError,
      context = 'none',
    } = readOptions(options, START as Shape<StartOptions<In>>);
    if (this.#steps.length === 0 || this.#keyBy !== undefined) {
      throw new KcontError('EINVAL', `pipeline ${this.name} must end with a stage`);
    }
    const capturesContext = context === 'create';
    const settings: Settings = {
      name: this.name,
      kernel,
      signal,
      deadlineMs,
      onError: onError as Settings['onError'],
      capturesContext,
    };
    return Pipeline._make<In, Out>(new PipelineRunner(settings, this.#steps));
  }

  /** Shows the stages in `util.inspect`. */
  static {
    defineInspect<PipelinePlan<unknown, unknown>>(PipelinePlan, (it) => {
      const stages = it.#steps.map(({ name, keyBy }) =>
        keyBy === undefined ? name : `by ${keyBy.of.name || 'key'}: ${name}`,
      );
      return `PipelinePlan ${it.name} { ${stages.join(', ')} }`;
    });
  }
}

/**
 * Starts the description of a pipeline.
 *
 * @typeParam In - the type of the pipeline's items
 * @param name - the name in reports
 * @returns a description without stages
 * @throws KcontError EINVAL for a name that is not a string, and for options, which `start` takes
 *
 * @public
 */
export function pipeline<In>(name?: string): PipelinePlan<In, In>;
export function pipeline<In>(name: string = 'pipeline', given?: unknown): PipelinePlan<In, In> {
  check('name', TEXT, name, pipeline);
  if (typeof given === 'object') refuseOptions(given, 'pipeline', pipeline);
  return PipelinePlan._make<In>(name);
}
