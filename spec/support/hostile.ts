// Values that try to break code that reads, clones or reports them.
import fc from 'fast-check';

const refuse = (): never => {
  throw new Error('refused');
};

/** A handler whose every trap throws. */
const traps: ProxyHandler<object> = {
  get: refuse,
  has: refuse,
  getPrototypeOf: refuse,
  ownKeys: refuse,
  getOwnPropertyDescriptor: refuse,
};

class Private {
  #secret = 1;
  shown = 2;

  get secret(): number {
    return this.#secret;
  }
}

class Refusing extends Error {
  override get message(): string {
    return refuse();
  }

  override get name(): string {
    return refuse();
  }
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function withOwn(target: object, key: PropertyKey, get: () => unknown): object {
  return Object.defineProperty(target, key, { enumerable: true, configurable: true, get });
}

function detached(): object {
  const bytes = new Uint8Array(8);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  return bytes;
}

export function deep(levels: number): unknown {
  let value: unknown = null;
  for (let i = 0; i < levels; i++) value = { value };
  return value;
}

/** Errors with causes, the root last. */
export function chain(length: number): Error {
  let error = new Error('root');
  for (let i = 0; i < length; i++) error = new Error(`attempt ${i}`, { cause: error });
  return error;
}

function cyclic(): Error {
  const error = new TypeError('round');
  const cause = new RangeError('and round', { cause: error });
  return Object.assign(error, { cause });
}

/** Values that a function may throw, return, or be aborted with, by name. */
export const HOSTILE: Readonly<Record<string, () => unknown>> = {
  'a throwing getter': () => withOwn({}, 'a', refuse),
  'an error with a throwing getter': () => withOwn(new Error('it'), 'a', refuse),
  'a getter that throws undefined': () =>
    withOwn(new Error('it'), 'a', () => {
      // oxlint-disable-next-line no-throw-literal -- that is what is tried
      throw undefined;
    }),
  'an error whose class refuses all': () => new Refusing(),
  'a name that throws': () => withOwn(new Error('it'), 'name', refuse),
  'a message that throws': () => withOwn(new Error('it'), 'message', refuse),
  'a message that is no text': () =>
    Object.assign(new Error('it'), { message: { toString: refuse } }),
  'a name that is a symbol': () => Object.assign(new Error('it'), { name: Symbol('odd') }),
  'a stack that throws': () => withOwn(new Error('it'), 'stack', refuse),
  'a stack of functions': () => Object.assign(new Error('it'), { stack: [() => 1] }),
  'a null prototype with functions': () => Object.assign(Object.create(null) as object, { f() {} }),
  'a cause with a null prototype': () =>
    new Error('it', { cause: Object.assign(Object.create(null) as object, { f() {} }) }),
  'an error without a prototype': () => Object.setPrototypeOf(new Error('it'), null) as unknown,
  'a revoked proxy': revoked,
  'a cause that is a revoked proxy': () => new Error('it', { cause: revoked() }),
  'a proxy that refuses all': () => new Proxy({}, traps),
  'an error behind a proxy': () => new Proxy(new TypeError('it'), {}),
  'a proxy of an array': () => new Proxy([1], {}),
  'a function': () => refuse,
  'a function whose name throws': () => withOwn(() => 1, 'name', refuse),
  'a symbol': () => Symbol('own'),
  'a symbol of the registry': () => Symbol.for('kcont specs'),
  'a WeakMap': () => new WeakMap(),
  'a promise': () => Promise.resolve(1),
  'a class with private fields': () => new Private(),
  'a class': () => Private,
  'a detached buffer': detached,
  'something very deep': () => deep(1e5),
  'something deep': () => deep(3000),
  'a chain of causes': () => chain(12),
  'a long chain of causes': () => chain(300),
  'a cycle of causes': cyclic,
  'its own cause': () => {
    const error = new Error('it');
    return Object.assign(error, { cause: error });
  },
  'an AggregateError': () =>
    new AggregateError(
      [Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }), new RangeError('far')],
      'all of them',
    ),
  'an AggregateError of nonsense': () =>
    Object.assign(new AggregateError([], 'it'), { errors: revoked() }),
  'a DOMException': () => new DOMException('gone', 'AbortError'),
  'a key __proto__': () => JSON.parse('{"__proto__":{"polluted":1},"f":1}') as unknown,
  'a toJSON that throws': () => ({ a: 1, toJSON: refuse }),
  'an object that inspects badly': () =>
    Object.assign(Object.create({ get [Symbol.toStringTag]() { return refuse(); } }) as object, { f() {} }), // prettier-ignore
  'a constructor that throws': () => withOwn({ f() {} }, 'constructor', refuse),
};

