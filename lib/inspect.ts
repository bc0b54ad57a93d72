import { inspect } from 'node:util';

/**
 * Says how the instances of a class read in a log: in `util.inspect`, as text, and as JSON. None of it
 * throws, and none shows what is inside.
 *
 * @param made - the class
 * @param line - one line; `name` is that of the instance's own class
 * @param data - what JSON makes of it; by default the line
 */
export function readsAs<T>(
  made: { readonly prototype: T },
  line: (it: T, name: string) => string,
  data: (it: T, name: string) => unknown = line,
): void {
  const read = <R>(how: (it: T, name: string) => R) =>
    function (this: T): R | string {
      const { name } = (this as object).constructor;
      try {
        return how(this, name);
      } catch {
        // Made without the constructor, as stubs are.
        return `${name} {}`;
      }
    };
  const prototype = made.prototype as object;
  const define = (key: PropertyKey, value: unknown): void => {
    Object.defineProperty(prototype, key, { configurable: true, writable: true, value });
  };
  define(inspect.custom, read(line));
  // What stands in for a class of the web is text as that is: `[object LockManager]`.
  if (!(Symbol.toStringTag in prototype || Object.hasOwn(prototype, 'toString'))) {
    define('toString', read(line));
  }
  define('toJSON', read(data));
}
