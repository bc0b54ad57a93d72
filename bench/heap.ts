// Heap for each armed timer, after a full collection.

import { Kcont, Kernel, Mutex, Scope } from '../lib/index.ts';
import { costs, sized, type Bench, type Case, type Effort, type Side } from './harness/bench.ts';
import { Bare } from './harness/floors.ts';
import { FAR_MS, neverDue } from './harness/pending.ts';
import { expectSame } from './harness/timed.ts';

const SET_TIMEOUT = 'setTimeout';
const COUNT = 200_000;
/** As many continuations as a connection of a server may have. */
const PER_CONNECTION = 4;

function used(): number {
  gc?.();
  gc?.();
  return process.memoryUsage().heapUsed;
}

/** What a thing costs, made so many times and kept. */
export function kept<T>(
  role: Side['role'],
  name: string,
  count: number,
  make: (at: number) => T,
  drop: (thing: T) => void,
): Side {
  const things: (T | undefined)[] = Array.from({ length: count }, () => undefined);
  function sample(): readonly number[] {
    const before = used();
    for (let at = 0; at < count; at++) things[at] = make(at);
    const bytes = used() - before;
    for (const thing of things) drop(thing as T);
    things.fill(undefined);
    return [bytes / count];
  }
  return { role, name, warm: () => void sample(), sample };
}

function timeouts(count: number): Side[] {
  const conn = { closed: 0 };
  const close = (it: { closed: number }): void => expectSame('never called', it.closed, -1);
  const stop = (timeout: NodeJS.Timeout): void => clearTimeout(timeout);
  return [
    kept('peer', SET_TIMEOUT, count, () => setTimeout(neverDue, FAR_MS), stop),
    kept('peer', 'setTimeout with an argument', count, () => setTimeout(close, FAR_MS, conn), stop),
    kept(
      'peer',
      'setTimeout with a closure',
      count,
      (at) => setTimeout(() => expectSame('never called', at, -1), FAR_MS),
      stop,
    ),
  ];
}

function bareObjects(count: number): Side {
  return kept(
    'floor',
    'a bare object of 12 fields',
    count,
    () => new Bare(),
    () => undefined,
  );
}

function plain(effort: Effort): Case {
  const count = sized(effort, COUNT);
  return {
    name: 'a pending handle',
    rounds: 5,
    metrics: costs('B', { against: SET_TIMEOUT, atMost: 1 }),
    sides() {
      const { wq, ...kernel } = ownKernel();
      const conn = { closed: false };
      return [
        kept(
          'kcont',
          'kcont',
          count,
          () => {
            const kc = new Kcont(wq.softclock, null, neverDue, conn);
            kc.schedule(FAR_MS);
            return kc;
          },
          (kc) => kc.destroy(),
        ),
        ...timeouts(count),
        bareObjects(count),
      ].map((side) => checked(side, kernel.pending));
    },
  };
}

/** With all that a connection's continuations have; its scope and lock are shared by four. */
function rich(effort: Effort, counted: boolean): Case {
  const count = sized(effort, COUNT);
  return {
    name: `with name, scope and lock${counted ? ', and its share of these, by four' : ''}`,
    rounds: 5,
    metrics: counted
      ? [{ name: '', unit: 'B', goals: [], asPart: true }]
      : costs('B', { against: SET_TIMEOUT, atMost: 1.5 }),
    sides() {
      const { wq, ...kernel } = ownKernel();
      const conn = { closed: false };
      const connections = Math.ceil(count / PER_CONNECTION);
      const made = Array.from({ length: connections }, () => ({
        scope: new Scope(),
        lock: new Mutex(),
      }));
      let scope = new Scope();
      let lock = new Mutex();
      return [
        kept(
          'kcont',
          'kcont',
          count,
          (at) => {
            if (!counted) ({ scope, lock } = made[Math.floor(at / PER_CONNECTION)] ?? made[0]!);
            else if (at % PER_CONNECTION === 0) [scope, lock] = [new Scope(), new Mutex()];
            const kc = new Kcont(wq.softclock, lock, neverDue, conn, { name: 'idle', scope });
            kc.schedule(FAR_MS);
            return kc;
          },
          (kc) => kc.destroy(),
        ),
        ...timeouts(count),
        bareObjects(count),
      ].map((side) => checked(side, kernel.pending));
    },
  };
}

function ownKernel(): { wq: Kernel['wq']; pending: () => number } {
  const kernel = new Kernel();
  return { wq: kernel.wq, pending: () => kernel.inspect().pending };
}

/** Nothing is left armed by a round. */
function checked(side: Side, pending: () => number): Side {
  return { ...side, after: () => expectSame('left pending', pending(), 0) };
}

export const bench: Bench = {
  name: 'heap',
  about: 'Bytes of heap for each armed timer, after a full collection.',
  cases: (effort) => [plain(effort), rich(effort, false), rich(effort, true)],
};
