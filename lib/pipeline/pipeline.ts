import { Duplex } from 'node:stream';
import { ReadableStream, TransformStream, type WritableStream } from 'node:stream/web';
import { checkFunction, invalid, isRevoked, traceFrom, type Caller } from '../base/errors.ts';
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
import { drainBy } from '../core/workqueue.ts';
import { DEADLINE, countFrom } from './check.ts';
import { draw, statsOf, type PipelineStats } from './stats.ts';
import type { Failure, PipelineRunner, PipelineReport } from './runner.ts';
import type { Answer } from './item.ts';
import { ResultIterator } from './result-iterator.ts';
import { deliver, type PipelineSink } from './sink.ts';
import { isObject, type PipelineSource } from './source.ts';

/**
 * How an item is given to a pipeline.
 *
 * @public
 */
export interface ItemOptions {
  /** Goes before the others that wait, at each stage. Default false. */
  urgent?: boolean;
  /** How long it may take in all, in ms, more than 0. Default: the pipeline's. */
  deadlineMs?: number;
  /** Aborted: the item leaves, and its promise is rejected with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * How the items of a source go through a pipeline.
 *
 * @typeParam In - what the pipeline takes
 *
 * @public
 */
export interface ThroughOptions<In> {
  /** They go before the others that wait, at each stage. Default false. */
  urgent?: boolean;
  /** How long each may take in all, in ms, more than 0. Default: the pipeline's. */
  deadlineMs?: number;
  /** Aborted: those under way are aborted, and the iterator throws the signal's reason at once. */
  signal?: AbortSignal;
  /** Results come in the order of the source, not as they are finished. Default false. */
  ordered?: boolean;
  /**
   * As long as so many results wait for the consumer, the source is not read. 1 and more, default 16.
   */
  buffer?: number;
  /**
   * Takes the errors of items, which are then left out. By default the first error ends the reading of
   * the source; what was taken is finished and delivered, then the iterator throws the error.
   */
  onError?: (error: unknown, failure: Failure<In>) => void;
}

/**
 * Takes the result of an item that was pushed, or its error.
 *
 * @public
 */
export type ItemCallback<Out> = (error: unknown, result: Out | undefined) => void;

const ITEM_KINDS = { urgent: FLAG, deadlineMs: DEADLINE, signal: SIGNAL };
const ITEM = optionsOf<ItemOptions>('an item', ITEM_KINDS);
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

/** How many results may wait for a consumer. */
const BUFFER = 16;
/** Default grace of `close`, in ms. */
const GRACE_MS = 5000;

/**
 * A pipeline that runs. Made by {@link PipelinePlan.start}.
 *
 * @typeParam In - what it takes
 * @typeParam Out - what comes out of it
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

  /** Items accepted and not finished, those included that wait for a place. */
  get size(): number {
    return this.#runner.size;
  }

  /** Whether an item that came now would have to wait for a place at the first stage. */
  get full(): boolean {
    return this.#runner.full;
  }

  /**
   * Waits until an item would get a place at once, or the pipeline is closed.
   *
   * @returns a promise, fulfilled then
   */
  ready(): Promise<void> {
    return this.#runner.ready();
  }

