// Compares one handle with the state table, for every sequence of events up to a depth and for long
// random ones.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */
import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, Kernel, Mutex, VirtualClock } from '../../lib/index.ts';
import { bitsOf, soak } from '../support/lab.ts';
import {
  bits,
  clearsExpired,
  HAPPENS,
  isInvoking,
  isPending,
  isRunning,
  TABLE,
} from '../support/table.ts';
import type { Answer, Call, State } from '../support/table.ts';

type Event =
  | { readonly kind: 'call'; readonly call: Call; readonly delayMs: number; readonly name: string }
  | { readonly kind: 'wrong'; readonly delayMs: number; readonly name: string }
  | { readonly kind: 'tick'; readonly ms: number; readonly name: string }
  | { readonly kind: 'settle'; readonly ok: boolean; readonly name: string }
  | { readonly kind: 'take' | 'give'; readonly name: string };

function call(name: Call, delayMs = 0): Event {
  return { kind: 'call', call: name, delayMs, name: name.replace('(n)', `(${delayMs})`) };
}

const tick = (ms: number): Event => ({ kind: 'tick', ms, name: `tick(${ms})` });
const SETTLE: Event = { kind: 'settle', ok: true, name: 'settle' };
const REJECT: Event = { kind: 'settle', ok: false, name: 'reject' };
const TAKE: Event = { kind: 'take', name: 'take the lock' };
const GIVE: Event = { kind: 'give', name: 'give the lock' };
const wrong = (delayMs: number): Event => ({
  kind: 'wrong',
  delayMs,
  name: `schedule(${delayMs})`,
});

const failure = new Error('rejected on purpose');

/** One handle, and its expected state by the table. */
class Walk {
  readonly #clock: VirtualClock;
  readonly #lock: Mutex | null;
  readonly #kc: Kcont<null>;
  readonly #reported: unknown[];
  readonly #reportedBefore: number;
  #end: { resolve: () => void; reject: (error: unknown) => void } | null = null;
  #inside = 0;
  #entries = 0;
  /** Whether a successful `schedule` has not been followed by a stop or an entry. */
  #mayRun = false;

  // The expected state, by the table.
  #state: State = 'IDLE';
  #expired = false;
  #deadlineMs = 0;
  #lastDelayMs = 0;
  #wantEntries = 0;
  #drains = 0;
  #wantDrains = 0;
  #wantErrors = 0;
  /** Whether other code holds the lock. */
  #taken = false;

  constructor(kernel: Kernel, clock: VirtualClock, lock: Mutex | null, reported: unknown[]) {
    this.#clock = clock;
    this.#lock = lock;
    this.#reported = reported;
    this.#reportedBefore = reported.length;
    this.#kc = new Kcont<null>(
      kernel.wq.prihigh,
      lock,
      () => {
        expect(this.#inside, 'overlaps itself').to.equal(0);
        expect(this.#mayRun, 'entered without a schedule, or after a stop').to.equal(true);
        expect(lock === null || lock.held, 'lock held at entry').to.equal(true);
        this.#mayRun = false;
        this.#inside++;
        this.#entries++;
        return new Promise<void>((resolve, reject) => {
          this.#end = {
            resolve: (): void => {
              this.#inside--;
              resolve();
            },
            reject: (error): void => {
              this.#inside--;
              reject(error);
            },
          };
        });
      },
      null,
    );
  }

