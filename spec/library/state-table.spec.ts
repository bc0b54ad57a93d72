// Every row and column of the state table, allowed and forbidden, through both APIs.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */
import { expect } from 'chai';
import { Kcont, KcontError, Mutex } from '../../lib/index.ts';
import type { Cpu } from '../../lib/index.ts';
import * as kern from '../../lib/kern.ts';
import { bitsOf, codeOf, deferred, Lab, settled } from '../support/lab.ts';
import type { Deferred } from '../support/lab.ts';
import {
  bits,
  CALLS,
  clearsExpired,
  deadBits,
  HAPPENINGS,
  HAPPENS,
  isPending,
  isRunning,
  TABLE,
} from '../support/table.ts';
import type { Answer, Call, State } from '../support/table.ts';

const FIRST_MS = 10; // the delay a PENDING handle was scheduled with
const LATER_MS = 20; // the delay of the schedule and reset under test

/** One way to drive a handle: the class, or the functions of the proposal. */
interface Face {
  readonly name: string;
  /** The result of the call; undefined if this API has no such call. */
  readonly call: (kc: Kcont<string>, call: Call, done: () => void) => Answer | undefined;
  /** Its result for a destroyed handle. */
  readonly dead: string;
  /** The code of the error for a schedule that must be refused; `busy`, or `none`. */
  readonly refused: (kc: Kcont<string>, delayMs: number, cpu: Cpu | null) => string;
  readonly destroy: (kc: Kcont<string>) => void;
  readonly bits: (kc: Kcont<string>) => string;
}

const klass: Face = {
  name: 'Kcont',
  dead: 'busy',
  call(kc, call, done) {
    switch (call) {
      case 'schedule(0)':
        return kc.schedule(0);
      case 'schedule(n)':
        return kc.schedule(LATER_MS);
      case 'reset(0)':
        return kc.reset(0);
      case 'reset(n)':
        return kc.reset(LATER_MS);
      case 'touch':
        return kc.touch();
      case 'ack':
        return kc.ack();
      case 'stop':
        return kc.stop();
      case 'cancel':
        return kc.cancel();
      case 'drainAsync':
        return kc.drainAsync(done);
    }
  },
  refused(kc, delayMs, cpu) {
    try {
      return kc.schedule(delayMs, cpu) ? 'none' : 'busy';
    } catch (error) {
      if (error instanceof KcontError) return error.code;
      throw error;
    }
  },
  destroy(kc) {
    kc.destroy();
  },
  bits: bitsOf,
};

/** 0 is success, EBUSY is busy; the table has no other. */
function errnoToAnswer(errno: number): Answer {
  expect(errno).to.be.oneOf([0, kern.EBUSY]);
  return errno === 0;
}

const functions: Face = {
  name: 'kern',
  dead: 'EINVAL',
  call(kc, call, done) {
    switch (call) {
      case 'schedule(0)':
        return errnoToAnswer(kern.kcont_schedule(kc, null, 0));
      case 'schedule(n)':
        return errnoToAnswer(kern.kcont_schedule(kc, null, LATER_MS));
      case 'reset(0)':
      case 'reset(n)':
      case 'touch':
        return undefined;
      case 'ack':
        return kern.kcont_ack(kc);
      case 'stop':
        return kern.kcont_stop(kc);
      case 'cancel':
        return kern.kcont_cancel(kc);
      case 'drainAsync':
        return kern.kcont_drain_async(kc, done);
    }
  },
  refused(kc, delayMs, cpu) {
    const errno: number = kern.kcont_schedule(kc, cpu, delayMs);
    switch (errno) {
      case 0:
        return 'none';
      case kern.EBUSY:
        return 'busy';
      case kern.EINVAL:
        return 'EINVAL';
      case kern.ENOENT:
        return 'ENOENT';
      default:
        return `errno ${errno}`;
    }
  },
  destroy(kc) {
    kern.kcont_destroy(kc);
  },
  bits(kc) {
    return bitsOf({
      pending: kern.kcont_pending(kc),
      expired: kern.kcont_expired(kc),
      invoking: kern.kcont_invoking(kc),
      active: kern.kcont_active(kc),
      busy: kc.busy,
      running: kc.running,
    });
  },
};

/** A handle on its way into a state. */
class Rig {
  readonly lab: Lab = new Lab();
  readonly lock: Mutex | null;
  readonly kc: Kcont<string>;
  /** When it was entered, since the event under test. */
  readonly entries: number[] = [];
  drained = 0;
  inside: (() => void) | null = null;
  readonly #async: boolean;
  #run: Deferred<void> | null = null;

