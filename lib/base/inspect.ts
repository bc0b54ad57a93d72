import { inspect } from 'node:util';

/**
 * Defines how instances of a class are shown by `util.inspect`, as a string and as JSON. These methods do
 * not throw, and do not show internal fields.
 *
 * A class that not every application needs calls it to initialize a private static field, and marks the
 * call as pure: a separate statement would keep the class in every bundle. The `toString` of the class
 * reads the field, so that compilers do not report it as unused.
 *
 * @param made - the class
 * @param line - returns one line; `name` is the name of the instance's own class
 * @param data - returns the value for JSON; by default the line
 * @returns a function that returns the line of an instance
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
  // A replacement of a web class keeps its string form, such as `[object LockManager]`.
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
    // The object was created without the constructor, as stubs are.
    return `${name} {}`;
  }
}
