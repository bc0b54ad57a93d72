// undici's own timers: exact to half a second, cheap to refresh. They are not exported, so this
// reaches for the file.

import { createRequire } from 'node:module';

export interface FastTimer<A> {
  refresh(): void;
  clear(): void;
  readonly _timerArg: A;
}

interface FastTimers {
  setFastTimeout<A>(callback: (arg: A) => void, delayMs: number, arg: A): FastTimer<A>;
}

const require = createRequire(import.meta.url);
const timers = require('undici/lib/util/timers.js') as FastTimers;

export function fastTimer<A>(callback: (arg: A) => void, delayMs: number, arg: A): FastTimer<A> {
  return timers.setFastTimeout(callback, delayMs, arg);
}