  async do(event: Event): Promise<void> {
    switch (event.kind) {
      case 'call':
        this.#call(event.call, event.delayMs);
        break;
      case 'wrong':
        expect(() => this.#kc.schedule(event.delayMs)).to.throw();
        break;
      case 'tick':
        this.#tick(event.ms);
        break;
      case 'settle':
        await this.#settle(event.ok);
        break;
      case 'take':
        if (this.#lock !== null) {
          const free = !this.#taken && !isRunning(this.#state);
          expect(this.#lock.tryEnter(), 'tryEnter').to.equal(free);
          if (free) this.#taken = true;
        }
        break;
      case 'give':
        if (this.#lock !== null && this.#taken) {
          this.#lock.exit();
          this.#taken = false;
        }
        break;
    }
    this.#check();
  }

  /** Lets everything happen that can happen: then nothing is left, even without any `ack`. */
  async finish(): Promise<void> {
    await this.do(GIVE);
    for (let i = 0; i < 3; i++) {
      await this.do(SETTLE);
      await this.do(tick(2 ** 32));
    }
    await this.do(SETTLE);
    expect(this.#kc.busy).to.equal(false);
    expect(this.#kc.invoking).to.equal(false);
    this.#kc.destroy();
  }

  #call(name: Call, delayMs: number): void {
    const kc = this.#kc;
    const running = isRunning(this.#state);
    const answer = this.#answer(name, delayMs);

    const cell = TABLE[name][this.#state];
    const want = cell[1] === 'expired' ? this.#expired : cell[1];
    expect(answer).to.equal(want);
    if (name === 'stop' && answer === false) {
      expect(kc.running, 'running after stop() returned false').to.equal(false);
      expect(kc.invoking, 'invoking after stop() returned false').to.equal(false);
    }
    this.#state = cell[0];
    if (clearsExpired(name, want)) this.#expired = false;
    if (answer === true && isPending(cell[0])) {
      if (name === 'schedule(n)' || name === 'reset(n)') this.#lastDelayMs = delayMs;
      if (name !== 'ack') this.#deadlineMs = this.#clock.now + this.#lastDelayMs;
    }
    if (name === 'drainAsync' && running) this.#wantDrains++;
  }

  #answer(name: Call, delayMs: number): Answer {
    const kc = this.#kc;
    switch (name) {
      case 'schedule(0)':
      case 'schedule(n)': {
        const invoking = kc.invoking;
        const done = kc.schedule(delayMs);
        expect(done, 'busy exactly when INVOKING').to.equal(!invoking);
        if (done) this.#mayRun = true;
        return done;
      }
      case 'reset(0)':
      case 'reset(n)': {
        const done = kc.reset(delayMs);
        if (done) this.#mayRun = true;
        return done;
      }
      case 'touch':
        return kc.touch();
      case 'ack':
        return kc.ack();
      case 'stop':
        this.#mayRun = false;
        return kc.stop();
      case 'cancel':
        this.#mayRun = false;
        return kc.cancel();
      case 'drainAsync':
        this.#mayRun = false;
        return kc.drainAsync(() => {
          this.#drains++;
        });
    }
  }

  #tick(ms: number): void {
    this.#clock.tick(ms);
    this.#dispatch();
    if (isPending(this.#state) && this.#deadlineMs <= this.#clock.now) {
      this.#state = HAPPENS.expire[this.#state] ?? this.#state;
      this.#dispatch();
    }
  }

  #dispatch(): void {
    if (this.#state !== 'QUEUED' || this.#taken) return;
    this.#state = 'RUNNING';
    this.#expired = true;
    this.#wantEntries++;
  }

  async #settle(ok: boolean): Promise<void> {
    const end = this.#end;
    if (end === null) return;
    this.#end = null;
    if (ok) end.resolve();
    else {
      end.reject(failure);
      this.#wantErrors++;
    }
    for (let i = 0; i < 4; i++) await Promise.resolve();
    this.#state = HAPPENS.settle[this.#state] ?? this.#state;
    expect(this.#drains).to.equal(this.#wantDrains);
  }

  #check(): void {
    const kc = this.#kc;
    const state = this.#state;
    const got = bitsOf(kc);
    const want = bits(state, this.#expired);
    if (got !== want) expect(got, state).to.equal(want);
    if (kc.pending && kc.invoking) expect.fail('PENDING and INVOKING together');
    if (kc.invoking !== isInvoking(state))
      expect.fail('INVOKING at another time than the table says');
    if (this.#entries !== this.#wantEntries) expect(this.#entries).to.equal(this.#wantEntries);
    if (this.#drains !== this.#wantDrains && !isRunning(state)) {
      expect(this.#drains, 'drained').to.equal(this.#wantDrains);
    }
    if (isPending(state) && kc.deadline !== this.#deadlineMs) {
      expect(kc.deadline, 'deadline').to.equal(this.#deadlineMs);
    }
    const held = this.#taken || isRunning(state);
    if (this.#lock !== null && this.#lock.held !== held) {
      expect(this.#lock.held, 'lock held').to.equal(held);
    }
    const errors = this.#reported.length - this.#reportedBefore;
    if (errors !== this.#wantErrors) {
      const strange = this.#reported.find((error) => error !== failure);
      if (strange !== undefined) throw strange;
      expect(errors, 'errors reported').to.equal(this.#wantErrors);
    }
  }
}

interface Ground {
  readonly clock: VirtualClock;
  readonly kernel: Kernel;
  readonly reported: unknown[];
}

function ground(): Ground {
  const clock = new VirtualClock();
  const reported: unknown[] = [];
  const kernel = new Kernel({
    clock,
    onError: (error): void => {
      reported.push(error);
    },
  });
  return { clock, kernel, reported };
}

async function walk(events: readonly Event[], locked: boolean, on: Ground): Promise<void> {
  const lock = locked ? new Mutex() : null;
  const one = new Walk(on.kernel, on.clock, lock, on.reported);
  let done = 0;
  try {
    for (const event of events) {
      await one.do(event);
      done++;
    }
    await one.finish();
  } catch (error) {
    const path = events.slice(0, done + 1).map((event) => event.name);
    if (error instanceof Error) error.message = `${path.join(', ')}: ${error.message}`;
    throw error;
  }
}

/** All sequences of `events` of one length, one after the other. */
async function walkAll(events: readonly Event[], depth: number, locked: boolean): Promise<number> {
  const on = ground();
  const digits = new Array<number>(depth).fill(0);
  const path: Event[] = [];
  let count = 0;
  for (;;) {
    path.length = 0;
    for (const digit of digits) {
      const event = events[digit];
      if (event !== undefined) path.push(event);
    }
    await walk(path, locked, on);
    count++;
    let i = depth - 1;
    while (i >= 0 && digits[i] === events.length - 1) digits[i--] = 0;
    if (i < 0) return count;
    digits[i] = (digits[i] ?? 0) + 1;
  }
}

describe('a walk of one handle', () => {
  /** One more level of depth means about ten times as many sequences. */
  const deeper = soak >= 40 ? 2 : soak >= 4 ? 1 : 0;

  it('agrees with the table after every sequence of the events of a plain handle', async function () {
    this.timeout(600_000);
    const events = [
      call('schedule(0)'),
      call('schedule(n)', 1),
      call('ack'),
      call('stop'),
      tick(0),
      tick(1),
      SETTLE,
    ];
    const depth = 5 + deeper;
    expect(await walkAll(events, depth, false)).to.equal(events.length ** depth);
  });

  it('agrees with the table after every sequence with reset, touch, cancel and drain', async function () {
    this.timeout(600_000);
    const events = [
      call('schedule(n)', 2),
      call('reset(0)'),
      call('reset(n)', 1),
      call('touch'),
      call('ack'),
      call('cancel'),
      call('drainAsync'),
      tick(1),
      SETTLE,
      REJECT,
    ];
    const depth = 4 + deeper;
    expect(await walkAll(events, depth, false)).to.equal(events.length ** depth);
  });

  it('agrees with the table after every sequence with a lock that other code takes', async function () {
    this.timeout(600_000);
    const events = [
      call('schedule(0)'),
      call('reset(n)', 1),
      call('ack'),
      call('stop'),
      tick(1),
      SETTLE,
      TAKE,
      GIVE,
    ];
    const depth = 4 + deeper;
    expect(await walkAll(events, depth, true)).to.equal(events.length ** depth);
  });

  it('agrees with the table throughout long random walks', async function () {
    this.timeout(600_000);
    const delayMs = fc.constantFrom(1, 2, 63, 64, 65, 4095, 4096, 2 ** 18, 2 ** 31);
    const event: fc.Arbitrary<Event> = fc.oneof(
      { weight: 4, arbitrary: fc.constant(call('schedule(0)')) },
      { weight: 4, arbitrary: delayMs.map((ms) => call('schedule(n)', ms)) },
      { weight: 1, arbitrary: fc.constant(call('reset(0)')) },
      { weight: 1, arbitrary: delayMs.map((ms) => call('reset(n)', ms)) },
      { weight: 2, arbitrary: fc.constant(call('touch')) },
      { weight: 4, arbitrary: fc.constant(call('ack')) },
      { weight: 1, arbitrary: fc.constant(call('stop')) },
      { weight: 1, arbitrary: fc.constant(call('cancel')) },
      { weight: 1, arbitrary: fc.constant(call('drainAsync')) },
      { weight: 1, arbitrary: fc.constantFrom(NaN, -1, Infinity).map(wrong) },
      { weight: 4, arbitrary: fc.constant(tick(0)) },
      { weight: 4, arbitrary: delayMs.map(tick) },
      { weight: 4, arbitrary: fc.constant(SETTLE) },
      { weight: 1, arbitrary: fc.constant(REJECT) },
      { weight: 1, arbitrary: fc.constant(TAKE) },
      { weight: 2, arbitrary: fc.constant(GIVE) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 1000, size: 'max' }),
        fc.boolean(),
        (events, locked) => walk(events, locked, ground()),
      ),
      { numRuns: 150 * soak },
    );
  });
});
