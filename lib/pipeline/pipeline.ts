import { Duplex } from 'node:stream';
import { ReadableStream, TransformStream, type WritableStream } from 'node:stream/web';
import {
  KcontError,
  checkFunction,
  invalid,
  isMistake,
  isRevoked,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import {
  FLAG,
  FUNCTION,
  SIGNAL,
  kindOf,
  optionsOf,
  readOptions,
  type Shape,
} from '../base/options-check.ts';
import { handled } from '../base/nothing.ts';
import { SCOPE } from '../core/options.ts';
import type { Scope } from '../core/scope.ts';
import { drainBy } from '../core/workqueue.ts';
import { DEADLINE, countFrom } from './check.ts';
import { draw, statsOf, type PipelineStats } from './stats.ts';
import type { Failure, PipelineRunner, PipelineReport } from './runner.ts';
import type { Answer } from './item.ts';
import { ResultIterator } from './result-iterator.ts';
import { deliver, type PipelineSink } from './sink.ts';
import { isObject, type PipelineSource } from './source.ts';

/**
 * Options of an item.
 *
 * @public
 */
export interface ItemOptions {
  /** True: it goes before ordinary items that wait, at each stage. Default false. */
  urgent?: boolean;
  /** Time it may take in total, in ms, more than 0. Default: the pipeline's `deadlineMs`. */
  deadlineMs?: number;
  /** When aborted, the item leaves, and its promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** The scope that it is a part of: it leaves when the scope ends, and `join` waits for it. */
  scope?: Scope;
}

/**
 * Options for the items of a source.
 *
 * @typeParam In - what the pipeline takes
 *
 * @public
 */
export interface ThroughOptions<In> {
  /** True: the items go before ordinary items that wait, at each stage. Default false. */
  urgent?: boolean;
  /** Time each item may take in total, in ms, more than 0. Default: the pipeline's `deadlineMs`. */
  deadlineMs?: number;
  /** When aborted, the items inside are aborted, and the iterator throws the signal's reason at once. */
  signal?: AbortSignal;
  /** True: results come in the order of the source instead of as they are finished. Default false. */
  ordered?: boolean;
  /**
   * Number of results that may wait for the consumer; while that many wait, the source is not read. 1 or
   * more, default 16.
   */
  buffer?: number;
  /**
   * Receives the errors of items, whose results are then left out. By default the source is read no
   * further after the first error; the items already read are finished and delivered, then the iterator
   * throws the error.
   */
  onError?: (error: unknown, failure: Failure<In>) => void;
}

/**
 * Receives the result or the error of an item that was pushed.
 *
 * @public
 */
export type ItemCallback<Out> = (error: unknown, result: Out | undefined) => void;

const ITEM_KINDS = { urgent: FLAG, deadlineMs: DEADLINE, signal: SIGNAL };
const ITEM = optionsOf<ItemOptions>('an item', { ...ITEM_KINDS, scope: SCOPE });
const THROUGH = optionsOf<ThroughOptions<never>>('through', {
  ...ITEM_KINDS,
  ordered: FLAG,
  buffer: countFrom(1),
  onError: FUNCTION,
});
const CLOSE = optionsOf<{ graceMs?: number }>('Pipeline.close', {
  graceMs: kindOf(
    'a number >= 0',
    (ms) => typeof ms === 'number' && ms >= 0 && (ms <= Number.MAX_SAFE_INTEGER || ms === Infinity),
  ),
});

/** Default number of results that may wait for a consumer. */
const BUFFER = 16;
/** Default grace of `close`, in ms. */
const GRACE_MS = 5000;

/**
 * A running pipeline. Created by {@link PipelinePlan.start}.
 *
 * @typeParam In - the type of its items
 * @typeParam Out - the type of its results
 *
 * @example
 * ```ts
 * createServer(async (request, response) => {
 *   if (site.full) return response.writeHead(503).end();
 *   response.end(await site.run(request, { deadlineMs: 2000 }));
 * });
 * ```
 *
 * @public
 */
export class Pipeline<In, Out> {
  readonly #runner: PipelineRunner;

  private constructor(runner: PipelineRunner) {
    this.#runner = runner;
  }

  /** @internal */
  static _make<In, Out>(runner: PipelineRunner): Pipeline<In, Out> {
    return new Pipeline<In, Out>(runner);
  }

  /** Its name in reports. */
  get name(): string {
    return this.#runner.name;
  }

  /** Number of items accepted and not finished, including those that wait for a slot. */
  get size(): number {
    return this.#runner.size;
  }

  /** Whether an item added now would have to wait for a slot of the first stage. */
  get full(): boolean {
    return this.#runner.full;
  }

  /**
   * Waits until the first stage has a free slot, or the pipeline is closed.
   *
   * @returns a promise that is fulfilled then
   */
  ready(): Promise<void> {
    return this.#runner.ready();
  }

  /**
   * Sends an item through the pipeline and returns its result.
   *
   * @param value - the input of the first stage
   * @param options - optional settings
   * @returns the result of the last stage; rejected with the error that a stage throws, the reason of
   * the signal, KcontError ETIMEDOUT when a deadline expires, ESHUTDOWN when the pipeline is closed,
   * EINVAL for an invalid option
   */
  run(value: In, options?: ItemOptions): Promise<Out> {
    const caller = Pipeline.prototype.run;
    let given: ItemOptions;
    try {
      given = readOptions(options, ITEM, caller);
    } catch (error) {
      return Promise.reject(error);
    }
    const promise = new Promise<Out>((resolve, reject) => {
      this.#accept(value, given, caller, (failed, result) => {
        if (failed) reject(result);
        else resolve(result as Out);
      });
    });
    // The error is in the join of the scope, too.
    return given.scope === undefined ? promise : handled(promise);
  }

  /**
   * Sends an item through the pipeline without creating a promise.
   *
   * @param value - the input of the first stage
   * @param callback - called with null and the result, or with the error and undefined; without one, the
   * result is dropped and an error goes to the pipeline's `onError`
   * @param options - as for {@link Pipeline.run}
   * @returns true if the next item would get a slot at once; false if the caller should wait for
   * `ready()`. The item is accepted in either case
   * @throws KcontError EINVAL for an invalid argument, ESHUTDOWN when the pipeline is closed; the reason
   * of a signal that is already aborted
   */
  push(value: In, callback?: ItemCallback<Out>, options?: ItemOptions): boolean {
    const caller = Pipeline.prototype.push;
    if (callback === undefined) {
      this.#accept(value, readOptions(options, ITEM, caller), caller, (failed, error, item) => {
        if (failed) this.#runner.unclaimed(error, item);
      });
    } else {
      checkFunction(callback, 'callback', caller);
      this.#accept(value, readOptions(options, ITEM, caller), caller, (failed, result) => {
        if (failed) callback(result, undefined);
        else callback(null, result as Out);
      });
    }
    return !this.full;
  }

  #accept(value: In, given: ItemOptions, caller: Caller, answer: Answer): void {
    const run = given.scope?._begin(given.signal);
    const { urgent = false, deadlineMs = this.#runner.deadlineMs } = given;
    const item = { urgent, deadlineMs, signal: run?.signal ?? given.signal };
    const told: Answer = (failed, result, one) => {
      // Its function still uses what the scope stands for; but nobody waits for it after a shutdown.
      if (one.isAbandoned && given.scope !== undefined && !isShutdown(result)) {
        one.onSettled = given.scope._hold();
      }
      if (failed) run?.rejected(result);
      else run?.fulfilled(result);
      answer(failed, result, one);
    };
    try {
      this.#runner.accept(value, item, run === undefined ? answer : told);
    } catch (error) {
      if (isMistake(error)) run?.refused();
      else run?.rejected(error);
      // The stack trace of a signal's reason is left alone: the error is not ours.
      throw error === item.signal?.reason ? error : traceFrom(caller, error);
    }
  }

  /**
   * Sends all items of a source through the pipeline, reading it no faster than slots become free.
   *
   * @param source - an iterable, async iterable, Node `Readable` or Web `ReadableStream`
   * @param options - optional settings
   * @returns an iterator of the results as they are finished; results of one key keep their order.
   * Reading starts when the first result is requested. Leaving a `for await` loop over it closes the
   * source and aborts the items inside. An error, closing or an abort stops the source at once, even while it
   * is silent. After an error or closing, the items inside are finished and delivered before the iterator
   * throws; an abort aborts them, and the iterator throws at once. If the source cannot be closed, that error
   * goes to the pipeline's `onError`
   * @throws KcontError EINVAL for an invalid argument
   */
  through(source: PipelineSource<In>, options?: ThroughOptions<In>): AsyncIterableIterator<Out> {
    return this.#through(source, options, Pipeline.prototype.through);
  }

  #through(
    source: PipelineSource<In>,
    options: ThroughOptions<In> | undefined,
    caller: Caller,
  ): ResultIterator<In, Out> {
    try {
      const {
        urgent = false,
        deadlineMs = this.#runner.deadlineMs,
        signal,
        ordered = false,
        buffer = BUFFER,
        onError,
      } = readOptions(options, THROUGH as Shape<ThroughOptions<In>>);
      // The iterator listens to the signal for all its items, so an item gets no signal of its own.
      const item = { urgent, deadlineMs, signal: undefined };
      return new ResultIterator<In, Out>(this.#runner, source, {
        item,
        signal,
        ordered,
        buffer,
        onError,
      });
    } catch (error) {
      throw traceFrom(caller, error);
    }
  }

  /**
   * Sends all items of a source through the pipeline, and the results to a sink, with back-pressure.
   *
   * @param source - as for {@link Pipeline.through}
   * @param sink - a function, whose promise is awaited, a Node `Writable` or a Web `WritableStream`
   * @param options - as for {@link Pipeline.through}
   * @returns a promise that is fulfilled when all results are delivered; rejected with the first error
   * of the source, the sink or, without `onError`, an item; with KcontError ESHUTDOWN when the pipeline
   * or its kernel is closed before the source has ended; and with the reason, at once, when aborted
   */
  async pump(
    source: PipelineSource<In>,
    sink: PipelineSink<Out>,
    options?: ThroughOptions<In>,
  ): Promise<void> {
    if (!isObject(sink) || isRevoked(sink)) {
      const wrong = invalid('sink', 'a function or a writable stream', sink);
      throw traceFrom(Pipeline.prototype.pump, wrong);
    }
    await deliver(this.#through(source, options, Pipeline.prototype.pump), sink);
  }

  /**
   * Creates a Node stream in object mode that sends what is written through the pipeline.
   *
   * @param options - as for {@link Pipeline.through}
   * @returns a new stream, for `stream.pipeline` and `pipe`
   */
  duplex(options?: ThroughOptions<In>): Duplex {
    return Duplex.from((source: AsyncIterable<In>) => this.through(source, options));
  }

  /**
   * Creates a pair of Web streams that sends what is written through the pipeline.
   *
   * @param options - as for {@link Pipeline.through}
   * @returns a new pair, for `readable.pipeThrough`
   */
  transform(options?: ThroughOptions<In>): {
    readable: ReadableStream<Out>;
    writable: WritableStream<In>;
  } {
    const { readable, writable } = new TransformStream<In, In>();
    return { readable: ReadableStream.from(this.through(readable, options)), writable };
  }

  /**
   * Waits until no item is inside. Items added meanwhile are waited for too.
   *
   * @param options - `signal`: ends the wait
   * @returns a promise that is fulfilled then; rejected with the signal's reason, and with KcontError
   * EINVAL for an invalid option
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    return drainBy((signal) => this.#runner.drain(signal), options, Pipeline.prototype.drain);
  }

  /**
   * Closes the pipeline: refuses new items, closes its sources, finishes the items inside, and aborts
   * those that do not finish in time.
   *
   * @param options - `graceMs`: how long to wait, in ms, from 0 to Infinity, default 5000
   * @returns a promise of a report of the items that did not finish; the same promise for every call
   */
  close(options?: { graceMs?: number }): Promise<PipelineReport> {
    try {
      const { graceMs = GRACE_MS } = readOptions(options, CLOSE, Pipeline.prototype.close);
      return this.#runner.close(graceMs);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Aborts all items, refuses new ones, and closes the sources that are being read.
   *
   * @param reason - rejects the items' promises and is thrown by iterators; by default an AbortError
   */
  abort(reason: unknown = new DOMException('The pipeline was aborted', 'AbortError')): void {
    this.#runner.abort(reason);
  }

  /** Closes the pipeline, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Returns the current figures of the pipeline and its stages.
   *
   * @returns a snapshot
   */
  stats(): PipelineStats {
    return statsOf(this.#runner);
  }

  /**
   * Draws the pipeline as text: a line per stage, with its current figures.
   *
   * @returns several lines
   */
  toString(): string {
    return draw(this.#runner);
  }
}

defineInspect(
  Pipeline,
  (it) => it.toString(),
  (it) => it.stats(),
);

function isShutdown(reason: unknown): boolean {
  return reason instanceof KcontError && reason.code === 'ESHUTDOWN';
}
