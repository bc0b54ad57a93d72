// How long something took: the time that went by, or the CPU time of the process, whichever is less.
//
// On a machine that others use as well, a process is put aside now and then, and the time that goes
// by tells of the others. CPU time does not, but counts what helper threads do at the same time, as
// the collector's. What waits for nothing takes no longer than either.

const NS_PER_US = 1000;
const US_PER_MS = 1000;

export class Stopwatch {
  readonly #begin: number = performance.now();
  readonly #cpu: NodeJS.CpuUsage = process.cpuUsage();

  /** In ns, since it was made. */
  get ns(): number {
    const elapsedMs = performance.now() - this.#begin;
    const { user, system } = process.cpuUsage(this.#cpu);
    return Math.min(elapsedMs * US_PER_MS, user + system) * NS_PER_US;
  }
}
