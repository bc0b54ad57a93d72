// The server of the overload bench: HTTP handlers that work in steps. Argument: a Kind. It says its
// port, and at each message the gaps between accepts since the last one.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Kernel } from '../../lib/index.ts';
import type { Kind, ServerReply } from './protocol.ts';

const STEPS = 4;
const STEP_MS = 0.25;

/** A piece of work: what a handler has to compute. */
function step(): void {
  const untilMs = performance.now() + STEP_MS;
  while (performance.now() < untilMs);
}

const { wq } = new Kernel();

const runners: Record<Kind, () => Promise<void>> = {
  async kcont() {
    await wq.prihigh.run(async () => step());
  },
  async promises() {
    await Promise.resolve();
    step();
  },
  async immediate() {
    await new Promise((resolve) => void setImmediate(resolve));
    step();
  },
};

const run = runners[process.argv[2] as Kind];

const server = createServer((_, response) => {
  const work = async (): Promise<void> => {
    for (let i = 0; i < STEPS; i++) await run();
    response.end('done');
  };
  void work();
});

let accepts = 0;
let gapMs = 0;
let lastMs = performance.now();

function note(): void {
  const nowMs = performance.now();
  gapMs = Math.max(gapMs, nowMs - lastMs);
  lastMs = nowMs;
}

server.on('connection', () => {
  accepts++;
  note();
});

function say(reply: ServerReply): void {
  process.send?.(reply);
}

process.on('message', () => {
  note();
  say({ gapMs, accepts });
  accepts = 0;
  gapMs = 0;
  lastMs = performance.now();
});
process.on('disconnect', () => process.exit());

server.listen(0, '127.0.0.1', 1024, () => {
  say({ port: (server.address() as AddressInfo).port });
});
