// The CPU module: what runs on CPU 1, where the main loop cannot hold it up.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Kcont } from '../../lib/index.ts';

/** A lease that is renewed for ever. Copied to the CPU once. */
export interface Beat {
  readonly lease: string;
  readonly port: number;
  readonly everyMs: number;
}

/** This CPU's connection: each CPU has its own variables. */
let line: Socket | undefined;

/** The function of the continuations. */
export function renew({ lease, port, everyMs }: Beat, kc: Kcont<Beat>): void {
  // Where it runs, it stays: a timer on the wheel of this CPU.
  kc.reset(everyMs);
  line ??= connect(port, '127.0.0.1');
  line.write(`RENEW ${lease}\n`);
}

/** Lets go of leases, and hangs up. */
export async function release(leases: readonly string[]): Promise<void> {
  if (line === undefined) return;
  line.resume().end(leases.map((lease) => `RELEASE ${lease}\n`).join(''));
  await once(line, 'close');
  line = undefined;
}
