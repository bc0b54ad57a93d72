// Locks between real threads: this one, and one or two more.

import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Arena } from '../../../lib/cpu/locks/arena.ts';
import { LOCAL_HAND_OVERS } from '../../../lib/cpu/locks/thread-gate.ts';
import type { Passable } from '../../../lib/cpu/locks/structured-clone.ts';
import { SharedMutex } from '../../../lib/cpu/locks/shared-mutex.ts';
import { SharedRMLock, SharedRWLock } from '../../../lib/cpu/locks/shared-rw-lock.ts';
import { SharedSpinLock } from '../../../lib/cpu/locks/shared-spin-lock.ts';
import { Kcont, Kernel } from '../../../lib/index.ts';
import { codeOf, rejectionOf, settled, soak } from '../../support/lab.ts';
import {
  CAME,
  COUNT,
  LOOPS,
  Load,
  MEMORY_BYTES,
  READS,
  WRONG,
  bump,
} from '../../support/lock-load.ts';
import { Peer } from '../../support/lock-peer.ts';

describe('locks between threads', function () {
  this.timeout(60_000 * soak);

  let memory: SharedArrayBuffer;
  let words: Int32Array;
  let peers: Peer[];
  const here = Arena.home().cpu;

  beforeEach(() => {
    memory = new SharedArrayBuffer(MEMORY_BYTES);
    words = new Int32Array(memory);
    peers = [];
  });
  afterEach(async () => {
    for (const peer of peers) await peer.quit();
  });

  function start(...locks: Passable[]): Peer {
    const peer = new Peer(locks, memory);
    peers.push(peer);
    return peer;
  }

  /** Forgets a peer that is to be killed by the spec. */
  function forget(peer: Peer): void {
    peers.splice(peers.indexOf(peer), 1);
  }

  describe('SharedMutex', () => {
    it('reads as held on both threads when one holds it', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      lock.tryEnter();
      expect(await peer.tell({ do: 'held', lock: 0 })).to.equal(true);
      expect(await peer.tell({ do: 'tryEnter', lock: 0 })).to.equal(false);
      lock.exit();
      expect(await peer.tell({ do: 'tryEnter', lock: 0 })).to.equal(true);
      expect([lock.held, lock.tryEnter(), codeOf(() => lock.exit())]).to.deep.equal([
        true,
        false,
        'EPERM',
      ]);
      await peer.tell({ do: 'exit', lock: 0 });
      expect(lock.held).to.equal(false);
    });

    it('goes to code that waits on another thread, first come, first served', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const ran: string[] = [];
      await peer.tell({ do: 'enter', lock: 0 });
      const entered = ['a', 'b', 'c'].map(async (name) => {
        await lock.enter();
        ran.push(name);
        lock.exit();
      });
      await settled();
      expect(ran).to.deep.equal([]);
      await peer.tell({ do: 'exit', lock: 0 });
      await Promise.all(entered);
      expect(ran).to.deep.equal(['a', 'b', 'c']);
    });

    it('delays continuations that need it while another thread has it, and no others', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const { wq } = new Kernel();
      const ran: string[] = [];
      const note = (name: string): void => void ran.push(name);
      await peer.tell({ do: 'enter', lock: 0 });
      const waits = new Kcont(wq.softnet, lock, note, 'waits');
      new Kcont(wq.prilow, lock, note, 'waits too').schedule();
      waits.schedule();
      new Kcont(wq.prilow, null, note, 'does not').schedule();
      const stopped = new Kcont(wq.softnet, lock, note, 'stopped');
      stopped.schedule();
      while (ran.length === 0) await settled();
      expect(ran).to.deep.equal(['does not']);
      expect([waits.busy, stopped.stop(), stopped.busy]).to.deep.equal([true, false, false]);
      await peer.tell({ do: 'exit', lock: 0 });
      await wq.prilow.drain();
      expect(ran).to.deep.equal(['does not', 'waits', 'waits too']);
      expect(lock.held).to.equal(false);
    });

    it('lets a waiter that aborts leave the queue at once, and goes to the next one', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const abort = new AbortController();
      await peer.tell({ do: 'enter', lock: 0 });
      const first = lock.enter({ signal: abort.signal });
      const second = lock.enter();
      abort.abort(new Error('no patience'));
      expect(await rejectionOf(first)).to.equal('Error: no patience');
      await peer.tell({ do: 'exit', lock: 0 });
      await second;
      lock.exit();
      expect(await peer.tell({ do: 'held', lock: 0 })).to.equal(false);
    });

    for (const [name, times] of [
      ['await', 3000],
      ['kcont', 3000],
      ['sync', 20_000],
    ] as const) {
      for (const threads of [2, 3]) {
        it(`counts exactly when ${threads} threads contend: ${name}`, async () => {
          const lock = new SharedMutex();
          const others = Array.from({ length: threads - 1 }, () => start(lock));
          await Promise.all(others.map((peer) => peer.cpu()));
          const each = times * soak;
          await Promise.all([
            new Load(name, lock, words, here).run(each),
            ...others.map((peer) => peer.tell({ do: 'load', lock: 0, load: name, times: each })),
          ]);
          expect([words[COUNT], words[WRONG]]).to.deep.equal([threads * each, 0]);
          expect(lock.held).to.equal(false);
        });
      }
    }

    it(`goes to another thread that waits after ${LOCAL_HAND_OVERS} hand-overs`, async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const cpu = await peer.cpu();
      const times = 10_000;
      await Promise.all([
        new Load('crowd', lock, words, here).run(times),
        peer.tell({ do: 'load', lock: 0, load: 'crowd', times }),
      ]);
      expect([words[COUNT], words[WRONG]]).to.deep.equal([2 * times, 0]);
      const came = [...words.subarray(CAME, CAME + 2 * times)];
      // From the moment when both are there until the first loop of one of them has ended.
      const places = [here, cpu].map((one) =>
        [...came.keys()].filter((at) => came[at] === one + 1),
      ) as [number[], number[]];
      const from = Math.max(...places.map((at) => at[0] as number));
      const to = Math.min(...places.map((at) => at[times - LOOPS] as number));
      const runs: number[] = [];
      for (let at = from; at <= to; at++) {
        if (came[at] === came[at - 1]) runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1;
        else runs.push(1);
      }
      expect(runs.length).to.be.greaterThan(100);
      expect(Math.max(...runs)).to.be.at.most(LOCAL_HAND_OVERS + 1);
    });

    it('goes to a waiter when its thread is killed', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const cpu = await peer.cpu();
      await peer.tell({ do: 'enter', lock: 0 });
      const entered = lock.enter();
      forget(peer);
      expect(await peer.kill(cpu)).to.equal(1);
      await entered;
      lock.exit();
      expect(lock.held).to.equal(false);
    });

    it('is not lost with a thread that was killed while it waited', async () => {
      const lock = new SharedMutex();
      const peer = start(lock);
      const cpu = await peer.cpu();
      lock.tryEnter();
      void peer.tell({ do: 'enter', lock: 0 });
      expect(await peer.tell({ do: 'held', lock: 0 })).to.equal(true);
      forget(peer);
      expect(await peer.kill(cpu)).to.equal(0);
      lock.exit();
      expect(lock.tryEnter()).to.equal(true);
      lock.exit();
    });

    it('outlives threads that are killed at any moment of their work', async () => {
      const lock = new SharedMutex();
      for (let round = 0; round < 8 * soak; round++) {
        const [doomed, other] = [new Peer([lock], memory), start(lock)];
        const cpu = await doomed.cpu();
        const loads = (['await', 'kcont', 'sync'] as const).map((load) =>
          doomed.tell({ do: 'load', lock: 0, load, times: 1e6 }).catch(() => undefined),
        );
        void loads;
        const worked = other.tell({ do: 'load', lock: 0, load: 'sync', times: 200 });
        await new Load('await', lock, words, here).run(100 + 37 * round);
        await doomed.kill(cpu);
        await worked;
        await new Load('await', lock, words, here).run(50);
        await peers.pop()?.quit();
        expect(lock.held).to.equal(false);
      }
    });
  });

  describe('SharedSpinLock', () => {
    it('counts exactly when threads block for it', async () => {
      const lock = new SharedSpinLock();
      const others = [start(lock), start(lock)];
      await Promise.all(others.map((peer) => peer.cpu()));
      const times = 20_000;
      const told = others.map((peer) => peer.tell({ do: 'load', lock: 0, load: 'spin', times }));
      await new Load('spin', lock, words, here).run(times);
      await Promise.all(told);
      expect([words[COUNT], words[WRONG]]).to.deep.equal([3 * times, 0]);
      expect(lock.held).to.equal(false);
    });

    it('counts exactly when some threads block and others wait aside', async () => {
      const lock = new SharedSpinLock();
      const peer = start(lock);
      await peer.cpu();
      const told = peer.tell({ do: 'load', lock: 0, load: 'spin', times: 20_000 });
      const { wq } = new Kernel();
      let entered = 0;
      const kcs = Array.from({ length: 10 }, () => {
        const kc: Kcont<void> = new Kcont(
          wq.softnet,
          lock,
          () => {
            bump(words, COUNT);
            if (++entered % 100 !== 0) kc.reset(0);
          },
          undefined,
        );
        return kc;
      });
      for (const kc of kcs) kc.schedule();
      await told;
      await wq.softnet.drain();
      expect(words[COUNT]).to.equal(20_000 + entered);
      expect(lock.held).to.equal(false);
    });

    it('is waited for until the patience is over, and no longer', async () => {
      const lock = new SharedSpinLock();
      const peer = start(lock);
      const told = peer.tell({ do: 'holdUntil', lock: 0, word: 8 });
      while (Atomics.load(words, 8) === 0) await settled();
      expect(codeOf(() => lock.enterSync({ patienceMs: 0 }))).to.equal('ETIMEDOUT');
      expect(codeOf(() => lock.enterSync({ patienceMs: 5 }))).to.equal('ETIMEDOUT');
      expect(lock.tryEnter()).to.equal(false);
      Atomics.store(words, 8, 2);
      Atomics.notify(words, 8);
      lock.enterSync({ patienceMs: 60_000 });
      expect(codeOf(() => lock.enterSync())).to.equal('EDEADLK');
      lock.exit();
      expect(codeOf(() => lock.enterSync({ patienceMs: Number.NaN }))).to.equal('EINVAL');
      await told;
      expect(await peer.tell({ do: 'held', lock: 0 })).to.equal(false);
    });

    it('goes to code that blocks before code that awaits on the same thread', async () => {
      const lock = new SharedSpinLock();
      const peer = start(lock);
      const told = peer.tell({ do: 'holdUntil', lock: 0, word: 8 });
      while (Atomics.load(words, 8) === 0) await settled();
      const ran: string[] = [];
      const entered = lock.enter().then(() => {
        ran.push('awaited');
        return lock.exit();
      });
      expect(codeOf(() => lock.enterSync({ patienceMs: 2 }))).to.equal('ETIMEDOUT');
      Atomics.store(words, 8, 2);
      Atomics.notify(words, 8);
      lock.enterSync({ patienceMs: 60_000 });
      ran.push('blocked');
      lock.exit();
      await entered;
      await told;
      expect(ran).to.deep.equal(['blocked', 'awaited']);
    });
  });

  for (const [name, make] of [
    ['SharedRWLock', () => new SharedRWLock()],
    ['SharedRMLock', () => new SharedRMLock()],
  ] as const) {
    describe(name, () => {
      it('has readers on both threads at once, and a writer after them', async () => {
        const lock = make();
        const peer = start(lock);
        expect(await peer.tell({ do: 'tryEnter', lock: 0, side: 'read' })).to.equal(true);
        expect(lock.read.tryEnter()).to.equal(true);
        const written = peer.tell({ do: 'enter', lock: 0 });
        while (lock.read.tryEnter()) {
          lock.read.exit();
          await settled();
        }
        lock.read.exit();
        expect(await peer.tell({ do: 'held', lock: 0 })).to.equal(false);
        await peer.tell({ do: 'exit', lock: 0, side: 'read' });
        await written;
        expect([lock.write.held, lock.read.tryEnter()]).to.deep.equal([true, false]);
        const read = lock.read.enter();
        await peer.tell({ do: 'exit', lock: 0 });
        await read;
        lock.read.exit();
      });

      for (const threads of [2, 3]) {
        it(`never shows readers half written data when ${threads} threads contend`, async () => {
          const lock = make();
          const others = Array.from({ length: threads - 1 }, () => start(lock));
          await Promise.all(others.map((peer) => peer.cpu()));
          const times = 1500 * soak;
          const load = 'read and write';
          await Promise.all([
            new Load(load, lock, words, here).run(times),
            ...others.map((peer) => peer.tell({ do: 'load', lock: 0, load, times })),
          ]);
          expect([words[COUNT], words[READS], words[WRONG]]).to.deep.equal([
            threads * times,
            2 * threads * times,
            0,
          ]);
          expect([lock.read.held, lock.write.held]).to.deep.equal([false, false]);
        });
      }

      it('outlives threads that are killed at any moment of their work', async () => {
        const lock = make();
        for (let round = 0; round < 5 * soak; round++) {
          const doomed = new Peer([lock], memory);
          const cpu = await doomed.cpu();
          doomed
            .tell({ do: 'load', lock: 0, load: 'read and write', times: 1e6 })
            .catch(() => undefined);
          await new Load('read and write', lock, words, here).run(60 + 37 * round);
          await doomed.kill(cpu);
          // A writer that died may have left them half written.
          words[1] = words[COUNT] as number;
          words[WRONG] = 0;
          await new Load('read and write', lock, words, here).run(20);
          expect([lock.read.held, lock.write.held, words[WRONG]]).to.deep.equal([false, false, 0]);
        }
      });
    });
  }
});
