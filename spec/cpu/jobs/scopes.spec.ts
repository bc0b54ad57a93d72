import { expect } from 'chai';
import { Scope } from '../../../lib/index.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';
import { rejectionOf } from '../../support/lab.ts';

/** Waits until the first word is not 0. */
async function begun(words: Int32Array<SharedArrayBuffer>): Promise<void> {
  while (Atomics.load(words, 0) === 0) await new Promise((resolve) => void setImmediate(resolve));
}

describe('a scope with runs on CPUs', () => {
  closeAfterEach();

  it('joins their results', async () => {
    const { wq, work } = await startTestKernel(2);
    const scope = new Scope({ wq: wq.prilow });
    for (const arg of [1, 2, 3]) void scope.run(work.increment, { arg });
    expect(await scope.join()).to.deep.equal([2, 3, 4]);
  });

  it('ends a function that blocks its thread, by its deadline or by the error of another', async () => {
    const { wq, work } = await startTestKernel(2);
    const words = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(12));
    const late = new Scope({ wq: wq.prilow, deadlineMs: 50 });
    const blocked = late.run(work.loopUntilStopping, { arg: words() });
    expect(await rejectionOf(late.join())).to.equal('ETIMEDOUT');
    // Loaded machines may not have entered it in time.
    expect(await blocked.catch(() => 'not entered')).to.match(/^(stopping|not entered)/);

    const arg = words();
    const failing = new Scope({ wq: wq.prilow });
    const other = failing.run(work.loopUntilStopping, { arg });
    await begun(arg);
    void failing.run(work.fail, { arg: 'spec' });
    expect(await rejectionOf(failing.join())).to.include('spec');
    expect(await other).to.equal('stopping, signal not aborted');
  });
});
