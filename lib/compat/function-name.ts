/**
 * Sets the name of a function, which stack traces and `util.inspect` show. A bundler renames functions
 * whose names collide in one file.
 */
export function named<F>(name: string, func: F): F {
  return Object.defineProperty(func, 'name', { value: name, configurable: true });
}
