import { AsyncResource } from 'node:async_hooks';
import { leave, type AbortMember } from '../base/abort-listeners.ts';
import type { RemoteState } from './cpu-link.ts';
import { TICKS_PER_MS } from '../time/timing-wheel.ts';
import type { Scope } from './scope.ts';

/**
 * Which AsyncLocalStorage stores a continuation's function sees.
 *
 * - `'none'`: no stores, whichever code scheduled it
 * - `'create'`: the stores at its creation, until it first settles or is stopped
 * - `'schedule'`: the stores at the `schedule` call, until it settles or is stopped
 *
 * @public
 */
export type ContextPolicy = 'none' | 'create' | 'schedule';

/**
 * How strongly a continuation prefers a CPU.
 *
 * - `'strong'`: it always runs on the same CPU
 * - `'weak'`: it runs on the CPU where it ran last, unless the event loop there is blocked
 * - `'none'`: it runs on any CPU
 *
 * @public
 */
export type Affinity = 'strong' | 'weak' | 'none';

/**
 * Settings that many continuations have; kept small.
 *
 * @internal
 */
export class Details {
  name: string | undefined = undefined;
  scope: Scope | undefined = undefined;
  extras: Extras | null = null;
}

/**
 * What a timer needs whose delay is longer than three days. The fields are NaN at first, not 0, so that V8 stores
 * doubles in place, and moving such a deadline allocates nothing.
 *
 * @internal
 */
export class Far {
  /** The absolute due tick. */
  tick: number = NaN;
  /** The last delay, in ticks. */
  delayTicks: number = NaN;
}

/**
 * Settings that few continuations have; separate, so that all others stay small.
 *
 * @internal
 */
export class Extras {
  signal: AbortSignal | undefined = undefined;
  policy: ContextPolicy = 'none';
  affinity: Affinity = 'none';
  /** The async context in which the function runs. */
  asyncContext: AsyncResource | undefined = undefined;
  slackTicks = 0;
  /** Its due tick and its delay, if they may exceed a small integer. */
  far: Far | null = null;
  /** The number of halts that are waiting. */
  halts = 0;
  /** Its state, if it is shared between CPUs. */
  remote: RemoteState | null = null;
  /** Called, in order, when the run in flight has settled. */
  settled: (() => void)[] = [];

  /** Removes the continuation from its signal. */
  dropSignal(member: AbortMember): void {
    if (this.signal === undefined) return;
    leave(this.signal, member);
    this.signal = undefined;
  }

  /** Captures the current async context. */
  capture(): void {
    // 25 ns; by AsyncLocalStorage.snapshot(), which does the same, 14 us (Node 20).
    this.asyncContext = new AsyncResource('KCONT', { requireManualDestroy: true });
  }
}

/**
 * Returns the latest tick that is allowed for a timer with slack, rounded down to as many binary zeros as
 * possible without being early, so that timers with overlapping windows expire at the same tick.
 *
 * @internal
 */
export function coalesce(due: number, slackTicks: number): number {
  const latest = due + slackTicks;
  if (latest >= 2 ** 30) return coalesceFar(due, latest);
  const differing = due ^ latest;
  return differing === 0 ? due : latest & ~((1 << (31 - Math.clz32(differing))) - 1);
}

/** The same for a timer that may expire more than a day later: at a whole ms, which is a small integer. */
function coalesceFar(due: number, latest: number): number {
  const dueMs = Math.ceil(due / TICKS_PER_MS);
  const latestMs = Math.floor(latest / TICKS_PER_MS);
  if (dueMs > latestMs || latestMs >= 2 ** 30) return due;
  return coalesce(dueMs, latestMs - dueMs) * TICKS_PER_MS;
}
