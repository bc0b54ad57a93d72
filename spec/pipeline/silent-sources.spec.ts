// The pipeline waits neither for a silent source, nor for a blocked sink, nor for a consumer that leaves.
import { PassThrough, Readable, Writable } from 'node:stream';
import { pipeline as connect } from 'node:stream/promises';
import { ReadableStream, WritableStream } from 'node:stream/web';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { pipeline } from '../../lib/pipeline/index.ts';
import type { Failure, Pipeline, PipelineSource } from '../../lib/pipeline/index.ts';
import { KcontError, Kernel } from '../../lib/index.ts';
import { deferred, Lab, settled } from '../support/lab.ts';

const never: Promise<never> = new Promise(() => {});

function messageOf(error: unknown): string {
  return error instanceof KcontError ? error.code : (error as Error).message;
}

/** Sources that yield some values and then nothing, and record how they are closed. */
const sources: Record<string, (values: number[], closed: string[]) => PipelineSource<number>> = {
  'an async iterable': (values, closed) => {
    const left = [...values];
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          const value = left.shift();
          return value === undefined ? never : Promise.resolve({ done: false, value });
        },
        return: () => {
          closed.push('closed');
          return Promise.resolve({ done: true as const, value: undefined });
        },
      }),
    };
  },
  'an iterable of promises': (values, closed) =>
    (function* () {
      try {
        yield* values;
        yield never;
      } finally {
        closed.push('closed');
      }
    })(),
  'a Node stream': (values, closed) => {
    const stream = new PassThrough({ objectMode: true });
    for (const value of values) stream.write(value);
    const { destroy } = stream;
    stream.destroy = (...args) => {
      closed.push('closed');
      return destroy.apply(stream, args);
    };
    return stream;
  },
  'a Web stream': (values, closed) =>
    new ReadableStream<number>({
      start(controller) {
        for (const value of values) controller.enqueue(value);
      },
      cancel: () => void closed.push('closed'),
    }),
};

/** Events that end a pipeline that waits for its source. */
const ends: Record<
  string,
  {
    readonly error: string;
    readonly value?: number;
    readonly end: (line: Pipeline<number, number>, lab: Lab, abort: AbortController) => unknown;
  }
> = {
  'an item that fails': { value: -1, error: 'failed', end: () => {} },
  'close()': { error: 'ESHUTDOWN', end: (line) => line.close() },
  'abort()': { error: 'enough', end: (line) => line.abort(new Error('enough')) },
  'the signal': { error: 'enough', end: (_, __, abort) => abort.abort(new Error('enough')) },
  'close() of the kernel': { error: 'ESHUTDOWN', end: (_, { kernel }) => kernel.close() },
};

/** Ways of consuming results. */
const consumers: Record<
  string,
  (
    line: Pipeline<number, number>,
    source: PipelineSource<number>,
    signal: AbortSignal,
  ) => Promise<unknown>
> = {
  'a loop': async (line, source, signal) => {
    for await (const result of line.through(source, { signal })) void result;
  },
  'pump() to a function': (line, source, signal) => line.pump(source, () => {}, { signal }),
  'pump() to a Node stream': (line, source, signal) =>
    line.pump(
      source,
      new Writable({ objectMode: true, write: (_chunk, _encoding, done) => done() }),
      {
        signal,
      },
    ),
  'pump() to a Web stream': (line, source, signal) =>
    line.pump(source, new WritableStream(), { signal }),
  'Readable.from()': async (line, source, signal) => {
    for await (const result of Readable.from(line.through(source, { signal }))) void result;
  },
  'ReadableStream.from()': async (line, source, signal) => {
    for await (const result of ReadableStream.from(line.through(source, { signal }))) void result;
  },
};

function lineOn(lab: Lab): Pipeline<number, number> {
  return pipeline<number>('line')
    .stage('check', async (n) => {
      if (n < 0) throw new Error('failed');
      return n;
    })
    .start({ kernel: lab.kernel });
}

