// Creates and closes kernels with CPUs for specs.
import { afterEach } from 'mocha';
import { Kernel } from '../../lib/index.ts';
import type { Cpu, CpuEvent, StartCpusOptions, Workqueue } from '../../lib/index.ts';
import { curcpu } from '../../lib/cpu/index.ts';
import type * as Work from './cpu-work.ts';

const ending = import.meta.url.slice(-3);

/** The URL of a CPU module of the specs, in the form in which this file runs. */
export function moduleOf(name: string): URL {
  return new URL(`./${name}${ending}`, import.meta.url);
}

/** A kernel whose CPUs have been started. */
export interface TestKernel {
  readonly kernel: Kernel;
  readonly wq: Kernel['wq'];
  /** A workqueue with a queue per CPU, at the priority of prihigh. */
  readonly queue: Workqueue;
  readonly cpus: readonly Cpu[];
  readonly work: typeof Work;
  readonly errors: unknown[];
  readonly events: CpuEvent[];
  /** Waits for the next event of a type. */
  event(type: CpuEvent['type']): Promise<CpuEvent>;
}

/** The CPU of this thread. Specs import it so that this module, and with it kcont/cpu, is loaded. */
export const here: Cpu = curcpu();

const kernels: Kernel[] = [];

/** Starts CPUs with the module of the specs. They are closed when the spec has ended. */
export async function startTestKernel(
  count: number,
  options: Partial<StartCpusOptions> = {},
): Promise<TestKernel> {
  const errors: unknown[] = [];
  const events: CpuEvent[] = [];
  const waiting: { type: string; resolve: (event: CpuEvent) => void }[] = [];
  const kernel = new Kernel({ onError: (error) => void errors.push(error) });
  kernels.push(kernel);
  const work = await kernel.startCpus<typeof Work>({
    module: moduleOf('cpu-work'),
    count,
    backoffMs: 1,
    onEvent: (event) => {
      events.push(event);
      for (const one of waiting.filter(({ type }) => type === event.type)) {
        waiting.splice(waiting.indexOf(one), 1);
        one.resolve(event);
      }
    },
    ...options,
  });
  return {
    kernel,
    wq: kernel.wq,
    queue: kernel.acquire(127, { perCpu: true }),
    cpus: kernel.cpus,
    work,
    errors,
    events,
    event: (type) => new Promise((resolve) => void waiting.push({ type, resolve })),
  };
}

/** Closes every kernel that a spec has started. */
export async function closeTestKernels(): Promise<void> {
  await Promise.all(kernels.splice(0).map((kernel) => kernel.close({ graceMs: 0 })));
}

/** Closes them after each spec of the suite in which this is called. */
export function closeAfterEach(): void {
  afterEach(closeTestKernels);
}
