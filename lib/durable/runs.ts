/*
 * The runs in flight on a node: each is entered through its local workqueue, and its result becomes the
 * outcome that the backend stores.
 */

import { WaitList } from '../locks/wait-list.ts';
import { join, leave, type AbortMember } from '../base/abort-listeners.ts';
import { KcontError, invalid, isA, show } from '../base/errors.ts';
import { nothing } from '../base/nothing.ts';
import { race } from '../base/race.ts';
import { reportLater } from '../core/invoke.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { makeStandIn } from '../core/own-kcont.ts';
import type { Unfinished } from '../core/shutdown.ts';
import { afterMicrotasks } from '../time/host-clock.ts';
import type { BackendOutcome, BackendRun } from './backend.ts';
import { Definition } from './definition.ts';
import { Invocation } from './invocation.ts';
import { fromJson } from './json.ts';
import { validate } from './schema.ts';

/** How long aborted runs may take to settle, in ms. */
const ABORT_MS = 100;
/** The longest error text that is stored. */
const LONGEST_ERROR = 4000;

type OnError = (error: unknown, invocation: Invocation | undefined) => void;

/** A run in flight. */
interface Active {
  readonly id: string;
  readonly definition: Definition<unknown>;
  readonly controller: AbortController;
  isEntered: boolean;
}

/**
 * Runs functions for a backend.
 *
 * @internal
 */
export class Runs {
  readonly #node: string;
  readonly #kernel: Kernel;
  readonly #onError: OnError | undefined;
  readonly #definitions = new Map<string, Definition<unknown>>();
  readonly #active = new Set<Active>();
  readonly #drained = new WaitList();
  #isClosing = false;

  constructor(node: string, kernel: Kernel, onError: OnError | undefined) {
    this.#node = node;
    this.#kernel = kernel;
    this.#onError = onError;
  }

  get size(): number {
    return this.#active.size;
  }

  define<A>(definition: Definition<A>): void {
    const { name } = definition;
    if (this.#definitions.has(name)) {
      throw invalid('name', 'that of a function that is not defined yet', name);
    }
    this.#definitions.set(name, definition);
  }

  /** Returns the definition of that name, or the definition itself, if it belongs to this node. */
  find(handler: string | Definition<unknown>): Definition<unknown> {
    const isMade = isA(
      handler,
      Definition as unknown as { readonly prototype: Definition<unknown> },
    );
    const found =
      isMade || typeof handler === 'string'
        ? this.#definitions.get(isMade ? handler.name : handler)
        : undefined;
    if (found !== undefined && (!isMade || found === handler)) return found;
    throw invalid('handler', `a function that is defined on node ${this.#node}`, handler);
  }

