import { expect } from 'chai';
import { Kcont } from '../../../lib/index.ts';
import { closeAfterEach, startTestKernel, type TestKernel } from '../../support/cpus.ts';

/** Three words that all threads share. */
function sharedWords(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(12));
}

/** Waits until a word has another value than 0. */
async function changed(words: Int32Array<SharedArrayBuffer>, index: number): Promise<void> {
  const { async, value } = (
    Atomics as unknown as {
      waitAsync(
        words: Int32Array,
        index: number,
        value: number,
      ): { async: boolean; value: Promise<string> | string };
    }
  ).waitAsync(words, index, 0);
  if (async) await value;
}

describe('stopping() on a CPU', () => {
  closeAfterEach();

  it('sees the abort of a job while its function blocks the thread', async () => {
    const { wq, work } = await startTestKernel(2);
    const words = sharedWords();
    const controller = new AbortController();
    const { signal } = controller;
    const stopped = wq.prilow.run(work.loopUntilStopping, { arg: words, signal });
    await changed(words, 0);
    controller.abort();
    expect(await stopped).to.equal('stopping, signal not aborted');
    const again = sharedWords();
    const other = new AbortController();
    const later = wq.prilow.run(work.loopAfterAwait, { arg: again, signal: other.signal });
    await changed(again, 0);
    other.abort();
    expect(await later).to.equal('stopping, signal not aborted');
  });

  const ways: readonly [string, (kc: Kcont<Int32Array>) => unknown][] = [
    ['stop()', (kc) => kc.stop()],
    ['cancel()', (kc) => kc.cancel()],
    ['halt()', (kc) => kc.halt()],
    ['destroy()', (kc) => kc.destroy()],
  ];
  for (const [name, way] of ways) {
    it(`sees the ${name} of a continuation on another thread`, async () => {
      const { queue, work, cpus, errors }: TestKernel = await startTestKernel(2);
      const words = sharedWords();
      const kc = new Kcont<Int32Array>(queue, null, work.loopAsContinuation, words);
      kc.schedule(0, cpus[1]);
      await changed(words, 0);
      expect([kc.running, kc.stopping]).to.deep.equal([true, false]);
      const waits = way(kc);
      // The other thread may have ended the run before this thread looks.
      expect(kc.stopping || !kc.running).to.equal(true);
      await changed(words, 1);
      await waits;
      await queue.drain();
      expect(words[1]).to.equal(1);
      kc.destroy();
      expect(errors).to.deep.equal([]);
    });
  }

  it('is about one run: the next one has not been asked to stop', async () => {
    const { queue, work, cpus } = await startTestKernel(2);
    const words = sharedWords();
    const kc = new Kcont<Int32Array>(queue, null, work.loopAsContinuation, words);
    for (let run = 1; run <= 20; run++) {
      words[0] = 0;
      expect(kc.schedule(0, cpus[1])).to.equal(true);
      await changed(words, 0);
      expect([words[2], kc.stopping]).to.deep.equal([0, false]);
      // False if the run, which is asked to stop first, has settled before halt() looks.
      await kc.halt();
      expect([kc.running, words[1], kc.stopping]).to.deep.equal([false, run, false]);
    }
    kc.destroy();
  });
});
