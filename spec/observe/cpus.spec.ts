// Lists of a kernel with several CPUs: what this thread has sent to others.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Kcont } from '../../lib/index.ts';
import { list, whyAlive } from '../support/observe.ts';
import { closeAfterEach, startTestKernel } from '../support/cpus.ts';
import { settled } from '../support/lab.ts';

describe('with several CPUs, list()', function () {
  this.timeout(30_000);
  closeAfterEach();

  it('has what is pending and what runs on another CPU', async () => {
    const { kernel, queue, cpus, work } = await startTestKernel(1);
    const controller = new AbortController();
    const options = { cpu: cpus[1] as NonNullable<(typeof cpus)[1]>, signal: controller.signal };
    const run = queue.run(work.untilAborted, { ...options, arg: 0 }).catch(() => 'aborted');
    const timer = new Kcont(queue, null, work.note, 'later', { name: 'timer' });
    timer.schedule(1e6, options.cpu);
    const brief = (): string[] =>
      list(kernel).map(({ name, state, cpu }) => `${name} ${state} ${cpu}`);
    // The state is that of the shared word, which the other CPU changes when it enters the function.
    while (!brief().includes('untilAborted running 1')) await settled();
    expect(brief()).to.deep.equal(['untilAborted running 1', 'timer pending 1']);
    const lines = whyAlive(kernel);
    expect(lines).to.have.length(2);
    expect(lines[0]).to.match(/^run untilAborted on pri127\/percpu of CPU 1: running/);
    expect(lines[1]).to.match(
      /^timer timer on pri127\/percpu of CPU 1: due in \d+ min, set \d+ ms ago/,
    );
    controller.abort();
    await run;
    timer.destroy();
    expect(brief()).to.deep.equal([]);
  });

  it('has what waits until its own run on another CPU has settled', async () => {
    const { kernel, queue, cpus, work } = await startTestKernel(1);
    const words = new Int32Array(new SharedArrayBuffer(4 * work.WORDS));
    const kc = new Kcont(queue, null, work.hold, { words, ack: true }, { name: 'hold' });
    kc.schedule(0, cpus[1]);
    const brief = (): string[] =>
      list(kernel).map(({ name, state, waitsFor }) => `${name} ${state} ${waitsFor}`);
    while (!brief().includes('hold running null')) await settled();
    // The function acknowledges its run, so that it can be scheduled again.
    while (kc.invoking) await settled();
    expect(kc.reset()).to.equal(true);
    while (!brief().includes('hold waiting run')) await settled();
    expect(brief()).to.include('hold running null');
    Atomics.store(words, work.RELEASED, 2);
    while (Atomics.load(words, work.SETTLED) < 2) await settled();
    kc.destroy();
  });
});
