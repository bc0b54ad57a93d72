// server.js KIND: the echo server, with one kind of timers. Told what to do by its parent.

import { createServer } from 'node:net';
import { counts, kinds } from './connection.ts';
import type { Kind, ServerReply, ServerRequest } from './protocol.ts';

const BACKLOG = 4096;

const OneConnection = kinds[process.argv[2] as Kind];

function reply(what: ServerReply): void {
  process.send?.(what);
}

const server = createServer({ noDelay: true }, (socket) => {
  const conn = new OneConnection(socket);
  socket.on('data', (chunk: Buffer) => conn.receive(chunk));
  socket.on('error', () => socket.destroy());
  socket.on('close', () => conn.close());
});

server.listen({ port: 0, host: '127.0.0.1', backlog: BACKLOG }, () => {
  const address = server.address();
  if (address !== null && typeof address !== 'string') reply({ port: address.port });
});

process.on('message', (request: ServerRequest) => {
  if (request === 'mark') {
    const { user, system } = process.cpuUsage();
    reply({ cpuUs: user + system, counts });
    return;
  }
  gc?.();
  gc?.();
  server.getConnections((_, connections) => {
    reply({ heapUsed: process.memoryUsage().heapUsed, connections });
  });
});
process.on('disconnect', () => process.exit());
