/*
 * The wait graph: who waits for what, who has that, and what they wait for in turn.
 *
 *    transfer ---waits---> lock A ---held by---> audit ---waits---> lock B ---held by---> transfer
 *
 * All that is waited for has to be had: a lock excludes, and a halt ends with the run. So if some wait for each other
 * in a circle, none of them goes on. A circle begins when one of them begins to wait, or is granted a lock while it
 * waits for something else: it is looked for then, from there.
 */

import type { Dispatcher } from '../../core/dispatcher.ts';
import type { Kcont } from '../../core/kcont.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { label } from '../../core/schedule.ts';
import { RUNNING } from '../../core/state.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { blockingOf } from '../holder.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { describe, lockLabel, type ListWait } from '../list-entry.ts';
import { observerFor } from '../list.ts';
import { numberOf } from '../numbers.ts';
import { running, walkActive } from '../walk.ts';
import { creationOf } from './creations.ts';
import {
  blockersOf,
  ownerOf,
  ownerTitle,
  waitsOfCode,
  type Holding,
  type Owner,
  type Wait as CodeWait,
} from './owners.ts';
import { siteText, type Site } from './sites.ts';

/**
 * A continuation, or code, in a {@link WaitGraph}.
 *
 * @public
 */
export interface WaitParty {
  /** A number that tells it apart; the {@link ListEntry.id} of a continuation. Null: an unknown holder. */
  readonly id: number | null;
  /** The name of the continuation, or of that in whose function the code is; `code` for other code. */
  readonly name: string;
  /** The name of its workqueue; null for code. */
  readonly workqueue: string | null;
  /** Where the continuation was created; null without debug mode, and for code. */
  readonly createdAt: string | null;
}

/**
 * One that has what another waits for.
 *
 * @public
 */
export interface WaitHolder extends WaitParty {
  /** Where it has entered the lock. Null: not known, or the library has taken it for the run. */
  readonly enteredAt: string | null;
  /** Since when it has it, in ms as of `now()` of its kernel; null: not known. */
  readonly sinceMs: number | null;
}

/**
 * One wait.
 *
 * @public
 */
export interface WaitEdge {
  /** Who waits. */
  readonly waiter: WaitParty;
  /**
   * What it waits for: a lock, a place under `maxActive`, a run, its own or that of a `halt`, or a CPU.
   */
  readonly waitsFor: ListWait;
  /** The name of the lock, the workqueue or the continuation; empty for a CPU. */
  readonly what: string;
  /** Where the code waits; null for a continuation, and without debug mode. */
  readonly site: string | null;
  /** Since when, in ms as of `now()` of its kernel; null: not known. */
  readonly sinceMs: number | null;
  /** Who has it. */
  readonly holders: readonly WaitHolder[];
}

/**
 * Some that wait for each other, or one that waits for itself.
 *
 * @public
 */
export interface Deadlock {
  /** A sentence with all names. */
  readonly message: string;
  /** The waits, in their order: each waits for what the next one has, and the last for what the first has. */
  readonly waits: readonly WaitEdge[];
}

/**
 * Who waits for what. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface WaitGraph {
  /** All waits. */
  readonly waits: readonly WaitEdge[];
  /** The circles among them. Only those of kernels in debug mode can be found. */
  readonly deadlocks: readonly Deadlock[];
}

/**
 * Tells who waits for what in a kernel on this thread, who has that, and which of them wait for each other.
 *
 * @remarks
 * Without debug mode, only continuations are known: no code that awaits a lock, and no deadlocks. Code outside of a
 * run is in the graph of the process-wide kernel. What the holders wait for is in the graph too, if they belong to
 * another kernel.
 *
 * @param kernel - the kernel
 * @returns the waits and the deadlocks
 * @throws KcontError EINVAL for anything but a kernel
 *
 * @example
 * ```ts
 * for (const { message } of waitGraph(kernel).deadlocks) console.log(message);
 * ```
 *
 * @public
 */
export function waitGraph(kernel: Kernel): WaitGraph {
  const observer = observerFor(kernel, waitGraph);
  const waits = edgesOfContinuations(observer);
  const seen = new Set<CodeWait>();
  for (const wait of waitsOfCode()) {
    const of = wait.by?.dispatcher ?? dispatcherOf(processKernel);
    if (of === observer.dispatcher) addCode(wait, seen);
  }
  for (const wait of seen) waits.push(edgeOfCode(wait));
  const deadlocks: Deadlock[] = [];
  const found = new Set<Owner>();
  for (const { owner } of seen) {
    if (owner === null || found.has(owner)) continue;
    const circle = circleFrom(owner);
    if (circle === undefined) continue;
    for (const step of circle) found.add(step.wait.owner as Owner);
    deadlocks.push(describeCircle(circle));
  }
  return { waits, deadlocks };
}

function dispatcherOf({ wq }: Kernel): Dispatcher {
  return wq.softclock._dispatcher;
}

/** Adds a wait, and those of the ones that it is for. */
function addCode(wait: CodeWait, seen: Set<CodeWait>): void {
  const left = [wait];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    for (const { owner } of holdersFor(next)) {
      if (owner !== null) for (const its of owner.waits) left.push(its);
    }
  }
}

function edgesOfContinuations(observer: KernelObserver): WaitEdge[] {
  const waits: WaitEdge[] = [];
  const { dispatcher } = observer;
  const nowMs = dispatcher.clock.now;
  walkActive(dispatcher, (kc, role) => {
    if (role.waitsFor === null) return;
    waits.push({
      waiter: partyOf(kc),
      waitsFor: role.waitsFor,
      what: whatOf(kc, role.waitsFor),
      site: null,
      sinceMs: describe(observer, kc, role, nowMs).sinceMs,
      holders: holdersOfWait(observer, kc, role.waitsFor),
    });
  });
  return waits;
}

