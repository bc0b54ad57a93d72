/*
 * A node of the backend in memory: what is in flight there, and the timer for the next deadline.
 */

import { KcontError } from '../base/errors.ts';
import { Kcont } from '../core/kcont.ts';
import type {
  BackendHost,
  BackendNode,
  BackendOutcome,
  BackendRun,
  Cancelled,
  DurableState,
  ParkedKcont,
  ScheduleAnswer,
  ScheduleRequest,
} from './backend.ts';
import type { Heap, HeapItem } from './heap.ts';

/** One scheduled run, or one in flight. */
export interface Entry extends HeapItem {
  readonly request: ScheduleRequest;
  /** Its deadline, in ms on the clock of the store. */
  readonly dueMs: number;
  /** The deadline of the first attempt, from which the next period counts. */
  readonly firstDueMs: number;
  readonly seq: number;
  readonly failed: number;
  readonly backoffMs: number;
  lastError: string | null;
  /** The heap it is in; null: in none, because it was withdrawn or is in flight. */
  place: Heap<Entry> | null;
  isInFlight: boolean;
}

/** What a node needs of the store that it belongs to. */
export interface Store {
  readonly nodes: Map<string, MemoryNode>;
  schedule(request: ScheduleRequest, reset: boolean): ScheduleAnswer;
  stop(id: string): Cancelled;
  touch(id: string): boolean;
  ack(id: string, entry?: Entry): boolean;
  state(id: string): DurableState;
  drain(id: string, signal: AbortSignal | undefined): Promise<boolean>;
  /** The names of all that is scheduled, in the order in which it would begin. */
  scheduled(): string[];
  /** Makes what is due ready, gives it to nodes with free slots, and arms the timers. */
  dispatch(): void;
  /** Ends a run. */
  settle(entry: Entry, outcome: BackendOutcome): void;
  /** Makes entries ready again whose affinity was to a node that has left. */
  unbind(node: string): void;
}

/** A node of the backend in memory. */
export class MemoryNode implements BackendNode {
  readonly name: string;
  readonly handlers: Set<string> = new Set<string>();
  readonly #store: Store;
  readonly #host: BackendHost;
  readonly #gone = new AbortController();
  readonly #inFlight = new Set<Entry>();
  readonly #timer: Kcont<Store>;
  #isPaused = false;

  constructor(store: Store, host: BackendHost) {
    this.name = host.node;
    this.#store = store;
    this.#host = host;
    this.#timer = new Kcont<Store>(host.kernel.wq.softclock, null, wake, store, {
      name: `durable/${host.node}`,
    });
  }

  get isFree(): boolean {
    return !this.#isPaused && this.#inFlight.size < this.#host.concurrency;
  }

  handle(handler: string): void {
    this.handlers.add(handler);
    this.#store.dispatch();
  }

  schedule(request: ScheduleRequest, reset: boolean): Promise<ScheduleAnswer> {
    const answer = this.#store.schedule(request, reset);
    this.#store.dispatch();
    return Promise.resolve(answer);
  }

  stop(id: string): Promise<Cancelled> {
    const answer = this.#store.stop(id);
    this.#store.dispatch();
    return Promise.resolve(answer);
  }

  touch(id: string): Promise<boolean> {
    const answer = this.#store.touch(id);
    this.#store.dispatch();
    return Promise.resolve(answer);
  }

  ack(id: string): Promise<boolean> {
    return Promise.resolve(this.#store.ack(id));
  }

  state(id: string): Promise<DurableState> {
    return Promise.resolve(this.#store.state(id));
  }

  drain(id: string, signal: AbortSignal | undefined): Promise<boolean> {
    return this.#store.drain(id, signal);
  }

  parked(): Promise<ParkedKcont[]> {
    return Promise.resolve([]);
  }

  release(): Promise<boolean> {
    return Promise.resolve(false);
  }

  cron(): Promise<void> {
    return Promise.reject(new KcontError('ENOTSUP', 'the backend in memory has no cron'));
  }

  pause(): void {
    this.#isPaused = true;
  }

  close(): Promise<string[]> {
    const store = this.#store;
    store.nodes.delete(this.name);
    this.#timer.destroy();
    this.#gone.abort(new KcontError('ECPUDIED', `node ${this.name} has left the cluster`));
    for (const entry of this.#inFlight) this.#settle(entry, { kind: 'refused' });
    const withdrawn = store.nodes.size === 0 ? store.scheduled() : [];
    store.unbind(this.name);
    store.dispatch();
    return Promise.resolve(withdrawn);
  }

  /** Runs an entry. Its function is entered through the workqueue, not by this call. */
  take(entry: Entry): void {
    this.#inFlight.add(entry);
    const { id, handler, arg } = entry.request;
    const run: BackendRun = {
      id,
      handler,
      arg,
      failed: entry.failed,
      backoffMs: entry.backoffMs,
      crashes: 0,
      signal: this.#gone.signal,
      client: undefined,
      transaction: undefined,
      ack: () => Promise.resolve(this.#store.ack(id, entry)),
    };
    void this.#host.run(run).then((outcome) => this.#settle(entry, outcome));
  }

  #settle(entry: Entry, outcome: BackendOutcome): void {
    // A run that the node has lost was settled when the node left.
    if (this.#inFlight.delete(entry)) this.#store.settle(entry, outcome);
  }

  /** Arms the timer; Infinity: nothing is pending. */
  wakeIn(ms: number): void {
    if (ms === Infinity || this.#host.kernel.closed) this.#timer.stop();
    // The sum of a time and a delay, and the difference again, may be above the longest delay.
    else this.#timer.reset(Math.min(ms, Number.MAX_SAFE_INTEGER));
  }
}

function wake(store: Store): void {
  store.dispatch();
}
