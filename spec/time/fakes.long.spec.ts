// Random programs: fakes of all kinds are installed, nested and restored, and continuations are
// scheduled, touched and stopped meanwhile, against a list of deadlines.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { describe, it } from 'mocha';
import { Kcont, Kernel } from '../../lib/index.ts';
import { byHand, kinds, type Installed } from '../support/fakes.ts';

const realTimeout = setTimeout;
const HANDLES = 6;

/** The model of a handle. */
interface Entry {
  /** In fake ms from the start of the program. */
  dueMs: number;
  delayMs: number;
  /** Whether it was scheduled under the current fakes, so that its ms is known. */
  isExact: boolean;
}

type Op =
  | { readonly do: 'install'; readonly kind: number }
  | { readonly do: 'restore' }
  | { readonly do: 'schedule'; readonly handle: number; readonly ms: number }
  | { readonly do: 'touch' | 'stop'; readonly handle: number }
  | { readonly do: 'tick'; readonly ms: number };

const handle = fc.nat(HANDLES - 1);
const ms = fc.oneof(fc.constantFrom(1, 2, 20, 63, 64, 65), fc.integer({ min: 1, max: 60 }));
const op: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ do: fc.constant('install' as const), kind: fc.nat(kinds.length) }),
  fc.record({ do: fc.constant('restore' as const) }),
  { weight: 4, arbitrary: fc.record({ do: fc.constant('schedule' as const), handle, ms }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom('touch' as const, 'stop' as const), handle }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('tick' as const), ms }) },
);

class Program {
  readonly #kernel = new Kernel();
  readonly #ran: number[] = [];
  readonly #handles: Kcont<number>[] = Array.from(
    { length: HANDLES },
    (_, i) =>
      new Kcont(this.#kernel.wq.softclock, null, (arg: number) => void this.#ran.push(arg), i),
  );
  readonly #model = new Map<number, Entry>();
  readonly #installed: Installed[] = [];
  /** If they are nested, any of them may be the outer one. */
  #isNestable = true;
  #nowMs = 0;
  #lastMs = -Infinity;

  async run(ops: readonly Op[]): Promise<void> {
    try {
      for (const one of ops) this.#do(one);
    } finally {
      while (this.#installed.length > 0) this.#installed.pop()?.restore();
    }
    this.#otherTime();
    this.#lookAtTime();
    const left = [...this.#model.keys()];
    while (left.some((i) => this.#model.has(i))) {
      await new Promise((resolve) => {
        realTimeout(resolve, 1);
      });
      this.#settle();
    }
    expect(this.#kernel.inspect().pending).to.equal(0);
  }

  #do(one: Op): void {
    const fakes = this.#installed.at(-1);
    if (one.do === 'install') this.#install(one.kind);
    else if (one.do === 'restore') {
      if (fakes === undefined) return;
      this.#installed.pop();
      fakes.restore();
      this.#isNestable = true;
      this.#otherTime();
    } else if (one.do === 'tick') {
      if (fakes === undefined) return;
      fakes.tick(one.ms);
      this.#nowMs += one.ms;
      this.#settle();
      for (const { isExact, dueMs } of this.#model.values()) {
        if (isExact) expect(dueMs).to.be.above(this.#nowMs);
      }
    } else this.#change(one);
    this.#lookAtTime();
  }

  #install(kind: number): void {
    const isByHand = kind === kinds.length;
    if (!isByHand && this.#installed.length > 0) return;
    if (isByHand && !this.#isNestable) return;
    this.#isNestable = !isByHand;
    this.#installed.push((kinds[kind] ?? byHand()).install());
    this.#otherTime();
  }

  #change(one: Op & { handle: number }): void {
    const kc = this.#handles[one.handle] as Kcont<number>;
    const entry = this.#model.get(one.handle);
    const isExact = this.#installed.length > 0;
    if (one.do === 'schedule') {
      expect(kc.schedule(one.ms)).to.equal(true);
      this.#model.set(one.handle, { dueMs: this.#nowMs + one.ms, delayMs: one.ms, isExact });
    } else if (one.do === 'touch') {
      expect(kc.touch()).to.equal(entry !== undefined);
      if (entry !== undefined && isExact && entry.isExact)
        entry.dueMs = this.#nowMs + entry.delayMs;
    } else {
      kc.stop();
      this.#model.delete(one.handle);
    }
  }

  /** Called when the fakes change: the remaining time of what was scheduled before is not known. */
  #otherTime(): void {
    for (const entry of this.#model.values()) entry.isExact = false;
  }

  /** Removes what has run from the model, and checks that it ran once, not early, and in order. */
  #settle(): void {
    let dueMs = -Infinity;
    for (const i of this.#ran.splice(0)) {
      const entry = this.#model.get(i);
      expect(entry, `handle ${i} has run`).not.to.equal(undefined);
      this.#model.delete(i);
      if (entry?.isExact !== true) continue;
      expect(entry.dueMs).to.be.within(dueMs, this.#nowMs);
      ({ dueMs } = entry);
    }
  }

  #lookAtTime(): void {
    const now = this.#kernel.now();
    expect(now).to.be.at.least(this.#lastMs);
    this.#lastMs = now;
  }
}

describe('fake timers at random', function () {
  this.timeout(600_000);

  it('run each continuation once, at its ms', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 40, size: 'max' }), (ops) =>
        new Program().run(ops),
      ),
      { numRuns: 300 },
    );
  });
});
