import type { Readable } from 'node:stream';
import { isRevoked } from '../base/errors.ts';

/**
 * A source of items, read one at a time.
 *
 * @internal
 */
export interface Source {
  /** Reads the next item. Should return an `IteratorResult` or a promise; may throw or never settle. */
  next(): unknown;
  /** Closes the source, even while a call of `next` is pending. */
  stop(reason: unknown): Promise<void>;
}

/**
 * The part of a Web `ReadableStream` that a pipeline uses.
 *
 * @public
 */
export interface ReadableStreamLike<T> {
  /** Locks the stream and returns a reader. */
  getReader(): {
    /** Reads the next chunk. */
    read(): Promise<{ done: boolean; value?: T | undefined }>;
    /** Cancels the stream: no more chunks will be read. */
    cancel(reason?: unknown): Promise<void>;
  };
}

/**
 * A source of items: an iterable, an async iterable such as a Node `Readable`, or a Web
 * `ReadableStream`.
 *
 * @public
 */
export type PipelineSource<T> =
  | Iterable<T | PromiseLike<T>>
  | AsyncIterable<T>
  | ReadableStreamLike<T>;

/**
 * Opens a source. Returns undefined if the value is not one.
 *
 * @internal
 */
export function openSource<T>(from: PipelineSource<T>): Source | undefined {
  if (typeof from === 'string') return fromSync<T>(from as Iterable<T>);
  if (typeof from !== 'object' || from === null || isRevoked(from)) return undefined;
  if ('getReader' in from) return fromWeb(from);
  if (Symbol.asyncIterator in from) return fromAsync(from);
  return Symbol.iterator in from ? fromSync(from) : undefined;
}

function fromWeb<T>(stream: ReadableStreamLike<T>): Source {
  const reader = stream.getReader();
  return {
    next: () => reader.read(),
    // Cancelling also notifies the writer at the other end.
    async stop(reason) {
      await reader.cancel(reason);
    },
  };
}

function fromAsync<T>(iterable: AsyncIterable<T>): Source {
  const iterator = iterable[Symbol.asyncIterator]();
  // A Node stream is destroyed: `return` would wait for a chunk that may never come.
  const { destroy, pipe } = iterable as { destroy?: unknown; pipe?: unknown };
  const isNodeStream = typeof destroy === 'function' && typeof pipe === 'function';
  return {
    next: () => iterator.next(),
    async stop() {
      if (isNodeStream) (iterable as unknown as Readable).destroy();
      else await iterator.return?.();
    },
  };
}

function fromSync<T>(iterable: Iterable<T | PromiseLike<T>>): Source {
  const iterator = iterable[Symbol.iterator]();
  let isInside = false;
  const stop = async (): Promise<void> => {
    // The source itself may have caused this call, and a generator cannot return while it runs.
    if (isInside) await Promise.resolve();
    iterator.return?.();
  };
  return {
    async next() {
      isInside = true;
      let result: unknown;
      try {
        result = iterator.next();
      } finally {
        isInside = false;
      }
      if (!isObject(result)) return result;
      const { done } = result as { done?: unknown };
      if (done) return { done: true };
      const { value } = result as IteratorResult<unknown>;
      try {
        return { done: false, value: await value };
      } catch (error) {
        // The value rejected, not the iterator, so the iterator has to be closed.
        await stop();
        throw error;
      }
    },
    stop,
  };
}

/** Tells whether a value is an object or a function. */
export function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
