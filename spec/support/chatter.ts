/*
 * A worker thread with many sockets, each sending a byte every few ms, whatever the main thread's
 * loop is doing. Ends when the server has closed all of them.
 */
import { connect } from 'node:net';
import { workerData } from 'node:worker_threads';

interface Chat {
  readonly port: number;
  readonly sockets: number;
  readonly everyMs: number;
}

const { port, sockets, everyMs } = workerData as Chat;

for (let i = 0; i < sockets; i++) {
  const socket = connect(port, '127.0.0.1', () => {
    const timer = setInterval(() => socket.write('.'), everyMs);
    socket.on('close', () => clearInterval(timer));
  });
  // Resets are the server's way to end this.
  socket.on('error', () => undefined);
}
