import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveInspector } from '../../lib/observe/inspector/index.ts';
import type { FromLoad, ToLoad } from './demo/messages.ts';
import { Peer } from './demo/peer.ts';
import { Gateway } from './gateway.ts';
import { KcontTimersFactory } from './timers-kcont.ts';
import { SERVE_TIMING } from './timers.ts';

/** For how long devices send, in ms; the gateway is most likely stopped before. */
const LOAD_MS = 24 * 3_600_000;

/**
 * Runs the gateway until SIGTERM or SIGINT, and returns the exit code.
 *
 * @param devices - so many devices connect to it, from another process; undefined: none
 */
export async function serve(port: number, devices?: number): Promise<number> {
  const historyPath = join(await mkdtemp(join(tmpdir(), 'kcont-gateway-')), 'history.log');
  const signalled = new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve).once('SIGINT', resolve); // a second signal ends the process at once
  });
  const gateway = await Gateway.start(new KcontTimersFactory(), SERVE_TIMING, historyPath, port);
  const inspector = await serveInspector();
  console.log(help(gateway.port, historyPath));
  console.log(`Inspector: ${inspector.url}`);
  const load = devices === undefined ? undefined : startLoad(gateway.port, devices);

  const signal = await signalled;
  console.log(`\n${signal}: closing ${gateway.sessions.size} connections`);
  const report = await gateway.close();
  await inspector.close();
  await load?.kill();
  console.log(
    `closed in ${report.tookMs.toFixed(0)} ms; ${report.accepted} readings stored, ` +
      `${report.lost} lost; ${report.counters.cutByForce} connections cut by force`,
  );
  console.log(`continuations withdrawn: ${list(report.waiting)}`);
  console.log(`continuations unfinished: ${list(report.unfinished)}`);
  return report.unfinished.length === 0 && report.lost === 0 ? 0 : 1;
}

function startLoad(port: number, devices: number): Peer<ToLoad, FromLoad> {
  const load = new Peer<ToLoad, FromLoad>('load', './demo/load-process', import.meta.url);
  load.send({ type: 'go', port, devices, forMs: LOAD_MS, timing: SERVE_TIMING });
  console.log(`${devices} devices connect.`);
  return load;
}

function help(port: number, historyPath: string): string {
  const { handshakeMs, idleMs, heartbeatMs, pongMs, resendMs } = SERVE_TIMING;
  return `The gateway listens on 127.0.0.1 port ${port}. Be a device:

  nc 127.0.0.1 ${port}
  HELLO thermometer-7     first of all, within ${handshakeMs / 1000} s
  DATA 0 21.5 degrees     a reading; ACK follows, one for several if you type fast
  PING                    PONG
  ACK 1                   the answer to CMD 1, which comes again after ${resendMs / 1000} s, then later, …
  PONG 1                  the answer to PING 1, which comes every ${heartbeatMs / 1000} s; within ${pongMs / 1000} s
  anything else           ERR, and life goes on
  BYE                     once your readings are on disk, the gateway says BYE too

Who says nothing for ${idleMs / 1000} s is gone. Readings go to ${historyPath}
Ctrl-C or SIGTERM (pid ${process.pid}) closes in good order.`;
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(', ');
}
