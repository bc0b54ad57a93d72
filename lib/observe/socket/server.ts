/*
 * Answers `npx kcont ps` and `npx kcont top` on a socket that only the user of this process can open.
 *
 * One socket serves all observations of a thread, and closes with the last of them. Nothing of it keeps the process
 * alive. A tree is written in slices, and no faster than the client reads; so a client that does not read costs no
 * memory, and is disconnected if it asks or takes nothing for 30 s, and after an answer for an hour. No request can
 * change anything.
 */

import { chmodSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { threadId } from 'node:worker_threads';
import { nothing } from '../../base/nothing.ts';
import { findSockets, newSocketPath } from './socket-path.ts';
import { Client, IDLE_MS } from './client.ts';

/** How many clients are served at once. */
const MOST_CLIENTS = 8;
const SOCKET_MODE = 0o600;

const isWindows = process.platform === 'win32';

class ObservationServer {
  readonly #path = newSocketPath(threadId);
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  readonly #removeAtExit = (): void => {
    if (!isWindows) removeSocket(this.#path);
  };

  constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
    // The process goes on without the socket.
    this.#server.on('error', ({ message }) => {
      process.stderr.write(`kcont: there is no socket for kcont ps and kcont top: ${message}\n`);
    });
    // In a cluster, each process has its own.
    this.#server.listen({ path: this.#path, exclusive: true });
    this.#server.unref();
    try {
      // A path is bound at once. Until this is done, the folder keeps others away.
      if (!isWindows && this.#server.listening) chmodSync(this.#path, SOCKET_MODE);
      process.on('exit', this.#removeAtExit);
      removeStale();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    process.off('exit', this.#removeAtExit);
    this.#server.close();
    for (const client of this.#clients) client.end();
  }

  #accept(socket: Socket): void {
    socket.unref();
    if (this.#clients.size >= MOST_CLIENTS) {
      socket.on('error', nothing);
      // It need neither read this nor close its side.
      socket.setTimeout(IDLE_MS, () => socket.destroy());
      socket.end(`${JSON.stringify({ type: 'error', message: 'it has too many clients' })}\n`);
      return;
    }
    const client = new Client(socket, () => this.#clients.delete(client));
    this.#clients.add(client);
  }
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It has been removed.
  }
}

/** Removes the sockets of processes that have been killed: nobody answers there. */
function removeStale(): void {
  if (isWindows) return;
  for (const { path, pid } of findSockets()) {
    if (pid === process.pid) continue;
    const socket = createConnection(path);
    socket.unref();
    socket.on('connect', () => socket.destroy());
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') removeSocket(path);
    });
  }
}

let shared: ObservationServer | null = null;
let users = 0;

/**
 * Opens the socket of this thread, if it is not open.
 *
 * @returns a function that closes it, unless others still use it; further calls of it have no effect
 * @throws KcontError EPERM if there is no folder for it
 *
 * @internal
 */
export function openSocket(): () => void {
  shared ??= new ObservationServer();
  users++;
  let isOpen = true;
  return () => {
    if (!isOpen) return;
    isOpen = false;
    if (--users > 0) return;
    shared?.close();
    shared = null;
  };
}
