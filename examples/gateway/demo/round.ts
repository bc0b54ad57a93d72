import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEMO_TIMING } from '../timers.ts';
import type {
  FromLoad,
  FromServer,
  LoadResult,
  Stall,
  ToLoad,
  ToServer,
  Variant,
} from './messages.ts';
import { Peer } from './peer.ts';
import { STALL_MS } from './plan.ts';
import type { Plan } from './plan.ts';
import type { Progress } from './progress.ts';

/** The results of one gateway's round. */
export interface RoundResult {
  readonly variant: Variant;
  readonly load: LoadResult;
  readonly stalls: readonly Stall[];
  readonly closed: Extract<FromServer, { type: 'closed' }>;
  readonly heapEach: number;
  /** Number of connections that the gateway kept although their devices had closed them. */
  readonly ghosts: number;
  readonly linesInFile: number;
  readonly exitCode: number | null;
}

/** Time after the end of the load for the gateway to detect dead devices and the load to report, in ms. */
const RESULT_MS = 60_000;

/** Runs one gateway through the plan. */
export async function runRound(
  variant: Variant,
  plan: Plan,
  folder: string,
  progress: Progress,
): Promise<RoundResult> {
  const historyPath = join(folder, `${variant}.log`);
  const server = new Peer<ToServer, FromServer>('server', './server-process', import.meta.url, [
    variant,
    historyPath,
  ]);
  const load = new Peer<ToLoad, FromLoad>('load', './load-process', import.meta.url);
  try {
    const { port } = await server.next('listening');
    const watch = follow(load, variant, plan, progress);
    const begunAt = performance.now();
    load.send({ type: 'go', port, devices: plan.devices, forMs: plan.forMs, timing: DEMO_TIMING });
    const ended = load.next('result', plan.forMs + RESULT_MS);
    ended.catch(() => {}); // awaited below, but it may reject before
    await load.next('connected');
    const { bytesEach: heapEach } = await server.ask({ type: 'weigh' }, 'weighed');

    const stalls: Stall[] = [];
    for (const { atMs, kind } of plan.stalls) {
      // The stalls must come one after the other.
      // oxlint-disable-next-line no-await-in-loop
      await sleep(Math.max(0, begunAt + atMs - performance.now()));
      // oxlint-disable-next-line no-await-in-loop
      const { stall } = await server.ask({ type: 'stall', kind, ms: STALL_MS }, 'stalled');
      stalls.push(stall);
      watch.stalls = stalls.length;
    }
    const { result } = await ended;
    watch.over = true;
    const ghosts = await countGhosts(server, watch);

    // All live devices are still connected and sending.
    const closing = server.next('closed');
    server.signal('SIGTERM');
    const closed = await closing;
    const exitCode = await server.ended();
    load.send({ type: 'end' });
    await load.ended();
    const linesInFile = await countLines(historyPath);
    return { variant, load: result, stalls, closed, heapEach, ghosts, linesInFile, exitCode };
  } finally {
    progress.clear();
    await Promise.all([server.kill(), load.kill()]);
  }
}

interface Watch {
  /** Number of connected devices. */
  open: number;
  /** Number of stalls that are over. */
  stalls: number;
  /** Whether the load has ended; progress is not shown after that. */
  over: boolean;
}

/** Shows the progress. */
function follow(
  load: Peer<ToLoad, FromLoad>,
  variant: Variant,
  plan: Plan,
  progress: Progress,
): Watch {
  const begunAt = performance.now();
  const watch = { open: 0, stalls: 0, over: false };
  load.on('progress', (now) => {
    watch.open = now.open;
    if (watch.over) return;
    const seconds = ((performance.now() - begunAt) / 1000).toFixed(1);
    progress.show(
      `${variant.padEnd(10)} ${seconds.padStart(4)} of ${(plan.forMs / 1000).toFixed(1)} s` +
        `  ${count(now.open, 5)} connected  ${count(now.packets, 7)} packets` +
        `  stalls ${watch.stalls} of ${plan.stalls.length}` +
        `  dead found ${now.found} of ${now.dead}  live killed ${count(now.killed)}`,
    );
  });
  return watch;
}

/** Connections open and close all the time, so a difference counts only if it persists. */
async function countGhosts(server: Peer<ToServer, FromServer>, watch: Watch): Promise<number> {
  let ghosts = 0;
  for (let i = 0; i < 30; i++) {
    // oxlint-disable-next-line no-await-in-loop
    const { sessions } = await server.ask({ type: 'count' }, 'counted');
    ghosts = Math.max(0, sessions - watch.open);
    if (ghosts === 0) break;
    // oxlint-disable-next-line no-await-in-loop
    await sleep(200);
  }
  return ghosts;
}

async function countLines(path: string): Promise<number> {
  let lines = 0;
  for await (const piece of createReadStream(path)) {
    for (const byte of piece as Buffer) if (byte === 10) lines += 1;
  }
  return lines;
}

function count(value: number, width = 0): string {
  return value.toLocaleString('en-US').padStart(width);
}