/** The recipe of a value. */
export type Recipe =
  | { readonly is: 'primitive'; readonly value: unknown }
  | { readonly is: 'named'; readonly name: string }
  | { readonly is: 'above'; readonly levels: number }
  | { readonly is: 'map' | 'array'; readonly of: readonly Recipe[] }
  | { readonly is: 'object'; readonly bare: boolean; readonly of: Readonly<Record<string, Recipe>> }
  | {
      readonly is: 'error';
      readonly made: string;
      readonly message: string;
      readonly name: string | undefined;
      readonly cause: Recipe | undefined;
      readonly of: Readonly<Record<string, Recipe>>;
    };

export const CLASSES: Readonly<Record<string, new (message: string) => Error>> = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
  // Its first parameter is not a message.
  AggregateError: AggregateError as never,
  DOMException,
};

const key = fc.constantFrom(
  'a',
  'code',
  'errno',
  'errors',
  'cause',
  'name',
  '__proto__',
  'then',
  '',
);

/** Nested values of all kinds, some of them hostile, with cycles. */
export const recipes: fc.Arbitrary<Recipe> = fc.letrec<{ any: Recipe; error: Recipe }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      is: fc.constant('primitive' as const),
      value: fc.oneof(
        fc.string(),
        fc.integer(),
        fc.constantFrom(undefined, null, NaN, -0, 7n, true),
      ),
    }),
    fc.record({ is: fc.constant('named' as const), name: fc.constantFrom(...Object.keys(HOSTILE).filter((name) => !/deep|long/.test(name))) }), // prettier-ignore
    fc.record({ is: fc.constant('above' as const), levels: fc.nat(3) }),
    fc.record({
      is: fc.constantFrom('array' as const, 'map' as const),
      of: fc.array(tie('any'), { maxLength: 3 }),
    }),
    fc.record({
      is: fc.constant('object' as const),
      bare: fc.boolean(),
      of: fc.dictionary(key, tie('any'), { maxKeys: 3 }),
    }),
    tie('error'),
    tie('error'),
  ),
  error: fc.record({
    is: fc.constant('error' as const),
    made: fc.constantFrom(...Object.keys(CLASSES)),
    message: fc.string(),
    name: fc.option(fc.constantFrom('HttpError', 'TypeError', ''), { nil: undefined }),
    cause: fc.option(tie('any'), { nil: undefined }),
    of: fc.dictionary(key, tie('any'), { maxKeys: 3 }),
  }),
})).any;

/** Creates the value of a recipe. */
export function prepare(recipe: Recipe, above: readonly unknown[] = []): unknown {
  switch (recipe.is) {
    case 'primitive':
      return recipe.value;
    case 'named':
      return (HOSTILE[recipe.name] as () => unknown)();
    case 'above':
      return above.at(-1 - recipe.levels);
    case 'array': {
      const array: unknown[] = [];
      for (const inner of recipe.of) array.push(prepare(inner, [...above, array]));
      return array;
    }
    case 'map': {
      const map = new Map<number, unknown>();
      for (const [i, inner] of recipe.of.entries()) map.set(i, prepare(inner, [...above, map]));
      return map;
    }
    case 'object':
      return fill(recipe.bare ? (Object.create(null) as object) : {}, recipe.of, above);
    case 'error': {
      const error = makeError(recipe);
      if (recipe.cause !== undefined) {
        put(error, 'cause', prepare(recipe.cause, [...above, error]), false);
      }
      if (recipe.name !== undefined && recipe.made !== 'DOMException') {
        put(error, 'name', recipe.name, false);
      }
      return fill(error, recipe.of, above);
    }
  }
}

function makeError({ made, message }: Extract<Recipe, { is: 'error' }>): Error {
  if (made === 'AggregateError') return new AggregateError([new Error(message)], message);
  if (made === 'DOMException') return new DOMException(message, 'DataError');
  return new (CLASSES[made] ?? Error)(message);
}

function fill(
  target: object,
  of: Readonly<Record<string, Recipe>>,
  above: readonly unknown[],
): object {
  for (const [name, recipe] of Object.entries(of)) {
    put(target, name, prepare(recipe, [...above, target]), true);
  }
  return target;
}

function put(target: object, name: string, value: unknown, enumerable: boolean): void {
  Reflect.defineProperty(target, name, { value, enumerable, configurable: true, writable: true });
}
