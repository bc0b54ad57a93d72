// The CPU module: the functions that run on CPU 1, where the main loop cannot block them.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Kcont } from '../../lib/index.ts';

/** A lease that is renewed until it is released. It is copied to the CPU once. */
export interface Beat {
  readonly lease: string;
  readonly port: number;
  readonly everyMs: number;
}

/** The connection of this CPU. Each CPU has its own module variables. */
let line: Socket | undefined;

/** Renews a lease. The function of the continuations. */
export function renew({ lease, port, everyMs }: Beat, kc: Kcont<Beat>): void {
  // It stays on this CPU, as a timer on this CPU's wheel.
  kc.reset(everyMs);
  line ??= connect(port, '127.0.0.1');
  line.write(`RENEW ${lease}\n`);
}

/** Releases leases, and closes the connection. */
export async function release(leases: readonly string[]): Promise<void> {
  if (line === undefined) return;
  line.resume().end(leases.map((lease) => `RELEASE ${lease}\n`).join(''));
  await once(line, 'close');
  line = undefined;
}
