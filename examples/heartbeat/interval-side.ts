import { once } from 'node:events';
import { connect } from 'node:net';
import type { Side } from './main.ts';

/** Renews leases by a timer of the main loop. */
export function intervalSide(leases: readonly string[], port: number, everyMs: number): Side {
  const line = connect(port, '127.0.0.1');
  const renew = (lease: string): void => void line.write(`RENEW ${lease}\n`);
  const timers = leases.map((lease) => {
    renew(lease);
    return setInterval(renew, everyMs, lease);
  });
  return {
    async end() {
      for (const timer of timers) clearInterval(timer);
      line.resume().end(leases.map((lease) => `RELEASE ${lease}\n`).join(''));
      await once(line, 'close');
    },
  };
}
