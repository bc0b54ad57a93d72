// Random programs over the whole API of one thread: their definition, generation and printing, and the
// interpreter that runs them on any machine that implements the calls.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */
import fc from 'fast-check';

/** A workqueue by its priority and limit. */
export interface QueueSpec {
  readonly name: string;
  readonly priority: number;
  readonly maxActive: number;
}

/** A lock, or one side of it: `pair` is the same number for both sides of a lock. */
export interface LockSpec {
  readonly name: string;
  readonly kind: 'Mutex' | 'SpinLock' | 'RWLock' | 'RMLock';
  readonly facet: 'read' | 'write' | null;
  readonly pair: number;
}

/** The environment of every program. */
export const QUEUES: readonly QueueSpec[] = [
  { name: 'softserial', priority: 223, maxActive: Infinity },
  { name: 'softclock', priority: 199, maxActive: Infinity },
  { name: 'prihigh', priority: 127, maxActive: Infinity },
  { name: 'prilow', priority: 103, maxActive: Infinity },
  { name: 'between', priority: 115, maxActive: Infinity },
  { name: 'lowestOneAtATime', priority: 0, maxActive: 1 },
  { name: 'prilowTwoAtATime', priority: 103, maxActive: 2 },
];

/** From this priority on functions are synchronous. */
export const FAST_FROM = 192;

export const LOCKS: readonly LockSpec[] = [
  { name: 'm0', kind: 'Mutex', facet: null, pair: 0 },
  { name: 'm1', kind: 'Mutex', facet: null, pair: 1 },
  { name: 'rw.read', kind: 'RWLock', facet: 'read', pair: 2 },
  { name: 'rw.write', kind: 'RWLock', facet: 'write', pair: 2 },
  { name: 'rm.read', kind: 'RMLock', facet: 'read', pair: 3 },
  { name: 'rm.write', kind: 'RMLock', facet: 'write', pair: 3 },
  { name: 'spin', kind: 'SpinLock', facet: null, pair: 4 },
];

/** Index of the handle whose function is running; outside of functions, handle 0. */
export const SELF = -1;

export type Action =
  | { readonly do: 'schedule' | 'reset'; readonly h: number; readonly ms: number }
  | {
      readonly do: 'touch' | 'stop' | 'cancel' | 'ack' | 'destroy' | 'halt' | 'drainAsync';
      readonly h: number;
    }
  | { readonly do: 'setArg'; readonly h: number; readonly arg: number }
  | { readonly do: 'setFunc'; readonly h: number; readonly f: number; readonly arg: number }
  | { readonly do: 'setLock'; readonly h: number; readonly lock: number | null }
  /** Takes another lock, associates it, releases the old one: the sequence in the proposal. */
  | { readonly do: 'swapLock'; readonly h: number; readonly lock: number }
  | { readonly do: 'tryEnter' | 'exit'; readonly lock: number }
  | { readonly do: 'enter'; readonly lock: number; readonly priority: number }
  | { readonly do: 'abortEnter'; readonly nth: number }
  | {
      readonly do: 'run';
      readonly q: number;
      readonly lock: number | null;
      readonly ms: number;
      readonly f: number;
    }
  | { readonly do: 'abortRun'; readonly nth: number }
  | { readonly do: 'settle'; readonly h: number; readonly ok: boolean }
  | { readonly do: 'settleRun'; readonly nth: number; readonly ok: boolean };

/** A step in which promises settle. */
export type Pause = { readonly do: 'advance'; readonly ms: number } | { readonly do: 'drain' };

export type Step = Action | { readonly do: 'tick'; readonly ms: number } | Pause;

export interface FuncSpec {
  /** `sync` returns, `soon` returns a settled promise, `later` returns one that the program settles. */
  readonly mode: 'sync' | 'soon' | 'later';
  readonly fails: boolean;
  readonly actions: readonly Action[];
}

