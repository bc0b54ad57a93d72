// Runs random programs, and compares what is inherited with the dullest model: priorities are raised along all
// waits, from everybody's own priority, until nothing changes.
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Kcont, Kernel, Mutex, RWLock, VirtualClock } from '../../lib/index.ts';
import { KeyedLocks, Semaphore } from '../../lib/sync.ts';
import type { BaseLock } from '../../lib/locks/lock.ts';
import { nothing } from '../../lib/base/nothing.ts';
import { deferred, settled, soak } from '../support/lab.ts';

const QUEUES = ['prilow', 'primedlow', 'primedhigh', 'prihigh'] as const;
const LEVELS = [103, 111, 119, 127];
/** The locks 2 and 3 are the two sides of one, 4 and 5 two weights of a semaphore, 6 and 7 two views of one key. */
const WHOLES = [0, 1, 2, 2, 3, 3, 4, 4];
const ALL_WHOLES = [0, 1, 2, 3, 4];
const LOCKS = WHOLES.length;

/** What a function begins to await. */
type Begin =
  | { readonly kind: 'timer'; readonly level: number }
  | { readonly kind: 'enter'; readonly level: number; readonly lock: number }
  | { readonly kind: 'run'; readonly spec: Spec };

interface Spec {
  readonly level: number;
  readonly lock: number | null;
  readonly begins: readonly Begin[];
}

type Step =
  | { readonly kind: 'start'; readonly spec: Spec; readonly isCode: boolean }
  | { readonly kind: 'end' | 'leave' | 'fire'; readonly at: number }
  | { readonly kind: 'wait'; readonly level: number; readonly lock: number };

const level = fc.nat({ max: 3 });
const someLock = fc.nat({ max: LOCKS - 1 });
const { spec } = fc.letrec<{ spec: Spec; begin: Begin }>((tie) => ({
  begin: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ kind: fc.constant('timer' as const), level }),
    fc.record({ kind: fc.constant('enter' as const), level, lock: someLock }),
    fc.record({ kind: fc.constant('run' as const), spec: tie('spec') }),
  ),
  spec: fc.record({
    level,
    lock: fc.option(someLock, { freq: 6 }),
    begins: fc.array(tie('begin'), { maxLength: 3 }),
  }),
}));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc.record({ kind: fc.constant('start' as const), spec, isCode: fc.boolean() }),
    weight: 3,
  },
  {
    arbitrary: fc.record({
      kind: fc.constantFrom('end' as const, 'leave' as const, 'fire' as const),
      at: fc.nat({ max: 7 }),
    }),
    weight: 3,
  },
  {
    arbitrary: fc.record({ kind: fc.constant('wait' as const), level, lock: someLock }),
    weight: 2,
  },
);

/** A function that was started: it waits for its lock, runs until the program ends it, or is over. */
class Actor {
  state: 'waiting' | 'running' | 'over' = 'waiting';
  readonly level: number;
  readonly lock: number | null;
  readonly by: Actor | null;
  readonly end = deferred();

  constructor({ level: at, lock }: Spec, by: Actor | null) {
    this.level = LEVELS[at] as number;
    this.lock = lock;
    this.by = by;
  }
}

/** A timer, or code that waits for a lock. */
interface Wait {
  readonly name: string;
  readonly level: number;
  readonly lock: number | null;
  readonly by: Actor | null;
  readonly controller: AbortController;
  isOver: boolean;
}

class World {
  readonly clock = new VirtualClock();
  readonly kernel = new Kernel({ clock: this.clock });
  readonly locks: BaseLock[];
  readonly actors: Actor[] = [];
  readonly timers: Wait[] = [];
  readonly enters: Wait[] = [];

  constructor() {
    const { read, write } = new RWLock();
    const semaphore = new Semaphore(2);
    const keyed = new KeyedLocks<string>();
    this.locks = [
      new Mutex(),
      new Mutex(),
      read,
      write,
      semaphore,
      semaphore.ofWeight(2),
      keyed.of('a'),
      keyed.of('a'),
    ];
  }

