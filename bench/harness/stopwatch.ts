// How long something took: the time that went by, or the CPU time of the process, whichever is less.
//
// On a machine that others use as well, a process is put aside now and then, and the time that goes
// by tells of the others. CPU time does not, but counts what helper threads do at the same time, as
// the collector's. What waits for nothing takes no longer than either.
//
// Several threads: the time that goes by is what their user waits for, and their CPU time, together,
// is what it costs the machine. Both are said then, and neither stands for the other.

const NS_PER_US = 1000;
const US_PER_MS = 1000;

export class Stopwatch {
  readonly #begin: number = performance.now();
  readonly #cpu: NodeJS.CpuUsage = process.cpuUsage();

  /** In ns, since it was made. */
  get ns(): number {
    return Math.min(this.elapsedNs, this.cpuNs);
  }

  /** What went by, in ns. */
  get elapsedNs(): number {
    return (performance.now() - this.#begin) * US_PER_MS * NS_PER_US;
  }

  /** What the process has used of its CPUs, all its threads together, in ns. */
  get cpuNs(): number {
    const { user, system } = process.cpuUsage(this.#cpu);
    return (user + system) * NS_PER_US;
  }
}
