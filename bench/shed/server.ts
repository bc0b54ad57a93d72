// The server of the shed bench: 2 ms of work for each request, urgent ones first. Argument: a Kind. It says
// its port.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import PQueue from 'p-queue';
import { Kernel, ShedError } from '../../lib/index.ts';
import type { Kind, ServerReply } from './protocol.ts';

const WORK_MS = 2;

function work(): void {
  const untilMs = performance.now() + WORK_MS;
  while (performance.now() < untilMs);
}

const kind = process.argv[2] as Kind;
const { wq } = new Kernel(kind === 'shed' ? { shed: { targetMs: 5, intervalMs: 100 } } : {});
const queue = new PQueue({ concurrency: 1 });

async function handle(isUrgent: boolean): Promise<void> {
  if (kind === 'p-queue') await queue.add(async () => work(), { priority: isUrgent ? 1 : 0 });
  else await (isUrgent ? wq.prihigh : wq.prilow).run(work);
}

const server = createServer(({ url }, response) => {
  handle(url === '/urgent').then(
    () => response.end('done'),
    (error: unknown) => {
      if (!(error instanceof ShedError)) throw error;
      response.writeHead(503).end();
    },
  );
});
server.listen(0, '127.0.0.1', () => {
  const reply: ServerReply = { port: (server.address() as AddressInfo).port };
  process.send?.(reply);
});
process.on('disconnect', () => process.exit());