export interface HandleSpec {
  readonly q: number;
  readonly lock: number | null;
  readonly f: number;
}

export interface Program {
  readonly funcs: readonly FuncSpec[];
  readonly handles: readonly HandleSpec[];
  readonly steps: readonly Step[];
}

/** What a function does after its actions. */
export type Outcome = 'return' | 'throw' | 'resolved' | 'rejected' | 'later';

/** The callbacks of a machine. */
export interface Host {
  /** A function is entered: by handle or, with `oneShot`, by number of the run. */
  entered(id: number, oneShot: boolean, f: number, arg: number, lock: number | null): Outcome;
  /** A function given to drainAsync is called. */
  drained(h: number, arg: number): void;
  /** An error reaches onError. */
  failed(h: number, what: string): void;
  /** A promise has settled; its order within one drain does not matter. */
  outcome(what: string): void;
}

/** The machine on which a program runs: the model or the library. */
export interface Machine {
  now(): number;
  /** Performs an action and returns a text of its result. */
  act(action: Action): string;
  lockOf(h: number): number | null;
  tick(ms: number): void;
  advance(ms: number): Promise<void>;
  drain(): Promise<void>;
  /** Everything observable, in one line. */
  look(): string;
}

/** How often one handle runs a function with all its actions; after that it only returns. */
const FUEL = 6;

/** The maximum number of one-shots per program. */
const RUNS = 12;

/** Runs a program on a machine and records what happens. */
export class Player implements Host {
  readonly log: string[] = [];
  readonly #program: Program;
  readonly #machine: Machine;
  #runs = 0;
  /** The queue of the nth one-shot. */
  readonly #runQueues: number[] = [];
  #indent = '';
  readonly #inside: number[] = [];
  readonly #entries: number[];
  readonly #outcomes: string[] = [];
  /** The events of one settle, whose order does not matter. */
  readonly #reports: string[] = [];

  constructor(program: Program, machine: (host: Host, program: Program) => Machine) {
    this.#program = program;
    this.#entries = program.handles.map(() => 0);
    this.#machine = machine(this, program);
  }

  async play(): Promise<void> {
    for (const step of this.#program.steps) {
      // Nothing settles between two steps unless the program has such a step.
      if (step.do === 'advance' || step.do === 'drain') await this.#pause(step);
      else this.#step(step);
    }
    // Let everything happen that can happen.
    for (let round = 0; round < 3; round++) {
      for (let h = 0; h < this.#program.handles.length; h++) {
        this.#act({ do: 'settle', h, ok: true });
      }
      for (let nth = 0; nth < this.#runs; nth++) this.#act({ do: 'settleRun', nth, ok: true });
      await this.#pause({ do: 'drain' });
      for (let lock = 0; lock < LOCKS.length; lock++) {
        if (LOCKS[lock]?.kind !== 'SpinLock') this.#act({ do: 'exit', lock });
      }
      await this.#pause({ do: 'advance', ms: round === 2 ? 2 ** 33 : 70 });
    }
  }

  #step(step: Exclude<Step, Pause>): void {
    if (step.do === 'tick') {
      this.#note(describe(step));
      this.#machine.tick(step.ms);
    } else this.#act(step);
    this.#note(`  ${this.#machine.look()}`);
  }

