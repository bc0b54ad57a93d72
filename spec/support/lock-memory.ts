// Random programs that send locks between CPUs, and checks of the locks' memory.
import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, type Kernel, type Workqueue } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import {
  SharedMutex,
  SharedRMLock,
  SharedRWLock,
  SharedSpinLock,
  curcpu,
} from '../../lib/cpu/index.ts';
import { Arena } from '../../lib/cpu/locks/arena.ts';
import type { Passable } from '../../lib/cpu/locks/structured-clone.ts';
import type { SharedLock } from '../../lib/cpu/index.ts';
import { moduleOf } from './cpus.ts';
import type * as Work from './lock-memory-work.ts';

void curcpu;

/** The memory of all locks: the place of each, and its number of references. */
export function locksNow(): ReadonlyMap<number, number> {
  const arena = Arena.home();
  return new Map(Array.from(arena, (at) => [at, arena.referencesAt(at)]));
}

/** The locks or references that were added. */
export function locksBeyond(before: ReadonlyMap<number, number>): string[] {
  return Array.from(locksNow())
    .filter(([at, references]) => references > (before.get(at) ?? 0))
    .map(([at, references]) => `${at}: ${references}`);
}

export const KINDS: readonly (new () => Passable)[] = [
  SharedMutex,
  SharedSpinLock,
  SharedRWLock,
  SharedRMLock,
];

/** A kernel with CPUs that can be told to collect garbage. */
export interface Lab {
  readonly kernel: Kernel;
  readonly queue: Workqueue;
  readonly work: typeof Work;
  readonly cpus: readonly Cpu[];
}

export async function startLab(kernel: Kernel, count: number): Promise<Lab> {
  const module = moduleOf('lock-memory-work');
  const work = await kernel.startCpus<typeof Work>({ module, count, backoffMs: 1 });
  const queue = kernel.acquire(127, { perCpu: true });
  return { kernel, queue, work, cpus: kernel.cpus };
}

/** Collects garbage on all CPUs until only the previous locks are left. */
export async function expectLocks(
  { queue, work, cpus }: Lab,
  before: ReadonlyMap<number, number>,
): Promise<void> {
  for (let round = 0; round < 30 && locksBeyond(before).length > 0; round++) {
    for (const cpu of cpus) await queue.run(work.collect, { cpu });
  }
  expect(locksBeyond(before)).to.deep.equal([]);
}

/** The locks that remain after all garbage has been collected. */
export async function locksInUse({ queue, work, cpus }: Lab): Promise<ReadonlyMap<number, number>> {
  for (let round = 0; round < 5; round++) {
    for (const cpu of cpus) await queue.run(work.collect, { cpu });
  }
  return locksNow();
}

const STEP_NAMES = [
  'make',
  'forget',
  'hold',
  'echo',
  'refuse',
  'abort',
  'open',
  'handle',
  'schedule',
  'stop',
  'setArg',
  'setLock',
  'destroy',
  'pass',
  'bring',
  'turn',
  'restart',
] as const;
type StepName = (typeof STEP_NAMES)[number];

/** A step of a program: its action, and the objects that it uses. */
export interface Step {
  readonly does: StepName;
  readonly with: number;
  readonly and: number;
}

/** A job that has been sent, and its locks. */
interface Sent {
  readonly locks: readonly Passable[];
  readonly controller: AbortController;
  readonly gate: Int32Array;
  readonly ended: Promise<unknown>;
  hasEnded: boolean;
}

interface State {
  readonly lab: Lab;
  locks: Passable[];
  jobs: Sent[];
  handles: Kcont<unknown>[];
}

function pick<T>(from: readonly T[], at: number): T | undefined {
  return from[at % Math.max(1, from.length)];
}

function send(state: State, step: Step, func: 'hold' | 'echo', more: object = {}): void {
  const { queue, work, cpus } = state.lab;
  const locks = [step.with, step.and].map((at) => pick(state.locks, at)).filter((lock) => !!lock);
  const controller = new AbortController();
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const arg = { locks, gate, ...more };
  const { signal } = controller;
  const cpu = cpus[1 + (step.and % (cpus.length - 1))] ?? null;
  const run = func === 'hold' ? queue.run(work.hold, { arg, cpu, signal }) : queue.run(work.echo, { arg, cpu, signal }); // prettier-ignore
  const sent: Sent = {
    locks,
    controller,
    gate,
    hasEnded: false,
    ended: run.then(
      () => void (sent.hasEnded = true),
      () => void (sent.hasEnded = true),
    ),
  };
  state.jobs.push(sent);
}

const sideOf = (lock: Passable | undefined): SharedLock | null =>
  lock === undefined ? null : 'tryEnter' in lock ? lock : lock.read;

