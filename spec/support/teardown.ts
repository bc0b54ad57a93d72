// The results of `schedule`, `reset` and `kcont_schedule` while a kernel is open, in the grace of `close`
// and closed, as a table; and the suite that checks any kind of handle against it. They depend only on the
// state, so each cell is checked for every kind of caller.
import { expect } from 'chai';
import { it } from 'mocha';
import type { Kcont, Kernel } from '../../lib/index.ts';
import * as kern from '../../lib/kern.ts';
import { bitsOf, codeOf } from './lab.ts';

/** The shutdown phases of the kernel. */
export const PHASES = ['open', 'in the grace', 'closed'] as const;

export type PhaseName = (typeof PHASES)[number];

/**
 * The state of the handle before the kernel began to close. A close withdraws PENDING handles, and at its
 * end queued ones, so these are idle when they are checked.
 */
export const SITUATIONS = [
  'idle',
  'pending',
  'queued',
  'running',
  'acked',
  'acked and pending',
  'destroyed',
  'destroyed while running',
] as const;

export type Situation = (typeof SITUATIONS)[number];

/** The result of each API: true, false or an error code of the two methods; an errno of kern. */
export interface Answers {
  readonly schedule: boolean | 'ESHUTDOWN';
  readonly reset: boolean | 'ESHUTDOWN';
  readonly errno: number;
}

const DONE: Answers = { schedule: true, reset: true, errno: 0 };
const BUSY: Answers = { schedule: false, reset: true, errno: kern.EBUSY };
const REFUSED: Answers = { schedule: false, reset: false, errno: kern.EBUSY };
const SHUT: Answers = { schedule: 'ESHUTDOWN', reset: 'ESHUTDOWN', errno: kern.EINVAL };
const DEAD: Answers = { schedule: false, reset: false, errno: kern.EINVAL };

export const TEARDOWN: Readonly<Record<Situation, Readonly<Record<PhaseName, Answers>>>> = {
  idle: { open: DONE, 'in the grace': REFUSED, closed: SHUT },
  pending: { open: DONE, 'in the grace': REFUSED, closed: SHUT },
  queued: { open: BUSY, 'in the grace': REFUSED, closed: SHUT },
  running: { open: BUSY, 'in the grace': REFUSED, closed: REFUSED },
  acked: { open: DONE, 'in the grace': REFUSED, closed: REFUSED },
  'acked and pending': { open: DONE, 'in the grace': REFUSED, closed: REFUSED },
  destroyed: { open: DEAD, 'in the grace': DEAD, closed: DEAD },
  'destroyed while running': { open: DEAD, 'in the grace': DEAD, closed: DEAD },
};

/** One kernel with one handle, for one cell of the table. */
export interface TeardownRig {
  readonly kernel: Kernel;
  /** Creates the handle and brings it into a situation. A run of it lasts until {@link TeardownRig.end}. */
  bring(situation: Situation): Promise<Kcont<string>>;
  /** Brings the kernel into a phase. Its grace lasts until {@link TeardownRig.end}. */
  enter(phase: PhaseName): Promise<void>;
  /** Calls `ask` from a place of the given kind. */
  call(caller: string, ask: () => void): Promise<void>;
  /** Lets all runs end, and the kernel with them. */
  end(): Promise<void>;
}

type Face = keyof Answers;

/** Each API with a delay and without. */
const ASKS: readonly { readonly face: Face; readonly delayMs: number }[] = [
  { face: 'schedule', delayMs: 0 },
  { face: 'schedule', delayMs: 5 },
  { face: 'reset', delayMs: 0 },
  { face: 'reset', delayMs: 5 },
  { face: 'errno', delayMs: 0 },
  { face: 'errno', delayMs: 5 },
];

function ask(kc: Kcont<string>, face: Face, delayMs: number): unknown {
  if (face === 'errno') return kern.kcont_schedule(kc, null, delayMs);
  let answer: unknown;
  const code = codeOf(() => (answer = kc[face](delayMs)));
  return code === 'none' ? answer : code;
}

/** Checks handles against the table. `callers`: the kinds of callers that are possible in a phase. */
export function itObeysTeardown(
  makeRig: () => Promise<TeardownRig>,
  callers: Readonly<Record<PhaseName, readonly string[]>>,
): void {
  for (const situation of SITUATIONS) {
    for (const phase of PHASES) {
      for (const caller of callers[phase]) {
        it(`${phase}, ${situation}, asked by ${caller}`, async () => {
          const answers = TEARDOWN[situation][phase];
          // A call that succeeds changes the state, so then each call needs its own handle.
          const changes = answers === DONE || answers === BUSY;
          const rounds = changes ? ASKS.map((one) => [one]) : [ASKS];
          for (const asks of rounds) {
            const rig = await makeRig();
            const kc = await rig.bring(situation);
            await rig.enter(phase);
            const before = bitsOf(kc);
            const said: unknown[] = [];
            await rig.call(caller, () => {
              for (const { face, delayMs } of asks) said.push(ask(kc, face, delayMs));
            });
            expect(said).to.deep.equal(asks.map(({ face }) => answers[face]));
            if (!changes) expect(bitsOf(kc), 'nothing changed').to.equal(before);
            await rig.end();
          }
        });
      }
    }
  }

  for (const phase of PHASES) {
    it(`${phase}, checks arguments first`, async () => {
      const rig = await makeRig();
      const alive = await rig.bring('idle');
      const dead = await rig.bring('destroyed');
      await rig.enter(phase);
      for (const kc of [alive, dead]) {
        for (const face of ['schedule', 'reset'] as const) {
          expect(codeOf(() => kc[face](-1))).to.equal('EINVAL');
          expect(codeOf(() => kc[face](5, {} as never))).to.equal('EINVAL');
        }
        expect(kern.kcont_schedule(kc, null, NaN)).to.equal(kern.EINVAL);
      }
      await rig.end();
    });
  }
}