  async #pause(step: Pause): Promise<void> {
    const machine = this.#machine;
    await machine.drain();
    this.#flush();
    this.#note(describe(step));
    if (step.do === 'advance') {
      await machine.advance(step.ms);
      await machine.drain();
      this.#flush();
    }
    this.#note(`  ${machine.look()}`);
  }

  #act(step: Action): void {
    const action = this.#resolve(step);
    if (!this.#allowed(action)) return;
    if (action.do === 'run') {
      this.#runs++;
      this.#runQueues.push(action.q);
    }
    this.#note(`${this.#indent}${describe(action)}`);
    this.#note(`${this.#indent}  = ${this.#machine.act(action)}`);
  }

  /** Replaces the placeholder of the running handle by its index. */
  #resolve(action: Action): Action {
    if (!('h' in action)) return action;
    const self = this.#inside.at(-1) ?? 0;
    const h = action.h === SELF ? self : action.h % this.#program.handles.length;
    return { ...action, h };
  }

  /** Excludes what the specification does not define: a SpinLock stays within a section. */
  #allowed(action: Action): boolean {
    const what = action.do;
    if (what === 'run') return this.#runs < RUNS;
    if (what === 'tryEnter' || what === 'exit' || what === 'enter') return !isSpin(action.lock);
    if (what !== 'setLock' && what !== 'swapLock') return true;
    return !isSpin(this.#machine.lockOf(action.h)) && !isSpin(action.lock);
  }

  entered(id: number, oneShot: boolean, f: number, arg: number, lock: number | null): Outcome {
    this.#flushReports();
    const name = oneShot ? `run${id}` : `h${id}`;
    this.#note(`  ${this.#machine.now()} ${name} enters f${f}(${arg})`);
    this.#note(`    ${this.#machine.look()}`);
    const func = this.#program.funcs[f];
    const fuel = oneShot ? 0 : (this.#entries[id] ?? 0);
    if (func === undefined || fuel >= FUEL) return 'return';
    if (!oneShot) this.#entries[id] = fuel + 1;
    const indent = this.#indent;
    this.#indent = '    ';
    this.#inside.push(oneShot ? 0 : id);
    try {
      for (const action of func.actions) this.#act(action);
    } finally {
      this.#inside.pop();
      this.#indent = indent;
    }
    const q = oneShot ? this.#runQueues[id] : this.#program.handles[id]?.q;
    const fast = (QUEUES[q ?? 0]?.priority ?? 0) >= FAST_FROM;
    const mode = fast || isSpin(lock) ? 'sync' : func.mode;
    switch (mode) {
      case 'sync':
        return func.fails ? 'throw' : 'return';
      case 'soon':
        return func.fails ? 'rejected' : 'resolved';
      case 'later':
        return 'later';
    }
  }

  drained(h: number, arg: number): void {
    this.#reports.push(`  h${h} drained (${arg})`);
  }

  failed(h: number, what: string): void {
    this.#reports.push(`  h${h} failed: ${what}`);
  }

  outcome(what: string): void {
    this.#outcomes.push(`  ${what}`);
  }

  #note(line: string): void {
    this.#flushReports();
    this.log.push(line);
  }

  #flushReports(): void {
    if (this.#reports.length > 0) this.log.push(...this.#reports.splice(0).toSorted());
  }

  #flush(): void {
    this.#flushReports();
    this.log.push(...this.#outcomes.splice(0).toSorted());
  }
}

export function isSpin(lock: number | null): boolean {
  return lock !== null && LOCKS[lock]?.kind === 'SpinLock';
}

function lockName(lock: number | null): string {
  return lock === null ? 'null' : (LOCKS[lock]?.name ?? '?');
}

function describe(step: Step): string {
  switch (step.do) {
    case 'schedule':
    case 'reset':
      return `h${step.h}.${step.do}(${step.ms})`;
    case 'touch':
    case 'stop':
    case 'cancel':
    case 'ack':
    case 'destroy':
    case 'halt':
    case 'drainAsync':
      return `h${step.h}.${step.do}()`;
    case 'setArg':
      return `h${step.h}.setArg(${step.arg})`;
    case 'setFunc':
      return `h${step.h}.setFunc(f${step.f}, ${step.arg})`;
    case 'setLock':
    case 'swapLock':
      return `h${step.h}.${step.do}(${lockName(step.lock)})`;
    case 'tryEnter':
    case 'exit':
      return `${lockName(step.lock)}.${step.do}()`;
    case 'enter':
      return `${lockName(step.lock)}.enter({ priority: ${step.priority} })`;
    case 'abortEnter':
      return `abort enter ${step.nth}`;
    case 'run':
      return `${QUEUES[step.q]?.name}.run(f${step.f}, { lock: ${lockName(step.lock)}, delayMs: ${step.ms} })`;
    case 'abortRun':
      return `abort run ${step.nth}`;
    case 'settle':
      return `h${step.h}'s run in flight ${step.ok ? 'resolves' : 'rejects'}`;
    case 'settleRun':
      return `run${step.nth} in flight ${step.ok ? 'resolves' : 'rejects'}`;
    case 'tick':
    case 'advance':
      return `${step.do}(${step.ms})`;
    case 'drain':
      return 'drain';
  }
}

