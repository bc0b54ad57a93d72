/*
 * Debug mode of one kernel: gives each run an owner, and finds misuse of continuations.
 *
 * The owner is entered into the async context of the function just before it is called, and left when it has
 * returned. Functions on the stack can be nested: one may advance the clock of another kernel.
 */

import { AsyncResource } from 'node:async_hooks';
import type { Caller } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import { label } from '../../core/schedule.ts';
import { DEAD, HALTING, INVOKING, OPEN, QUEUED, RUNNING } from '../../core/state.ts';
import type { KernelObserver } from '../kernel-observer.ts';
import { Tap } from '../tap.ts';
import { running } from '../walk.ts';
import { creationOf, noteCreation } from './creations.ts';
import type { FindingKind } from './finding.ts';
import { Findings } from './findings.ts';
import {
  becomeOwner,
  beginRun,
  currentOwner,
  endRun,
  ownerOf,
  runAs,
  type Owner,
} from './owners.ts';
import { atSite, captureSite, siteText, type Site } from './sites.ts';

/** Where continuations were destroyed. */
const destroyed = new WeakMap<Kcont<unknown>, Site>();

/**
 * A continuation whose last `schedule`, `reset` or `touch` returned false. Sites are formatted here, because the
 * frames of a stack keep the objects alive on which methods were called.
 */
interface Lost {
  /** False: it has been scheduled or destroyed since. */
  isLost: boolean;
  readonly title: string;
  readonly name: string;
  readonly call: string;
  readonly site: string | null;
  readonly createdAt: string | null;
  readonly findings: Findings;
}

const lost = new WeakMap<Kcont<unknown>, Lost>();
const registry = new FinalizationRegistry<Lost>(reportLost);

/** A function on the stack, and on whose behalf the code below it runs. */
interface Frame {
  readonly kc: Kcont<unknown>;
  readonly below: Owner | null;
}

/** The functions on the stack, of all kernels in debug mode. */
const stack: Frame[] = [];

/**
 * Debug mode of one kernel.
 *
 * @internal
 */
export class DebugTap extends Tap {
  readonly findings: Findings;
  readonly #observer: KernelObserver;
  readonly #isWaitedFor: () => void;
  readonly #remove: () => void;
  /** The continuations whose misuse has been looked at. */
  readonly #refused = new WeakSet<Kcont<unknown>>();
  readonly #dead = new WeakSet<Kcont<unknown>>();

  /**
   * Begins.
   *
   * @param isWaitedFor - called when a continuation begins to wait for its lock
   */
  constructor(observer: KernelObserver, isWaitedFor: () => void) {
    super();
    this.#observer = observer;
    this.findings = new Findings(observer.dispatcher);
    this.#isWaitedFor = isWaitedFor;
    this.#remove = observer.add(this);
  }

  stop(): void {
    this.#remove();
    for (const kc of running(this.#observer.dispatcher)) this.settled(kc);
  }

  override created(kc: Kcont<unknown>): void {
    noteCreation(kc);
  }

  override scheduled(kc: Kcont<unknown>): void {
    const it = lost.get(kc);
    if (it !== undefined) it.isLost = false;
  }

  override waits(_: Kcont<unknown>): void {
    this.#isWaitedFor();
  }

  override entered(kc: Kcont<unknown>): void {
    const owner = beginRun(kc);
    const extras = kc._extras;
    const context = extras?.asyncContext;
    if (extras !== null && context !== undefined) {
      // The function runs in the context of its creator or scheduler: in a copy that has this owner.
      extras.asyncContext = context.runInAsyncScope(() =>
        runAs(owner, () => new AsyncResource('KCONT', { requireManualDestroy: true })),
      );
    }
    stack.push({ kc, below: becomeOwner(owner) });
  }

  override suspended(kc: Kcont<unknown>): void {
    leave(kc);
  }

  override settled(kc: Kcont<unknown>): void {
    leave(kc);
    endRun(kc);
  }

  override refused(kc: Kcont<unknown>, by: Caller): void {
    const bits = kc._bits;
    if ((bits & DEAD) !== 0) this.#useAfterDestroy(kc, by);
    else {
      // What is QUEUED is entered later, and nothing is lost.
      if ((bits & QUEUED) === 0) this.#note(kc, by);
      this.#refusedInRun(kc, bits, by);
    }
  }

  #refusedInRun(kc: Kcont<unknown>, bits: number, by: Caller): void {
    const isBusy = (bits & (RUNNING | INVOKING | QUEUED | HALTING)) === (RUNNING | INVOKING);
    if (!isBusy || by !== Kcont.prototype.schedule || this.#refused.has(kc)) return;
    if (kc._wq._dispatcher.phase !== OPEN) return;
    const owner = currentOwner();
    if (owner === null || owner !== ownerOf(kc)) return;
    this.#refused.add(kc);
    this.#report('refused', kc, captureSite(by), (site, made) => [
      `${nameOf(kc)}: schedule() returned false, because its own function called it${site}`,
      'During its own run a continuation is busy. Call reset(), or ack() before schedule().',
      ...made,
    ]);
  }

