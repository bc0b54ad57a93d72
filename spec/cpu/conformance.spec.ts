// The guarantees of a handle, on its own CPU and on another one: the same table for both.
import { expect } from 'chai';
import { after, afterEach, before, describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import { bitsOf, codeOf, rejectionOf } from '../support/lab.ts';
import { closeTestKernels, startTestKernel, type TestKernel } from '../support/cpus.ts';
import { ENTERED, GATE, OPEN, RELEASED, SETTLED, WORDS, type Held } from '../support/cpu-work.ts';
import {
  CALLS,
  STATES,
  TABLE,
  bits,
  clearsExpired,
  deadBits,
  isPending,
  isRunning,
  type Call,
  type State,
} from '../support/table.ts';

const FAR_MS = 1_000_000;

/** Waits until a word has a value. */
async function reached(words: Int32Array, at: number, value: number): Promise<void> {
  while (Atomics.load(words, at) < value) await new Promise(setImmediate);
}

function call(kc: Kcont<Held>, name: Call, cpu: Cpu | null, done: () => void): boolean | number {
  switch (name) {
    case 'schedule(0)':
      return kc.schedule(0, cpu);
    case 'schedule(n)':
      return kc.schedule(FAR_MS, cpu);
    case 'reset(0)':
      return kc.reset(0, cpu);
    case 'reset(n)':
      return kc.reset(FAR_MS, cpu);
    case 'touch':
      return kc.touch();
    case 'ack':
      return kc.ack();
    case 'stop':
      return kc.stop();
    case 'cancel':
      return kc.cancel();
    case 'drainAsync':
      return kc.drainAsync(done);
  }
}

for (const { where, index } of [
  { where: 'at home', index: 0 },
  { where: 'on another CPU', index: 1 },
]) {
  describe(`a handle ${where}`, () => {
    let testKernel: TestKernel;
    let cpu: Cpu;
    let words: Int32Array;
    let kc: Kcont<Held>;

    before(async () => {
      testKernel = await startTestKernel(1);
      cpu = testKernel.cpus[index] as Cpu;
    });
    after(closeTestKernels);

    /** Lets all runs end. */
    async function release(): Promise<void> {
      Atomics.store(words, RELEASED, 1000);
      Atomics.store(words, OPEN, 1);
      Atomics.notify(words, OPEN);
      while (kc.running) await new Promise(setImmediate);
    }

    afterEach(async () => {
      kc.stop();
      await release();
      kc.destroy();
    });

    /** Brings a new handle into a state, by calls of its public methods. */
    async function bring(state: State, next: State = state): Promise<void> {
      words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
      const ack = state.startsWith('ACKED');
      kc = new Kcont(testKernel.queue, null, testKernel.work.hold, { words, ack });
      if (isRunning(state)) {
        kc.schedule(0, cpu);
        await reached(words, ENTERED, 1);
      } else if ((state === 'QUEUED' || next === 'QUEUED') && index > 0) {
        // Otherwise it would be entered before the state could be observed.
        void testKernel.queue.run(testKernel.work.gate, { arg: words, cpu });
        await reached(words, GATE, 1);
      }
      if (isPending(state)) kc.schedule(FAR_MS, cpu);
      if (state === 'QUEUED' || state === 'ACKED+QUEUED') kc.schedule(0, cpu);
    }

    for (const name of CALLS) {
      for (const state of STATES) {
        const [next, answer] = TABLE[name][state];
        it(`${state} goes to ${next} by ${name}`, async () => {
          await bring(state, next);
          // It was entered by a schedule without a delay, or not at all.
          const expired = state === 'RUNNING' || state === 'ACKED';
          expect(bitsOf(kc)).to.equal(bits(state, expired));
          expect(call(kc, name, cpu, () => undefined)).to.equal(
            answer === 'expired' ? expired : answer,
          );
          expect(bitsOf(kc)).to.equal(bits(next, expired && !clearsExpired(name, answer)));
        });
      }
    }

    for (const state of STATES) {
      it(`destroyed when ${state}, refuses everything and never runs again`, async () => {
        await bring(state);
        kc.destroy();
        expect(bitsOf(kc)).to.equal(deadBits(isRunning(state)));
        expect([kc.destroyed, kc.stop(), kc.touch(), kc.ack()]).to.deep.equal([
          true,
          isRunning(state),
          false,
          false,
        ]);
        expect([kc.schedule(0, cpu), kc.reset(5, cpu)]).to.deep.equal([false, false]);
        const entered = Atomics.load(words, ENTERED);
        await release();
        await testKernel.kernel.drain();
        expect(Atomics.load(words, ENTERED)).to.equal(entered);
        expect(bitsOf(kc)).to.equal('------');
      });
    }

    it('settles to IDLE, and says that it was entered', async () => {
      await bring('RUNNING');
      await release();
      expect(bitsOf(kc)).to.equal(bits('IDLE', true));
      expect(kc.stop()).to.equal(true);
      expect(kc.stop()).to.equal(false);
    });

    it('goes from ACKED+QUEUED to a second run, when the first has settled', async () => {
      await bring('ACKED+QUEUED');
      expect(Atomics.load(words, ENTERED)).to.equal(1);
      Atomics.store(words, RELEASED, 1);
      await reached(words, ENTERED, 2);
      expect(Atomics.load(words, SETTLED)).to.equal(1);
    });

    it('goes from PENDING to a run when its time has come, not before', async () => {
      await bring('IDLE');
      const since = testKernel.kernel.now();
      kc.schedule(20, cpu);
      expect(kc.deadline).to.be.within(since + 20, testKernel.kernel.now() + 21);
      await reached(words, ENTERED, 1);
      expect(testKernel.kernel.now() - since).to.be.at.least(20);
    });

    it('moves its deadline outward by touch, and by another schedule', async () => {
      await bring('IDLE');
      kc.schedule(30, cpu);
      const first = kc.deadline;
      const until = testKernel.kernel.now() + 10;
      while (testKernel.kernel.now() < until) await new Promise(setImmediate);
      expect(kc.touch()).to.equal(true);
      expect(kc.deadline - first).to.be.at.least(10);
      const touched = kc.deadline;
      await reached(words, ENTERED, 1);
      expect(testKernel.kernel.now()).to.be.at.least(touched);
    });

    it('moves its deadline inward by another schedule', async () => {
      await bring('PENDING');
      kc.schedule(5, cpu);
      await reached(words, ENTERED, 1);
      expect(kc.running).to.equal(true);
    });

    it('halts: waits for the run in flight, and refuses to be scheduled meanwhile', async () => {
      await bring('RUNNING');
      const halted = kc.halt();
      expect([kc.schedule(0, cpu), kc.reset(0, cpu)]).to.deep.equal([false, false]);
      Atomics.store(words, RELEASED, 1);
      expect(await halted).to.equal(true);
      expect(kc.running).to.equal(false);
      expect(await kc.halt()).to.equal(false);
      expect(kc.schedule(FAR_MS, cpu)).to.equal(true);
    });

    it('calls back when the run in flight has settled, by drainAsync', async () => {
      await bring('RUNNING');
      const drained = new Promise<Held>((resolve) => {
        expect(kc.drainAsync(resolve)).to.equal(false);
      });
      Atomics.store(words, RELEASED, 1);
      expect((await drained).words).to.equal(words);
      expect(kc.drainAsync(() => expect.fail('called'))).to.equal(true);
    });

    it('is disposed by await using when it has settled', async () => {
      await bring('RUNNING');
      const disposed = kc[Symbol.asyncDispose]();
      Atomics.store(words, RELEASED, 1);
      await disposed;
      expect([kc.destroyed, kc.running]).to.deep.equal([true, false]);
    });

    it('refuses invalid delays and CPUs', async () => {
      await bring('IDLE');
      for (const delayMs of [NaN, -1, Infinity, 2 ** 53]) {
        expect(codeOf(() => kc.schedule(delayMs, cpu))).to.equal('EINVAL');
      }
      expect(codeOf(() => kc.schedule(0, {} as Cpu))).to.equal('EINVAL');
      expect(bitsOf(kc)).to.equal(bits('IDLE', false));
    });

    it('runs with the argument of the last setArg', async () => {
      await bring('IDLE');
      const noted = new Kcont<unknown>(testKernel.queue, null, testKernel.work.note, 'first');
      const seen: unknown[] = [];
      for (const arg of ['first', 2, { three: 3 }, undefined]) {
        noted.setArg(arg);
        noted.schedule(0, cpu);
        await testKernel.kernel.drain();
        seen.push(...(await testKernel.queue.run(testKernel.work.ran, { cpu })));
      }
      expect(seen).to.deep.equal(['first', 2, { three: 3 }, undefined]);
      noted.destroy();
    });

    it('reports the error of its function on the CPU that made it', async () => {
      await bring('IDLE');
      const failing = new Kcont(testKernel.queue, null, testKernel.work.fail, 'by handle');
      failing.schedule(0, cpu);
      while (testKernel.errors.length === 0) await new Promise(setImmediate);
      expect(testKernel.errors.splice(0)).to.have.nested.property('[0].message', 'by handle');
      expect(failing.running).to.equal(false);
      failing.destroy();
    });

    it('keeps its name, and shows its state', async () => {
      await bring('PENDING');
      expect(kc.name).to.equal('hold');
      expect(kc.hasRef()).to.equal(true);
      expect(kc.unref().hasRef()).to.equal(false);
      expect(kc.ref().hasRef()).to.equal(true);
    });

    it('is refused a named CPU if its workqueue has no queue per CPU', async () => {
      await bring('IDLE');
      const plain = new Kcont(testKernel.wq.prilow, null, testKernel.work.note, 1);
      expect(codeOf(() => plain.schedule(0, cpu))).to.equal('ENOENT');
      expect(await rejectionOf(plain.halt())).to.equal('none');
      plain.destroy();
    });
  });
}
