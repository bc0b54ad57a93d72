// The library as a machine on which random programs run.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  RMLock,
  RWLock,
  SpinLock,
  VirtualClock,
} from '../../lib/index.ts';
import type { Lock, Workqueue } from '../../lib/index.ts';
import * as kern from '../../lib/kern.ts';
import { deferred, settled } from './lab.ts';
import type { Deferred } from './lab.ts';
import { LOCKS, QUEUES } from './program.ts';
import type { Action, Host, Machine, Program } from './program.ts';

/** The error of a function that fails. */
class OnPurpose extends Error {}

function nameOf(error: unknown): string {
  if (error instanceof KcontError) return error.code;
  if (error instanceof OnPurpose) return error.message;
  if (error instanceof Error && error.name === 'AbortError') return 'aborted';
  return String(error);
}

export class Library implements Machine {
  readonly #host: Host;
  readonly #functions: boolean;
  readonly #clock: VirtualClock = new VirtualClock();
  readonly #kernel: Kernel;
  readonly #queues: Workqueue[];
  readonly #locks: Lock[] = [];
  readonly #lockIndex = new Map<Lock, number>();
  readonly #handles: Kcont<number>[];
  readonly #ids = new Map<unknown, number>();
  readonly #funcs: ((arg: number, kc: Kcont<number>) => void | Promise<void>)[];
  readonly #inFlight = new Map<number, Deferred<void>>();
  readonly #runsInFlight = new Map<number, Deferred<void>>();
  readonly #enterAborts: AbortController[] = [];
  readonly #runAborts: AbortController[] = [];