/** Calls a function with the lock of a continuation held, if it is free. */
export function withLock(
  kc: Kcont<unknown> | undefined,
  change: (kc: Kcont<unknown>) => void,
): void {
  if (kc === undefined || kc.running) return;
  const { lock } = kc;
  if (lock?.tryEnter() === false) return;
  change(kc);
  lock?.exit();
}

const STEPS: Readonly<Record<StepName, (state: State, step: Step) => unknown>> = {
  make: ({ locks }, step) => void locks.push(new (pick(KINDS, step.with) as never as new () => Passable)()), // prettier-ignore
  forget: (state, step) => {
    const lock = pick(state.locks, step.with);
    state.locks = state.locks.filter((other) => other !== lock);
  },
  hold: (state, step) => send(state, step, 'hold'),
  echo: (state, step) => send(state, step, 'echo'),
  refuse: (state, step) => send(state, step, 'echo', { f: () => 1 }),
  abort: ({ jobs }, step) => pick(jobs, step.with)?.controller.abort(),
  open: ({ jobs }, step) => {
    const gate = pick(jobs, step.with)?.gate;
    if (gate === undefined) return;
    Atomics.store(gate, 0, 1);
  },
  handle: ({ lab, locks, handles }, step) => {
    const lock = sideOf(pick(locks, step.with));
    const arg = { locks: [pick(locks, step.and)] };
    handles.push(new Kcont<unknown>(lab.queue, lock, lab.work.look, arg, { affinity: 'strong' }));
  },
  schedule: ({ lab, handles }, step) =>
    void pick(handles, step.with)?.schedule(step.and % 3, pick(lab.cpus, step.and)),
  stop: ({ handles }, step) => void pick(handles, step.with)?.stop(),
  setArg: ({ locks, handles }, step) =>
    withLock(pick(handles, step.with), (kc) => kc.setArg({ locks: [pick(locks, step.and)] })),
  setLock: ({ locks, handles }, step) =>
    withLock(pick(handles, step.with), (kc) => {
      const lock = sideOf(pick(locks, step.and));
      // A continuation without a lock cannot get one.
      if (kc.lock !== null || lock === null) kc.setLock(lock);
    }),
  destroy: (state, step) => {
    const kc = pick(state.handles, step.with);
    kc?.destroy();
    state.handles = state.handles.filter((other) => other !== kc);
  },
  pass: ({ lab, handles }, step) => {
    const kc = pick(handles, step.with);
    const cpu = lab.cpus[1 + (step.and % (lab.cpus.length - 1))] ?? null;
    void lab.queue.run(lab.work.echo, { arg: { kc }, cpu }).catch(() => undefined);
  },
  bring: ({ lab }, step) => {
    const cpu = lab.cpus[1 + (step.and % (lab.cpus.length - 1))] ?? null;
    void lab.queue.run(lab.work.bring, { arg: step.with % 4, cpu }).catch(() => undefined);
  },
  turn: () => new Promise<void>((resolve) => void setImmediate(resolve)),
  restart: async ({ lab }, step) => {
    await lab.cpus[1 + (step.with % (lab.cpus.length - 1))]?.restart({ graceMs: 0 });
  },
};

export function programs(withRestarts: boolean, maxLength: number): fc.Arbitrary<Step[]> {
  const usual = STEP_NAMES.filter((name) => name !== 'restart');
  const does = withRestarts
    ? fc.oneof(
        { weight: 30, arbitrary: fc.constantFrom(...usual) },
        fc.constant('restart' as const),
      )
    : fc.constantFrom(...usual);
  const step = fc.record({ does, with: fc.nat(7), and: fc.nat(7) });
  return fc.array(step, { minLength: maxLength / 2, maxLength, size: 'max' });
}

/** Checks that values that were sent and may still be read find their locks. */
function expectFindable({ jobs }: State): void {
  for (const { hasEnded, locks } of jobs) {
    if (!hasEnded) for (const { _gate: gate } of locks) expect(gate.at).to.be.greaterThan(0);
  }
}

/** Runs a program, and then releases everything that it has created. */
export async function runProgram(lab: Lab, steps: readonly Step[]): Promise<void> {
  const state: State = { lab, locks: [], jobs: [], handles: [] };
  for (const step of steps) {
    await STEPS[step.does](state, step);
    // Refused calls end in a microtask.
    await Promise.resolve();
    await Promise.resolve();
    if (step.does !== 'refuse') expectFindable({ ...state, jobs: state.jobs.filter(({ controller }) => !controller.signal.aborted) }); // prettier-ignore
  }
  for (const { gate } of state.jobs) Atomics.store(gate, 0, 1);
  for (const kc of state.handles) kc.destroy();
  await Promise.all(state.jobs.map(({ ended }) => ended));
  await lab.kernel.drain();
}
