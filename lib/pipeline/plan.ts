import type { FastWorkqueue, SlowWorkqueue, Synchronous } from '../core/fast-workqueue.ts';
import { KcontError, checkFunction, invalid, refuseOptions, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { Kernel, kernel as processKernel, type PredefinedWorkqueues } from '../core/kernel.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import {
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
import { PipelineRunner, type Failure, type Settings } from './runner.ts';
import { Pipeline } from './pipeline.ts';

/**
 * What a stage's function is told besides the value.
 *
 * @public
 */
export interface StageContext {
  /** Aborted when the item has to leave: its signal, a deadline, the end of the pipeline. */
  readonly signal: AbortSignal;
  /** Whether the item goes before others. */
  readonly urgent: boolean;
  /** What `keyBy` returned for the item; undefined: nothing. */
  readonly key: unknown;
  /** The name of the stage. */
  readonly stage: string;
  /** The name of the pipeline. */
  readonly pipeline: string;
}

/**
 * The names of the workqueues that take synchronous functions only.
 *
 * @public
 */
export type SoftQueueName = 'softserial' | 'softnet' | 'softbio' | 'softclock';

/**
 * Where a stage whose function returns `R` may run: on any workqueue, by name or as an object; on the
 * `soft…` ones only if it returns no promise.
 *
 * @public
 */
export type StageQueue<R> =
  | SlowWorkqueue
  | Exclude<keyof PredefinedWorkqueues, SoftQueueName>
  | (unknown extends Synchronous<R> ? SoftQueueName | FastWorkqueue : never);

/**
 * How a stage runs.
 *
 * @typeParam In - what it takes
 * @typeParam R - what its function returns
 *
 * @public
 */
export interface StageOptions<In, R> {
  /** Where its function runs, and at which priority. Default `'prihigh'`. */
  wq?: StageQueue<R>;
  /**
   * How many of its functions may be in flight, 1 and more. Default 16. Left out where the workqueue
   * has a `maxActive`, which then is the limit, or takes synchronous functions only.
   */
  limit?: number;
  /**
   * How many items it holds besides those: queued, or done and finding the next stage full. 0 and
   * more, default 16.
   */
  buffer?: number;
  /**
   * How long an item may be there, in ms, more than 0: from being let in until the function has
   * settled, which it may do in the last tick. By default for ever.
   */
  deadlineMs?: number;
  /** Held while the function runs, in place of the lock of the item's key. */
  lock?: Lock | null | ((value: In) => Lock | null);
}

/**
 * How a pipeline is started.
 *
 * @typeParam In - what the pipeline takes
 *
 * @public
 */
export interface StartOptions<In> {
  /** Where it runs. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** Aborted: the pipeline is aborted, with the signal's reason. */
  signal?: AbortSignal;
  /** How long an item may take in all, in ms, more than 0, unless it says otherwise itself. */
  deadlineMs?: number;
  /**
   * Takes the errors that nobody waits for: of items that were pushed without a callback, and of sources
   * that cannot be closed. By default, and with what it throws itself, they are errors of continuations:
   * for the `onError` of the workqueue or of the kernel, else uncaught exceptions.
   */
  onError?: (error: unknown, failure: Failure<In>) => void;
  /**
   * Which AsyncLocalStorage stores the stages' functions see: those of no request, or those of the
   * moment the item was given. Default `'none'`.
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
 * One stage as described, checked.
 *
 * @internal
 */
export interface Step {
  readonly name: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- what comes is what the step before returns
  readonly func: (value: any, context: StageContext) => unknown;
  readonly wq: Workqueue | keyof PredefinedWorkqueues;
  readonly limit: number | undefined;
  readonly buffer: number | undefined;
  readonly deadlineMs: number | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- as for func
  readonly lock: Lock | null | undefined | ((value: any) => Lock | null);
  readonly keyOf: KeyFunction | undefined;
}

// oxlint-disable-next-line typescript/no-explicit-any -- as for func
type KeyFunction = (value: any) => unknown;

/**
 * The description of a pipeline. It never changes: each call returns a longer one.
 *
 * @typeParam In - what the first stage takes
 * @typeParam Out - what the last stage returns so far
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
  readonly #keyOf: KeyFunction | undefined;

  private constructor(name: string, steps: readonly Step[], keyOf?: KeyFunction) {
    this.name = name;
    this.#steps = steps;
    this.#keyOf = keyOf;
  }

  /** @internal */
  static _make<In>(name: string): PipelinePlan<In, In> {
    return new PipelinePlan<In, In>(name, []);
  }

  /**
   * Adds a stage.
   *
   * @param name - shown in reports; no two stages have the same
   * @param func - takes what the stage before returns, and a {@link StageContext}; may be asynchronous,
   * except on the `soft…` queues
   * @param options - where and how it runs
   * @returns a longer description
   * @throws KcontError EINVAL for an argument that is not what it has to be
   */
  stage<R>(
    name: string,
    func: (value: Out, context: StageContext) => R,
    options?: StageOptions<Out, R>,
  ): PipelinePlan<In, Awaited<R>> {
    try {
      check('name', NAME, name);
      if (this.#steps.some((step) => step.name === name)) {
        throw invalid('name', 'that of no other stage', name);
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
    const keyOf = this.#keyOf;
    const step: Step = { name, func, wq, limit, buffer, deadlineMs, lock, keyOf };
    return new PipelinePlan<In, Awaited<R>>(this.name, [...this.#steps, step]);
  }

  /**
   * Keeps the items of one key in order from here on, through all the stages that follow.
   *
   * @param key - returns the key of an item, compared as by a Map; undefined or null: it has none
   * @returns a longer description
   * @throws KcontError EINVAL if `key` is not a function
   */
  keyBy(key: (value: Out) => unknown): PipelinePlan<In, Out> {
    checkFunction(key, 'key', PipelinePlan.prototype.keyBy);
    return new PipelinePlan<In, Out>(this.name, this.#steps, key);
  }

  /**
   * Makes a pipeline that runs. May be called as often as you like.
   *
   * @param options - the kernel, a signal, a deadline for each item
   * @returns the pipeline, to be given back by its `close`
   * @throws KcontError EINVAL for an option that is not what it has to be, for a workqueue of another
   * kernel, a `limit` that the workqueue does not allow, or if there is no stage
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
    if (this.#steps.length === 0 || this.#keyOf !== undefined) {
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

  /** How it reads in `util.inspect`: its stages. */
  static {
    defineInspect<PipelinePlan<unknown, unknown>>(PipelinePlan, (it) => {
      const stages = it.#steps.map(({ name, keyOf }) =>
        keyOf === undefined ? name : `by ${keyOf.name || 'key'}: ${name}`,
      );
      return `PipelinePlan ${it.name} { ${stages.join(', ')} }`;
    });
  }
}

/**
 * Begins to describe a pipeline.
 *
 * @typeParam In - what its first stage takes
 * @param name - shown in reports
 * @returns a description without a stage
 * @throws KcontError EINVAL for a name that is not a string, and for options: `start` has them
 *
 * @public
 */
export function pipeline<In>(name?: string): PipelinePlan<In, In>;
export function pipeline<In>(name: string = 'pipeline', given?: unknown): PipelinePlan<In, In> {
  check('name', TEXT, name, pipeline);
  if (typeof given === 'object') refuseOptions(given, 'pipeline', pipeline);
  return PipelinePlan._make<In>(name);
}
