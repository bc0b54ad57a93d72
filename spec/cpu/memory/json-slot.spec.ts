// Small plain values as JSON in the memory that CPUs share.
import { expect } from 'chai';
import fc from 'fast-check';
import { afterEach, describe, it } from 'mocha';
import sinon from 'sinon';
import { Ports } from '../../../lib/cpu/messages/ports.ts';
import { JSON_SLOT } from '../../../lib/cpu/memory/control-block.ts';
import { grabBlocks } from '../../../lib/cpu/memory/block-allocator.ts';
import { Memory } from '../../../lib/cpu/memory/shared-memory.ts';
import { readJson, writeJson } from '../../../lib/cpu/memory/json-slot.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';

function blockIn(memory: Memory): number {
  return grabBlocks(memory, 0, []);
}

describe('the JSON slot of a block', () => {
  it('holds on every CPU what structuredClone makes of the value, or is not written', () => {
    const memory = Memory.make(2, 2);
    const elsewhere = new Memory(memory.buffer);
    const block = blockIn(memory);
    const anything = fc.anything({
      maxDepth: 3,
      withNullPrototype: true,
      withObjectString: true,
      withSparseArray: true,
    });
    let written = 0;
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), anything), (value) => {
        const length = writeJson(memory, block, value);
        if (length === 0) return;
        written++;
        expect(readJson(elsewhere, block, length)).to.deep.equal(structuredClone(value));
      }),
      { numRuns: 300 },
    );
    expect(written).to.be.greaterThan(50);
  });

  it('holds letters of every kind, lone surrogates too', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    for (const value of ['', 'é', '€', '\u0000"\\', '😀', '\ud800', { ['clé €']: ['ÿ', 'Ā'] }]) {
      expect(readJson(memory, block, writeJson(memory, block, value))).to.deep.equal(value);
    }
  });

  it('is not written for values that JSON does not represent exactly', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    const inner = {};
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const named = Object.assign([1], { name: 'more' });
    const holed = Object.assign([, 1], { name: 'more' }); // oxlint-disable-line no-sparse-arrays
    const values: unknown[] = [
      undefined,
      -0,
      NaN,
      Infinity,
      1n,
      Symbol.iterator,
      () => 1,
      { a: undefined },
      [-0],
      [1, , 2], // oxlint-disable-line no-sparse-arrays
      named,
      holed,
      cyclic,
      [inner, inner],
      new Date(0),
      new Map(),
      Uint8Array.of(1),
      Object.create(null),
      new Proxy({}, {}),
      { toJSON: () => 1 },
      new (class Point {
        x = 1;
      })(),
    ];
    expect(values.map((value) => writeJson(memory, block, value))).to.deep.equal(
      values.map(() => 0),
    );
    expect(memory.words[block + JSON_SLOT]).to.equal(0);
  });

  it('is not written for values that throw when they are read, or where a program changes JSON', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    const throwing = Object.defineProperty({}, 'a', {
      enumerable: true,
      get: () => {
        throw new Error('getter');
      },
    });
    expect(writeJson(memory, block, throwing)).to.equal(0);
    for (const prototype of [Object.prototype, Array.prototype]) {
      Object.defineProperty(prototype, 'toJSON', { value: () => 'changed', configurable: true });
      try {
        expect(writeJson(memory, block, [1, { two: 2 }])).to.equal(0);
      } finally {
        Reflect.deleteProperty(prototype, 'toJSON');
      }
    }
    expect(readJson(memory, block, writeJson(memory, block, [1]))).to.deep.equal([1]);
  });

  it('is not written beyond its end', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    const sizes = [
      'x'.repeat(1022),
      'x'.repeat(1023),
      '€'.repeat(510),
      '€'.repeat(511),
      Array.from({ length: 15 }, () => [1]),
      Array.from({ length: 16 }, () => [1]),
    ].map((value) => writeJson(memory, block, value));
    expect(sizes).to.deep.equal([1024, 0, -1024, 0, 61, 0]);
  });

  it('is not tried for long with a large value', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    let looks = 0;
    const large = Array.from({ length: 600 });
    Object.defineProperty(large, 0, { enumerable: true, get: () => looks++ });
    const entries = Array.from({ length: 600 }, (_, i) => [
      `key ${i}`,
      { get: () => looks++, enumerable: true },
    ]);
    const wide: object = Object.defineProperties({}, Object.fromEntries(entries));
    expect([writeJson(memory, block, large), looks]).to.deep.equal([0, 0]);
    expect([writeJson(memory, block, wide), looks < 128]).to.deep.equal([0, true]);
  });

  it('is allocated only while there is memory to spare', () => {
    const memory = Memory.make(2, 2);
    const [first, second] = [blockIn(memory), blockIn(memory)];
    const length = writeJson(memory, first, 'one');
    memory.words[0] = 2 ** 22;
    expect([memory.isAmple, writeJson(memory, second, 'two')]).to.deep.equal([false, 0]);
    expect(writeJson(memory, first, 'new')).to.equal(length);
  });

  it('keeps its place when it is written again', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    writeJson(memory, block, 'one');
    const place = memory.words[block + JSON_SLOT];
    writeJson(memory, block, { two: 2 });
    expect(memory.words[block + JSON_SLOT]).to.equal(place);
  });

  it('may be in memory that this CPU has not mapped yet', () => {
    const memory = Memory.make(2, 2);
    const elsewhere = new Memory(memory.buffer);
    const block = blockIn(memory);
    memory.grab(2 ** 15);
    writeJson(memory, block, 'argument');
    const length = writeJson(elsewhere, block, 'result');
    expect(readJson(new Memory(memory.buffer), block, length)).to.equal('result');
  });

  it('reads as undefined while it is being written for another job', () => {
    const memory = Memory.make(2, 2);
    const block = blockIn(memory);
    writeJson(memory, block, { a: 'long enough' });
    expect(readJson(memory, block, 5)).to.equal(undefined);
  });
});

describe('small plain values', () => {
  closeAfterEach();

  afterEach(() => sinon.restore());

  it('go to another CPU and back without being posted', async () => {
    const { queue, work, cpus } = await startTestKernel(1);
    const cpu = cpus[1] ?? null;
    const small = { id: 1, path: '/img/large.jpg', tags: ['a', 'b', 'c'] };
    const large = { text: 'x'.repeat(2000) };
    const posts = sinon.spy(Ports.prototype, 'post');
    await queue.run(work.watchPosts, { cpu });
    for (const arg of [small, 'text', small, [1, 'two', null]]) {
      expect(await queue.run(work.echo, { arg, cpu })).to.deep.equal(arg);
    }
    expect([posts.callCount, await queue.run(work.valuesPosted, { cpu })]).to.deep.equal([0, 0]);
    expect(await queue.run(work.echo, { arg: large, cpu })).to.deep.equal(large);
    expect([posts.callCount, await queue.run(work.valuesPosted, { cpu })]).to.deep.equal([1, 1]);
  });

  it('are copies made at the call, even if the function runs on the calling CPU', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    const shared = { n: 1 };
    const ran = Promise.all(
      Array.from({ length: 8 }, () =>
        queue.run(work.spread, { arg: shared, cpu: cpus[1] ?? null }),
      ),
    );
    shared.n = 2;
    expect(await ran).to.deep.equal(Array.from({ length: 8 }, () => [1, 1, 1, 1]));
  });
});
