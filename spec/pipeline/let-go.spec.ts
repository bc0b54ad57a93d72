// A pipeline keeps no reference to what has left it: values, results, errors, callbacks.
import { setFlagsFromString } from 'node:v8';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { pipeline } from '../../lib/pipeline/index.ts';
import type { Pipeline } from '../../lib/pipeline/index.ts';
import { Lab, settled } from '../support/lab.ts';

interface Thing {
  readonly key: string;
}

const never: Promise<never> = new Promise(() => {});

/** A pipeline with all options of stages, on a clock that stands still. */
class Line {
  readonly lab: Lab = new Lab();
  readonly controller: AbortController = new AbortController();
  readonly pipe: Pipeline<Thing, Thing> = pipeline<Thing>('line')
    .stage('sync', (thing) => ({ ...thing }), { wq: 'softnet' })
    .keyBy(({ key }) => key)
    .stage(
      'async',
      async (thing, { signal }) => {
        void signal.aborted;
        if (thing.key === 'fails') throw new Error('failed');
        return thing.key === 'stays' ? never : { ...thing };
      },
      { deadlineMs: 10 },
    )
    .start({ kernel: this.lab.kernel });
}

const ways: Record<string, (line: Line, make: (key: string) => Thing) => Promise<unknown>> = {
  'run()': ({ pipe }, make) => pipe.run(make('a')),
  'run() with a signal that outlives it': ({ pipe, controller: { signal } }, make) =>
    pipe.run(make('a'), { signal, deadlineMs: 1000 }),
  'run() of an item that fails': ({ pipe }, make) => pipe.run(make('fails')).catch(() => {}),
  'run() of an item whose deadline expires': ({ pipe }, make) =>
    pipe.run(make('stays')).catch(() => {}),
  'push()': ({ pipe }, make) =>
    new Promise((resolve) => void pipe.push(make('a'), resolve, { urgent: true })),
  'through(), while its source is silent': async ({ pipe }, make) => {
    let asked = 0;
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => (asked++ === 0 ? Promise.resolve({ done: false, value: make('a') }) : never),
      }),
    } as AsyncIterable<Thing>;
    const results = pipe.through(source);
    await results.next();
    void results.next();
  },
  'pump(), while its source is silent': ({ pipe }, make) => {
    let asked = 0;
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => (asked++ === 0 ? Promise.resolve({ done: false, value: make('a') }) : never),
      }),
    } as AsyncIterable<Thing>;
    return new Promise<void>((resolve) => {
      pipe.pump(source, () => resolve()).catch(() => {});
    });
  },
};

describe('a pipeline', () => {
  for (const [name, give] of Object.entries(ways)) {
    it(`keeps no reference to a finished item: ${name}`, async () => {
      setFlagsFromString('--expose-gc');
      const line = new Line();
      let input!: WeakRef<Thing>;
      const make = (key: string): Thing => {
        const thing = { key };
        input = new WeakRef(thing);
        return thing;
      };
      const result = new WeakRef(await end(line, give(line, make)));
      for (let i = 0; i < 10 && (input.deref() ?? result.deref()) !== undefined; i++) {
        await settled();
        (globalThis as { gc?: () => void }).gc?.();
      }
      expect([input.deref(), result.deref()]).to.deep.equal([undefined, undefined]);
      expect(line.pipe.size).to.equal(0);
    });
  }
});

async function end({ lab }: Line, given: Promise<unknown>): Promise<object> {
  for (let i = 0; i < 3; i++) await lab.clock.advance(5);
  return Object(await given) as object;
}
