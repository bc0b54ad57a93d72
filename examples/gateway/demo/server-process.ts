/* The gateway under test, in a separate process with its own CPU time, heap and event loop. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Gateway } from '../gateway.ts';
import { KcontTimersFactory } from '../timers-kcont.ts';
import { TimeoutTimersFactory } from '../timers-timeout.ts';
import { DEMO_TIMING } from '../timers.ts';
import type { FromServer, ToServer } from './messages.ts';
import { cpuSeconds, measure } from './measuring.ts';
import { Stalls } from './stalls.ts';

const [variant, historyPath = ''] = process.argv.slice(2);
const timersFactory = variant === 'kcont' ? new KcontTimersFactory() : new TimeoutTimersFactory();
const gateway = await Gateway.start(timersFactory, DEMO_TIMING, historyPath, 0);
const stalls = new Stalls(gateway);
const heapBefore = heapUsed();
const cpuBefore = cpuSeconds();

process.on('message', (message: ToServer) => void answer(message));
process.once('disconnect', () => process.exit(1)); // the demonstration is gone
process.once('SIGTERM', () => void close());
tell({ type: 'listening', port: gateway.port });

async function answer(message: ToServer): Promise<void> {
  if (message.type === 'weigh') {
    const connections = gateway.sessions.size;
    tell({ type: 'weighed', connections, bytesEach: (heapUsed() - heapBefore) / connections });
  } else if (message.type === 'stall') {
    tell({ type: 'stalled', stall: await stalls.stall(message.kind, message.ms) });
  } else if (message.type === 'burn' || message.type === 'cpu') {
    tell(measure(message));
  } else {
    tell({ type: 'counted', sessions: gateway.sessions.size });
  }
}

async function close(): Promise<void> {
  const report = await gateway.close();
  const usedSeconds = cpuSeconds() - cpuBefore - stalls.burntSeconds;
  await nextTurn(); // the last timer may be cleared in the check phase
  const hostTimers = process
    .getActiveResourcesInfo()
    .filter((kind) => kind === 'Timeout' || kind === 'Immediate').length;
  tell({ type: 'closed', report, hostTimers, cpuSeconds: usedSeconds });
  // No process.exit(): a leftover timer would keep the process alive, and be detected.
  process.removeAllListeners('disconnect');
  process.disconnect();
}

function tell(message: FromServer): void {
  process.send?.(message);
}

function heapUsed(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
