/**
 * Where items come from, one at a time.
 *
 * @internal
 */
export interface Source<T> {
  /** The next one. */
  next(): Promise<IteratorResult<T, unknown>>;
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
export function openSource<T>(from: PipelineSource<T>): Source<T> | undefined {
  if (typeof from === 'string') return fromSync<T>(from as Iterable<T>);
  if (typeof from !== 'object' || from === null) return undefined;
  if ('getReader' in from) return fromWeb(from);
  if (Symbol.asyncIterator in from) return fromAsync(from);
  return Symbol.iterator in from ? fromSync(from) : undefined;
}

function fromWeb<T>(stream: ReadableStreamLike<T>): Source<T> {
  const reader = stream.getReader();
  return {
    async next() {
      const { done, value } = await reader.read();
      return done ? { done: true, value: undefined } : { done: false, value: value as T };
    },
    // Whoever writes to the other end is told.
    stop: (reason) => reader.cancel(reason),
  };
}

function fromAsync<T>(iterable: AsyncIterable<T>): Source<T> {
  const iterator = iterable[Symbol.asyncIterator]();
  // A Node stream: `return` would wait for the chunk that may never come.
  const { destroy } = iterable as { destroy?: () => void };
  return {
    next: () => iterator.next(),
    async stop() {
      if (typeof destroy === 'function') destroy.call(iterable);
      else await iterator.return?.();
    },
  };
}

function fromSync<T>(iterable: Iterable<T | PromiseLike<T>>): Source<T> {
  const iterator = iterable[Symbol.iterator]();
  return {
    async next() {
      const result = iterator.next();
      if (result.done === true) return { done: true, value: undefined };
      return { done: false, value: await result.value };
    },
    async stop() {
      iterator.return?.();
    },
  };
}
