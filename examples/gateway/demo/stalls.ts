import type { Gateway } from '../gateway.ts';
import type { Stall, StallKind } from './messages.ts';
import { burn } from './measuring.ts';
import { sharedNow } from './shared-clock.ts';

/** Blocks the server's event loop on purpose, as a large JSON.parse or a slow query would. */
export class Stalls {
  /** CPU time used for stalls. */
  burntSeconds = 0;
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Blocks the loop; resolves when the stall is over. */
  stall(kind: StallKind, ms: number): Promise<Stall> {
    return new Promise((resolve) => {
      const stall = (): void => resolve({ kind, ...this.#burn(ms) });
      if (kind === 'the check phase') setImmediate(stall);
      else if (kind === 'a timer') this.#gateway.timersFactory.once(1, stall);
      else this.#inNextData(stall);
    });
  }

  /** Blocks in the callback of the next packet; other packets of the same poll wait behind it. */
  #inNextData(stall: () => void): void {
    let done = false;
    const once = (): void => {
      if (!done) stall();
      done = true;
    };
    // The first packet of any session.
    const open = [...this.#gateway.sessions].filter((session) => session.open);
    for (const { socket } of open) socket.once('data', once);
    if (open.length === 0) stall(); // this is called by a message of another process, which is I/O too
  }

  #burn(ms: number): { from: number; to: number; cpuShare: number } {
    const from = sharedNow();
    const { cpuShare, seconds } = burn(ms);
    this.burntSeconds += seconds;
    return { from, to: sharedNow(), cpuShare };
  }
}
