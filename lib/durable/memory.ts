/*
 * The backend in memory: a cluster whose nodes are in this process.
 *
 *   pending, by deadline --due--> ready, by function and node --lock free, slot free--> in flight
 *                                   |         ^
 *                                   v         | released
 *                              waiting for the lock, by priority and deadline
 *
 * A name belongs to at most one entry: `named`. A run in flight that was acknowledged, stopped or reset has
 * lost its name, and is in `detached` until it settles; a new run of that name waits for it.
 *
 * `place` says which heap an entry is in, so that it can be removed when it is withdrawn. Each operation costs O(log n).
 */

import { WaitList } from '../locks/wait-list.ts';
import { KcontError } from '../base/errors.ts';
import type { Clock } from '../time/clock.ts';
import type {
  BackendCaps,
  BackendHost,
  BackendNode,
  BackendOutcome,
  Cancelled,
  DurableBackend,
  DurableState,
  ScheduleAnswer,
  ScheduleRequest,
} from './backend.ts';
import { Heap } from './heap.ts';
import { MemoryNode, type Entry, type Store } from './memory-node.ts';

const CAPS: BackendCaps = {
  durable: false,
  fencing: false,
  transactions: false,
  cron: false,
  timerGrainMs: 1,
};

/**
 * Returns a backend in memory, for one process: it needs no set-up, and is gone with the process.
 *
 * @remarks
 * Several nodes of one process may share it, each with a kernel of its own on the same clock: that is how a
 * cluster is tried in a spec, on a {@link VirtualClock}.
 *
 * @returns the backend
 *
 * @public
 */
export function memory(): DurableBackend {
  return new MemoryStore();
}

/** What remains of a run that has failed for good. */
interface Failure {
  readonly failed: number;
  readonly lastError: string;
}

function isEarlier(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.seq < b.seq);
}

function isFirst(a: Entry, b: Entry): boolean {
  const by = a.request.priority - b.request.priority;
  return by > 0 || (by === 0 && isEarlier(a, b));
}

/** What is the same for all first attempts. */
const FIRST = { failed: 0, backoffMs: 0, lastError: null };

/** How many failures are remembered. */
const FAILURES = 10_000;

class MemoryStore implements DurableBackend, Store {
  readonly caps: BackendCaps = CAPS;
  readonly nodes = new Map<string, MemoryNode>();
  readonly #known = new Set<string>();
  readonly #named = new Map<string, Entry>();
  readonly #detached = new Map<string, Set<Entry>>();
  readonly #failures = new Map<string, Failure>();
  readonly #pending = new Heap<Entry>(isEarlier);
  /** The ready entries of each function, for any node or for one: `handler@node`. */
  readonly #ready = new Map<string, Heap<Entry>>();
  /** The names of the locks that are held. */
  readonly #held = new Set<string>();
  /**
   * The entries that wait for a lock. Invariant: if it is not held, the first of them is ready; restored in
   * `#release` and `#withdraw`.
   */
  readonly #waiting = new Map<string, Heap<Entry>>();
  readonly #waiters = new Map<string, WaitList>();
  #clock: Clock | undefined = undefined;
  #seq = 0;
  #isDispatching = false;

  open(host: BackendHost): Promise<BackendNode> {
    const { node, kernel } = host;
    const { clock } = kernel.wq.softclock._dispatcher;
    if (this.nodes.has(node)) {
      return Promise.reject(new KcontError('EBUSY', `a node ${node} is up`));
    }
    if (this.nodes.size > 0 && clock !== this.#clock) {
      const why = 'the nodes of one backend in memory need kernels with the same clock';
      return Promise.reject(new KcontError('EINVAL', why));
    }
    this.#clock = clock;
    this.#known.add(node);
    const opened = new MemoryNode(this, host);
    this.nodes.set(node, opened);
    return Promise.resolve(opened);
  }

