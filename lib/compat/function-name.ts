/**
 * Gives a function its name: a bundler renames one whose name is taken in its file, and the name is
 * what stands in traces and in `util.inspect`.
 */
export function named<F>(name: string, func: F): F {
  return Object.defineProperty(func, 'name', { value: name, configurable: true });
}
