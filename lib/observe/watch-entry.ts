/*
 * The entry point of the thread that watches an event loop. It looks at a shared word now and then; if the same
 * function has been on the stack for too long, it reports that while the event loop is still blocked.
 */

import { writeSync } from 'node:fs';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { real } from '../base/host-functions.ts';
import { commonMs } from '../time/host-clock.ts';
import { stackOfMainThread } from './blocked-stack.ts';
import { duration } from './duration.ts';
import { inLine } from './in-line.ts';
import { LABEL, SEQUENCE, TICKS, type Block, type Named, type WatchData } from './watch-words.ts';

/** Bounds of the time between two looks, in ms. */
const SHORTEST_MS = 2;
const LONGEST_MS = 100;
/** The longest one for the flight recorder, whose estimates are off by no more than that. */
const RECORDING_MS = 10;
/** The file descriptor of the standard error stream. A stream would need the event loop that is blocked. */
const STDERR = 2;

function watch(port: MessagePort, { words, blockMs, isMain, rings }: WatchData): void {
  const names = new Map<number, string>();
  // Without a recorder, the thread is up sooner.
  const recorder = rings === null ? null : import('./recorder/recording-file.ts');
  const longestMs = rings === null ? LONGEST_MS : RECORDING_MS;
  const everyMs = Math.min(Math.max(blockMs / 8, SHORTEST_MS), longestMs);
  let seen = 0;
  let sinceMs = commonMs();
  let isReported = false;
  port.on('message', ({ label, text }: Named) => names.set(label, text));

  async function report(label: number, ms: number): Promise<void> {
    const stack = isMain ? await stackOfMainThread() : null;
    const name = inLine(names.get(label) ?? 'a function');
    const at = stack === null ? '' : `\n${stack}`;
    writeSync(STDERR, `kcont: ${name} blocks the event loop, for ${duration(ms)} so far${at}\n`);
    if (rings !== null && recorder !== null) {
      const { writeOrTell } = await recorder;
      writeSync(STDERR, `kcont: ${writeOrTell(rings, `${name} blocks the event loop`)}\n`);
    }
    const block: Block = { label, ms, stack };
    port.postMessage(block);
  }

  function look(): void {
    Atomics.add(words, TICKS, 1);
    const sequence = Atomics.load(words, SEQUENCE);
    const nowMs = commonMs();
    if (sequence !== seen) {
      seen = sequence;
      sinceMs = nowMs;
      isReported = false;
    } else if (!isReported && sequence % 2 !== 0 && nowMs - sinceMs >= blockMs) {
      isReported = true;
      void report(Atomics.load(words, LABEL), nowMs - sinceMs);
    }
    real.setTimeout(look, everyMs);
  }
  look();
}

const data = workerData as Partial<WatchData> | null;
if (parentPort !== null && data?.kcontWatch === true) watch(parentPort, data as WatchData);
