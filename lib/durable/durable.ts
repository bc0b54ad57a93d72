/*
 * A node: the functions that are defined here, and the runs that are in flight here.
 *
 *   backend ---> run ---> local workqueue, localLock ---> function ---> outcome ---> backend
 *
 * A run is an ordinary run of its workqueue, so it waits for more urgent local work, and counts in
 * `kernel.inspect`, `drain` and `close` without further code.
 */

import { hostname } from 'node:os';
import { KcontError, invalid, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { nothing } from '../base/nothing.ts';
import {
  FINITE_MS,
  FUNCTION,
  SIGNAL,
  check,
  integerOf,
  kindOf,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';
import type { Affinity } from '../core/extras.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';
import type { Task } from '../core/one-shot.ts';
import type { CloseReport } from '../core/shutdown.ts';
import type { BackendCaps, BackendNode, DurableBackend, ParkedKcont } from './backend.ts';
import { Definition, type DefineOptions, type DurableFunction } from './definition.ts';
import { DurableKcont, type HandleOwner, type Template } from './durable-kcont.ts';
import type { Invocation } from './invocation.ts';
import { toJson } from './json.ts';
import { memory } from './memory.ts';
import { HANDLER, ID, LOCK_NAME, NODE } from './names.ts';
import { Runs } from './runs.ts';
import { validate } from './schema.ts';

/**
 * Options of {@link durable}.
 *
 * @public
 */
export interface DurableOptions {
  /** Where continuations are stored. Default: {@link memory}, which is gone with the process. */
  backend?: DurableBackend;
  /**
   * The name of this node, unique in the cluster and the same after a restart: 1 … 60 letters, digits and
   * the signs - _ . : Default: the name of the machine and the process ID.
   */
  node?: string;
  /** The kernel on which functions are entered. Default: the process-wide kernel. */
  kernel?: Kernel;
  /** How many runs this node takes at a time, 1 … 1000. Default 10. */
  concurrency?: number;
  /**
   * Called with the error of the last attempt of a run, with its invocation; and, without an invocation, with
   * errors that belong to no call, such as a lost connection. By default the former go to the `onError`
   * of the workqueue or the kernel or become uncaught exceptions, and the latter are ignored, because
   * the backend recovers from them.
   */
  onError?: (error: unknown, invocation: Invocation | undefined) => void;
}

/**
 * Options of {@link Durable.kcont}.
 *
 * @public
 */
export interface DurableKcontOptions {
  /** The name of a lock, 1 … 100 characters: one run at a time in the whole cluster. Default null: none. */
  lock?: string | null;
  /** The node that `affinity` is about. Default: this node, unless the affinity is `'none'`. */
  node?: string;
  /**
   * `'strong'`: only that node runs it; `'weak'`: another node only while that one is down; `'none'`: any
   * node. Default `'strong'` if `node` is given, otherwise `'none'`.
   */
  affinity?: Affinity;
}

/**
 * Options of {@link Durable.cron}.
 *
 * @public
 */
export interface CronOptions extends DurableKcontOptions {
  /**
   * How far back a node that starts looks for missed times, in ms. However many it finds, they make one run,
   * two seconds later. Default 0: they are skipped, except for one that passed less than a minute ago.
   */
  catchUpMs?: number;
}

/**
 * Options of {@link Durable.stage}.
 *
 * @typeParam A - the type of the argument
 *
 * @public
 */
export interface DurableStageOptions<A> {
  /** Returns the name of the continuation for an item. */
  id: (item: A) => string;
  /** Returns the name of the lock for an item. Default: no lock. */
  lock?: (item: A) => string | null;
  /** The delay of the run, in ms: 0 … 2^53-1. Default 0. */
  delayMs?: number;
}

const DURABLE = optionsOf<DurableOptions>('durable', {
  backend: kindOf(
    'a backend, such as memory()',
    (value) => typeof (value as Partial<DurableBackend> | null)?.open === 'function',
  ),
  node: NODE,
  kernel: kindOf('a Kernel', (value) => value instanceof Kernel),
  concurrency: integerOf('an integer from 1 to 1000', 1, 1000),
  onError: FUNCTION,
});
const KCONT = {
  lock: LOCK_NAME,
  node: NODE,
  affinity: oneOf("'strong', 'weak' or 'none'", 'strong', 'weak', 'none'),
};
const HANDLE = optionsOf<DurableKcontOptions>('Durable.kcont', KCONT);
const CRON = optionsOf<CronOptions>('cron', { ...KCONT, catchUpMs: FINITE_MS });
const STAGE = optionsOf<DurableStageOptions<never>>('Durable.stage', {
  id: FUNCTION,
  lock: FUNCTION,
  delayMs: FINITE_MS,
});
const DRAIN = optionsOf<{ signal?: AbortSignal }>('Durable.drain', { signal: SIGNAL });
const CLOSE = optionsOf<{ graceMs?: number }>('Durable.close', {
  graceMs: numberOf('a number >= 0', 0, Infinity),
});
const PATTERN = kindOf(
  'five fields: minute, hour, day of month, month and day of week',
  (value) => typeof value === 'string' && /^\s*\S+(?:\s+\S+){4}\s*$/.test(value),
);

/** Default grace of `close`, in ms. */
const GRACE_MS = 5000;

/**
 * Joins a cluster of durable continuations as a node.
 *
 * @param options - optional settings
 * @returns a promise of the node, which must be closed with `close`. Rejected with KcontError EINVAL for an
 * invalid option, ESHUTDOWN if the kernel is closed, EBUSY if a node of that name is up, and with the error
 * of the database
 *
 * @example
 * ```ts
 * const jobs = await durable();
 * jobs.define('greet', async (name: string) => console.log(`Hello ${name}`));
 * await jobs.kcont('greeting:1', 'greet', 'Ann').schedule(1000);
 * ```
 *
 * @public
 */
export async function durable(options?: DurableOptions): Promise<Durable> {
  const {
    backend = memory(),
    node = defaultNode(),
    kernel = processKernel,
    concurrency = 10,
    onError,
  } = readOptions(options, DURABLE);
  if (kernel.closed) throw new KcontError('ESHUTDOWN', 'the kernel is closed');
  const runs = new Runs(node, kernel, onError);
  const opened = await backend.open({
    node,
    kernel,
    concurrency,
    run: (run) => runs.run(run),
    report: (error) => runs.report(error),
  });
  return Durable._make(kernel, node, backend.caps, opened, runs);
}

function defaultNode(): string {
  return `${
    hostname()
      .replaceAll(/[^\w.:-]/g, '-')
      .slice(0, 40) || 'node'
  }:${process.pid}`;
}

/**
 * A node of a cluster of durable continuations. Created by {@link durable}.
 *
 * @public
 */
export class Durable {
  static readonly #line: (it: Durable) => string = /* @__PURE__ */ defineInspect<Durable>(
    this,
    (it) => `Durable ${it.node} { ${it.running} running${it.closed ? ', closed' : ''} }`,
    ({ node, running, closed }) => ({ node, running, closed }),
  );
  /** The name of the node. */
  readonly node: string;
  /** The kernel on which functions are entered. */
  readonly kernel: Kernel;
  /** What the backend guarantees. */
  readonly caps: BackendCaps;
  readonly #backend: BackendNode;
  readonly #runs: Runs;
  readonly #owner: HandleOwner;
  #closing: Promise<CloseReport> | undefined = undefined;
  #isGone = false;
  /** Told when the kernel closes: the kernel ends the runs, so they are waited for without a limit here. */
  readonly #task: Task = {
    _abort: () => {
      this.#closing ??= this.#close(Infinity);
      this.#closing.catch((error: unknown) => this.#runs.report(error));
    },
  };

  private constructor(
    kernel: Kernel,
    node: string,
    caps: BackendCaps,
    backend: BackendNode,
    runs: Runs,
  ) {
    this.kernel = kernel;
    this.node = node;
    this.caps = caps;
    this.#backend = backend;
    this.#runs = runs;
    this.#owner = { open: () => this.#open(), hasTransactions: caps.transactions };
    if (kernel.closed) this.#task._abort(undefined);
    else this.#tasks.add(this.#task);
  }

  /** @internal */
  static _make(
    kernel: Kernel,
    node: string,
    caps: BackendCaps,
    backend: BackendNode,
    runs: Runs,
  ): Durable {
    return new Durable(kernel, node, caps, backend, runs);
  }

  /** Number of runs in flight on this node. */
  get running(): number {
    return this.#runs.size;
  }

  /** Whether `close` has been called, or the kernel closes: this node takes no more runs. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Defines a function, and begins to run continuations that name it.
   *
   * @remarks
   * Nodes may define different functions: a continuation waits until a node is up that has defined its
   * function. The name is stored, so keep it when the program changes, and let new versions accept
   * arguments of old ones.
   *
   * @param name - 1 … 60 letters, digits and the signs - _ . : /
   * @param func - called with the argument and an {@link Invocation}; asynchronous, except on the `soft…`
   * workqueues
   * @returns the definition, which {@link Durable.kcont} takes instead of the name
   * @throws KcontError EINVAL for an invalid argument, a workqueue of another kernel, or a name that is
   * defined already; ESHUTDOWN after `close`
   */
  define<A>(name: string, func: DurableFunction<A>): Definition<A>;
  /**
   * Defines a function with options. See the other overload.
   *
   * @param name - as for the other overload
   * @param options - optional settings: the workqueue, the schema, retries
   * @param func - as for the other overload
   * @returns the definition
   * @throws as the other overload
   */
  define<A>(name: string, options: DefineOptions<A>, func: DurableFunction<A>): Definition<A>;
  define<A>(
    name: string,
    ...rest: [DurableFunction<A>] | [DefineOptions<A>, DurableFunction<A>]
  ): Definition<A> {
    try {
      check('name', HANDLER, name);
      const [options, func] = rest.length === 1 ? [undefined, rest[0]] : rest;
      const definition = Definition._make(name, this.kernel, options, func);
      if (this.closed) throw this.#shutDown();
      this.#runs.define(definition);
      this.#backend.handle(name);
      return definition;
    } catch (error) {
      throw traceFrom(Durable.prototype.define, error);
    }
  }

  /**
   * Returns a handle of a continuation. This stores nothing.
   *
   * @param id - its name in the cluster, 1 … 250 characters
   * @param handler - a function that was defined on this node, by name or as the definition
   * @param arg - the argument, a JSON value of at most 2^20 characters; undefined is allowed too
   * @param options - optional settings: a lock, a node
   * @returns the handle
   * @throws KcontError EINVAL for an invalid argument: a function that is not defined, an argument that is
   * not JSON or does not fit its schema, a name that is too long, a definition of another node; ENOTSUP if
   * the schema is asynchronous
   */
  kcont<A>(
    id: string,
    handler: string | Definition<A>,
    arg: A,
    options?: DurableKcontOptions,
  ): DurableKcont<A> {
    try {
      const own = readOptions(options, HANDLE);
      return DurableKcont._make(this.#owner, this.#template(id, handler, arg, own), arg);
    } catch (error) {
      throw traceFrom(Durable.prototype.kcont, error);
    }
  }

  /**
   * Schedules a continuation at times of the calendar, once per cluster. The times are UTC.
   *
   * @remarks
   * Every node that may be the only one up has to call it. A time is missed if no such node is up; such
   * times are skipped, or caught up with when a node starts. At each time the continuation is scheduled, as by
   * `schedule`: a run in flight is left alone, and the time is skipped; so it is while the continuation is
   * parked. Stopping it withdraws the present run only; to end the repetition, start the nodes without this call.
   *
   * @param id - its name in the cluster, 1 … 250 characters
   * @param pattern - minute, hour, day of month, month and day of week, as in `0 3 * * 1`
   * @param handler - as for {@link Durable.kcont}
   * @param arg - as for {@link Durable.kcont}
   * @param options - optional settings: a lock, a node, what is caught up with
   * @returns a promise, fulfilled when the backend has taken it; rejected with KcontError EINVAL for an
   * invalid argument, ENOENT if its node has never been up, and ENOTSUP on a backend without a cron
   */
  async cron<A>(
    id: string,
    pattern: string,
    handler: string | Definition<A>,
    arg: A,
    options?: CronOptions,
  ): Promise<void> {
    const { catchUpMs = 0, ...own } = readOptions(options, CRON);
    check('pattern', PATTERN, pattern);
    const template = this.#template(id, handler, arg, own);
    if (!this.caps.cron) throw new KcontError('ENOTSUP', `cron ${id}: the backend has no cron`);
    const times = { delayMs: 0, everyMs: 0, catchUp: false, pattern, catchUpMs };
    await this.#open().cron({ ...template, ...times });
  }

  /**
   * Returns a function for a stage of a pipeline: it schedules a continuation for each item, and returns
   * the item when that has been stored. From there on, the run survives this process.
   *
   * @param handler - as for {@link Durable.kcont}
   * @param options - the name of each continuation, and its lock and delay
   * @returns the function; it fails with KcontError EBUSY if a run of that name is in flight
   * @throws KcontError EINVAL for an invalid argument
   */
  stage<A>(
    handler: string | Definition<A>,
    options: DurableStageOptions<A>,
  ): (item: A) => Promise<A> {
    let definition: Definition<unknown>;
    let own: Partial<DurableStageOptions<A>>;
    try {
      definition = this.#runs.find(handler);
      own = readOptions(options, STAGE as never);
      check('id', FUNCTION, own.id);
    } catch (error) {
      throw traceFrom(Durable.prototype.stage, error);
    }
    const { id, lock = nothing, delayMs = 0 } = own as DurableStageOptions<A>;
    return async (item) => {
      const kc = this.kcont<unknown>(id(item), definition, item, { lock: lock(item) ?? null });
      if (await kc.schedule(delayMs)) return item;
      throw new KcontError('EBUSY', `${kc.id} cannot be scheduled: a run is in flight`);
    };
  }

  /**
   * Lists continuations that are parked: the processes that ran them died, as often as `crashLimit` says.
   *
   * @returns a promise of at most 1000 of them, by name
   */
  async parked(): Promise<ParkedKcont[]> {
    return await this.#open().parked();
  }

  /**
   * Lets a parked continuation run at once, with its old argument and deadline; its crashes are forgotten.
   *
   * @param id - its name
   * @returns a promise of true: scheduled; false: it is not parked
   */
  async release(id: string): Promise<boolean> {
    check('id', ID, id);
    return await this.#open().release(id);
  }

  /**
   * Waits until no run is in flight on this node.
   *
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise, rejected with the signal's reason when aborted
   */
  async drain(options?: { signal?: AbortSignal }): Promise<void> {
    const { signal } = readOptions(options, DRAIN);
    signal?.throwIfAborted();
    await this.#runs.drain(signal);
  }

  /**
   * Leaves the cluster in an orderly way.
   *
   * @remarks
   * The node takes no more runs from the call on. Runs in flight finish; their functions may schedule
   * continuations. When the grace is over, their signals are aborted with KcontError ESHUTDOWN; those
   * that have not settled 100 ms later are reported, and other nodes begin them again. What is scheduled
   * stays stored. A kernel that closes closes the node, within the kernel's own grace.
   *
   * @param options - optional settings: `graceMs`, how long to wait, 0 ms or more, default 5000
   * @returns a promise of a report, the same for every call. `withdrawn` names what is gone
   * with this process: what was scheduled, on a backend that is not durable
   */
  async close(options?: { graceMs?: number }): Promise<CloseReport> {
    const { graceMs = GRACE_MS } = readOptions(options, CLOSE);
    return await (this.#closing ??= this.#close(graceMs));
  }

  /** The same as {@link Durable.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(graceMs: number): Promise<CloseReport> {
    this.#tasks.delete(this.#task);
    this.#backend.pause();
    const unfinished = await this.#runs.finish(graceMs);
    this.#isGone = true;
    const withdrawn = await this.#backend.close();
    return { withdrawn, unfinished };
  }

  get #tasks(): Set<Task> {
    return this.kernel.wq.softclock._dispatcher.tasks;
  }

  #template<A>(
    id: string,
    handler: string | Definition<A>,
    arg: A,
    { lock = null, node, affinity }: DurableKcontOptions,
  ): Template {
    check('id', ID, id);
    const definition = this.#runs.find(handler);
    const text = toJson(arg);
    if (definition._schema !== undefined) validate(definition._schema, arg, `arg of ${id}`);
    const strength = affinity ?? (node === undefined ? 'none' : 'strong');
    if (strength === 'none' && node !== undefined) {
      throw invalid('node', "omitted for the affinity 'none'", node);
    }
    return {
      id,
      handler: definition.name,
      arg: text,
      priority: definition.wq.priority,
      lock,
      node: strength === 'none' ? null : (node ?? this.node),
      affinity: strength,
      crashLimit: definition._crashLimit,
    };
  }

  #open(): BackendNode {
    if (this.#isGone) throw this.#shutDown();
    return this.#backend;
  }

  #shutDown(): KcontError {
    return new KcontError('ESHUTDOWN', `node ${this.node} is closed`);
  }

  /** @internal */
  toString(): string {
    return Durable.#line(this);
  }
}