  constructor(options: { async: boolean; locked: boolean }) {
    this.#async = options.async;
    this.lock = options.locked ? new Mutex() : null;
    this.kc = new Kcont<string>(
      this.lab.wq.prihigh,
      this.lock,
      () => {
        this.entries.push(this.lab.clock.now);
        if (this.inside !== null) {
          const act = this.inside;
          this.inside = null;
          act();
        }
        if (!this.#async) return undefined;
        this.#run = deferred();
        return this.#run.promise;
      },
      '',
    );
    this.lab.clock.tick(100);
  }

  async settle(): Promise<void> {
    this.#run?.resolve();
    this.#run = null;
    await settled();
  }

  /** Enters it once and lets that run end. */
  async runOnce(): Promise<void> {
    this.kc.schedule(0);
    this.lab.clock.tick(0);
    await this.settle();
  }

  /** Lets everything happen that can still happen. */
  async finish(): Promise<void> {
    if (this.lock?.held === true && !this.kc.running) this.lock.exit();
    for (let i = 0; i < 3; i++) {
      await this.settle();
      this.lab.clock.tick(0);
    }
    for (let i = 0; i < 3; i++) {
      this.lab.clock.tick(1000);
      await this.settle();
    }
  }
}

/** A state, and one way to reach it. */
interface Way {
  readonly name: string;
  readonly state: State;
  readonly expired: boolean;
  readonly async: boolean;
  readonly locked?: boolean;
  /** Brings the handle there and calls `act` at that moment. */
  readonly reach: (rig: Rig, act: () => void) => void | Promise<void>;
}

function dispatch(rig: Rig): void {
  rig.kc.schedule(0);
  rig.lab.clock.tick(0);
}

/** From within its own function, after `before`. */
function within(before: (rig: Rig) => void): Way['reach'] {
  return (rig, act) => {
    rig.inside = (): void => {
      before(rig);
      act();
    };
    dispatch(rig);
  };
}

/** From outside while the run is in flight, after `before`. */
function beside(before: (rig: Rig) => void): Way['reach'] {
  return (rig, act) => {
    dispatch(rig);
    before(rig);
    act();
  };
}

const nothing = (): void => {};
const ack = (rig: Rig): void => {
  rig.kc.ack();
};
const ackThenLater = (rig: Rig): void => {
  rig.kc.ack();
  rig.kc.schedule(FIRST_MS);
};
const ackThenNow = (rig: Rig): void => {
  rig.kc.ack();
  rig.kc.schedule(0);
};
const stop = (rig: Rig): void => {
  rig.kc.stop();
};

const WAYS: readonly Way[] = [
  {
    name: 'a new IDLE one',
    state: 'IDLE',
    expired: false,
    async: true,
    reach: (_rig, act) => act(),
  },
  {
    name: 'an IDLE one that has run',
    state: 'IDLE',
    expired: true,
    async: true,
    async reach(rig, act) {
      await rig.runOnce();
      act();
    },
  },
  {
    name: 'an IDLE one stopped after it had run',
    state: 'IDLE',
    expired: false,
    async: true,
    async reach(rig, act) {
      await rig.runOnce();
      rig.kc.stop();
      act();
    },
  },
  {
    name: 'a PENDING one',
    state: 'PENDING',
    expired: false,
    async: true,
    reach(rig, act) {
      rig.kc.schedule(FIRST_MS);
      rig.lab.clock.tick(3);
      act();
    },
  },
  {
    name: 'a PENDING one that had run before',
    state: 'PENDING',
    expired: false,
    async: true,
    async reach(rig, act) {
      await rig.runOnce();
      rig.kc.schedule(FIRST_MS);
      rig.lab.clock.tick(3);
      act();
    },
  },
  {
    name: 'a PENDING one re-armed from its last run',
    state: 'PENDING',
    expired: false,
    async: true,
    async reach(rig, act) {
      dispatch(rig);
      ackThenLater(rig);
      await rig.settle();
      act();
    },
  },
  {
    name: 'a QUEUED one',
    state: 'QUEUED',
    expired: false,
    async: true,
    reach(rig, act) {
      rig.kc.schedule(0);
      act();
    },
  },
  {
    name: 'a QUEUED one that waits for its lock',
    state: 'QUEUED',
    expired: false,
    async: true,
    locked: true,
    reach(rig, act) {
      rig.lock?.tryEnter();
      rig.kc.schedule(0);
      rig.lab.clock.tick(5);
      act();
    },
  },
  {
    name: 'a QUEUED one whose timer expired while its lock was busy',
    state: 'QUEUED',
    expired: false,
    async: true,
    locked: true,
    reach(rig, act) {
      rig.lock?.tryEnter();
      rig.kc.schedule(FIRST_MS);
      rig.lab.clock.tick(15);
      act();
    },
  },
  {
    name: 'a QUEUED one re-armed from its last run',
    state: 'QUEUED',
    expired: false,
    async: true,
    async reach(rig, act) {
      dispatch(rig);
      ackThenNow(rig);
      await rig.settle();
      act();
    },
  },
  {
    name: 'a RUNNING async one',
    state: 'RUNNING',
    expired: true,
    async: true,
    reach: beside(nothing),
  },
  {
    name: 'a RUNNING async one with its lock',
    state: 'RUNNING',
    expired: true,
    async: true,
    locked: true,
    reach: beside(nothing),
  },
  {
    name: 'a RUNNING async one that was stopped',
    state: 'RUNNING',
    expired: false,
    async: true,
    reach: beside(stop),
  },
  { name: 'an ACKED async one', state: 'ACKED', expired: true, async: true, reach: beside(ack) },
  {
    name: 'an ACKED async one that was stopped',
    state: 'ACKED',
    expired: false,
    async: true,
    reach: beside((rig) => {
      ack(rig);
      stop(rig);
    }),
  },
  {
    name: 'an ACKED+PENDING async one',
    state: 'ACKED+PENDING',
    expired: false,
    async: true,
    reach: beside((rig) => {
      ackThenLater(rig);
      rig.lab.clock.tick(3);
    }),
  },
  {
    name: 'an ACKED+QUEUED async one',
    state: 'ACKED+QUEUED',
    expired: false,
    async: true,
    reach: beside(ackThenNow),
  },
  {
    name: 'an ACKED+QUEUED async one with its lock',
    state: 'ACKED+QUEUED',
    expired: false,
    async: true,
    locked: true,
    reach: beside(ackThenNow),
  },
  {
    name: 'an ACKED+QUEUED async one whose timer expired',
    state: 'ACKED+QUEUED',
    expired: false,
    async: true,
    reach: beside((rig) => {
      ackThenLater(rig);
      rig.lab.clock.tick(15);
    }),
  },
  {
    name: 'an ACKED+QUEUED async one past a dispatch',
    state: 'ACKED+QUEUED',
    expired: false,
    async: true,
    reach: beside((rig) => {
      ackThenNow(rig);
      rig.lab.clock.tick(0);
    }),
  },
  {
    name: 'a RUNNING sync one, from within',
    state: 'RUNNING',
    expired: true,
    async: false,
    reach: within(nothing),
  },
  {
    name: 'a RUNNING sync one with its lock, from within',
    state: 'RUNNING',
    expired: true,
    async: false,
    locked: true,
    reach: within(nothing),
  },
  {
    name: 'an ACKED sync one, from within',
    state: 'ACKED',
    expired: true,
    async: false,
    reach: within(ack),
  },
  {
    name: 'an ACKED+PENDING sync one, from within',
    state: 'ACKED+PENDING',
    expired: false,
    async: false,
    reach: within(ackThenLater),
  },
  {
    name: 'an ACKED+QUEUED sync one, from within',
    state: 'ACKED+QUEUED',
    expired: false,
    async: false,
    reach: within(ackThenNow),
  },
  {
    name: 'an ACKED+QUEUED async one, from within',
    state: 'ACKED+QUEUED',
    expired: false,
    async: true,
    reach: within(ackThenNow),
  },
];

function rigFor(way: Way): Rig {
  return new Rig({ async: way.async, locked: way.locked === true });
}

/** Reaches the state and calls `act` there; what fails in it fails here, wherever it was called. */
async function reach(way: Way, rig: Rig, act: () => void): Promise<void> {
  let called = false;
  let fault: unknown = null;
  await way.reach(rig, () => {
    called = true;
    try {
      act();
    } catch (error) {
      fault = error;
    }
  });
  if (fault !== null) throw fault;
  if (!called) throw new Error(`${way.name} was not reached`);
}

/** When a handle in `state` is entered next, if nothing interferes from `now` on. */
function entriesFrom(state: State, now: number, deadlineMs: number): number[] {
  switch (state) {
    case 'IDLE':
    case 'RUNNING':
    case 'ACKED':
      return [];
    case 'PENDING':
    case 'ACKED+PENDING':
      return [deadlineMs];
    case 'QUEUED':
    case 'ACKED+QUEUED':
      return [now];
  }
}

for (const face of [klass, functions]) {
  describe(`the state table, through ${face.name}`, () => {
    for (const call of CALLS) {
      if (face === functions && (call === 'touch' || call.startsWith('reset'))) continue;
      describe(call, () => {
        for (const way of WAYS) {
          const [next, answer] = TABLE[call][way.state];
          const expected = answer === 'expired' ? way.expired : answer;
          it(`on ${way.name} returns ${String(expected)} and makes it ${next}`, async () => {
            const rig = rigFor(way);
            const { kc, lab } = rig;
            let now = -1;
            let deadlineMs = NaN;
            await reach(way, rig, () => {
              now = lab.clock.now;
              expect(face.bits(kc), 'before').to.equal(bits(way.state, way.expired));
              deadlineMs = kc.deadline;
              rig.entries.length = 0;

              const got = face.call(kc, call, () => {
                rig.drained++;
              });

              const expired = way.expired && !clearsExpired(call, answer);
              expect(got, 'answer').to.equal(expected);
              expect(face.bits(kc), 'after').to.equal(bits(next, expired));
              if (answer === true && isPending(next)) {
                if (call === 'touch') deadlineMs = now + FIRST_MS;
                else if (call === 'schedule(n)' || call === 'reset(n)') deadlineMs = now + LATER_MS;
              }
              if (isPending(next)) expect(kc.deadline).to.equal(deadlineMs);
              else expect(kc.deadline).to.deep.equal(NaN);
              expect(rig.drained, 'drained before it settled').to.equal(0);
            });

            await rig.finish();
            const entries = entriesFrom(next, now, deadlineMs);
            expect(rig.entries, 'entries').to.deep.equal(entries);
            expect(kc.busy).to.equal(false);
            expect(rig.drained).to.equal(call === 'drainAsync' && isRunning(way.state) ? 1 : 0);
            const expired = way.expired && !clearsExpired(call, answer);
            expect(face.bits(kc)).to.equal(bits('IDLE', expired || entries.length > 0));
            expect(lab.errors).to.deep.equal([]);
          });
        }
      });
    }

    describe('an event', () => {
      for (const happening of HAPPENINGS) {
        for (const way of WAYS) {
          if (way.name.endsWith('from within')) continue;
          const next = HAPPENS[happening][way.state];
          if (next === undefined) continue;
          // The expiry of a timer and its dispatch are one step, unless something delays the dispatch.
          if (happening === 'expire' && way.state === 'PENDING') continue;
          if (happening === 'dispatch' && way.locked === true) continue;
          it(`${happening} makes ${way.name} ${next}`, async () => {
            const rig = rigFor(way);
            await reach(way, rig, () => {});
            if (happening === 'settle') await rig.settle();
            else if (happening === 'dispatch') rig.lab.clock.tick(0);
            else rig.lab.clock.tick(1000);
            const expired = happening === 'dispatch' || way.expired;
            expect(face.bits(rig.kc)).to.equal(bits(next, expired));
          });
        }
      }

      for (const way of WAYS) {
        if (way.name.endsWith('from within')) continue;
        if (isPending(way.state) || way.state === 'QUEUED') continue;
        it(`time does not change ${way.name}`, async () => {
          const rig = rigFor(way);
          await reach(way, rig, () => {});
          rig.entries.length = 0;
          rig.lab.clock.tick(100_000);
          expect(rig.entries).to.deep.equal([]);
          expect(face.bits(rig.kc)).to.equal(bits(way.state, way.expired));
        });
      }

      it('an expiry while the lock is busy makes it QUEUED, and expired reads false', () => {
        const rig = new Rig({ async: false, locked: true });
        rig.lock?.tryEnter();
        rig.kc.schedule(FIRST_MS);
        rig.lab.clock.tick(FIRST_MS - 1);
        expect(face.bits(rig.kc)).to.equal(bits('PENDING', false));
        rig.lab.clock.tick(1);
        expect(face.bits(rig.kc)).to.equal(bits('QUEUED', false));
        expect(rig.entries).to.deep.equal([]);
      });

      it('a lock that is granted makes a QUEUED continuation RUNNING', () => {
        const rig = new Rig({ async: true, locked: true });
        rig.lock?.tryEnter();
        rig.kc.schedule(0);
        rig.lab.clock.tick(0);
        rig.lock?.exit();
        expect(face.bits(rig.kc), 'not outside of tick').to.equal(bits('QUEUED', false));
        rig.lab.clock.tick(0);
        expect(face.bits(rig.kc)).to.equal(bits('RUNNING', true));
        expect(rig.lock?.held).to.equal(true);
      });

      it('a throw settles a sync run', () => {
        const lab = new Lab();
        const kc = lab.sync('a', {
          body: () => {
            throw new Error('boom');
          },
        });
        kc.schedule(0);
        lab.clock.tick(0);
        expect(face.bits(kc)).to.equal(bits('IDLE', true));
        expect(lab.reported).to.deep.equal(['boom']);
      });

      it('a rejection settles an async run', async () => {
        const lab = new Lab();
        const kc = lab.async('a');
        kc.schedule(0);
        lab.clock.tick(0);
        await lab.fail(kc, new Error('boom'));
        expect(face.bits(kc)).to.equal(bits('IDLE', true));
        expect(lab.reported).to.deep.equal(['boom']);
      });
    });

    describe('destroy', () => {
      for (const way of WAYS) {
        const running = isRunning(way.state);
        const becomes = running ? 'dead once settled' : 'dead';
        it(`makes ${way.name} ${becomes}`, async () => {
          const rig = rigFor(way);
          const { kc } = rig;
          await reach(way, rig, () => {
            rig.entries.length = 0;
            expect(kc.destroyed).to.equal(false);
            face.destroy(kc);
            expect(kc.destroyed).to.equal(true);
            expect(face.bits(kc)).to.equal(deadBits(running));
            expect(kc.deadline).to.deep.equal(NaN);
            expect(face.refused(kc, 0, null)).to.equal(face.dead);
            expect(face.refused(kc, LATER_MS, null)).to.equal(face.dead);
            expect(kc.reset(0)).to.equal(false);
            expect(kc.touch()).to.equal(false);
            expect(face.call(kc, 'ack', () => {})).to.equal(false);
            expect(face.call(kc, 'stop', () => {})).to.equal(running);
            expect(face.call(kc, 'cancel', () => {})).to.equal(running ? 2 : 0);
            face.destroy(kc);
            expect(face.bits(kc)).to.equal(deadBits(running));
          });
          await rig.finish();
          expect(rig.entries).to.deep.equal([]);
          expect(face.bits(kc)).to.equal(deadBits(false));
          expect(face.call(kc, 'stop', () => {})).to.equal(false);
          expect(rig.lock?.held ?? false).to.equal(false);
          expect(rig.lab.errors).to.deep.equal([]);
        });
      }
    });

    describe('an error', () => {
      const BAD = [NaN, -1, -0.5, Infinity, -Infinity, 2 ** 53];
      for (const way of WAYS) {
        it(`changes nothing about ${way.name}`, async () => {
          const rig = rigFor(way);
          const { kc, lab } = rig;
          let now = -1;
          let deadlineMs = NaN;
          await reach(way, rig, () => {
            now = lab.clock.now;
            deadlineMs = kc.deadline;
            rig.entries.length = 0;
            const before = bits(way.state, way.expired);
            for (const bad of BAD) {
              expect(face.refused(kc, bad, null), String(bad)).to.equal('EINVAL');
              expect(face.bits(kc), String(bad)).to.equal(before);
              expect(codeOf(() => kc.reset(bad))).to.equal('EINVAL');
              expect(face.bits(kc), `reset(${bad})`).to.equal(before);
            }
            const cpu = lab.kernel.cpus[0] ?? null;
            expect(cpu).to.not.equal(null);
            const busy = TABLE['schedule(0)'][way.state][1] === false;
            expect(face.refused(kc, 0, cpu)).to.equal(busy ? 'busy' : 'ENOENT');
            expect(face.refused(kc, LATER_MS, cpu)).to.equal(busy ? 'busy' : 'ENOENT');
            expect(face.bits(kc), 'ENOENT').to.equal(before);
            expect(codeOf(() => kc.reset(0, cpu))).to.equal('ENOENT');
            expect(face.bits(kc), 'ENOENT from reset').to.equal(before);
            expect(kc.deadline).to.deep.equal(deadlineMs);
          });
          await rig.finish();
          expect(rig.entries).to.deep.equal(entriesFrom(way.state, now, deadlineMs));
          expect(lab.errors).to.deep.equal([]);
        });
      }
    });
  });
}
