import { AsyncResource } from 'node:async_hooks';
import { leave, type AbortMember } from '../base/abort-listeners.ts';
import type { RemoteState } from './cpu-link.ts';
import type { Scope } from './scope.ts';

/**
 * Which AsyncLocalStorage stores a continuation's function sees.
 *
 * - `'none'`: those of no request, whoever scheduled it
 * - `'create'`: those of the moment it was made, until it first settles or is stopped
 * - `'schedule'`: those of the moment it was scheduled, until it settles or is stopped
 *
 * @public
 */
export type ContextPolicy = 'none' | 'create' | 'schedule';

/**
 * How much a continuation prefers a CPU.
 *
 * - `'strong'`: one CPU, always
 * - `'weak'`: the one where it ran last, while that keeps up
 * - `'none'`: any
 *
 * @public
 */
export type Affinity = 'strong' | 'weak' | 'none';

/**
 * What many continuations have in common with their siblings: kept small.
 *
 * @internal
 */
export class Details {
  name: string | undefined = undefined;
  scope: Scope | undefined = undefined;
  extras: Extras | null = null;
}

/**
 * What few continuations have, so that all the others stay small.
 *
 * @internal
 */
export class Extras {
  signal: AbortSignal | undefined = undefined;
  policy: ContextPolicy = 'none';
  affinity: Affinity = 'none';
  /** Whose context the function runs in. */
  asyncContext: AsyncResource | undefined = undefined;
  slackTicks = 0;
  /** The due tick and the delay where they are beyond a small integer. */
  farTick = 0;
  farDelayMs = 0;
  /** Halts that have not answered. */
  halts = 0;
  /** Where its state is, if more than one CPU knows it. */
  remote: RemoteState | null = null;
  /** Called, in order, when the run in flight has settled. */
  settled: (() => void)[] = [];

  /** Its continuation does not hear of its signal any more. */
  dropSignal(member: AbortMember): void {
    if (this.signal === undefined) return;
    leave(this.signal, member);
    this.signal = undefined;
  }

  /** The context of this moment is the one to run in. */
  capture(): void {
    // 25 ns; by AsyncLocalStorage.snapshot(), which does the same, 14 us (Node 20).
    this.asyncContext = new AsyncResource('KCONT', { requireManualDestroy: true });
  }
}

/**
 * The latest tick that is allowed for a timer with slack, rounded down to as many binary zeros as
 * keep it from being early: timers whose windows overlap meet at one tick.
 *
 * @internal
 */
export function coalesce(due: number, slackTicks: number): number {
  const latest = due + slackTicks;
  if (latest >= 2 ** 30) return due;
  const differing = due ^ latest;
  return differing === 0 ? due : latest & ~((1 << (31 - Math.clz32(differing))) - 1);
}
