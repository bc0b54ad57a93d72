/*
 * A worker thread with many sockets, which sends a byte on each on request, even while the main thread's
 * loop is blocked. Ends when the server has closed all of them.
 */
import { connect, type Socket } from 'node:net';
import { isMainThread, workerData } from 'node:worker_threads';

/** The worker's data. */
export interface Chat {
  readonly port: number;
  readonly sockets: number;
  /** By index: the number of rounds that the worker has to send, and that it has sent. */
  readonly rounds: Int32Array;
}

/** The indexes in `rounds`. */
const TOLD = 0;
const SENT = 1;

/** Tells the worker to send a byte on every socket. */
export function tell(rounds: Int32Array): void {
  Atomics.add(rounds, TOLD, 1);
  Atomics.notify(rounds, TOLD);
}

/** Blocks the thread until the worker has sent all requested rounds. */
export function waitForSent(rounds: Int32Array): void {
  for (;;) {
    const sent = Atomics.load(rounds, SENT);
    if (sent === Atomics.load(rounds, TOLD)) return;
    Atomics.wait(rounds, SENT, sent);
  }
}

async function chat({ port, sockets, rounds }: Chat): Promise<void> {
  const open = await Promise.all(Array.from({ length: sockets }, () => connected(port)));
  let left = sockets;
  for (const socket of open) {
    socket.on('close', () => {
      if (--left === 0) process.exit();
    });
  }
  for (let round = 0; ; round++) {
    // Return to the loop now and then, because the server may have closed the sockets.
    while (Atomics.wait(rounds, TOLD, round, 20) === 'timed-out') {
      await new Promise((resolve) => void setImmediate(resolve));
    }
    await Promise.all(open.map((socket) => new Promise((sent) => void socket.write('.', sent))));
    Atomics.add(rounds, SENT, 1);
    Atomics.notify(rounds, SENT);
  }
}

function connected(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    // The server ends the connections with resets.
    socket.on('error', () => undefined);
  });
}

if (!isMainThread) await chat(workerData as Chat);