  async run(run: BackendRun): Promise<BackendOutcome> {
    const definition = this.#definitions.get(run.handler);
    if (definition === undefined || this.#isClosing || this.#kernel.closed || run.signal.aborted) {
      return { kind: 'refused' };
    }
    const active: Active = {
      id: run.id,
      definition,
      controller: new AbortController(),
      isEntered: false,
    };
    const member: AbortMember = { _abort: (reason) => active.controller.abort(reason) };
    this.#active.add(active);
    join(run.signal, member);
    try {
      return await this.#enter(run, active);
    } finally {
      leave(run.signal, member);
      this.#active.delete(active);
      if (this.#active.size === 0) this.#drained.serveAll();
    }
  }

  async #enter(run: BackendRun, active: Active): Promise<BackendOutcome> {
    const { definition, controller } = active;
    let invocation = Invocation._make(run, this.#node, controller.signal);
    let arg: unknown;
    try {
      arg = fromJson(run.arg);
      const schema = definition._schema;
      // Another version of the program may have stored it.
      if (schema !== undefined) arg = validate(schema, arg, `arg of ${run.id}`);
    } catch (error) {
      return this.#fail(definition, invocation, error);
    }
    try {
      await definition.wq.run(
        (signal) => {
          active.isEntered = true;
          invocation = Invocation._make(run, this.#node, signal);
          return definition._func(arg, invocation);
        },
        {
          lock: definition._localLock,
          signal: controller.signal,
          name: run.id,
        },
      );
      return run.signal.aborted ? { kind: 'refused' } : { kind: 'done' };
    } catch (error) {
      if (!active.isEntered || run.signal.aborted || this.#isShutDown(error, controller.signal)) {
        return { kind: 'refused' };
      }
      if (run.failed + 1 >= definition.maxAttempts) {
        return this.#fail(definition, invocation, error);
      }
      let delayMs: number;
      try {
        delayMs = definition._backoff.waitMs(run.failed + 1, run.backoffMs);
      } catch (refused) {
        // The user's `random` has thrown, or returned no random number.
        return this.#fail(definition, invocation, refused);
      }
      return { kind: 'retry', delayMs, error: textOf(error) };
    }
  }

  /** Whether a run has failed because the kernel or the node is being closed. */
  #isShutDown(error: unknown, signal: AbortSignal): boolean {
    if (signal.aborted) return true;
    return this.#kernel.closed && isA(error, KcontError) && error.code === 'ESHUTDOWN';
  }

  #fail(definition: Definition<unknown>, invocation: Invocation, error: unknown): BackendOutcome {
    const onError = definition._onError ?? this.#onError;
    const standIn = (): Kcont<unknown> => makeStandIn(definition.wq, invocation.id);
    if (onError === undefined) reportLater(standIn(), error);
    else void tell(onError, error, invocation, standIn);
    return { kind: 'failed', error: textOf(error) };
  }

  /** Reports an error of the backend that belongs to no call. */
  report(error: unknown): void {
    if (this.#onError === undefined) return;
    void tell(this.#onError, error, undefined, () =>
      makeStandIn(this.#kernel.wq.softclock, `node ${this.#node}`),
    );
  }

  drain(signal?: AbortSignal): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve();
    return this.#drained.wait(signal);
  }

  /** Waits for the runs in flight until the grace is over, aborts them, and returns those that remain. */
  async finish(graceMs: number): Promise<Unfinished[]> {
    this.#isClosing = true;
    await this.#drainFor(graceMs);
    if (this.#active.size === 0) return [];
    for (const { controller } of this.#active) {
      controller.abort(new KcontError('ESHUTDOWN', `node ${this.#node} is closed`));
    }
    await this.#drainFor(ABORT_MS);
    return Array.from(this.#active, ({ id, definition, isEntered }) => ({
      name: id,
      wq: definition.wq.name,
      state: isEntered ? 'running' : 'queued',
    }));
  }

  async #drainFor(ms: number): Promise<void> {
    const drained = this.drain();
    if (this.#active.size === 0) return;
    if (ms === Infinity) {
      await drained;
      return;
    }
    const over = new AbortController();
    const timer = this.#kernel.wq.softclock
      .run(nothing, { delayMs: ms, signal: over.signal, name: `${this.#node}/close` })
      .catch(nothing);
    await race([drained, timer]);
    over.abort();
    // A function that settled in the last tick has finished in time; its reactions have to run first.
    if (this.#active.size > 0) await new Promise<void>(afterMicrotasks);
  }
}

/** An error as text that PostgreSQL can store. */
function textOf(error: unknown): string {
  let text: string;
  try {
    text = error instanceof Error ? String(error) : show(error);
  } catch {
    text = show(error);
  }
  const short = text.slice(0, LONGEST_ERROR).replaceAll('\0', '\\0');
  return short.replaceAll(/\p{Cs}/gu, '\uFFFD');
}

/** Calls a handler of errors. What it throws, or what its promise is rejected with, goes to the kernel. */
async function tell<I extends Invocation | undefined>(
  onError: (error: unknown, invocation: I) => unknown,
  error: unknown,
  invocation: I,
  standIn: () => Kcont<unknown>,
): Promise<void> {
  try {
    await onError(error, invocation);
  } catch (thrown) {
    reportLater(standIn(), thrown);
  }
}
