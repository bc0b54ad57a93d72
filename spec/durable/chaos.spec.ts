import { expect } from 'chai';
import { describe, it } from 'mocha';
import { chaos, type ChaosPlan } from '../support/chaos.ts';
import { judge, type Line } from '../support/chaos-cluster.ts';
import { OwnServer } from '../support/own-server.ts';
import { needsDatabase } from '../support/database.ts';

describe('chaos', function () {
  this.timeout(120_000);
  needsDatabase(this);

  it('loses nothing and breaks no promise while processes are killed, suspended and cut off', async () => {
    await expectNothingBroken({ seed: 7, faults: ['kill', 'cut', 'suspend'] });
  });

  it('does so while the server is restarted, and while it crashes and recovers', async () => {
    const server = await OwnServer.start();
    if (server === undefined) {
      console.log('SKIPPED: restarts of PostgreSQL, which needs to be installed on this machine');
      return;
    }
    try {
      await expectNothingBroken({ seed: 8, faults: ['restart', 'kill', 'crash'], server });
    } finally {
      await server.stop();
    }
  });

  async function expectNothingBroken(plan: Partial<ChaosPlan>): Promise<void> {
    const { begunAgain, refused, ms, stopped, unknown, ...verdict } = await chaos({
      seed: 1,
      nodes: 3,
      jobs: 200,
      locks: 10,
      faults: [],
      ...plan,
    });
    expect(stopped).to.be.above(0);
    expect([begunAgain, refused, ms, unknown].every(Number.isFinite)).to.equal(true);
    expect(verdict).to.deep.equal({
      lost: [],
      twoHolders: [],
      outOfOrder: [],
      stoppedButRan: [],
      begunTwice: [],
      scheduled: 200,
    });
  }
});

describe('the judge of chaos', () => {
  const line = (id: string, event: Line['event'], run: string = 'n 1 1 0'): Line => ({
    id,
    run,
    lock: 'l',
    event,
  });

  it('finds what is lost, out of order, stopped but run, and begun twice without a death', () => {
    const log = [
      line('b', 'begin'),
      line('b', 'end'),
      line('a', 'begin'),
      line('a', 'end'),
      line('b', 'begin', 'm 2 1 0'),
      line('c', 'begin'),
    ];
    expect(judge(log, ['a', 'b', 'c', 'd'], new Set(['c']))).to.deep.equal({
      lost: ['d'],
      twoHolders: [],
      outOfOrder: ['a'],
      stoppedButRan: ['c'],
      begunTwice: ['b'],
      begunAgain: 1,
    });
  });

  it('finds two holders of a lock, but forgives one that never ended', () => {
    const two = [line('a', 'begin'), line('b', 'begin'), line('a', 'end'), line('b', 'end')];
    expect(judge(two, ['a', 'b'], new Set()).twoHolders).to.deep.equal(['a and b', 'b and a']);
    const died = [line('a', 'begin'), line('a', 'begin', 'm 2 1 1'), line('a', 'end', 'm 2 1 1')];
    const { begunAgain, twoHolders, begunTwice } = judge(died, ['a'], new Set());
    expect({ begunAgain, twoHolders, begunTwice }).to.deep.equal({
      begunAgain: 1,
      twoHolders: [],
      begunTwice: [],
    });
  });
});
