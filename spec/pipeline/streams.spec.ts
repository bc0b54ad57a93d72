import { Duplex, PassThrough, Readable, Writable } from 'node:stream';
import { pipeline as connect } from 'node:stream/promises';
import { ReadableStream, WritableStream } from 'node:stream/web';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { pipeline } from '../../lib/pipeline/index.ts';
import type { Pipeline, PipelineSource } from '../../lib/pipeline/index.ts';
import { Kernel } from '../../lib/index.ts';
import { deferred, Lab, rejectionOf, settled } from '../support/lab.ts';

/** A pipeline in virtual time, in which each item takes its value in ms. */
class Line {
  readonly lab: Lab = new Lab();
  readonly pipe: Pipeline<number, string>;

  constructor(limit = 4, buffer = 0) {
    const { kernel, wq, ran } = this.lab;
    this.pipe = pipeline<number>('line')
      .stage(
        'wait',
        async (ms, { signal }) => {
          ran.push(`in ${ms}`);
          if (ms < 0) throw new Error(`failed ${ms}`);
          await wq.softclock.run(() => {}, { delayMs: ms, signal });
          return ms;
        },
        { limit, buffer },
      )
      .stage('render', (ms) => `<${ms}>`, { wq: 'softnet', buffer: 0 })
      .start({ kernel });
  }

  /** Collects what an iterator yields, and how it ends. */
  collect(results: AsyncIterable<string>): string[] {
    const out: string[] = [];
    void (async () => {
      try {
        for await (const result of results) out.push(result);
        out.push('end');
      } catch (error) {
        out.push((error as Error).message);
      }
    })();
    return out;
  }
}

/** A source that records how far it was read, and whether it was closed. */
function watched(values: Iterable<number>, ran: string[]): AsyncIterable<number> {
  return (async function* () {
    try {
      for (const value of values) {
        ran.push(`read ${value}`);
        yield value;
      }
    } finally {
      ran.push('given back');
    }
  })();
}

/** A sink that accepts one result at a time, on demand. */
class Slow extends Writable {
  readonly got: string[] = [];
  #take: (() => void) | undefined;

  constructor() {
    super({ objectMode: true, highWaterMark: 1 });
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.got.push(chunk);
    this.#take = done;
  }

  take(): void {
    this.#take?.();
  }
}

