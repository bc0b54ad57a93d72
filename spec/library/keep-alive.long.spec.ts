// Random programs that block, ref and unref, with Node's own timers and with kcont.
import { expect } from 'chai';
import fc from 'fast-check';
import {
  IMPLEMENTATIONS,
  disorder,
  faults,
  play,
  type Item,
  type Trace,
} from '../support/alive.ts';

const PROGRAMS = 60;
const IDS = ['a', 'b', 'c', 'd', 'e', 'f'];

const toggle = fc.record({ id: fc.constantFrom(...IDS), ref: fc.boolean() });

function itemAt(index: number, depth: number): fc.Arbitrary<Item> {
  return fc.record({
    id: fc.constant(IDS[index] as string),
    ref: fc.boolean(),
    ms: fc.constantFrom(0, 1, 2, 10, 30, 60, 90),
    blockMs: fc.constantFrom(0, 0, 3, 12, 35),
    again: fc.constantFrom(0, 0, 1, 3, Infinity),
    arms: depth === 0 ? fc.constant([]) : fc.array(itemAt(index + 3, depth - 1), { maxLength: 1 }),
    toggles: fc.oneof(fc.constant([]), fc.array(toggle, { maxLength: 2 })),
    pulses: fc.boolean(),
  });
}

/**
 * Referenced items end, and items that do not end are not referenced. Unreferenced items do not reference
 * others: whether they run at all before the process ends is up to the implementation.
 */
function tame(program: readonly Item[]): Item[] {
  const endless = new Set<string>();
  const visit = ({ id, again, arms }: Item): void => {
    // Even if it is stripped below.
    if (again === Infinity) endless.add(id);
    arms.forEach(visit);
  };
  program.forEach(visit);
  const strip = (item: Item, ref: boolean): Item => ({
    ...item,
    ref: item.ref && ref,
    again: item.ref && ref ? Math.min(item.again, 3) : item.again,
    arms: item.arms.map((next) => strip(next, item.ref && ref)),
    toggles: item.toggles.filter((other) => !other.ref || (ref && !endless.has(other.id))),
  });
  return program.map((item) => strip(item, true));
}

const programs = fc.tuple(itemAt(0, 1), itemAt(1, 1), itemAt(2, 1)).map(tame);

function hasToggles({ toggles, arms }: Item): boolean {
  return toggles.length > 0 || arms.some(hasToggles);
}

/** The items that kept the process alive until they ran. */
function held({ ran }: Trace): string[] {
  return [...new Set(ran.filter(({ ref }) => ref).map(({ id }) => id))].toSorted();
}

describe('random programs of timers and jobs that block, ref and unref', function () {
  this.timeout(600_000);

  it('end as they do with Node’s own timers, and lose nothing that keeps the process alive', async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const traces = await Promise.all(IMPLEMENTATIONS.map((by) => play(program, by)));
        for (const trace of traces) expect(faults(trace)).to.deep.equal([]);
        for (const trace of traces.slice(1)) expect(disorder(trace)).to.deep.equal([]);
        // An item that another one unrefs may or may not have run before.
        if (program.some(hasToggles)) return;
        const [node, ...ours] = traces.map(held);
        for (const trace of ours) expect(trace).to.deep.equal(node);
      }),
      { numRuns: PROGRAMS, endOnFailure: true },
    );
  });
});
