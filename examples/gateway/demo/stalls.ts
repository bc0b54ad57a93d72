import type { Gateway } from '../gateway.ts';
import type { Stall, StallKind } from './messages.ts';
import { sharedNow } from './shared-clock.ts';

/** Holds up the server's loop on purpose, as a big JSON.parse or a slow query would. */
export class Stalls {
  /** CPU time burnt that way, in microseconds. */
  burntUs = 0;
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Resolves when it is over. */
  stall(kind: StallKind, ms: number): Promise<Stall> {
    return new Promise((resolve) => {
      const burn = (): void => resolve({ kind, ...this.#burn(ms) });
      if (kind === 'the check phase') setImmediate(burn);
      else if (kind === 'a timer') this.#gateway.rhythm.once(1, burn);
      else this.#inNextData(burn);
    });
  }

  /** In the callback of the next packet: other packets of the same poll wait behind it. */
  #inNextData(burn: () => void): void {
    let done = false;
    const once = (): void => {
      if (!done) burn();
      done = true;
    };
    // Whoever speaks first.
    const open = [...this.#gateway.sessions].filter((session) => session.open);
    for (const { socket } of open) socket.once('data', once);
    if (open.length === 0) burn(); // called for a message of another process: I/O as well
  }

  #burn(ms: number): { from: number; to: number; cpuShare: number } {
    const cpu = process.cpuUsage();
    const from = sharedNow();
    while (sharedNow() - from < ms);
    const to = sharedNow();
    const { user, system } = process.cpuUsage(cpu);
    this.burntUs += user + system;
    return { from, to, cpuShare: (user + system) / 1e3 / (to - from) };
  }
}
