// Errors in the form in which they are sent from thread to thread.
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { SharedMutex } from '../../../lib/cpu/index.ts';
import {
  isError,
  reasonOf,
  textOf,
  unwireError,
  wireError,
  wireText,
} from '../../../lib/cpu/messages/wire-error.ts';
import { Kcont, KcontError, wq } from '../../../lib/index.ts';
import { HOSTILE, chain, prepare, recipes } from '../../support/hostile.ts';
import { causesOf, expectCarried } from '../../support/carried.ts';

/** Sends a thrown value, and returns what arrives. */
function carried(thrown: unknown): unknown {
  return unwireError(structuredClone(wireError(thrown)));
}

function errorOf(thrown: unknown): Error & Record<string, unknown> {
  const error = carried(thrown);
  expect(error).to.be.an.instanceOf(Error);
  return error as Error & Record<string, unknown>;
}

describe('an error sent to another CPU', () => {
  it('arrives as an instance of its class, with name, message and stack', () => {
    class HttpError extends TypeError {
      override readonly name = 'HttpError';
      status = 404;
    }
    const made = [
      new Error('m'),
      new EvalError('m'),
      new RangeError('m'),
      new ReferenceError('m'),
      new SyntaxError('m'),
      new TypeError('m'),
      new URIError('m'),
      new AggregateError([], 'm'),
      new DOMException('m', 'DataCloneError'),
      new KcontError('EBUSY', 'm'),
      new HttpError('m'),
      new Error(),
    ];
    for (const error of made) {
      const back = errorOf(error);
      const { name, message, stack } = error;
      expect([back.name, back.message, back.stack]).to.deep.equal([name, message, stack]);
      if (!(error instanceof HttpError)) expect(back.constructor).to.equal(error.constructor);
    }
    expect(errorOf(new HttpError('m')))
      .to.be.an.instanceOf(TypeError)
      .that.includes({ status: 404 });
    expect(errorOf(new KcontError('EBUSY', 'm'))['code']).to.equal('EBUSY');
    expect(errorOf(new DOMException('m', 'AbortError'))['code']).to.equal(20);
  });

  it('arrives as an instance of the classes that only some versions of Node have', () => {
    const { SuppressedError, QuotaExceededError } = globalThis as unknown as Record<
      string,
      (new (...args: unknown[]) => Error) | undefined
    >;
    if (SuppressedError !== undefined) {
      const back = errorOf(
        new SuppressedError(new TypeError('second'), new RangeError('first'), 'm'),
      );
      expect(back.constructor).to.equal(SuppressedError);
      expect(back['error']).to.be.an.instanceOf(TypeError);
      expect(back['suppressed']).to.be.an.instanceOf(RangeError);
    }
    if (QuotaExceededError !== undefined) {
      const back = errorOf(new QuotaExceededError('m', { quota: 1, requested: 2 }));
      expect(back.constructor).to.equal(QuotaExceededError);
      expect(back).to.include({ quota: 1, requested: 2, name: 'QuotaExceededError' });
    }
  });

  it('keeps the properties that Node adds for a failed call and the enumerable ones, and no others', () => {
    const error = Object.assign(new Error('connect'), {
      errno: -111,
      code: 'ECONNREFUSED',
      syscall: 'connect',
      path: '/tmp/x',
      when: new Date(5),
      map: new Map([[1, 2]]),
      list: [1, { deep: true }],
      big: 7n,
      symbol: Symbol.for('kcont specs'),
      nothing: undefined,
    });
    Object.defineProperty(error, 'hidden', { value: 1 });
    const back = errorOf(error);
    expect(Object.entries(back)).to.deep.equal(Object.entries(error));
    expect(Object.getOwnPropertyDescriptor(back, 'hidden')).to.include({ enumerable: false });
  });

  it('keeps causes, inner errors and errors in properties, each with its class and code', () => {
    const inner = Object.assign(new RangeError('inner'), { code: 'EINNER' });
    const error = Object.assign(new AggregateError([inner, 'text'], 'all', { cause: inner }), {
      tries: [{ error: inner }],
    });
    const back = errorOf(error) as unknown as typeof error;
    const [first, text] = back.errors as [RangeError, string];
    expect(first).to.be.an.instanceOf(RangeError).that.includes({ code: 'EINNER' });
    expect(text).to.equal('text');
    expect([back.cause, back.tries[0]?.error]).to.deep.equal([first, first]);
    expect([back.cause === first, back.tries[0]?.error === first]).to.deep.equal([true, true]);
    expect(Object.keys(back)).to.deep.equal(['tries']);
  });

  it('keeps a chain of causes', () => {
    for (const length of [1, 12, 300])
      expect(causesOf(carried(chain(length)))).to.have.length(length);
  });

  it('keeps cycles', () => {
    const error = new TypeError('round');
    error.cause = new RangeError('and round', { cause: error });
    const back = errorOf(error);
    const { cause } = back;
    expect(cause).to.be.an.instanceOf(RangeError);
    expect((cause as Error).cause === back).to.equal(true);
  });

  it('arrives as an error of this realm if it was of another realm', () => {
    const foreign: unknown = runInNewContext(
      `Object.assign(new TypeError('far'), { code: 'EFAR' })`,
    );
    expect([foreign instanceof Error, isError(foreign)]).to.deep.equal([false, true]);
    expect(errorOf(foreign)).to.be.an.instanceOf(TypeError).that.includes({ code: 'EFAR' });
  });

  it('replaces what cannot be cloned by text', () => {
    const kc = new Kcont(wq.prilow, null, () => undefined, 1, { name: 'beat' });
    const error = Object.assign(new Error('m'), {
      f: function send() {},
      own: Symbol('own'),
      map: new WeakMap(),
      many: new Uint8Array(2 ** 21),
      kc,
      lock: new SharedMutex(),
    });
    const back = errorOf(error);
    expect(back).to.include({ f: '[Function: send]', own: 'Symbol(own)' });
    expect(back['map']).to.match(/WeakMap/);
    expect(back['many']).to.match(/^Uint8Array\(2097152\) \[/);
    expect(back['kc']).to.match(/beat/);
    expect(back['lock']).to.match(/SharedMutex/);
  });

  it('is cut off where it is too large', () => {
    const long = errorOf(Object.assign(new Error('x'.repeat(2 ** 23)), { code: 'E' }));
    expect([long.message.length, long['code']]).to.deep.equal([2 ** 20, 'E']);
    const wide = errorOf(
      Object.assign(new Error('m'), { list: Array.from({ length: 2e5 }, (_, i) => i) }),
    );
    expect((wide['list'] as unknown[]).length).to.be.within(9e4, 1e5);
  });

  it('arrives as it is if it is another value that can be cloned', () => {
    const sparse = Object.assign([1, , 3], { named: 1 }); // oxlint-disable-line no-sparse-arrays
    const values = [undefined, null, 0, -0, NaN, 'text', 7n, true, Symbol.for('kcont specs')];
    for (const value of values) expect(carried(value)).to.deep.equal(value);
    for (const value of [
      { code: 1, list: [{}] },
      [1, [2]],
      new Date(5),
      new Map([[1, 2]]),
      sparse,
    ]) {
      expect(carried(value)).to.deep.equal(structuredClone(value));
    }
    const { error } = carried({ error: new RangeError('in it') }) as { error: unknown };
    expect(error).to.be.an.instanceOf(RangeError);
  });

  it('arrives as an error if it is another value that cannot be cloned', () => {
    const said = [() => 1, Symbol('own'), new WeakMap(), { f() {}, code: 1 }].map(errorOf);
    expect(said.map(({ code }) => code)).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL']);
    expect(said[1]?.message).to.contain('Symbol(own)');
    expect(said[3]?.cause).to.deep.equal({ f: '[Function: f]', code: 1 });
  });

  for (const [name, make] of Object.entries(HOSTILE)) {
    it(`is told, whatever it is: ${name}`, () => {
      expectCarried(make(), carried);
    });
  }

  it('arrives, whatever is in it', () => {
    fc.assert(
      fc.property(recipes, (recipe) => expectCarried(prepare(recipe), carried)),
      { numRuns: 200, seed: 10 },
    );
  });

  it('arrives with its message only if it cannot be posted', () => {
    expect(unwireError(structuredClone(wireText(new TypeError('it'))))).to.include({
      code: 'EINVAL',
      message: 'it',
    });
  });

  it('is a KcontError if what arrived is not an error', () => {
    for (const wired of [
      undefined,
      null,
      1,
      {},
      { root: { at: 0 }, records: [{ kind: 'error' }] },
    ]) {
      expect(unwireError(wired)).to.include({ code: 'EINVAL' });
    }
  });
});

describe('the text of a value', () => {
  it('is defined for every value', () => {
    for (const make of Object.values(HOSTILE)) {
      const value = make();
      expect([textOf(value), reasonOf(value)].every((text) => text.length <= 2000)).to.equal(true);
    }
    expect(textOf('x'.repeat(5000))).to.have.length(1000);
    expect([reasonOf(new Error('why')), reasonOf(null), reasonOf(undefined)]).to.deep.equal([
      'why',
      'null',
      'undefined',
    ]);
  });
});
