import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEMO_TIMING } from '../timers.ts';
import type { FromLoad, FromServer, ToLoad, ToServer } from './messages.ts';
import { Peer } from './peer.ts';
import type { Progress } from './progress.ts';

/** Devices of the measurement. */
const DEVICES = 200;
/** They connect meanwhile, and code that runs often gets compiled. */
const WARM_UP_MS = 1200;
const MEASURED_MS = 800;
const BURN_MS = 300;

/** Server and load are given this part of what they could get: the rest is for peaks. */
const PART = 0.5;

/** The fewest devices that show the difference. */
const FEWEST = 50;

/** What the machine can carry at present. */
export interface Capacity {
  /** How many devices, at least {@link FEWEST}. */
  readonly devices: number;
  /** How much of a core server and load get, each, when both want all of it: of 1. */
  readonly cpuShare: number;
}

/**
 * Measures what a device costs, and what the machine has to give while others use it too: a short
 * round with few devices and no stalls.
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
    const forMs = 10 * (WARM_UP_MS + MEASURED_MS); // nobody waits for its end
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
