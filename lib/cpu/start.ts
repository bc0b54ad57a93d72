import { availableParallelism } from 'node:os';
import { HostClock } from '../clock/host.ts';
import { Cpu, type StartCpusOptions } from '../cpu.ts';
import { KcontError, checkFunction, invalid } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { CpuModule, moduleUrl } from './cpu-module.ts';
import { CpuMachine } from './machine.ts';
import { Memory, STATE, UP } from './memory.ts';
import { Arena } from './shared-arena.ts';
import { Supervisor } from './supervisor.ts';

/** Most CPUs besides CPU 0: a bit for each, and for as many that run what may be killed. */
const MOST = 15;

/** Starts the CPUs of a kernel. */
export async function startCpus(kernel: Kernel, options: StartCpusOptions): Promise<unknown> {
  const { dispatcher, url, count } = check(kernel, options);
  // Taken: nobody else starts them meanwhile.
  starting.add(kernel);
  try {
    const module = await CpuModule.load(url);
    const memory = Memory.make(2 * count + 1, count + 1);
    const cpu0 = kernel._cpu;
    const machine = new CpuMachine(kernel, cpu0, memory, module, Arena.home());
    memory.words[machine.slot + STATE] = UP;
    const others = Array.from({ length: count }, (_, i) => Cpu._make(kernel, i + 1));
    const cpus = [cpu0, ...others];
    for (const cpu of cpus) cpu._machine = machine;
    const supervisor = new Supervisor(machine, url, options);
    machine.supervision = supervisor;
    try {
      await supervisor.start(others);
    } catch (error) {
      await supervisor.abandon();
      cpu0._machine = null;
      throw error;
    }
    const reserve = Array.from({ length: count }, (_, i) => Cpu._make(kernel, count + 1 + i));
    for (const cpu of reserve) cpu._machine = machine;
    supervisor.reserve(reserve);
    kernel._cpus = cpus;
    dispatcher.machine = machine;
    return module.namespace;
  } finally {
    starting.delete(kernel);
  }
}

const starting = new WeakSet<Kernel>();

function check(
  kernel: Kernel,
  options: StartCpusOptions,
): { dispatcher: Kernel['wq']['softclock']['_dispatcher']; url: string; count: number } {
  if (typeof options !== 'object' || options === null) {
    throw invalid('options', 'an object with a module', options);
  }
  const { count = Math.max(1, availableParallelism() - 1), onEvent } = options;
  const url = moduleUrl(options.module);
  if (!(Number.isInteger(count) && count >= 1 && count <= MOST)) {
    throw invalid('count', `an integer from 1 to ${MOST}`, count);
  }
  if (onEvent !== undefined) checkFunction(onEvent, 'onEvent');
  for (const name of ['blockedMs', 'backoffMs', 'longestBackoffMs'] as const) {
    const ms = options[name];
    if (ms !== undefined && !(ms >= 0 && ms < Infinity)) {
      throw invalid(name, 'a finite number of ms >= 0', ms);
    }
  }
  const dispatcher = kernel.wq.softclock._dispatcher;
  if (!(dispatcher.clock instanceof HostClock)) {
    throw new KcontError('ENOTSUP', 'a kernel on a VirtualClock has no other CPUs');
  }
  if (kernel._cpu.index !== 0) {
    throw new KcontError('ENOTSUP', 'CPUs are started by CPU 0');
  }
  if (dispatcher.closed) throw new KcontError('ESHUTDOWN', 'the kernel is closed');
  if (dispatcher.machine !== null || starting.has(kernel)) {
    throw new KcontError('EBUSY', 'the CPUs of this kernel have been started before');
  }
  return { dispatcher, url, count };
}
