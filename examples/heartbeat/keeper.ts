// The keeper of the leases, in a separate process: a TCP server that expires leases which are not
// renewed in time.
//
// Its own timers are continuations, so packets that have arrived are read before a lease expires.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Kcont, wq } from '../../lib/index.ts';
import type { FromKeeper, LeaseRecord, Terms } from './protocol.ts';

const LOOK_MS = 20;

class Lease {
  readonly record: LeaseRecord;
  readonly #terms: Terms;
  readonly #expiry: Kcont<Lease> = new Kcont(wq.softclock, null, Lease.#expire, this);
  #renewedAt = 0;
  #released = false;

  constructor(lease: string, terms: Terms) {
    this.#terms = terms;
    this.record = { lease, renewals: 0, late: 0, longestMs: 0, lost: 0, afterRelease: 0 };
  }

  static #expire(lease: Lease): void {
    lease.record.lost++;
  }

  renew(): void {
    const { record } = this;
    if (this.#released) {
      record.afterRelease++;
      return;
    }
    const now = performance.now();
    if (record.renewals++ > 0) {
      const gapMs = now - this.#renewedAt;
      if (gapMs > this.#terms.lateMs) record.late++;
      record.longestMs = Math.max(record.longestMs, gapMs);
    }
    this.#renewedAt = now;
    if (!this.#expiry.touch()) this.#expiry.reset(this.#terms.leaseMs);
  }

  release(): void {
    this.#released = true;
    this.#expiry.destroy();
  }
}

const terms = JSON.parse(process.argv[2] ?? '{}') as Terms;
const leases = new Map<string, Lease>();
let lagMs = 0;

const server = createServer((socket) => listen(socket)).listen(0, '127.0.0.1');
await once(server, 'listening');
tell({ type: 'listening', port: (server.address() as AddressInfo).port });
watchItself();
process.on('message', () => {
  tell({ type: 'report', records: Array.from(leases.values(), ({ record }) => record), lagMs });
});
process.once('disconnect', () => process.exit());

function listen(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  createInterface({ input: socket }).on('line', (line) => {
    const [verb, name = ''] = line.split(' ');
    if (verb === 'RELEASE') leases.get(name)?.release();
    if (verb !== 'RENEW') return;
    let lease = leases.get(name);
    if (lease === undefined) {
      lease = new Lease(name, terms);
      leases.set(name, lease);
      tell({ type: 'held', leases: leases.size });
    }
    lease.renew();
  });
}

/** Measures the keeper's own lateness, so that it is not blamed on the holders. */
function watchItself(): void {
  let dueMs = performance.now() + LOOK_MS;
  setInterval(() => {
    const now = performance.now();
    lagMs = Math.max(lagMs, now - dueMs);
    dueMs = now + LOOK_MS;
  }, LOOK_MS).unref();
}

function tell(message: FromKeeper): void {
  process.send?.(message);
}