  /**
   * Sends an item through, and returns what comes out.
   *
   * @param value - what the first stage takes
   * @param options - a deadline, a signal, urgency
   * @returns what the last stage returns; rejected with what a stage throws, with the reason of the
   * signal, with KcontError ETIMEDOUT when a deadline is over, ESHUTDOWN when the pipeline is closed,
   * EINVAL for an option that is not what it has to be
   */
  run(value: In, options?: ItemOptions): Promise<Out> {
    return new Promise<Out>((resolve, reject) => {
      this.#accept(value, options, Pipeline.prototype.run, (failed, result) => {
        if (failed) reject(result);
        else resolve(result as Out);
      });
    });
  }

  /**
   * Sends an item through without a promise.
   *
   * @param value - what the first stage takes
   * @param callback - called with null and the result, or with the error and undefined; without one, the
   * result is dropped and an error goes to the pipeline's `onError`
   * @param options - as for {@link Pipeline.run}
   * @returns true: the next one would get a place at once; false: better wait for `ready()`. The item
   * is accepted in either case
   * @throws KcontError EINVAL for an argument that is not what it has to be, ESHUTDOWN when the
   * pipeline is closed; the reason of a signal that is aborted
   */
  push(value: In, callback?: ItemCallback<Out>, options?: ItemOptions): boolean {
    const caller = Pipeline.prototype.push;
    if (callback === undefined) {
      this.#accept(value, options, caller, (failed, error, item) => {
        if (failed) this.#runner.unclaimed(error, item);
      });
    } else {
      checkFunction(callback, 'callback', caller);
      this.#accept(value, options, caller, (failed, result) => {
        if (failed) callback(result, undefined);
        else callback(null, result as Out);
      });
    }
    return !this.full;
  }

  #accept(value: In, options: ItemOptions | undefined, caller: Caller, answer: Answer): void {
    const { urgent = false, deadlineMs, signal } = readOptions(options, ITEM, caller);
    const item = { urgent, deadlineMs: deadlineMs ?? this.#runner.deadlineMs, signal };
    try {
      this.#runner.accept(value, item, answer);
    } catch (error) {
      // The reason of a signal is somebody else's.
      throw error === signal?.reason ? error : traceFrom(caller, error);
    }
  }

  /**
   * Sends all items of a source through, reading it no faster than they get a place.
   *
   * @param source - an iterable, async iterable, Node `Readable` or Web `ReadableStream`
   * @param options - order, errors, a signal
   * @returns the results, as they are finished, those of one key in order. The source is read once the
   * first result is asked for. To leave the loop closes the source and aborts what is under way. An
   * error, a close or an abort is heard at once, also while the source is silent; an error of closing the
   * source goes to the pipeline's `onError`
   * @throws KcontError EINVAL for an argument that is not what it has to be
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
      // Each item ends with the source's signal, not by one of its own.
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
   * Sends all items of a source through, and the results to a sink, no faster than that takes them.
   *
   * @param source - as for {@link Pipeline.through}
   * @param sink - a function, which is waited for, a Node `Writable` or a Web `WritableStream`
   * @param options - as for {@link Pipeline.through}
   * @returns a promise, fulfilled when all results are delivered; rejected with the first error of
   * items, if there is no `onError`, of the source or the sink, with KcontError ESHUTDOWN when the
   * pipeline or its kernel is closed before the source has ended; at once with the reason when it is aborted
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
   * A Node stream in object mode: what is written goes through, and can be read.
   *
   * @param options - as for {@link Pipeline.through}
   * @returns a new stream, for `stream.pipeline` and `pipe`
   */
  duplex(options?: ThroughOptions<In>): Duplex {
    return Duplex.from((source: AsyncIterable<In>) => this.through(source, options));
  }

  /**
   * A pair of Web streams: what is written goes through, and can be read.
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
   * Waits until no item is inside. More may come meanwhile; they are waited for too.
   *
   * @param options - a signal to give up waiting
   * @returns a promise, fulfilled then; rejected with the signal's reason, and with KcontError EINVAL for
   * an option that is not what it has to be
   */
  drain(options?: { signal?: AbortSignal }): Promise<void> {
    return drainBy(() => this.#runner.drain(), options, Pipeline.prototype.drain);
  }

  /**
   * Refuses items, closes the sources that are being read, finishes the items that are inside, and aborts
   * those that do not finish in time.
   *
   * @param options - `graceMs`: how long to wait, 0 and more ms or Infinity, default 5000
   * @returns a promise of what did not finish; the same one for every call
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
   * Makes all items leave, refuses others, and closes the sources that are being read.
   *
   * @param reason - what their promises are rejected with, and what iterators throw; by default an AbortError
   */
  abort(reason: unknown = new DOMException('The pipeline was aborted', 'AbortError')): void {
    this.#runner.abort(reason);
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * What it has to do, and has done.
   *
   * @returns the figures of this moment
   */
  stats(): PipelineStats {
    return statsOf(this.#runner);
  }

  /**
   * Draws it: a line per stage, with the figures of this moment.
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
