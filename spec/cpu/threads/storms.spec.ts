// The storms, in a short form. `npm run storm` runs them for longer.
import { describe, it } from 'mocha';
import { soak } from '../../support/lab.ts';
import { closeAfterEach, startTestKernel } from '../../support/cpus.ts';
import { storms } from '../../support/storms.ts';

describe('a storm', () => {
  closeAfterEach();

  for (const { name, cpus, short, run } of storms) {
    it(`breaks no guarantee: ${name}`, async () => {
      const testKernel = await startTestKernel(cpus, { longestBackoffMs: 20 });
      await run(testKernel, short * soak, 1);
    }).timeout(60_000);
  }
});
