// The client of the overload bench: so many at a time, each with a connection of its own for each
// request, and the next as soon as the last is answered. Arguments: a port, how many, for how long in
// ms. It says how it went.

import { once } from 'node:events';
import { get } from 'node:http';
import type { ClientReply } from './protocol.ts';

const [port, clients, forMs] = process.argv.slice(2).map(Number) as [number, number, number];

const tookMs: number[] = [];

async function ask(): Promise<void> {
  const request = get({ port, host: '127.0.0.1', agent: false });
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
}

async function client(untilMs: number): Promise<void> {
  for (let nowMs = performance.now(); nowMs < untilMs; nowMs = performance.now()) {
    await ask();
    tookMs.push(performance.now() - nowMs);
  }
}

const beganMs = performance.now();
await Promise.all(Array.from({ length: clients }, () => client(beganMs + forMs)));
tookMs.sort((a, b) => a - b);
const reply: ClientReply = {
  answers: tookMs.length,
  p99Ms: tookMs[Math.floor(tookMs.length * 0.99)] ?? NaN,
  tookMs: performance.now() - beganMs,
};
process.send?.(reply);
process.disconnect();
