// The simplest possible model of the library on one thread: arrays, linear scans, a sort at every step. It
// shares no code with the library; if they disagree, the specification decides.
/* oxlint-disable typescript/consistent-return -- tsc checks that every case returns */
import { FAST_FROM, LOCKS, QUEUES } from './program.ts';
import type { Action, Host, Machine, Program } from './program.ts';

/** A continuation. */
class Handle {
  readonly id: number;
  readonly oneShot: boolean;
  readonly q: number;
  lock: number | null;
  f: number;
  arg: number;

  pending = false;
  deadlineMs = 0;
  lastDelayMs = 0;
  queued = false; // runnable, or will be once its own run is over
  running = false;
  acked = false;
  expired = false;
  destroyed = false;
  /** Its place among the runnable continuations. */
  tick = 0;
  sequence = 0;
  /** Whether it was tried, found its lock busy, and is in the lock's queue. */
  waiting = false;
  /** Whether it waits and will be tried again: it was the best waiter when the lock became free. */
  woken = false;
  /** When it was first tried without success, for any reason; 0: not yet. */
  arrival = 0;
  /** Whether the program decides when the run in flight ends. */
  open = false;
  /** Whether the promise of the run in flight has not settled. */
  unsettled = false;
  halts = 0;
  drains = 0;
  aborted = false;
  /** Who awaits it: the run in which it was begun, if that is asynchronous. */
  by: Handle | null = null;
  /** The priority that it has inherited; NONE: none. */
  inherited = NONE;
  /** Its place, if it had inherited nothing. */
  home: Place | null = null;
  /** What its run in flight has begun to await. */
  begun: (Handle | Code)[] = [];
  /** The lock that was taken for its run in flight. */
  taken: number | null = null;

  constructor(
    id: number,
    oneShot: boolean,
    q: number,
    lock: number | null,
    f: number,
    arg: number,
  ) {
    this.id = id;
    this.oneShot = oneShot;
    this.q = q;
    this.lock = lock;
    this.f = f;
    this.arg = arg;
  }

  get invoking(): boolean {
    return !this.destroyed && (this.queued || (this.running && !this.acked));
  }
}

/** Awaiting code in a lock's queue. */
interface Code {
  readonly id: number;
  readonly lock: number;
  readonly priority: number;
  arrival: number;
  by: Handle | null;
  inherited: number;
  home: Place | null;
}

/** The place of a continuation in the order, or of awaiting code, which has only the last number. */
interface Place {
  tick: number;
  sequence: number;
  arrival: number;
}

/** A continuation in the run queue, or the place that it would have if it had inherited nothing. */
interface Candidate extends Place {
  readonly handle: Handle;
  readonly priority: number;
  readonly hasInherited: boolean;
  readonly isHome: boolean;
}

const NONE = -1;

/** A waiter in a lock's queue. */
interface Waiter {
  readonly lock: number;
  readonly priority: number;
  readonly arrival: number;
  readonly handle: Handle | null;
  readonly code: Code | null;
}

interface Settling {
  readonly handle: Handle;
  readonly ok: boolean;
}

export class Model implements Machine {
  readonly #host: Host;
  #nowMs = 0;
  #sequence = 0;
  #arrivals = 0;
  readonly #handles: Handle[];
  readonly #oneShots: Handle[] = [];
  #codes: Code[] = [];
  #entersMade = 0;
  /** Indexed by the pairs of LOCKS. */
  readonly #writer: boolean[] = LOCKS.map(() => false);
  readonly #readers: number[] = LOCKS.map(() => 0);
  readonly #inFlight: number[] = QUEUES.map(() => 0);
  /** Promises that have settled and were not handled yet. */
  readonly #settling: Settling[] = [];
  #inside: Handle | null = null;
  /** Everything that a run has begun to await, in this order. */
  #awaited: (Handle | Code)[] = [];

