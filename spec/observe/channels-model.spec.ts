// Runs random programs on a library whose channels have subscribers that call it in turn. They do so with
// handles of their own, so the program must go as it does on the model, which has no subscribers. In a second
// round they call it with the handles of the program too: then all has to come to an end, with nothing left over.

import { channel } from 'node:diagnostics_channel';
import { expect } from 'chai';
import fc from 'fast-check';
import { afterEach, describe, it } from 'mocha';
import { Kcont, type Kernel, type VirtualClock } from '../../lib/index.ts';
import { list, type KcontMessage } from '../support/observe.ts';
import { settled, soak } from '../support/lab.ts';
import { Library } from '../support/library.ts';
import { Model } from '../support/model.ts';
import { Player, print, programs, type Ground, type Program } from '../support/program.ts';

const CHANNELS = [
  'kcont:schedule',
  'kcont:expire',
  'kcont:enter',
  'kcont:settle',
  'kcont:stop',
  'kcont:error',
  'tracing:kcont:run:start',
  'tracing:kcont:run:end',
  'tracing:kcont:run:asyncStart',
  'tracing:kcont:run:asyncEnd',
  'tracing:kcont:run:error',
];

/** What subscribers do with a continuation. */
const ACTIONS: readonly ((kc: Kcont<unknown>) => unknown)[] = [
  (kc) => kc.schedule(),
  (kc) => kc.schedule(3),
  (kc) => kc.reset(),
  (kc) => kc.reset(40),
  (kc) => kc.touch(),
  (kc) => kc.stop(),
  (kc) => kc.cancel(),
  (kc) => kc.ack(),
  (kc) => kc.halt().catch(() => undefined),
  (kc) => kc.drainAsync(() => undefined),
  (kc) => kc.unref(),
  (kc) => kc.ref(),
];

const undo: (() => void)[] = [];

afterEach(() => {
  for (const one of undo.splice(0)) one();
});

interface Stirred {
  calls: number;
  kernel: Kernel | undefined;
  /** The handles of the subscribers. */
  readonly own: Set<unknown>;
}

/** Subscribes to all channels; the subscribers act `fuel` times. */
function stir(fuel: number, seed: number, touchesAll: boolean): Stirred {
  let left = fuel;
  let state = seed | 1;
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % below;
  };
  const stirred: Stirred = { calls: 0, kernel: undefined, own: new Set() };
  const handles: Kcont<unknown>[] = [];
  for (const name of CHANNELS) {
    const listener = (message: unknown): void => {
      const { kernel, kcont } = message as KcontMessage;
      stirred.kernel = kernel;
      if (left === 0) return;
      left--;
      stirred.calls++;
      while (handles.length < 3) {
        const made = new Kcont(kernel.wq.prihigh, null, () => undefined, null);
        stirred.own.add(made);
        handles.push(made);
      }
      const at = next(handles.length);
      const kc = handles[at] as Kcont<unknown>;
      const action = next(ACTIONS.length + 1);
      const act = ACTIONS[action] ?? ((one: Kcont<unknown>) => one.destroy());
      act(kc);
      if (kc.destroyed) handles.splice(at, 1);
      if (touchesAll && kcont !== null) ACTIONS[next(ACTIONS.length)]?.(kcont);
    };
    channel(name).subscribe(listener);
    undo.push(() => channel(name).unsubscribe(listener));
  }
  return stirred;
}

const GROUND: Ground = {
  handles: 4,
  funcs: 4,
  steps: 30,
  queues: [0, 1, 2, 3, 4, 5, 6],
  locks: [0, 1],
  modes: ['sync', 'soon', 'later'],
  swaps: false,
  runs: true,
  awaits: false,
  hectic: false,
  timersOnly: false,
};

async function played(player: Player): Promise<readonly string[]> {
  await player.play();
  return player.log;
}

describe('subscribers that call the library in random programs', () => {
  it('change nothing for other continuations', async function () {
    this.timeout(120_000);
    let calls = 0;
    const agree = async (program: Program, seed: number): Promise<void> => {
      const expected = await played(new Player(program, (host, what) => new Model(host, what)));
      const stirred = stir(60, seed, false);
      try {
        const found = await played(new Player(program, (host, what) => new Library(host, what)));
        expect(found, print(program)).to.deep.equal(expected);
        calls += stirred.calls;
      } finally {
        for (const one of undo.splice(0)) one();
      }
    };
    await fc.assert(fc.asyncProperty(programs(GROUND), fc.integer(), agree), {
      numRuns: 400 * soak,
    });
    expect(calls).to.be.greaterThan(1000);
  });

  it('leave nothing over that is half done', async function () {
    this.timeout(120_000);
    const ends = async (program: Program, seed: number): Promise<void> => {
      const stirred = stir(60, seed, true);
      try {
        await played(new Player(program, (host, what) => new Library(host, what)));
        await settled();
        const { kernel } = stirred;
        if (kernel === undefined) return;
        // What subscribers have scheduled since the last step runs when time goes on.
        const { refs, runq, wheel, clock } = kernel.wq.prilow._dispatcher;
        for (let i = 0; i < 60 && !runq.empty; i++) {
          (clock as VirtualClock).tick(0);
          await settled();
        }
        // A function that never settles may have been scheduled again: it is in the list too.
        const scheduled = list(kernel).filter(
          ({ state, kind }) => state !== 'running' && kind === 'continuation',
        );
        expect(refs.count, print(program)).to.equal(scheduled.filter(({ ref }) => ref).length);
        const { pending, queued } = kernel.inspect();
        expect(pending + queued, print(program)).to.equal(scheduled.length);
        expect(wheel.count, print(program)).to.equal(pending);
        expect(runq.empty, print(program)).to.equal(true);
      } finally {
        for (const one of undo.splice(0)) one();
      }
    };
    await fc.assert(fc.asyncProperty(programs(GROUND), fc.integer(), ends), {
      numRuns: 400 * soak,
    });
  });
});
