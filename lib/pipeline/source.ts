import type { Readable } from 'node:stream';
import { isRevoked } from '../base/errors.ts';

/**
 * Where items come from, one at a time.
 *
 * @internal
 */
export interface Source {
  /** The next one: what should be an `IteratorResult`. May throw, and wait for ever. */
  next(): unknown;
  /** No more are wanted, and why: gives back what it holds, also while a `next` is under way. */
  stop(reason: unknown): Promise<void>;
}

/**
 * A Web ReadableStream, as far as it matters here.
 *
 * @public
 */
export interface ReadableStreamLike<T> {
  /** Locks it. */
  getReader(): {
    /** The next chunk. */
    read(): Promise<{ done: boolean; value?: T | undefined }>;
    /** No more chunks are wanted. */
    cancel(reason?: unknown): Promise<void>;
  };
}

/**
 * What a pipeline reads from: an iterable, an async iterable (a Node `Readable` is one), or a Web
 * `ReadableStream`.
 *
 * @public
 */
export type PipelineSource<T> =
  | Iterable<T | PromiseLike<T>>
  | AsyncIterable<T>
  | ReadableStreamLike<T>;

/**
 * Reads from whatever can be read from; undefined: it cannot.
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
    // Whoever writes to the other end is told.
    async stop(reason) {
      await reader.cancel(reason);
    },
  };
}

function fromAsync<T>(iterable: AsyncIterable<T>): Source {
  const iterator = iterable[Symbol.asyncIterator]();
  // A Node stream: `return` would wait for the chunk that may never come.
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
    // Called by the source itself: a generator cannot return while it runs.
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
        // It is not the iterator that has failed.
        await stop();
        throw error;
      }
    },
    stop,
  };
}

/** Whether something can have properties of its own. */
export function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
