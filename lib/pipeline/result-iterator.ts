/*
 * Sends the items of one source through a pipeline to one consumer.
 *
 *   source ──next()──▶ feed ──accept──▶ the pipeline ──answer──▶ slots ──▶ next() of the consumer
 *             one at a time: the next item is requested when this one has been admitted
 *             and fewer than `buffer` results wait for the consumer
 *
 * A slot is the position of an item's result in the order of delivery. It is taken when the item is
 * given to the pipeline (`ordered`) or when the item is done.
 *
 * The iterator ends in one of three ways:
 *   the source ends     the items inside are finished and delivered
 *   an error            an item fails and there is no `onError`, the source fails, or the pipeline is
 *                       closed: the source is stopped, the items inside are finished and delivered,
 *                       then the error is thrown
 *   an abort            the consumer leaves, or its signal or the pipeline is aborted: the source is
 *                       stopped, the items inside are aborted, the reason is thrown
 *
 * None of these waits for the source, which may be silent for ever. The source is stopped at once, even
 * while a call of its `next` is pending; it is not called again, and what it still yields is dropped.
 */

import { join, leave } from '../base/abort-listeners.ts';
import { invalid, show } from '../base/errors.ts';
import { failureOf, type Failure, type PipelineRunner, type Reader } from './runner.ts';
import type { Answer, Item, ItemOptions } from './item.ts';
import { isObject, openSource, type PipelineSource, type Source } from './source.ts';

/**
 * The options of `Pipeline.through`, checked.
 *
 * @internal
 */
export interface ResultIteratorOptions<In> {
  readonly item: ItemOptions;
  readonly signal: AbortSignal | undefined;
  readonly ordered: boolean;
  readonly buffer: number;
  readonly onError: ((error: unknown, failure: Failure<In>) => void) | undefined;
}

interface Slot<Out> {
  next: Slot<Out> | undefined;
  state: 'open' | 'done' | 'void';
  value: Out | undefined;
}

