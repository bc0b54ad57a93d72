// Functions of a CPU module are typed from it, wherever they run.
import { Kcont, kernel, wq, type CpuEvent } from 'kcont';
import { SharedMutex, SharedRWLock, curcpu, transfer } from 'kcont/cpu';

export async function resize(
  { image, width }: { image: ArrayBuffer; width: number },
  signal: AbortSignal,
): Promise<ArrayBuffer> {
  signal.throwIfAborted();
  const small = image.slice(0, width);
  return transfer(small, [small]);
}

export function renew(lease: string, kc: Kcont<string>): void {
  void [lease, kc.running, curcpu().index];
}

export function where(): number {
  return curcpu().index;
}

const seen: CpuEvent[] = [];
export const started: Promise<{ where: () => number }> = kernel.startCpus({
  module: new URL('./work.js', import.meta.url),
  count: 2,
  onEvent: (event) => void seen.push(event),
});

export async function use(image: ArrayBuffer): Promise<number> {
  const small: ArrayBuffer = await wq.prilow.run(resize, {
    arg: { image, width: 100 },
    transfer: [image],
    kill: true,
  });
  const { cpus } = kernel;
  const percpu = kernel.acquire(127, { perCpu: true });
  const at: number = await percpu.run(where, { cpu: cpus[1] ?? null });
  const lock = new SharedMutex();
  const beat = new Kcont(percpu, lock, renew, 'lease 7', { affinity: 'strong' });
  beat.schedule(1000, cpus[1]);
  await cpus[1]?.restart({ graceMs: 100 });
  void [new SharedRWLock().read.held, cpus[1]?.state, cpus[1]?.lagMs];
  // @ts-expect-error -- the width is missing
  await wq.prilow.run(resize, { arg: { image } });
  // @ts-expect-error -- resize takes no string
  await wq.prilow.run(resize, { arg: 'image' });
  return small.byteLength + at;
}
