import { finished, type Writable } from 'node:stream';
import { pipeline as connect } from 'node:stream/promises';
import type { WritableStream } from 'node:stream/web';
import type { ResultIterator } from './result-iterator.ts';
import { nothing } from '../base/nothing.ts';

/**
 * A destination for results: a function, whose promise is awaited, a Node `Writable` in object mode, or
 * a Web `WritableStream`. A stream is ended when the source has ended.
 *
 * @public
 */
export type PipelineSink<Out> = ((result: Out) => unknown) | Writable | WritableStream<Out>;

/**
 * Writes results to a sink one after the other. An abort ends this even if the sink does not accept
 * the result it was given.
 *
 * @internal
 */
export function deliver<Out>(
  results: ResultIterator<never, Out>,
  sink: PipelineSink<Out>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const through =
      typeof sink === 'function'
        ? toFunction(results, sink, reject)
        : 'getWriter' in sink
          ? toWeb(results, sink, reject)
          : toNode(results, sink, reject);
    const leave = (): void => void results.return();
    through.finally(leave).then(resolve, reject);
  });
}

type Reject = (reason: unknown) => void;

async function toFunction<Out>(
  results: ResultIterator<never, Out>,
  sink: (result: Out) => unknown,
  reject: Reject,
): Promise<void> {
  results.onAbort = reject;
  while (await one(results, sink));
}

/**
 * Writes one result. A separate function, because the frame of a loop would keep the last result alive
 * while it waits for the next.
 */
async function one<Out>(
  results: ResultIterator<never, Out>,
  sink: (result: Out) => unknown,
): Promise<boolean> {
  const { done, value } = await results.next();
  if (done === true) return false;
  await sink(value);
  return true;
}

async function toNode<Out>(
  results: ResultIterator<never, Out>,
  sink: Writable,
  reject: Reject,
): Promise<void> {
  results.onAbort = (reason) => {
    reject(reason);
    sink.destroy(reason as Error);
  };
  // It may be closed while the source is silent.
  const ignore = finished(sink, { readable: false }, (error) => {
    if (error !== undefined && error !== null) void results.return();
  });
  try {
    await connect(results, sink);
  } finally {
    ignore();
  }
}

async function toWeb<Out>(
  results: ResultIterator<never, Out>,
  sink: WritableStream<Out>,
  reject: Reject,
): Promise<void> {
  const writer = sink.getWriter();
  const fail = (reason: unknown): void => {
    reject(reason);
    writer.abort(reason).catch(nothing);
  };
  results.onAbort = fail;
  // It may be closed while the source is silent.
  writer.closed.catch((error: unknown) => {
    reject(error);
    void results.return();
  });
  try {
    const write = async (result: Out): Promise<void> => {
      await writer.ready;
      writer.write(result).catch(nothing);
    };
    while (await one(results, write));
    await writer.close();
  } catch (error) {
    fail(error);
  }
}
