/*
 * The items of one source on their way through a pipeline to one consumer.
 *
 *   source ──next()──▶ feed ──accept──▶ the pipeline ──answer──▶ slots ──▶ next() of the consumer
 *             one at a time: the next one is asked for when this one has been let in,
 *             and fewer than `buffer` results wait for the consumer
 *
 * A slot is the place of an item's result in the order of delivery: taken when the item is given
 * (`ordered`) or when it is done.
 *
 * It ends in one of three ways:
 *   the source ends     what is under way is finished and delivered
 *   an item fails       and nobody handles it: the source is stopped, the rest is finished and
 *                       delivered, then the error is thrown; the same if the source fails
 *   the consumer leaves, or its signal is aborted: the source is stopped, the rest is aborted
 */

import { invalid } from '../../errors.ts';
import type { Failure } from './flow.ts';
import { failureOf, type Flow } from './flow.ts';
import type { Answer, Item, ItemOptions } from './item.ts';
import { openSource, type PipelineSource, type Source } from './source.ts';

/**
 * How items go through, checked.
 *
 * @internal
 */
export interface PassageOptions<In> {
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
 * The results of a source's items, as an iterator.
 *
 * @internal
 */
export class Passage<In, Out> implements AsyncIterableIterator<Out> {
  readonly #flow: Flow;
  readonly #source: Source<In>;
  readonly #options: PassageOptions<In>;
  readonly #items = new Set<Item>();
  readonly #takers: Taker<Out>[] = [];
  #head: Slot<Out> | undefined = undefined;
  #tail: Slot<Out> | undefined = undefined;
  /** Results that wait for the consumer. */
  #waiting = 0;
  #started = false;
  /** The source gives no more. */
  #ended = false;
  /** It is not asked any more. */
  #stopped = false;
  /** The consumer has left. */
  #abandoned = false;
  #failure: { readonly error: unknown } | undefined = undefined;
  #wakeFeed: (() => void) | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;

  constructor(flow: Flow, source: PipelineSource<In>, options: PassageOptions<In>) {
    const opened = openSource(source);
    if (opened === undefined) throw invalid('source', 'an iterable or a readable stream', source);
    this.#flow = flow;
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
    this.#abandon(new DOMException('The consumer has left', 'AbortError'));
    return Promise.resolve({ done: true, value: undefined });
  }

  #start(): void {
    this.#started = true;
    const { signal } = this.#options;
    if (signal !== undefined) {
      this.#onAbort = () => {
        this.#fail(signal.reason);
        this.#abandon(signal.reason);
      };
      if (signal.aborted) this.#onAbort();
      else signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    void this.#feed();
  }

  async #feed(): Promise<void> {
    try {
      while (!this.#stopped) {
        while (this.#waiting >= this.#options.buffer && !this.#stopped) {
          await new Promise<void>((resolve) => (this.#wakeFeed = resolve));
        }
        if (this.#stopped) break;
        const result = await this.#source.next();
        // What has been taken is given, also if the source has been stopped meanwhile.
        if (result.done === true || this.#abandoned) break;
        await this.#give(result.value);
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#ended = true;
    this.#serve();
  }

  /** Gives an item to the pipeline; resolves when it has been let in, or is gone. */
  async #give(value: In): Promise<void> {
    const { ordered, item: options } = this.#options;
    const slot = ordered ? this.#addSlot() : undefined;
    await new Promise<void>((letIn) => {
      let gone = false;
      const answer: Answer = (failed, result, it) => {
        gone = true;
        this.#items.delete(it);
        this.#answered(failed, result, it, slot);
      };
      const item = this.#flow.accept(value, options, answer, letIn);
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

  /** Hands out what is due. */
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

  /** Everything is delivered: the error, once, and then the end. */
  #end(): void {
    this.#unlisten();
    const failure = this.#failure;
    this.#failure = undefined;
    const taker = this.#takers.shift();
    if (failure === undefined) taker?.resolve({ done: true, value: undefined });
    else taker?.reject(failure.error);
  }

  /** The first error counts. The source is asked no more. */
  #fail(error: unknown): void {
    if (this.#abandoned) return;
    this.#failure ??= { error };
    this.#stop(error);
  }

  #stop(reason: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#wakeFeed?.();
    this.#wakeFeed = undefined;
    if (!this.#ended) this.#source.stop(reason).catch(() => undefined);
  }

  /** Nobody wants the results any more. */
  #abandon(reason: unknown): void {
    this.#started = true;
    this.#abandoned = true;
    this.#stop(reason);
    this.#ended = true;
    this.#unlisten();
    for (const item of [...this.#items].toReversed()) item._abort(reason);
    this.#items.clear();
    this.#head = undefined;
    this.#tail = undefined;
    this.#waiting = 0;
    this.#serve();
  }

  #unlisten(): void {
    if (this.#onAbort === undefined) return;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#onAbort = undefined;
  }
}
