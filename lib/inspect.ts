import { inspect } from 'node:util';

/** Gives the instances of a class a line of their own in `util.inspect`. */
export function readsAs<T>(made: { readonly prototype: T }, line: (it: T) => string): void {
  Object.defineProperty(made.prototype, inspect.custom, {
    configurable: true,
    value(this: T): string {
      return line(this);
    },
  });
}
