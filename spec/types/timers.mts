// A consumer of kcont/timers that is an ES module. See README.md.
import { Kernel, VirtualClock } from 'kcont';
import { clearTimeout, createTimers, setImmediate, setInterval, setTimeout } from 'kcont/timers';
import * as promises from 'kcont/timers/promises';
import { promisify } from 'node:util';

// Wherever Node's are asked for.
const timers = createTimers(new Kernel({ clock: new VirtualClock() }));
const later: typeof globalThis.setTimeout = timers.setTimeout;
const soon: typeof globalThis.setImmediate = setImmediate;
const handle: NodeJS.Timeout = setTimeout((text: string) => void text.length, 5, 'text');
const immediate: NodeJS.Immediate = setImmediate(() => {});
const repeated: ReturnType<typeof setInterval> = setInterval(() => {}, 5).unref();
globalThis.clearTimeout(handle);
clearTimeout(globalThis.setTimeout(() => {}, 5));
clearTimeout(Number(repeated));

// Promises have the type of the value.
const seven: Promise<number> = promises.setTimeout(5, 7, { ref: false });
const text: Promise<string> = promisify(setTimeout)(5, 'text');
const nothing: Promise<void> = promises.scheduler.wait(5);

// @ts-expect-error: no callback
setTimeout('code', 5);
// @ts-expect-error: the argument is a string
setTimeout((text: string) => void text.length, 5, 7);

export { immediate, later, nothing, seven, soon, text };