  constructor(host: Host, program: Program) {
    this.#host = host;
    this.#handles = program.handles.map(
      (spec, id) => new Handle(id, false, spec.q, spec.lock, spec.f, id),
    );
  }

  now(): number {
    return this.#nowMs;
  }

  lockOf(h: number): number | null {
    return this.#handle(h).lock;
  }

  // Calls

  act(action: Action): string {
    const answer = this.#act(action);
    this.#inherit();
    return answer;
  }

  #act(action: Action): string {
    switch (action.do) {
      case 'schedule':
        return this.#schedule(this.#handle(action.h), action.ms);
      case 'reset':
        return this.#reset(this.#handle(action.h), action.ms);
      case 'touch':
        return this.#touch(this.#handle(action.h));
      case 'stop':
        return this.#stop(this.#handle(action.h));
      case 'cancel':
        return this.#cancel(this.#handle(action.h));
      case 'ack':
        return this.#ack(this.#handle(action.h));
      case 'destroy':
        return this.#destroy(this.#handle(action.h));
      case 'halt':
        return this.#halt(this.#handle(action.h));
      case 'drainAsync':
        return this.#drainAsync(this.#handle(action.h));
      case 'setArg': {
        const handle = this.#handle(action.h);
        if (handle.destroyed) return 'EINVAL';
        if (handle.lock !== null && !this.#held(handle.lock)) return 'EPERM';
        handle.arg = action.arg;
        return 'void';
      }
      case 'setFunc': {
        const handle = this.#handle(action.h);
        if (handle.destroyed) return 'EINVAL';
        if (handle.lock === null && action.f !== handle.f) return 'EINVAL';
        if (handle.lock !== null && !this.#held(handle.lock)) return 'EPERM';
        handle.f = action.f;
        handle.arg = action.arg;
        return 'void';
      }
      case 'setLock':
        return this.#setLock(this.#handle(action.h), action.lock);
      case 'swapLock': {
        const handle = this.#handle(action.h);
        const old = handle.lock;
        if (!this.#tryEnter(action.lock)) return 'busy';
        const answer = this.#setLock(handle, action.lock);
        if (answer === 'EINVAL' || answer === 'EPERM' || old === null) {
          this.#exit(action.lock);
          return answer;
        }
        this.#exit(old);
        return answer;
      }
      case 'tryEnter':
        return String(this.#tryEnter(action.lock));
      case 'exit':
        return this.#exit(action.lock) ? 'void' : 'EPERM';
      case 'enter': {
        const id = this.#entersMade++;
        const code = {
          id,
          lock: action.lock,
          priority: action.priority,
          arrival: ++this.#arrivals,
          by: null,
          inherited: NONE,
          home: null,
        };
        this.#codes.push(code);
        this.#grant(action.lock);
        if (this.#codes.includes(code)) this.#begin(code);
        return `enter ${id}`;
      }
      case 'abortEnter': {
        const code = this.#codes.find((one) => one.id === action.nth);
        if (code === undefined) return 'void';
        this.#codes = this.#codes.filter((one) => one !== code);
        this.#host.outcome(`enter ${code.id} aborted`);
        this.#grant(code.lock);
        return 'void';
      }
      case 'run': {
        const id = this.#oneShots.length;
        const handle = new Handle(id, true, action.q, action.lock, action.f, id);
        this.#oneShots.push(handle);
        this.#schedule(handle, action.ms);
        this.#begin(handle);
        return `run ${id}`;
      }
      case 'abortRun': {
        const handle = this.#oneShots[action.nth];
        if (handle === undefined || handle.aborted) return 'void';
        if (handle.pending || handle.queued) {
          handle.aborted = true;
          this.#withdraw(handle);
          this.#host.outcome(`run ${handle.id} aborted`);
        }
        return 'void';
      }
      case 'settle':
        return this.#settlePromise(this.#handle(action.h), action.ok);
      case 'settleRun': {
        const handle = this.#oneShots[action.nth];
        return handle === undefined ? 'none' : this.#settlePromise(handle, action.ok);
      }
    }
  }

  #schedule(handle: Handle, delayMs: number): string {
    if (handle.destroyed) return 'false';
    if (handle.invoking || handle.halts > 0) return 'false';
    this.#arm(handle, delayMs);
    return 'true';
  }

  #reset(handle: Handle, delayMs: number): string {
    if (handle.destroyed) return 'false';
    if (handle.halts > 0) return 'false';
    this.#withdraw(handle);
    if (handle.running) handle.acked = true;
    this.#arm(handle, delayMs);
    return 'true';
  }

  #arm(handle: Handle, delayMs: number): void {
    handle.expired = false;
    handle.arrival = 0;
    handle.lastDelayMs = delayMs;
    handle.sequence = ++this.#sequence;
    if (delayMs === 0) {
      handle.pending = false;
      handle.queued = true;
      handle.tick = this.#nowMs;
    } else {
      handle.pending = true;
      handle.deadlineMs = this.#nowMs + delayMs;
    }
  }

  #touch(handle: Handle): string {
    if (!handle.pending) return 'false';
    handle.deadlineMs = this.#nowMs + handle.lastDelayMs;
    return 'true';
  }

  #stop(handle: Handle): string {
    const answer = handle.expired || handle.running;
    this.#withdraw(handle);
    handle.expired = false;
    return String(answer);
  }

  #cancel(handle: Handle): string {
    const answer = (handle.pending || handle.queued ? 1 : 0) + (handle.running ? 2 : 0);
    this.#stop(handle);
    return String(answer);
  }

  #ack(handle: Handle): string {
    if (handle.destroyed || !handle.running || handle.acked) return 'false';
    handle.acked = true;
    return 'true';
  }

  #destroy(handle: Handle): string {
    this.#stop(handle);
    handle.destroyed = true;
    return 'void';
  }

  #halt(handle: Handle): string {
    if (this.#inside === handle) {
      this.#host.outcome(`halt h${handle.id} EDEADLK`);
      return 'void';
    }
    this.#stop(handle);
    if (handle.running) handle.halts++;
    else this.#host.outcome(`halt h${handle.id} false`);
    return 'void';
  }

  #drainAsync(handle: Handle): string {
    this.#stop(handle);
    if (!handle.running) return 'true';
    handle.drains++;
    return 'false';
  }

  #setLock(handle: Handle, lock: number | null): string {
    if (handle.destroyed) return 'EINVAL';
    const old = handle.lock;
    if (old === null) return lock === null ? 'null' : 'EINVAL';
    if (!this.#held(old)) return 'EPERM';
    handle.lock = lock;
    if (handle.waiting) {
      // It leaves the old lock's queue, and tries the new lock at the next dispatch, at its old place.
      handle.waiting = handle.woken = false;
      this.#grant(old);
    }
    return LOCKS[old]?.name ?? '?';
  }

  /** Removes it from the queue that it is in. */
  #withdraw(handle: Handle): void {
    handle.pending = false;
    handle.queued = false;
    if (handle.waiting) {
      handle.waiting = handle.woken = false;
      if (handle.lock !== null) this.#grant(handle.lock);
    }
  }

  // Locks

  #held(lock: number): boolean {
    const pair = pairOf(lock);
    return facet(lock) === 'read' ? (this.#readers[pair] ?? 0) > 0 : this.#writer[pair] === true;
  }

  /** Whether the current holders allow one more holder of this side. */
  #free(lock: number): boolean {
    const pair = pairOf(lock);
    if (this.#writer[pair] === true) return false;
    return facet(lock) === 'read' || this.#readers[pair] === 0;
  }

  #take(lock: number): void {
    const pair = pairOf(lock);
    if (facet(lock) === 'read') this.#readers[pair] = (this.#readers[pair] ?? 0) + 1;
    else this.#writer[pair] = true;
  }

  #tryEnter(lock: number): boolean {
    if (!this.#free(lock)) return false;
    this.#take(lock);
    return true;
  }

  #exit(lock: number): boolean {
    if (!this.#held(lock)) return false;
    const pair = pairOf(lock);
    if (facet(lock) === 'read') this.#readers[pair] = (this.#readers[pair] ?? 0) - 1;
    else this.#writer[pair] = false;
    this.#grant(lock);
    return true;
  }

  /** The waiters of both sides of the lock, the best first. */
  #waiters(lock: number): Waiter[] {
    const pair = pairOf(lock);
    const waiters: Waiter[] = [];
    for (const code of this.#codes) {
      if (pairOf(code.lock) !== pair) continue;
      waiters.push({ ...code, priority: levelOf(code), handle: null, code });
    }
    for (const handle of [...this.#handles, ...this.#oneShots]) {
      if (handle.waiting && handle.lock !== null && pairOf(handle.lock) === pair) {
        waiters.push(waiterOf(handle, handle.lock));
      }
    }
    return waiters.toSorted(compareWaiters);
  }

  /** Grants the lock to awaiting code that is next. A continuation that is next waits for its dispatch. */
  #grant(lock: number): void {
    const waiters = this.#waiters(lock);
    for (const waiter of waiters) {
      const { code, handle } = waiter;
      if (!this.#free(waiter.lock)) return;
      if (code === null) {
        for (const other of waiters) if (other.handle !== null) other.handle.woken = false;
        if (handle !== null) handle.woken = true;
        return;
      }
      this.#take(waiter.lock);
      this.#codes = this.#codes.filter((one) => one !== code);
      this.#host.outcome(`enter ${code.id} granted`);
    }
  }

  /** Whether its lock allows this continuation to be entered now. */
  #admits(handle: Handle, lock: number): boolean {
    if (!this.#free(lock)) return false;
    if (facet(lock) !== 'read') return true;
    const me = waiterOf(handle, lock);
    return !this.#waiters(lock).some((other) => isWriter(other) && compareWaiters(other, me) < 0);
  }

  // Inheritance

  /** Notes that the function on the stack has begun something. */
  #begin(what: Handle | Code): void {
    if (this.#inside !== null && !isFast(this.#inside)) this.#inside.begun.push(what);
  }

  /** Who holds a lock and awaits something. A run that has replaced its lock is not known to hold one. */
  #isHolder(run: Handle, lock: number): boolean {
    const { taken } = run;
    return run.open && taken !== null && run.lock === taken && pairOf(taken) === pairOf(lock);
  }

  /** Raises priorities along all waits, from everybody's own priority, until nothing changes. */
  #levels(): Map<Handle, number> {
    const runs = [...this.#handles, ...this.#oneShots].filter((handle) => handle.open);
    const levels = new Map(runs.map((run) => [run, NONE]));
    const of = (by: Handle | null): number => (by === null ? NONE : (levels.get(by) ?? NONE));
    const waiters = [
      ...this.#codes,
      ...[...this.#handles, ...this.#oneShots].filter(({ waiting, woken }) => waiting && !woken),
    ];
    for (let isStable = false; !isStable;) {
      isStable = true;
      for (const run of runs) {
        const sources = waiters
          .filter(({ lock }) => lock !== null && this.#isHolder(run, lock))
          .map((waiter) => Math.max(ownOf(waiter), of(waiter.by)));
        const level = Math.max(NONE, of(run.by), ...sources);
        if (level === of(run)) continue;
        levels.set(run, level);
        isStable = false;
      }
    }
    return levels;
  }

  /** Moves what has inherited another priority than before. */
  #inherit(): boolean {
    let any = false;
    for (let isStable = false; !isStable;) {
      isStable = true;
      const levels = this.#levels();
      const locks: number[] = [];
      for (const what of this.#awaited) {
        const from = what.by === null ? NONE : (levels.get(what.by) ?? NONE);
        const level = from > ownOf(what) ? from : NONE;
        if (level === what.inherited) continue;
        what.inherited = level;
        locks.push(...this.#move(what));
        isStable = false;
        any = true;
      }
      for (const lock of locks) this.#grant(lock);
    }
    return any;
  }

  /** Returns the locks whose next waiter may be another one now. */
  #move(what: Handle | Code): number[] {
    if (what instanceof Handle) {
      const { lock } = what;
      if (!what.queued) return [];
      const wasWaiting = what.waiting;
      if (what.inherited === NONE) {
        Object.assign(what, what.home);
        what.home = null;
        // It has not been set aside.
        if (what.arrival === 0) what.waiting = what.woken = false;
      } else this.#toTail(what);
      return wasWaiting && lock !== null ? [lock] : [];
    }
    if (!this.#codes.includes(what)) return [];
    what.home ??= { tick: 0, sequence: 0, arrival: what.arrival };
    what.arrival = ++this.#arrivals;
    if (what.inherited === NONE) {
      what.arrival = what.home.arrival;
      what.home = null;
    }
    return [what.lock];
  }

  #toTail(handle: Handle): void {
    const { tick, sequence, arrival } = handle;
    handle.home ??= { tick, sequence, arrival };
    handle.tick = this.#nowMs;
    handle.sequence = ++this.#sequence;
    if (arrival !== 0) handle.arrival = ++this.#arrivals;
  }

  /** Called when a run has settled: it awaits nothing any more. */
  #endAwaits(run: Handle): void {
    for (const what of run.begun) what.by = null;
    run.begun = [];
  }

  // Time

  tick(ms: number): void {
    const target = this.#nowMs + ms;
    this.#dispatch();
    for (;;) {
      const due = this.#nextDue(target);
      if (due === null) break;
      this.#expire(due);
      this.#dispatch();
    }
    this.#nowMs = target;
  }

  advance(ms: number): Promise<void> {
    const target = this.#nowMs + ms;
    this.#dispatchAndSettle();
    for (;;) {
      const due = this.#nextDue(target);
      if (due === null) break;
      this.#expire(due);
      this.#dispatchAndSettle();
    }
    this.#nowMs = target;
    return Promise.resolve();
  }

  drain(): Promise<void> {
    for (const { handle, ok } of this.#settling.splice(0)) {
      this.#settle(handle, ok ? null : 'rejected');
    }
    return Promise.resolve();
  }

  #dispatchAndSettle(): void {
    for (;;) {
      const entered = this.#dispatch();
      if (!entered && this.#settling.length === 0) return;
      void this.drain();
    }
  }

  #nextDue(target: number): number | null {
    let due = Infinity;
    for (const handle of [...this.#handles, ...this.#oneShots]) {
      if (handle.pending && handle.deadlineMs < due) due = handle.deadlineMs;
    }
    return due <= target ? due : null;
  }

  #expire(due: number): void {
    this.#nowMs = due;
    for (const handle of [...this.#handles, ...this.#oneShots]) {
      if (handle.pending && handle.deadlineMs === due) {
        handle.pending = false;
        handle.queued = true;
        handle.tick = due;
      }
    }
    for (const what of this.#awaited) {
      const isDue = what instanceof Handle && what.queued && what.tick === due;
      if (isDue && what.inherited !== NONE && what.home === null) this.#toTail(what);
    }
  }

  // Dispatch

  #dispatch(): boolean {
    let any = false;
    while (this.#enterNext()) any = true;
    return any;
  }

  #enterNext(): boolean {
    const handles = [...this.#handles, ...this.#oneShots].filter((handle) => handle.queued);
    const homes = handles.filter(({ home }) => home !== null);
    const candidates = [...handles.map(candidate), ...homes.map(homeOf)];
    for (const { handle, isHome } of candidates.toSorted(compareCandidates)) {
      if (isHome) {
        // It would be set aside now.
        const { home } = handle;
        if (handle.waiting && home !== null && home.arrival === 0) home.arrival = ++this.#arrivals;
        continue;
      }
      const wasWaiting = handle.waiting && !handle.woken;
      if (this.#canEnter(handle)) {
        this.#enter(handle);
        return true;
      }
      if (handle.arrival === 0) handle.arrival = ++this.#arrivals;
      const isWaiting = handle.waiting && !handle.woken;
      if (wasWaiting !== isWaiting && this.#inherit()) return this.#enterNext();
    }
    return false;
  }

  #canEnter(handle: Handle): boolean {
    if (handle.running) return false;
    const { q, lock } = handle;
    // A waiter in a lock's queue is not considered again before it is next there.
    const called = handle.woken || (lock !== null && this.#admits(handle, lock));
    if (handle.waiting && !called) return false;
    handle.woken = false;
    if ((this.#inFlight[q] ?? 0) >= (QUEUES[q]?.maxActive ?? Infinity)) {
      // A continuation that cannot run for another reason does not hold up others at a lock.
      if (handle.waiting) {
        handle.waiting = handle.woken = false;
        if (lock !== null) this.#grant(lock);
      }
      return false;
    }
    if (lock === null || this.#admits(handle, lock)) return true;
    handle.waiting = true;
    return false;
  }

  #enter(handle: Handle): void {
    const { id, oneShot, f, arg, lock } = handle;
    handle.queued = false;
    handle.waiting = handle.woken = false;
    handle.home = null;
    handle.begun = [];
    handle.taken = lock;
    handle.running = true;
    handle.acked = false;
    handle.expired = true;
    if (lock !== null) {
      this.#take(lock);
      // Readers behind a reader follow it.
      this.#grant(lock);
    }
    this.#inside = handle;
    const outcome = this.#host.entered(id, oneShot, f, arg, lock);
    this.#inside = null;
    if (outcome !== 'return' && outcome !== 'throw') {
      for (const what of handle.begun) what.by = handle;
      this.#awaited.push(...handle.begun);
    }
    switch (outcome) {
      case 'return':
        this.#settle(handle, null);
        break;
      case 'throw':
        this.#settle(handle, 'thrown');
        break;
      case 'resolved':
      case 'rejected':
        this.#inFlight[handle.q] = (this.#inFlight[handle.q] ?? 0) + 1;
        handle.open = true;
        this.#settling.push({ handle, ok: outcome === 'resolved' });
        break;
      case 'later':
        this.#inFlight[handle.q] = (this.#inFlight[handle.q] ?? 0) + 1;
        handle.open = true;
        handle.unsettled = true;
        break;
    }
    this.#inherit();
  }

  #settlePromise(handle: Handle, ok: boolean): string {
    if (!handle.unsettled) return 'none';
    handle.unsettled = false;
    this.#settling.push({ handle, ok });
    return 'settled';
  }

  #settle(handle: Handle, error: string | null): void {
    handle.running = false;
    handle.acked = false;
    if (handle.open) {
      handle.open = false;
      this.#endAwaits(handle);
      this.#inherit();
      this.#inFlight[handle.q] = (this.#inFlight[handle.q] ?? 0) - 1;
    }
    if (handle.lock !== null && !this.#exit(handle.lock)) this.#fail(handle, 'EPERM');
    for (; handle.halts > 0; handle.halts--) this.#host.outcome(`halt h${handle.id} true`);
    for (; handle.drains > 0; handle.drains--) this.#host.drained(handle.id, handle.arg);
    if (handle.oneShot) {
      this.#host.outcome(`run ${handle.id} ${error ?? 'done'}`);
    } else if (error !== null) {
      this.#fail(handle, error);
    }
    this.#inherit();
  }

  #fail(handle: Handle, what: string): void {
    this.#host.failed(handle.oneShot ? -1 : handle.id, what);
  }

  // Observations

  look(): string {
    const words: string[] = [];
    for (const [id, handle] of this.#handles.entries()) {
      words.push(
        `h${id}:` +
          (handle.pending ? 'p' : '') +
          (handle.expired ? 'e' : '') +
          (handle.invoking ? 'i' : '') +
          (handle.pending || handle.invoking || handle.expired ? 'a' : '') +
          (handle.pending || handle.queued || handle.running ? 'b' : '') +
          (handle.running ? 'r' : '') +
          (handle.destroyed ? 'd' : '') +
          (handle.pending && handle.deadlineMs < 2 ** 53 ? `@${handle.deadlineMs}` : ''),
      );
    }
    const held = LOCKS.filter((_spec, lock) => this.#held(lock)).map((spec) => spec.name);
    return `${words.join(' ')} | ${held.join(' ')}`;
  }

  #handle(h: number): Handle {
    const handle = this.#handles[h];
    if (handle === undefined) throw new Error(`no handle ${h}`);
    return handle;
  }
}

