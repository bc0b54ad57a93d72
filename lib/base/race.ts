/**
 * Works as `Promise.race`, but does not resolve its promise a second time, which would emit the process
 * event `multipleResolves`.
 */
export function race<T extends readonly Promise<unknown>[]>(
  promises: T,
): Promise<Awaited<T[number]>> {
  return new Promise((resolve, reject) => {
    let isOpen = true;
    const fulfil = (value: unknown): void => {
      if (isOpen) resolve(value as Awaited<T[number]>);
      isOpen = false;
    };
    const fail = (reason: unknown): void => {
      if (isOpen) reject(reason);
      isOpen = false;
    };
    for (const promise of promises) promise.then(fulfil, fail);
  });
}
