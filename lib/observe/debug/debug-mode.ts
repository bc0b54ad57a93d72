/*
 * Debug mode: what is looked for, and when.
 *
 *   a deadlock        when one begins to wait, from there (see wait-graph.ts)
 *   a long wait       by a timer, which is armed only while something waits
 *   what never ends   when the process is about to exit because its event loop is empty
 *   misuse            at the call (see debug-tap.ts), or when the garbage collector has taken a continuation
 *
 * The hooks are per thread, and set for the first kernel in debug mode.
 */

import { microtask } from '../../base/host-functions.ts';
import { Kcont } from '../../core/kcont.ts';
import { kernel as processKernel, type Kernel } from '../../core/kernel.ts';
import { LOCK_QUEUE, visitQueued } from '../../core/queued.ts';
import { observing } from '../../core/observer.ts';
import { label } from '../../core/schedule.ts';
import { hostClock } from '../../time/host-clock.ts';
import { duration } from '../duration.ts';
import { allObservers, observerOf, type KernelObserver } from '../kernel-observer.ts';
import { describe, lockLabel, WAITS_FOR_LOCK } from '../list-entry.ts';
import { running } from '../walk.ts';
import { DebugTap, noteDestroyed } from './debug-tap.ts';
import type { Finding } from './finding.ts';
import {
  END,
  createdAt,
  detailsOfStep,
  hasEntered,
  longWait,
  remedyFor,
  unsettled,
  waitOfCode,
  whatFor,
  type Found,
} from './found.ts';
import type { Findings } from './findings.ts';
import { setLockHooks } from './lock-hooks.ts';
import { ownerOf, ownerTitle, waitsOfCode, type Holding, type Owner, type Wait } from './owners.ts';
import { ProcessEnd } from './process-end.ts';
import { atSite, isCall, siteText, type Site } from './sites.ts';
import { circleFrom, describeCircle } from './wait-graph.ts';

/** The name of the timer that looks for long waits. */
const NAME = 'kcont/debug';
/** After how long a wait is reported, in ms, and how often it is looked at. */
const LONG_MS = 1000;
const LOOK_MS = 250;
/** How many runs are described at the end of the process. */
const MOST_AT_END = 20;
/** How many long waits for the same are reported, and how many at once: fewer than the causes that are remembered. */
const MOST_WAITERS = 5;
const MOST_WAITS = 100;

/** The debug mode of one kernel. */
class DebugMode {
  readonly #observer: KernelObserver;
  readonly #tap: DebugTap;
  #timer: Kcont<null> | null = null;
  #isArmed = false;
  /** Since when the waiters have waited that were reported. */
  readonly #seen = new WeakMap<object, number>();

  constructor(observer: KernelObserver) {
    this.#observer = observer;
    this.#tap = new DebugTap(observer, () => this.watch());
  }

  get findings(): Findings {
    return this.#tap.findings;
  }

  stop(): void {
    this.#tap.stop();
    this.#timer?.destroy();
  }

  /** Looks for long waits as long as something waits. */
  watch(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    // An observer must not schedule anything.
    microtask(() => this.#arm());
  }

  #arm(): void {
    const { kernel } = this.#observer.dispatcher;
    if (kernel.closed || modes.get(this.#observer) !== this) return;
    this.#timer ??= new Kcont(kernel.wq.softserial, null, () => this.#look(), null, {
      name: NAME,
      ref: false,
    });
    this.#timer.reset(LOOK_MS);
  }

  #look(): void {
    const { dispatcher } = this.#observer;
    const nowMs = dispatcher.clock.now;
    let isAny = false;
    const waiters = new Map<object | null, number>();
    let left = MOST_WAITS;
    const isOneMore = (what: object | null): boolean => {
      const count = waiters.get(what) ?? 0;
      if (left === 0 || count === MOST_WAITERS) return false;
      waiters.set(what, count + 1);
      left--;
      return true;
    };
    visitQueued(dispatcher, (kc, place) => {
      if (place !== LOCK_QUEUE) return;
      isAny = true;
      const { sinceMs } = describe(this.#observer, kc, WAITS_FOR_LOCK, nowMs);
      if (sinceMs === null || nowMs - sinceMs < LONG_MS || !isOneMore(kc._lock)) return;
      this.#report(kc, `${label(kc)} on ${kc._wq.name}`, sinceMs, nowMs, (title) =>
        longWait(kc, title),
      );
    });
    for (const wait of waitsOfCode()) {
      if (modeFor(wait.by) !== this) continue;
      isAny = true;
      if (nowMs - wait.sinceMs < LONG_MS || isReported(wait)) continue;
      if (!isOneMore(wait.lock ?? wait.kc)) continue;
      this.#report(wait, ownerTitle(wait.owner, wait.site), wait.sinceMs, nowMs, (title) =>
        waitOfCode('wait', wait, `${title} ${whatFor(wait)}`),
      );
    }
    if (isAny) this.#arm();
    else this.#isArmed = false;
  }

  #report(
    waiter: object,
    who: string,
    sinceMs: number,
    nowMs: number,
    make: (title: string) => Found,
  ): void {
    const isNew = this.#seen.get(waiter) !== sinceMs;
    this.#seen.set(waiter, sinceMs);
    const title = `${who} has waited ${duration(nowMs - sinceMs)}`;
    this.findings.again(`wait ${who}`, isNew, () => make(title));
  }

  /** Reports what has not settled though nothing is left that the event loop waits for. */
  reportEnd(): void {
    const { dispatcher } = this.#observer;
    // Nobody advances a virtual clock any more: all that waits for it has not settled.
    if (dispatcher.clock !== hostClock) return;
    let left = MOST_AT_END;
    for (const kc of running(dispatcher)) {
      const owner = ownerOf(kc);
      if (owner !== undefined && [...owner.waits].some(isReported)) continue;
      if (!kc.hasRef() && owner?.held.size === 0) continue;
      if (left-- === 0) return;
      this.findings.again(`unsettled ${label(kc)} ${kc._wq.name}`, true, () =>
        unsettled(kc, owner),
      );
    }
    for (const wait of waitsOfCode()) {
      if (isOfRun(wait) || modeFor(wait.by) !== this || isReported(wait)) continue;
      if (left-- === 0) return;
      const title = ownerTitle(wait.owner, wait.site);
      this.findings.again(`unsettled ${title}`, true, () =>
        waitOfCode('unsettled', wait, `${title} waits ${whatFor(wait)}${END}`),
      );
    }
  }
}

