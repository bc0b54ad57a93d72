import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEMO_TIMING } from '../timers.ts';
import type { FromLoad, FromServer, ToLoad, ToServer } from './messages.ts';
import { Peer } from './peer.ts';
import type { Progress } from './progress.ts';

/** Number of devices in the measurement. */
const DEVICES = 200;
/** Time in which the devices connect and hot code is compiled, in ms. */
const WARM_UP_MS = 1200;
const MEASURED_MS = 800;
const BURN_MS = 300;

/** The share of the available CPU time to use; the rest is for peaks. */
const PART = 0.5;

/** The smallest number of devices that shows the difference. */
const FEWEST = 50;

/** The load that the machine can carry at present. */
export interface Capacity {
  /** Number of devices, at least {@link FEWEST}. */
  readonly devices: number;
  /** The share of a core that server and load each get when both use all they can, 0 … 1. */
  readonly cpuShare: number;
}

/**
 * Measures the CPU time per device and the CPU time available on this machine, in a short round with
 * few devices and no stalls.
 */
export async function measureCapacity(folder: string, progress: Progress): Promise<Capacity> {
  progress.show(`measuring what this machine can carry, with ${DEVICES} devices`);
  const server = new Peer<ToServer, FromServer>('server', './server-process', import.meta.url, [
    'kcont',
    join(folder, 'capacity.log'),
  ]);
  const load = new Peer<ToLoad, FromLoad>('load', './load-process', import.meta.url);
  try {
    const { port } = await server.next('listening');
    const [serverBurn, loadBurn] = await Promise.all([
      server.ask({ type: 'burn', ms: BURN_MS }, 'burnt'),
      load.ask({ type: 'burn', ms: BURN_MS }, 'burnt'),
    ]);
    const cpuShare = Math.min(1, serverBurn.cpuShare, loadBurn.cpuShare);
    const forMs = 10 * (WARM_UP_MS + MEASURED_MS); // longer than needed: the round is stopped before
    load.send({ type: 'go', port, devices: DEVICES, forMs, timing: DEMO_TIMING });
    await sleep(WARM_UP_MS);
    const used = async (): Promise<{ server: number; load: number; atMs: number }> => {
      const [s, l] = await Promise.all([
        server.ask({ type: 'cpu' }, 'cpuUsed'),
        load.ask({ type: 'cpu' }, 'cpuUsed'),
      ]);
      return { server: s.seconds, load: l.seconds, atMs: performance.now() };
    };
    const before = await used();
    await sleep(MEASURED_MS);
    const after = await used();
    const dearest = Math.max(after.server - before.server, after.load - before.load);
    const coreEach = (dearest * 1000) / (after.atMs - before.atMs) / DEVICES;
    const devices = Math.floor((PART * cpuShare) / coreEach);
    return { devices: Math.max(FEWEST, devices - (devices % 10)), cpuShare };
  } finally {
    progress.clear();
    await Promise.all([server.kill(), load.kill()]);
  }
}
