// The storms, short. `npm run storm` runs them for long.
import { describe, it } from 'mocha';
import { soak } from '../../support/lab.ts';
import { closeAfterEach, startMachine } from '../../support/cpus.ts';
import { storms } from '../../support/storms.ts';

describe('a storm', () => {
  closeAfterEach();

  for (const { name, cpus, short, run } of storms) {
    it(`breaks no guarantee: ${name}`, async () => {
      const machine = await startMachine(cpus, { longestBackoffMs: 20 });
      await run(machine, short * soak, 1);
    }).timeout(60_000);
  }
});