/** The program as readable text. */
export function print(program: Program): string {
  const lines: string[] = [];
  const used = new Set(program.handles.map((handle) => handle.q));
  for (const [i, handle] of program.handles.entries()) {
    const queue = QUEUES[handle.q];
    lines.push(`h${i} = Kcont(${queue?.name}, ${lockName(handle.lock)}, f${handle.f}, ${i})`);
  }
  for (const q of used) {
    const queue = QUEUES[q];
    if (queue !== undefined && queue.maxActive !== Infinity) {
      lines.push(`${queue.name}: priority ${queue.priority}, maxActive ${queue.maxActive}`);
    }
  }
  for (const [i, func] of program.funcs.entries()) {
    lines.push(`f${i}: ${func.mode}${func.fails ? ', fails' : ''}`);
    for (const action of func.actions) lines.push(`    ${describe(action)}`);
  }
  lines.push('steps:');
  for (const step of program.steps) lines.push(`    ${describe(step)}`);
  return lines.join('\n').replaceAll(`h${SELF}`, 'self');
}

// The parts of a random program.

/** Few delays and limits, so that they collide. */
export const DELAYS: readonly number[] = [
  0,
  1,
  2,
  3,
  62,
  63,
  64,
  65,
  4095,
  4096,
  4097,
  2 ** 18,
  2 ** 18 + 1,
  2 ** 24,
  2 ** 30,
  2 ** 31,
  2 ** 32 + 1,
  2 ** 53 - 1,
];

const STEPS_MS: readonly number[] = [
  0,
  1,
  1,
  2,
  3,
  62,
  63,
  64,
  65,
  4032,
  4096,
  2 ** 18,
  2 ** 30,
  2 ** 31,
];

/** Priorities of awaiting code. */
const CODE: readonly number[] = [210, 127, 120, 103, 20];

/** The part of the API that a program may use. */
export interface Ground {
  readonly handles: number;
  readonly funcs: number;
  readonly steps: number;
  readonly queues: readonly number[];
  readonly locks: readonly number[];
  readonly modes: readonly FuncSpec['mode'][];
  readonly swaps: boolean;
  readonly runs: boolean;
  /** Many runs and waits for locks that begin in a function. */
  readonly awaits: boolean;
  /** Hardly any time passes: more stops, and locks change hands more often. */
  readonly hectic: boolean;
  /** Few actions, many timers. */
  readonly timersOnly: boolean;
}

