/*
 * A worker thread with many sockets, which sends a byte on each when it is told to, whatever the main
 * thread's loop is doing. Ends when the server has closed all of them.
 */
import { connect, type Socket } from 'node:net';
import { isMainThread, workerData } from 'node:worker_threads';

/** What the worker is given. */
export interface Chat {
  readonly port: number;
  readonly sockets: number;
  /** By place: how many rounds the worker has been told to send, and how many it has sent. */
  readonly rounds: Int32Array;
}

/** The places in `rounds`. */
const TOLD = 0;
const SENT = 1;

/** Tells the worker to send a byte on every socket. */
export function tell(rounds: Int32Array): void {
  Atomics.add(rounds, TOLD, 1);
  Atomics.notify(rounds, TOLD);
}

/** Blocks the thread until the worker has sent all that it has been told to. */
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
    // Now and then a look at the loop: the server may have closed the sockets.
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
    // Resets are the server's way to end this.
    socket.on('error', () => undefined);
  });
}

if (!isMainThread) await chat(workerData as Chat);