interface Taker<Out> {
  readonly resolve: (result: IteratorResult<Out, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Iterates over the results of a source's items.
 *
 * @internal
 */
export class ResultIterator<In, Out> implements AsyncIterableIterator<Out>, Reader {
  /** Called on abort, even if no `next` is pending, because the consumer may be stuck elsewhere. */
  onAbort: ((reason: unknown) => void) | undefined = undefined;
  readonly #runner: PipelineRunner;
  readonly #source: Source;
  readonly #options: ResultIteratorOptions<In>;
  readonly #items = new Set<Item>();
  readonly #takers: Taker<Out>[] = [];
  #head: Slot<Out> | undefined = undefined;
  #tail: Slot<Out> | undefined = undefined;
  /** Number of results that wait for the consumer. */
  #waiting = 0;
  #started = false;
  /** The source has ended or was stopped: it is not read any more. */
  #ended = false;
  /** The consumer has left. */
  #abandoned = false;
  #failure: { readonly error: unknown } | undefined = undefined;
  #wakeFeed: (() => void) | undefined = undefined;

  constructor(
    runner: PipelineRunner,
    source: PipelineSource<In>,
    options: ResultIteratorOptions<In>,
  ) {
    const opened = openSource(source);
    if (opened === undefined) throw invalid('source', 'an iterable or a readable stream', source);
    this.#runner = runner;
    this.#source = opened;
    this.#options = options;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Out, undefined>> {
    if (!this.#started) this.#start();
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<Out, undefined>> {
    if (!this.#abandoned) this.#abandon(new DOMException('The consumer has left', 'AbortError'));
    return Promise.resolve({ done: true, value: undefined });
  }

  #start(): void {
    this.#started = true;
    const { signal } = this.#options;
    if (signal?.aborted === true) {
      this._abort(signal.reason);
      return;
    }
    if (signal !== undefined) join(signal, this);
    this.#runner.addReader(this);
    void this.#feed();
  }

  /** Reads the source, in the async context of the first call of `next`. */
  async #feed(): Promise<void> {
    while (!this.#ended) await this.#step();
  }

  /**
   * Reads one item. A separate function, because the frame of a loop would keep the last item alive
   * while the source is silent.
   */
  async #step(): Promise<void> {
    if (this.#waiting >= this.#options.buffer) {
      await new Promise<void>((resolve) => (this.#wakeFeed = resolve));
      return;
    }
    let done: boolean;
    let value: unknown;
    try {
      const result: unknown = await this.#source.next();
      if (this.#ended) return;
      ({ done, value } = read(result));
    } catch (error) {
      // A source that has failed is not stopped; a source that was stopped may fail.
      if (this.#ended) return;
      this.#failure ??= { error };
      done = true;
    }
    if (done) {
      this.#ended = true;
      this.#serve();
      return;
    }
    try {
      await this.#give(value as In);
    } catch (error) {
      this.refuse(error);
    }
  }

  /** Gives an item to the pipeline. Resolves when it has been admitted or is gone. */
  async #give(value: In): Promise<void> {
    const { ordered, item: options } = this.#options;
    const slot = ordered ? this.#addSlot() : undefined;
    await new Promise<void>((admit) => {
      let gone = false;
      const answer: Answer = (failed, result, it) => {
        gone = true;
        this.#items.delete(it);
        this.#answered(failed, result, it, slot);
      };
      const item = this.#runner.accept(value, options, answer, admit);
      if (!gone) this.#items.add(item);
    });
  }

  #answered(failed: boolean, value: unknown, item: Item, reserved: Slot<Out> | undefined): void {
    if (this.#abandoned) return;
    if (failed) {
      if (reserved !== undefined) reserved.state = 'void';
      this.#failed(value, item);
    } else {
      const slot = reserved ?? this.#addSlot();
      slot.state = 'done';
      slot.value = value as Out;
      this.#waiting++;
    }
    this.#serve();
  }

  #failed(error: unknown, item: Item): void {
    const { onError } = this.#options;
    if (onError === undefined) this.#fail(error);
    else {
      try {
        onError(error, failureOf(item) as Failure<In>);
      } catch (thrown) {
        this.#fail(thrown);
      }
    }
  }

  #addSlot(): Slot<Out> {
    const slot: Slot<Out> = { next: undefined, state: 'open', value: undefined };
    if (this.#tail === undefined) this.#head = slot;
    else this.#tail.next = slot;
    this.#tail = slot;
    return slot;
  }

  /** Resolves pending calls of `next` with the results that are ready. */
  #serve(): void {
    while (this.#takers.length > 0) {
      while (this.#head?.state === 'void') this.#dropHead();
      if (this.#head?.state === 'done') {
        const { value } = this.#head;
        this.#dropHead();
        this.#waiting--;
        this.#takers.shift()?.resolve({ done: false, value: value as Out });
        this.#wakeFeed?.();
        this.#wakeFeed = undefined;
      } else if (this.#ended && this.#items.size === 0) this.#end();
      else break;
    }
  }

  #dropHead(): void {
    this.#head = this.#head?.next;
    if (this.#head === undefined) this.#tail = undefined;
  }

  /** Ends the iterator when everything is delivered: rejects once with the error, then reports done. */
  #end(): void {
    if (this.onAbort === undefined) this.#release();
    const failure = this.#failure;
    this.#failure = undefined;
    const taker = this.#takers.shift();
    if (failure === undefined) taker?.resolve({ done: true, value: undefined });
    else taker?.reject(failure.error);
  }

  /** Keeps the first error, and stops the source. */
  #fail(error: unknown): void {
    if (this.#abandoned) return;
    this.#failure ??= { error };
    this.#stop(error);
  }

  /** Ends with an error after the items inside, because the pipeline accepts no more. */
  refuse(reason: unknown): void {
    if (this.#ended) return;
    this.#fail(reason);
    this.#serve();
  }

  /** Aborts the items and ends. Called by the signal and by the pipeline. */
  _abort(reason: unknown): void {
    this.#fail(reason);
    this.#abandon(reason);
    this.onAbort?.(reason);
  }

  #stop(reason: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#wakeFeed?.();
    this.#wakeFeed = undefined;
    this.#source.stop(reason).catch((error: unknown) => this.#runner.unclosed(error));
  }

  /** Aborts the items and drops the results, because nobody will consume them. */
  #abandon(reason: unknown): void {
    this.#started = true;
    this.#abandoned = true;
    this.#stop(reason);
    this.#release();
    for (const item of [...this.#items].toReversed()) item._abort(reason);
    this.#items.clear();
    this.#head = undefined;
    this.#tail = undefined;
    this.#waiting = 0;
    this.#serve();
  }

  /** Stops listening to the signal and the pipeline. */
  #release(): void {
    const { signal } = this.#options;
    if (signal !== undefined) leave(signal, this);
    this.#runner.removeReader(this);
  }
}

/** Reads an iterator result, which foreign code may have made of any value. */
function read(result: unknown): { done: boolean; value: unknown } {
  if (!isObject(result)) {
    throw new TypeError(`the source's next() must return an object, got ${show(result)}`);
  }
  const { done } = result as { done?: unknown };
  // Like for-await, this does not read the value of the last result.
  if (done) return { done: true, value: undefined };
  return { done: false, value: (result as { value?: unknown }).value };
}