describe('a pipeline whose source is silent', () => {
  for (const [from, source] of Object.entries(sources)) {
    for (const [by, { error, value = 1, end }] of Object.entries(ends)) {
      it(`ends all consumers at once, and closes ${from}: ${by}`, async () => {
        const found: Record<string, string> = {};
        const expected: Record<string, string> = {};
        for (const [to, consume] of Object.entries(consumers)) {
          const lab = new Lab();
          const abort = new AbortController();
          const line = lineOn(lab);
          const closed: string[] = [];
          let how = 'not heard';
          consume(line, source([value], closed), abort.signal).then(
            () => (how = 'fulfilled'),
            (reason: unknown) => (how = messageOf(reason)),
          );
          // A stream's callbacks may take several turns.
          for (let i = 0; i < 4; i++) await lab.clock.advance(0);
          end(line, lab, abort);
          for (let i = 0; i < 4; i++) await lab.clock.advance(0);
          found[to] = `${how}, ${closed.join()}, ${line.size}, ${lab.reported.join()}`;
          expected[to] = `${error}, closed, 0, `;
        }
        expect(found).to.deep.equal(expected);
      });
    }
  }

  for (const [by, { error, value = 1, end }] of Object.entries(ends)) {
    if (by === 'the signal') continue;
    it(`ends both sides of duplex() and transform() at once: ${by}`, async () => {
      const how: string[] = [];
      const note = (reason: unknown): void => void how.push(messageOf(reason));
      const lab = new Lab();
      const lines = [lineOn(lab), lineOn(lab)] as const;
      const silent = new PassThrough({ objectMode: true });
      silent.write(value);
      const sink = new Writable({ objectMode: true, write: (_c, _e, done) => done() });
      connect(silent, lines[0].duplex(), sink).catch(note);
      const { readable, writable } = lines[1].transform();
      const writer = writable.getWriter();
      void writer.write(value).catch(() => {});
      writer.closed.catch(note);
      readable.pipeTo(new WritableStream()).catch(note);
      for (let i = 0; i < 4; i++) await lab.clock.advance(0);
      for (const line of lines) void end(line, lab, new AbortController());
      for (let i = 0; i < 8; i++) await lab.clock.advance(0);
      expect(how).to.deep.equal([error, error, error]);
      expect([silent.destroyed, sink.destroyed]).to.deep.equal([true, true]);
      expect(lab.reported).to.deep.equal([]);
    });
  }

  it('delivers the items already read when it is closed, and no later ones', async () => {
    const lab = new Lab();
    const line = pipeline<number>('line')
      .stage('wait', (ms) => lab.wq.softclock.run(() => ms, { delayMs: ms }))
      .start({ kernel: lab.kernel });
    const source = new PassThrough({ objectMode: true });
    source.write(10);
    source.write(20);
    const got: unknown[] = [];
    const pumped = line.pump(source, (n) => got.push(n)).catch(messageOf);
    await lab.clock.advance(5);
    const closed = line.close();
    await settled();
    expect(source.destroyed).to.equal(true);
    await lab.clock.advance(20);
    expect(await closed).to.deep.equal({ unfinished: [] });
    expect([await pumped, ...got]).to.deep.equal(['ESHUTDOWN', 10, 20]);
  });

  it('drops what the source yields after it was closed: a value, its end or an error', async () => {
    const lab = new Lab();
    for (const say of ['value', 'end', 'error']) {
      const answer = deferred<IteratorResult<number>>();
      let asked = 0;
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => (asked++ === 0 ? Promise.resolve({ value: -1 }) : answer.promise),
          return: () => Promise.resolve({ done: true as const, value: 0 }),
        }),
      } as AsyncIterable<number>;
      const line = lineOn(lab);
      const results = line.through(source);
      const first = results.next().catch(messageOf);
      await lab.clock.advance(0);
      expect(await first).to.equal('failed');
      if (say === 'error') answer.reject(new Error('late'));
      else answer.resolve({ done: say === 'end', value: 1 });
      await lab.clock.advance(0);
      expect(await results.next()).to.deep.equal({ done: true, value: undefined });
      expect([asked, line.size]).to.deep.equal([2, 0]);
    }
    expect(lab.reported).to.deep.equal([]);
  });

  it('reads nothing if it or its kernel is closed before the first result is requested', async () => {
    for (const end of ['close', 'abort', 'kernel'] as const) {
      const lab = new Lab();
      const line = lineOn(lab);
      if (end === 'kernel') void lab.kernel.close();
      else void line[end]();
      const closed: string[] = [];
      const source = sources['an async iterable']?.([1], closed) as AsyncIterable<number>;
      expect(await line.through(source).next().catch(messageOf)).to.equal('ESHUTDOWN');
      expect(closed).to.deep.equal(['closed']);
    }
  });

  it('does not close a source that has ended, and delivers its results without an error', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const results = line.through([1, 2, 3]);
    const first = results.next();
    await lab.clock.advance(0);
    await first;
    await line.close();
    const left: number[] = [];
    for await (const result of results) left.push(result);
    expect(left).to.deep.equal([2, 3]);
  });

  it('can be closed by the sync generator that it is reading', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const ran: string[] = [];
    const source = (function* () {
      try {
        yield 1;
        line.abort(new Error('enough'));
        yield 2;
      } finally {
        ran.push('closed');
      }
    })();
    const pumped = line.pump(source, () => {}).catch(messageOf);
    await lab.clock.advance(0);
    expect([await pumped, ...ran, ...lab.reported]).to.deep.equal(['enough', 'closed']);
  });
});

