// A bare thread with timers that another one arms, moves and clears by messages: what one would write
// without kcont.

import { parentPort } from 'node:worker_threads';

const timeouts = new Map<number, NodeJS.Timeout>();

/** `[id, delayMs]`; a negative delay: clear. `null`: answer how many there are. */
type Order = readonly [number, number] | null;

parentPort?.on('message', (order: Order) => {
  if (order === null) {
    parentPort?.postMessage(timeouts.size);
    return;
  }
  const [id, delayMs] = order;
  clearTimeout(timeouts.get(id));
  if (delayMs < 0) timeouts.delete(id);
  else
    timeouts.set(
      id,
      setTimeout(() => timeouts.delete(id), delayMs),
    );
});