  constructor(host: Host, program: Program) {
    this.#host = host;
    this.#functions = program.steps.length % 2 === 0;
    this.#kernel = new Kernel({
      clock: this.#clock,
      onError: (error, kc): void => {
        host.failed(this.#ids.get(kc) ?? -1, nameOf(error));
      },
    });
    this.#queues = QUEUES.map((spec) =>
      // Infinite patience, because programs let months pass while they hold a lock.
      this.#kernel.acquire(spec.priority, { patienceMs: Infinity, maxActive: spec.maxActive }),
    );
    let both: RWLock | RMLock | null = null;
    for (const [index, spec] of LOCKS.entries()) {
      let lock: Lock;
      if (spec.facet === null) lock = spec.kind === 'SpinLock' ? new SpinLock() : new Mutex();
      else {
        if (spec.facet === 'read') both = spec.kind === 'RWLock' ? new RWLock() : new RMLock();
        if (both === null) throw new Error('the read facet comes first');
        lock = spec.facet === 'read' ? both.read : both.write;
      }
      this.#locks.push(lock);
      this.#lockIndex.set(lock, index);
    }
    this.#funcs = program.funcs.map((_spec, f) => (arg, kc) => {
      const id = this.#id(kc);
      return this.#perform(this.#host.entered(id, false, f, arg, this.lockOf(id)), (run) => {
        this.#inFlight.set(id, run);
      });
    });
    this.#handles = program.handles.map((spec, id) => {
      const lock = spec.lock === null ? null : this.#lock(spec.lock);
      const wq = this.#queue(spec.q);
      const func = this.#func(spec.f);
      const kc = this.#functions
        ? kern.kcont_create(wq, lock, func, id, 0)
        : new Kcont<number>(wq, lock, func, id);
      this.#ids.set(kc, id);
      return kc;
    });
  }

  #perform(
    outcome: ReturnType<Host['entered']>,
    later: (run: Deferred<void>) => void,
  ): void | Promise<void> {
    switch (outcome) {
      case 'return':
        return undefined;
      case 'throw':
        throw new OnPurpose('thrown');
      case 'resolved':
        return Promise.resolve();
      case 'rejected':
        return Promise.reject(new OnPurpose('rejected'));
      case 'later': {
        const run = deferred();
        later(run);
        return run.promise;
      }
    }
  }

  now(): number {
    return this.#clock.now;
  }

  lockOf(h: number): number | null {
    const { lock } = this.#handle(h);
    return lock === null ? null : (this.#lockIndex.get(lock) ?? -1);
  }

  act(action: Action): string {
    try {
      return String(this.#act(action) ?? 'void');
    } catch (error) {
      return nameOf(error);
    }
  }

  /** Half of the programs use the functions of the proposal, as far as possible. */
  #act(action: Action): string | number | boolean | void {
    return (this.#functions ? this.#actByFunctions(action) : undefined) ?? this.#actByClass(action);
  }

  #actByFunctions(action: Action): string | boolean | number | undefined {
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the class has the rest
    switch (action.do) {
      case 'schedule': {
        const kc = this.#handle(action.h);
        const errno = kern.kcont_schedule(kc, null, action.ms);
        // If the class returns false, the function tells which of the two reasons it is.
        if (errno === (kc.destroyed ? kern.EINVAL : kern.EBUSY)) return false;
        return errno === 0 ? true : `errno ${errno}`;
      }
      case 'stop':
        return kern.kcont_stop(this.#handle(action.h));
      case 'cancel':
        return kern.kcont_cancel(this.#handle(action.h));
      case 'ack':
        return kern.kcont_ack(this.#handle(action.h));
      case 'destroy':
        kern.kcont_destroy(this.#handle(action.h));
        return 'void';
      case 'halt':
        this.#outcome(`halt h${action.h}`, kern.kcont_halt(this.#handle(action.h)));
        return 'void';
      case 'drainAsync':
        return kern.kcont_drain_async(this.#handle(action.h), (arg) => {
          this.#host.drained(action.h, arg);
        });
      case 'setArg':
        kern.kcont_setarg(this.#handle(action.h), action.arg);
        return 'void';
      case 'setFunc':
        kern.kcont_setfunc(this.#handle(action.h), this.#func(action.f), action.arg);
        return 'void';
      default:
        return undefined;
    }
  }

  #actByClass(action: Action): string | number | boolean | void {
    switch (action.do) {
      case 'schedule':
        return this.#handle(action.h).schedule(action.ms);
      case 'reset':
        return this.#handle(action.h).reset(action.ms);
      case 'touch':
        return this.#handle(action.h).touch();
      case 'stop':
        return this.#handle(action.h).stop();
      case 'cancel':
        return this.#handle(action.h).cancel();
      case 'ack':
        return this.#handle(action.h).ack();
      case 'destroy':
        return this.#handle(action.h).destroy();
      case 'halt': {
        this.#outcome(`halt h${action.h}`, this.#handle(action.h).halt());
        return undefined;
      }
      case 'drainAsync':
        return this.#handle(action.h).drainAsync((arg) => {
          this.#host.drained(action.h, arg);
        });
      case 'setArg':
        return this.#handle(action.h).setArg(action.arg);
      case 'setFunc':
        return this.#handle(action.h).setFunc(this.#func(action.f), action.arg);
      case 'setLock':
        return this.#setLock(action.h, action.lock);
      case 'swapLock': {
        const { lock: old } = this.#handle(action.h);
        const lock = this.#lock(action.lock);
        if (!lock.tryEnter()) return 'busy';
        let answer: string;
        try {
          answer = this.#setLock(action.h, action.lock);
        } catch (error) {
          lock.exit();
          throw error;
        }
        (old ?? lock).exit();
        return answer;
      }
      case 'tryEnter':
        return this.#lock(action.lock).tryEnter();
      case 'exit':
        return this.#lock(action.lock).exit();
      case 'enter': {
        const id = this.#enterAborts.length;
        const abort = new AbortController();
        this.#enterAborts.push(abort);
        const entered = this.#lock(action.lock).enter({
          signal: abort.signal,
          priority: action.priority,
        });
        this.#outcome(
          `enter ${id}`,
          entered.then(() => 'granted'),
        );
        return `enter ${id}`;
      }
      case 'abortEnter':
        return this.#enterAborts[action.nth]?.abort();
      case 'run': {
        const id = this.#runAborts.length;
        const abort = new AbortController();
        this.#runAborts.push(abort);
        const lock = action.lock === null ? null : this.#lock(action.lock);
        const result = this.#queue(action.q).run(
          () => this.#performRun(id, action.f, action.lock),
          { lock, delayMs: action.ms, signal: abort.signal },
        );
        this.#outcome(
          `run ${id}`,
          result.then(() => 'done'),
        );
        return `run ${id}`;
      }
      case 'abortRun':
        return this.#runAborts[action.nth]?.abort();
      case 'settle':
        return this.#settle(this.#inFlight, action.h, action.ok);
      case 'settleRun':
        return this.#settle(this.#runsInFlight, action.nth, action.ok);
    }
  }

  #performRun(id: number, f: number, lock: number | null): void | Promise<void> {
    return this.#perform(this.#host.entered(id, true, f, id, lock), (run) => {
      this.#runsInFlight.set(id, run);
    });
  }

  #setLock(h: number, lock: number | null): string {
    const kc = this.#handle(h);
    const next = lock === null ? null : this.#lock(lock);
    const previous = this.#functions ? kern.kcont_setmutex(kc, next) : kc.setLock(next);
    return previous === null ? 'null' : (LOCKS[this.#lockIndex.get(previous) ?? -1]?.name ?? '?');
  }

  #settle(runs: Map<number, Deferred<void>>, id: number, ok: boolean): string {
    const run = runs.get(id);
    if (run === undefined) return 'none';
    runs.delete(id);
    if (ok) run.resolve();
    else run.reject(new OnPurpose('rejected'));
    return 'settled';
  }

  #outcome(what: string, promise: Promise<unknown>): void {
    promise.then(
      (value) => {
        this.#host.outcome(`${what} ${String(value)}`);
      },
      (error: unknown) => {
        this.#host.outcome(`${what} ${nameOf(error)}`);
      },
    );
  }

  tick(ms: number): void {
    this.#clock.tick(ms);
  }

  advance(ms: number): Promise<void> {
    return this.#clock.advance(ms);
  }

  drain(): Promise<void> {
    return settled();
  }

  look(): string {
    const words: string[] = [];
    for (const [id, kc] of this.#handles.entries()) {
      words.push(
        `h${id}:` +
          (kc.pending ? 'p' : '') +
          (kc.expired ? 'e' : '') +
          (kc.invoking ? 'i' : '') +
          (kc.active ? 'a' : '') +
          (kc.busy ? 'b' : '') +
          (kc.running ? 'r' : '') +
          (kc.destroyed ? 'd' : '') +
          (Number.isNaN(kc.deadline) || kc.deadline >= 2 ** 53 ? '' : `@${kc.deadline}`),
      );
    }
    const held = LOCKS.filter((_spec, lock) => this.#lock(lock).held).map((spec) => spec.name);
    return `${words.join(' ')} | ${held.join(' ')}`;
  }

  #id(kc: Kcont<number>): number {
    const id = this.#ids.get(kc);
    if (id === undefined) throw new Error('a stranger');
    return id;
  }

  #handle(h: number): Kcont<number> {
    return at(this.#handles, h);
  }

  #func(f: number): (arg: number, kc: Kcont<number>) => void | Promise<void> {
    return at(this.#funcs, f);
  }

  #queue(q: number): Workqueue {
    return at(this.#queues, q);
  }

  #lock(lock: number): Lock {
    return at(this.#locks, lock);
  }
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new Error(`nothing at ${index}`);
  return item;
}
