// client.js PORT CONNECTIONS RATE: connects, then sends so many messages a second over all
// connections in turn, and notes how long each echo takes.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { quantile } from '../harness/stats.ts';
import {
  ACK,
  ECHO,
  MESSAGE_BYTES,
  ONE_WAY,
  ONE_WAY_EVERY,
  type ClientReply,
  type ClientRequest,
} from './protocol.ts';

const [port = 0, connections = 0, rate = 0] = process.argv.slice(2).map(Number);
const AT_ONCE = 100;
const US_PER_MS = 1000;
/** How long echoes may be on their way after the last message. */
const REST_MS = 500;

const echo = Buffer.alloc(MESSAGE_BYTES, ECHO);
const oneWay = Buffer.alloc(MESSAGE_BYTES, ONE_WAY);

let sent = 0;
let sentForEcho = 0;
let echoed = 0;
let acked = 0;
let latencies: number[] = [];
let running = false;

/** One connection, and when its message under way was sent. */
class Line {
  readonly socket: Socket;
  #sentMs = 0;
  #messages = 0;
  #missing = 0;

  constructor(socket: Socket, at: number) {
    this.socket = socket;
    this.#messages = at;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => process.exit(1));
  }

  send(): void {
    sent++;
    if (++this.#messages % ONE_WAY_EVERY === 0) {
      this.socket.write(oneWay);
      return;
    }
    sentForEcho++;
    this.#sentMs = performance.now();
    this.socket.write(echo);
  }

  #receive(chunk: Buffer): void {
    let at = this.#missing;
    while (at < chunk.length) {
      const kind = chunk[at];
      if (kind === ECHO) {
        echoed++;
        latencies.push((performance.now() - this.#sentMs) * US_PER_MS);
        at += MESSAGE_BYTES;
      } else {
        if (kind === ACK) acked++;
        at += kind === ONE_WAY ? MESSAGE_BYTES : 1;
      }
    }
    this.#missing = at - chunk.length;
  }
}

const lines: Line[] = [];
while (lines.length < connections) {
  const wave = Math.min(AT_ONCE, connections - lines.length);
  const sockets = Array.from({ length: wave }, () =>
    connect({ port, host: '127.0.0.1', noDelay: true }),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  for (const socket of sockets) lines.push(new Line(socket, lines.length));
}

/** Keeps the rate, whatever the delays of the timer. */
function start(): void {
  running = true;
  const begin = performance.now();
  const interval = setInterval(() => {
    if (!running) {
      clearInterval(interval);
      return;
    }
    const due = ((performance.now() - begin) * rate) / 1000;
    for (let left = due - sent; left > 0; left--) lines[sent % connections]?.send();
  }, 1);
}

function reply(what: ClientReply): void {
  process.send?.(what);
}

process.on('message', (request: ClientRequest) => {
  if (request === 'start') start();
  else if (request === 'mark') latencies = [];
  else {
    running = false;
    const p99Us = quantile(latencies, 0.99);
    setTimeout(() => {
      reply({ sent, sentForEcho, echoed, acked, p99Us });
      for (const { socket } of lines) socket.resetAndDestroy();
    }, REST_MS);
  }
});
process.on('disconnect', () => process.exit());
reply({ connected: lines.length });