const modes = new WeakMap<KernelObserver, DebugMode>();

/** The modes of all kernels that have not been closed, in the order in which they were created. */
function* allModes(): Generator<DebugMode, void, undefined> {
  for (const observer of allObservers()) {
    const mode = modes.get(observer);
    if (mode !== undefined && !observer.dispatcher.closed) yield mode;
  }
}

/** The mode that reports for an owner. What belongs to no kernel is reported with the process-wide one, if possible. */
function modeFor(owner: Owner | null): DebugMode | undefined {
  const kernel = owner?.dispatcher?.kernel ?? processKernel;
  let mode = modes.get(observerOf(kernel));
  if (mode === undefined) for (const last of allModes()) mode = last;
  return mode;
}

function isOn(): boolean {
  return allModes().next().done !== true;
}

/** The waits that have been reported as parts of a deadlock. */
const deadlocked = new WeakSet<Wait>();

/** Whether it is that of a run in flight, which is described with the run. */
function isOfRun({ owner }: Wait): boolean {
  return owner !== null && owner.kc !== null;
}

function isReported(wait: Wait): boolean {
  return deadlocked.has(wait);
}

/** Looks for a deadlock that an owner is in. */
function lookAt(owner: Owner | null): void {
  modeFor(owner)?.watch();
  if (owner === null || owner.waits.size === 0) return;
  const circle = circleFrom(owner);
  if (circle === undefined) return;
  const { message } = describeCircle(circle);
  modeFor(owner)?.findings.again(message, !circle.every(({ wait }) => isReported(wait)), () => ({
    kind: 'deadlock',
    message,
    details: [...circle.flatMap(detailsOfStep), remedyFor(circle)],
    name: owner.name || 'code',
    site: siteText(circle[0]?.wait.site),
    createdAt: siteText(createdAt(owner)),
  }));
  for (const { wait } of circle) deadlocked.add(wait);
}

function exited(holding: Holding, by: Owner | null, site: Site): void {
  const { lock, by: owner, site: enteredAt } = holding;
  if (owner === null || (by === null && enteredAt !== undefined)) return;
  // A drop-in API releases locks on behalf of others.
  if (!isCall(site) || holding.owner === null) return;
  const text = siteText(site);
  const name = lockLabel(lock);
  const title = ownerTitle(owner);
  modeFor(owner)?.findings.once(`exit ${text ?? name}`, () => {
    const made = createdAt(owner);
    return {
      kind: 'exit',
      message: `${ownerTitle(by, site)} released lock ${name}${by === null ? '' : atSite(site)}, which ${title} holds`,
      details: [
        `${title} ${hasEntered(holding)}${atSite(made, ', created at ')}`,
        'Who has entered a lock releases it. Use lock.run() or lock.hold().',
      ],
      name: by?.name || 'code',
      site: text,
      createdAt: siteText(made),
    };
  });
}

let isSet = false;

function setHooks(): void {
  if (isSet) return;
  isSet = true;
  setLockHooks({ isOn, waits: lookAt, exited });
  noteDestroyed();
}

const atEnd = new ProcessEnd(() => {
  for (const mode of allModes()) mode.reportEnd();
  flushAll();
}, flushAll);

function flushAll(): void {
  for (const { findings } of allModes()) findings.flush();
}

/**
 * Starts debug mode of a kernel.
 *
 * @internal
 */
export function startDebug(kernel: Kernel): void {
  start(observerOf(kernel));
}

/**
 * Passes the findings of a kernel to a function, until the function that is returned is called. Debug mode is started
 * for it if necessary, and then ends with it.
 *
 * @internal
 */
export function listen(kernel: Kernel, onFinding: (finding: Finding) => void): () => void {
  const observer = observerOf(kernel);
  const wasOn = modes.has(observer);
  const mode = start(observer);
  const remove = mode.findings.add(onFinding);
  return () => {
    remove();
    if (wasOn || mode.findings.isHeard || modes.get(observer) !== mode) return;
    modes.delete(observer);
    mode.stop();
    atEnd.remove();
  };
}

function start(observer: KernelObserver): DebugMode {
  const known = modes.get(observer);
  if (known !== undefined) return known;
  setHooks();
  const mode = new DebugMode(observer);
  try {
    atEnd.add();
  } catch (error) {
    mode.stop();
    throw error;
  }
  modes.set(observer, mode);
  return mode;
}

/**
 * Starts debug mode of the process-wide kernel and of all that are created from now on.
 *
 * @internal
 */
export function debugAllKernels(): void {
  startDebug(processKernel);
  const { make } = observing;
  observing.make = (dispatcher) => {
    const observer = make?.(dispatcher) as KernelObserver;
    start(observer);
    return observer;
  };
}