describe('a source that cannot be closed', () => {
  const ways: Record<string, () => unknown> = {
    'its return() rejects': () => Promise.reject(new Error('stuck')),
    'its return() throws': () => {
      throw new Error('stuck');
    },
    'its return is no function': () => undefined,
    'its return is a getter that throws': () => undefined,
    'its return() never settles': () => never,
  };

  function sourceOf(way: string): AsyncIterable<number> {
    let asked = 0;
    const iterator = {
      next: () => (asked++ === 0 ? Promise.resolve({ done: false, value: -1 }) : never),
      get return(): unknown {
        if (way.includes('getter')) throw new Error('stuck');
        return way.includes('no function') ? 7 : ways[way];
      },
    };
    return { [Symbol.asyncIterator]: () => iterator } as AsyncIterable<number>;
  }

  for (const way of Object.keys(ways)) {
    it(`is reported, and delays neither the error nor the end: ${way}`, async () => {
      const expected = way.includes('never')
        ? []
        : [way.includes('no function') ? 'TypeError' : 'Error'];
      // By the pipeline, if it has an onError.
      const lab = new Lab();
      const failures: [string, Failure<number>][] = [];
      const line = pipeline<number>('line')
        .stage('fail', () => {
          throw new Error('failed');
        })
        .start({
          kernel: lab.kernel,
          onError: (error, failure) => failures.push([(error as Error).name, failure]),
        });
      const pumped = line.pump(sourceOf(way), () => {}).catch(messageOf);
      await lab.clock.advance(0);
      expect(await pumped).to.equal('failed');
      await settled();
      const failure = { pipeline: 'line', stage: 'source', input: undefined };
      expect(failures).to.deep.equal(expected.map((name) => [name, failure]));
      expect(lab.errors).to.deep.equal([]);
      expect(await line.close()).to.deep.equal({ unfinished: [] });
      // Otherwise by the kernel.
      const other = lineOn(lab);
      const again = other.pump(sourceOf(way), () => {}).catch(messageOf);
      await lab.clock.advance(0);
      expect(await again).to.equal('failed');
      await settled();
      expect(lab.errors.map((error) => (error as Error).name)).to.deep.equal(expected);
      await other.close();
    });
  }

  it('is reported with the name of its pipeline, also when the consumer leaves', async () => {
    const names: string[] = [];
    const lab = new Lab();
    const kernel = new Kernel({ clock: lab.clock, onError: (_, kc) => names.push(kc.name) });
    const line = pipeline<number>('line')
      .stage('one', (n) => n)
      .start({ kernel });
    const results = line.through(sourceOf('its return() rejects'));
    const next = results.next();
    await results.return?.();
    expect(await next).to.deep.equal({ done: true, value: undefined });
    await settled();
    expect(names).to.deep.equal(['line/source']);
  });
});

