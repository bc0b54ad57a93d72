/**
 * The Web Locks API, built on continuations: exclusive or shared locks with names.
 *
 * @packageDocumentation
 */

/*
 *   request --> pending, in order --> held: its side of the name's RWLock is entered
 *                   |  tryEnter          |  callback settled: exit, then process pending
 *                 aborted              stolen: exited by the thief
 *
 * Each name in use has an RWLock: exclusive requests enter its write side, shared ones its read side.
 * Requests for a name are granted strictly first come, first served: no request overtakes the first
 * one that waits. All this happens synchronously, in the call that causes it. The callback then runs
 * as a job named after the lock, so that the kernel's drain waits for it and its close reports it.
 *
 * Source: W3C Web Locks API, Editor's Draft of 24 September 2025.
 */

import { threadId } from 'node:worker_threads';
import { join, leave } from '../base/abort-listeners.ts';
import { invalid, isA, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { kindOf, optionsOf, readOptions } from '../base/options-check.ts';
import type { Task } from '../core/one-shot.ts';
import { Kernel, kernel as processKernel } from '../core/kernel.ts';
import type { BaseLock } from '../locks/lock.ts';
import { RWLock } from '../locks/rw-lock.ts';
import { Workqueue } from '../core/workqueue.ts';
import { toCallback, toDictionary, toEnum, toSignal, toText } from './web-idl.ts';

/**
 * Whether a lock excludes all others of its name, or only exclusive ones.
 *
 * @public
 */
export type LockMode = 'exclusive' | 'shared';

/**
 * Options of `LockManager.request`.
 *
 * @public
 */
export interface LockOptions {
  /** Whether the lock is exclusive or shared. Default `'exclusive'`. */
  mode?: LockMode;
  /** True: if the lock is not available at once, the callback is called with null. Default false. */
  ifAvailable?: boolean;
  /** True: takes the lock away from its holders. Default false. */
  steal?: boolean;
  /** If aborted before the lock is granted, the request is rejected with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * Called when the lock is granted. The lock is held until the returned promise has settled.
 *
 * @public
 */
export type LockGrantedCallback<T> = (lock: Lock | null) => T | PromiseLike<T>;

/**
 * Describes a lock that is held or requested.
 *
 * @public
 */
export interface LockInfo {
  /** Its name. */
  name: string;
  /** Its mode. */
  mode: LockMode;
  /** The id of the holder or requester: the same for all locks of one LockManager. */
  clientId: string;
}

/**
 * The result of {@link LockManager.query}.
 *
 * @public
 */
export interface LockManagerSnapshot {
  /** The locks that are held. */
  held: LockInfo[];
  /** The requests that wait. Those for one name are in the order in which they were made. */
  pending: LockInfo[];
}

/**
 * Options of {@link createLocks}.
 *
 * @public
 */
export interface LocksOptions {
  /** The workqueue on which callbacks run. Default `prihigh`. */
  wq?: Workqueue;
}

const ASYNCHRONOUS = 'a Workqueue of the same kernel that takes asynchronous functions';

const LOCKS = optionsOf<LocksOptions>('createLocks', {
  wq: kindOf(ASYNCHRONOUS, (wq) => wq instanceof Workqueue),
});

/** Keeps other modules from constructing the classes below. */
const MINE: unique symbol = Symbol('locks');

/**
 * A lock that has been granted.
 *
 * @public
 */
export class Lock {
  readonly #name: string;
  readonly #mode: LockMode;

  private constructor(mine: typeof MINE, name: string, mode: LockMode) {
    if (mine !== MINE) throw new TypeError('Illegal constructor');
    this.#name = name;
    this.#mode = mode;
  }

  /**
   * Creates a lock. Called by the lock manager.
   * @internal
   */
  static _make(name: string, mode: LockMode): Lock {
    return new Lock(MINE, name, mode);
  }

  /** The name it was requested by. */
  get name(): string {
    return this.#name;
  }

  /** Its mode. */
  get mode(): LockMode {
    return this.#mode;
  }

  /** `Lock`. */
  get [Symbol.toStringTag](): string {
    return 'Lock';
  }

  /** Shows name and mode in `util.inspect`. */
  static {
    defineInspect<Lock>(Lock, (it) => `Lock { ${it.#name}, ${it.#mode} }`);
  }
}

/** The locks and requests of one name. */
class Resource {
  readonly #lock = new RWLock();
  readonly held: Set<Request> = new Set();
  readonly pending: Set<Request> = new Set();

  side(mode: LockMode): BaseLock {
    return mode === 'shared' ? this.#lock.read : this.#lock.write;
  }

  /** Grants the requests that can be granted, in order. */
  process(): void {
    for (const request of this.pending) {
      if (!this.side(request.mode).tryEnter()) return;
      this.pending.delete(request);
      this.held.add(request);
      request.answer(true);
    }
  }

  /** Tells whether a new request would be granted at once. */
  grantable({ mode }: Request): boolean {
    if (this.pending.size > 0) return false;
    return mode === 'shared' ? !this.#lock.write.held : this.held.size === 0;
  }

  /** Takes the lock from its holders, and grants it to this request before all that wait. */
  steal(request: Request): void {
    for (const { mode, fail } of this.held) {
      this.side(mode).exit();
      fail(new DOMException('the lock was stolen', 'AbortError'));
    }
    this.held.clear();
    this.side(request.mode).tryEnter();
    this.held.add(request);
    request.answer(true);
  }
}

/** A request, and the lock it becomes. */
interface Request {
  readonly name: string;
  readonly mode: LockMode;
  /** Answers the request: true if granted, false if not available. */
  readonly answer: (granted: boolean) => void;
  /** Rejects the promise that `request` has returned. */
  readonly fail: (reason: unknown) => void;
}

/** The options, converted. */
interface Asked {
  readonly mode: LockMode;
  readonly ifAvailable: boolean;
  readonly steal: boolean;
  readonly signal: AbortSignal | undefined;
}

let managers = 0;

/**
 * Manages locks that are requested by name.
 *
 * @remarks
 * Created by {@link createLocks}; {@link locks} is the one of the process-wide kernel. Names are local
 * to a manager.
 *
 * @public
 */
export class LockManager {
  readonly #wq: Workqueue;
  readonly #clientId = `${process.pid}-${threadId}-${++managers}`;
  readonly #resources = new Map<string, Resource>();

  private constructor(mine: typeof MINE, wq: Workqueue) {
    if (mine !== MINE) throw new TypeError('Illegal constructor');
    this.#wq = wq;
  }

  /**
   * Creates a manager. Called by `createLocks`.
   * @internal
   */
  static _make(wq: Workqueue): LockManager {
    return new LockManager(MINE, wq);
  }

  /**
   * Requests an exclusive lock.
   *
   * @param name - the name of the lock; must not begin with `-`
   * @param callback - called when the lock is granted; it is held until the callback's promise settles
   * @returns the result of the callback, after the lock was released; rejected with the callback's
   * error, a DOMException AbortError if the lock was stolen, TypeError for invalid arguments,
   * DOMException InvalidStateError if the kernel is closed before the callback is called, KcontError
   * ESHUTDOWN if the kernel is closed before the callback has ended
   */
  request<T>(name: string, callback: LockGrantedCallback<T>): Promise<T>;
  /**
   * Requests a lock.
   *
   * @param name - the name of the lock; must not begin with `-`
   * @param options - optional settings
   * @param callback - called when the lock is granted, or with null if it is not available
   * @returns as above; also rejected with the signal's reason if it is aborted before the lock is
   * granted, and with a DOMException NotSupportedError for options that exclude each other
   */
  request<T>(name: string, options: LockOptions, callback: LockGrantedCallback<T>): Promise<T>;
  async request<T>(
    name: string,
    ...rest: [LockGrantedCallback<T>] | [LockOptions, LockGrantedCallback<T>]
  ): Promise<T> {
    const text = toText(name);
    const callback = toCallback(
      rest.length < 2 ? rest[0] : rest[1],
      'callback',
    ) as LockGrantedCallback<T>;
    const asked = toAsked(rest.length < 2 ? undefined : (rest[0] as LockOptions));
    if (this.#wq._dispatcher.closed) throw invalidState();
    checkCombination(text, asked);
    asked.signal?.throwIfAborted();
    return new Promise<T>((resolve, reject) => {
      let isStolen = false;
      const steal = (reason: unknown): void => {
        isStolen = true;
        reject(reason);
      };
      this.#follow(text, asked, callback, steal).then(
        (result) => void (isStolen || resolve(result)),
        (error: unknown) => void (isStolen || reject(error)),
      );
    });
  }

  /**
   * Returns which locks are held and requested.
   *
   * @returns a snapshot; rejected with a DOMException InvalidStateError if the kernel is closed
   */
  async query(): Promise<LockManagerSnapshot> {
    if (this.#wq._dispatcher.closed) throw invalidState();
    const snapshot: LockManagerSnapshot = { held: [], pending: [] };
    for (const { held, pending } of this.#resources.values()) {
      for (const request of held) snapshot.held.push(this.#info(request));
      for (const request of pending) snapshot.pending.push(this.#info(request));
    }
    return snapshot;
  }

  /** `LockManager`. */
  get [Symbol.toStringTag](): string {
    return 'LockManager';
  }

  /** Shows the number of locks and requests in `util.inspect`. */
  static {
    defineInspect<LockManager>(LockManager, (it) => {
      let [held, pending] = [0, 0];
      for (const resource of it.#resources.values()) {
        held += resource.held.size;
        pending += resource.pending.size;
      }
      return `LockManager { ${held} held, ${pending} pending }`;
    });
  }

  /** Carries out a request, from queueing it to the end of its callback. */
  async #follow<T>(
    name: string,
    asked: Asked,
    callback: LockGrantedCallback<T>,
    fail: (reason: unknown) => void,
  ): Promise<T> {
    const { mode, signal } = asked;
    const { tasks } = this.#wq._dispatcher;
    let request!: Request;
    let onSignal!: Task;
    let onClose!: Task;
    const answered = new Promise<boolean>((answer, reject) => {
      request = { name, mode, answer, fail };
      const withdraw = (reason: unknown): void => void (this.#withdraw(request) && reject(reason));
      onSignal = { _abort: withdraw };
      onClose = { _abort: () => withdraw(invalidState()) };
    });
    if (signal !== undefined) join(signal, onSignal);
    tasks.add(onClose);
    this.#enqueue(request, asked);
    let granted: boolean;
    try {
      granted = await answered;
    } finally {
      tasks.delete(onClose);
      if (signal !== undefined) leave(signal, onSignal);
    }
    let entered = false;
    const call = (): T | PromiseLike<T> => {
      entered = true;
      return callback(granted ? Lock._make(name, mode) : null);
    };
    try {
      // The lock was stolen before the callback was called; `fail` has rejected the request already.
      if (granted && !this.#holds(request)) return undefined as T;
      const options = { name: `lock ${name}`, context: 'create' } as const;
      return await this.#wq.run(call, signal === undefined ? options : { ...options, signal });
    } catch (error) {
      throw !entered && this.#wq._dispatcher.closed ? invalidState() : error;
    } finally {
      this.#release(request);
    }
  }

  #enqueue(request: Request, { ifAvailable, steal }: Asked): void {
    let resource = this.#resources.get(request.name);
    if (resource === undefined) {
      resource = new Resource();
      this.#resources.set(request.name, resource);
    }
    if (steal) resource.steal(request);
    else if (ifAvailable && !resource.grantable(request)) request.answer(false);
    else {
      resource.pending.add(request);
      resource.process();
    }
  }

  #holds(request: Request): boolean {
    return this.#resources.get(request.name)?.held.has(request) === true;
  }

  /** Withdraws a request that waits. */
  #withdraw(request: Request): boolean {
    const resource = this.#resources.get(request.name);
    if (resource?.pending.delete(request) !== true) return false;
    resource.process();
    this.#forget(request.name, resource);
    return true;
  }

  /** Releases a lock, unless it was stolen or never granted. */
  #release(request: Request): void {
    const resource = this.#resources.get(request.name);
    if (resource === undefined) return;
    if (resource.held.delete(request)) {
      resource.side(request.mode).exit();
      resource.process();
    }
    this.#forget(request.name, resource);
  }

  #forget(name: string, { held, pending }: Resource): void {
    if (held.size === 0 && pending.size === 0) this.#resources.delete(name);
  }

  #info({ name, mode }: Request): LockInfo {
    return { name, mode, clientId: this.#clientId };
  }
}

function toAsked(options: LockOptions | undefined): Asked {
  const { ifAvailable, mode = 'exclusive', signal, steal } = toDictionary(options, 'options');
  return {
    ifAvailable: Boolean(ifAvailable),
    mode: toEnum(mode, ['exclusive', 'shared'], 'mode'),
    signal: signal === undefined ? undefined : toSignal(signal, 'signal'),
    steal: Boolean(steal),
  };
}

/** Rejects combinations of options that the specification does not support. */
function checkCombination(name: string, { mode, ifAvailable, steal, signal }: Asked): void {
  if (name.startsWith('-')) throw notSupported('a name must not begin with "-"');
  if (steal && ifAvailable) throw notSupported('steal and ifAvailable exclude each other');
  if (steal && mode !== 'exclusive') throw notSupported('only an exclusive lock can be stolen');
  if (signal !== undefined && (steal || ifAvailable)) {
    throw notSupported('signal excludes steal and ifAvailable');
  }
}

function notSupported(message: string): DOMException {
  return new DOMException(message, 'NotSupportedError');
}

function invalidState(): DOMException {
  return new DOMException('the kernel is closed', 'InvalidStateError');
}

/**
 * Creates a lock manager with its own names on a kernel.
 *
 * @param kernel - the kernel whose workqueues run the callbacks; by default the process-wide one
 * @param options - optional settings
 * @returns a lock manager
 * @throws KcontError EINVAL for an invalid kernel, workqueue or option
 *
 * @example
 * ```ts
 * const locks = createLocks(kernel);
 * await locks.request('journal', async () => journal.rotate());
 * ```
 *
 * @public
 */
export function createLocks(kernel: Kernel = processKernel, options?: LocksOptions): LockManager {
  try {
    if (!isA(kernel, Kernel)) throw invalid('kernel', 'a Kernel', kernel);
    const { wq = kernel.wq.prihigh } = readOptions(options, LOCKS);
    if (wq.kernel !== kernel || wq.fast) throw invalid('wq', ASYNCHRONOUS, wq);
    return LockManager._make(wq);
  } catch (error) {
    throw traceFrom(createLocks, error);
  }
}

/**
 * The lock manager of the process-wide kernel, like `navigator.locks` of a web page.
 *
 * @public
 */
export const locks: LockManager = createLocks();