  /** Starts a function; `run` of a lock calls it, a continuation, or a run that another function awaits. */
  start(what: Spec, by: Actor | null, isCode = false): void {
    const actor = new Actor(what, by);
    this.actors.push(actor);
    const { lock } = actor;
    const wq = this.kernel.wq[QUEUES[what.level] as (typeof QUEUES)[number]];
    const enter = (): Promise<void> => {
      actor.state = 'running';
      for (const begin of what.begins) this.#begin(begin, actor);
      return actor.end.promise.then(() => void (actor.state = 'over'));
    };
    if (by !== null) void wq.run(enter, { lock: lock === null ? null : this.#lock(lock) });
    else if (isCode && lock !== null && this.#lock(lock) instanceof Mutex) {
      void (this.#lock(lock) as Mutex).run(enter, { priority: actor.level });
    } else {
      new Kcont(wq, lock === null ? null : this.#lock(lock), enter, null).schedule();
    }
  }

  #lock(at: number): BaseLock {
    return this.locks[at] as BaseLock;
  }

  #begin(begin: Begin, by: Actor): void {
    if (begin.kind === 'run') this.start(begin.spec, by);
    else if (begin.kind === 'enter') this.wait(begin.level, begin.lock, by);
    else {
      const controller = new AbortController();
      const { signal } = controller;
      const name = `timer ${this.timers.length}`;
      const timer = {
        name,
        level: LEVELS[begin.level] as number,
        lock: null,
        by,
        controller,
        isOver: false,
      };
      this.timers.push(timer);
      const wq = this.kernel.wq[QUEUES[begin.level] as (typeof QUEUES)[number]];
      wq.run(nothing, { delayMs: 1e6, name, signal }).then(nothing, nothing);
    }
  }

  /** Code waits for a lock, and releases it when it has it. */
  wait(at: number, lock: number, by: Actor | null): void {
    const controller = new AbortController();
    const { signal } = controller;
    const priority = LEVELS[at] as number;
    const wait = { name: '', level: priority, lock, by, controller, isOver: false };
    this.enters.push(wait);
    const over = (): void => void (wait.isOver = true);
    this.#lock(lock)
      .enter({ signal, priority })
      .then(() => {
        over();
        this.#lock(lock).exit();
      }, over);
  }

  play(one: Step): void {
    if (one.kind === 'start') this.start(one.spec, null, one.isCode);
    else if (one.kind === 'wait') this.wait(one.level, one.lock, null);
    else if (one.kind === 'end') {
      const running = this.actors.filter(({ state }) => state === 'running');
      running[one.at % running.length]?.end.resolve();
    } else {
      const alive = (one.kind === 'leave' ? this.enters : this.timers).filter(
        ({ isOver }) => !isOver,
      );
      const left = alive[one.at % alive.length];
      if (left === undefined) return;
      left.isOver = true;
      left.controller.abort();
    }
  }

  /** What is in the library. */
  actual(): unknown {
    return [
      this.kernel
        .inspect()
        .inherited.filter(({ name }) => name.startsWith('timer'))
        .map(({ name, inherited }) => `${name}: ${inherited}`)
        .toSorted(),
      ALL_WHOLES.map((whole) =>
        Array.from(
          this.#lock(WHOLES.indexOf(whole))._turnstile ?? [],
          ({ _priority: priority }) => priority,
        ),
      ),
    ];
  }

  /** What has to be there. */
  expected(): unknown {
    const inherited = new Map<Actor, number>();
    const of = (by: Actor | null): number =>
      by === null || by.state !== 'running' ? -1 : (inherited.get(by) ?? -1);
    const waiters = [
      ...this.enters.filter(({ isOver }) => !isOver),
      ...this.actors.filter(({ state, lock }) => state === 'waiting' && lock !== null),
    ];
    const waitersOf = (whole: number): number[] =>
      waiters
        .filter(({ lock }) => WHOLES[lock as number] === whole)
        .map(({ level: own, by }) => Math.max(own, of(by)));
    for (let isStable = false; !isStable;) {
      isStable = true;
      for (const actor of this.actors) {
        if (actor.state !== 'running') continue;
        const { lock } = actor;
        const of1 = lock === null ? [] : waitersOf(WHOLES[lock] as number);
        const most = Math.max(-1, of(actor.by), ...of1);
        if (most === of(actor)) continue;
        inherited.set(actor, most);
        isStable = false;
      }
    }
    return [
      this.timers
        .filter(({ isOver, level: own, by }) => !isOver && of(by) > own)
        .map(({ name, by }) => `${name}: ${of(by)}`)
        .toSorted(),
      ALL_WHOLES.map((whole) => waitersOf(whole).toSorted((a, b) => b - a)),
    ];
  }
}

describe('inheritance of priorities, in random programs', () => {
  it('is the highest priority along all waits', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (steps) => {
        const world = new World();
        for (const one of steps) {
          world.play(one);
          await settled();
          await world.clock.advance(0);
          await settled();
          expect(world.actual()).to.deep.equal(world.expected());
        }
      }),
      { numRuns: 600 * soak },
    );
  });
});