describe('a hostile source', () => {
  const hostile: Record<string, { next: () => unknown; error: string }> = {
    'next() throws': {
      next: () => {
        throw new Error('hostile');
      },
      error: 'hostile',
    },
    'next() returns no object': {
      next: () => 5,
      error: "the source's next() must return an object, got 5",
    },
    'next() returns null': {
      next: () => Promise.resolve(null),
      error: "the source's next() must return an object, got null",
    },
    'done throws': {
      next: () => ({
        get done(): boolean {
          throw new Error('hostile');
        },
      }),
      error: 'hostile',
    },
    'value throws': {
      next: () => ({
        done: false,
        get value(): number {
          throw new Error('hostile');
        },
      }),
      error: 'hostile',
    },
    'then throws': {
      next: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- what it is about
        get then(): unknown {
          throw new Error('hostile');
        },
      }),
      error: 'hostile',
    },
  };
  for (const [name, { next, error }] of Object.entries(hostile)) {
    for (const kind of [Symbol.asyncIterator, Symbol.iterator]) {
      if (kind === Symbol.iterator && name.startsWith('then')) continue;
      if (kind === Symbol.iterator && name.includes('null')) continue;
      it(`fails the iterator, and is not closed: ${name}, ${kind.description}`, async () => {
        const lab = new Lab();
        const line = lineOn(lab);
        let closed = 0;
        const source = { [kind]: () => ({ next, return: () => closed++ }) };
        const pumped = line
          .pump(source as unknown as AsyncIterable<number>, () => {})
          .catch(messageOf);
        await lab.clock.advance(0);
        expect(await pumped).to.equal(error);
        expect([closed, line.size, ...lab.reported]).to.deep.equal([0, 0]);
      });
    }
  }

  it('may have a getter for next that throws', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const source = {
      [Symbol.asyncIterator]: () => ({
        get next(): unknown {
          throw new Error('hostile');
        },
      }),
    };
    const pumped = line.pump(source as AsyncIterable<number>, () => {}).catch(messageOf);
    expect(await pumped).to.equal('hostile');
  });

  it('has ended if `done` is truthy, and its last value is not read', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    for (const kind of [Symbol.asyncIterator, Symbol.iterator]) {
      const source = {
        [kind]: () => ({
          next: () => ({
            done: 1,
            get value(): number {
              throw new Error('asked for');
            },
          }),
        }),
      };
      await line.pump(source as unknown as AsyncIterable<number>, () => {});
    }
    expect(line.stats().done).to.equal(0);
  });

  it('may abort the pipeline in its value getter, and the iterator throws the reason', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => ({
          get value(): number {
            line.abort(new Error('enough'));
            return 1;
          },
        }),
      }),
    };
    const pumped = line.pump(source as unknown as AsyncIterable<number>, () => {}).catch(messageOf);
    await lab.clock.advance(0);
    expect([await pumped, line.size, ...lab.reported]).to.deep.equal(['enough', 0]);
  });

  it('may return functions as iterator results', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const answers = [Object.assign(() => {}, { value: 4 }), { done: true, value: 0 }];
    const source = { [Symbol.asyncIterator]: () => ({ next: () => answers.shift() }) };
    const got: number[] = [];
    const pumped = line.pump(source as unknown as AsyncIterable<number>, (n) => got.push(n));
    await lab.clock.advance(0);
    await pumped;
    expect(got).to.deep.equal([4]);
  });

  it('is closed when one of its values rejects, because it has not failed itself', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const ran: string[] = [];
    const source = (function* () {
      try {
        yield Promise.reject<number>(new Error('rejected'));
      } finally {
        ran.push('closed');
      }
    })();
    const pumped = line.pump(source, () => {}).catch(messageOf);
    await lab.clock.advance(0);
    expect([await pumped, ...ran]).to.deep.equal(['rejected', 'closed']);
  });

  it('is closed by return() even if it has a destroy method, unless it is a stream', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const ran: string[] = [];
    const source = {
      destroy: () => ran.push('destroyed'),
      [Symbol.asyncIterator]: () => ({
        next: () => never,
        return: async () => {
          ran.push('returned');
          return { done: true as const, value: 0 };
        },
      }),
    };
    const results = line.through(source);
    void results.next();
    await results.return?.();
    expect(ran).to.deep.equal(['returned']);
  });
});

