// Random programs of continuations and awaiting code that want a few locks, on two kernels, with patience that
// runs out: whoever waits is served, nobody shares what is exclusive, and equals keep their order.
import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { SharedMutex, SharedRMLock, SharedRWLock } from '../../lib/cpu/index.ts';
import { Kcont, Kernel, Mutex, RMLock, RWLock, VirtualClock } from '../../lib/index.ts';
import type { Lock, Workqueue } from '../../lib/index.ts';
import { elapse, soak } from '../support/lab.ts';

/** One lock, or one side of it. */
interface Side {
  readonly lock: Lock;
  readonly isShared: boolean;
}

const KINDS: Record<string, () => Side[]> = {
  Mutex: () => [{ lock: new Mutex(), isShared: false }],
  SharedMutex: () => [{ lock: new SharedMutex(), isShared: false }],
  RWLock: () => sidesOf(new RWLock()),
  RMLock: () => sidesOf(new RMLock()),
  SharedRWLock: () => sidesOf(new SharedRWLock()),
  SharedRMLock: () => sidesOf(new SharedRMLock()),
};

function sidesOf({ read, write }: { read: Lock; write: Lock }): Side[] {
  return [
    { lock: read, isShared: true },
    { lock: write, isShared: false },
  ];
}

/** Three to each workqueue want one side, one the other. */
const KCS = 20;

interface Step {
  readonly what: 'schedule' | 'stop' | 'enter' | 'tryEnter' | 'advance';
  readonly which: number;
  readonly side: number;
  readonly ms: number;
  readonly holdMs: number;
}

const steps = fc.array(
  fc.record<Step>({
    what: fc.constantFrom(
      'schedule',
      'schedule',
      'schedule',
      'stop',
      'enter',
      'tryEnter',
      'advance',
    ),
    which: fc.nat(KCS - 1),
    side: fc.nat(1),
    ms: fc.constantFrom(0, 0, 0, 1, 2, 5),
    holdMs: fc.constantFrom(0, 0, 1, 4, 9),
  }),
  { minLength: 40, maxLength: 250 },
);

/** Plays a program; returns what went wrong. */
async function play(sides: readonly Side[], program: readonly Step[]): Promise<string[]> {
  const faults: string[] = [];
  const clock = new VirtualClock();
  const onError = (error: unknown): void => void faults.push(`onError: ${String(error)}`);
  const kernels = [new Kernel({ clock, onError }), new Kernel({ clock, onError })] as const;
  const [first, second] = kernels;
  const queues: Workqueue[] = [
    first.wq.prihigh,
    first.acquire(110, { patienceMs: Infinity }),
    first.acquire(30, { patienceMs: 3 }),
    second.acquire(30, { patienceMs: 3 }),
    first.wq.softnet,
  ];
  let readers = 0;
  let writers = 0;
  let awaiting = 0;
  const sideAt = (index: number): Side => sides[index % sides.length] as Side;
  const take = ({ isShared }: Side, who: string): void => {
    if (isShared) readers++;
    else writers++;
    if (writers > 1 || (writers === 1 && readers > 0))
      faults.push(`${who}: ${writers}w ${readers}r`);
  };
  const drop = ({ isShared }: Side): void => {
    if (isShared) readers--;
    else writers--;
  };
  /** Of each workqueue and side: who became runnable, and has not been entered. */
  const lines = new Map<string, { at: number; order: number; index: number }[]>();
  let orders = 0;
  const holdsMs: number[] = [];
  const kcs = Array.from({ length: KCS }, (_, index) => {
    const wq = queues[index % queues.length] as Workqueue;
    const side = sideAt(index < 15 ? 0 : 1);
    const line = `${index % queues.length} ${sides.indexOf(side)}`;
    lines.set(line, lines.get(line) ?? []);
    const run = (): void | Promise<void> => {
      const waiting = lines.get(line) ?? [];
      waiting.sort((a, b) => a.at - b.at || a.order - b.order);
      if (waiting[0]?.index !== index) faults.push(`kc ${index} before kc ${waiting[0]?.index}`);
      lines.set(
        line,
        waiting.filter((one) => one.index !== index),
      );
      take(side, `kc ${index}`);
      const holdMs = wq.fast ? 0 : (holdsMs[index] ?? 0);
      if (holdMs === 0) {
        drop(side);
        return undefined;
      }
      return elapse(first.wq.softserial, holdMs).then(() => drop(side));
    };
    return { kc: new Kcont(wq, side.lock, run, null, { name: `kc ${index}` }), line };
  });
  for (const { what, which, side: sideIndex, ms, holdMs } of program) {
    const side = sideAt(sideIndex);
    const { kc, line } = kcs[which] as (typeof kcs)[number];
    if (what === 'advance') await clock.advance(ms);
    else if (what === 'schedule') {
      if (kc.busy) continue;
      holdsMs[which] = holdMs;
      kc.schedule(ms);
      lines.get(line)?.push({ at: clock.now + ms, order: orders++, index: which });
    } else if (what === 'stop') {
      kc.stop();
      lines.set(
        line,
        (lines.get(line) ?? []).filter(({ index }) => index !== which),
      );
    } else if (what === 'enter') {
      awaiting++;
      void side.lock.enter({ priority: which * 10 }).then(async () => {
        take(side, 'code');
        await elapse(first.wq.softserial, holdMs);
        drop(side);
        side.lock.exit();
        awaiting--;
      });
    } else if (side.lock.tryEnter()) {
      take(side, 'code that tries');
      void elapse(first.wq.softserial, holdMs).then(() => {
        drop(side);
        side.lock.exit();
      });
    }
  }
  await clock.advance(100_000);
  if (readers + writers > 0) faults.push(`${readers} readers and ${writers} writers are left`);
  if (awaiting > 0) faults.push(`${awaiting} await in vain`);
  for (const { kc } of kcs) if (kc.busy) faults.push(`${kc.name} waits in vain`);
  for (const { lock } of sides)
    if (lock.held || !/ 0 waiting/.test(inspect(lock))) faults.push(inspect(lock));
  return faults;
}

const step = (what: Step['what'], which = 0, { side = 0, ms = 0, holdMs = 0 } = {}): Step => ({
  what,
  which,
  side,
  ms,
  holdMs,
});

/**
 * While readers hold the lock and a writer waits, readers of high priority are on their way to their own
 * kernel's pass. In between, the other kernel dispatches a reader of the writer's priority.
 */
const READERS_ON_THEIR_WAY = [
  step('enter'),
  step('schedule', 13, { ms: 5 }),
  step('enter', 3, { side: 1 }),
  step('schedule', 3),
  step('tryEnter', 0, { holdMs: 9 }),
  step('advance', 0, { ms: 4 }),
  step('schedule', 4, { ms: 1 }),
  step('schedule', 9, { ms: 1 }),
  step('schedule', 8),
  step('schedule', 5, { ms: 1 }),
];

describe('those who want a lock, with patience that runs out,', function () {
  this.timeout(120_000);

  for (const [kind, make] of Object.entries(KINDS)) {
    it(`are all served, in order, one at a time: ${kind}`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (program) => {
          expect(await play(make(), program)).to.deep.equal([]);
        }),
        { numRuns: 150 * soak },
      );
    });

    it(`keep their order while readers of high priority are on their way: ${kind}`, async () => {
      expect(await play(make(), READERS_ON_THEIR_WAY)).to.deep.equal([]);
    });
  }
});
