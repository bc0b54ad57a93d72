// The memory of locks between CPUs, after many random programs.
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Kernel } from '../../../lib/index.ts';
import { SharedRMLock } from '../../../lib/cpu/index.ts';
import { soak } from '../../support/lab.ts';
import {
  expectLocks,
  locksBeyond,
  locksInUse,
  programs,
  runProgram,
  startLab,
} from '../../support/lock-memory.ts';

async function run(count: number, withRestarts: boolean, numRuns: number): Promise<void> {
  const kernel = new Kernel({ onError: () => undefined });
  const lab = await startLab(kernel, count);
  try {
    const before = await locksInUse(lab);
    await fc.assert(
      fc.asyncProperty(programs(withRestarts, 60), async (steps) => {
        await runProgram(lab, steps);
        await expectLocks(lab, before);
      }),
      { numRuns: numRuns * soak, endOnFailure: true },
    );
  } finally {
    await kernel.close({ graceMs: 0 });
  }
}

describe('the memory of locks that were sent between CPUs', () => {
  it('comes back after any program on two CPUs', () => run(2, false, 40)).timeout(300_000);

  it('comes back after any program on CPUs that are restarted', () => run(2, true, 20)).timeout(
    300_000,
  );

  it('comes back from job after job that ends, when there are turns for it', async () => {
    const kernel = new Kernel();
    const lab = await startLab(kernel, 1);
    const { queue, work, cpus } = lab;
    const cpu = cpus[1] ?? null;
    const before = await locksInUse(lab);
    let most = 0;
    for (let round = 0; round < 800; round++) {
      const runs = Array.from({ length: 40 }, () =>
        queue.run(work.echo, { arg: { lock: new SharedRMLock() }, cpu }),
      );
      await Promise.all(runs);
      most = Math.max(most, locksBeyond(before).length);
    }
    // 16 MiB, and the locks made before those are collected; there is room for 29,000.
    expect(most).to.be.within(7000, 14_000);
    await kernel.close({ graceMs: 0 });
  }).timeout(300_000);
});