describe('a sink that accepts nothing', () => {
  const stuck: Record<string, () => Parameters<Pipeline<number, number>['pump']>[1]> = {
    'a function': () => () => never,
    'a Node stream': () => new Writable({ objectMode: true, highWaterMark: 1, write: () => {} }),
    'a Web stream': () => new WritableStream({ write: () => never }, { highWaterMark: 1 }),
  };
  for (const [name, make] of Object.entries(stuck)) {
    for (const by of ['the signal', 'abort()']) {
      it(`is abandoned at once when the pump is aborted: ${name}, ${by}`, async () => {
        const lab = new Lab();
        const line = lineOn(lab);
        const abort = new AbortController();
        const closed: string[] = [];
        const source = sources['an async iterable']?.([1, 2, 3, 4, 5], closed);
        const sink = make();
        const pumped = line
          .pump(source as AsyncIterable<number>, sink, { signal: abort.signal, buffer: 1 })
          .catch(messageOf);
        await lab.clock.advance(0);
        if (by === 'the signal') abort.abort(new Error('enough'));
        else line.abort(new Error('enough'));
        expect(await pumped).to.equal('enough');
        expect([line.size, ...closed]).to.deep.equal([0, 'closed']);
        if (sink instanceof Writable) expect(sink.destroyed).to.equal(true);
      });
    }
  }

  it('is abandoned also if it never finishes', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const abort = new AbortController();
    const sinks = [
      new Writable({ objectMode: true, write: (_c, _e, done) => done(), final: () => {} }),
      new WritableStream({ close: () => never }),
    ];
    const pumped = sinks.map((sink) =>
      line.pump([1], sink, { signal: abort.signal }).catch(messageOf),
    );
    for (let i = 0; i < 4; i++) await lab.clock.advance(0);
    abort.abort(new Error('enough'));
    expect(await Promise.all(pumped)).to.deep.equal(['enough', 'enough']);
  });

  it('ends the pump when it fails or closes while the source is silent', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const closed: string[] = [];
    const silent = (): AsyncIterable<number> =>
      sources['an async iterable']?.([], closed) as AsyncIterable<number>;
    const failing = new Writable({ objectMode: true, write: (_c, _e, done) => done() });
    const closing = new Writable({ objectMode: true, write: (_c, _e, done) => done() });
    let web!: { error(reason: unknown): void };
    const erring = new WritableStream<number>({
      start: (controller) => void (web = controller),
    });
    const pumped = [failing, closing, erring].map((sink) =>
      line
        .pump(silent(), sink)
        .catch((error: NodeJS.ErrnoException) => error.code ?? error.message),
    );
    await lab.clock.advance(0);
    failing.destroy(new Error('sink failed'));
    closing.destroy();
    web.error(new Error('sink failed'));
    expect(await Promise.all(pumped)).to.deep.equal([
      'sink failed',
      'ERR_STREAM_PREMATURE_CLOSE',
      'sink failed',
    ]);
    expect(closed).to.deep.equal(['closed', 'closed', 'closed']);
  });

  it('ends the pump when writing to a Web stream fails', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const closed: string[] = [];
    const source = sources['an async iterable']?.([1, 2, 3], closed) as AsyncIterable<number>;
    const sink = new WritableStream<number>({
      write: () => {
        throw new Error('sink failed');
      },
    });
    const pumped = line.pump(source, sink).catch(messageOf);
    for (let i = 0; i < 4; i++) await lab.clock.advance(0);
    expect([await pumped, line.size, ...closed]).to.deep.equal(['sink failed', 0, 'closed']);
  });

  it('is refused if it is locked, and the source is closed', async () => {
    const lab = new Lab();
    const line = lineOn(lab);
    const sink = new WritableStream<number>();
    sink.getWriter();
    const closed: string[] = [];
    const source = sources['an async iterable']?.([1], closed) as AsyncIterable<number>;
    const how = await line.pump(source, sink).catch((error: Error) => error.name);
    expect([how, ...closed]).to.deep.equal(['TypeError', 'closed']);
  });
});
