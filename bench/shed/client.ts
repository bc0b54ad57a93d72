// The client of the shed bench. Argument: an Order as JSON. It says how it went.

import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientReply, Order } from './protocol.ts';

/** After this time a client has given up: an answer is of no use to anybody. */
const IN_TIME_MS = 500;
const AT_ONCE = 4;

const { port, perSecond, urgent, forMs } = JSON.parse(process.argv[2] ?? '') as Order;
const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
const urgentMs: number[] = [];
let inTime = 0;

function ask(isUrgent: boolean): Promise<void> {
  const sentMs = performance.now();
  return new Promise((resolve) => {
    const path = isUrgent ? '/urgent' : '/';
    const signal = AbortSignal.timeout(IN_TIME_MS);
    const request = get({ port, host: '127.0.0.1', agent, path, signal }, (response) => {
      response.resume();
      response.on('end', () => {
        const tookMs = performance.now() - sentMs;
        if (isUrgent) urgentMs.push(response.statusCode === 200 ? tookMs : IN_TIME_MS);
        if (response.statusCode === 200) inTime++;
      });
      response.on('close', resolve);
    });
    request.on('error', () => {
      if (isUrgent) urgentMs.push(IN_TIME_MS);
      resolve();
    });
  });
}

/** Whether the request of this number is urgent: as many as asked for, evenly spread. */
function isTheUrgentOne(number: number): boolean {
  return Math.floor((number + 1) * urgent) > Math.floor(number * urgent);
}

const beginMs = performance.now();
const endMs = beginMs + forMs;
let sent = 0;
if (perSecond === 0) {
  const oneAfterTheOther = async (): Promise<void> => {
    while (performance.now() < endMs) await ask(isTheUrgentOne(sent++));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, oneAfterTheOther));
} else {
  const open: Promise<void>[] = [];
  for (let nowMs = beginMs; nowMs < endMs; nowMs = performance.now()) {
    for (const due = ((nowMs - beginMs) * perSecond) / 1000; sent < due;)
      open.push(ask(isTheUrgentOne(sent++)));
    await sleep(1);
  }
  await Promise.all(open);
}
urgentMs.sort((a, b) => a - b);
const reply: ClientReply = {
  inTime,
  urgentP99Ms: urgentMs[Math.floor(urgentMs.length * 0.99)] ?? NaN,
  tookMs: performance.now() - beginMs,
};
process.send?.(reply);
process.disconnect();