  schedule(request: ScheduleRequest, reset: boolean): ScheduleAnswer {
    const { id, node } = request;
    if (node !== null && !this.#known.has(node)) return 'ENOENT';
    const old = this.#named.get(id);
    if (old?.isInFlight === true) {
      if (!reset) return 'EBUSY';
      this.#detach(old);
    } else if (old !== undefined) this.#withdraw(old);
    this.#failures.delete(id);
    this.#add({ request, dueMs: this.now() + request.delayMs, ...FIRST });
    return old === undefined || old.isInFlight ? 'scheduled' : 'moved';
  }

  stop(id: string): Cancelled {
    const entry = this.#named.get(id);
    if (entry !== undefined) {
      this.#named.delete(id);
      if (entry.isInFlight) this.#detach(entry);
      else this.#withdraw(entry);
    }
    return { withdrawn: entry?.isInFlight === false, running: this.#isInFlight(id) };
  }

  touch(id: string): boolean {
    const entry = this.#named.get(id);
    if (entry === undefined || entry.place !== this.#pending) return false;
    const { request, failed, backoffMs } = entry;
    this.#pending.remove(entry);
    const dueMs = this.now() + (failed === 0 ? request.delayMs : backoffMs);
    this.#add({ ...entry, dueMs, firstDueMs: failed === 0 ? dueMs : entry.firstDueMs });
    return true;
  }

  ack(id: string, entry: Entry | undefined = this.#named.get(id)): boolean {
    if (entry?.isInFlight !== true || this.#named.get(id) !== entry) return false;
    this.#detach(entry);
    return true;
  }

  state(id: string): DurableState {
    const entry = this.#named.get(id);
    const pending = entry?.isInFlight === false;
    const failure = this.#failures.get(id);
    return {
      pending,
      running: this.#isInFlight(id),
      invoking: entry?.isInFlight === true,
      parked: false,
      dueInMs: pending ? entry.dueMs - this.now() : NaN,
      failed: entry?.failed ?? failure?.failed ?? 0,
      lastError: entry?.lastError ?? failure?.lastError ?? null,
    };
  }

  async drain(id: string, signal: AbortSignal | undefined): Promise<boolean> {
    if (!this.#isInFlight(id)) return false;
    const waiters = this.#waiters.get(id) ?? new WaitList();
    this.#waiters.set(id, waiters);
    await waiters.wait(signal);
    return true;
  }

  now(): number {
    return (this.#clock as Clock).now;
  }

  scheduled(): string[] {
    const entries = Array.from(this.#named.values()).filter(({ isInFlight }) => !isInFlight);
    return entries.toSorted((a, b) => (isEarlier(a, b) ? -1 : 1)).map(({ request }) => request.id);
  }

  dispatch(): void {
    // A run that is refused at once is given back while others are given out.
    if (this.#isDispatching || this.nodes.size === 0) return;
    this.#isDispatching = true;
    const now = this.now();
    for (;;) {
      const entry = this.#pending.peek();
      if (entry === undefined || entry.dueMs > now) break;
      this.#pending.pop();
      this.#makeReady(entry);
    }
    let taken = true;
    while (taken) {
      taken = false;
      for (const node of this.nodes.values()) taken = this.#feed(node) || taken;
    }
    this.#isDispatching = false;
    const next = this.#pending.peek();
    for (const node of this.nodes.values()) {
      node.wakeIn(next === undefined ? Infinity : Math.max(next.dueMs - this.now(), 0));
    }
  }

  settle(entry: Entry, outcome: BackendOutcome): void {
    const { request } = entry;
    const { id } = request;
    const isNamed = this.#named.get(id) === entry;
    entry.isInFlight = false;
    if (isNamed) {
      this.#named.delete(id);
      this.#follow(entry, outcome);
    } else {
      const detached = this.#detached.get(id);
      detached?.delete(entry);
      if (detached?.size === 0) this.#detached.delete(id);
    }
    for (const name of locksOf(request)) {
      this.#held.delete(name);
      this.#promote(name);
    }
    if (!this.#isInFlight(id)) {
      this.#waiters.get(id)?.serveAll();
      this.#waiters.delete(id);
    }
    this.dispatch();
  }

  /** Schedules what follows a run that has kept its name. */
  #follow(entry: Entry, outcome: BackendOutcome): void {
    const { request, failed, firstDueMs } = entry;
    const { id, everyMs, catchUp } = request;
    if (outcome.kind === 'refused') {
      this.#add(entry);
      return;
    }
    if (outcome.kind === 'retry') {
      const { delayMs: backoffMs, error: lastError } = outcome;
      const dueMs = this.now() + backoffMs;
      this.#add({ request, dueMs, firstDueMs, failed: failed + 1, backoffMs, lastError });
      return;
    }
    if (outcome.kind === 'failed') this.#remember(id, failed + 1, outcome.error);
    if (everyMs === 0) return;
    const missed = catchUp ? 0 : Math.max(0, Math.floor((this.now() - firstDueMs) / everyMs));
    const dueMs = firstDueMs + (missed + 1) * everyMs;
    this.#add({ request: { ...request, delayMs: everyMs }, dueMs, ...FIRST });
  }

  #remember(id: string, failed: number, lastError: string): void {
    this.#failures.delete(id);
    this.#failures.set(id, { failed, lastError });
    if (this.#failures.size <= FAILURES) return;
    // A Map is in the order of insertion.
    for (const oldest of this.#failures.keys()) {
      this.#failures.delete(oldest);
      break;
    }
  }

  #add(
    what: Pick<Entry, 'request' | 'dueMs' | 'failed' | 'backoffMs' | 'lastError'> & Partial<Entry>,
  ): void {
    const { request, dueMs, firstDueMs = dueMs, failed, backoffMs, lastError } = what;
    const entry: Entry = {
      request,
      dueMs,
      firstDueMs,
      seq: this.#seq++,
      failed,
      backoffMs,
      lastError,
      place: this.#pending,
      heapIndex: 0,
      isInFlight: false,
    };
    this.#named.set(request.id, entry);
    this.#pending.push(entry);
  }

  /** Takes an entry out of its heap. */
  #withdraw(entry: Entry): void {
    entry.place?.remove(entry);
    entry.place = null;
    for (const name of locksOf(entry.request)) if (!this.#held.has(name)) this.#promote(name);
  }

  /** Makes the first entry ready that waits for a lock. */
  #promote(name: string): void {
    const waiting = this.#waiting.get(name);
    const first = waiting?.peek();
    if (first === undefined) this.#waiting.delete(name);
    else {
      waiting?.pop();
      this.#makeReady(first);
    }
  }

  /** Sets an entry aside if a lock of it is held, or if another one that waits for the lock goes first. */
  #mustWait(entry: Entry): boolean {
    for (const name of locksOf(entry.request)) {
      let waiting = this.#waiting.get(name);
      const first = waiting?.peek();
      const isHeld = this.#held.has(name);
      if (!isHeld && (first === undefined || isFirst(entry, first))) continue;
      if (!isHeld) this.#promote(name);
      waiting = this.#waiting.get(name) ?? new Heap(isFirst);
      this.#waiting.set(name, waiting);
      entry.place = waiting;
      waiting.push(entry);
      return true;
    }
    return false;
  }

  #detach(entry: Entry): void {
    const { id } = entry.request;
    this.#named.delete(id);
    const detached = this.#detached.get(id);
    if (detached === undefined) this.#detached.set(id, new Set([entry]));
    else detached.add(entry);
  }

  #isInFlight(id: string): boolean {
    return this.#detached.has(id) || this.#named.get(id)?.isInFlight === true;
  }

  #makeReady(entry: Entry): void {
    const { handler, node, affinity } = entry.request;
    const isBound = affinity === 'strong' || (affinity === 'weak' && this.nodes.has(node ?? ''));
    const key = `${handler}@${isBound ? node : ''}`;
    let heap = this.#ready.get(key);
    if (heap === undefined) this.#ready.set(key, (heap = new Heap(isFirst)));
    entry.place = heap;
    heap.push(entry);
  }

  unbind(node: string): void {
    for (const [key, heap] of this.#ready) {
      if (!key.endsWith(`@${node}`)) continue;
      this.#ready.delete(key);
      for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
        this.#makeReady(entry);
      }
    }
  }

  /** Gives a node the first entry that it may run; false: it has no free slot, or there is none. */
  #feed(node: MemoryNode): boolean {
    if (!node.isFree) return false;
    for (;;) {
      let best: Entry | undefined;
      for (const handler of node.handlers) {
        for (const key of [`${handler}@`, `${handler}@${node.name}`]) {
          const entry = this.#ready.get(key)?.peek();
          if (entry !== undefined && (best === undefined || isFirst(entry, best))) best = entry;
        }
      }
      if (best === undefined) return false;
      best.place?.pop();
      if (this.#mustWait(best)) continue;
      for (const name of locksOf(best.request)) this.#held.add(name);
      best.place = null;
      best.isInFlight = true;
      node.take(best);
      return true;
    }
  }
}

/** The locks of a run. Runs of one name never overlap, so each holds a lock of its own too. */
function locksOf({ id, lock }: ScheduleRequest): string[] {
  return lock === null ? [`id:${id}`] : [`lock:${lock}`, `id:${id}`];
}