/** Programs that use only what `ground` allows. */
export function programs(ground: Ground): fc.Arbitrary<Program> {
  const h = fc.oneof(
    { weight: 3, arbitrary: fc.nat(ground.handles - 1) },
    { weight: 1, arbitrary: fc.constant(SELF) },
  );
  const f = fc.nat(ground.funcs - 1);
  const q = fc.constantFrom(...ground.queues);
  const ms = fc.oneof(
    { weight: ground.hectic ? 20 : 1, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.constantFrom(1, 2, 3) },
    { weight: 2, arbitrary: fc.constantFrom(...DELAYS) },
  );
  const arg = fc.integer({ min: 10, max: 19 });
  const nth = fc.nat(5);

  const simple = (
    ...what: ('touch' | 'stop' | 'cancel' | 'ack' | 'destroy' | 'halt' | 'drainAsync')[]
  ) => fc.record({ do: fc.constantFrom(...what), h });

  const actions: { weight: number; arbitrary: fc.Arbitrary<Action> }[] = [
    { weight: 16, arbitrary: fc.record({ do: fc.constant('schedule' as const), h, ms }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('reset' as const), h, ms }) },
    { weight: 4, arbitrary: simple('touch') },
    { weight: ground.hectic ? 8 : 2, arbitrary: simple('stop') },
  ];
  if (!ground.timersOnly) {
    actions.push(
      { weight: 2, arbitrary: simple('cancel', 'drainAsync', 'halt') },
      { weight: 1, arbitrary: ground.hectic ? simple('stop') : simple('destroy') },
      { weight: 6, arbitrary: simple('ack') },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('setArg' as const), h, arg }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('setFunc' as const), h, f, arg }) },
    );
  }
  if (ground.locks.length > 0) {
    const lock = fc.constantFrom(...ground.locks);
    const priority = fc.constantFrom(...CODE);
    actions.push(
      {
        weight: ground.hectic ? 8 : 3,
        arbitrary: fc.record({ do: fc.constant('tryEnter' as const), lock }),
      },
      {
        weight: ground.hectic ? 12 : 6,
        arbitrary: fc.record({ do: fc.constant('exit' as const), lock }),
      },
      {
        weight: ground.awaits ? 8 : 3,
        arbitrary: fc.record({ do: fc.constant('enter' as const), lock, priority }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('abortEnter' as const), nth }) },
    );
    if (ground.swaps) {
      const lockOrNull = fc.option(lock);
      actions.push(
        {
          weight: 1,
          arbitrary: fc.record({ do: fc.constant('setLock' as const), h, lock: lockOrNull }),
        },
        { weight: 2, arbitrary: fc.record({ do: fc.constant('swapLock' as const), h, lock }) },
      );
    }
  }
  if (ground.modes.includes('later')) {
    const ok = fc.boolean();
    actions.push({
      weight: 8,
      arbitrary: fc.record({ do: fc.constant('settle' as const), h, ok }),
    });
    if (ground.runs) {
      actions.push({
        weight: 2,
        arbitrary: fc.record({ do: fc.constant('settleRun' as const), nth, ok }),
      });
    }
  }
  const lock: fc.Arbitrary<number | null> =
    ground.locks.length === 0
      ? fc.constant(null)
      : fc.oneof(
          { weight: 1, arbitrary: fc.constant(null) },
          { weight: 4, arbitrary: fc.constantFrom(...ground.locks) },
        );
  if (ground.runs) {
    actions.push(
      {
        weight: ground.awaits ? 16 : 2,
        arbitrary: fc.record({ do: fc.constant('run' as const), q, lock, ms, f }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('abortRun' as const), nth }) },
    );
  }

  const action = fc.oneof(...actions);
  const time = fc.constantFrom(...(ground.hectic ? [0, 0, 0, 1] : STEPS_MS));
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 10, arbitrary: action },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: time }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: time }) },
    { weight: ground.hectic ? 5 : 2, arbitrary: fc.constant({ do: 'drain' as const }) },
  );
  return fc.record({
    funcs: fc.array(
      fc.record({
        mode: fc.constantFrom(...ground.modes),
        fails: fc.integer({ min: 0, max: 7 }).map((n) => n === 7),
        actions: fc.array(action, {
          maxLength: ground.hectic ? 1 : ground.timersOnly ? 2 : 4,
          size: 'max',
        }),
      }),
      { minLength: ground.funcs, maxLength: ground.funcs },
    ),
    handles: fc.array(fc.record({ q, lock, f }), {
      minLength: ground.hectic ? ground.handles : 1,
      maxLength: ground.handles,
      size: 'max',
    }),
    steps: fc.array(step, {
      minLength: ground.hectic ? 30 : 1,
      maxLength: ground.steps,
      size: 'max',
    }),
  });
}
