import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Kcont, Kernel } from '../../lib/index.ts';
import { burn } from '../support/busy.ts';
import { tell, waitForSent, type Chat } from '../support/chatter.ts';

const SOCKETS = 100;
const IDLE_MS = 500;
const STALL_MS = 600;
const STALLS = 2;

interface Killed {
  kcont: number;
  setTimeout: number;
}

/**
 * Serves sockets that are never idle, each with an idle timer of both kinds, while the loop is made
 * to stall, and counts the idle timers that fired. Each stall begins just after all sockets have sent
 * and, with \`burnHeard\`, ends when all have sent again: so no socket is idle, even if the machine
 * delays the sending thread.
 */
async function serve(
  stall: (burnHeard: () => void, calm: () => void, kernel: Kernel) => void,
): Promise<Killed> {
  const kernel = new Kernel();
  const killed: Killed = { kcont: 0, setTimeout: 0 };
  const rounds = new Int32Array(new SharedArrayBuffer(8));
  const ends: (() => void)[] = [];
  let heard = 0;
  let expected = 0;
  let allHeard: (() => void) | undefined;
  const server = createServer((socket) => {
    const idle = new Kcont(kernel.wq.softclock, null, () => void killed.kcont++, null);
    let timer: NodeJS.Timeout | undefined;
    socket.on('data', (data) => {
      if (timer === undefined) {
        idle.schedule(IDLE_MS);
        timer = setTimeout(() => void killed.setTimeout++, IDLE_MS);
      }
      idle.touch();
      timer.refresh();
      heard += data.length;
      if (heard === expected) allHeard?.();
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
  const workerData: Chat = { port, sockets: SOCKETS, rounds };
  const worker = new Worker(new URL('../support/chatter.js', import.meta.url), { workerData });
  const exit = once(worker, 'exit');
  const send = (): void => {
    expected += SOCKETS;
    tell(rounds);
  };
  const hear = async (): Promise<void> => {
    send();
    await new Promise<void>((resolve) => {
      allHeard = resolve;
    });
  };
  const burnHeard = (): void => {
    send();
    waitForSent(rounds);
    burn(STALL_MS);
  };
  for (let i = 0; i < STALLS; i++) {
    await hear();
    await new Promise<void>((calm) => stall(burnHeard, calm, kernel));
  }
  // All sockets have sent again: timers that fire wrongly after the last stall have done so by now.
  await hear();
  for (const end of ends) end();
  server.close();
  await exit;
  await kernel.close();
  return killed;
}

describe('an event loop that stalls', function () {
  this.timeout(30_000);

  it('closes no live connection after a stall in the check phase, as setTimeout does', async () => {
    const killed = await serve((burnHeard, calm) => {
      setImmediate(() => {
        burnHeard();
        calm();
      });
    });
    expect(killed.kcont).to.equal(0);
    expect(killed.setTimeout).to.be.above(0);
  });

  it('closes no live connection after a stall in the check phase after the pass', async () => {
    const killed = await serve((burnHeard, calm, kernel) => {
      new Kcont(
        kernel.wq.softclock,
        null,
        () => void setImmediate(() => burnHeard()),
        null,
      ).schedule();
      setImmediate(() => {
        burnHeard();
        calm();
      });
    });
    expect(killed.kcont).to.equal(0);
  });

  it('closes no live connection after a stall in an I/O callback', async () => {
    const killed = await serve((burnHeard, calm) => {
      const probe = createServer((socket) => {
        burnHeard();
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

  it('closes no live connection after a stall in a continuation', async () => {
    const killed = await serve((burnHeard, calm, kernel) => {
      new Kcont(
        kernel.wq.softserial,
        null,
        () => {
          burnHeard();
          calm();
        },
        null,
      ).schedule(5);
    });
    expect(killed.kcont).to.equal(0);
  });

  it('closes no live connection after a stall in a timer, a microtask or a nextTick', async () => {
    const killed = await serve((burnHeard, calm) => {
      setTimeout(() => burnHeard(), 1);
      queueMicrotask(() => burnHeard());
      process.nextTick(() => burnHeard());
      setTimeout(calm, 10);
    });
    expect(killed.kcont).to.equal(0);
  });
});