function whatOf(kc: Kcont<unknown>, waitsFor: ListWait): string {
  if (waitsFor === 'lock') return lockLabel(kc._lock as BaseLock);
  if (waitsFor === 'maxActive') return kc._wq.name;
  return waitsFor === 'run' ? label(kc) : '';
}

function holdersOfWait(
  observer: KernelObserver,
  kc: Kcont<unknown>,
  waitsFor: ListWait,
): WaitHolder[] {
  if (waitsFor === 'lock') return lockHolders(kc._lock as BaseLock);
  if (waitsFor === 'run') return [runner(observer, kc)];
  if (waitsFor === 'cpu') return [];
  const others = Array.from(running(observer.dispatcher)).filter((one) => one._wq === kc._wq);
  return others.map((one) => runner(observer, one));
}

function runner(observer: KernelObserver, kc: Kcont<unknown>): WaitHolder {
  return { ...partyOf(kc), enteredAt: null, sinceMs: observer.runningSince(kc) };
}

function lockHolders(lock: BaseLock): WaitHolder[] {
  const known = blockersOf(lock);
  if (known.length > 0) return known.map(holderOf);
  return blockingOf(lock).map(({ name, id, workqueue, sinceMs }) => ({
    id,
    name,
    workqueue,
    createdAt: null,
    enteredAt: null,
    sinceMs,
  }));
}

function holderOf({ owner, site, sinceMs }: Holding): WaitHolder {
  return { ...ownerParty(owner, site), enteredAt: siteText(site), sinceMs };
}

function partyOf(kc: Kcont<unknown>): WaitParty {
  const { name } = kc._wq;
  return {
    id: numberOf(kc),
    name: label(kc),
    workqueue: name,
    createdAt: siteText(creationOf(kc)),
  };
}

function ownerParty(owner: Owner | null, site: Site | undefined): WaitParty {
  if (owner === null) {
    const id = site === undefined ? null : numberOf(site);
    return { id, name: 'code', workqueue: null, createdAt: null };
  }
  if (owner.kc !== null) return partyOf(owner.kc);
  const { id, name, workqueue } = owner;
  return { id, name: name || 'code', workqueue, createdAt: null };
}

function edgeOfCode(wait: CodeWait): WaitEdge {
  const { lock, kc, owner, site, sinceMs } = wait;
  return {
    waiter: ownerParty(owner, site),
    waitsFor: lock === null ? 'run' : 'lock',
    what: lock === null ? label(kc as Kcont<unknown>) : lockLabel(lock),
    site: siteText(site),
    sinceMs,
    holders: lock === null ? runOf(kc as Kcont<unknown>) : lockHolders(lock),
  };
}

/** The run that a halt waits for. */
function runOf(kc: Kcont<unknown>): WaitHolder[] {
  return kc.running ? [{ ...partyOf(kc), enteredAt: null, sinceMs: null }] : [];
}

/** Those who have what code waits for, if they are known. */
function holdersFor({ lock, kc }: CodeWait): readonly { readonly owner: Owner | null }[] {
  if (lock !== null) return blockersOf(lock);
  const owner = kc === null || (kc._bits & RUNNING) === 0 ? undefined : ownerOf(kc);
  return owner === undefined ? [] : [{ owner }];
}

/**
 * A wait in a circle, and the holder of what it is for, which is the next that waits.
 *
 * @internal
 */
export interface Step {
  readonly wait: CodeWait;
  readonly next: Owner;
}

/**
 * Finds a circle of waits that an owner is in.
 *
 * @internal
 */
export function circleFrom(start: Owner): Step[] | undefined {
  const seen = new Set<Owner>();
  const path: Step[] = [];
  // Each frame: the edges of one owner that have not been followed yet.
  const frames: Step[][] = [stepsOf(start)];
  for (let steps = frames.at(-1); steps !== undefined; steps = frames.at(-1)) {
    const step = steps.pop();
    if (step === undefined) {
      frames.pop();
      path.pop();
      continue;
    }
    const { next } = step;
    if (next === start) return [...path, step];
    if (seen.has(next)) continue;
    seen.add(next);
    path.push(step);
    frames.push(stepsOf(next));
  }
  return undefined;
}

function stepsOf(owner: Owner): Step[] {
  const steps: Step[] = [];
  for (const wait of owner.waits) {
    if (wait.owner === null) continue;
    for (const { owner: next } of holdersFor(wait)) if (next !== null) steps.push({ wait, next });
  }
  return steps;
}

/**
 * Describes a deadlock.
 *
 * @internal
 */
export function describeCircle(circle: readonly Step[]): Deadlock {
  const waits = circle.map(({ wait }) => edgeOfCode(wait));
  return { message: `deadlock: ${sentence(circle)}`, waits };
}

function sentence(circle: readonly Step[]): string {
  const [only, second] = circle as readonly [Step, ...Step[]];
  if (second === undefined) {
    const { lock, kc, owner } = only.wait;
    const who = ownerTitle(owner);
    if (lock !== null) return `${who} waits for lock ${lockLabel(lock)}, which it holds itself`;
    return `${who} waits in halt() of ${label(kc as Kcont<unknown>)} for itself to settle`;
  }
  const parts = circle.map(({ wait: { lock, kc, owner }, next }) => {
    if (lock === null)
      return `${ownerTitle(owner)} waits in halt() of ${label(kc as Kcont<unknown>)}`;
    return `${ownerTitle(owner)} waits for lock ${lockLabel(lock)}, which ${ownerTitle(next)} holds`;
  });
  return parts.join('; ');
}
