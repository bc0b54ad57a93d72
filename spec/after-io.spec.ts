import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Kcont, Kernel } from '../lib/index.ts';
import { burn } from './support/busy.ts';

const SOCKETS = 100;
const IDLE_MS = 200;
const STALL_MS = 300;
const STALLS = 3;

interface Killed {
  kcont: number;
  setTimeout: number;
}

/**
 * Serves sockets that send all the time, each with an idle timer of both kinds, while `stall` is
 * called now and then; counts the idle timers that fired.
 */
async function serve(stall: (kernel: Kernel, calm: () => void) => void): Promise<Killed> {
  const kernel = new Kernel();
  const killed: Killed = { kcont: 0, setTimeout: 0 };
  const sockets: Socket[] = [];
  const ends: (() => void)[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    const idle = new Kcont(kernel.wq.softclock, null, () => void killed.kcont++, null);
    idle.schedule(IDLE_MS);
    const timer = setTimeout(() => void killed.setTimeout++, IDLE_MS);
    socket.on('data', () => {
      idle.touch();
      timer.refresh();
    });
    socket.on('error', () => undefined);
    ends.push(() => {
      idle.destroy();
      clearTimeout(timer);
      socket.destroy();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const worker = new Worker(new URL('support/chatter.js', import.meta.url), {
    workerData: { port, sockets: SOCKETS, everyMs: 50 },
  });
  while (sockets.length < SOCKETS) await once(server, 'connection');
  for (let i = 0; i < STALLS; i++) {
    await new Promise<void>((calm) => stall(kernel, calm));
    // Some turns in peace, so that every socket is heard again.
    for (const socket of sockets) await once(socket, 'data');
  }
  for (const end of ends) end();
  server.close();
  await once(worker, 'exit');
  await kernel.close();
  return killed;
}

describe('a loop that stalls', function () {
  this.timeout(30_000);

  it('kills no live connection after a stall in the check phase, as setTimeout does', async () => {
    const killed = await serve((_, calm) => {
      setImmediate(() => {
        burn(STALL_MS);
        calm();
      });
    });
    expect(killed.kcont).to.equal(0);
    expect(killed.setTimeout).to.be.above(0);
  });

  it('kills no live connection after a stall in the check phase behind the pass', async () => {
    const killed = await serve((kernel, calm) => {
      new Kcont(
        kernel.wq.softclock,
        null,
        () => void setImmediate(() => burn(STALL_MS)),
        null,
      ).schedule();
      setImmediate(() => {
        burn(STALL_MS);
        calm();
      });
    });
    expect(killed.kcont).to.equal(0);
  });

  it('kills no live connection after a stall in an I/O callback', async () => {
    const killed = await serve((_, calm) => {
      const probe = createServer((socket) => {
        burn(STALL_MS);
        socket.destroy();
        probe.close();
        calm();
      }).listen(0, '127.0.0.1', () => {
        const { port } = probe.address() as AddressInfo;
        connect(port, '127.0.0.1').on('error', () => undefined);
      });
    });
    expect(killed.kcont).to.equal(0);
  });

  it('kills no live connection after a stall in a continuation', async () => {
    const killed = await serve((kernel, calm) => {
      new Kcont(
        kernel.wq.softserial,
        null,
        () => {
          burn(STALL_MS);
          calm();
        },
        null,
      ).schedule(5);
    });
    expect(killed.kcont).to.equal(0);
  });

  it('kills no live connection after a stall in a timer, a microtask or a nextTick', async () => {
    const killed = await serve((_, calm) => {
      setTimeout(() => burn(STALL_MS), 1);
      queueMicrotask(() => burn(STALL_MS));
      process.nextTick(() => burn(STALL_MS));
      setTimeout(calm, 10);
    });
    expect(killed.kcont).to.equal(0);
  });
});