function facet(lock: number): 'read' | 'write' {
  return LOCKS[lock]?.facet === 'read' ? 'read' : 'write';
}

function pairOf(lock: number): number {
  return LOCKS[lock]?.pair ?? 0;
}

function isWriter(waiter: Waiter): boolean {
  return facet(waiter.lock) === 'write';
}

function isFast({ q }: Handle): boolean {
  return (QUEUES[q]?.priority ?? 0) >= FAST_FROM;
}

/** Its own priority. */
function ownOf(what: Handle | Code): number {
  return what instanceof Handle ? (QUEUES[what.q]?.priority ?? 0) : what.priority;
}

/** Its own priority, or the higher one that it has inherited. */
function levelOf(what: Handle | Code): number {
  return Math.max(what.inherited, ownOf(what));
}

function waiterOf(handle: Handle, lock: number): Waiter {
  const arrival = handle.arrival === 0 ? Infinity : handle.arrival;
  return { lock, priority: levelOf(handle), arrival, handle, code: null };
}

function candidate(handle: Handle): Candidate {
  const { tick, sequence, arrival, inherited } = handle;
  const hasInherited = inherited !== NONE;
  return {
    tick,
    sequence,
    arrival,
    handle,
    priority: levelOf(handle),
    hasInherited,
    isHome: false,
  };
}

function homeOf(handle: Handle): Candidate {
  const place = handle.home ?? { tick: 0, sequence: 0, arrival: 0 };
  return { ...place, handle, priority: ownOf(handle), hasInherited: false, isHome: true };
}

/**
 * Highest priority first, then in the order in which they became runnable. Those that have inherited the priority go
 * behind the others, but those that were set aside go before those that were not.
 */
function compareCandidates(a: Candidate, b: Candidate): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  if (a.hasInherited || b.hasInherited) {
    if ((a.arrival === 0) !== (b.arrival === 0)) return a.arrival === 0 ? 1 : -1;
    if (a.arrival !== 0) return a.arrival - b.arrival;
  }
  return a.tick - b.tick || a.sequence - b.sequence;
}

/** Highest priority first; continuations in their own order, awaiting code in order of arrival. */
function compareWaiters(a: Waiter, b: Waiter): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  if (a.handle !== null && b.handle !== null) {
    const one = candidate(a.handle);
    const other = candidate(b.handle);
    if (!one.hasInherited && !other.hasInherited) return compareCandidates(one, other);
  }
  return a.arrival - b.arrival;
}
