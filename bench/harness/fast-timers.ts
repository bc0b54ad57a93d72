// undici's own timers: exact to half a second, cheap to refresh. They are not exported, so this
// reaches for the file.

import { createRequire } from 'node:module';

export interface FastTimer {
  refresh(): void;
  clear(): void;
}

interface FastTimers {
  setFastTimeout(callback: () => void, delayMs: number): FastTimer;
}

const require = createRequire(import.meta.url);
const timers = require('undici/lib/util/timers.js') as FastTimers;

export function fastTimer(callback: () => void, delayMs: number): FastTimer {
  return timers.setFastTimeout(callback, delayMs);
}
