// oxlint-disable-next-line import/no-unassigned-import -- it enables kernels to start CPUs
import '../../lib/cpu/index.ts';
import { Kcont, Kernel, PRI_SOFTCLOCK } from '../../lib/index.ts';
import type { Side } from './main.ts';
import { release, renew } from './work.ts';
import type { Beat } from './work.ts';

/** Renews leases on CPU 1, whatever the main loop does. */
export async function kcontSide(
  leases: readonly string[],
  port: number,
  everyMs: number,
): Promise<Side> {
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
  const kernel = new Kernel();
  await kernel.startCpus({ module: new URL(`work${ending}`, import.meta.url), count: 1 });
  const cpu = kernel.cpus[1] ?? null;
  const clock = kernel.acquire(PRI_SOFTCLOCK, { perCpu: true });
  const beats = leases.map((lease) => {
    const arg: Beat = { lease, port, everyMs };
    return new Kcont(clock, null, renew, arg, { name: lease, affinity: 'strong' });
  });
  for (const beat of beats) beat.schedule(0, cpu);
  return {
    async end() {
      // Takes effect at once, from this thread: none of them is entered any more …
      for (const beat of beats) beat.destroy();
      // … and a run in progress there ends before the release, which runs on the same CPU.
      await kernel
        .acquire(PRI_SOFTCLOCK - 100, { perCpu: true })
        .run(release, { arg: leases, cpu });
      const { unfinished } = await kernel.close({ graceMs: 1000 });
      if (unfinished.length > 0) throw new Error(`${unfinished.length} heartbeats did not end`);
    },
  };
}
