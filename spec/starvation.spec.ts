import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { Kcont, Kernel } from '../lib/index.ts';
import { burn } from './support/busy.ts';

/** What this process has had of the CPUs, in ms. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe('starvation', function () {
  this.timeout(30_000);

  it('of I/O does not happen: an HTTP server answers beside a self-feeding softserial', async () => {
    const kernel = new Kernel({ budgetMs: 2 });
    let fed = 0;
    const feed = new Kcont(
      kernel.wq.softserial,
      null,
      (_, kc) => {
        fed++;
        kc.reset();
      },
      null,
    );
    const server = createServer((_, response) => response.end('ok')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const ask = async (): Promise<number> => {
      const beganMs = cpuMs();
      const request = get({ port, host: '127.0.0.1', agent: false });
      const [response] = await once(request, 'response');
      response.resume();
      await once(response, 'end');
      return cpuMs() - beganMs;
    };
    feed.schedule();
    const tookMs: number[] = [];
    for (let i = 0; i < 100; i++) tookMs.push(await ask());
    feed.destroy();
    server.close();
    expect(fed).to.be.above(1000);
    // A request takes some ten turns, each at most a budget long. What other processes take of the
    // machine does not count.
    expect(tookMs.toSorted((a, b) => a - b)[50]).to.be.below(200);
    await kernel.close();
  });

  it('of a low priority ends with its patience: prilow runs beside a saturated prihigh', async () => {
    const kernel = new Kernel({ budgetMs: 1 });
    const patient = kernel.acquire(100, { patienceMs: 20 });
    const ran: string[] = [];
    const hog = new Kcont(
      kernel.wq.prihigh,
      null,
      (_, kc) => {
        burn(0.2);
        kc.reset();
      },
      null,
    );
    hog.schedule();
    const began = performance.now();
    await new Promise<void>((resolve) => {
      let left = 5;
      for (let i = 0; i < 5; i++) {
        new Kcont(
          patient,
          null,
          (name) => {
            ran.push(name);
            if (--left === 0) resolve();
          },
          `low${i}`,
        ).schedule();
      }
    });
    hog.destroy();
    expect(ran).to.deep.equal(['low0', 'low1', 'low2', 'low3', 'low4']);
    expect(performance.now() - began).to.be.at.least(19);
    await kernel.close();
  });
});
