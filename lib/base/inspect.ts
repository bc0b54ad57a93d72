import { inspect } from 'node:util';

/**
 * Says how the instances of a class read in a log: in `util.inspect`, as text, and as JSON. None of it
 * throws, and none shows what is inside.
 *
 * A class that not every application needs calls it to initialize a private static field, and marks the
 * call as pure: a statement of its own would keep the class in every bundle. Its `toString` reads the
 * field, which only compilers need.
 *
 * @param made - the class
 * @param line - one line; `name` is that of the instance's own class
 * @param data - what JSON makes of it; by default the line
 * @returns what makes the line of an instance
 */
export function defineInspect<T>(
  made: { readonly prototype: T },
  line: (it: T, name: string) => string,
  data: (it: T, name: string) => unknown = line,
): (it: T) => string {
  const prototype = made.prototype as object;
  const define = (key: PropertyKey, how: (it: T, name: string) => unknown): void => {
    const value = function (this: T): unknown {
      return read(this, how);
    };
    Object.defineProperty(prototype, key, { configurable: true, writable: true, value });
  };
  define(inspect.custom, line);
  // What stands in for a class of the web is text as that is: `[object LockManager]`.
  if (!(Symbol.toStringTag in prototype || Object.hasOwn(prototype, 'toString'))) {
    define('toString', line);
  }
  define('toJSON', data);
  return (it) => read(it, line);
}

function read<T, R>(it: T, how: (it: T, name: string) => R): R | string {
  const { name } = (it as object).constructor;
  try {
    return how(it, name);
  } catch {
    // Made without the constructor, as stubs are.
    return `${name} {}`;
  }
}