describe('pipeline with sources and sinks', () => {
  describe('through()', () => {
    it('yields results as they are finished', async () => {
      const { pipe, lab, collect } = new Line();
      const out = collect(pipe.through([30, 10, 20]));
      await lab.clock.advance(30);
      expect(out).to.deep.equal(['<10>', '<20>', '<30>', 'end']);
    });

    it('yields results in the order of the source if `ordered` is true', async () => {
      const { pipe, lab, collect } = new Line();
      const errors: string[] = [];
      const onError = (error: unknown): void => void errors.push((error as Error).message);
      const out = collect(pipe.through([30, 10, -1, 40, 20, -2], { ordered: true, onError }));
      await lab.clock.advance(29);
      expect(out).to.deep.equal([]);
      await lab.clock.advance(50);
      expect(out).to.deep.equal(['<30>', '<10>', '<40>', '<20>', 'end']);
      expect(errors).to.deep.equal(['failed -1', 'failed -2']);
    });

    const sources: [string, () => PipelineSource<number>][] = [
      ['an array', () => [1, 2, 3]],
      ['an array of promises', () => [1, Promise.resolve(2), 3]],
      ['a generator', () => new Set([1, 2, 3]).values()],
      ['an async generator', () => watched([1, 2, 3], [])],
      ['a Node stream', () => Readable.from([1, 2, 3])],
      ['a Web stream', () => ReadableStream.from([1, 2, 3])],
    ];
    for (const [name, source] of sources) {
      it(`reads ${name}`, async () => {
        const { pipe, lab, collect } = new Line();
        const out = collect(pipe.through(source()));
        await lab.clock.advance(10);
        expect(out).to.deep.equal(['<1>', '<2>', '<3>', 'end']);
      });
    }

    it('reads a string character by character', async () => {
      const letters = pipeline<string>()
        .stage('up', (c) => c.toUpperCase())
        .start();
      const out: string[] = [];
      for await (const letter of letters.through('abc')) out.push(letter);
      expect(out.join('')).to.equal('ABC');
      await letters.close();
    });

    it('reads the source no faster than slots become free', async () => {
      const { pipe, lab, collect } = new Line(2, 1);
      const read: string[] = [];
      const out = collect(pipe.through(watched([10, 10, 10, 10, 10, 10], read)));
      await lab.clock.advance(0);
      // Three inside, and one in the admission queue.
      expect(read).to.have.length(4);
      await lab.clock.advance(10);
      expect([read.length, out.length]).to.deep.equal([6, 2]);
      await lab.clock.advance(20);
      expect(read.pop()).to.equal('given back');
      expect(out.pop()).to.equal('end');
    });

    it('stops reading while `buffer` results wait for the consumer', async () => {
      const { pipe, lab } = new Line();
      const read: string[] = [];
      const results = pipe.through(
        watched(
          Array.from({ length: 50 }, () => 1),
          read,
        ),
        { buffer: 3 },
      );
      const first = results.next();
      await lab.clock.advance(100);
      await first;
      await lab.clock.advance(100);
      expect(read.length).to.be.within(4, 3 + 5 + 2);
      const before = read.length;
      await lab.clock.advance(100);
      expect(read).to.have.length(before);
      await results.return?.();
    });

    it('starts with the first next(), serves several calls at once, and ends once', async () => {
      const { pipe, lab } = new Line();
      const read: string[] = [];
      const results = pipe.through(watched([2, 1], read));
      expect(results[Symbol.asyncIterator]()).to.equal(results);
      await lab.clock.advance(10);
      expect(read).to.deep.equal([]);
      const answers = [results.next(), results.next(), results.next(), results.next()];
      await lab.clock.advance(10);
      expect(await Promise.all(answers)).to.deep.equal([
        { done: false, value: '<1>' },
        { done: false, value: '<2>' },
        { done: true, value: undefined },
        { done: true, value: undefined },
      ]);
      expect(await results.next()).to.deep.equal({ done: true, value: undefined });
    });

    it('stops the source after an error, delivers the items already read, then throws', async () => {
      const { pipe, lab, collect } = new Line();
      const read: string[] = [];
      const out = collect(pipe.through(watched([20, -1, -2, 10, 10, 10, 10, 10], read)));
      await lab.clock.advance(50);
      expect(read.pop()).to.equal('given back');
      expect(read.length).to.be.below(6);
      const good = read.filter((line) => !line.includes('-')).length;
      expect(out).to.have.length(good + 1);
      expect(out.at(-2)).to.equal('<20>');
      expect(out.at(-1)).to.equal('failed -1');
      expect(pipe.size).to.equal(0);
    });

    it('treats an error thrown by onError as a failure', async () => {
      const { pipe, lab, collect } = new Line();
      const out = collect(
        pipe.through([1, -1, 2], {
          onError: (error, { stage, input }) => {
            throw new Error(`${(error as Error).message} at ${stage}: ${String(input)}`);
          },
        }),
      );
      await lab.clock.advance(50);
      expect(out.at(-1)).to.equal('failed -1 at wait: -1');
    });

    it('delivers the items already read when the source fails, then throws', async () => {
      const { pipe, lab, collect } = new Line();
      const failing = (function* () {
        yield 5;
        throw new Error('source failed');
      })();
      const out = collect(pipe.through(failing));
      await lab.clock.advance(10);
      expect(out).to.deep.equal(['<5>', 'source failed']);
    });

    it('closes the source when the loop is left, and aborts only its own items', async () => {
      const { pipe, lab } = new Line();
      const other = pipe.run(50);
      const read: string[] = [];
      const left = (async () => {
        for await (const result of pipe.through(watched([1, 40, 40, 40, 40], read))) return result;
        return 'never';
      })();
      await lab.clock.advance(1);
      expect(await left).to.equal('<1>');
      await settled();
      expect(pipe.size).to.equal(1);
      expect(read.at(-1)).to.equal('given back');
      await lab.clock.advance(50);
      expect(await other).to.equal('<50>');
      expect(lab.reported).to.deep.equal([]);
    });

    it('reads nothing if it is left before the first result', async () => {
      const { pipe } = new Line();
      const read: string[] = [];
      const results = pipe.through(watched([1], read));
      expect(await results.return?.()).to.deep.equal({ done: true, value: undefined });
      expect(await results.next()).to.deep.equal({ done: true, value: undefined });
      expect(read).to.deep.equal([]);
    });

    for (const [name, source] of [
      ['a Node stream', () => new PassThrough({ objectMode: true })],
      ['a Web stream', () => new ReadableStream<number>()],
      [
        'an iterator without return',
        () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }),
      ],
    ] as [string, () => PipelineSource<number>][]) {
      it(`can be left at once by a consumer while ${name} is silent`, async () => {
        const { pipe } = new Line();
        const from = source();
        const results = pipe.through(from);
        const next = results.next();
        await settled();
        await results.return?.();
        expect(await next).to.deep.equal({ done: true, value: undefined });
        await settled();
        if (from instanceof PassThrough) expect(from.destroyed).to.equal(true);
      });
    }

    it('is aborted by its signal: its items leave, and the iterator throws the reason', async () => {
      const { pipe, lab, collect } = new Line();
      const abort = new AbortController();
      const read: string[] = [];
      const out = collect(
        pipe.through(watched([5, 50, 50, 50, 50, 50], read), { signal: abort.signal }),
      );
      await lab.clock.advance(10);
      abort.abort(new Error('enough'));
      await lab.clock.advance(0);
      expect(out).to.deep.equal(['<5>', 'enough']);
      expect(pipe.size).to.equal(0);
      const late = pipe.through([1], { signal: abort.signal });
      expect(await rejectionOf(late.next())).to.equal('Error: enough');
      expect(await late.next()).to.deep.equal({ done: true, value: undefined });
    });

    it('delivers the items already read when the pipeline is closed, then throws ESHUTDOWN', async () => {
      const { pipe, lab, collect } = new Line(2, 0);
      const out = collect(pipe.through([10, 10, 10, 10, 10]));
      await lab.clock.advance(0);
      const closed = pipe.close();
      await lab.clock.advance(100);
      expect(await closed).to.deep.equal({ unfinished: [] });
      expect(out).to.deep.equal(['<10>', '<10>', '<10>', 'pipeline line is closed']);
    });

    it('does not read a generator after it was stopped', async () => {
      const { pipe, lab, collect } = new Line();
      const ran: string[] = [];
      const generator = (function* () {
        try {
          for (;;) yield -1;
        } finally {
          ran.push('given back');
        }
      })();
      const out = collect(pipe.through(generator));
      await lab.clock.advance(0);
      expect(out).to.deep.equal(['failed -1']);
      expect(ran).to.deep.equal(['given back']);
    });
  });

  describe('pump()', () => {
    it('awaits the function that receives the results', async () => {
      const { pipe, lab } = new Line();
      const got: string[] = [];
      const gate = deferred();
      const pumped = pipe.pump([1, 2, 3], async (result) => {
        got.push(result);
        await gate.promise;
      });
      await lab.clock.advance(50);
      expect(got).to.deep.equal(['<1>']);
      gate.resolve();
      await pumped;
      expect(got).to.deep.equal(['<1>', '<2>', '<3>']);
    });

    it('writes to a Node stream with back-pressure, and ends it', async () => {
      const { pipe, lab } = new Line(2, 0);
      const slow = new Slow();
      const read: string[] = [];
      const source = watched(
        Array.from({ length: 60 }, (_, i) => i % 3),
        read,
      );
      const pumped = pipe.pump(source, slow, { buffer: 2 });
      await lab.clock.advance(100);
      expect(slow.got).to.have.length(1);
      expect(read.length).to.be.below(15);
      while (!slow.writableFinished) {
        slow.take();
        await lab.clock.advance(3);
      }
      await pumped;
      expect(slow.got).to.have.length(60);
    });

    it('writes to a Web stream, and closes it', async () => {
      const { pipe, lab } = new Line();
      const got: string[] = [];
      const sink = new WritableStream<string>({
        write: (chunk) => void got.push(chunk),
        close: () => void got.push('closed'),
      });
      const pumped = pipe.pump(ReadableStream.from([3, 2, 1]), sink);
      await lab.clock.advance(10);
      await pumped;
      expect(got).to.deep.equal(['<1>', '<2>', '<3>', 'closed']);
    });

    it('rejects with the error of the sink, closes the source, and aborts the items inside', async () => {
      const { pipe, lab } = new Line();
      const read: string[] = [];
      const sink = new Writable({
        objectMode: true,
        write: (_chunk, _encoding, done) => done(new Error('sink failed')),
      });
      const pumped = rejectionOf(pipe.pump(watched([1, 90, 90, 90, 90], read), sink));
      await lab.clock.advance(10);
      expect(await pumped).to.equal('Error: sink failed');
      await lab.clock.advance(0);
      expect(read.at(-1)).to.equal('given back');
      expect(pipe.size).to.equal(0);
    });

    it('rejects with the error of an item or of the sink function', async () => {
      const { pipe, lab } = new Line();
      const got: string[] = [];
      const failed = rejectionOf(pipe.pump([1, -1], (result) => got.push(result)));
      await lab.clock.advance(10);
      expect([await failed, ...got]).to.deep.equal(['Error: failed -1', '<1>']);
      const thrown = rejectionOf(
        pipe.pump([1, 1], () => {
          throw new Error('sink threw');
        }),
      );
      await lab.clock.advance(10);
      expect(await thrown).to.equal('Error: sink threw');
      expect(pipe.size).to.equal(0);
    });
  });

  describe('duplex()', () => {
    it('is a Node stream between Node streams', async () => {
      const { pipe, lab } = new Line();
      const got: string[] = [];
      const sink = new Writable({
        objectMode: true,
        write(chunk: string, _encoding, done) {
          got.push(chunk);
          done();
        },
      });
      const duplex = pipe.duplex({ ordered: true });
      expect(duplex).to.be.an.instanceOf(Duplex);
      const connected = connect(Readable.from([3, 1, 2]), duplex, sink);
      await lab.clock.advance(10);
      await connected;
      expect(got).to.deep.equal(['<3>', '<1>', '<2>']);
    });

    it('fails its stream pipeline with the error of an item', async () => {
      const { pipe, lab } = new Line();
      const sink = new Writable({ objectMode: true, write: (_c, _e, done) => done() });
      const connected = rejectionOf(connect(Readable.from([1, -1, 2]), pipe.duplex(), sink));
      await lab.clock.advance(10);
      expect(await connected).to.equal('Error: failed -1');
      expect(pipe.size).to.equal(0);
    });
  });

  describe('transform()', () => {
    it('is a pair of Web streams for pipeThrough', async () => {
      const { pipe, lab } = new Line();
      const got: string[] = [];
      const piped = ReadableStream.from([3, 1, 2])
        .pipeThrough(pipe.transform({ ordered: true }))
        .pipeTo(new WritableStream<string>({ write: (chunk) => void got.push(chunk) }));
      await lab.clock.advance(10);
      await piped;
      expect(got).to.deep.equal(['<3>', '<1>', '<2>']);
    });

    it('fails on both sides with the error of an item', async () => {
      const { pipe, lab } = new Line();
      const { readable, writable } = pipe.transform();
      const out: unknown[] = [];
      // The pipe is not ended, because all writes have succeeded.
      const endless = new ReadableStream<number>({
        start(controller) {
          for (const n of [1, -1, 2]) controller.enqueue(n);
        },
      });
      const piped = rejectionOf(endless.pipeTo(writable));
      const read = rejectionOf(
        (async () => {
          for await (const chunk of readable) out.push(chunk);
        })(),
      );
      await lab.clock.advance(10);
      expect(await read).to.equal('Error: failed -1');
      expect(out[0]).to.equal('<1>');
      expect(await piped).to.equal('Error: failed -1');
      expect(pipe.size).to.equal(0);
    });
  });

  describe('on the clock of the host', () => {
    it('passes ten thousand items from a stream without loss, within its bounds', async () => {
      const kernel = new Kernel();
      let inside = 0;
      let most = 0;
      const line = pipeline<number>()
        .stage('sync', (n) => n + 1, { wq: 'softnet' })
        .stage(
          'async',
          async (n) => {
            most = Math.max(most, ++inside);
            await settled();
            inside--;
            return n;
          },
          { limit: 8 },
        )
        .start({ kernel });
      let sum = 0;
      await line.pump(Array.from({ length: 10_000 }, (_, i) => i).values(), (n) => (sum += n));
      expect([sum, most]).to.deep.equal([50_005_000, 8]);
      await line.close();
    }).timeout(20_000);
  });
});
