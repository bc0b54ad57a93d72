// The load, in a separate process, so that what blocks the server does not block the clients.
//
// The crowd sends its next request as soon as it is answered. Operators send requests at fixed times,
// and their latency counts from those times, even if a request was sent later.

import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { EACH, OPERATORS, OPERATOR_EVERY_MS, USERS, type Order, type Seen } from './population.ts';
import { tokenOf } from './work.ts';

process.on('message', (order: Order) => {
  void run(order).then((seen) => process.send?.(seen));
});

async function run({ port, warmUpMs, forMs }: Order): Promise<Seen> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  const begin = performance.now() + warmUpMs;
  const end = begin + forMs;
  const crowd: number[] = [];
  const operators: number[] = [];
  let answered = 0;
  let wrong = 0;

  const ask = async (
    user: string,
    operator: boolean,
    at: number,
    into: number[],
  ): Promise<void> => {
    const right = await request(agent, port, user, operator);
    const now = performance.now();
    answered++;
    if (!right) wrong++;
    if (now >= begin && now < end) into.push(now - at);
  };
  const inCrowd = async (user: string): Promise<void> => {
    while (performance.now() < end) await ask(user, false, performance.now(), crowd);
  };
  const operate = async (user: string, phase: number): Promise<void> => {
    const asked: Promise<void>[] = [];
    const first = begin - warmUpMs + phase;
    for (let at = first; at < end; at += OPERATOR_EVERY_MS) {
      await sleep(Math.max(0, at - performance.now()));
      asked.push(ask(user, true, at, operators));
    }
    await Promise.all(asked);
  };
  const all: Promise<void>[] = [];
  for (let i = 0; i < USERS * EACH; i++) all.push(inCrowd(`user${i % USERS}`));
  for (let i = 0; i < OPERATORS; i++) {
    all.push(operate(`operator${i}`, (i * OPERATOR_EVERY_MS) / OPERATORS));
  }
  await Promise.all(all);
  agent.destroy();
  return { crowd, operators, answered, wrong };
}

function request(agent: Agent, port: number, user: string, operator: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const path = `/topic?user=${user}&token=${tokenOf(user)}`;
    const headers = operator ? { 'x-operator': '1' } : {};
    const sent = get({ agent, host: '127.0.0.1', port, path, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => (body += text));
      response.on('end', () => {
        resolve(response.statusCode === 200 && body.startsWith(`<h1>${user}</h1>`));
      });
      response.on('error', () => resolve(false));
    });
    sent.on('error', () => resolve(false));
  });
}