  #useAfterDestroy(kc: Kcont<unknown>, by: Caller): void {
    if (this.#dead.has(kc)) return;
    this.#dead.add(kc);
    this.#report('destroyed', kc, captureSite(by), (site, made) => [
      `${nameOf(kc)}: ${by.name}() was called after destroy()${site}, and did nothing`,
      ...made,
      ...detail('destroyed', destroyed.get(kc)),
    ]);
  }

  #note(kc: Kcont<unknown>, by: Caller): void {
    if (lost.get(kc)?.isLost === true) return;
    const it: Lost = {
      isLost: true,
      title: nameOf(kc),
      name: label(kc),
      call: by.name,
      site: siteText(captureSite(by)),
      createdAt: siteText(creationOf(kc)),
      findings: this.findings,
    };
    lost.set(kc, it);
    registry.register(kc, it);
  }

  #report(
    kind: FindingKind,
    kc: Kcont<unknown>,
    site: Site,
    lines: (site: string, made: readonly string[]) => string[],
  ): void {
    const text = siteText(site);
    const name = label(kc);
    this.findings.once(`${kind} ${text ?? nameOf(kc)}`, () => {
      const made = creationOf(kc);
      const [message = '', ...details] = lines(atSite(site), detail('created', made));
      return { kind, message, details, name, site: text, createdAt: siteText(made) };
    });
  }
}

function leave(kc: Kcont<unknown>): void {
  if (stack.at(-1)?.kc !== kc) return;
  becomeOwner((stack.pop() as Frame).below);
}

function nameOf(kc: Kcont<unknown>): string {
  return `${label(kc)} on ${kc._wq.name}`;
}

/**
 * A line of the details of a finding, if the site is known.
 *
 * @internal
 */
export function detail(what: string, site: Site | undefined): string[] {
  const text = siteText(site);
  return text === null ? [] : [`${what} at ${text}`];
}

function reportLost({ isLost, title, name, call, site, createdAt, findings }: Lost): void {
  // Who closes a kernel has no use for the runs that it does not enter any more.
  if (!isLost || findings.isOver) return;
  const at = site === null ? '' : ` at ${site}`;
  findings.once(`collected ${site ?? title}`, () => ({
    kind: 'collected',
    message: `${title} was garbage-collected, and its last call, ${call}()${at}, had returned false: that run never happens`,
    details: [
      'schedule() and reset() return false if nothing was scheduled, touch() if no timer is pending.',
      ...(createdAt === null ? [] : [`created at ${createdAt}`]),
    ],
    name,
    site,
    createdAt,
  }));
}

let isHooked = false;

/**
 * Has destroyed continuations noted, from the first call on.
 *
 * @internal
 */
export function noteDestroyed(): void {
  if (isHooked) return;
  isHooked = true;
  const { _finalizeDestroy: finalize } = Kcont.prototype;
  Kcont.prototype._finalizeDestroy = function hookedDestroy(this: Kcont<unknown>): void {
    if ((this._state & DEAD) === 0 && creationOf(this) !== undefined) {
      destroyed.set(this, captureSite(hookedDestroy));
      const it = lost.get(this);
      if (it !== undefined) it.isLost = false;
    }
    finalize.call(this);
  };
}
