// Handles that more than one CPU knows, while timers are faked on the CPU that made them.
import { expect } from 'chai';
import { describe, it } from 'mocha';
import sinon from 'sinon';
import { Kcont, Kernel } from '../../lib/index.ts';
import { startLab } from '../support/lock-memory.ts';

describe('a handle that another CPU knows, under fakes', () => {
  it('expires in the time of the fakes, also when its deadline was moved outward', async () => {
    const kernel = new Kernel();
    const { queue, work, cpus } = await startLab(kernel, 1);
    const here = cpus[0] ?? null;
    const kc = new Kcont<unknown>(queue, null, work.look, 1, { affinity: 'strong' });
    // From here on its state is in shared memory.
    await queue.run(work.echo, { arg: { kc }, cpu: cpus[1] ?? null });
    const { entered } = queue.stats();
    const states: unknown[] = [];
    const note = (): void => void states.push([kc.pending, queue.stats().entered - entered]);
    const fakes = sinon.useFakeTimers();
    try {
      expect(kc.schedule(1000, here)).to.equal(true);
      fakes.tick(500);
      kc.touch();
      for (const ms of [999, 0, 500, 1]) {
        fakes.tick(ms);
        note();
      }
    } finally {
      fakes.restore();
    }
    expect(states).to.deep.equal([
      [true, 0],
      [true, 0],
      [false, 1],
      [false, 1],
    ]);
    await kernel.close({ graceMs: 0 });
  });
});
