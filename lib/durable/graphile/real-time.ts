import { real } from '../../base/host-functions.ts';

/**
 * Waits for a promise, but not for longer than some time: a connection may be open and never answer.
 *
 * @returns a promise of true: it has settled; false: not in time
 *
 * @internal
 */
export function inTime(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = real.setTimeout(() => resolve(false), ms);
    const settled = (): void => {
      real.clearTimeout(timer);
      resolve(true);
    };
    promise.then(settled, settled);
  });
}

/**
 * Waits for some time, in ms, which keeps the process alive.
 *
 * @internal
 */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => real.setTimeout(resolve, ms));
}
